"""From text to documents: files, places of the hub, parts that are held out."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import PreTrainedTokenizerBase

from tasks.text.packed import pack_text
from tasks.text.sources import Omitted, TextPart, TextSource, text_source, warn_once

TEXT = "the name of a file is read from the list and its value is set to the first line of the string"


def sentences(number: int, seed: int = 0, longest: int = 60) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(TEXT.split(), rng.integers(1, longest))) for _ in range(number)]


def source_of(texts: list[str], identity: str = "x") -> TextSource:
    return TextSource("made up", (TextPart("made up", identity, lambda start, _: iter(texts[start:])),))


def test_text_files_give_paragraphs_lines_or_themselves(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbfone\r\ntwo\r\n\r\n\r\nthree \x0c\xc2\x85 four\nfive\n\n"
    (tmp_path / "a.txt").write_bytes(text)
    (tmp_path / "b.txt").write_text("six")
    assert list(text_source(str(tmp_path)).read()) == ["one\ntwo", "three \x0c\x85 four\nfive", "six"]
    lines = ["one", "two", "three \x0c\x85 four", "five", "six"]
    assert list(text_source(str(tmp_path), unit="line").read()) == lines
    assert [len(d.split()) for d in text_source(str(tmp_path / "*.txt"), unit="file").read()] == [5, 1]


def test_parquet_gives_a_document_a_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["one\ntwo", "", None, "three"], "n": [1, 2, 3, 4]}), tmp_path / "a.parquet")
    assert list(text_source(str(tmp_path / "a.parquet")).read()) == ["one\ntwo", "three"]
    with pytest.raises(ValueError, match=r"a.parquet has no column 'body'; it has text, n"):
        list(text_source(str(tmp_path), column="body").read())
    with pytest.raises(ValueError, match="column 'n' holds int64, not text"):
        list(text_source(str(tmp_path), column="n").read())


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"good\nb\xffd\n")
    with pytest.raises(ValueError, match=r"bad.txt:2: not UTF-8"):
        list(text_source(str(tmp_path)).read())
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(ValueError, match=r"a.csv is none of these"):
        text_source(str(tmp_path / "a.csv"))
    with pytest.raises(ValueError, match="there are no such files"):
        text_source(str(tmp_path / "*.md"))


def test_the_held_out_part_is_a_function_of_the_documents_number() -> None:
    texts = [f"document {i}" for i in range(400)]
    held, rest = (set(source_of(texts).part(0.1, inside=inside).read()) for inside in (True, False))
    assert held | rest == set(texts)
    assert not held & rest
    assert 20 <= len(held) <= 60
    assert held <= set(source_of([*texts, "another"]).part(0.1, inside=True).read())
    assert held != set(source_of(texts).part(0.2, inside=True).read())


def test_reading_and_packing_hold_out_the_same_documents() -> None:
    texts = [str(i) for i in range(3000)]  # more than are decided at once
    held = source_of(texts).part(0.1, inside=True)
    numbers = np.flatnonzero(held.chosen(range(len(texts))))
    assert [int(text) for text in held.read()] == numbers.tolist()
    assert np.flatnonzero(held.chosen(range(1000, 2000))).tolist() == [n - 1000 for n in numbers if 1000 <= n < 2000]
    assert numbers[:5].tolist() == [2, 32, 33, 41, 42]  # never to change: models were trained on the others
    share = held.chosen(range(10**6)).mean()
    assert abs(share - 0.1) < 0.002
    assert source_of(texts).chosen(range(9)).all()


def compressed(data: bytes, suffix: str) -> bytes:
    return {"": data, ".gz": gzip.compress(data), ".zst": pa.compress(data, codec="zstd", asbytes=True)}[suffix]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_lines_of_json_and_text_may_be_compressed(tmp_path: Path, suffix: str) -> None:
    rows = ['{"text": "one\\ntwo", "n": 1}', "", '{"text": null}', '{"text": "\\u00e4", "n": 2}']
    data = "\n".join(rows).encode()
    # Two members one after the other, as `cat a.gz b.gz` makes them.
    (tmp_path / f"a.jsonl{suffix}").write_bytes(compressed(data + b"\n", suffix) + compressed(data, suffix))
    (tmp_path / f"b.txt{suffix}").write_bytes(compressed(b"three\n\nfour", suffix))
    (tmp_path / "c.json").write_text("not text")
    assert list(text_source(str(tmp_path)).read()) == ["one\ntwo", "ä", "one\ntwo", "ä", "three", "four"]
    with pytest.raises(ValueError, match=r"a.jsonl.*:1: no 'body' \(data.column\), but an object with text, n"):
        list(text_source(str(tmp_path), column="body").read())
    with pytest.raises(ValueError, match=r"a.jsonl.*:1: 'n' holds int, not text"):
        list(text_source(str(tmp_path), column="n").read())
    (tmp_path / f"a.jsonl{suffix}").write_bytes(compressed(b'{"text": "x"}\n{"text": ', suffix))
    with pytest.raises(ValueError, match=r"a.jsonl.*:2: not JSON"):
        list(text_source(str(tmp_path)).read())


def test_damaged_archives_are_named(tmp_path: Path) -> None:
    for suffix in (".gz", ".zst"):
        path = tmp_path / f"a.txt{suffix}"
        path.write_bytes(compressed(np.random.default_rng(0).bytes(9999), suffix)[:5000])
        with pytest.raises(ValueError, match=rf"a.txt{suffix}: cannot be read as a {suffix} file"):
            list(text_source(str(path), unit="file").read())


def test_places_can_be_listed(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.txt").write_text(f"{name}1\n\n{name}2")
    source = text_source([str(tmp_path / "c.txt"), str(tmp_path / "[ab].txt")], max_documents=5)
    assert list(source.read()) == ["c1", "c2", "a1", "a2", "b1"]
    assert len(source.parts) == 2  # small files are taken together
    with pytest.raises(ValueError, match=r"data.text is empty; name 'english'"):
        text_source([])
    with pytest.raises(ValueError, match="max_documents=0"):
        text_source("english", max_documents=0)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A hub with one data set at commit "c0ffee"; what was asked of it is noted."""
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: SimpleNamespace(sha="c0ffee"))
    asked: list[Any] = []
    rows = datasets.Dataset.from_dict(
        {"text": ["one", "", None, *(f"row {i}" for i in range(3, 50))], "n": [*range(50)]}
    )

    def load_dataset(*arguments: Any, **options: Any) -> Any:
        asked.append((*arguments, *options.values()))
        return rows.to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    return asked


def test_the_hub_is_streamed(hub: list[Any], tokenizer: PreTrainedTokenizerBase) -> None:
    source = text_source("hub:some/texts:en@test", max_documents=20)
    assert list(source.read()) == ["one", "", "", *(f"row {i}" for i in range(3, 20))]
    assert hub == [("some/texts", "en", "test", "c0ffee", True)]
    assert pack_text(source, tokenizer, 32).info["documents"] == 18
    # The same again asks nobody, and more of it goes on where the first ended.
    hub.clear()
    assert pack_text(source, tokenizer, 32).info["documents"] == 18
    assert not hub
    more, everything = (text_source("hub:some/texts:en@test", max_documents=n) for n in (30, None))
    assert pack_text(more, tokenizer, 32).info["documents"] == 28
    assert pack_text(everything, tokenizer, 32).info["documents"] == 48
    text = tokenizer.decode(pack_text(everything, tokenizer, 32).row(0)[0])
    assert "one" in text
    assert "row 3" in text
    with pytest.raises(ValueError, match=r"hub:x has no column 'body'; it has text, n; set data.column"):
        list(text_source("hub:x", column="body").read())
    with pytest.raises(ValueError, match="row 0: column 'n' holds int"):
        list(text_source("hub:x", column="n").read())
    with pytest.raises(ValueError, match=r"give hub:NAME, hub:NAME:CONFIG"):
        list(text_source("hub:a b").read())


def test_a_data_set_of_the_hub_is_one_commit_of_it(
    hub: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    first = text_source("hub:some/moving").parts[0]
    assert first.name == "hub:some/moving at commit c0ffee"
    # Without a connection, the last that was seen; what was never seen is refused.

    def unplugged(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unplugged)
    assert text_source("hub:some/moving").parts[0].identity == first.identity
    assert "the hub cannot be asked (ConnectionError); taking commit c0ffee" in capsys.readouterr().err
    with pytest.raises(ValueError, match="hub:some/other could not be read"):
        text_source("hub:some/other")
    # A new commit is other text.
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: SimpleNamespace(sha="decaf"))
    moved = text_source("hub:some/moving").parts[0]
    assert moved.identity != first.identity
    assert next(moved.read(3, Omitted())) == "row 3"
    assert hub[-1][3] == "decaf"


def test_a_hub_that_cannot_be_reached_says_what_to_do() -> None:
    with pytest.raises(
        ValueError, match=r"hub:nobody/nothing could not be read .*hf download --repo-type dataset nobody"
    ):
        list(text_source("hub:nobody/nothing").read())


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the log says, also what it said before in another test."""
    warn_once.cache_clear()
    return caplog


def test_a_folder_is_read_whatever_the_case_and_says_what_it_leaves_out(
    tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    corpus = tmp_path / "corpus"
    (corpus / ".ipynb_checkpoints").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for name in ("a.txt", "B.TXT", ".old.txt", ".ipynb_checkpoints/a-checkpoint.txt", "../elsewhere/far.txt"):
        (corpus / name).write_text(name)
    (corpus / "C.JSONL.GZ").write_bytes(gzip.compress(b'{"text": "C"}'))
    pq.write_table(pa.table({"text": ["D"]}), corpus / "D.Parquet")
    for name in ("README", "notes.md"):
        (corpus / name).write_text("x")
    (corpus / "linked").symlink_to(tmp_path / "elsewhere")
    assert sorted(text_source(str(corpus)).read()) == ["B.TXT", "C", "D", "a.txt"]
    assert "left out 5 of 9 entries (hidden, or not a .txt" in said.text
    assert f"the first: {corpus / '.ipynb_checkpoints' / 'a-checkpoint.txt'}" in said.text
    (corpus / "folder.txt").mkdir()
    assert list(text_source(str(corpus / "*.txt")).read()) == ["a.txt"]
    assert f"left out 1 of 2 entries (folders); the first: {corpus / 'folder.txt'}" in said.text


def test_rows_without_text_are_counted_and_the_first_is_named(
    tmp_path: Path, said: pytest.LogCaptureFixture, tokenizer: PreTrainedTokenizerBase
) -> None:
    rows = ["the file", "", None, "\ufeff ", "the name of it"]
    pq.write_table(pa.table({"text": rows}), tmp_path / "b.parquet")
    (tmp_path / "c.jsonl").write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    (tmp_path / "d.txt").write_text("")
    source = text_source(str(tmp_path))
    left_out = f"left out 5 rows or files without text; the first: {tmp_path / 'b.parquet'}, row 1"
    assert len(list(source.read())) == 6
    assert left_out in said.text
    for _ in range(2):  # also where all comes from the cache
        warn_once.cache_clear()
        said.clear()
        packed = pack_text(source, tokenizer, 32)
        assert left_out in said.text
        assert "2 documents give no token and are in no row" in said.text
        assert "the first is number 1" in said.text
    assert packed.info["documents"] == 4
    said.clear()
    list(text_source(str(tmp_path / "c.jsonl")).read())
    assert f"left out 2 rows or files without text; the first: {tmp_path / 'c.jsonl'}:2" in said.text


def test_what_limits_and_held_out_parts_leave_out_is_said(
    said: pytest.LogCaptureFixture, tokenizer: PreTrainedTokenizerBase
) -> None:
    texts = sentences(100, longest=9)
    source = TextSource("made up", source_of(texts, "limits").parts, max_documents=60).part(0.1, inside=False)
    for work in (lambda: list(source.read()), lambda: pack_text(source, tokenizer, 32)):
        warn_once.cache_clear()
        said.clear()
        work()
        held = 60 - int(source.chosen(range(60)).sum())
        assert f"of 60 documents {60 - held} are used, {held} are held out (data.held_out 0.1), the first" in said.text
        assert "is number 2\n" in said.text
        assert "left out all documents from number 60 on (data.max_documents)" in said.text
    said.clear()
    list(source_of(texts).read())
    assert said.text == ""


def test_the_same_texts_are_the_same_documents_wherever_they_stand(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    texts = ["the\u2028file\x85name", 'a quote " and a NUL \0', "日本 \U0001f600", "x" * 70_000, " kept "]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    raw = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\r\n" for text in texts).encode()
    places = {
        "a.jsonl": lines,
        "b.jsonl": b"\xef\xbb\xbf" + raw,
        "c.jsonl.gz": gzip.compress(lines),
        "d.JSON.ZST": compressed(lines, ".zst"),
        "e.txt": "\n".join(texts).encode(),
    }
    for name, data in places.items():
        (tmp_path / name).write_bytes(data)
    pq.write_table(pa.table({"text": texts[:2]}), tmp_path / "f-0.parquet")
    large = pa.array(texts[2:], pa.large_string()).dictionary_encode()
    pq.write_table(pa.table({"n": [1, 2, 3], "text": large}), tmp_path / "f-1.parquet")
    contents = set()
    for name in (*places, "f-*.parquet"):
        source = text_source(str(tmp_path / name), unit="line")
        assert list(source.read()) == texts, name
        contents.add(pack_text(source, tokenizer, 32).info["content"])
    assert len(contents) == 1
    # A folder, a pattern and a list of the same files are one source.
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in "bca":
        (folder / f"{name}.txt").write_text(name)
    ways: list[Any] = [str(folder), str(folder / "*.txt"), str(folder / "**" / "*.txt")]
    assert len({tuple(part.identity for part in text_source(way).parts) for way in ways}) == 1
    listed = [str(folder / f"{name}.txt") for name in "abc"]
    assert [list(text_source(way).read()) for way in (*ways, listed)] == [["a", "b", "c"]] * 4


def test_a_text_is_known_by_what_its_files_hold(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    def written(name: str, text: str) -> TextSource:
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (1e9, 1e9))
        return text_source(str(tmp_path / name))

    cat = written("a.txt", "the cat sat")
    assert written("b.txt", "the cat sat").parts[0].identity == cat.parts[0].identity
    assert written("b.jsonl", "the cat sat").parts[0].identity != cat.parts[0].identity
    content = pack_text(cat, tokenizer, 32).info["content"]
    bird = written("a.txt", "the pig sat")
    dog = written("a.txt", "the dog sat")
    assert pack_text(dog, tokenizer, 32).info["content"] != content
    with pytest.raises(ValueError, match=r"a.txt or a file behind it was changed since this began"):
        pack_text(bird, tokenizer, 32)


def test_every_parquet_file_is_compared_before_the_first_is_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["one"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": pa.nulls(3)}), tmp_path / "b.parquet")
    assert list(text_source(str(tmp_path)).read()) == ["one"]
    for wrong, problem in (
        (pa.table({"body": ["x"]}), "has no column 'text'; it has body"),
        (pa.table({"text": [1]}), "column 'text' holds int64, not text"),
        (pa.table({"text": [b"x"]}), "column 'text' holds binary, not text"),
        (pa.table([["x"], ["y"]], names=["text", "text"]), "has 2 columns 'text'"),
    ):
        pq.write_table(wrong, tmp_path / "c.parquet")
        with pytest.raises(ValueError, match=rf"c.parquet:? {problem}.*The first file, .*a.parquet, is as it should"):
            text_source(str(tmp_path))


@pytest.mark.parametrize("broken", ["\\ud800", "\\udfff", "\\ud800\\ud800"])
def test_half_of_a_surrogate_pair_is_named_by_file_and_line(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, broken: str
) -> None:
    file = tmp_path / "s.jsonl"
    file.write_text('{"text": "a whole one: \\ud83d\\ude00"}\n{"text": "bad ' + broken + ' here"}\n')
    for work in (lambda: list(text_source(str(file)).read()), lambda: pack_text(text_source(str(file)), tokenizer, 32)):
        with pytest.raises(ValueError, match=r"s.jsonl:2: 'text' holds '.ud...' at character 4: half of a surrogate"):
            work()


def test_half_of_a_surrogate_pair_from_the_hub(hub: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: iter([{"text": "fine"}, {"text": "\ud800"}]))
    with pytest.raises(ValueError, match=r"hub:some/texts, row 1: column 'text' holds .* half of a surrogate pair"):
        list(text_source("hub:some/texts").read())
