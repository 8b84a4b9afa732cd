"""The command line: precedence, wrong keys, help, and the way there and back through plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.config.command_line import from_dict, parse, to_dict
from metaformer_nlp.config.options import option_names
from tasks.training import TrainingConfig


@dataclass(frozen=True)
class NetConfig:
    """The network."""

    token_mixer: str | dict[str, Any] | list[Any] = "pooling"
    """What mixes the tokens."""
    depth: int = 2
    """How many blocks."""


@dataclass(frozen=True)
class OptimConfig:
    """The optimizer."""

    lr: float = 1e-3
    """Peak of the learning rate."""
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        if self.lr < 0:
            raise ValueError(f"optim.lr {self.lr} must not be negative")


@dataclass(frozen=True)
class RunConfig:
    """The run."""

    folder: str
    """Where results go."""


@dataclass(frozen=True)
class Config:
    """An experiment."""

    run: RunConfig
    net: NetConfig = field(default_factory=NetConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    tracker: str | None = None


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_overrides_win_over_recipes_wherever_they_stand(tmp_path: Path) -> None:
    first = write(tmp_path / "a.yaml", "run: {folder: a}\noptim: {lr: 3e-3}\nnet: {depth: 3}\n")
    second = write(tmp_path / "b.yaml", "net.depth: 4\n")
    config = parse(Config, ["--optim.lr", "5e-4", "--config", first, f"--config={second}", "--tracker=tensorboard"])
    assert config == Config(RunConfig("a"), NetConfig(depth=4), OptimConfig(lr=5e-4), tracker="tensorboard")
    assert parse(Config, ["--config", first]).optim.lr == 3e-3  # no text, although YAML 1.1 takes 3e-3 for one


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("attention", "attention"),
        ("[pooling, attention]", ["pooling", "attention"]),
        ("{name: pooling, pool_size: 7}", {"name": "pooling", "pool_size": 7}),
    ],
)
def test_mixers_are_names_mappings_or_lists(text: str, value: Any, tmp_path: Path) -> None:
    recipe = write(tmp_path / "a.yaml", "run: {folder: a}\nnet: {token_mixer: {name: other, window: 3}}\n")
    assert parse(Config, ["--config", recipe, "--net.token_mixer", text]).net.token_mixer == value
    assert from_dict(Config, {"net": {"token_mixer": value}}, [recipe]).net.token_mixer == value  # replaced, not mixed


def test_plain_values_and_back() -> None:
    config = from_dict(Config, {"run.folder": "a", "optim": {"lr": "1e-3"}, "net": {"depth": 1}})
    assert config.optim.lr == 1e-3
    values = to_dict(config)
    assert values["optim"]["betas"] == [0.9, 0.999]
    assert from_dict(Config, values) == config
    assert option_names(Config)[:2] == ["run.folder", "net.token_mixer"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--run.folder", "a", "--net.token_mixr", "x"], "the nearest is --net.token_mixer"),
        (["--run.folder", "a", "--lr", "1"], "the nearest is --optim.lr"),
        (["--run.folder", "a", "--optim.lr", "fast"], "optim.lr"),
        (["--run.folder", "a", "--optim.lr", "-1"], "must not be negative"),
        (["--config", "missing.yaml"], "missing.yaml: no such file"),
        (["--config", "digits"], "; did you mean recipe:digits?"),
        (["--config", "pretrain/small.yaml"], "; did you mean recipe:pretrain/small?"),
        (["--config"], "needs the path"),
        ([], "run.folder"),
    ],
)
def test_a_wrong_command_line_ends_with_a_message(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(Config, argv)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"net.token_mixr": "x"}, "the nearest is net.token_mixer"),
        ({"net": {"dept": 1}}, "the nearest is net.depth"),
        ({"training.lr": 1}, "the nearest is optim.lr"),
        ({"net": 3}, "net is a group"),
        ({"optim.lr": "fast"}, "optim.lr"),
        ({"optim.lr": -1}, "must not be negative"),
    ],
)
def test_a_wrong_mapping_is_a_value_error(values: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        from_dict(Config, {"run.folder": "a", **values})
    lines = "".join(f"{key}: {value}\n" for key, value in values.items())
    recipe = write(tmp_path / "a.yaml", lines)
    with pytest.raises(ValueError, match=message):
        from_dict(Config, {"run.folder": "a"}, [recipe])


@pytest.mark.parametrize("recipe", ["optim: {lr: fast}", "net: {depth: two}", "net: {depth: 1.5}"])
def test_a_recipes_values_have_their_options_types(
    recipe: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"run: {{folder: x}}\n{recipe}\n")
    with pytest.raises(SystemExit) as end:
        parse(Config, ["--config", str(path)])
    assert end.value.code == 2
    assert "is not allowed; it must be a" in capsys.readouterr().err


def test_recipes_must_be_mappings(tmp_path: Path) -> None:
    twice = "optim: {lr: 1}\nrun: {folder: x}\noptim: {weight_decay: 0}\n"
    for text, message in (
        ("- a\n", "key: value"),
        ("a: [", "not valid YAML"),
        (twice, "line 3: the key .optim. is there twice"),
    ):
        with pytest.raises(ValueError, match=message):
            from_dict(Config, {}, [write(tmp_path / "a.yaml", text)])


def test_help_shows_groups_docstrings_and_the_recipes_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write(tmp_path / "a.yaml", "optim: {lr: 0.25}\n")
    with pytest.raises(SystemExit) as stop:
        parse(Config, ["--config", recipe, "--help"], description="Does things.")
    assert stop.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in ("Does things.", "The network:", "How many blocks.", "default: 0.25", "--run.folder"):
        assert part in text
    assert "--net CONFIG" not in text


def test_print_config_is_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(Config, ["--run.folder", "a", "--optim.lr", "1e-5", "--print_config"])
    recipe = write(tmp_path / "a.yaml", capsys.readouterr().out)
    assert parse(Config, ["--config", recipe]) == Config(RunConfig("a"), optim=OptimConfig(lr=1e-5))


def test_a_length_takes_the_place_of_a_recipes(tmp_path: Path) -> None:
    """Of options of which one is given, the last one counts; two in one place are still an error."""
    recipe, other = tmp_path / "epochs.yaml", tmp_path / "minutes.yaml"
    recipe.write_text("run: {folder: x, batch_size: 2}\nschedule: {epochs: 60, warmup_steps: 3}\n")
    other.write_text("schedule.minutes: 2\n")
    base = ["--config", str(recipe)]

    def lengths(config: Any) -> dict[str, Any]:
        found = {name: getattr(config.schedule, name) for name in config.schedule.ONE_OF}
        assert config.schedule.warmup_steps == 3
        return {name: value for name, value in found.items() if value is not None}

    assert lengths(parse(TrainingConfig, [*base, "--schedule.steps", "20"])) == {"steps": 20}
    assert lengths(parse(TrainingConfig, [*base, "--schedule.epochs=2"])) == {"epochs": 2}
    assert lengths(parse(TrainingConfig, [*base, "--schedule.steps", "null"])) == {"epochs": 60}
    assert lengths(from_dict(TrainingConfig, {"schedule.steps": 5}, [recipe])) == {"steps": 5}
    other.write_text("schedule: {minutes: 2, warmup_steps: 0}\n")
    minutes = parse(TrainingConfig, [*base, "--config", str(other)]).schedule
    assert (minutes.minutes, minutes.epochs) == (2, None)
    with pytest.raises(SystemExit):
        parse(TrainingConfig, [*base, "--schedule.steps", "20", "--schedule.epochs", "1"])
