"""A tokenizer from plain text: trained by sentencepiece, saved as a fast Hugging Face one, compared with the former.

The folder that is written opens with ``AutoTokenizer`` and is what ``--data.tokenizer`` of the other scripts takes.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import PreTrainedTokenizerFast

from metaformer_nlp.config.command_line import to_dict
from metaformer_nlp.errors import writing
from metaformer_nlp.text.tokenizer import SentencePieceModel, read_wordpiece, to_fast_tokenizer, train_sentencepiece
from tasks.text.options import TokenizerConfig as Config
from tasks.text.sources import TextSource, text_source, warn_once

__all__ = ["Config", "run"]


def run(config: Config) -> dict[str, Any]:
    """Train, compare with sentencepiece on lines of the text, and save; returns what is written to training.json.

    Raises:
        ValueError: a folder that holds something, no text, or a vocabulary that does not suit the text.
    """
    folder = Path(config.folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"folder {folder} is there and not empty; give a new one, or remove it")
    if not 0 <= config.data.held_out < 1:
        raise ValueError(f"data.held_out {config.data.held_out}: must be at least 0 and below 1")
    if config.wordpiece_vocab is not None:
        tokenizer = read_wordpiece(config.wordpiece_vocab, lowercase=config.lowercase, max_length=config.max_length)
        report: dict[str, Any] = {"vocab_size": len(tokenizer)}
    else:
        tokenizer, report = _train(config)
    _save(folder, tokenizer, {"config": to_dict(config), **report})
    print(f"saved: {folder} ({', '.join(f'{key} {value}' for key, value in report.items())})")
    return report


def _train(config: Config) -> tuple[PreTrainedTokenizerFast, dict[str, Any]]:
    data = config.data
    source = text_source(data.text, column=data.column, unit=data.unit, max_documents=data.max_documents)
    source = source.part(config.data.held_out, inside=False)
    limit = config.data.max_characters
    with tqdm(total=limit, desc="reading", unit="char", unit_scale=True, disable=None) as bar:
        texts = _texts(source, limit, bar)
        model = train_sentencepiece(
            texts, config.vocab_size, lowercase=config.lowercase, character_coverage=config.character_coverage
        )
        characters = int(bar.n)
    tokenizer = to_fast_tokenizer(model, max_length=config.max_length)
    lines = list(itertools.islice(_lines(source), 2000))
    return tokenizer, {"vocab_size": len(tokenizer), "characters": characters, **_compare(model, tokenizer, lines)}


def _texts(source: TextSource, limit: int, bar: tqdm[Any]) -> Iterator[str]:
    """Documents until ``limit`` characters were given; the last is cut. Then says that learning begins."""
    for number, text in enumerate(source.read()):
        if bar.n >= limit:
            warn_once(
                f"{source.name}: the pieces are learned from the first {number:,} documents; the others are left out "
                f"(data.max_characters {limit:,})"
            )
            break
        part = text[: limit - int(bar.n)]
        bar.n += len(part)
        bar.update(0)
        yield part
    if not bar.n:
        raise ValueError(f"{source.name}: no document with text in it to learn from (data.held_out leaves some out)")
    bar.set_description_str("read; learning pieces (minutes)")


def _lines(source: TextSource) -> Iterator[str]:
    return (line for text in source.read() for line in text.split("\n") if line.strip())


def _compare(model: SentencePieceModel, tokenizer: PreTrainedTokenizerFast, lines: list[str]) -> dict[str, Any]:
    """How often the fast tokenizer cuts a line as sentencepiece does, and how long a token is.

    Where they differ, both cuts must be equally good (a line of dashes has many): else the tokenizer is wrong.
    """
    reference = model.processor()
    same = tokens = 0
    for line in lines:
        expected, found = reference.encode(line), tokenizer(line, add_special_tokens=False, verbose=False)["input_ids"]
        same += found == expected
        tokens += len(found)
        scores = [sum(reference.get_score(piece) for piece in ids) for ids in (expected, found)]
        if abs(scores[0] - scores[1]) > 1e-3 * max(1.0, abs(scores[0])):
            raise AssertionError(f"the fast tokenizer cuts {line!r} worse than sentencepiece: {scores}")
    characters = sum(map(len, lines))
    return {
        "lines_compared": len(lines),
        "lines_equal_to_sentencepiece": same,
        "characters_per_token": round(characters / max(tokens, 1), 3),
    }


def _save(folder: Path, tokenizer: PreTrainedTokenizerFast, report: dict[str, Any]) -> None:
    """Under another name first: a folder that is there is whole."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with writing(folder):
        temporary.mkdir(parents=True)
        tokenizer.save_pretrained(temporary)
        (temporary / "training.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        temporary.replace(folder)
