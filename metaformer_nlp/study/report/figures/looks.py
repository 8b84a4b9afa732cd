"""Colour and mark of every arm: they belong to the name of a mixer, or of a missing part, in all reports alike.

The colours of the known names are all at least `APART` from each other in CIELAB for eyes with and without each of the
three deficiencies of colour vision, and stand out from white by 3 : 1. They were found by a search over sRGB for the
set whose nearest pair lies farthest apart. Filled marks are mixers, open marks are parts that are taken out, and half
filled marks are variants of the mixer whose colour they have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metaformer_nlp.study.protocol.study import Arm, Study

APART = 12.0  # CIELAB units (CIE 1976) between the nearest two known colours
MIXERS: Mapping[str, tuple[str, str]] = {
    "attention": ("#000000", "*"),
    "pooling": ("#0072B2", "o"),
    "identity": ("#8A8A8A", "s"),
    "depthwise_conv": ("#870000", "^"),
    "separable_conv": ("#1E3C2D", "^"),
    "spatial_mlp": ("#4B694B", "v"),
    "fourier": ("#960FD2", "P"),
    "random": ("#B4875A", "D"),
    "shift": ("#F03CFF", "X"),
    "multi_window": ("#000FFF", "h"),
    "one_sided_pooling": ("#2D0F96", "d"),
    "ppaa": ("#4B1E78", "p"),
    "pooling_attention": ("#5A0F4B", ">"),
    "shift_attention": ("#E10FC3", "<"),
}
FURTHER: Mapping[str, tuple[str, str]] = {
    "decaying_sum": ("#1E3C2D", "d"),
    "spatial_gating": ("#B4875A", "v"),
    "ponet": ("#4B1E78", "o"),
    "window_mlp": ("#960FD2", "v"),
    "spatial_reduction_attention": ("#5A0F4B", "*"),
}
"""Mixers that share the colour of one they are seldom compared with; their mark tells them apart."""
PARTS: Mapping[str, tuple[str, str]] = {
    "no_residual": ("#C32D00", "s"),
    "no_norm": ("#875A87", "D"),
    "no_channel_mlp": ("#F0691E", "^"),
}
_PART_SETTINGS = {"model.use_residual": False, "model.use_channel_mlp": False, "model.norm": "none"}
_OF_MIXERS = {**MIXERS, **FURTHER}
_KNOWN = {**MIXERS, **PARTS}
_MARKS = "osD^vPXhdp><*"
# Every colour with marks that no known name has it with, for names that are not known.
_REMAINING = [
    (colour, _MARKS[(place + step) % len(_MARKS)])
    for step in range(1, len(_MARKS))
    for place, (colour, mark) in enumerate(_KNOWN.values())
    if _MARKS[(place + step) % len(_MARKS)] != mark
    and (colour, _MARKS[(place + step) % len(_MARKS)]) not in FURTHER.values()
]

Look = dict[str, Any]
Looks = Mapping[str, Look]


def arm_looks(study: Study) -> dict[str, Look]:
    """How each arm is drawn, as options of matplotlib's plot. The order of the arms in the file plays no part."""
    arms = sorted(study.arms, key=lambda arm: (not _has_look(arm.name), arm.kind == "variant", arm.name))
    names = {arm.name: known_name(arm) for arm in arms}
    looks: dict[str, Look] = {}
    strangers, variants, taken = 0, dict[str | None, int](), set[str]()
    for arm in arms:
        name = names[arm.name]
        if name is None:
            looks[arm.name] = _look(*_REMAINING[strangers % len(_REMAINING)], "none" if _is_part(arm) else "full")
            strangers += 1
        elif name in PARTS:
            looks[arm.name] = _look(*PARTS[name], "none")
        elif name not in taken and arm.kind != "variant":
            looks[arm.name] = _look(*_OF_MIXERS[name], "full")
            taken.add(name)
        else:
            colour, mark = _OF_MIXERS[name]
            others = _MARKS.replace(mark, "")
            looks[arm.name] = _look(colour, others[variants.get(name, 0) % len(others)], "left")
            variants[name] = variants.get(name, 0) + 1
    return looks


def mixer_looks(names: Sequence[str]) -> dict[str, Look]:
    """How each mixer is drawn where there is no study, by its name alone."""
    taken = {_OF_MIXERS[name][0] for name in names if name in _OF_MIXERS}
    strangers = (look for look in _REMAINING if look[0] not in taken)
    return {name: _look(*(_OF_MIXERS[name] if name in _OF_MIXERS else next(strangers)), "full") for name in names}


def known_name(arm: Arm) -> str | None:
    """The known name that an arm's look goes by: its own, else that of what it sets; None if neither is known."""
    if _has_look(arm.name):
        return arm.name
    settings: dict[str, Any] = {}
    for changed in (*arm.set_in.values(), arm.set):
        settings |= changed
    if _is_part(arm):
        parts = zip(PARTS, ("model.use_residual", "model.norm", "model.use_channel_mlp"), strict=True)
        return next((part for part, key in parts if settings.get(key) == _PART_SETTINGS[key]), None)
    name = _mixer_name(settings.get("model.token_mixer"))
    return name if name in _OF_MIXERS else None


def _has_look(name: str) -> bool:
    return name in _OF_MIXERS or name in PARTS


def _mixer_name(mixer: Any) -> str | None:
    """The name of a mixer as configurations give it; the different names of a list, joined: a hybrid."""
    if isinstance(mixer, Mapping):
        mixer = mixer.get("name")
    if isinstance(mixer, str):
        return mixer.split(" x ")[0]
    if isinstance(mixer, Sequence):
        return "_".join(dict.fromkeys(str(_mixer_name(one)) for one in mixer))
    return None


def _is_part(arm: Arm) -> bool:
    return arm.kind == "architecture"


def _look(colour: str, mark: str, filled: str) -> Look:
    """`filled` as matplotlib's fillstyle has it, but that what is not filled is white and not clear."""
    look: Look = {
        "color": colour,
        "marker": mark,
        "markersize": 11 if mark == "*" else 7,
        "markerfacecoloralt": "white",
    }
    if filled == "none":
        return {**look, "markerfacecolor": "white", "markeredgewidth": 1.8}
    return {**look, "fillstyle": filled, "markeredgewidth": 1.0}
