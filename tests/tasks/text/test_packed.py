"""From documents to rows of tokens: nothing lost, nothing across borders, whatever happens on the way."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from tasks.text import packed as corpus
from tasks.text import tokenised as tokenised_text
from tasks.text.packed import PackedText, pack_pieces, pack_text
from tasks.text.sources import Omitted, TextPart, TextSource, text_source
from tests.tasks.text.test_sources import sentences, source_of


@pytest.fixture(autouse=True)
def _fresh_cache(tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins with nothing."""
    monkeypatch.setenv("METAFORMER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is done in many steps, as for a large corpus."""
    monkeypatch.setattr(tokenised_text, "_BATCH_CHARACTERS", 500)
    monkeypatch.setattr(tokenised_text, "_COMMIT_TOKENS", 300)
    monkeypatch.setattr(corpus, "_BLOCK_DOCUMENTS", 7)
    monkeypatch.setattr(corpus, "_BLOCK_TOKENS", 250)


def pieces_of(packed: PackedText, tokenizer: PreTrainedTokenizerBase) -> Counter[tuple[int, ...]]:
    """The pieces in all rows, whose form is checked."""
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    pieces: Counter[tuple[int, ...]] = Counter()
    for i in range(len(packed)):
        ids, segments = packed.row(i)
        assert len(ids) == len(segments) <= packed.info["max_length"]
        assert set(np.diff(segments)) <= {0, 1}
        for segment in range(1, segments.max() + 1):
            part = ids[segments == segment].tolist()
            assert (part[0], part[-1]) == (cls, sep)
            assert cls not in part[1:]
            pieces[tuple(part[1:-1])] += 1
    return pieces


def expected(texts: list[str], tokenizer: PreTrainedTokenizerBase, room: int) -> Counter[tuple[int, ...]]:
    tokens = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    return Counter(tuple(ids[start : start + room]) for ids in tokens for start in range(0, len(ids), room))


@pytest.mark.parametrize("longest", [5, 60])
@pytest.mark.parametrize("steps", ["one", "many"])
def test_packing_keeps_every_token_and_crosses_no_border(
    tokenizer: PreTrainedTokenizerBase, longest: int, steps: str, request: pytest.FixtureRequest
) -> None:
    if steps == "many":
        request.getfixturevalue("small_steps")
    texts = [*sentences(99, longest=longest), "", "  "]
    packed = pack_text(source_of(texts), tokenizer, 32)
    assert pieces_of(packed, tokenizer) == expected(texts, tokenizer, 30)
    assert packed.info["tokens"] == sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
    assert packed.info["documents"] == 99
    if steps == "one":
        assert sum(len(packed.row(i)[0]) for i in range(len(packed))) > 0.9 * 32 * (len(packed) - 1)


@pytest.mark.usefixtures("small_steps")
def test_several_parts_are_one_corpus(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.text.sources._SMALL", 2000)
    texts = sentences(120, longest=30)
    for i in range(12):
        (tmp_path / f"{i:02}.txt").write_text("\n\n".join(texts[10 * i : 10 * i + 10]))
    source = text_source(str(tmp_path / "*.txt"), max_documents=113)
    assert 2 < len(source.parts) < 12
    together = source_of(texts[:113])
    for inside in (True, False):
        several, one = (pack_text(s.part(0.3, inside), tokenizer, 16) for s in (source, together))
        chosen = list(together.part(0.3, inside).read())
        assert chosen == list(source.part(0.3, inside).read())
        assert pieces_of(several, tokenizer) == pieces_of(one, tokenizer) == expected(chosen, tokenizer, 14)
        assert several.info["documents"] == len(chosen)


def test_packing_is_tight_and_the_content_names_the_text(tokenizer: PreTrainedTokenizerBase) -> None:
    lengths = np.random.default_rng(0).integers(0, 400, 5000)
    starts = np.cumsum(lengths) - lengths
    pieces, counts = pack_pieces(starts, lengths, 126)
    sizes = pieces[:, 1] - pieces[:, 0]
    assert (sizes.sum() + 2 * len(pieces)) > 0.98 * 128 * len(counts)
    assert np.array_equal(np.sort(np.concatenate([np.arange(*piece) for piece in pieces])), np.arange(lengths.sum()))
    rows = np.split(sizes + 2, np.cumsum(counts)[:-1])
    assert max(row.sum() for row in rows) <= 128
    assert min(row.sum() for row in rows) > 0
    for empty in (np.zeros(0, np.int64), np.zeros(3, np.int64)):
        assert [len(part) for part in pack_pieces(empty, empty, 30)] == [0, 0]
    contents = [
        pack_text(source_of(texts, f"{i}"), tokenizer, 16).info["content"]
        for i, texts in enumerate((["the file", "name"], ["the", "file name"], ["the file", "name"]))
    ]
    assert contents[0] == contents[2] != contents[1]


def test_without_text_there_is_an_error(tokenizer: PreTrainedTokenizerBase) -> None:
    for texts in ([], ["", " "]):
        with pytest.raises(ValueError, match="made up: no document with text"):
            pack_text(source_of(texts, f"{len(texts)}"), tokenizer, 32)


def test_reader_processes_get_no_copy_of_the_corpus(tokenizer: PreTrainedTokenizerBase) -> None:
    packed = pack_text(source_of(sentences(200)), tokenizer, 32)
    before = packed.row(3)
    sent = pickle.dumps(packed)
    assert len(sent) < 2000
    assert all(np.array_equal(a, b) for a, b in zip(pickle.loads(sent).row(3), before, strict=True))


def counting(texts: list[str], kill_at: int | None = None) -> tuple[TextSource, list[int]]:
    """Documents that note from where they are read, and that kill the process when it asks for number `kill_at`."""
    starts: list[int] = []

    def read(start: int, _: Omitted) -> Iterator[str]:
        starts.append(start)
        for number in range(start, len(texts)):
            if number == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            yield texts[number]

    return TextSource("made up", (TextPart("made up", "x", read),)), starts


def in_a_process_that_is_killed(work: Callable[[], object]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL


@pytest.mark.usefixtures("small_steps")
def test_killed_while_tokenising(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """What is done is kept, and the corpus is that of an undisturbed run."""
    texts = sentences(100, longest=30)
    whole = pieces_of(pack_text(counting(texts)[0].part(0.1, False), tokenizer, 16), tokenizer)
    content = next((tmp_path / "cache" / "packed").glob("*/info.json")).read_text()
    os.environ["METAFORMER_CACHE"] = str(tmp_path / "other")  # restored by the fixture
    for kill_at in (3, 40, 41, 80, 99):
        in_a_process_that_is_killed(lambda at=kill_at: pack_text(counting(texts, at)[0], tokenizer, 16))  # type: ignore[misc]
    state = next((tmp_path / "other" / "tokens").glob("*/state.json"))
    done = json.loads(state.read_text())
    assert 70 < done["documents"] < 99
    assert not done["ended"]
    with (state.parent / "tokens.bin").open("ab") as file:  # a write that was not committed
        file.write(b"garbage")
    source, starts = counting(texts)
    packed = pack_text(source.part(0.1, False), tokenizer, 16)
    assert starts == [done["documents"]]
    assert pieces_of(packed, tokenizer) == whole
    assert (packed.folder / "info.json").read_text() == content
    pack_text(source.part(0.1, True), tokenizer, 32)
    assert len(starts) == 1  # another choice of the documents, other rows: the same tokens


def test_a_large_corpus_needs_little_memory(
    tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its texts are not held, its tokens neither: of 3 MB of text at most a part is there at a time."""
    monkeypatch.setattr(tokenised_text, "_BATCH_CHARACTERS", 50_000)
    text = " ".join(sentences(1)[0] for _ in range(5))
    alive = most = 0

    class Counted(str):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def read(start: int, _: Omitted) -> Iterator[str]:
        nonlocal alive, most
        for number in itertools.count(start):
            if number * len(text) > 3_000_000:
                return
            alive += 1
            most = max(most, alive)
            yield Counted(text)

    packed = pack_text(TextSource("large", (TextPart("large", "large", read),)), tokenizer, 128)
    assert packed.info["documents"] * len(text) > 3_000_000
    assert most * len(text) < 200_000
