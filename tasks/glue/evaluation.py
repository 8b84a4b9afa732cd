"""From finished fine-tuning runs to GLUE's table over seeds and to the submission for its server."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaformer_nlp.config.names import split_names
from metaformer_nlp.errors import reading
from tasks.glue.table import averages, glue_table, read_runs, render, seed_folders, show, write_csv
from tasks.glue.tasks import GLUE

__all__ = ["Config", "run"]


@dataclass(frozen=True)
class Config:
    """Evaluate runs of scripts/finetune_glue.py."""

    runs: str | list[str]
    """Folders of finished runs, one a seed, or the folder of a run over seeds: separated by commas, or a list."""
    csv: str | None = None
    """File to write the table to, with all digits."""
    submission: str | None = None
    """Zip file to write for GLUE's server: each task is predicted by its run of median score."""
    root: str | None = None
    """submission: folder in GLUE's layout with the test files; null: the hub."""
    max_length: int | None = None
    """submission: longest row in tokens. null: as in fine-tuning."""


def run(config: Config) -> list[Any]:
    """Print the table, write what was asked for, and return the table's lines.

    Raises:
        ValueError: no runs, folders that are not finished, or a submission that breaks the server's rules.
    """
    given = split_names(config.runs)
    if not any(given):
        raise ValueError("runs is empty: name folders of finished runs of scripts/finetune_glue.py")
    folders = [folder for name in given for folder in seed_folders(name)]
    metrics = read_runs(folders)
    lines = [*glue_table(metrics), *averages(metrics)]
    show(render(lines))
    if config.csv is not None:
        write_csv(lines, Path(config.csv))
    if config.submission is not None:
        from tasks.glue.submission import check_submission, write_submission  # here, since it takes torch

        models = _median_models(folders, metrics)
        max_length = config.max_length or max(map(_max_length, models.values()), default=128)
        made = write_submission(models, config.root, Path(config.submission), max_length)
        for name, origin in made.items():
            print(f"{name}.tsv: {origin}")
        problems = check_submission(Path(config.submission))
        if problems:
            raise ValueError(f"{config.submission} breaks the server's rules: {'; '.join(problems)}")
        print(f"written and checked: {config.submission}")
    return lines


def _max_length(model: Path) -> int:
    """What the model was fine-tuned with, from the configuration of its run."""
    file = model.with_name("config.json")
    with reading(file, "the configuration of a run", ValueError, KeyError, TypeError):
        return int(json.loads(file.read_text(encoding="utf-8"))["data"]["max_length"])


def _median_models(folders: list[Path], metrics: list[dict[str, float]]) -> dict[str, Path]:
    """Task -> the saved model of the run whose score is the (lower) median; the best one would flatter."""
    models = {}
    for task in GLUE:
        ranked = sorted(
            (found[key], folder)
            for found, folder in zip(metrics, folders, strict=True)
            for key in (f"validation/{task}/score", f"held_out/{task}/score")
            if key in found
        )
        if ranked:
            models[task] = Path(ranked[(len(ranked) - 1) // 2][1]) / task / "model"
    return models
