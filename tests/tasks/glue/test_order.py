"""The task `order` of any text: balanced, nothing but order tells the label, no sentence is in both parts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from metaformer_nlp.config.command_line import from_dict
from tasks.glue import order as order_task
from tasks.glue.files import available_tasks, read_split
from tasks.glue.suite import sentence_key
from tasks.glue.tasks import SUITE

NAMES = ["Anna", "Boris", "Clara", "David", "Emma"]


def write_text(path: Path, documents: int = 60) -> Path:
    """Documents of four sentences; the last two come again in the next document, in other capitals."""
    lines = []
    for number in range(documents):
        name = NAMES[number % len(NAMES)]
        own = f"{name} said number {number} of the things in the house was old, and that it is to be so for a while."
        short = f"It is all {number} of them."
        again = f"Here it is for the {number // 2} of us to see."
        lines.append(f"{own} {short} {again} {again.replace('for', 'FOR') if number % 2 else again}")
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return path


def make(folder: Path, text: Path | str, **options: Any) -> dict[str, Any]:
    data = {"text": str(text), "held_out": 0.3}
    return order_task.run(from_dict(order_task.Config, {"folder": str(folder), "data": data, **options}))


def rows_of(folder: Path, part: str) -> list[list[str]]:
    header, *lines = (folder / "order" / f"{part}.tsv").read_text(encoding="utf-8").splitlines()
    assert header == "sentence\tlabel"
    return [line.split("\t") for line in lines]


@pytest.mark.parametrize("text", ["english", "own"])
def test_nothing_but_the_order_tells_the_label(tmp_path: Path, text: str) -> None:
    where = text if text == "english" else write_text(tmp_path / "text.txt")
    report = make(tmp_path / "made", where, train_rows=400, dev_rows=100)
    keys: list[str] = []
    for part in ("train", "dev"):
        rows = rows_of(tmp_path / "made", part)
        assert len(rows) == report[f"{part}_rows"] > 20
        for (whole, kept), (other, swapped) in zip(rows[::2], rows[1::2], strict=True):
            assert (kept, swapped) == ("kept", "swapped")
            first, second = whole.split(), other.split()
            assert Counter(first) == Counter(second)
            different = [i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
            assert len(different) == 2
            assert different[1] == different[0] + 1 > 1, "neighbours, and the first word keeps its place"
            assert all(first[i].isalpha() and first[i].islower() for i in different)
            assert 5 <= len(first) <= 16
            assert len(whole) <= 150
            keys += [sentence_key(whole), sentence_key(other)]
    assert len(keys) == len(set(keys)), "no sentence comes twice, in one part or in both"


def test_the_same_text_gives_the_same_files_split_by_document(tmp_path: Path) -> None:
    text = write_text(tmp_path / "text.txt")
    for name in ("a", "b"):
        make(tmp_path / name, text)
    files = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.tsv")}
        for name in ("a", "b")
    ]
    assert len(files[0]) == 2
    assert files[0] == files[1]
    numbers = {
        part: {word for sentence, _ in rows_of(tmp_path / "a", part) if "said" in sentence for word in sentence.split()}
        for part in ("train", "dev")
    }
    both = {word for word in numbers["train"] & numbers["dev"] if word.isdigit()}
    assert not both, "a document's sentences are all in one part"
    assert json.loads((tmp_path / "a" / "made.json").read_text())["config"]["data"]["text"] == str(text)


def test_fine_tuning_finds_it_in_place_of_the_suites_own(tmp_path: Path) -> None:
    report = make(tmp_path / "made", write_text(tmp_path / "text.txt"), train_rows=20)
    assert report["train_rows"] == 20
    assert available_tasks(tmp_path / "made") == (["order"], [])
    for part, rows in (("train", report["train_rows"]), ("validation", report["dev_rows"])):
        assert Counter(row.label for row in read_split(SUITE["order"], part, str(tmp_path / "made"))) == {
            0: rows // 2,
            1: rows // 2,
        }


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"text": "no/such/*.txt"}, "there are no such files"),
        ({"text": "flat.txt"}, "no sentence for dev.tsv; needed are sentences of 5 to 16 words"),
        ({"folder": "."}, "is there and not empty"),
        ({"train_rows": 1}, "must be at least 2"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flat.txt").write_text("no capital, no stop\n\nNor Here\n")
    write_text(Path("text.txt"))
    text = options.pop("text", "text.txt")
    with pytest.raises(ValueError, match=problem):
        make(Path(options.pop("folder", "made")), text, **options)
    assert not Path("made").exists()
