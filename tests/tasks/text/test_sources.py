"""From text to documents: files, places of the hub, parts that are held out."""

from __future__ import annotations

import gzip
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
from tasks.text.sources import Omitted, TextPart, TextSource, text_source

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
