"""GLUE's table over seeds and the submission: averages by hand, and every rule of the server broken once."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaformer_nlp.config.command_line import from_dict
from tasks.glue import submission as glue_submission
from tasks.glue.evaluation import Config, run
from tasks.glue.submission import FILES, answers, check_submission, write_submission
from tasks.glue.table import averages, combine, glue_table, render, show
from tasks.glue.tasks import GLUE

CONSTANTS = ("constant", "constant_mismatched")


def metrics(scores: dict[str, float]) -> dict[str, float]:
    """What finetune_glue writes for tasks that reach these scores in every metric."""
    found: dict[str, float] = {"validation/average": 0.0}
    for name, score in scores.items():
        for metric in (*GLUE[name].metrics, "score"):
            for place, (split, constant) in enumerate(zip(GLUE[name].evaluation, CONSTANTS, strict=False)):
                found[f"{split}/{name}/{metric}"] = score + 0.1 * place
                found[f"{constant}/{name}/{metric}"] = 0.5 - 0.2 * place
    return found


def test_the_three_averages_by_hand() -> None:
    eight = dict.fromkeys(("CoLA", "SST-2", "MRPC", "STS-B", "QQP", "QNLI", "RTE"), 0.6) | {"MNLI": 0.7}
    nine_numbers, eight_tasks = averages([metrics(eight)])
    assert nine_numbers.mean == pytest.approx((7 * 0.6 + 0.7 + 0.8) / 9)
    assert eight_tasks.mean == pytest.approx((7 * 0.6 + 0.75) / 8)
    assert nine_numbers.constant == pytest.approx((8 * 0.5 + 0.3) / 9)
    assert eight_tasks.constant == pytest.approx((7 * 0.5 + 0.4) / 8)
    early = metrics(eight)
    del early["constant_mismatched/MNLI/score"]
    assert [(line.mean, math.isnan(line.constant)) for line in averages([early])] == [
        (nine_numbers.mean, True), (eight_tasks.mean, True),
    ]  # fmt: skip
    assert averages([metrics(eight | {"WNLI": 0.3})])[2].mean == pytest.approx((7 * 0.6 + 0.75 + 0.3) / 9)
    assert averages([metrics({"CoLA": 0.5})]) == []
    (some,) = averages(
        [metrics({"CoLA": 0.5, "MNLI": 0.6, "WNLI": 0.0}), metrics({"CoLA": 0.5, "MNLI": 0.8, "RTE": 1.0})]
    )
    assert (some.split, some.mean) == ("2 tasks here, no WNLI", pytest.approx((0.575 + 0.675) / 2))
    started = metrics(eight) | {f"{split}/{name}-from-MNLI/score": 0.9 for name in ("MRPC", "STS-B", "RTE")
                                for split in ("validation", "constant")}  # fmt: skip
    assert [line.mean for line in averages([started])[1:]] == [
        pytest.approx((7 * 0.6 + 0.75) / 8), pytest.approx((4 * 0.6 + 3 * 0.9 + 0.75) / 8),
    ]  # fmt: skip


def test_what_began_with_mnlis_model_is_in_no_average_of_the_others() -> None:
    def result(score: float) -> dict[str, Any]:
        found = {"validation/accuracy": score, "validation/score": score, "validation/loss": 1.0}
        return {"metrics": found, "parameters": {}, "train": {"steps": 1}, "seconds": 1.0}

    columns = {"RTE": result(0.6), "RTE-from-MNLI": result(0.9)}
    constants = {key: {"validation": {"accuracy": 0.5, "score": 0.5}} for key in columns}
    found = combine(columns, constants, {key: {} for key in columns})["metrics"]
    assert found["validation/average"] == 0.6
    assert found["validation/RTE-from-MNLI/accuracy"] == 0.9
    assert found["constant/RTE-from-MNLI/accuracy"] == 0.5


def test_the_most_frequent_answer_is_measured_on_each_of_mnlis_sets() -> None:
    reached = {f"{split}/{key}": 0.8 for split in GLUE["MNLI"].evaluation for key in ("accuracy", "score", "loss")}
    results = {"MNLI": {"metrics": reached, "parameters": {}, "train": {"steps": 1}, "seconds": 1.0}}
    constants = {"MNLI": {"validation": {"accuracy": 0.4, "score": 0.4},
                          "validation_mismatched": {"accuracy": 0.2, "score": 0.2}}}  # fmt: skip
    found = combine(results, constants, {"MNLI": {}})["metrics"]
    assert found["constant/MNLI/accuracy"] == 0.4
    assert found["constant_mismatched/MNLI/accuracy"] == 0.2
    assert found["constant/average"] == pytest.approx(0.3)
    assert [line.constant for line in glue_table([found])] == [0.4, 0.2]
    del found["constant_mismatched/MNLI/accuracy"]  # as in results of early versions
    assert math.isnan(glue_table([found])[1].constant)


def test_no_table_is_cut_however_narrow_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    runs = [metrics({"CoLA": value, "MNLI": 0.8}) for value in (0.1, 0.2, 0.6)]
    show(render([*glue_table(runs), *averages(runs)]))
    said = capsys.readouterr().out
    assert "…" not in said
    for text in ("dev_mismatched", "Matthews", "-35.7 to 95.7", "2 tasks here, no WNLI"):
        assert text in said


def test_lines_summarise_seeds() -> None:
    runs = [metrics({"CoLA": value, "MRPC": 0.8}) for value in (0.1, 0.2, 0.6)]
    cola, accuracy, _f1 = glue_table([*runs, metrics({"MRPC": 0.8})])
    assert (cola.seeds, cola.median, cola.mean, cola.constant) == (3, 0.2, pytest.approx(0.3), 0.5)
    half = 4.302652729911275 * np.std([0.1, 0.2, 0.6], ddof=1) / math.sqrt(3)
    assert (cola.low, cola.high) == (pytest.approx(0.3 - half), pytest.approx(0.3 + half))
    assert accuracy.seeds == 4


def test_rows_held_out_of_training_have_a_table_of_their_own(tmp_path: Path) -> None:
    def held_out(score: float) -> dict[str, float]:
        found = metrics({"CoLA": score, "MRPC": 0.8})
        return {key.replace("validation/", "held_out/"): value for key, value in found.items()}

    folders = [tmp_path / str(number) for number in range(2)]
    for folder, score in zip(folders, (0.2, 0.4), strict=True):
        folder.mkdir()
        (folder / "result.json").write_text(json.dumps({"metrics": held_out(score)}))
    lines = run(from_dict(Config, {"runs": ", ".join(map(str, folders))}))  # with a blank after the comma
    cola, *_, average = lines
    assert (cola.split, cola.seeds, cola.mean) == ("held_out", 2, pytest.approx(0.3))
    assert (average.split, average.mean) == ("2 tasks here, no WNLI, rows held out", pytest.approx(0.55))


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    """All constants: no model is needed for a file that keeps the rules."""
    made = write_submission({}, str(tmp_path), tmp_path / "all.zip")
    assert all("constant" in origin for origin in made.values())
    return tmp_path / "all.zip"


def changed(path: Path, name: str, old: str, new: str) -> Path:
    """A copy in which the first ``old`` of a file has become ``new``; without ``old`` the file is left out."""
    with zipfile.ZipFile(path) as archive:
        files = {item: archive.read(item).decode() for item in archive.namelist()}
    text = files.pop(name)
    if old:
        assert old in text
        files[name] = text.replace(old, new, 1)
    copy = path.with_name("changed.zip")
    with zipfile.ZipFile(copy, "w") as archive:
        for item, content in files.items():
            archive.writestr(item, content)
    return copy


def test_a_submission_keeps_the_rules_and_each_broken_one_is_found(submission: Path) -> None:
    assert check_submission(submission) == []
    for name, old, new, said in (
        ("AX.tsv", "", "", "missing"),
        ("RTE.tsv", "index\tprediction", "id\tlabel", "header"),
        ("RTE.tsv", "7\tentailment\n", "", "2999 rows instead of 3000"),
        ("RTE.tsv", "7\tentailment", "8\tentailment", "index '8'"),
        ("RTE.tsv", "7\tentailment", "7\t0", "not one of entailment"),
        ("STS-B.tsv", "7\t2.500", "7\t5.100", "no number from 0 to 5"),
        ("STS-B.tsv", "7\t2.500", "7\tnan", "no number from 0 to 5"),
    ):
        problems = check_submission(changed(submission, name, old, new))
        assert len(problems) == 1
        assert said in problems[0]


def test_answers_are_words_and_scores_are_clamped() -> None:
    assert answers(GLUE["RTE"], np.array([[0.0, 1.0], [1.0, 0.0]])) == ["not_entailment", "entailment"]
    assert answers(GLUE["STS-B"], np.array([[-1.0], [2.34567], [9.0]])) == ["0.000", "2.346", "5.000"]


def test_each_task_is_predicted_by_its_median_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []
    for number, score in enumerate((0.9, 0.1, 0.5)):
        folders.append(tmp_path / f"run{number}")
        folders[-1].mkdir()
        (folders[-1] / "result.json").write_text(json.dumps({"metrics": metrics({"RTE": score})}))
        (folders[-1] / "RTE").mkdir()
        (folders[-1] / "RTE" / "config.json").write_text(json.dumps({"data": {"max_length": 96}}))
    (tmp_path / "glue" / "RTE").mkdir(parents=True)
    rows = "".join(f"{row}\tone\tother\n" for row in range(FILES["RTE"].rows))
    (tmp_path / "glue" / "RTE" / "test.tsv").write_text("index\tsentence1\tsentence2\n" + rows)
    asked: list[Path] = []

    def predict(folder: Path, texts: list[tuple[str, ...]], max_length: int) -> np.ndarray:
        asked.append(folder)
        assert max_length == 96
        return np.tile([0.0, 1.0], (len(texts), 1))

    monkeypatch.setattr(glue_submission, "predict", predict)
    options = {"runs": list(map(str, folders)), "root": str(tmp_path / "glue"), "submission": str(tmp_path / "s.zip")}
    run(from_dict(Config, options))
    assert asked == [folders[2] / "RTE" / "model"]
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        assert archive.read("RTE.tsv").decode().split("\n")[1] == "0\tnot_entailment"
    with pytest.raises(ValueError, match=r"result\.json is missing"):
        run(from_dict(Config, {"runs": [str(tmp_path)]}))


def test_the_diagnostic_set_is_predicted_by_mnlis_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "diagnostic").mkdir()
    rows = "".join(f"{row}\tone\tother\n" for row in range(FILES["AX"].rows))
    (tmp_path / "diagnostic" / "diagnostic.tsv").write_text("index\tsentence1\tsentence2\n" + rows)
    monkeypatch.setattr(glue_submission, "predict", lambda _, texts, __: np.tile([0.0, 0.0, 1.0], (len(texts), 1)))
    made = write_submission({"MNLI": "mnli/model"}, str(tmp_path), tmp_path / "s.zip")
    assert made["AX"] == "mnli/model, 1104 rows"
    assert "no test file" in made["MNLI-m"]
    with zipfile.ZipFile(tmp_path / "s.zip") as archive:
        assert archive.read("AX.tsv").decode().split("\n")[1104] == "1103\tcontradiction"
    assert check_submission(tmp_path / "s.zip") == []
