"""The model card (README.md) of an image classifier; its wording is in ``card.md.j2``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult
from transformers import PreTrainedConfig, TimmWrapperConfig

from tasks.card import last_part, mixer_names, named_labels, render_card
from vision import MetaFormerVisionConfig, preprocessing

__all__ = ["image_card"]


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
    timm = isinstance(config, TimmWrapperConfig)
    data, seen = _data_name(settings), preprocessing(config)
    metrics = result.get("metrics") or {}
    shares = {name: round(100 * value, 3) for name, value in metrics.items() if "accuracy" in name}
    evaluations = [
        EvalResult(
            task_type="image-classification",
            dataset_type=data,
            dataset_name=data,
            metric_type="accuracy",
            metric_name=name,
            metric_value=value,
        )
        for name, value in shares.items()
        if data  # the hub asks for it
    ]
    mixers = None
    if isinstance(config, MetaFormerVisionConfig):
        given = config.token_mixer
        mixers = mixer_names(given if isinstance(given, list | tuple) else [given])
    return render_card(
        "images/card.md.j2",
        config.architecture if timm else "MetaFormer image classifier",
        config,
        result,
        settings,
        package="vision",
        repository=repository,
        metadata={
            "pipeline_tag": "image-classification",
            "tags": ["image-classification", "vision", "timm" if timm else "metaformer"],
            "metrics": ["accuracy"] if shares else None,
        },
        evaluations=evaluations,
        command=command,
        data=data,
        mixers=mixers,
        images=f"{seen.image_size[0]} x {seen.image_size[1]}, crop {seen.crop_pct}, {seen.interpolation}",
        labels=named_labels(config),
        results={name: f"{shares[name]:.2f} %" if name in shares else f"{metrics[name]:.4f}" for name in metrics},
    )


def _data_name(settings: Mapping[str, Any]) -> str | None:
    data = settings.get("data") or {}
    name, root = data.get("name"), data.get("root")
    return f"{name} ({last_part(root)})" if name and root else name
