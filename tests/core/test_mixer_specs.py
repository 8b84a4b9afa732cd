"""How a mixer is named and built: short lists, options, and what is refused with which words."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from metaformer_nlp.core import TokenMixer, build_mixer, mixer_specs, register_mixer
from tests.core.test_mixers import DIM, LENGTH


def test_unknown_name_lists_the_names() -> None:
    with pytest.raises(ValueError, match=r"unknown token mixer 'poling'.*'pooling'.*identity"):
        build_mixer("poling", DIM, (LENGTH,))


def test_duplicate() -> None:
    with pytest.raises(ValueError, match="already registered"):
        register_mixer("pooling")(TokenMixer)


def test_misspelt_option() -> None:
    with pytest.raises(ValueError, match=r"'pooling' has no option 'pool_sise'. Did you mean 'pool_size'\?.*gate"):
        build_mixer({"name": "pooling", "pool_sise": 5}, DIM, (LENGTH,))


def test_wrong_number_of_mixers() -> None:
    with pytest.raises(ValueError, match=r"2 mixers for 4 stages"):
        mixer_specs(["pooling", "attention"], 4)


def test_short_lists() -> None:
    def names(token_mixer: Any, count: int) -> list[str]:
        return [spec["name"] for spec in mixer_specs(token_mixer, count, unit="layer")]

    assert names(["pooling x 3", "attention x 2"], 5) == ["pooling"] * 3 + ["attention"] * 2
    assert names(["identity", "pooling x rest", "attention x 2"], 6) == [
        "identity",
        *["pooling"] * 3,
        *["attention"] * 2,
    ]
    assert names("pooling x rest", 4) == names(["pooling x4"], 4) == ["pooling"] * 4
    wide = mixer_specs([{"name": "pooling x 2", "pool_size": 7}, "pooling x rest"], 3)
    assert wide == [{"name": "pooling", "pool_size": 7}] * 2 + [{"name": "pooling"}]
    wide[0]["pool_size"] = 3
    assert wide[1]["pool_size"] == 7


@pytest.mark.parametrize(
    ("token_mixer", "message"),
    [
        (["pooling x 3", "attention"], r"4 mixers for 5 layers.*'pooling x rest'"),
        (["pooling x rest", "attention x 5"], r"5 mixers and 'x rest' 1 times for 5 layers"),
        (["pooling x rest", "attention x rest"], "'x rest' 2 times"),
        ("pooling x 3", "3 mixers for 5 layers"),
        (["pooling x 0"], "'pooling x 0': write 'pooling x 3'"),
        (["pooling x ten"], "write 'pooling x 3'"),
        (["poling x 5"], "unknown token mixer 'poling'"),
        (["pooling 5"], "unknown token mixer 'pooling 5'"),
    ],
)
def test_wrong_short_lists(token_mixer: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        mixer_specs(token_mixer, 5, unit="layer")


def test_no_name() -> None:
    with pytest.raises(ValueError, match="'name'"):
        mixer_specs([{"pool_size": 3}], 1)


def test_too_long_for_fixed_length() -> None:
    with pytest.raises(ValueError, match=r"\(20,\) tokens and got \(21,\)"):
        build_mixer("spatial_mlp", DIM, (20,))(torch.randn(1, 21, DIM))
    with pytest.raises(ValueError, match=r"\(4, 5\) tokens and got \(5, 4\)"):
        build_mixer("random", DIM, (4, 5))(torch.randn(1, 5, 4, DIM))


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ({"name": "attention", "num_heads": 5}, (LENGTH,), "attention cannot divide 12 channels into 5 equal heads"),
        ({"name": "attention", "num_heads": 0}, (LENGTH,), "into 0 equal heads"),
        ({"name": "attention", "head_dim": 0}, (LENGTH,), r"\(head_dim 0\)"),
        ({"name": "ponet", "head_dim": 2, "num_heads": 7}, (LENGTH,), "ponet cannot divide 12 channels into 7 equal"),
        ({"name": "ponet", "chunk_size": 0}, (LENGTH,), "ponet: chunk_size must be at least 1, not 0"),
        ({"name": "spatial_reduction_attention", "num_heads": 5}, (4, 5), "spatial_reduction_attention cannot divide"),
        ({"name": "spatial_reduction_attention", "reduction": 0}, (4, 5), "reduction must be at least 1, not 0"),
    ],
)
def test_heads_must_divide(spec: dict[str, Any], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_mixer(spec, DIM, shape)


@pytest.mark.parametrize("pool_size", [2, 0, -3, "left", "left:0", "up:2", "sideways:3", True, 3.0, []])
def test_impossible_windows_are_refused(pool_size: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"pool_size|iterable"):
        build_mixer({"name": "pooling", "pool_size": pool_size}, DIM, (LENGTH,))
