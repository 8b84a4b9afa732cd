"""summary.csv: a row for each evaluation, for people and spreadsheets."""

import csv
import io
import json
from pathlib import Path
from typing import Any

from metaformer_nlp.engine.files import replace_text


def write_summary(metrics: Path, summary: Path, epochs_per_step: float) -> None:
    """Derive `summary` from the lines in the file `metrics`, whole; no file where nothing was evaluated.

    Columns: step, epoch, lr and train_loss (of the last training line up to that step), tokens where they are counted,
    then the metrics.
    """
    training: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for text in metrics.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        if "lr" in line:
            training = line
            continue
        step = line.pop("step")
        line.pop("seconds", None)
        known = {"lr": training.get("lr"), "train_loss": training.get("loss")}
        rows.append({"step": step, "epoch": step * epochs_per_step, **known, **line})
    if not rows:
        summary.unlink(missing_ok=True)
        return
    table = io.StringIO()
    writer = csv.DictWriter(table, list({name: None for row in rows for name in row}), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    replace_text(summary, table.getvalue())
