"""What the model cards (README.md) of images and of text have in common.

The head follows the model card metadata of the Hugging Face hub, so that results appear on the model's page. What is
not known is left out, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import yaml
from transformers import PreTrainedConfig

__all__ = ["PAPERS", "join", "last_part", "metadata", "mixer_names", "size_rows", "table", "training", "usage"]

PAPERS = {
    "MetaFormer Is Actually What You Need for Vision": "2111.11418",
    "MetaFormer Baselines for Vision": "2210.13452",
}


def join(parts: Iterable[str], papers: Mapping[str, str] = PAPERS) -> str:
    """The card from its parts, of which some may be empty, and the list of ``papers`` (title -> arXiv number)."""
    lines = [f"- {title}, arXiv [{number}](https://arxiv.org/abs/{number})" for title, number in papers.items()]
    return "\n\n".join(part for part in (*parts, "## Papers\n\n" + "\n".join(lines)) if part) + "\n"


def metadata(head: Mapping[str, Any]) -> str:
    return f"---\n{yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True)}---"


def table(header: tuple[str, str], rows: Iterable[tuple[Any, Any]]) -> str:
    lines = [f"| {header[0]} | {header[1]} |", "|---|---|"]
    lines += [f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in rows]
    return "\n".join(lines)


def last_part(path: object) -> str:
    """Of a path, which is somebody's machine, what may be told: its end; of a run's model the run's name too."""
    parts = str(path).replace("\\", "/").rstrip("/").split("/")
    return "/".join(parts[-2:] if parts[-1] in ("model", "model-best") else parts[-1:])


def mixer_names(specs: Iterable[str | Mapping[str, Any]]) -> str:
    """Token mixers in their order, as ``pooling x 10, attention (num_heads 8) x 2``, windows left out."""

    def name(spec: str | Mapping[str, Any]) -> str:
        if isinstance(spec, str):
            return spec
        options = ", ".join(f"{key} {value}" for key, value in spec.items() if key not in ("name", "pool_size"))
        return f"{spec['name']} ({options})" if options else str(spec["name"])

    names = [name(spec) for spec in specs]
    runs = [(name, len(list(run))) for name, run in groupby(names)]
    return ", ".join(name if count == 1 else f"{name} x {count}" for name, count in runs)


def size_rows(result: Mapping[str, Any], unit: str) -> dict[str, str]:
    """Parameters, and multiply-accumulates of one ``unit``."""
    rows, parameters = {}, (result.get("parameters") or {}).get("total")
    if parameters:
        rows["Parameters"] = f"{parameters:,}"
    if result.get("macs"):
        rows[f"Multiply-accumulates {unit}"] = f"{result['macs'] / 1e9:.3f} G"
    return rows


def usage(config: PreTrainedConfig, module: str, code: str, more: str = "") -> str:
    """Example ``code`` in which ``{trust}`` stands for the option that opens the model.

    ``module`` is what registers it where this project is installed; ``more`` stands below the example.
    """
    own = hasattr(config, "used_mixers")
    carried = own and bool(getattr(config, "auto_map", None))
    code = code.replace("{trust}", ", trust_remote_code=True" if carried else "")
    if own and not carried:
        code = f"import {module}  # registers the architecture: pip install the metaformer-nlp checkout\n{code}"
    if carried:
        note = (
            f"`trust_remote_code=True` runs `modeling_{config.model_type}.py` of this repository, which needs torch "
            f"and transformers alone. Where metaformer-nlp is installed, `import {module}` does instead of it."
        )
        more = f"{note}\n\n{more}"
    return f"## Use\n\n```python\n{code}\n```\n\n{more}".rstrip()


def training(
    settings: Mapping[str, Any], result: Mapping[str, Any], command: Sequence[str] | None,
    data: str | None, more: Mapping[str, Any],
) -> str:  # fmt: skip
    """How the model was trained; ``more`` are rows that one kind of task alone has."""
    optim, schedule, run = (settings.get(group) or {} for group in ("optim", "schedule", "run"))
    done = result.get("train") or {}
    start = (settings.get("model") or {}).get("checkpoint")
    precision = run.get("mixed_precision")
    scaled = optim.get("lr_batch_size") is not None or run.get("fit_batch")  # then the options are not what was used
    batch, lr = (None, None) if scaled else (run.get("batch_size"), optim.get("lr"))
    batch, lr = result.get("batch_size", batch), result.get("lr", lr)
    rows = {
        "Data": data,
        "Started from": None if start is None else last_part(start),
        "Epochs": f"{done['epochs']:.4g} ({done['steps']} steps)" if done else schedule.get("epochs"),
        "Batch": batch,
        **more,
        "Optimizer": optim.get("name", "adamw") if optim else None,
        "Learning rate": None if lr is None else f"{lr:.4g}",
        "Weight decay": optim.get("weight_decay"),
        "Schedule": schedule.get("kind"),
        "Arithmetic": "float32" if precision == "no" else precision,
        "Seed": run.get("seed"),
    }
    known = [(name, value) for name, value in rows.items() if value is not None]
    parts = [table(("", ""), known)] if known else []
    if command:
        parts.append(f"```\n{' '.join(command)}\n```")
    return "## Training\n\n" + "\n\n".join(parts) if parts else ""
