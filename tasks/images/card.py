"""The model card (README.md) of an image classifier, filled from what is known about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedConfig, TimmWrapperConfig

from tasks.card import join, last_part, metadata, mixer_names, size_rows, table, training, usage
from vision import MetaFormerVisionConfig, preprocessing

__all__ = ["image_card"]

SHOWN_CLASSES = 20


def image_card(
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
        training(settings, result, command, _data_name(settings), {}),
        _limits(settings),
    ]
    return join(parts)


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
    return metadata(head)


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
    rows |= size_rows(result, "an image")
    rows["Images"] = f"{seen.image_size[0]} x {seen.image_size[1]}, crop {seen.crop_pct}, {seen.interpolation}"
    rows["Classes"] = str(config.num_labels)
    return f"{text}\n\n{table(('', ''), rows.items())}"


def _mixers(config: MetaFormerVisionConfig) -> str:
    return mixer_names(config.token_mixer if isinstance(config.token_mixer, list | tuple) else [config.token_mixer])


def _usage(config: PreTrainedConfig, repository: str) -> str:
    code = (
        "from transformers import pipeline\n\n"
        f'classify = pipeline("image-classification", model="{repository}"{{trust}})\n'
        'print(classify("picture.jpg"))'
    )
    return usage(config, "vision", code)


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
    return f"## Results\n\n{table(('Metric', 'Value'), rows)}"


def _data_name(settings: Mapping[str, Any]) -> str | None:
    data = settings.get("data") or {}
    name, root = data.get("name"), data.get("root")
    return f"{name} ({last_part(root)})" if name and root else name


def _limits(settings: Mapping[str, Any]) -> str:
    data = _data_name(settings) or "its training data"
    return (
        "## Limits\n\n"
        f"The model knows the classes of {data} and gives one of them for every picture, also for pictures of "
        "something else. It was not examined for bias, nor for robustness to other kinds of pictures than those it was "
        "measured on."
    )
