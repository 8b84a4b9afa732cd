"""The model card (README.md) of an image classifier, filled from what is known about it.

The head follows the model card metadata of the Hugging Face hub, so that results appear on the model's page.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from transformers import PreTrainedConfig, TimmWrapperConfig

from vision.configuration import MetaFormerVisionConfig
from vision.processing import preprocessing

PAPERS = {
    "MetaFormer Is Actually What You Need for Vision": "2111.11418",
    "MetaFormer Baselines for Vision": "2210.13452",
}
SHOWN_CLASSES = 20


def model_card(
    config: PreTrainedConfig, result: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None,
    *, repository: str | None = None, command: Sequence[str] | None = None,
) -> str:  # fmt: skip
    """The text of README.md: what the model is, how to use it, what it was measured to do and how it was trained.

    What is not known is left out, never guessed.

    Args:
        config: the model's configuration, ours or that of a wrapped model of timm.
        result: a run's result.json: metrics, parameters, macs, train, batch_size, lr.
        settings: a run's config.json: the resolved options, by group.
        repository: the name on the hub, `user/model`, for the examples.
        command: the command that trained it, in words.
    """
    result, settings = result or {}, settings or {}
    parts = [
        _head(config, result, settings, repository),
        f"# {repository.split('/')[-1] if repository else _kind(config)}",
        _about(config, result),
        _usage(config, repository or "path/to/this/folder"),
        _classes(config),
        _results(result),
        _training(settings, result, command),
        _limits(settings),
        _citation(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(
    config: PreTrainedConfig, result: Mapping[str, Any], settings: Mapping[str, Any], repository: str | None
) -> str:
    kind = "timm" if isinstance(config, TimmWrapperConfig) else "metaformer"
    head: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "vision", kind],
    }
    data = _data_name(settings)
    metrics = _percentages(result)
    if metrics:
        head["metrics"] = ["accuracy"]
    if metrics and data:  # the hub asks for both
        task = {"type": "image-classification"}
        values = [{"type": "accuracy", "name": name, "value": value} for name, value in metrics.items()]
        results = [{"task": task, "dataset": {"name": data, "type": data}, "metrics": values}]
        head["model-index"] = [{"name": repository or _kind(config), "results": results}]
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---"


def _kind(config: PreTrainedConfig) -> str:
    return config.architecture if isinstance(config, TimmWrapperConfig) else "MetaFormer image classifier"


def _about(config: PreTrainedConfig, result: Mapping[str, Any]) -> str:
    seen = preprocessing(config)
    if isinstance(config, MetaFormerVisionConfig):
        text = (
            "An image classifier of the MetaFormer architecture: blocks of a token mixer and a channel MLP, each with "
            "norm and shortcut, in stages between which the map is reduced."
        )
        rows = {
            "Token mixer": _mixers(config),
            "Blocks of each stage": ", ".join(map(str, config.depths)),
            "Channels of each stage": ", ".join(map(str, config.hidden_sizes)),
            "Norm, activation": f"{config.norm}, {config.hidden_act}",
        }
    else:
        text, rows = f"timm's `{_kind(config)}`, wrapped for transformers.", {}
    parameters = (result.get("parameters") or {}).get("total")
    if parameters:
        rows["Parameters"] = f"{parameters:,}"
    if result.get("macs"):
        rows["Multiply-accumulates an image"] = f"{result['macs'] / 1e9:.3f} G"
    rows["Images"] = f"{seen.image_size[0]} x {seen.image_size[1]}, crop {seen.crop_pct}, {seen.interpolation}"
    rows["Classes"] = str(config.num_labels)
    return f"{text}\n\n{_table(('', ''), rows.items())}"


def _mixers(config: MetaFormerVisionConfig) -> str:
    given = config.token_mixer if isinstance(config.token_mixer, list | tuple) else [config.token_mixer]
    return ", ".join(str(spec["name"]) if isinstance(spec, Mapping) else str(spec) for spec in given)


def _usage(config: PreTrainedConfig, repository: str) -> str:
    extra = "import vision  # registers the architecture: pip install the metaformer-nlp checkout\n"
    return (
        "## Use\n\n```python\n"
        f"{'' if isinstance(config, TimmWrapperConfig) else extra}"
        "from transformers import pipeline\n\n"
        f'classify = pipeline("image-classification", model="{repository}")\n'
        'print(classify("picture.jpg"))\n```'
    )


def _classes(config: PreTrainedConfig) -> str:
    names = [str(name) for name in (config.id2label or {}).values()]
    if not names or names == [f"LABEL_{index}" for index in range(len(names))]:
        return ""
    more = f" and {len(names) - SHOWN_CLASSES} more" if len(names) > SHOWN_CLASSES else ""
    return f"Classes: {', '.join(names[:SHOWN_CLASSES])}{more}."


def _percentages(result: Mapping[str, Any]) -> dict[str, float]:
    metrics = result.get("metrics") or {}
    return {name: round(100 * value, 3) for name, value in metrics.items() if "accuracy" in name}


def _results(result: Mapping[str, Any]) -> str:
    metrics = result.get("metrics") or {}
    if not metrics:
        return ""
    shares = _percentages(result)
    rows = [(name, f"{shares[name]:.2f} %" if name in shares else f"{value:.4f}") for name, value in metrics.items()]
    return f"## Results\n\n{_table(('Metric', 'Value'), rows)}"


def _data_name(settings: Mapping[str, Any]) -> str | None:
    data = settings.get("data") or {}
    name, root = data.get("name"), data.get("root")
    return f"{name} ({last_part(root)})" if name and root else name


def last_part(path: object) -> str:
    """Of a path, which is somebody's machine, what may be told."""
    return str(path).replace("\\", "/").rstrip("/").split("/")[-1]


def _training(settings: Mapping[str, Any], result: Mapping[str, Any], command: Sequence[str] | None) -> str:
    optim, schedule, run = (settings.get(group) or {} for group in ("optim", "schedule", "run"))
    done = result.get("train") or {}
    start = (settings.get("model") or {}).get("checkpoint")
    precision = run.get("mixed_precision")
    scaled = optim.get("lr_batch_size") is not None or run.get("fit_batch")  # then the options are not what was used
    batch, lr = (None, None) if scaled else (run.get("batch_size"), optim.get("lr"))
    batch, lr = result.get("batch_size", batch), result.get("lr", lr)
    rows = {
        "Data": _data_name(settings),
        "Started from": None if start is None else last_part(start),
        "Epochs": f"{done['epochs']:.4g} ({done['steps']} steps)" if done else schedule.get("epochs"),
        "Batch": batch,
        "Optimizer": optim.get("name", "adamw") if optim else None,
        "Learning rate": None if lr is None else f"{lr:.4g}",
        "Weight decay": optim.get("weight_decay"),
        "Schedule": schedule.get("kind"),
        "Arithmetic": "float32" if precision == "no" else precision,
        "Seed": run.get("seed"),
    }
    known = [(name, value) for name, value in rows.items() if value is not None]
    parts = [_table(("", ""), known)] if known else []
    if command:
        parts.append(f"```\n{' '.join(command)}\n```")
    return "## Training\n\n" + "\n\n".join(parts) if parts else ""


def _limits(settings: Mapping[str, Any]) -> str:
    data = _data_name(settings) or "its training data"
    return (
        "## Limits\n\n"
        f"The model knows the classes of {data} and gives one of them for every picture, also for pictures of "
        "something else. It was not examined for bias, nor for robustness to other kinds of pictures than those it was "
        "measured on."
    )


def _citation() -> str:
    lines = [f"- {title}, arXiv [{number}](https://arxiv.org/abs/{number})" for title, number in PAPERS.items()]
    return "## Papers\n\n" + "\n".join(lines)


def _table(header: tuple[str, str], rows: Any) -> str:
    lines = [f"| {header[0]} | {header[1]} |", "|---|---|"]
    lines += [f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in rows]
    return "\n".join(lines)


__all__ = ["last_part", "model_card"]
