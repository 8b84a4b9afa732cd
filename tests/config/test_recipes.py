"""Recipes by name: the files under scripts/recipes, from any folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaformer_nlp.config.command_line import command_words, parse
from metaformer_nlp.config.recipes import SCRIPTS, recipe_path
from metaformer_nlp.study.protocol.file import Names, load_study
from tasks.experiments import EXPERIMENTS, FORMER_NAMES
from tasks.images.options import ClassificationConfig

STUDIES = sorted((SCRIPTS / "recipes/studies").glob("*.yaml"))


def test_a_name_stands_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert recipe_path("recipe:digits") == SCRIPTS / "recipes/digits.yaml"
    assert recipe_path("recipe:imagenet/poolformer_s12") == SCRIPTS / "recipes/imagenet/poolformer_s12.yaml"
    assert recipe_path("digits.yaml") == Path("digits.yaml")
    assert parse(ClassificationConfig, ["--config", "recipe:digits"]).run.folder == "runs/digits"


def test_a_wrong_name_is_told_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"no recipe 'imagnet/poolformer_s12'; did you mean 'imagenet/poolformer_s12'"):
        recipe_path("recipe:imagnet/poolformer_s12")
    with pytest.raises(SystemExit):
        parse(ClassificationConfig, ["--config", "recipe:digit"])
    assert f"did you mean 'digits'? All are in {SCRIPTS / 'recipes'}" in capsys.readouterr().err


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_finds_its_recipes_from_any_folder(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(EXPERIMENTS, FORMER_NAMES)
    monkeypatch.chdir(tmp_path)
    study = load_study(Path(f"recipe:studies/{path.stem}"), names)
    copy = tmp_path / "copy.yaml"
    copy.write_bytes(path.read_bytes())
    assert load_study(copy, names) == study


def test_how_a_program_was_started() -> None:
    assert command_words(["scripts/a.py", "b c"]) == ["python", "scripts/a.py", "b c"]
    assert command_words(["metaformer run_study", "run", "b c"]) == ["metaformer", "run_study", "run", "b c"]
