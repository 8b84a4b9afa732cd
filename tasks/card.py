"""Model cards (README.md) from templates: the wording is in the ``card.md.j2`` files, the numbers come from here.

The head follows the model card metadata of the Hugging Face hub, so that results appear on the model's page. What is
not known is left out, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from jinja2 import ChainableUndefined, Environment, FileSystemLoader, Undefined
from transformers import PreTrainedConfig

__all__ = ["last_part", "mixer_names", "named_labels", "render_card"]


def table(rows: Mapping[str, Any], first: str = "", second: str = "") -> str:
    """Markdown of two columns, without the rows whose value is unknown (None or undefined); empty if all are."""
    known = {name: value for name, value in rows.items() if value is not None and not isinstance(value, Undefined)}
    lines = [f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in known.items()]
    return "\n".join([f"| {first} | {second} |", "|---|---|", *lines]) if lines else ""


# ModelCard.from_template renders one file alone; these templates extend a common one.
_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    undefined=ChainableUndefined,  # a setting that is not known
    trim_blocks=True,
    lstrip_blocks=True,
    autoescape=False,
)
_TEMPLATES.filters["table"] = table


def render_card(
    template: str, name: str, config: PreTrainedConfig, result: Mapping[str, Any], settings: Mapping[str, Any],
    *, package: str, repository: str | None, metadata: Mapping[str, Any], evaluations: list[EvalResult], **values: Any,
) -> str:  # fmt: skip
    """The text of README.md.

    Args:
        template: a file under tasks/.
        name: the model's name where it has no ``repository``.
        config: the model's configuration.
        result: a run's result.json.
        settings: a run's config.json.
        package: what registers the architecture, if it is ours, where this project is installed.
        repository: the model's name on the hub.
        metadata: further arguments of ``huggingface_hub.ModelCardData``.
        evaluations: the results that the hub shows on the model's page.
        values: what else the template names.
    """
    evaluated: dict[str, Any] = {"eval_results": evaluations, "model_name": repository or name} if evaluations else {}
    head = ModelCardData(library_name="transformers", **metadata, **evaluated)
    own = config.model_type.startswith("metaformer")
    text = _TEMPLATES.get_template(template).render(
        metadata=head.to_yaml(),
        name=repository or name,
        address=repository or "path/to/this/folder",
        config=config,
        settings=settings,
        package=package if own else None,
        trust=", trust_remote_code=True" if own and getattr(config, "auto_map", None) else "",
        **_numbers(result, settings),
        **values,
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _numbers(result: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Size of the model, and how it was trained, in digits; None: not known."""
    optim, schedule, run, model = (settings.get(group) or {} for group in ("optim", "schedule", "run", "model"))
    done, parameters = result.get("train"), (result.get("parameters") or {}).get("total")
    scaled = optim.get("lr_batch_size") is not None or run.get("fit_batch")  # then the options are not what was used
    batch, lr = (None, None) if scaled else (run.get("batch_size"), optim.get("lr"))
    lr = result.get("lr", lr)
    return {
        "parameters": f"{parameters:,}" if parameters else None,
        "macs": f"{result['macs'] / 1e9:.3f} G" if result.get("macs") else None,
        "start": last_part(model["checkpoint"]) if model.get("checkpoint") else None,
        "epochs": f"{done['epochs']:.4g} ({done['steps']} steps)" if done else schedule.get("epochs"),
        "batch": result.get("batch_size", batch),
        "lr": None if lr is None else f"{lr:.4g}",
    }


def last_part(path: object) -> str:
    """The end of a path, whose folders are private; of a run's model the run's name too."""
    parts = str(path).replace("\\", "/").rstrip("/").split("/")
    return "/".join(parts[-2:] if parts[-1] in ("model", "model-best") else parts[-1:])


def mixer_names(specs: Iterable[str | Mapping[str, Any]]) -> str:
    """Token mixers in their order, as ``pooling x 10, attention (num_heads 8) x 2``, windows left out."""

    def name(spec: str | Mapping[str, Any]) -> str:
        if isinstance(spec, str):
            return spec
        options = ", ".join(f"{key} {value}" for key, value in spec.items() if key not in ("name", "pool_size"))
        return f"{spec['name']} ({options})" if options else str(spec["name"])

    runs = [(name, len(list(run))) for name, run in groupby(map(name, specs))]
    return ", ".join(name if count == 1 else f"{name} x {count}" for name, count in runs)


def named_labels(config: PreTrainedConfig) -> list[str]:
    """The names of the classes; none where the library only numbers them."""
    names = [str(name) for name in (config.id2label or {}).values()]
    return [] if names == [f"LABEL_{index}" for index in range(len(names))] else names
