"""The configuration: what it refuses, and that saved ones load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.core import MIXERS
from vision import MetaFormerVisionConfig, create_config


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"token_mixr": "pooling"}, ["token_mixr", "token_mixer"]),
        ({"pool_sise": 5}, ["pool_sise", "pool_size"]),
        ({"token_mixer": "poolin"}, ["poolin", *MIXERS.names()]),
        ({"token_mixer": ["pooling"] * 3}, ["3 mixers", "4 stages"]),
        ({"token_mixer": ["pooling", "pooling", "pooling", "atention"]}, ["atention", "attention"]),
        ({"norm": "group"}, ["group", "group_norm", "layer_norm"]),
        ({"hidden_act": "gelux"}, ["gelux", "gelu"]),
        ({"depths": [2, 2, 2]}, ["depths with 3", "hidden_sizes with 4"]),
        ({"hidden_sizes": [64, 128, 0, 512]}, ["hidden_sizes", "0"]),
        ({"drop_path_rate": 1.0}, ["drop_path_rate"]),
        ({"crop_pct": 90}, ["crop_pct"]),
        ({"mlp_ratio": 0}, ["mlp_ratio"]),
        ({"image_size": 2}, ["2x2", "at least 3x3"]),
        ({"image_size": [224, 224, 3]}, ["image_size"]),
        ({"res_scale_init_value": [1.0]}, ["res_scale_init_value", "4 stages"]),
        ({"mlp_ratio": [4, 4, 0, 4]}, ["mlp_ratio"]),
        ({"mlp_ratio": [4, 4]}, ["mlp_ratio", "2 entries for 4 stages"]),
        ({"position_embedding": [True]}, ["position_embedding", "4 stages"]),
        ({"embedding_norm": "layer"}, ["layer", "layer_norm"]),
        ({"out_features": ["stage9"]}, ["stage9"]),
    ],
)
def test_wrong_values_are_explained(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the words are checked below)
        MetaFormerVisionConfig(**changes)
    for word in words:
        assert word in str(caught.value)


def test_a_value_of_a_wrong_type_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="depths"):
        create_config("poolformer_s12", depths="2")


@pytest.mark.parametrize("changes", [{"head": "mlpp"}, {"head_norm": "after"}, {"convolution_init": "torch"}], ids=str)
def test_a_choice_that_is_none_is_a_value_error(changes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        create_config("poolformer_s12", **changes)


def test_saved_configuration_loads(tmp_path: Path) -> None:
    config = create_config("poolformer_m36", token_mixer=["pooling", "identity", {"name": "attention"}, "fourier"])
    config.save_pretrained(tmp_path)
    again = MetaFormerVisionConfig.from_pretrained(tmp_path)
    assert again.to_dict() == config.to_dict()
    assert again.num_labels == 1000


def test_keys_of_a_saved_hugging_face_configuration_are_accepted() -> None:
    keys = {"transformers_version": "5.0.0", "_name_or_path": "x", "torch_dtype": "float32", "architectures": ["X"]}
    config = MetaFormerVisionConfig(**keys, model_type="metaformer_vision", id2label={"0": "cat", "1": "dog"})
    assert config.id2label == {0: "cat", 1: "dog"}
    assert MetaFormerVisionConfig.from_dict(config.to_dict()).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("size", "grids"),
    [((224, 224), [56, 28, 14, 7]), ((3, 3), [1, 1, 1, 1]), ((225, 225), [56, 28, 14, 7]), ((33, 33), [8, 4, 2, 1])],
)
def test_grids(size: tuple[int, int], grids: list[int]) -> None:
    assert MetaFormerVisionConfig().grids(size) == [(side, side) for side in grids]


@pytest.mark.parametrize("name", ["poolformer_s12", "poolformer_xxs"])
def test_least_image_size_is_the_least(name: str) -> None:
    config = create_config(name)
    least = config.least_image_size()
    config.grids((least, least))
    if least > 1:
        with pytest.raises(ValueError, match=f"at least {least}x{least}"):
            config.grids((least, least - 1))
