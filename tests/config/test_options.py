"""What an option allows, by its type: the same from a recipe, a mapping and the command line, said in words."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from metaformer_nlp.config.command_line import from_dict, parse, to_dict
from metaformer_nlp.config.options import allowed, option_names, options_of
from metaformer_nlp.engine import ScheduleConfig
from tasks.glue import finetuning as glue_finetuning
from tasks.images import classification as image_classification
from tasks.probes import text as text_probes
from tasks.text import masked_lm


@dataclass(frozen=True)
class Inner:
    """A group."""

    rate: float = 0.5
    steps: int | None = None
    betas: tuple[float, float] = (0.9, 0.99)
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Config:
    """Options of many types."""

    inner: Inner = field(default_factory=Inner)
    switch: bool = False
    name: str = "x"
    seeds: list[int] | None = None
    files: list[str] = field(default_factory=list)
    texts: str | list[str] = "english"
    start: float | Literal["none"] | None = None
    mixer: str | dict[str, Any] | list[Any] | None = None


REFUSED = [
    # value in YAML, the same in Python, and what is allowed
    ("inner.rate", "null", None, "null is not allowed; it must be a number"),
    ("inner.rate", "fast", "fast", "fast is not allowed; it must be a number"),
    ("inner.rate", "[0.1]", [0.1], "[0.1] is not allowed; it must be a number"),
    ("inner.rate", "{a: 1}", {"a": 1}, "is not allowed; it must be a number"),
    ("inner.rate", "true", True, "true is not allowed; it must be a number"),
    ("inner.rate", "nan", "nan", "nan is not allowed; it must be a number"),
    ("inner.rate", ".nan", math.nan, "NaN is not allowed; numbers must be finite"),
    ("inner.rate", "-.inf", -math.inf, "-Infinity is not allowed; numbers must be finite"),
    ("inner.steps", "true", True, "true is not allowed; it must be a whole number or null"),
    ("inner.steps", "1.5", 1.5, "1.5 is not allowed; it must be a whole number or null"),
    ("inner.steps", "1e3", 1000.0, "1000.0 is not allowed; it must be a whole number or null"),
    ("inner.betas", "null", None, "null is not allowed; it must be a list of 2 numbers"),
    ("inner.betas", "0.9", 0.9, "0.9 is not allowed; it must be a list of 2 numbers"),
    ("inner.betas", "[0.9]", [0.9], "[0.9] is not allowed; it must be a list of 2 numbers"),
    ("inner.betas", "[0.9, null]", [0.9, None], "[0.9, null] is not allowed; it must be a list of 2 numbers"),
    ("inner.betas", "[0.9, .inf]", [0.9, math.inf], "[0.9, Infinity] is not allowed; numbers must be finite"),
    ("inner.kind", "null", None, "null is not allowed; it must be a or b"),
    ("inner.kind", "c", "c", "c is not allowed; it must be a or b"),
    ("switch", "null", None, "null is not allowed; it must be true or false"),
    ("switch", "1", 1, "1 is not allowed; it must be true or false"),
    ("seeds", "3", 3, "3 is not allowed; it must be a list of whole numbers or null"),
    ("seeds", "[true]", [True], "is not allowed; it must be a list of whole numbers or null"),
    ("files", "null", None, "null is not allowed; it must be a list of texts"),
    ("files", "a.py", "a.py", "a.py is not allowed; it must be a list of texts"),
    ("start", "true", True, "true is not allowed; it must be a number, none or null"),
    ("mixer", "{name: pooling, scale: .nan}", {"name": "pooling", "scale": math.nan}, "numbers must be finite"),
]
# What the command line takes for a text, as it takes everything there.
ONLY_FROM_FILES = [
    ("name", "null", None, "null is not allowed; it must be a text"),
    ("name", "3", 3, "3 is not allowed; it must be a text"),
    ("texts", "null", None, "null is not allowed; it must be a text or a list of texts"),
    ("mixer", "3", 3, "3 is not allowed; it must be a text, a mapping, a list or null"),
]


@pytest.mark.parametrize(("key", "text", "value", "problem"), [*REFUSED, *ONLY_FROM_FILES])
def test_a_value_of_the_wrong_type_is_refused_by_name(
    key: str, text: str, value: Any, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"{key}: {text}\n")
    for build in (lambda: from_dict(Config, {key: value}), lambda: from_dict(Config, {}, [recipe])):
        with pytest.raises(ValueError, match=f"^{key}: ") as error:
            build()
        assert problem in str(error.value)
    lines = [["--config", str(recipe)]]
    if (key, text, value, problem) in REFUSED:
        lines.append([f"--{key}={text}"])
    for argv in lines:
        with pytest.raises(SystemExit) as end:
            parse(Config, argv)
        assert end.value.code == 2
        said = capsys.readouterr().err
        assert f"{key}: " in said
        assert problem.split("; ")[-1] in said  # the value may be said as it was typed


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("inner.rate", "1e-3", 1e-3),  # without a dot, which YAML 1.1 takes for a text
        ("inner.rate", "2", 2.0),
        ("inner.steps", "null", None),
        ("inner.betas", "[0, 1e-1]", (0.0, 0.1)),
        ("switch", "true", True),
        ("seeds", "[1, 2]", [1, 2]),
        ("start", "none", "none"),
        ("start", "null", None),
        ("mixer", "{name: pooling, scale: null}", {"name": "pooling", "scale": None}),
    ],
)
def test_what_fits_is_let_through(key: str, text: str, value: Any, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"{key}: {text}\n")
    expected = from_dict(Config, {key: value})
    group, _, name = key.rpartition(".")
    found = getattr(getattr(expected, group) if group else expected, name)
    assert (found, type(found)) == (value, type(value))
    assert parse(Config, ["--config", str(recipe)]) == parse(Config, [f"--{key}={text}"]) == expected


def test_a_null_is_told_what_stands_where_nothing_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"inner\.betas: null .* numbers; left out, it is \[0\.9, 0\.99\]$"):
        from_dict(Config, {"inner.betas": None})
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("inner: {rate: null}\n")
    assert parse(Config, ["--config", str(recipe), "--inner.rate", "0.25"]).inner.rate == 0.25  # the last one counts


def test_the_warmup_of_a_real_run() -> None:
    """Which would end in a TypeError where it is compared with 0."""
    base = {"run.folder": "x", "run.batch_size": 4, "schedule.steps": 3}
    with pytest.raises(ValueError, match=r"schedule\.warmup_fraction: null .* a number; left out, it is 0\.0"):
        from_dict(masked_lm.Config, {**base, "schedule.warmup_fraction": None})
    assert from_dict(masked_lm.Config, {**base, "optim.clip_grad_norm": None}).schedule == ScheduleConfig(steps=3)


@pytest.mark.parametrize("experiment", [masked_lm, glue_finetuning, image_classification, text_probes])
def test_every_option_of_an_experiment_can_be_said_in_words(experiment: Any) -> None:
    for option in options_of(experiment.Config):
        words = allowed(option.kind)
        assert not any(sign in words for sign in "[]<>|."), f"{option.name}: {words}"
    config = from_dict(experiment.Config, {"run.folder": "x", "run.batch_size": 4, "schedule.steps": 3})
    assert from_dict(experiment.Config, to_dict(config)) == config
    assert option_names(experiment.Config)[0] == "run.folder"


@dataclass(frozen=True)
class Base:
    """What several experiments have."""

    folder: str
    _: KW_ONLY
    inner: Inner = field(default_factory=Inner)
    plugins: list[str] = field(default_factory=list)
    """Imported first."""


@dataclass(frozen=True)
class Derived(Base):
    """One of them."""

    depth: int = 2
    """Layers."""


def test_inherited_options_keep_their_place_and_their_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(to_dict(Derived("a"))) == ["folder", "depth", "inner", "plugins"]
    assert option_names(Derived) == ["folder", "depth", *(f"inner.{name}" for name in to_dict(Inner())), "plugins"]
    with pytest.raises(SystemExit):
        parse(Derived, ["--help"])
    said = capsys.readouterr().out
    assert said.index("--folder") < said.index("Layers.") < said.index("Imported first.")
