"""transformers' own Trainer on our models: it learns, evaluates, saves and resumes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorForMultipleChoice,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)

from metaformer_nlp.text import (
    MetaFormerTextForMaskedLM,
    MetaFormerTextForMultipleChoice,
    MetaFormerTextForQuestionAnswering,
    MetaFormerTextForSequenceClassification,
    MetaFormerTextForTokenClassification,
)
from metaformer_nlp.text.tokenizer import train_tokenizer
from tests.loaded import assert_close_outputs, assert_same_weights

ANIMALS, TOOLS = ("fox", "dog", "cat", "horse"), ("hammer", "saw", "drill", "wrench")


def sentences(count: int) -> list[tuple[str, str, int]]:
    """(sentence, its animal or tool, 0 for an animal and 1 for a tool), of several lengths."""
    draw = random.Random(0)
    made = []
    for number in range(count):
        word = draw.choice((ANIMALS, TOOLS)[number % 2])
        made.append((f"{'the very ' * draw.randint(0, 3)}old {word} lies in the garden", word, number % 2))
    return made


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer([sentence for sentence, _, _ in sentences(200)] * 3, 282)


def data(head: str, tokenizer: PreTrainedTokenizerBase) -> tuple[type, Any, list[dict[str, Any]]]:
    """Head, collator and rows of a task that twenty steps can begin to learn."""
    made = sentences(64)
    rows: list[dict[str, Any]] = [dict(tokenizer(sentence)) for sentence, _, _ in made]
    if head == "masked language model":
        collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.3, seed=0)
        return MetaFormerTextForMaskedLM, collator, rows
    if head == "sequence":
        labelled = [{**row, "labels": kind} for row, (_, _, kind) in zip(rows, made, strict=True)]
        return MetaFormerTextForSequenceClassification, DataCollatorWithPadding(tokenizer), labelled
    if head == "token":
        for row in rows:
            row["labels"] = [-100, *(token % 2 for token in row["input_ids"][1:-1]), -100]
        return MetaFormerTextForTokenClassification, DataCollatorForTokenClassification(tokenizer), rows
    if head == "question":
        rows = []
        for sentence, word, _ in made:
            row = tokenizer("which?", sentence)
            start, end = (
                row.char_to_token(sentence.index(word) + place, sequence_index=1) for place in (0, len(word) - 1)
            )
            rows.append({**row, "start_positions": start, "end_positions": end})
        return MetaFormerTextForQuestionAnswering, DataCollatorWithPadding(tokenizer), rows
    # The right one of two texts is that with the fox, once the first and once the second.
    choices = [
        [sentence.replace(word, each) for each in (("fox", "saw") if kind else ("saw", "fox"))]
        for sentence, word, kind in made
    ]
    rows = [{**tokenizer(texts), "labels": 1 - kind} for texts, (_, _, kind) in zip(choices, made, strict=True)]
    return MetaFormerTextForMultipleChoice, DataCollatorForMultipleChoice(tokenizer), rows


def train(
    head: str, tokenizer: PreTrainedTokenizerBase, config: Any, folder: Path, steps: int = 20, **options: Any
) -> Trainer:
    model_class, collator, rows = data(head, tokenizer)
    torch.manual_seed(0)
    settings = TrainingArguments(
        output_dir=str(folder),
        **{
            "max_steps": steps, "per_device_train_batch_size": 8, "learning_rate": 3e-3, "logging_steps": 1,
            "eval_strategy": "steps", "eval_steps": 10, "save_steps": 10, "lr_scheduler_type": "constant",
            "use_cpu": True, "report_to": [], "disable_tqdm": True, **options,
        },
    )  # fmt: skip
    trainer = Trainer(
        model=model_class(config), args=settings, data_collator=collator, train_dataset=rows, eval_dataset=rows[:32]
    )
    trainer.train()
    return trainer


def losses(trainer: Trainer, key: str = "loss") -> list[float]:
    return [entry[key] for entry in trainer.state.log_history if key in entry]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@pytest.fixture
def config(text_config: Any, tokenizer: PreTrainedTokenizerBase) -> Any:
    return text_config(
        vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=0.1, hidden_dropout_prob=0.0,
        pool_size=[3, 7], num_labels=2,
    )  # fmt: skip


@pytest.mark.parametrize("head", ["masked language model", "sequence", "token", "question", "choice"])
def test_twenty_steps(head: str, tokenizer: PreTrainedTokenizerBase, config: Any, tmp_path: Path) -> None:
    """Every head: the loss falls, in training and in evaluation."""
    trainer = train(head, tokenizer, config, tmp_path)
    seen = losses(trainer)
    assert len(seen) == 20
    assert mean(seen[-5:]) < 0.8 * mean(seen[:5])
    assert len(losses(trainer, "eval_loss")) == 2
    predictions = trainer.predict(trainer.eval_dataset)
    assert predictions.metrics["test_loss"] < mean(seen[:5])


def test_saved_and_resumed(tokenizer: PreTrainedTokenizerBase, config: Any, tmp_path: Path) -> None:
    """A run that goes on from its checkpoint ends as one that never stopped."""
    whole = train("sequence", tokenizer, config, tmp_path / "whole")
    again = train("sequence", tokenizer, config, tmp_path / "again", steps=10)
    model_class, collator, rows = data("sequence", tokenizer)
    resumed = Trainer(
        model=model_class(config),
        args=TrainingArguments(**{**again.args.to_dict(), "max_steps": 20}),
        data_collator=collator,
        train_dataset=rows,
        eval_dataset=rows[:32],
    )
    resumed.train(resume_from_checkpoint=str(tmp_path / "again" / "checkpoint-10"))
    assert resumed.state.global_step == 20
    for (name, value), expected in zip(resumed.model.named_parameters(), whole.model.parameters(), strict=True):
        torch.testing.assert_close(value, expected, msg=name)
    whole.save_model(str(tmp_path / "model"))
    loaded = model_class.from_pretrained(tmp_path / "model").eval()
    batch = collator([dict(row) for row in rows[:4]])
    assert_same_weights(loaded.state_dict(), whole.model.state_dict())
    with torch.no_grad():
        assert_close_outputs(loaded(**batch).logits, whole.model.eval()(**batch).logits)


@pytest.mark.parametrize("head", ["sequence", "token", "question", "choice"])
def test_accumulation_changes_nothing(
    head: str, tokenizer: PreTrainedTokenizerBase, config: Any, tmp_path: Path
) -> None:
    """Four times two rows are the step of eight rows, since the loss is divided by what counts in all of them.

    (The masked language model's collator draws its masks batch by batch: other batches, other masks.)
    """
    options = {"eval_strategy": "no", "save_strategy": "no", "optim": "sgd", "max_grad_norm": 1e9, "learning_rate": 0.1}
    runs = [
        train(head, tokenizer, config, tmp_path / str(size), steps=3, **options,
              **{"per_device_train_batch_size": size, "gradient_accumulation_steps": 8 // size})
        for size in (8, 2)
    ]  # fmt: skip
    for (name, one), other in zip(runs[0].model.named_parameters(), runs[1].model.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4, msg=name)


def test_bfloat16(tokenizer: PreTrainedTokenizerBase, config: Any, tmp_path: Path) -> None:
    trainer = train("masked language model", tokenizer, config, tmp_path, bf16=True, eval_strategy="no")
    seen = losses(trainer)
    assert mean(seen[-5:]) < 0.8 * mean(seen[:5])
    assert next(trainer.model.parameters()).dtype == torch.float32
