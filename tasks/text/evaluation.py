"""A saved masked language model on held-out text: the masked loss, and the pseudo-perplexity.

Two numbers that are not to be mistaken for each other:

- *masked loss* (and e to it, the masked perplexity): 15 % of the tokens are hidden at once, by the masks of
  pre-training's own evaluation, so that a model gets the number that its training reported.
- *pseudo-perplexity* (Salazar et al. 2020, arXiv 1910.14659): each token is hidden alone, all others being there, and
  e is raised to the mean loss per token. It costs a forward pass for each token, and is lower.

Both are per token. Between models with different tokenizers only the bits per character can be compared: the pseudo-
perplexity is taken over passages of the text itself, which are drawn by their number and so are the same for every
tokenizer, and the loss of all their tokens is shared out among the characters of the text as it was written. (What a
tokenizer does not tell apart, such as capitals or unknown characters, costs its model nothing.)

Pieces of equal length are scored together and each alone in its row, so that there is no padding, and models that know
neither packed rows nor an attention mask are treated as all others. Shapes: B pieces, L tokens each, M hidden tokens of
them, V vocabulary.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.engine.files import replace_text
from metaformer_nlp.text import MetaFormerTextForMaskedLM
from metaformer_nlp.text.masking import IGNORE
from tasks.text.checkpoints import load_text_model, load_tokenizer
from tasks.text.data import EVAL_RATE, MaskedRows, MaskingConfig
from tasks.text.masked_lm import MaskedPositions
from tasks.text.options import EvaluationConfig as Config
from tasks.text.options import EvaluationDataConfig as DataConfig
from tasks.text.packed import pack_text
from tasks.text.sources import text_source

__all__ = ["Config", "DataConfig", "run"]

_CHOICE = 13  # sets this random choice apart from others
_POOL = 20_000  # documents, the first ones, that passages are drawn from
_PASSAGE = 2000  # characters of a passage at most, so that no long document is all there is

Item = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""A piece as the model sees it (L,), the places that are asked for, and what is right there."""


def run(config: Config) -> dict[str, Any]:
    """Evaluate, print and write; returns the numbers.

    Raises:
        ValueError: a folder without a masked language model, one that is too short, or no text.
    """
    import_plugins(config.plugins)
    folder = Path(config.model)
    folder = folder / "model" if (folder / "model" / "config.json").is_file() else folder
    tokenizer = load_tokenizer(str(folder), "model")
    score = Scorer(_open_model(folder, config.data.max_length), config.batch_tokens)
    data = config.data
    source = text_source(data.text, column=data.column, unit=data.unit, max_documents=data.max_documents)
    if data.held_out:
        source = source.part(data.held_out, inside=True)
    text = pack_text(source, tokenizer, data.max_length)
    rows = MaskedRows(text, tokenizer, MaskingConfig())

    loss, correct, count = score(_masked_items(rows), f"{EVAL_RATE:.0%} hidden", None)
    result: dict[str, Any] = {
        "model": str(config.model),
        "text": source.name,
        **{name: text.info[name] for name in ("content", "documents", "tokens", "max_length")},
        "masked_tokens": count,
        "masked_loss": loss / max(count, 1),
        "masked_accuracy": correct / max(count, 1),
        "masked_perplexity": math.exp(min(loss / max(count, 1), 700.0)),
    }
    if config.pseudo_characters:
        passages = draw_passages(source.read(), config.pseudo_characters)
        result |= _pseudo_perplexity(score, passages, rows, tokenizer, data.max_length)
    print(_table(result))
    if config.json is not None:
        Path(config.json).parent.mkdir(parents=True, exist_ok=True)
        replace_text(Path(config.json), json.dumps(result, indent=2) + "\n")
    return result


def _open_model(folder: Path, max_length: int) -> PreTrainedModel:
    model = load_text_model(folder, "model", "MaskedLM")
    longest = getattr(model.config, "max_position_embeddings", max_length)
    if max_length > longest:
        raise ValueError(f"data.max_length={max_length}, but model={folder} has positions for {longest} tokens")
    return model


class _AnyMaskedLM(nn.Module):
    """Any masked language model, asked as `MaskedPositions`: here the whole row's logits are computed."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, segment_ids: Tensor, positions: Tensor) -> Tensor:
        """(B, L), unused, places (M,) in the flattened rows -> logits (M, V)."""
        logits: Tensor = self.model(input_ids).logits
        return logits.flatten(0, 1)[positions]


def _asked_for_positions(model: PreTrainedModel) -> nn.Module:
    return MaskedPositions(model) if isinstance(model, MetaFormerTextForMaskedLM) else _AnyMaskedLM(model)


class Scorer:
    """A model that scores items of equal length together."""

    def __init__(self, model: PreTrainedModel, batch_tokens: int) -> None:
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        self.device = accelerator or torch.device("cpu")
        self.model = _asked_for_positions(model).to(self.device)
        self.batch_tokens = batch_tokens

    def __call__(self, items: Iterable[Item], description: str, total: int | None) -> tuple[float, int, int]:
        """Sum of the losses of what is asked for, how often the likeliest token is right, and how much was asked."""
        waiting: dict[int, list[Item]] = {}
        loss, correct, count = 0.0, 0, 0
        with tqdm(total=total, desc=description, unit="token", unit_scale=True, disable=None) as bar:

            def flush(batch: list[Item]) -> None:
                nonlocal loss, correct, count
                sums = self._batch(batch)
                loss, correct, count = loss + sums[0], correct + sums[1], count + sums[2]
                bar.update(sums[2])

            for item in items:
                batch = waiting.setdefault(len(item[0]), [])
                batch.append(item)
                if (len(batch) + 1) * len(item[0]) > self.batch_tokens:
                    flush(waiting.pop(len(item[0])))
            for batch in waiting.values():
                flush(batch)
        return loss, correct, count

    @torch.no_grad()
    def _batch(self, items: list[Item]) -> tuple[float, int, int]:
        length = len(items[0][0])
        ids = torch.from_numpy(np.stack([ids for ids, _, _ in items])).to(self.device)
        places = np.concatenate([row * length + positions for row, (_, positions, _) in enumerate(items)])
        targets = torch.from_numpy(np.concatenate([right for _, _, right in items])).to(self.device)
        logits = self.model(ids, torch.ones_like(ids), torch.from_numpy(places).to(self.device)).float()
        losses = F.cross_entropy(logits, targets, reduction="none").double()
        return float(losses.sum()), int((logits.argmax(-1) == targets).sum()), len(targets)


def _masked_items(rows: MaskedRows) -> Iterator[Item]:
    """The pieces of all rows, hidden as pre-training's evaluation hides them."""
    for index in range(len(rows)):
        row = rows.sample(index, None)
        for segment in range(1, int(row.segments[-1]) + 1):
            ids, labels = (part[row.segments == segment] for part in (row.ids, row.labels))
            positions = np.flatnonzero(labels != IGNORE)
            if len(positions):
                yield ids, positions, labels[positions]


def draw_passages(documents: Iterator[str], characters: int) -> list[str]:
    """Passages of the documents, together of so many characters; a function of the documents' numbers alone."""
    texts: list[str] = []
    for number, text in enumerate(itertools.islice(documents, _POOL)):
        start = int(np.random.default_rng([_CHOICE, number]).integers(max(len(text) - _PASSAGE, 0) + 1))
        texts.append(text[start : start + _PASSAGE])
    passages = []
    for number in np.random.default_rng([_CHOICE]).permutation(len(texts)):
        if characters <= 0:
            break
        if passage := texts[number].strip()[:characters]:
            passages.append(passage)
            characters -= len(passage)
    return passages


def _pseudo_perplexity(
    score: Callable[[Iterable[Item], str, int | None], tuple[float, int, int]],
    passages: list[str],
    rows: MaskedRows,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> dict[str, Any]:
    """Of all tokens of the passages, in pieces of at most ``max_length``."""
    pieces: list[NDArray[np.int64]] = []
    for ids in tokenizer(passages, add_special_tokens=False, verbose=False)["input_ids"]:
        for start in range(0, len(ids), max_length - 2):
            piece = ids[start : start + max_length - 2]
            pieces.append(np.array([tokenizer.cls_token_id, *piece, tokenizer.sep_token_id]))

    def items() -> Iterator[Item]:
        for ids in pieces:
            for position in range(1, len(ids) - 1):
                hidden = ids.copy()
                hidden[position] = rows.mask_token_id
                yield hidden, np.array([position]), ids[[position]]

    loss, correct, count = score(items(), "one hidden at a time", sum(len(ids) - 2 for ids in pieces))
    characters = sum(len(passage) for passage in passages)
    return {
        "pseudo_tokens": count,
        "pseudo_passages": len(passages),
        "pseudo_characters": characters,
        "pseudo_loss": loss / max(count, 1),
        "pseudo_accuracy": correct / max(count, 1),
        "pseudo_perplexity": math.exp(min(loss / max(count, 1), 700.0)),
        "pseudo_bits_per_character": loss / math.log(2) / max(characters, 1),
    }


def _table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['model']} on {result['text']}: {result['documents']} documents, {result['tokens']} tokens, in pieces "
        f"of at most {result['max_length']}",
        f"{EVAL_RATE:.0%} hidden at once ({result['masked_tokens']} tokens): loss {result['masked_loss']:.4f} (e to it "
        f"{result['masked_perplexity']:.2f}), accuracy {result['masked_accuracy']:.2%}",
    ]
    if "pseudo_perplexity" in result:
        lines.append(
            f"one hidden at a time ({result['pseudo_tokens']} tokens, {result['pseudo_characters']} "
            f"characters in {result['pseudo_passages']} passages): "
            f"pseudo-perplexity {result['pseudo_perplexity']:.2f}, accuracy {result['pseudo_accuracy']:.2%}, "
            f"{result['pseudo_bits_per_character']:.3f} bits per character"
        )
    return "\n".join(lines)
