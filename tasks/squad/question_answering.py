"""Extractive question answering: contexts cut into windows of tokens, and the answers found in them.

Works with any fast tokenizer and any model of ``AutoModelForQuestionAnswering``. Positions in texts are characters,
answers end before ``end``. Shapes: B windows of a batch, L tokens of the longest, N questions.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tasks.text.encoding import inputs_of, pad_rows

__all__ = ["Answer", "Window", "answer_questions", "best_answers", "best_spans", "cut_windows", "pad_windows"]

_CHUNK = 256  # questions that are tokenised at once: the tokenizer's lists take 50 times the memory of the windows


@dataclass(frozen=True)
class Window:
    """One row of a model's input: a question and as much of its context as there is room for."""

    question: int
    """Number of the question it belongs to."""
    ids: NDArray[np.int32]
    """(L,) tokens without padding."""
    second: int
    """The first token of the context."""
    spans: NDArray[np.int32]
    """(L, 2) start and end of each token in the context, white space cut off; start >= end where there is nothing."""

    def positions(self, start: int, end: int) -> tuple[int, int] | None:
        """The first and last token of the answer ``context[start:end]``; None where not all of it is in here."""
        inside = np.flatnonzero(self.spans[:, 0] < self.spans[:, 1])
        if not len(inside):
            return None
        begins, ends = self.spans[inside].T
        first, last = np.searchsorted(ends, start, side="right"), np.searchsorted(begins, end) - 1
        whole = start >= begins[0] and end <= ends[-1]
        return (int(inside[first]), int(inside[last])) if whole and first <= last else None


@dataclass(frozen=True)
class Answer:
    """``context[start:end] == text``; empty where the context holds no text."""

    text: str
    start: int
    end: int
    difference: float
    """Logit of "no answer" minus that of this answer: above a threshold, usually 0, there is rather no answer."""


def cut_windows(
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    contexts: Sequence[str],
    max_length: int,
    overlap: int,
) -> list[Window]:
    """Rows ``[CLS] question [SEP] part of context [SEP]``, in order; each context is covered from end to end.

    Args:
        tokenizer: A fast one, which knows where in the text its tokens lie.
        questions: Texts, never cut.
        contexts: A text for each question.
        max_length: Tokens of a window, question and special tokens included.
        overlap: Tokens of context that a window shares with the one before.

    Raises:
        ValueError: a tokenizer that is not fast, not as many contexts as questions, or a question so long that windows
            have no room for more context than they share.
    """
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} does not tell where its tokens lie in the text: use a fast one")
    if len(questions) != len(contexts):
        raise ValueError(f"{len(questions)} questions and {len(contexts)} contexts; give a context for each question")
    special = tokenizer.num_special_tokens_to_add(pair=True)
    windows = []
    for begin in range(0, len(questions), _CHUNK):
        asked, texts = list(questions[begin : begin + _CHUNK]), list(contexts[begin : begin + _CHUNK])
        for number, ids in enumerate(tokenizer(asked, add_special_tokens=False, verbose=False)["input_ids"], begin):
            room = max_length - len(ids) - special
            if room <= overlap:
                raise ValueError(
                    f"question {number} has {len(ids)} tokens, which leaves {max(room, 0)} of max_length={max_length} "
                    f"for the context, no more than the {overlap} that windows share (overlap): shorten the question "
                    f"({questions[number][:60]!r}...), or choose a larger max_length or a smaller overlap"
                )
        encoded = tokenizer(
            asked,
            texts,
            truncation="only_second",
            max_length=max_length,
            stride=overlap,
            padding=False,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        for row, number in enumerate(encoded["overflow_to_sample_mapping"]):
            context = np.array([part == 1 for part in encoded.sequence_ids(row)])
            spans = np.where(context[:, None], _strip(texts[number], np.array(encoded["offset_mapping"][row])), 0)
            second = int(np.argmax(context)) if context.any() else len(context) - 1
            ids = np.array(encoded["input_ids"][row], np.int32)
            windows.append(Window(begin + number, ids, second, spans.astype(np.int32)))
    return windows


def _strip(text: str, spans: NDArray[np.int64]) -> NDArray[np.int64]:
    """Spans (L, 2) of ``text`` without the white space around them, which sentencepiece's tokens begin with."""
    letters = _letters(text)
    if not len(letters):
        return np.zeros_like(spans)
    first, after = np.searchsorted(letters, spans).T  # letters first .. after - 1 are in the span
    starts, ends = letters[np.minimum(first, len(letters) - 1)], letters[np.maximum(after, 1) - 1] + 1
    return np.stack([starts, np.where(first < after, ends, starts)], axis=1)


@functools.lru_cache(maxsize=4)  # questions about one context stand together
def _letters(text: str) -> NDArray[np.int64]:
    """Where the characters are that are no white space."""
    return np.array([place for place, letter in enumerate(text) if not letter.isspace()], np.int64)


def pad_windows(windows: Sequence[Window], pad_token_id: int, max_length: int) -> dict[str, Tensor]:
    """``input_ids``, ``attention_mask``, ``token_type_ids`` (B, L), ``spans`` (B, L, 2), ``questions`` (B,)."""
    batch = pad_rows([(window.ids, window.second) for window in windows], pad_token_id, max_length)
    spans = torch.zeros(*batch["input_ids"].shape, 2, dtype=torch.int64)
    for row, window in zip(spans, windows, strict=True):
        row[: len(window.spans)] = torch.from_numpy(window.spans)
    return {**batch, "spans": spans, "questions": torch.tensor([window.question for window in windows])}


def best_spans(
    start_logits: Tensor, end_logits: Tensor, batch: Mapping[str, Tensor], longest: int
) -> dict[str, Tensor]:
    """The likeliest answer of each window, of at most ``longest`` tokens of its context.

    An answer's logit is that of its start plus that of its end; "no answer" has those of [CLS] (Devlin et al., arXiv
    1810.04805, section 4.3).

    Args:
        start_logits: (B, L).
        end_logits: (B, L).
        batch: from :func:`pad_windows`.
        longest: tokens.

    Returns:
        (B,) each: ``questions``, the characters ``starts`` and ``ends``, ``logits`` (-inf where the window holds no
        text) and ``nothing``, the logit of no answer.
    """
    spans, length = batch["spans"], start_logits.shape[1]
    start_logits, end_logits = start_logits.float(), end_logits.float()
    inside = spans[..., 0] < spans[..., 1]
    allowed = torch.ones(length, length, dtype=torch.bool, device=spans.device).triu().tril(longest - 1)
    allowed = allowed & inside[:, :, None] & inside[:, None, :]
    sums = (start_logits[:, :, None] + end_logits[:, None, :]).masked_fill(~allowed, -torch.inf)
    logits, places = sums.flatten(1).max(dim=1)
    rows = torch.arange(len(spans), device=spans.device)
    return {
        "questions": batch["questions"],
        "starts": spans[rows, places // length, 0],
        "ends": spans[rows, places % length, 1],
        "logits": logits,
        "nothing": start_logits[:, 0] + end_logits[:, 0],
    }


def best_answers(results: Sequence[Mapping[str, Tensor]], contexts: Sequence[str]) -> list[Answer]:
    """For each of N questions the likeliest answer of all its windows; "no answer" has the smallest of their logits.

    Args:
        results: from :func:`best_spans`, of all windows of the questions in any order.
        contexts: of each question.
    """
    names = ("questions", "starts", "ends", "logits", "nothing")
    questions, starts, ends, logits, nothing = (torch.cat([each[name] for each in results]).numpy() for name in names)
    least = np.full(len(contexts), np.inf)
    np.minimum.at(least, questions, nothing)
    answers = [Answer("", 0, 0, np.inf)] * len(contexts)
    for row in np.lexsort((logits, questions)):  # the likeliest of a question last
        if np.isfinite(logits[row]):
            number, start, end = int(questions[row]), int(starts[row]), int(ends[row])
            difference = float(least[number] - logits[row])
            answers[number] = Answer(contexts[number][start:end], start, end, difference)
    return answers


@torch.inference_mode()
def answer_questions(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, questions: Sequence[str],
    contexts: Sequence[str], *, max_length: int = 384, overlap: int = 128, max_answer_length: int = 30,
    batch_size: int = 16,
) -> list[Answer]:  # fmt: skip
    """The answer to each question in its context, by a trained model of ``AutoModelForQuestionAnswering``.

    A model trained on questions without an answer says "no answer" where ``difference`` is above 0.

    Raises:
        ValueError: as :func:`cut_windows`.
    """
    model.eval()
    names: list[str] = inputs_of(model)
    device: Any = next(model.parameters()).device
    windows = sorted(
        cut_windows(tokenizer, questions, contexts, max_length, overlap), key=lambda window: len(window.ids)
    )
    results = []
    for begin in range(0, len(windows), batch_size):
        batch = pad_windows(windows[begin : begin + batch_size], int(tokenizer.pad_token_id), max_length)
        batch = {name: value.to(device) for name, value in batch.items()}
        output = model(**{name: batch[name] for name in names})
        found = best_spans(output.start_logits, output.end_logits, batch, max_answer_length)
        results.append({name: value.cpu() for name, value in found.items()})
    return best_answers(results, contexts) if results else []
