"""SQuAD: reader, metrics, windows, decoding, and runs that learn."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import random
import signal
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from torch import nn
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, BertConfig, PreTrainedTokenizerBase
from transformers.models.bert import BertForQuestionAnswering

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.engine import EXIT_CODE, read_items
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextForMaskedLM, MetaFormerTextForQuestionAnswering
from metaformer_nlp.text.tokenizer import SPECIAL_TOKENS, read_wordpiece, train_tokenizer
from tasks.squad import finetuning as squad
from tasks.squad.files import read_squad
from tasks.squad.metrics import best_threshold, exact_match, f1, normalize
from tasks.squad.question_answering import Answer, answer_questions, best_answers, best_spans, cut_windows, pad_windows
from tasks.text.checkpoints import save_text_model

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
    assert [window.question for window in windows] == [0] * (len(windows) - 1) + [1]
    question = tokenizer("Who was it?", add_special_tokens=False)["input_ids"]
    seen = set()
    for window in windows[:-1]:
        assert len(window.ids) == len(window.spans) <= 48
        first = [tokenizer.cls_token_id, *question, tokenizer.sep_token_id]
        assert window.ids[: window.second].tolist() == first
        assert (window.spans[: len(question) + 2] == 0).all(), "a token of the question counts as context"
        assert (window.spans[-1] == 0).all()
        seen |= {slot for start, end in window.spans for slot in range(start, end)}
    assert seen >= {slot for slot, letter in enumerate(CONTEXT) if not letter.isspace()}
    shared = [set(map(tuple, left.spans)) & set(map(tuple, right.spans)) for left, right in pairwise(windows[:-1])]
    assert all(len(spans) > 8 for spans in shared)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """One token a word."""
    path = tmp_path_factory.mktemp("words") / "vocab.txt"
    path.write_text("\n".join([*SPECIAL_TOKENS, *"abcdefgh", "?"]), encoding="utf-8")
    return read_wordpiece(path)


class Scripted(nn.Module):
    """Gives the logits (start, end) that a test sets for the tokens of the words, which are one token each."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, **marks: tuple[float, float]) -> None:
        super().__init__()
        self.config = SimpleNamespace(type_vocab_size=2)
        self.logits = nn.Parameter(torch.full((len(tokenizer), 2), -5.0))
        for word, values in marks.items():
            self.logits.data[tokenizer.convert_tokens_to_ids(word)] = torch.tensor(values)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> SimpleNamespace:
        # Padding, the question and [SEP] score far above the context: none of it may be an answer.
        outside = 20.0 * ((token_type_ids == 0) | (input_ids == 3))
        outside[:, 0] = 0.0
        starts, ends = self.logits[input_ids].unbind(-1)
        return SimpleNamespace(start_logits=starts + outside, end_logits=ends + outside)


def test_decoding_against_the_definition(words: PreTrainedTokenizerBase) -> None:
    """All spans of at most 2 tokens, by hand; padding, question and [SEP] are never in an answer."""
    start, end = {"a": 1.0, "b": 0.5, "c": 3.0, "d": -1.2}, {"a": 0.0, "b": 2.0, "c": 1.0, "d": 2.5}
    model = Scripted(words, **{word: (start[word], end[word]) for word in start})
    context = "a  b c d"
    spans = {1: ["a", "b", "c", "d"], 2: ["a", "b", "c", "d", "a  b", "b c", "c d"]}
    for longest, allowed in spans.items():
        logits = {span: start[span[0]] + end[span[-1]] for span in allowed}
        best = max(logits, key=lambda span: logits[span])
        (found,) = answer_questions(model, words, ["h ?"], [context], max_answer_length=longest)
        assert (found.text, context[found.start : found.end]) == (best, best)
        assert found.difference == pytest.approx(-10 - logits[best])  # [CLS] has -5 + -5
        other = answer_questions(model, words, ["h ?", "g"], [context, "a " * 40], max_answer_length=longest)
        assert other[0] == found, "what else is in the batch changes an answer"


def test_answers_of_several_windows(words: PreTrainedTokenizerBase) -> None:
    """The likeliest answer of all windows, and "no answer" only where no window has one."""
    model = Scripted(words, f=(6.0, 6.0))
    context = " ".join("abcde" * 8 + "f" + "abcde" * 8)
    options: dict[str, Any] = {"max_length": 24, "overlap": 12}
    (found,) = answer_questions(model, words, ["g"], [context], **options)
    assert (found.text, found.start) == ("f", context.index("f"))
    model.logits.data[2] = 4.0  # [CLS]: every window would rather have no answer than any other
    found, other = answer_questions(model, words, ["g", "g"], [context, "a b"], **options)
    assert found.text == "f"
    assert found.difference == 8.0 - 12.0
    assert other.difference == 8.0 + 10.0


def test_the_smallest_no_answer_counts() -> None:
    def window(logit: float, nothing: float, start: int) -> dict[str, torch.Tensor]:
        values = {"questions": 1, "starts": start, "ends": start + 1, "logits": logit, "nothing": nothing}
        return {name: torch.tensor([value]) for name, value in values.items()}

    results = [window(1.0, 5.0, 0), window(3.0, 2.0, 1), window(-1.0, 4.0, 2), window(-math.inf, 7.0, 0)]
    assert best_answers(results, ["", "xyz"]) == [Answer("", 0, 0, math.inf), Answer("y", 1, 2, -1.0)]


def test_what_cannot_be_answered(words: PreTrainedTokenizerBase) -> None:
    model = Scripted(words, a=(1.0, 1.0))
    assert answer_questions(model, words, [], []) == []
    assert [each.text for each in answer_questions(model, words, ["a", "b"], ["", " \n"])] == ["", ""]
    with pytest.raises(ValueError, match="2 questions and 1 contexts"):
        answer_questions(model, words, ["a", "b"], ["c"])
    with pytest.raises(ValueError, match=r"question 1 has 30 tokens, which leaves 0 of max_length=32 for the context"):
        cut_windows(words, ["a", "a " * 30], ["b", "c"], 32, 8)


def test_batches_are_what_the_tokenizer_makes(tokenizer: PreTrainedTokenizerBase) -> None:
    windows = cut_windows(tokenizer, ["Who?", "Where was he?"], [CONTEXT[:40], CONTEXT], 64, 16)
    batch = pad_windows(windows, int(tokenizer.pad_token_id), 64)
    expected = tokenizer(
        ["Who?", "Where was he?"], [CONTEXT[:40], CONTEXT], truncation="only_second", max_length=64, stride=16,
        return_overflowing_tokens=True, padding="max_length", return_tensors="pt",
    )  # fmt: skip
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        assert batch[name].equal(expected[name]), name


def test_normalization_and_scores() -> None:
    """Cases whose values follow from the published definition by hand."""
    assert normalize("The  U.S.A., an—Apple!") == "usa —apple"
    assert normalize("anthem\ta theatre") == "anthem theatre"
    assert exact_match("the Cat.", ["dog", "A cat"]) == 1.0
    assert exact_match("cats", ["cat"]) == 0.0
    assert f1("the red red cat", ["red cat sat"]) == pytest.approx(2 * 2 / (3 + 3))
    assert f1("red cat", ["dog", "a red cat"]) == 1.0, "the largest over the answers"
    assert f1("dog", ["cat"]) == 0.0
    for score in (exact_match, f1):
        assert (score("", []), score("cat", []), score("", ["cat"])) == (1.0, 0.0, 0.0)
        assert score("the", ["the", "cat"]) == 0.0, "an answer of which nothing is left counts as none"


def test_the_best_threshold_against_all_thresholds() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        count = int(rng.integers(1, 9))
        answerable, differences = rng.random(count) < 0.6, rng.integers(-3, 4, count).astype(float)
        scores = np.where(answerable, rng.random(count), 0.0)

        def total(threshold: float) -> float:
            return float(np.where(differences <= threshold, scores, ~answerable).mean())  # noqa: B023

        best, threshold = best_threshold(scores, answerable, differences)
        assert best == pytest.approx(max(total(each) for each in (-9.0, *differences)))
        assert total(threshold) == pytest.approx(best)


def row(number: int, answers: list[tuple[str, int]], **more: Any) -> dict[str, Any]:
    return {
        "id": f"q{number}",
        "question": f" Question {number}?",
        "answers": [{"text": text, "answer_start": start} for text, start in answers],
        **more,
    }


def write_json(path: Path, paragraphs: list[tuple[str, list[dict[str, Any]]]]) -> str:
    content = [{"context": context, "qas": rows} for context, rows in paragraphs]
    path.write_text(json.dumps({"version": "v2.0", "data": [{"title": "t", "paragraphs": content}]}))
    return str(path)


def test_json_and_parquet_hold_the_same(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = [row(0, [("Zürich", 0), ("the Limmat", 15)]), row(1, [], is_impossible=True, plausible_answers=[])]
    found = read_squad(write_json(tmp_path / "dev.json", [(CONTEXT, rows)]), "data.train")
    assert [each.question for each in found] == ["Question 0?", "Question 1?"]
    assert [each.answers for each in found] == [("Zürich", "the Limmat"), ()]
    assert [each.span for each in found] == [(0, 6), None]
    for number, each in enumerate(rows):
        answers = {key: [answer[key] for answer in each["answers"]] for key in ("text", "answer_start")}
        line = {"id": each["id"], "title": "t", "context": CONTEXT, "question": each["question"], "answers": answers}
        parquet.write_table(pyarrow.Table.from_pylist([line]), tmp_path / f"train-{number}.parquet")
    assert read_squad(str(tmp_path / "train-*.parquet"), "data.train") == found


def test_wrong_offsets_are_counted_and_named(tmp_path: Path) -> None:
    rows = [
        row(0, [("Zürich", 0)]),
        *(row(number, [("Zürich", number)]) for number in range(1, 8)),
        row(8, [("x", -1)]),
    ]
    with pytest.raises(ValueError, match="8 answers do not stand at their answer_start") as error:
        read_squad(write_json(tmp_path / "dev.json", [(CONTEXT, rows)]), "data.train")
    assert "dev.json: data[0].paragraphs[0].qas[1], id q1: 'Zürich' at 1, where the context has 'ürich '" in str(
        error.value
    )
    assert "and 3 more" in str(error.value)
    assert "characters (not bytes)" in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"data": [{"paragr', r"squad.json: no valid json \(.*cut off, download it again"),
        ("[]", "squad.json: must have 'data', a list, but there is a list. SQuAD's layout is"),
        ('{"data": [{"title": "t"}]}', r"data\[0\]: must have 'paragraphs', a list, but there are title"),
        ('{"data": [{"paragraphs": [{"context": 3, "qas": []}]}]}', r"paragraphs\[0\].*context is a int"),
        ('{"data": [{"paragraphs": [{"context": "a", "qas": [{"id": "1"}]}]}]}', r"qas\[0\]: must have 'question'"),
        ('{"data": []}', "holds no questions"),
    ],
)
def test_another_layout_is_an_error(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "squad.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_squad(str(tmp_path / "squad.json"), "data.train")


def test_other_errors_of_the_reader(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data.validation=.*no such file.*give SQuAD's json"):
        read_squad(str(tmp_path / "dev.json"), "data.validation")
    with pytest.raises(ValueError, match=r"id 'q0' is that of .*qas\[0\] too"):
        read_squad(write_json(tmp_path / "twice.json", [("a b", [row(0, []), row(0, [])])]), "data.train")
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"x\.parquet: damaged, or not a parquet file"):
        read_squad(str(tmp_path / "x.parquet"), "data.train")
    (tmp_path / "x.json").write_bytes('{"data": ["caf\xe9"]}'.encode("latin1"))
    with pytest.raises(ValueError, match=r"x.json: not UTF-8: .*iconv"):
        read_squad(str(tmp_path / "x.json"), "data.train")
    (tmp_path / "x.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"x.json: no valid json"):
        read_squad(str(tmp_path / "x.json"), "data.train")
    for key in ("id", "question"):
        half = write_json(tmp_path / "half.json", [("a b", [{**row(0, []), key: "\ud800?"}])])
        with pytest.raises(ValueError, match=rf"half.json: data\[0\].*'{key}' holds .* half of a surrogate pair"):
            read_squad(half, "data.train")


def test_the_kind_of_a_file_and_its_name(tmp_path: Path) -> None:
    table = {**row(0, []), "context": "a b", "answers": {"text": ["a"], "answer_start": [0]}}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([table]), tmp_path / "x.PARQUET")
    questions = read_squad(str(tmp_path / "x.PARQUET"), "data.train")
    assert [question.span for question in questions] == [(0, 1)]
    named = write_json(tmp_path / "x[1].json", [("a b", [row(0, [])])])
    (tmp_path / "x[1].json").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "x[1].json").read_bytes())
    assert len(read_squad(named, "data.train")) == 1


NAMES = ["apple", "bread", "chair", "door", "eagle", "fish", "grass", "house"]


def marked(path: Path, count: int, seed: int, unanswerable: float = 0.0) -> str:
    """Contexts of small words in which the answer is the word after the marker; some have no marker."""
    draw = random.Random(seed)
    paragraphs = []
    for number in range(count):
        picked = [draw.choice(NAMES) for _ in range(draw.randint(4, 12))]
        place = draw.randrange(len(picked))
        before = [*picked[:place], "", ""]
        answers = []
        if draw.random() >= unanswerable:
            before = [*picked[:place], "marker", ""]
            answers = [(picked[place], len(" ".join(before)))]
        context = " ".join([*before[:-1], *picked[place:]])
        paragraphs.append((context, [row(number, answers)]))
    return write_json(path, paragraphs)


def config_of(folder: Path, train: str, validation: str, **values: Any) -> squad.Config:
    options = {
        "run.folder": str(folder), "run.batch_size": 16, "run.log_every": 10, "schedule.steps": 200, "optim.lr": 3e-3,
        "data.train": train, "data.validation": validation, "data.max_length": 48, "data.overlap": 12,
        "data.vocab_size": 298, "model.hidden_size": 64, "model.num_hidden_layers": 2, "model.pool_size": 3,
        "model.initializer_range": 0.1, "model.hidden_dropout_prob": 0.0,
    }  # fmt: skip
    return from_dict(squad.Config, {**options, **values})


def test_a_model_learns_to_answer(tmp_path: Path) -> None:
    """300 contexts with and without an answer; the saved model gives the answers that the run has written."""
    files = marked(tmp_path / "train.json", 300, 0, 0.25), marked(tmp_path / "dev.json", 64, 1, 0.25)
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIAL_TOKENS, *NAMES, "marker", "question", "?"]))
    read_wordpiece(tmp_path / "vocab.txt").save_pretrained(tmp_path / "words")
    began = time.perf_counter()
    result = squad.run(config_of(tmp_path / "run", *files, **{"data.tokenizer": str(tmp_path / "words")}))
    seconds, metrics = time.perf_counter() - began, result["metrics"]
    assert metrics["validation/exact_match"] > 0.8
    assert metrics["validation/f1"] >= metrics["validation/exact_match"]
    assert metrics["validation/best_exact_match"] >= metrics["validation/exact_match"]
    assert min(metrics[f"validation/{part}_answer_exact_match"] for part in ("has", "no")) > 0.5
    assert seconds < 60

    questions = read_squad(files[1], "data.validation")
    predictions = json.loads((tmp_path / "run" / "predictions-validation.json").read_text())
    right = [exact_match(predictions[each.id], each.answers) for each in questions]
    assert np.mean(right) == pytest.approx(metrics["validation/exact_match"])
    assert read_items(tmp_path / "run")["validation/correct"].tolist() == [bool(each) for each in right]

    saved = tmp_path / "run" / "model"
    model, tokenizer = AutoModelForQuestionAnswering.from_pretrained(saved), AutoTokenizer.from_pretrained(saved)
    texts, contexts = [each.question for each in questions], [each.context for each in questions]
    answers = answer_questions(model, tokenizer, texts, contexts, max_length=48, overlap=12)
    given = {
        each.id: "" if answer.difference > 0 else answer.text for each, answer in zip(questions, answers, strict=True)
    }
    assert given == predictions
    again = answer_questions(model, tokenizer, texts, contexts, max_length=48, overlap=12, batch_size=1)
    assert [each.text for each in again] == [each.text for each in answers]


def test_a_stopped_run_ends_as_one_that_was_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = marked(tmp_path / "train.json", 40, 0), marked(tmp_path / "dev.json", 9, 1)
    short: dict[str, Any] = {"schedule.steps": 6, "model.hidden_size": 16}
    whole = squad.run(config_of(tmp_path / "whole", *files, **short))
    assert set(whole["metrics"]) == {f"validation/{name}" for name in ("loss", "exact_match", "f1")}
    collate, calls = squad.Squad.collate, 0

    def interrupting(self: Any, samples: list[Any]) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return collate(self, samples)

    monkeypatch.setattr(squad.Squad, "collate", interrupting)
    with pytest.raises(SystemExit) as stop:
        squad.run(config_of(tmp_path / "stopped", *files, **short))
    assert stop.value.code == EXIT_CODE
    assert squad.run(config_of(tmp_path / "stopped", *files, **short))["metrics"] == whole["metrics"]
    weights = [(tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("whole", "stopped")]
    assert weights[0] == weights[1]


def test_the_cost_is_known_before(tmp_path: Path) -> None:
    files = marked(tmp_path / "train.json", 40, 0), marked(tmp_path / "dev.json", 9, 1)
    config = config_of(tmp_path / "run", *files, **{"schedule.steps": 2, "model.hidden_size": 16})
    expected, result = squad.cost(config), squad.run(config)
    for name in ("steps", "samples", "tokens"):
        assert result["train"][name] == expected[name], name
    assert (result["parameters"], result["macs"]) == (expected["parameters"], expected["macs"])


def test_answers_that_no_window_holds(
    tmp_path: Path, words: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    """They are counted and named, not trained on, and still asked in the evaluation."""
    context = "a b c d e f g h " * 4
    long, short = row(0, [(context[:60].strip(), 0)]), row(1, [("c d", 4)])
    file = write_json(tmp_path / "squad.json", [(context, [long, short])])
    path = tmp_path / "words"
    words.save_pretrained(path)
    config = config_of(
        tmp_path / "run", file, file, **{"data.tokenizer": str(path), "data.max_length": 24, "data.overlap": 8}
    )
    task = squad.Squad(config)
    assert "the answers to 1 of 2 questions are whole in no window" in caplog.text
    assert "q0" in caplog.text
    assert task.fingerprint()["train"]["cut"] == 1
    samples = [task.train_data.sample(number, None) for number in range(len(task.train_data))]
    assert {window.question for window, _ in samples} == {1}
    labels = [label for _, label in samples if label != (0, 0)]
    assert len(labels) == 1
    evaluated = [
        task.eval_data["validation"].sample(number, None) for number in range(len(task.eval_data["validation"]))
    ]
    assert {window.question for window, _ in evaluated} == {0, 1}
    only = write_json(tmp_path / "only.json", [(context, [long])])
    with pytest.raises(ValueError, match="no answer is whole in a window"):
        squad.Squad(dataclasses.replace(config, data=dataclasses.replace(config.data, train=only)))


def test_the_encoder_of_a_pretrained_model(tmp_path: Path, words: PreTrainedTokenizerBase) -> None:
    """It is taken over, and the head is drawn from the seed."""
    config = MetaFormerTextConfig(
        vocab_size=len(words), max_position_embeddings=32, hidden_size=16, num_hidden_layers=1
    )
    pretrained = MetaFormerTextForMaskedLM(config)
    save_text_model(pretrained, words, tmp_path / "model")
    file = write_json(tmp_path / "squad.json", [("a b c d", [row(0, [("b c", 2)])])])
    options = {
        "run.folder": str(tmp_path / "run"), "schedule.steps": 1, "run.batch_size": 1, "data.train": file,
        "data.validation": file, "data.max_length": 32, "data.overlap": 8, "model.checkpoint": str(tmp_path / "model"),
    }  # fmt: skip
    task = squad.Squad(from_dict(squad.Config, options))
    heads = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        model = task.build_model()
        assert isinstance(model, MetaFormerTextForQuestionAnswering)
        for name, value in pretrained.encoder.state_dict().items():
            assert model.encoder.state_dict()[name].equal(value), name
        heads.append(model.qa_outputs.weight)
    assert heads[0].equal(heads[1])
    assert not heads[0].equal(heads[2])


def test_another_encoder_from_a_folder(tmp_path: Path, words: PreTrainedTokenizerBase) -> None:
    """BERT's tokens, windows and heads go through the same task."""
    torch.manual_seed(0)
    model = BertForQuestionAnswering(
        BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                   intermediate_size=16, max_position_embeddings=32)
    )  # fmt: skip
    model.save_pretrained(tmp_path / "bert")
    words.save_pretrained(tmp_path / "bert")
    file = write_json(tmp_path / "squad.json", [("a b c d", [row(0, [("b c", 2)])])])
    options = {
        "run.folder": str(tmp_path / "run"), "schedule.steps": 1, "run.batch_size": 1, "data.train": file,
        "data.validation": file, "data.max_length": 32, "data.overlap": 8, "model.checkpoint": str(tmp_path / "bert"),
    }  # fmt: skip
    task = squad.Squad(from_dict(squad.Config, options))
    built = task.build_model().eval()
    batch = task.collate([task.train_data.sample(0, None)])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    with torch.no_grad():
        loss, count = task.loss(built, batch)
        first, last = batch["labels"].unbind(1)
        assert loss / count == pytest.approx(
            float(model.eval()(**inputs, start_positions=first, end_positions=last).loss)
        )
        output = model(**inputs)
        found = best_spans(output.start_logits, output.end_logits, batch, 30)
        assert task.evaluate_batch(built, batch)["logits"].equal(found["logits"])
