"""A configuration that cannot work is an error at once; one that transformers wrote is read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextModel


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hiden_size": 32}, "unknown key 'hiden_size'.*Did you mean 'hidden_size'"),
        ({"token_mixr": "pooling"}, "Did you mean 'token_mixer'"),
        ({"poolsize": 5}, "Did you mean 'pool_size'"),
        ({"token_mixer": "poling"}, "unknown token mixer 'poling'.*pooling.*attention.*identity"),
        ({"token_mixer": ["pooling"] * 3, "num_hidden_layers": 2}, "3 mixers for 2 layers"),
        ({"norm": "layernorm"}, "layer_norm"),
        ({"hidden_act": "gelu_new"}, "gelu"),
        ({"hidden_dropout_prob": 1.5}, r"hidden_dropout_prob=1.5.*\[0, 1\)"),
        ({"vocab_size": 0}, "vocab_size=0"),
        ({"hidden_size": "32"}, "hidden_size='32'.*is str; it must be a whole number"),
        ({"num_hidden_layers": 2.0}, "num_hidden_layers=2.0.*is float"),
        ({"classifier_dropout": "0.1"}, "classifier_dropout='0.1'.*a number or None"),
        ({"position_embedding": "none"}, "position_embedding='none'.*true or false"),
        ({"pad_token_id": 40, "vocab_size": 40}, r"pad_token_id=40.*0\.\.39"),
        ({"pad_token_id": -1}, "pad_token_id=-1"),
        ({"unmixed_token_id": 40, "vocab_size": 40}, r"unmixed_token_id=40.*0\.\.39"),
        (
            {"unmixed_token_id": 4, "token_mixer": ["pooling x rest", "fourier"]},
            "layer 11, fourier, cannot.*attention.*pooling",
        ),
        ({"unmixed_token_id": 4, "norm": "group_norm"}, "norm='group_norm' takes statistics.*layer_norm"),
    ],
)
def test_what_cannot_work_is_an_error(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        MetaFormerTextConfig(**fields)


def test_misspelt_mixer_option_is_an_error(text_config: Any) -> None:
    with pytest.raises(ValueError, match="pool_sizes"):
        MetaFormerTextModel(text_config(token_mixer={"name": "pooling", "pool_sizes": 3}))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"num_labels": 5, "problem_type": "single_label_classification"},
        {"id2label": {0: "no", 1: "yes"}, "label2id": {"no": 0, "yes": 1}},
        {"token_mixer": [{"name": "pooling", "pool_size": [3, "global"]}, "attention"], "dtype": "bfloat16"},
        {"token_mixer": {"name": "shift", "offsets": ["left:1", "right:3"]}, "position_embedding": False},
        {"token_mixer": ("pooling", "identity"), "pool_size": (3, 7)},
        {"token_mixer": [{"name": "pooling x rest", "pool_size": 7}, "attention x 1"], "unmixed_token_id": 4},
    ],
)
def test_saved_configuration_is_read_back(fields: dict[str, Any], text_config: Any, tmp_path: Path) -> None:
    config = text_config(**fields)
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(again, MetaFormerTextConfig)
    assert json.loads(again.to_json_string()) == json.loads(config.to_json_string())
    assert again.layer_mixers() == config.layer_mixers()


def test_options_reach_the_layers(text_config: Any) -> None:
    config = text_config(
        num_hidden_layers=4,
        token_mixer=["pooling", {"name": "pooling", "pool_size": 7}, "attention", "identity"],
        pool_size=5,
        drop_path_rate=0.3,
    )
    model = MetaFormerTextModel(config)
    assert [type(layer.token_mixer).__name__ for layer in model.layers] == [
        "Pooling",
        "Pooling",
        "Attention",
        "Identity",
    ]
    assert [layer.token_mixer.pool_size for layer in model.layers[:2]] == [[5], [7]]
    assert model.layers[2].token_mixer.num_heads == config.num_attention_heads
    assert [layer.residual1.drop_path.rate for layer in model.layers] == pytest.approx([0, 0.1, 0.2, 0.3])


def test_ablations_take_parameters_away(text_config: Any) -> None:
    def size(**fields: Any) -> int:
        return MetaFormerTextModel(text_config(**fields)).num_parameters()

    full = size()
    assert size(use_channel_mlp=False) == full - 2 * (2 * 32 * 48 + 48 + 32 + 2 * 32)
    assert size(norm="none") == full - 2 * 2 * 2 * 32
    assert size(layer_scale_init_value=0.1, res_scale_init_value=1.0) == full + 2 * 4 * 32
    assert size(use_residual=False) == full


def test_dropout_inside_the_mlp_is_off_but_in_files_of_earlier_versions(tmp_path: Path) -> None:
    """A file without the key is of a time when the MLP dropped inside what it drops elsewhere."""

    def rates(config: MetaFormerTextConfig) -> tuple[float, float]:
        mlp = MetaFormerTextModel(config).layers[0].channel_mlp
        return mlp.inner_dropout.p, mlp.dropout.p

    small = {"vocab_size": 61, "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32}
    config = MetaFormerTextConfig(**small)
    assert rates(config) == (0.0, 0.1)
    config.save_pretrained(tmp_path)
    assert rates(MetaFormerTextConfig.from_pretrained(tmp_path)) == (0.0, 0.1)
    file = tmp_path / "config.json"
    saved = json.loads(file.read_text())
    assert saved.pop("mlp_dropout") == 0.0
    file.write_text(json.dumps(saved))
    earlier = AutoConfig.from_pretrained(tmp_path)
    assert rates(earlier) == (0.1, 0.1)
    assert rates(AutoConfig.from_pretrained(tmp_path, hidden_dropout_prob=0.3)) == (0.3, 0.3)
    earlier.save_pretrained(tmp_path)  # what it means stays when it is saved again
    assert rates(AutoConfig.from_pretrained(tmp_path)) == (0.1, 0.1)


def test_fields_that_were_set_later_are_checked_by_the_model(text_config: Any) -> None:
    config = text_config(unmixed_token_id=4)
    config.norm = "group_norm"
    with pytest.raises(ValueError, match=r"unmixed_token_id=4 .*norm='group_norm'"):
        MetaFormerTextModel(config)
