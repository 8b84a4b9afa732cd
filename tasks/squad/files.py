"""Reader of questions in SQuAD's layout: json of 1.1 and 2.0 (arXiv 1606.05250, 1806.03822), the hub's parquet.

Every answer is compared with the context at its ``answer_start``: a wrong offset would train a wrong answer silently.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaformer_nlp.errors import checked_text, reading

__all__ = ["Question", "read_squad"]

_NAMED = 5  # broken answers that an error lists


@dataclass(frozen=True)
class Question:
    """A question about a context; ``answers`` are the texts that count as right, none where the context has no answer.

    The first answer is ``context[start : start + len(answers[0])]``.
    """

    id: str
    question: str
    context: str
    answers: tuple[str, ...]
    start: int = 0

    @property
    def span(self) -> tuple[int, int] | None:
        """First character of the first answer and the one after its last; None without an answer."""
        return (self.start, self.start + len(self.answers[0])) if self.answers else None


def read_squad(place: str, option: str) -> list[Question]:
    """The questions of the file ``place`` or of all files that fit the pattern; ``option`` is named in errors.

    Raises:
        ValueError: no such file, no valid json or parquet, another layout, no questions, ids that come twice, or
            answers that do not stand at their ``answer_start`` (all are counted, the first are named).
    """
    paths = [Path(place)] if Path(place).exists() else [Path(name) for name in sorted(glob.glob(place))]
    if not paths:
        raise ValueError(
            f"{option}={place}: no such file (looked in {Path.cwd()}); give SQuAD's json, such as train-v1.1.json, or "
            "the hub's parquet files, such as 'squad/train-*.parquet'"
        )
    questions, broken = [], []
    seen: dict[str, str] = {}
    for path in paths:
        for where, row in _parquet_rows(path) if path.suffix.lower() == ".parquet" else _json_rows(path):
            id_, question, context = (_text(row, key, where) for key in ("id", "question", "context"))
            if id_ in seen:
                raise ValueError(f"{where}: id {id_!r} is that of {seen[id_]} too; predictions need an id for each")
            seen[id_] = where
            answers = [
                (_text(answer, "text", where), _entry(answer, "answer_start", int, where))
                for answer in _entry(row, "answers", list, where)
            ]
            for text, start in answers:
                there = context[start : start + len(text)] if start >= 0 else ""
                if there != text or not text.strip():
                    broken.append(f"{where}, id {id_}: {text[:40]!r} at {start}, where the context has {there[:40]!r}")
            start = answers[0][1] if answers else 0
            questions.append(Question(id_, question.strip(), context, tuple(text for text, _ in answers), start))
    if broken:
        more = f"\n  and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
        raise ValueError(
            f"{place}: {len(broken)} answers do not stand at their answer_start:\n  "
            + "\n  ".join(broken[:_NAMED])
            + f"{more}\nanswer_start counts characters (not bytes) of the context from 0; correct these entries or "
            "take their questions out"
        )
    if not questions:
        raise ValueError(f"{option}={place} holds no questions")
    return questions


def _json_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place in the file and ``id``, ``question``, ``context``, ``answers`` of each question."""
    with reading(path, "a .json or .parquet file"):
        text = path.read_bytes().decode("utf-8-sig")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: no valid json ({error}); where the file was cut off, download it again") from error
    for i, article in enumerate(_entry(content, "data", list, str(path))):
        for j, paragraph in enumerate(_entry(article, "paragraphs", list, f"{path}: data[{i}]")):
            where = f"{path}: data[{i}].paragraphs[{j}]"
            context = _entry(paragraph, "context", str, where)
            for k, row in enumerate(_entry(paragraph, "qas", list, where)):
                _entry(row, "id", str, f"{where}.qas[{k}]")
                yield f"{where}.qas[{k}]", {**row, "context": context}


def _parquet_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The same from the hub's tables, which keep texts and starts of the answers in two lists."""
    import pyarrow
    import pyarrow.parquet

    with reading(path, "a parquet file", pyarrow.ArrowException):
        rows = pyarrow.parquet.ParquetFile(path).read().to_pylist()
    for number, row in enumerate(rows):
        where = f"{path}: row {number}"
        answers = _entry(row, "answers", dict, where)
        texts, starts = (_entry(answers, key, list, f"{where}.answers") for key in ("text", "answer_start"))
        if len(texts) != len(starts):
            raise ValueError(f"{where}.answers has {len(texts)} text and {len(starts)} answer_start; give one for each")
        pairs = zip(texts, starts, strict=True)
        yield where, {**row, "answers": [{"text": text, "answer_start": start} for text, start in pairs]}


def _text(parent: Any, key: str, where: str) -> str:
    """``parent[key]``, checked to be text that a tokenizer takes."""
    return checked_text(_entry(parent, key, str, where), f"{where}: {key!r}")


def _entry(parent: Any, key: str, kind: type, where: str) -> Any:
    """``parent[key]``, checked to be a ``kind``."""
    if isinstance(parent, dict) and isinstance(parent.get(key), kind):
        return parent[key]
    if not isinstance(parent, dict):
        found = f"there is a {type(parent).__name__}"
    elif key in parent:
        found = f"{key} is a {type(parent[key]).__name__}"
    else:
        found = f"there are {', '.join(map(str, parent)) or 'no keys'}"
    raise ValueError(
        f"{where}: must have {key!r}, a {kind.__name__}, but {found}. SQuAD's layout is "
        "data[].paragraphs[].{context, qas[].{id, question, answers[].{text, answer_start}}}; parquet has the columns "
        "id, context, question, answers"
    )
