"""Answers as spans of text: windows, labels, decoding; and a model that learns a few answers by heart."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from metaformer_nlp.text import MetaFormerTextForQuestionAnswering
from metaformer_nlp.text.question_answering import Answer, QuestionAnswerer, _ranked, cut_windows, training_rows
from metaformer_nlp.text.tokenizer import SPECIAL_TOKENS, read_wordpiece, train_tokenizer

CONTEXT = (
    "Zürich lies on the Limmat.  Ada Lovelace (1815–1852) wrote the first program,\n\tthe “Note G”; "
    "Alan Turing was born in London, and Grace Hopper in New York City in 1906. The end"
)
# Ends of text, punctuation, double and odd white space, characters made of several bytes, parts of words.
ANSWERS = [
    "Zürich",
    "Limmat",
    "Ada Lovelace",
    "1815–1852",
    "program,\n\tthe “Note G”",
    "New York City",
    "1906",
    "The end",
]
PAIRS = [
    ("Where was Alan Turing born?", "London"),
    ("Who wrote the first program?", "Ada Lovelace"),
    ("Where was Grace Hopper born?", "New York City"),
    ("What does Zürich lie on?", "the Limmat"),
    ("When was Ada Lovelace born?", "1815"),
]


@pytest.fixture(scope="module", params=["sentencepiece", "wordpiece"])
def tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    if request.param == "sentencepiece":
        return train_tokenizer([CONTEXT, *(question for question, _ in PAIRS)] * 10, 325, character_coverage=0.98)
    pieces = [
        "ada",
        "love",
        "##lace",
        "new",
        "york",
        "city",
        "london",
        "alan",
        "the",
        "born",
        "was",
        "##ing",
        "18",
        "##15",
    ]
    letters = sorted(set("abcdefghijklmnopqrstuvwxyz0123456789.,;?()“”–'"))
    vocabulary = [*SPECIAL_TOKENS, *pieces, *letters, *(f"##{letter}" for letter in letters)]
    path = tmp_path_factory.mktemp("wordpiece") / "vocab.txt"
    path.write_text("\n".join(vocabulary), encoding="utf-8")
    return read_wordpiece(path)


def place(answer: str, context: str = CONTEXT) -> tuple[int, int]:
    return context.index(answer), context.index(answer) + len(answer)


@pytest.mark.parametrize(("max_length", "overlap"), [(384, 64), (48, 24)])
def test_positions_and_characters_agree(max_length: int, overlap: int, tokenizer: PreTrainedTokenizerBase) -> None:
    """From characters to tokens and back is the same text; a window that lacks the answer says so."""
    windows = cut_windows(tokenizer, ["Who?"], [CONTEXT], max_length, overlap)
    assert (len(windows) > 3) == (max_length == 48)
    for answer in ANSWERS:
        found = [window.positions(*place(answer)) for window in windows]
        assert any(found), answer
        for window, positions in zip(windows, found, strict=True):
            if positions is not None:
                start, end = window.spans[positions[0], 0], window.spans[positions[1], 1]
                assert CONTEXT[start:end] == answer
            else:
                held = window.spans[window.spans[:, 0] < window.spans[:, 1]]
                assert held.min() > place(answer)[0] or held.max() < place(answer)[1]


def test_windows_cover_the_context_and_overlap(tokenizer: PreTrainedTokenizerBase) -> None:
    windows = cut_windows(tokenizer, ["Who was it?", "Where?"], [CONTEXT, "In London."], 48, 16)
    assert [window.sample for window in windows] == [0] * (len(windows) - 1) + [1]
    question = tokenizer("Who was it?", add_special_tokens=False)["input_ids"]
    seen = set()
    for window in windows[:-1]:
        assert len(window.inputs["input_ids"]) == len(window.spans) <= 48
        assert window.inputs["input_ids"][: len(question) + 2] == [
            tokenizer.cls_token_id, *question, tokenizer.sep_token_id
        ]  # fmt: skip
        assert (window.spans[: len(question) + 2] == 0).all(), "a token of the question counts as context"
        assert (window.spans[-1] == 0).all()
        seen |= {slot for start, end in window.spans for slot in range(start, end)}
    assert seen >= {slot for slot, letter in enumerate(CONTEXT) if not letter.isspace()}
    shared = [set(map(tuple, left.spans)) & set(map(tuple, right.spans)) for left, right in pairwise(windows[:-1])]
    assert all(len(spans) > 8 for spans in shared)


class Scripted(nn.Module):
    """Gives the logits that a test sets: the same for each token that stands for the same characters."""

    def __init__(self, start: dict[int, float], end: dict[int, float], vocabulary: int) -> None:
        super().__init__()
        self.config, self.device = SimpleNamespace(max_position_embeddings=512), torch.device("cpu")
        self.start, self.end = (torch.full((vocabulary,), -5.0) for _ in range(2))
        for logits, values in ((self.start, start), (self.end, end)):
            for token, value in values.items():
                logits[token] = value

    def forward(self, input_ids: torch.Tensor, **inputs: torch.Tensor) -> Any:
        # Padding, the question and [SEP] score far above the context: none of it may be an answer.
        outside = 20.0 * ((inputs["token_type_ids"] == 0) | (input_ids == 3))
        outside[:, 0] = 0.0
        return SimpleNamespace(start_logits=self.start[input_ids] + outside, end_logits=self.end[input_ids] + outside)


def scripted(tokenizer: PreTrainedTokenizerBase, **marks: tuple[float, float]) -> Scripted:
    """A model with logits (start, end) for the tokens of the words, which must be one token each."""
    tokens = {word: tokenizer.convert_tokens_to_ids(word) for word in marks}
    starts, ends = ({tokens[word]: values[side] for word, values in marks.items()} for side in (0, 1))
    return Scripted(starts, ends, len(tokenizer))


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """One token a word."""
    path = tmp_path_factory.mktemp("words") / "vocab.txt"
    path.write_text("\n".join([*SPECIAL_TOKENS, *"abcdefgh", "?"]), encoding="utf-8")
    return read_wordpiece(path)


def test_decoding_against_the_definition(words: PreTrainedTokenizerBase) -> None:
    """All spans of at most 2 tokens, by hand; padding, question and [SEP] are never in an answer."""
    model = scripted(words, a=(1.0, 0.0), b=(0.5, 2.0), c=(3.0, 1.0), d=(-1.2, 2.5))
    answerer = QuestionAnswerer(model, words)  # type: ignore[arg-type]
    context = "a  b c d"
    start, end = {"a": 1.0, "b": 0.5, "c": 3.0, "d": -1.2}, {"a": 0.0, "b": 2.0, "c": 1.0, "d": 2.5}
    spans = ["a", "b", "c", "d", "a  b", "b c", "c d"]
    logits = {span: start[span[0]] + end[span[-1]] for span in spans}
    total = sum(math.exp(value) for value in logits.values())
    (found,), (other,) = (
        answerer(["h ?"], [context], best=99, max_answer_length=2),
        answerer(["h ?", "g"], [context, "a " * 40], best=99, max_answer_length=2)[:1],
    )
    assert [answer.text for answer in found] == sorted(spans, key=lambda span: -logits[span])
    assert found == other, "what else is in the batch changes an answer"
    for answer in found:
        assert context[answer.start : answer.end] == answer.text
        assert answer.score == pytest.approx(math.exp(logits[answer.text]) / total)
    # [CLS] has -5 + -5 as start and end.
    ((*_, nothing),) = answerer(["h ?"], [context], best=99, max_answer_length=2, no_answer=True)
    assert nothing == Answer("", 0, 0, pytest.approx(math.exp(-10) / (total + math.exp(-10))))
    assert len(answerer(["h ?"], [context])[0]) == 1


def test_answers_of_several_windows(words: PreTrainedTokenizerBase) -> None:
    """Each is named once, with the characters of the whole context, and "no answer" only where no window has one."""
    model = scripted(words, f=(6.0, 6.0))
    context = " ".join("abcde" * 8 + "f" + "abcde" * 8)
    answerer = QuestionAnswerer(model, words, max_length=24, overlap=12)  # type: ignore[arg-type]
    (found,) = answerer(["g"], [context], best=10_000, no_answer=True)
    assert found[0].text == "f"
    assert found[0].start == context.index("f")
    assert found[0].score > 0.99
    assert len({(answer.start, answer.end) for answer in found}) == len(found)
    assert sum(answer.score for answer in found) == pytest.approx(1)
    assert max(answer.end for answer in found) == len(context)
    model.start[2] = model.end[2] = 4.0  # [CLS]: every window would rather have no answer than any other
    assert answerer(["g", "g"], [context, "a b"], no_answer=True)[1][0].text == ""
    assert answerer(["g"], [context], no_answer=True)[0][0].text == "f"


def test_an_answer_in_several_windows_has_the_largest_of_its_logits() -> None:
    one, two = np.array([[0, 1]]), np.array([[0, 1], [1, 2]])
    found = _ranked("ab", [(one, np.array([1.0])), (two, np.array([3.0, 2.0])), (one, np.array([-1.0]))], 9)
    share = math.exp(3) / (math.exp(3) + math.exp(2))
    assert found == [Answer("a", 0, 1, pytest.approx(share)), Answer("b", 1, 2, pytest.approx(1 - share))]


def test_what_cannot_be_answered(words: PreTrainedTokenizerBase) -> None:
    answerer = QuestionAnswerer(scripted(words, a=(1.0, 1.0)), words)  # type: ignore[arg-type]
    assert answerer([], []) == []
    assert answerer(["a", "b"], ["", " \n"]) == [[], []]
    assert answerer(["a"], [""], no_answer=True) == [[Answer("", 0, 0, 1.0)]]
    with pytest.raises(ValueError, match="2 questions and 1 contexts"):
        answerer(["a", "b"], ["c"])
    with pytest.raises(ValueError, match="best=0; it must be at least 1"):
        answerer(["a"], ["b"], best=0)
    with pytest.raises(ValueError, match=r"question 1 has 30 tokens, which leaves 0 of max_length=32 for the context"):
        cut_windows(words, ["a", "a " * 30], ["b", "c"], 32)


def test_training_rows_refuse_what_would_be_mislabelled(words: PreTrainedTokenizerBase) -> None:
    for answer in [(2, 2), (0, 4), (-1, 2), (1, 2)]:
        with pytest.raises(ValueError, match=r"answer 0 is \(.*in a context of 3 characters"):
            training_rows(words, ["a"], ["b c"], [answer])
    with pytest.raises(ValueError, match="1 answers and 2 contexts"):
        training_rows(words, ["a", "a"], ["b", "b"], [None])
    words.padding_side = "left"
    try:
        with pytest.raises(ValueError, match="padding_side = 'right'"):
            training_rows(words, ["a"], ["b c"], [(0, 1)])
    finally:
        words.padding_side = "right"


def test_a_model_learns_answers_by_heart(tokenizer: PreTrainedTokenizerBase, text_config: Any, tmp_path: Path) -> None:
    """From texts to exact answers, over several windows a context, with a question that has none."""
    torch.manual_seed(0)
    questions = [question for question, _ in PAIRS] + ["Who was born in Paris?"]
    contexts = [CONTEXT] * len(questions)
    answers = [place(answer) for _, answer in PAIRS] + [None]
    rows = training_rows(tokenizer, questions, contexts, answers, 96, 32)
    assert len(rows) > len(questions)
    batch = DataCollatorWithPadding(tokenizer)(rows)
    assert (batch["start_positions"] == 0).sum() >= 1
    config = text_config(
        vocab_size=len(tokenizer), max_position_embeddings=96, hidden_size=64, initializer_range=0.1,
        token_mixer=["attention", "pooling"], hidden_dropout_prob=0.0,
    )  # fmt: skip
    model = MetaFormerTextForQuestionAnswering(config)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(150):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.02:
            break
    model.save_pretrained(tmp_path)
    model = MetaFormerTextForQuestionAnswering.from_pretrained(tmp_path)
    answerer = QuestionAnswerer(model, tokenizer, max_length=96, overlap=32, batch_size=4)
    found = answerer(questions, contexts, no_answer=True)
    assert [each[0].text for each in found] == [answer for _, answer in PAIRS] + [""]
    assert all(each[0].score > 0.8 for each in found)
    alone = [
        QuestionAnswerer(model, tokenizer, max_length=96, overlap=32, batch_size=1)([q], [CONTEXT])[0]
        for q in questions
    ]
    for (question, answer), each in zip(PAIRS, alone, strict=False):
        assert each[0].text == answer, question
        assert np.isclose(each[0].score, answerer([question], [CONTEXT])[0][0].score, atol=1e-5)
