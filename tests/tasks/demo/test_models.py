"""Models are found by their kind; what could run code, or leads elsewhere, is refused and never opened."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks.demo.models import Models, given_models
from tasks.demo.training import looked_at, overview
from tasks.text.checkpoints import load_text_model

KINDS = {
    "runs/classifier": "classifier",
    "runs/detector": "detector",
    "runs/order": "text_classifier",
    "runs/segmenter": "segmenter",
    "runs/words": "masked_lm",
}


def test_every_kind_is_found_and_opened(models: Models) -> None:
    assert {one.name: one.kind for one in models.found()} == KINDS
    for name, kind in KINDS.items():
        opened = models.open(name, kind)  # type: ignore[arg-type]
        assert not opened.model.training
        assert (opened.tokenizer is not None) == (kind in ("masked_lm", "text_classifier"))
        assert models.open(name, kind) is opened, "once"  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="runs/words is a masked language model; here a classifier is needed"):
        models.open("runs/words", "classifier")


def test_a_run_folder_a_model_folder_and_a_file_can_be_given(runs: Path, tmp_path: Path) -> None:
    weights = runs / "classifier/model/model.safetensors"
    entries = [str(runs / "classifier"), str(runs / "words/model"), f"poolformer_nano={weights}"]
    models = given_models(entries, tmp_path)
    assert [one.kind for one in models.found()] == ["classifier", "masked_lm", "classifier"]
    with pytest.raises(ValueError, match="no such file or folder"):
        given_models([str(tmp_path / "none")], tmp_path)


@pytest.fixture
def broken(runs: Path, tmp_path: Path) -> Path:
    """A model that each test damages in its way, in a given folder."""
    shutil.copytree(runs / "classifier/model", tmp_path / "given/broken")
    return tmp_path / "given/broken"


def problem(folder: Path) -> str:
    """What the page says of the one model below the given folder, which it does not open."""
    models = Models({"given": folder.parent})
    (one,) = models.found()
    assert one.kind is None
    assert "given/<wbr>broken" in overview(models) or one.name == "given"
    with pytest.raises(ValueError, match="given"):
        models.open("given/broken", "classifier")
    assert 'class="problem"' in looked_at(models, "given/broken")
    return one.problem


class Evil:
    """A pickle that runs code."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pt", "model.pkl"])
def test_a_pickle_is_refused_and_not_run(broken: Path, name: str, tmp_path: Path) -> None:
    (broken / "model.safetensors").unlink()
    (broken / name).write_bytes(pickle.dumps(Evil(tmp_path / "was run")))
    assert "are a pickle" in problem(broken)
    assert not (tmp_path / "was run").exists()
    with pytest.raises(ValueError, match="are a pickle"):
        given_models([f"poolformer_nano={broken / name}"], tmp_path).open(
            f"poolformer_nano={broken / name}", "classifier"
        )


def test_code_of_a_folder_is_not_run(broken: Path, tmp_path: Path) -> None:
    config = json.loads((broken / "config.json").read_text())
    code = {"AutoConfig": "evil.Config", "AutoModelForMaskedLM": "evil.Model", "AutoTokenizer": ["evil.T", None]}
    config |= {"model_type": "evil", "auto_map": code, "architectures": ["EvilForMaskedLM"]}
    (broken / "config.json").write_text(json.dumps(config))
    (broken / "tokenizer_config.json").write_text(json.dumps({"auto_map": code}))
    (broken / "tokenizer.json").write_text("{}")
    (broken / "evil.py").write_text(f"open({str(tmp_path / 'was run')!r}, 'w')")
    with pytest.raises(ValueError, match=r"given/broken|holds no tokenizer"):
        Models({"given": broken.parent}).open("given/broken", "masked_lm")
    with pytest.raises(ValueError, match=r"trust_remote_code|evil"):
        load_text_model(broken, "model", "MaskedLM")
    assert not (tmp_path / "was run").exists()


def test_links_out_of_the_folder_are_refused(broken: Path, tmp_path: Path) -> None:
    shutil.move(broken / "model.safetensors", tmp_path / "elsewhere.safetensors")
    (broken / "model.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    assert "model.safetensors: a link out of the given folder is refused" in problem(broken)


def test_files_that_name_other_files_are_refused(broken: Path) -> None:
    (broken / "tokenizer_config.json").write_text(json.dumps({"vocab_file": "/etc/passwd"}))
    assert "names the file /etc/passwd outside of the folder" in problem(broken)
    (broken / "tokenizer_config.json").unlink()
    (broken / "model.safetensors").unlink()
    index = {"weight_map": {"x": "../secret.safetensors"}}
    (broken / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "../secret.safetensors, which is refused" in problem(broken)


def test_what_is_no_model_gets_a_sentence(broken: Path, tmp_path: Path) -> None:
    (broken / "model.safetensors").unlink()
    assert problem(broken) == "no weights: there is no model.safetensors in the folder."
    (tmp_path / "empty").mkdir()
    assert "no model: there is no config.json" in overview(Models({"empty": tmp_path / "empty"}))
    config = {"model_type": "bert", "architectures": ["BertForQuestionAnswering"]}
    (broken / "config.json").write_text(json.dumps(config))
    (broken / "model.safetensors").write_bytes(b"none")
    assert "a BertForQuestionAnswering. The page shows" in problem(broken)
    config = {"model_type": "metaformer_vision", "architectures": ["MetaFormerVisionForMaskedImageModeling"]}
    (broken / "config.json").write_text(json.dumps(config))
    assert "a MetaFormerVisionForMaskedImageModeling. The page shows" in problem(broken)
    for architectures in ({"a": "b"}, 5, "BertForMaskedLM"):
        (broken / "config.json").write_text(json.dumps({"model_type": "bert", "architectures": architectures}))
        assert "a bert. The page shows" in problem(broken)
    (broken / "circle").symlink_to("circle")
    assert "circle: a link that leads nowhere" in problem(broken)


def test_where_a_tokenizer_came_from_is_no_file(broken: Path) -> None:
    (broken / "tokenizer_config.json").write_text(json.dumps({"name_or_path": "somebody/model"}))
    assert Models({"given": broken.parent}).names("classifier") == ["given/broken"]


def test_a_folder_that_goes_away_is_no_error(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("tasks.demo.models.check_weights", gone)
    assert {one.problem for one in models.found()} == {"cannot be read: No such file or directory."}


def test_what_the_lists_leave_out_is_said(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.demo.models.MOST", 2)
    assert "3 further folders, which the lists leave out" in overview(models)
    assert "is a masked language model" in looked_at(models, "runs/words")
    assert models.names("masked_lm") == ["runs/words"]


def test_damaged_weights_get_a_sentence(broken: Path) -> None:
    (broken / "model.safetensors").write_bytes(b"none")
    with pytest.raises(ValueError, match="damaged"):
        Models({"given": broken.parent}).open("given/broken", "classifier")


def test_a_folder_that_was_named_joins_the_lists(runs: Path, tmp_path: Path) -> None:
    deep = tmp_path / "given/a/b/c/d/e"
    shutil.copytree(runs / "classifier", deep)
    models = Models({"given": tmp_path / "given"})
    assert models.names("classifier") == []
    assert "is a classifier" in looked_at(models, " given/a/b/c/d/e ")
    assert models.names("classifier") == ["given/a/b/c/d/e"]
    shutil.rmtree(deep)
    (gone,) = [one for one in models.found() if one.name == "given/a/b/c/d/e"]
    assert "no such folder" in gone.problem, "the page stays"


def test_a_model_that_was_trained_again_is_opened_again(broken: Path) -> None:
    models = Models({"given": broken.parent})
    first = models.open("given/broken", "classifier")
    (broken / "model.safetensors").touch()
    assert models.open("given/broken", "classifier") is not first
