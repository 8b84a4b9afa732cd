"""Train a sentencepiece Unigram vocabulary and keep it as a fast Hugging Face tokenizer.

The pieces are sentencepiece's, the file is `tokenizer.json`: transformers' own ways of reading a sentencepiece model
lose the byte fallback, the leading "▁" or the special tokens, so the fast tokenizer is put together here.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import BertTokenizer, PreTrainedTokenizerFast

from metaformer_nlp.errors import checked_text, read_lines

#: Special tokens; their ids are their places in this tuple.
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
NUM_BYTE_PIECES = 256
_LONGEST = 1 << 18  # characters of a line, of at most four bytes each: sentencepiece leaves out longer ones
_RESERVED = "\u2585"  # what sentencepiece marks unknown characters with; it leaves out lines that hold it


@dataclass(frozen=True)
class SentencePieceModel:
    """A trained sentencepiece model; `proto` is the content of a `.model` file."""

    proto: bytes

    def processor(self) -> sentencepiece.SentencePieceProcessor:
        """sentencepiece's own encoder, the reference that the fast tokenizer agrees with."""
        return sentencepiece.SentencePieceProcessor(model_proto=self.proto)


def train_tokenizer(
    texts: Iterable[str],
    vocab_size: int,
    *,
    lowercase: bool = False,
    character_coverage: float = 0.9995,
    max_length: int = 512,
) -> PreTrainedTokenizerFast:
    """Train a Unigram tokenizer with byte fallback; equal texts in equal order give the equal tokenizer.

    Encodes one text as `[CLS] A [SEP]` and two as `[CLS] A [SEP] B [SEP]` with token types 0 and 1; ids are
    [PAD] = 0, [UNK] = 1, [CLS] = 2, [SEP] = 3, [MASK] = 4, then 256 bytes, then the pieces.

    Args:
        texts: Training text; each line of each text is a sentence of its own.
        vocab_size: Size of the vocabulary, special tokens and bytes included.
        lowercase: Whether case is folded before the text is cut into pieces.
        character_coverage: Share of the characters of the text that get a piece; the others become bytes.
        max_length: Length at which `truncation=True` cuts, special tokens included.

    Raises:
        ValueError: When there is no text, one with half of a surrogate pair, or `vocab_size` does not suit it.
    """
    model = train_sentencepiece(texts, vocab_size, lowercase=lowercase, character_coverage=character_coverage)
    return to_fast_tokenizer(model, max_length=max_length)


def train_sentencepiece(
    texts: Iterable[str], vocab_size: int, *, lowercase: bool = False, character_coverage: float = 0.9995
) -> SentencePieceModel:
    """Train the sentencepiece model of `train_tokenizer`; same arguments and errors."""
    smallest = len(SPECIAL_TOKENS) + NUM_BYTE_PIECES + 1
    if vocab_size <= smallest:
        raise ValueError(f"vocab_size={vocab_size}; special tokens and bytes alone need more than {smallest}")
    lines = _lines(texts)
    first = next(lines, None)
    if first is None:
        raise ValueError("no text to train a tokenizer on: every text given is empty")
    output = io.BytesIO()
    failures: list[Exception] = []
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_chain(first, lines, failures),
            model_writer=output,
            model_type="unigram",
            vocab_size=vocab_size,
            byte_fallback=True,
            character_coverage=character_coverage,
            normalization_rule_name="nmt_nfkc_cf" if lowercase else "nmt_nfkc",
            pad_id=0,
            pad_piece="[PAD]",
            unk_id=1,
            unk_piece="[UNK]",
            bos_id=-1,
            eos_id=-1,
            control_symbols=["[CLS]", "[SEP]", "[MASK]"],
            # Several threads add floats in an order of their own, and the pieces with them.
            num_threads=1,
            shuffle_input_sentence=False,
            max_sentence_length=4 * _LONGEST,
            minloglevel=2,
        )
    except RuntimeError as error:
        if failures:  # the text's fault: sentencepiece would tell it as its own
            raise failures[0] from None
        raise ValueError(f"cannot train a tokenizer with vocab_size={vocab_size} on this text: {error}") from error
    return SentencePieceModel(output.getvalue())


def to_fast_tokenizer(model: SentencePieceModel, max_length: int = 512) -> PreTrainedTokenizerFast:
    """Turn a Unigram model of `train_sentencepiece` into a fast tokenizer that gives the same pieces."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.proto)  # type: ignore[attr-defined]
    # Bytes stand in for characters without a piece, never for a text that spells "<0x41>": too unlikely to be chosen.
    unlikely = min(piece.score for piece in proto.pieces) - 1000
    vocab = [(piece.piece, unlikely if piece.type == piece.BYTE else piece.score) for piece in proto.pieces]
    tokenizer = Tokenizer(Unigram(vocab, unk_id=1, byte_fallback=True))
    # Only the first piece of a text gets a "▁" of its own, and only the end is stripped, so that "the [MASK]." is cut
    # as "the word." would be: what stands right behind a special token is no new word.
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Strip(left=False, right=True),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first")
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(replacement="▁", prepend_scheme="first")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", SPECIAL_TOKENS.index("[CLS]")), ("[SEP]", SPECIAL_TOKENS.index("[SEP]"))],
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=max_length,
        padding_side="right",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def read_wordpiece(path: str | Path, *, lowercase: bool = True, max_length: int = 512) -> PreTrainedTokenizerFast:
    """A fast tokenizer of a WordPiece vocabulary of BERT's kind, one piece a line, with BERT's templates.

    Raises:
        ValueError: no such file, one that is not UTF-8, repeats a piece or lacks special tokens.
    """
    file = Path(path)
    if not file.exists():
        raise ValueError(f"no vocabulary at {file} (looked in {Path.cwd()})")
    vocab: dict[str, int] = {}
    for number, piece in enumerate(read_lines(file)):
        if (first := vocab.setdefault(piece, number)) != number:
            raise ValueError(
                f"{file}:{number + 1}: the piece {piece!r} is that of line {first + 1} again; a piece's id is the "
                "number of its line, so that each must be there once. Give one of them another name, such as [unused1]"
            )
    if missing := [token for token in SPECIAL_TOKENS if token not in vocab]:
        raise ValueError(f"{file} is no WordPiece vocabulary of BERT's kind: it lacks {', '.join(missing)}")
    return BertTokenizer(vocab=vocab, do_lower_case=lowercase, model_max_length=max_length)


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """The lines of the texts that hold anything, cut to what sentencepiece reads, so that it leaves out none."""
    for number, text in enumerate(texts):
        for line in checked_text(text, f"text {number} to train a tokenizer on").split("\n"):
            stripped = line.replace("\0", " ").replace(_RESERVED, " ").strip()
            for start in range(0, len(stripped), _LONGEST):
                yield stripped[start : start + _LONGEST]


def _chain(first: str, rest: Iterator[str], failures: list[Exception]) -> Iterator[str]:
    yield first
    try:
        yield from rest
    except Exception as error:
        failures.append(error)
        raise
