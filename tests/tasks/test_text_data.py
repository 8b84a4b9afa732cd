"""From text to rows of tokens: nothing lost, nothing across borders, and masks that are functions of where they are."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import PreTrainedTokenizerBase

from metaformer_nlp.engine.order import sample_rng
from tasks.encoding import encode_texts, pad_rows
from tasks.masked_lm import MaskedRows, MaskingConfig
from tasks.text_data import TextSource, _pack, pack_text, text_source

TEXT = "the name of a file is read from the list and its value is set to the first line of the string"


def sentences(number: int, seed: int = 0, longest: int = 60) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(TEXT.split(), rng.integers(1, longest))) for _ in range(number)]


def source_of(texts: list[str], identity: str = "x") -> TextSource:
    return TextSource("made up", identity, lambda: iter(texts))


# ---------------------------------------------------------------------------------------------------- encoding


def test_rows_are_what_the_tokenizer_itself_makes(tokenizer: PreTrainedTokenizerBase) -> None:
    pairs = list(zip(sentences(20), sentences(20, seed=1), strict=True))
    encoded = encode_texts(pairs, tokenizer, 512)
    for i, pair in enumerate(pairs):
        expected = tokenizer(*pair)
        ids, second = encoded.row(i)
        assert ids.tolist() == expected["input_ids"]
        assert [0] * second + [1] * (len(ids) - second) == expected["token_type_ids"]
    assert encoded.truncated == 0


@pytest.mark.parametrize("max_length", [8, 13, 40])
def test_long_pairs_are_cut_where_they_are_longer_and_counted(
    tokenizer: PreTrainedTokenizerBase, max_length: int
) -> None:
    pairs = [(a, b) for a in ["", *sentences(6)] for b in ["", *sentences(6, seed=1)]]
    encoded = encode_texts(pairs, tokenizer, max_length)
    cut = 0
    for i, texts in enumerate(pairs):
        ids, second = encoded.row(i)
        whole = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        kept = [ids[1 : second - 1].tolist(), ids[second:-1].tolist()]
        assert ids[0] == tokenizer.cls_token_id
        assert ids[second - 1] == ids[-1] == tokenizer.sep_token_id
        assert [tokens[: len(part)] for tokens, part in zip(whole, kept, strict=True)] == kept
        if kept != whole:
            cut += 1
            assert len(ids) == max_length
            lost = [len(tokens) - len(part) for tokens, part in zip(whole, kept, strict=True)]
            if not all(lost):  # the shorter text is whole
                assert len(kept[lost.index(0)]) <= len(kept[1 - lost.index(0)])
            else:
                assert abs(len(kept[0]) - len(kept[1])) <= 1
    assert encoded.truncated == cut


def test_odd_texts_give_valid_rows(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = [("",), ("   ",), ("\N{PILE OF POO}" * 3,), ("\0",), ("日本語",), ("a" * 5000,)]
    encoded = encode_texts(texts, tokenizer, 16)
    batch = pad_rows([encoded.row(i) for i in range(len(texts))], 0, 16)
    assert batch["input_ids"].shape == (len(texts), 16)
    assert batch["attention_mask"].sum(1).min() >= 2
    assert encoded.truncated >= 1
    with pytest.raises(ValueError, match=r"data.max_length=7 leaves no room for 2 texts"):
        encode_texts([("a", "b")], tokenizer, 7)


def test_padding_goes_to_a_multiple_of_eight_but_not_beyond_the_model() -> None:
    rows = [(np.arange(1, n + 1, dtype=np.int32), 2) for n in (3, 9)]
    batch = pad_rows(rows, 0, 128)
    assert batch["input_ids"].shape == (2, 16)
    assert batch["input_ids"][0].tolist() == [1, 2, 3] + [0] * 13
    assert batch["token_type_ids"][0].tolist() == [0, 0, 1] + [0] * 13
    assert batch["attention_mask"].sum(1).tolist() == [3, 9]
    assert pad_rows(rows, 0, 10)["input_ids"].shape == (2, 10)


# ---------------------------------------------------------------------------------------------------- sources


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
    with pytest.raises(ValueError, match="column 'n' holds int, not text"):
        list(text_source(str(tmp_path), column="n").read())


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"good\nb\xffd\n")
    with pytest.raises(ValueError, match=r"bad.txt:2: not UTF-8"):
        list(text_source(str(tmp_path)).read())
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(ValueError, match=r"a.csv is neither"):
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


# ---------------------------------------------------------------------------------------------------- packing


@pytest.mark.parametrize("longest", [5, 60])
def test_packing_keeps_every_token_and_crosses_no_border(tokenizer: PreTrainedTokenizerBase, longest: int) -> None:
    texts = sentences(100, longest=longest)
    packed = pack_text(source_of(texts, f"packing {longest}"), tokenizer, 32)
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    pieces = []
    for i in range(len(packed)):
        ids, segments = packed.row(i)
        assert len(ids) == len(segments) <= 32
        assert np.all(np.diff(segments) >= 0)
        for segment in range(1, segments.max() + 1):
            part = ids[segments == segment].tolist()
            assert (part[0], part[-1]) == (cls, sep)
            assert cls not in part[1:]
            pieces.append(tuple(part[1:-1]))
    expected = []
    for text in texts:
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        expected += [tuple(tokens[start : start + 30]) for start in range(0, len(tokens), 30)]
    assert Counter(pieces) == Counter(expected)
    assert packed.info["tokens"] == sum(map(len, expected))
    assert sum(len(packed.row(i)[0]) for i in range(len(packed))) > 0.9 * 32 * (len(packed) - 1)


def test_packing_is_tight_and_quick() -> None:
    lengths = np.random.default_rng(0).integers(1, 400, 5000).tolist()
    pieces, rows = _pack(lengths, 126)
    filled = (pieces[:, 1] - pieces[:, 0]).sum() + 2 * len(pieces)
    assert filled > 0.98 * 128 * (len(rows) - 1)
    assert (pieces[:, 1] - pieces[:, 0]).sum() == sum(lengths)


def test_without_text_there_is_an_error(tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match="made up: no document with text"):
        pack_text(source_of([], "empty"), tokenizer, 32)


# ---------------------------------------------------------------------------------------------------- masks


@pytest.fixture
def rows(tokenizer: PreTrainedTokenizerBase) -> MaskedRows:
    return MaskedRows(pack_text(source_of(sentences(100)), tokenizer, 64), tokenizer, MaskingConfig(rate=0.3))


def test_masks_are_functions_of_seed_epoch_and_index(rows: MaskedRows) -> None:
    def mask(seed: int, epoch: int, index: int) -> bytes:
        sample = rows.sample(index, sample_rng(seed, epoch, index))
        return sample.ids.tobytes() + sample.labels.tobytes()

    assert mask(0, 0, 3) == mask(0, 0, 3)
    assert len({mask(0, 0, 3), mask(1, 0, 3), mask(0, 1, 3), mask(0, 0, 4)}) == 4


def test_training_and_evaluation_have_their_own_rates(rows: MaskedRows, tokenizer: PreTrainedTokenizerBase) -> None:
    for evaluation, rate in ((False, 0.3), (True, 0.15)):
        chosen = total = kept = 0
        for i in range(len(rows)):
            sample = rows.sample(i, None if evaluation else sample_rng(0, 0, i))
            original, segments = rows.text.row(i)
            special = np.isin(original, tokenizer.all_special_ids)
            asked = sample.labels != -100
            assert not (asked & special).any()
            assert np.array_equal(sample.ids[~asked], original[~asked])
            assert np.array_equal(sample.labels[asked], original[asked])
            assert np.array_equal(sample.segments, segments)
            chosen, total = chosen + asked.sum(), total + (~special).sum()
            kept += (sample.ids[asked] == tokenizer.mask_token_id).sum()
        assert abs(chosen / total - rate) < 0.01
        assert abs(kept / chosen - 0.8) < 0.1


def test_evaluation_masks_never_change(rows: MaskedRows) -> None:
    first, second = (rows.sample(5, None) for _ in range(2))
    assert np.array_equal(first.ids, second.ids)
    assert np.array_equal(first.labels, second.labels)
