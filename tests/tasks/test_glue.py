"""GLUE's files: every line is a row, every character stays, and what does not fit is named with file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.glue import (
    GLUE,
    TASKS,
    Example,
    available_tasks,
    examples_from_rows,
    read_hub,
    read_split,
    read_tsv,
    task_named,
)


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    "text",
    [
        'a "quoted word in the middle',
        '"a quote that never ends',
        'ends with a quote"',
        '""',
        "next\x85line and\u2028line separator, \x0b\x0c\x1c\x1e",
        "null",
        "NA",
        "None",
        "",
        "  spaces kept  ",
        "a NUL \0 inside",
        "emoji \N{PILE OF POO}, accents é, it's # not a comment",
        "carriage\rreturn inside",
    ],
)
def test_any_text_is_one_row_and_keeps_its_characters(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "train.tsv", f"sentence\tlabel\nfirst\t0\n{text}\t1\nlast\t0\n")
    assert read_tsv(path, GLUE["SST-2"]) == [Example(("first",), 0), Example((text,), 1), Example(("last",), 0)]


@pytest.mark.parametrize("end", ["\n", ""])
def test_windows_line_ends_and_byte_order_mark_are_no_text(tmp_path: Path, end: str) -> None:
    path = write(tmp_path / "train.tsv", b"\xef\xbb\xbf" + f"sentence\tlabel\r\none\t0\r\ntwo\t1{end}".encode())
    assert [row.texts for row in read_tsv(path, GLUE["SST-2"])] == [("one",), ("two",)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("short", "1 columns instead of 2"),
        ("one\ttoo many\t1", "3 columns instead of 2"),
        ("", "1 columns instead of 2"),
        ("text\t2", "label '2' of SST-2 is not one of 0, 1"),
        ("text\t-1", "label '-1'"),
        ("text\t", "label ''"),
        ("text\t1.0", "label '1.0'"),
    ],
)
def test_a_wrong_row_is_named_by_file_and_line(tmp_path: Path, line: str, problem: str) -> None:
    path = write(tmp_path / "train.tsv", f"sentence\tlabel\ngood\t1\n{line}\nafter\t0\n")
    with pytest.raises(ValueError, match=r"train.tsv:3: ") as error:
        read_tsv(path, GLUE["SST-2"])
    assert problem in str(error.value)


@pytest.mark.parametrize("score", ["5.001", "-0.1", "nan", "inf", "high", ""])
def test_a_score_must_be_a_number_in_range(tmp_path: Path, score: str) -> None:
    path = write(tmp_path / "train.tsv", f"index\tsentence1\tsentence2\tscore\n0\ta\tb\t{score}\n")
    with pytest.raises(ValueError, match=r"train.tsv:2: label .* from 0 to 5"):
        read_tsv(path, GLUE["STS-B"])


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    sts = write(tmp_path / "sts.tsv", "score\tx\tsentence2\tsentence1\n2.5\t-\tb\ta\n")
    assert read_tsv(sts, GLUE["STS-B"]) == [Example(("a", "b"), 2.5)]
    rte = write(tmp_path / "rte.tsv", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tnot_entailment\n")
    assert read_tsv(rte, GLUE["RTE"]) == [Example(("a", "b"), 1)]
    mrpc = write(tmp_path / "mrpc.tsv", "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t7\t8\ta\tb\n")
    assert read_tsv(mrpc, GLUE["MRPC"]) == [Example(("a", "b"), 1)]
    with pytest.raises(ValueError, match=r"sst.tsv:1: no column 'sentence' for SST-2; the header has 'text', 'label'"):
        read_tsv(write(tmp_path / "sst.tsv", "text\tlabel\na\t1\n"), GLUE["SST-2"])


def test_cola_has_no_header_where_it_is_labelled(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", "gj04\t1\t\tIt is so.\nc13\t0\t*\tSo it are.\n")
    assert read_tsv(train, GLUE["CoLA"]) == [Example(("It is so.",), 1), Example(("So it are.",), 0)]
    test = write(tmp_path / "test.tsv", "index\tsentence\n0\tIt is so.\n")
    assert read_tsv(test, GLUE["CoLA"], labelled=False) == [Example(("It is so.",), None)]
    with pytest.raises(ValueError, match=r"train.tsv:2: 3 columns instead of 4"):
        read_tsv(write(train, "gj04\t1\t\tIt is so.\nc13\t0\tSo it are.\n"), GLUE["CoLA"])


def test_only_test_files_may_be_without_labels(tmp_path: Path) -> None:
    rows = "sentence\tlabel\na\t-1\nb\t1\n"
    path = write(tmp_path / "SST-2" / "test.tsv", rows)
    assert [row.label for row in read_split(GLUE["SST-2"], "test", str(tmp_path))] == [None, 1]
    write(path.with_name("dev.tsv"), rows)
    with pytest.raises(ValueError, match=r"dev.tsv:2: label '-1'"):
        read_split(GLUE["SST-2"], "validation", str(tmp_path))


def test_bytes_that_are_no_text_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"bad.tsv:3: not UTF-8 at byte 2"):
        read_tsv(write(tmp_path / "bad.tsv", b"sentence\tlabel\nok\t1\nno\xff\t1\n"), GLUE["SST-2"])
    with pytest.raises(ValueError, match=r"empty.tsv is empty"):
        read_tsv(write(tmp_path / "empty.tsv", ""), GLUE["SST-2"])
    with pytest.raises(ValueError, match=r"header.tsv has a header but no rows"):
        read_tsv(write(tmp_path / "header.tsv", "sentence\tlabel\n"), GLUE["SST-2"])


def test_what_lies_in_a_folder_and_what_is_missing(tmp_path: Path) -> None:
    for name in ("SST-2/train", "SST-2/dev", "QNLI/dev"):
        write(tmp_path / f"{name}.tsv", "")
    assert available_tasks(tmp_path) == (["SST-2"], ["QNLI"])
    with pytest.raises(ValueError, match=r"train.tsv is missing; QNLI needs it .*the folder has dev.tsv"):
        read_split(GLUE["QNLI"], "train", str(tmp_path))
    with pytest.raises(ValueError, match="there is no such folder"):
        read_split(GLUE["RTE"], "train", str(tmp_path))
    with pytest.raises(ValueError, match="no task under"):
        available_tasks(tmp_path / "SST-2")
    with pytest.raises(ValueError, match="is not a folder"):
        available_tasks(tmp_path / "nowhere")


def test_names_are_found_in_any_case_and_a_miss_lists_them() -> None:
    assert task_named("sst-2") is GLUE["SST-2"]
    with pytest.raises(ValueError, match=r"unknown task 'SST2'; known are CoLA, SST-2"):
        task_named("SST2")
    with pytest.raises(ValueError, match="AX has no split 'train'; it has test"):
        read_split(GLUE["AX"], "train", None)


def test_every_row_of_the_table_fits_together() -> None:
    for name, task in TASKS.items():
        assert task.name == name
        assert len(task.texts) in (1, 2)
        assert (task.labels is None) == (task.label_range is not None)
        assert task.hub_texts == () or len(task.hub_texts) == len(task.texts)


def test_rows_in_the_hubs_form() -> None:
    rows: list[dict[str, Any]] = [{"premise": "a", "hypothesis": "b", "label": 2, "idx": 0}]
    assert examples_from_rows(rows, GLUE["MNLI"], "validation") == [Example(("a", "b"), 2)]
    scores = [{"sentence1": "a", "sentence2": "b", "label": 3.8, "idx": 0}]
    assert examples_from_rows(scores, GLUE["STS-B"], "train") == [Example(("a", "b"), 3.8)]
    hidden = [{"sentence": "a", "label": -1}]
    assert examples_from_rows(hidden, GLUE["CoLA"], "test", labelled=False) == [Example(("a",), None)]
    with pytest.raises(ValueError, match=r"cola train, row 0: label '-1'"):
        examples_from_rows(hidden, GLUE["CoLA"], "train")


def test_without_a_network_the_hub_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"RTE \(train\) could not be read from the hub .*data.root"):
        read_hub(GLUE["RTE"], "train")
