"""GLUE's files: every line is a row, every character stays, and what does not fit is named with file and line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from tasks.glue.files import (
    Example,
    available_tasks,
    examples_from_rows,
    find_files,
    read_hub,
    read_parquet,
    read_split,
    read_tsv,
)
from tasks.glue.tasks import GLUE, TASKS, task_named
from tasks.text.sources import warn_once


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
    with pytest.raises(
        ValueError, match=r"sst.tsv:1: no column 'sentence' for SST-2, or several; the header has 'text', 'label'"
    ):
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


@pytest.mark.parametrize("label", [None, math.nan, -1, -1.0, "", "-1", "-1.0"])
@pytest.mark.parametrize("name", ["STS-B", "RTE"])
def test_a_label_kept_back_has_many_forms(tmp_path: Path, name: str, label: Any) -> None:
    rows = [{"sentence1": "a", "sentence2": "b", "label": label}]
    task, blank = GLUE[name], [Example(("a", "b"), None)]
    assert examples_from_rows(rows, task, "x", labelled=False) == blank
    with pytest.raises(ValueError, match="x, row 0: label"):
        examples_from_rows(rows, task, "x")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "test.parquet")
    assert read_parquet([tmp_path / "test.parquet"], task, labelled=False) == blank
    cell = "" if label is None else label
    path = write(tmp_path / "test.tsv", f"sentence1\tsentence2\t{task.label}\na\tb\t{cell}\n")
    assert read_tsv(path, task, labelled=False) == blank
    other = [{"sentence1": "a", "sentence2": "b", "label": -2.0}]
    with pytest.raises(ValueError, match=r"label '-2\.0'"):
        examples_from_rows(other, task, "x", labelled=False)


def test_bytes_that_are_no_text_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"bad.tsv:3: not UTF-8: byte 2"):
        read_tsv(write(tmp_path / "bad.tsv", b"sentence\tlabel\nok\t1\nno\xff\t1\n"), GLUE["SST-2"])
    with pytest.raises(ValueError, match=r"empty.tsv is empty"):
        read_tsv(write(tmp_path / "empty.tsv", ""), GLUE["SST-2"])
    with pytest.raises(ValueError, match=r"header.tsv has a header but no rows"):
        read_tsv(write(tmp_path / "header.tsv", "sentence\tlabel\n"), GLUE["SST-2"])


def test_what_lies_in_a_folder_and_what_is_missing(tmp_path: Path) -> None:
    for name in ("SST-2/train", "SST-2/dev", "QNLI/dev"):
        write(tmp_path / f"{name}.tsv", "")
    assert available_tasks(tmp_path) == (["SST-2"], ["QNLI (no train)"])
    with pytest.raises(ValueError, match=r"train.tsv .*is missing; QNLI needs it .*there are QNLI.dev.tsv"):
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
    assert examples_from_rows(rows, GLUE["MNLI"], "x") == [Example(("a", "b"), 2)]
    scores = [{"sentence1": "a", "sentence2": "b", "label": 3.8, "idx": 0}]
    assert examples_from_rows(scores, GLUE["STS-B"], "x") == [Example(("a", "b"), 3.8)]
    hidden = [{"sentence": "a", "label": -1}]
    assert examples_from_rows(hidden, GLUE["CoLA"], "x", labelled=False) == [Example(("a",), None)]
    with pytest.raises(ValueError, match=r"cola train, row 0: label '-1'"):
        examples_from_rows(hidden, GLUE["CoLA"], "cola train")


def test_the_hubs_files_in_a_folder(tmp_path: Path) -> None:
    def parquet(name: str, **columns: list[Any]) -> Path:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / name)
        return tmp_path / name

    for number, label in enumerate((0, 1)):
        parquet(f"sst2/train-0000{number}-of-00002.parquet", sentence=[f"text {number} "], label=[label], idx=[0])
    parquet("sst2/validation-00000-of-00001.parquet", sentence=["dev"], label=[1], idx=[0])
    assert available_tasks(tmp_path) == (["SST-2"], [])
    assert read_split(GLUE["SST-2"], "train", str(tmp_path)) == [Example(("text 0 ",), 0), Example(("text 1 ",), 1)]
    for part in ("validation_matched", "validation_mismatched", "test_matched"):
        parquet(f"mnli/{part}-00000-of-00001.parquet", premise=[part], hypothesis=["b"], label=[2], idx=[0])
    for part in ("validation", "validation_mismatched", "test"):
        expected = part if "_" in part else f"{part}_matched"
        assert read_split(GLUE["MNLI"], part, str(tmp_path)) == [Example((expected, "b"), 2)]
    assert available_tasks(tmp_path) == (["SST-2"], ["MNLI (no train)"])
    with pytest.raises(ValueError, match=r"bad-.*\.parquet: .*sentence"):
        read_parquet([parquet("sst2/bad-1.parquet", text=["a"], label=[1])], GLUE["SST-2"])
    with pytest.raises(ValueError, match=r"bad-2.parquet, row 1: label '7'"):
        read_parquet([parquet("sst2/bad-2.parquet", sentence=["a", "b"], label=[1, 7])], GLUE["SST-2"])
    with pytest.raises(ValueError, match=r"bad-3.parquet: damaged, or not SST-2 in the hub"):
        read_parquet([write(tmp_path / "sst2" / "bad-3.parquet", "text")], GLUE["SST-2"])
    # A TSV file is what it was where both are there.
    write(tmp_path / "SST-2" / "train.tsv", "sentence\tlabel\ntsv\t1\n")
    assert read_split(GLUE["SST-2"], "train", str(tmp_path)) == [Example(("tsv",), 1)]


def test_another_number_of_rows_than_the_published_one_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def rows(number: int) -> str:
        return "index\tsentence1\tsentence2\tlabel\n" + f"0\ta\tb\t{1}\n" * number

    write(tmp_path / "WNLI" / "dev.tsv", rows(71))
    read_split(GLUE["WNLI"], "validation", str(tmp_path))
    assert caplog.text == ""
    write(tmp_path / "WNLI" / "dev.tsv", rows(70))
    read_split(GLUE["WNLI"], "validation", str(tmp_path))
    assert "dev.tsv: 70 rows, but WNLI validation as published has 71" in caplog.text


def test_broken_lines_of_the_official_qqp_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = "7\t1\t2\twhat\twho\t1\n"
    broken = '8\t1\t2\tis "it\n"\tWas it?\t0\n'
    path = write(tmp_path / "train.tsv", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n" + good + broken + good)
    assert read_tsv(path, GLUE["QQP"]) == [Example(("what", "who"), 1)] * 2
    assert "left out 2 lines that a line break" in caplog.text
    assert "the first is line 3" in caplog.text
    write(path, path.read_text() + broken * 60)
    with pytest.raises(ValueError, match=r"train.tsv:3: 4 columns instead of 6"):
        read_tsv(path, GLUE["QQP"])


def test_the_diagnostic_set_lies_where_the_download_script_puts_it(tmp_path: Path) -> None:
    path = write(tmp_path / "diagnostic" / "diagnostic.tsv", "index\tsentence1\tsentence2\n0\ta\tb\n")
    assert find_files(GLUE["AX"], "test", tmp_path) == [path]
    assert read_split(GLUE["AX"], "test", str(tmp_path)) == [Example(("a", "b"), None)]


def test_without_a_network_the_hub_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"RTE \(train\) could not be read from the hub .*data.root"):
        read_hub(GLUE["RTE"], "train")


def hub_file(path: Path, names: list[str] | None = None, **columns: list[Any]) -> None:
    """A parquet file as the `datasets` library writes it, with the names of its classes."""
    table = pyarrow.table(columns)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(exist_ok=True)
    pyarrow.parquet.write_table(table, path)


def test_a_class_number_means_the_same_in_all_parquet_files(tmp_path: Path) -> None:
    rows: dict[str, list[Any]] = {"sentence": ["a", "b"], "label": [0, 1]}
    hub_file(tmp_path / "sst2" / "train-0.parquet", ["negative", "positive"], **rows)
    hub_file(tmp_path / "sst2" / "train-1.parquet", None, **rows)
    assert [row.label for row in read_split(GLUE["SST-2"], "train", str(tmp_path))] == [0, 1, 0, 1]
    for other in ("train-2.parquet", "validation-0.parquet"):
        hub_file(tmp_path / "sst2" / other, ["positive", "negative"], **rows)
        with pytest.raises(ValueError, match=rf"{other}: its labels 0, 1, ... mean positive, negative, not negative, "):
            read_split(GLUE["SST-2"], "train", str(tmp_path))
        (tmp_path / "sst2" / other).unlink()
    pair: dict[str, list[Any]] = {"sentence1": ["a"], "sentence2": ["b"], "label": [0]}
    hub_file(tmp_path / "rte" / "train-0.parquet", ["not_entailment", "entailment"], **pair)
    with pytest.raises(ValueError, match=r"not entailment, not_entailment as the table of tasks has them"):
        read_split(GLUE["RTE"], "train", str(tmp_path))
    hub_file(tmp_path / "rte" / "train-0.parquet", ["entailment", "not_entailment"], **pair)
    assert [row.label for row in read_split(GLUE["RTE"], "train", str(tmp_path))] == [0]


def test_missing_and_second_parquet_files_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    warn_once.cache_clear()
    rows: dict[str, list[Any]] = {"sentence": ["a"], "label": [0]}
    for name in ("train-00000-of-00003", "train-00002-of-00003"):
        hub_file(tmp_path / "sst2" / f"{name}.parquet", **rows)
    with pytest.raises(ValueError, match=r"sst2: train-00000.* are not all 3 files of SST-2 train"):
        read_split(GLUE["SST-2"], "train", str(tmp_path))
    hub_file(tmp_path / "sst2" / "train-00001-of-00003.parquet", **rows)
    assert len(read_split(GLUE["SST-2"], "train", str(tmp_path))) == 3
    hub_file(tmp_path / "sst2" / "train-00001-of-00003 (1).parquet", **rows)
    with pytest.raises(ValueError, match="take away what does not belong there"):
        read_split(GLUE["SST-2"], "train", str(tmp_path))
    (tmp_path / "sst2" / "train-00001-of-00003 (1).parquet").unlink()
    write(tmp_path / "SST-2" / "train.tsv", "sentence\tlabel\ntsv\t1\n")
    assert len(read_split(GLUE["SST-2"], "train", str(tmp_path))) == 1
    assert "train.tsv is read; left out 3 parquet files of the same rows; the first: " in caplog.text


def test_the_case_of_a_suffix_and_a_column_given_twice(tmp_path: Path) -> None:
    for number, suffix in enumerate(("parquet", "PARQUET")):
        hub_file(tmp_path / "sst2" / f"train-{number}.{suffix}", None, sentence=[f"text {number}"], label=[number])
    assert [example.label for example in read_split(GLUE["SST-2"], "train", str(tmp_path))] == [0, 1]
    (tmp_path / "sst2" / "validation.parquet").write_bytes(b"")  # not as the hub calls it
    with pytest.raises(
        ValueError, match=r"is missing; SST-2 .*there are sst2/train-0.parquet, .*sst2/validation.parquet"
    ):
        read_split(GLUE["SST-2"], "validation", str(tmp_path))
    with pytest.raises(ValueError, match=r"no column 'label' for SST-2, or several"):
        read_tsv(write(tmp_path / "twice.tsv", "sentence\tlabel\tlabel\na\t0\t1\n"), GLUE["SST-2"])


def test_tables_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    texts = ["next\x85line\u2028sep", "NUL \0", "日本 \U0001f600", "", " kept ", "\ufeffmark", "a\rb"]
    lines = "".join(f"{text}\t1\n" for text in texts)
    rows = read_tsv(write(tmp_path / "train.tsv", f"sentence\tlabel\n{lines}"), GLUE["SST-2"])
    hub_file(tmp_path / "hub" / "train-0.parquet", sentence=texts, label=[1] * len(texts))
    assert rows == read_parquet([tmp_path / "hub" / "train-0.parquet"], GLUE["SST-2"])
    assert [row.texts[0] for row in rows] == texts


def test_text_that_no_tokenizer_takes_is_named_by_its_row(tmp_path: Path) -> None:
    rows = [{"sentence": "a", "label": 1}, {"sentence": "b \ud800", "label": 1}]
    with pytest.raises(ValueError, match=r"x, row 1: 'sentence' holds '.ud800' at character 2: half of a surrogate"):
        examples_from_rows(rows, GLUE["SST-2"], "x")
    bad = pyarrow.Array.from_buffers(
        pyarrow.string(), 2, [None, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0"), pyarrow.py_buffer(b"a\xff\xfe")]
    )
    pyarrow.parquet.write_table(pyarrow.table({"sentence": bad, "label": [1, 1]}), tmp_path / "bad.parquet")
    with pytest.raises(ValueError, match=r"bad.parquet, row 1: not UTF-8: byte 0 \(ff\)"):
        read_parquet([tmp_path / "bad.parquet"], GLUE["SST-2"])
