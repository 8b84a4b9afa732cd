"""Every way of mixing that the models are tested with: each registered mixer, and options that take other paths."""

from __future__ import annotations

from typing import Any

from metaformer_nlp.core import MIXERS

POOLING_WINDOWS: dict[str, Any] = {"name": "pooling", "pool_size": [3, 7, "left:2", "global"]}
ATTENTION_KINDS: list[dict[str, Any]] = [
    {"name": "attention", "window": 4},
    {"name": "attention", "positions": "rotary"},
    {"name": "attention", "positions": "rotary", "qk_norm": True, "window": 4},
    {"name": "attention", "positions": "alibi"},
    {"name": "attention", "positions": "one_sided", "num_heads": 4, "window": 4},
    {"name": "attention", "positions": "learned_relative"},
]
TEXT_MIXERS: list[Any] = [*(name for name in MIXERS if 1 in MIXERS[name].ranks), POOLING_WINDOWS, *ATTENTION_KINDS]
IMAGE_MIXERS: list[Any] = [
    *(name for name in MIXERS if 2 in MIXERS[name].ranks),
    *(kind for kind in ATTENTION_KINDS if kind.get("positions") != "one_sided"),
]
WINDOWS_AND_GLOBAL: list[Any] = [
    {"name": "attention x 3", "positions": "rotary", "window": 4},
    {"name": "attention", "positions": "rotary", "rope_theta": 160_000.0},
]
"""Four layers, of which one looks at everything; ModernBERT (arXiv 2412.13663) has one of three."""


def mixer_of(spec: Any) -> str:
    """The registered name of a specification."""
    return spec if isinstance(spec, str) else spec["name"]


def mixer_id(spec: Any) -> str:
    """A name for pytest, such as ``attention-rotary-qk_norm-window=4``."""
    if isinstance(spec, str):
        return spec
    if isinstance(spec, list):
        return "+".join(map(mixer_id, spec))
    words = [spec["name"]]
    for option, value in spec.items():
        if option == "positions":
            words.append(value)
        elif option != "name":
            words.append(option if value is True else f"{option}={value}".replace(" ", ""))
    return "-".join(words)


def knows_order(spec: Any) -> bool:
    """Does it tell a text from the same one read backwards, where the model has no position embedding?"""
    name, options = mixer_of(spec), {} if isinstance(spec, str) else spec
    if name == "attention":
        return options.get("positions", "none") not in ("none", "alibi")
    if name == "pooling":
        return any(":" in str(size) for size in options.get("pool_size", []))
    return name not in ("identity", "ponet")  # ponet's chunks hold the whole of a short text
