"""Extractive question answering on SQuAD 1.1 and 2.0: trained on windows, measured by exact match and F1.

A window that lacks a part of the answer is labelled as BERT is trained on SQuAD 2 (Devlin et al., arXiv 1810.04805,
section 4.3): start and end are its first token, [CLS].

Shapes: B windows of a batch, L tokens of the longest, N questions of a split.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModelForQuestionAnswering, PreTrainedModel, PreTrainedTokenizerBase

from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.engine import Dataset, Task
from metaformer_nlp.engine.files import replace_text
from tasks.cache import fingerprint_texts
from tasks.planned_cost import counted_once, parameters_of, planned_training, without_memory
from tasks.squad.files import Question, read_squad
from tasks.squad.metrics import best_threshold, exact_match, f1
from tasks.squad.options import SquadConfig as Config
from tasks.squad.options import SquadDataConfig
from tasks.squad.question_answering import Answer, Window, best_answers, best_spans, cut_windows, pad_windows
from tasks.text.checkpoints import given_tokenizer, save_text_model
from tasks.text.encoding import inputs_of, tokenizer_key, trained_tokenizer
from tasks.text.masked_lm import saved_config, tokenizer_of
from tasks.text.model import encoder_macs
from tasks.training import train

__all__ = ["Config", "Squad", "cost", "run"]

logger = logging.getLogger(__name__)

_NAMED = 5  # questions that a warning lists


class LabelledWindows:
    """Windows of a split, from short to long, and in each the first and last token of the answer; (0, 0): none.

    Questions whose answer is whole in no window are left out of the windows with ``drop``; their ids are in ``cut``.
    """

    def __init__(
        self, questions: Sequence[Question], tokenizer: PreTrainedTokenizerBase, data: SquadDataConfig, *, drop: bool
    ) -> None:
        texts, contexts = [each.question for each in questions], [each.context for each in questions]
        windows = cut_windows(tokenizer, texts, contexts, data.max_length, data.overlap)
        labels = [
            None if (span := questions[window.question].span) is None else window.positions(*span) for window in windows
        ]
        held = {window.question for window, label in zip(windows, labels, strict=True) if label is not None}
        cut = {number for number, each in enumerate(questions) if each.answers} - held
        self.cut = [questions[number].id for number in sorted(cut)]
        self.samples = [
            (window, label or (0, 0))
            for window, label in zip(windows, labels, strict=True)
            if not (drop and window.question in cut)
        ]
        self.samples.sort(key=lambda sample: len(sample[0].ids))

    def __len__(self) -> int:
        return len(self.samples)

    def sample(self, index: int, rng: np.random.Generator | None) -> tuple[Window, tuple[int, int]]:
        """A window and its label; nothing about them is random."""
        return self.samples[index]

    def tokens_per_window(self) -> float:
        return float(np.mean([len(window.ids) for window, _ in self.samples]))


class Squad(Task):
    """The engine's Task for one :class:`Config`. Every evaluation leaves ``predictions-validation.json``, which the
    official evaluation script reads, in the run's folder.
    """

    def __init__(self, config: Config) -> None:
        data = config.data
        self.config = config
        self.questions = {
            "train": read_squad(data.train, "data.train"),
            "validation": read_squad(data.validation, "data.validation"),
        }
        self.has_unanswerable = any(not each.answers for part in self.questions.values() for each in part)
        self.tokenizer = make_tokenizer(config, self.questions["train"])
        self._windows = {
            split: LabelledWindows(questions, self.tokenizer, data, drop=split == "train")
            for split, questions in self.questions.items()
        }
        for split, windows in self._windows.items():
            if windows.cut:
                logger.warning(
                    "%s: the answers to %d of %d questions are whole in no window of data.max_length=%d with "
                    "data.overlap=%d%s: %s; a larger overlap holds longer answers",
                    split, len(windows.cut), len(self.questions[split]), data.max_length, data.overlap,
                    " and are not trained on" if split == "train" else "", ", ".join(windows.cut[:_NAMED]),
                )  # fmt: skip
        if not len(self._windows["train"]):
            raise ValueError(f"data.train={data.train}: no answer is whole in a window, nothing can be learned")
        self.model_config = config.model.build_config(self.tokenizer, data.max_length)
        self.train_data: Dataset = self._windows["train"]
        self.eval_data: Mapping[str, Dataset] = {"validation": self._windows["validation"]}

    def collate(self, samples: list[tuple[Window, tuple[int, int]]]) -> dict[str, Tensor]:
        """:func:`pad_windows`, and ``labels`` (B, 2), the first and last token of the answer."""
        windows, labels = zip(*samples, strict=True)
        assert isinstance(self.tokenizer.pad_token_id, int)
        batch = pad_windows(windows, self.tokenizer.pad_token_id, self.config.data.max_length)
        return {**batch, "labels": torch.tensor(labels)}

    def build_model(self) -> nn.Module:
        """The model; what is fresh in it is drawn from torch's generator."""
        model = self.config.model.build_model(AutoModelForQuestionAnswering, self.model_config)
        self._macs = row_macs(model, self.config.data.max_length)
        self._inputs = inputs_of(model)
        return model

    def macs(self) -> int | None:
        """Multiply-accumulates of a full window; None for encoders that are not ours."""
        return self._macs

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Sum over the windows of the mean of both cross entropies, and the number of windows."""
        starts, ends = self._logits(model, batch)
        return _sum_of_losses(starts, ends, batch["labels"]), torch.tensor(len(starts), device=starts.device)

    def evaluate_batch(self, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``loss`` (a sum) and, of each window, :func:`best_spans`."""
        starts, ends = self._logits(model, batch)
        loss = _sum_of_losses(starts, ends, batch["labels"]).double()
        return {"loss": loss, **best_spans(starts, ends, batch, self.config.data.max_answer_length)}

    def metric_names(self) -> list[str]:
        """What ``summarize`` gives, but for thresholds, of which neither more nor less is better."""
        parts = ("", "has_answer_", "no_answer_", "best_") if self.has_unanswerable else ("",)
        return ["loss", *(f"{part}{name}" for part in parts for name in ("exact_match", "f1"))]

    def summarize(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, float]:
        """``exact_match`` and ``f1``, shares of the questions, and the mean ``loss`` of the windows.

        With questions that have no answer, also both of the questions with (``has_answer_...``) and without an answer
        (``no_answer_...``): "no answer" is given where its logit is above that of the best answer. What another
        threshold than 0 would give at best, chosen on these very questions, are ``best_...`` and its ``..._threshold``.
        """
        questions = self.questions[split]
        answers, texts = self._answers(split, results)
        gold = [each.answers for each in questions]
        predictions = {each.id: text for each, text in zip(questions, texts, strict=True)}
        replace_text(
            Path(self.config.run.folder) / f"predictions-{split}.json",
            json.dumps(predictions, ensure_ascii=False, indent=1) + "\n",
        )
        metrics = {"loss": sum(float(result["loss"]) for result in results) / len(self._windows[split])}
        answerable = np.array([bool(each) for each in gold])
        differences = np.array([answer.difference for answer in answers])
        for name, score in (("exact_match", exact_match), ("f1", f1)):
            scores = np.array([score(text, right) for text, right in zip(texts, gold, strict=True)])
            metrics[name] = float(scores.mean())
            if self.has_unanswerable:
                for part, chosen in (("has_answer", answerable), ("no_answer", ~answerable)):
                    if chosen.any():
                        metrics[f"{part}_{name}"] = float(scores[chosen].mean())
                answered = np.array([score(answer.text, right) for answer, right in zip(answers, gold, strict=True)])
                best, threshold = best_threshold(answered, answerable, differences)
                metrics |= {f"best_{name}": best, f"best_{name}_threshold": threshold}
        return metrics

    def items(self, split: str, results: list[dict[str, Tensor]]) -> dict[str, NDArray[np.bool_]]:
        """Whether each question is ``correct``: an exact match."""
        pairs = zip(self._answers(split, results)[1], self.questions[split], strict=True)
        return {"correct": np.array([exact_match(text, question.answers) == 1 for text, question in pairs])}

    def save_model(self, model: nn.Module, folder: Path) -> None:
        """The model and its tokenizer, as the Auto classes read them."""
        assert isinstance(model, PreTrainedModel)
        save_text_model(model, self.tokenizer, folder)

    def fingerprint(self) -> dict[str, Any]:
        """Identity of the data, of the tokenizer and of the checkpoint; with the numbers of questions, of windows, and
        of answers that no window holds.
        """
        splits = {
            split: {
                "questions": len(questions),
                "windows": len(self._windows[split]),
                "cut": len(self._windows[split].cut),
                "texts": fingerprint_texts(map(repr, questions)),
            }
            for split, questions in self.questions.items()
        }
        return {"tokenizer": tokenizer_key(self.tokenizer), **self.config.model.fingerprint(), **splits}

    def tokens_per_sample(self) -> float:
        """Mean number of tokens of a training window."""
        return self._windows["train"].tokens_per_window()

    def _answers(self, split: str, results: list[dict[str, Tensor]]) -> tuple[list[Answer], list[str]]:
        """The best answer to each question, and what is given: nothing where "no answer" is likelier and allowed."""
        answers = best_answers(results, [question.context for question in self.questions[split]])
        return answers, ["" if self.has_unanswerable and each.difference > 0 else each.text for each in answers]

    def _logits(self, model: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Of start and end, (B, L) float32."""
        output = model(**{name: batch[name] for name in self._inputs})
        return output.start_logits.float(), output.end_logits.float()


def _sum_of_losses(starts: Tensor, ends: Tensor, labels: Tensor) -> Tensor:
    first, last = labels.unbind(dim=1)
    return (F.cross_entropy(starts, first, reduction="sum") + F.cross_entropy(ends, last, reduction="sum")) / 2


def row_macs(model: nn.Module, length: int) -> int | None:
    """Multiply-accumulates of a full window; None for encoders that are not ours."""
    return encoder_macs(model, length, predictions=length)


def make_tokenizer(config: Config, questions: Sequence[Question]) -> PreTrainedTokenizerBase:
    """The tokenizer of ``config``; one that is trained here learns from the questions and their contexts."""
    given = given_tokenizer(config.data.tokenizer, config.model.checkpoint)
    if given is not None:
        return given
    texts = [*dict.fromkeys(each.context for each in questions), *(each.question for each in questions)]
    return trained_tokenizer(texts, config.data.vocab_size)


def cost(config: Config, start: Any = None) -> dict[str, Any]:
    """What ``run`` will take, without training: ``steps``, ``samples`` (windows), ``tokens``, ``parameters``, ``macs``
    of a full window and ``training_macs`` of all forward passes, under the names of the result.

    Steps, samples and tokens are left out where ``schedule.minutes`` limits the run, MACs for encoders that are not
    ours. ``start`` is the configuration of the run that will make ``model.checkpoint``, where that is not there yet.

    Raises:
        ValueError: as ``run`` does, for options that do not fit (the checkpoint's, too) and data that is not there.
    """
    import_plugins(config.plugins)
    start = start if config.model.checkpoint is not None else None
    data, length = config.data, config.data.max_length

    def read() -> list[Question]:
        return read_squad(data.train, "data.train")

    questions = counted_once(read, data.train)
    later = start is not None and data.tokenizer is None
    tokenizer = tokenizer_of(start) if later else make_tokenizer(config, questions)

    def count() -> tuple[int, float]:
        windows = LabelledWindows(questions, tokenizer, data, drop=True)
        return len(windows), windows.tokens_per_window()

    num_windows, mean_tokens = counted_once(count, data, tokenizer_key(tokenizer))
    description = config.model.build_config(tokenizer, length, saved=None if start is None else saved_config(start))
    model = without_memory(lambda: AutoModelForQuestionAnswering.from_config(description))
    training: dict[str, Any] = planned_training(config.run, config.optim, config.schedule, num_windows, mean_tokens)
    macs = row_macs(model, length)
    if macs is not None:
        training = {**training, "macs": macs}
        if "tokens" in training:
            training["training_macs"] = round(macs * training["tokens"] / length)
    return {**training, "parameters": parameters_of(model)}


def run(config: Config) -> dict[str, Any]:
    """Train, evaluate and save; returns what the run folder's result.json holds."""
    return train(Squad, config)
