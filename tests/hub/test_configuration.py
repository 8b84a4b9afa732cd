"""Both families' configurations refuse a misspelt key, and open what a later transformers has written."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from metaformer_nlp.hub.configuration import MetaFormerConfig
from metaformer_nlp.text import MetaFormerTextConfig
from vision import MetaFormerVisionConfig

both = pytest.mark.parametrize("kind", [MetaFormerTextConfig, MetaFormerVisionConfig])


def saved(kind: type[MetaFormerConfig], folder: Path, **more: Any) -> Path:
    """A saved configuration with keys that somebody has added to its file."""
    kind().save_pretrained(folder)
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **more}))
    return folder


@both
@pytest.mark.parametrize(
    ("key", "nearest"),
    [("token_mixr", "token_mixer"), ("num_label", "num_labels"), ("pool_width", "pool_size"), ("zzz", "")],
)
def test_an_unknown_key_is_refused_with_the_nearest(kind: type[MetaFormerConfig], key: str, nearest: str) -> None:
    hint = f" Did you mean '{nearest}'" if nearest else " Known keys"
    with pytest.raises(ValueError, match=f"unknown key '{key}' in {kind.__name__}.{hint}"):
        kind(**{key: 5})
    with pytest.raises(ValueError, match=f"unknown key '{key}'"):  # whatever else a person gives
        kind(**{key: 5}, transformers_version="99.0")


def test_what_one_family_alone_knows() -> None:
    with pytest.raises(ValueError, match=r"unknown key 'out_feature' .* mean 'out_features'"):
        MetaFormerVisionConfig(**{"out_feature": ["stage1"]})
    with pytest.raises(ValueError, match="unknown key 'out_features' in MetaFormerTextConfig"):
        MetaFormerTextConfig(**{"out_features": ["stage1"]})


@both
def test_a_file_of_a_later_transformers_opens(
    kind: type[MetaFormerConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With one warning that names the keys, which the file keeps when it is saved again."""
    later = {"attribute_of_tomorrow": 1, "zeppelin": [2], "transformers_version": "99.0"}
    folder = saved(kind, tmp_path / "later", **later)
    with caplog.at_level(logging.WARNING, "metaformer_nlp.hub.configuration"):
        config = AutoConfig.from_pretrained(folder)
    (message,) = (record.getMessage() for record in caplog.records)
    assert message.startswith(f"{kind.__name__} does not know 'attribute_of_tomorrow', 'zeppelin'")
    assert "transformers 99.0" in message
    assert type(config) is kind
    config.save_pretrained(tmp_path / "again")
    again = json.loads((tmp_path / "again/config.json").read_text())
    assert (again["attribute_of_tomorrow"], again["zeppelin"]) == (1, [2])
    _, unused = kind.from_pretrained(folder, return_unused_kwargs=True, nobody_asks=3)
    assert unused == {"nobody_asks": 3}


@both
def test_a_misspelling_in_a_file_is_refused(kind: type[MetaFormerConfig], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"unknown key 'layer_scale_init' .* mean 'layer_scale_init_value'"):
        AutoConfig.from_pretrained(saved(kind, tmp_path, layer_scale_init=1e-5))


@both
def test_what_transformers_itself_writes_is_known(
    kind: type[MetaFormerConfig], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = {
        "torch_dtype": "float32",
        "_name_or_path": "x",
        "use_cache": True,
        "max_length": 20,
        "quantization_config": None,
    }
    with caplog.at_level(logging.WARNING, "metaformer_nlp.hub.configuration"):
        AutoConfig.from_pretrained(saved(kind, tmp_path, **keys), num_labels=3, attn_implementation="eager")
    assert not caplog.records


def test_what_is_given_on_opening_is_checked_like_the_rest(tmp_path: Path) -> None:
    MetaFormerTextConfig(vocab_size=50).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"unknown key 'pool_sze'.*Did you mean 'pool_size'"):
        MetaFormerTextConfig.from_pretrained(tmp_path, pool_sze=7)
    with pytest.raises(ValueError, match=r"unmixed_token_id=4 .*norm='group_norm'"):
        MetaFormerTextConfig.from_pretrained(tmp_path, norm="group_norm", unmixed_token_id=4)
    assert MetaFormerTextConfig.from_pretrained(tmp_path, pool_size=7).pool_size == 7
