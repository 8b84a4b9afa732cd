"""Extractive question answering: contexts cut into windows, answers found in them, and labels for training.

Works with any fast tokenizer and any model of `AutoModelForQuestionAnswering`. Positions in texts are characters,
answers end before `end`. Shapes: L tokens of a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_LENGTH = 384
"""Tokens of a window where neither caller nor model says less."""


@dataclass(frozen=True)
class Answer:
    """`context[start:end] == text`; no answer is the empty text at 0."""

    text: str
    start: int
    end: int
    score: float
    """Probability among all answers that the question could have been given, "no answer" with them if allowed."""


@dataclass(frozen=True)
class Window:
    """One row of a model's input: a question and as much of its context as there is room for."""

    sample: int
    """Which of the questions it belongs to."""
    inputs: dict[str, list[int]]
    """What the model takes, by name, without padding."""
    spans: NDArray[np.int64]
    """(L, 2) start and end of each token in the context, white space cut off; start >= end where there is nothing."""

    def positions(self, start: int, end: int) -> tuple[int, int] | None:
        """The first and last token of the answer `context[start:end]`; None where not all of it is in here."""
        inside = np.flatnonzero(self.spans[:, 0] < self.spans[:, 1])
        if not len(inside):
            return None
        begins, ends = self.spans[inside].T
        first, last = np.searchsorted(ends, start, side="right"), np.searchsorted(begins, end) - 1
        # An answer that reaches into the space before or after the window's part is still whole in it.
        whole = start >= begins[0] and end <= ends[-1]
        return (int(inside[first]), int(inside[last])) if whole and first <= last else None


def cut_windows(
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    contexts: Sequence[str],
    max_length: int = MAX_LENGTH,
    overlap: int | None = None,
) -> list[Window]:
    """Rows `[CLS] question [SEP] part of context [SEP]`, in order; each context is covered from end to end.

    Args:
        tokenizer: A fast one, which knows where in the text its tokens lie.
        questions: Texts, never cut.
        contexts: A text for each question.
        max_length: Tokens of a window, question and special tokens included.
        overlap: Tokens of context that a window shares with the one before; None: a quarter of `max_length`.

    Raises:
        ValueError: a tokenizer that is not fast, not as many contexts as questions, or a question so long that windows
            have no room for more context than they share.
    """
    if not tokenizer.is_fast:
        raise ValueError(f"{type(tokenizer).__name__} does not tell where its tokens lie in the text: use a fast one")
    if len(questions) != len(contexts):
        raise ValueError(f"{len(questions)} questions and {len(contexts)} contexts; give a context for each question")
    overlap = max_length // 4 if overlap is None else overlap
    special = tokenizer.num_special_tokens_to_add(pair=True)
    for number, ids in enumerate(
        tokenizer(list(questions), add_special_tokens=False)["input_ids"] if questions else ()
    ):
        room = max_length - len(ids) - special
        if room <= overlap:
            raise ValueError(
                f"question {number} has {len(ids)} tokens, which leaves {max(room, 0)} of max_length={max_length} for "
                f"the context, no more than the {overlap} that windows share (overlap): shorten the question "
                f"({questions[number][:60]!r}...), or choose a larger max_length or a smaller overlap"
            )
    if not questions:
        return []
    encoded = tokenizer(
        list(questions),
        list(contexts),
        truncation="only_second",
        max_length=max_length,
        stride=overlap,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    windows = []
    for row, sample in enumerate(encoded["overflow_to_sample_mapping"]):
        context = contexts[sample]
        spans = [
            _strip(context, start, end) if sequence == 1 else (0, 0)
            for (start, end), sequence in zip(encoded["offset_mapping"][row], encoded.sequence_ids(row), strict=True)
        ]
        inputs = {name: encoded[name][row] for name in tokenizer.model_input_names}
        windows.append(Window(sample, inputs, np.array(spans, dtype=np.int64)))
    return windows


def training_rows(
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[str],
    contexts: Sequence[str],
    answers: Sequence[tuple[int, int] | None],
    max_length: int = MAX_LENGTH,
    overlap: int | None = None,
) -> list[dict[str, Any]]:
    """A model's inputs with `start_positions` and `end_positions`, for `DataCollatorWithPadding` and the like.

    `answers` are (start, end) in the context, None where it holds none. A window that lacks a part of the answer is
    labelled as BERT is trained on SQuAD 2: both positions are that of its first token, [CLS].

    Raises:
        ValueError: what `cut_windows` refuses; answers outside their context or of white space; left padding, which
            would move the positions.
    """
    if len(answers) != len(contexts):
        raise ValueError(f"{len(answers)} answers and {len(contexts)} contexts; give an answer or None for each")
    if tokenizer.padding_side != "right":
        raise ValueError("padding on the left moves the positions of answers: set tokenizer.padding_side = 'right'")
    for number, (answer, context) in enumerate(zip(answers, contexts, strict=True)):
        if answer is not None and not (0 <= answer[0] < answer[1] <= len(context) and context[slice(*answer)].strip()):
            raise ValueError(
                f"answer {number} is {answer}, in a context of {len(context)} characters; it must be (start, end) of "
                "some text in it, start < end, or None where there is no answer"
            )
    rows = []
    for window in cut_windows(tokenizer, questions, contexts, max_length, overlap):
        answer = answers[window.sample]
        found = None if answer is None else window.positions(*_strip(contexts[window.sample], *answer))
        start, end = found or (0, 0)
        rows.append({**window.inputs, "start_positions": start, "end_positions": end})
    return rows


class QuestionAnswerer:
    """Answers questions by spans of their contexts.

    A span's logit is that of its start plus that of its end, and its score the softmax over all spans of all windows
    of the question; a span that several windows hold has the largest of its logits. "No answer" has the logit of the
    span [CLS] .. [CLS], of the window where that is smallest (Devlin et al., arXiv 1810.04805, section 4.3).
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_length: int | None = None,
        overlap: int | None = None,
        batch_size: int = 16,
    ) -> None:
        """`max_length` and `overlap` as for `cut_windows`, `max_length` None: as long as the model can, at most 384."""
        self.model, self.tokenizer = model.eval(), tokenizer
        longest = getattr(model.config, "max_position_embeddings", MAX_LENGTH)
        self.max_length = min(MAX_LENGTH, longest) if max_length is None else max_length
        self.overlap, self.batch_size = overlap, batch_size

    def __call__(
        self,
        questions: Sequence[str],
        contexts: Sequence[str],
        *,
        best: int = 1,
        max_answer_length: int = 30,
        no_answer: bool = False,
    ) -> list[list[Answer]]:
        """For each question its `best` different answers, the likeliest first; none where the context holds no text.

        Args:
            questions: Texts.
            contexts: A text for each question.
            best: How many answers to give, at most.
            max_answer_length: Tokens of the longest answer.
            no_answer: Whether "no answer" is one of the possible answers, for models trained on such questions.

        Raises:
            ValueError: what `cut_windows` refuses, or a number below 1.
        """
        for name, value in (("best", best), ("max_answer_length", max_answer_length)):
            if value < 1:
                raise ValueError(f"{name}={value}; it must be at least 1")
        windows = cut_windows(self.tokenizer, questions, contexts, self.max_length, self.overlap)
        logits = self._logits(windows)
        answers: list[list[Answer]] = [[] for _ in questions]
        for sample, members in groupby(range(len(windows)), key=lambda index: windows[index].sample):
            rows = list(members)
            found = [_spans(logits[row], windows[row].spans, max_answer_length) for row in rows]
            if no_answer:
                nothing = min(float(logits[row][:, 0].sum()) for row in rows)
                found.append((np.zeros((1, 2), dtype=np.int64), np.array([nothing])))
            answers[sample] = _ranked(contexts[sample], found, best)
        return answers

    @torch.inference_mode()
    def _logits(self, windows: Sequence[Window]) -> list[NDArray[np.float64]]:
        """Start and end logits (2, >= L) of each window, in order; windows of like length share a batch."""
        order = sorted(range(len(windows)), key=lambda index: len(windows[index].spans))
        logits: dict[int, NDArray[np.float64]] = {}
        for begin in range(0, len(order), self.batch_size):
            chosen = order[begin : begin + self.batch_size]
            batch = self.tokenizer.pad(
                [windows[index].inputs for index in chosen], padding_side="right", return_tensors="pt"
            )
            output = self.model(**batch.to(self.model.device))
            pair = torch.stack([output.start_logits, output.end_logits], dim=1).float().cpu().numpy()
            for index, each in zip(chosen, pair, strict=True):
                logits[index] = each.astype(np.float64)
        return [logits[index] for index in range(len(windows))]


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    """The part of `text[start:end]` without white space around it, which sentencepiece's tokens begin with."""
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - len(part) + len(part.rstrip())


def _spans(
    logits: NDArray[np.float64], spans: NDArray[np.int64], max_answer_length: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """All answers of a window: their characters (N, 2) and their logits (N,)."""
    usable = np.flatnonzero(spans[:, 0] < spans[:, 1])
    first, last = np.meshgrid(usable, usable, indexing="ij")
    allowed = (first <= last) & (last - first < max_answer_length)
    first, last = first[allowed], last[allowed]
    return np.stack([spans[first, 0], spans[last, 1]], axis=1), logits[0, first] + logits[1, last]


def _ranked(context: str, found: Sequence[tuple[NDArray[np.int64], NDArray[np.float64]]], best: int) -> list[Answer]:
    """The `best` of all windows' answers; equal characters are one answer, with the largest of the logits."""
    spans, logits = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((-logits, spans[:, 1], spans[:, 0]))
    spans, logits = spans[order], logits[order]
    fresh = np.ones(len(spans), dtype=bool)
    fresh[1:] = (spans[1:] != spans[:-1]).any(axis=1)
    spans, logits = spans[fresh], logits[fresh]
    if not len(logits):
        return []
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    chosen = np.argsort(-shares, kind="stable")[:best]
    return [
        Answer(context[start:end], start, end, float(shares[index]))
        for index in chosen
        for start, end in [spans[index].tolist()]
    ]
