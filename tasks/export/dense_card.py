"""The model card (README.md) of a detector or segmenter; its wording is in ``dense_card.md.j2``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from huggingface_hub import EvalResult

from tasks.card import last_part, mixer_names, named_labels, render_card
from vision.dense import MetaFormerVisionDetectionConfig, MetaFormerVisionSegmentationConfig

TASKS = {"retinanet": "object-detection", "mask_rcnn": "instance-segmentation", "semantic_fpn": "image-segmentation"}
KINDS = {"retinanet": "RetinaNet", "mask_rcnn": "Mask R-CNN", "semantic_fpn": "Semantic FPN"}


def dense_card(
    config: MetaFormerVisionDetectionConfig | MetaFormerVisionSegmentationConfig,
    result: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None,
    *, repository: str | None = None, command: Sequence[str] | None = None,
) -> str:  # fmt: skip
    """The text of README.md; see ``tasks.images.card.image_card``."""
    result, settings = result or {}, settings or {}
    kind = getattr(config, "detector", "semantic_fpn")
    given = settings.get("data") or {}
    data = f"{given['name']} ({last_part(given['root'])})" if given.get("root") else given.get("name")
    shares = {name: round(100 * x, 3) for name, x in (result.get("metrics") or {}).items() if x >= 0}  # -1: no objects
    evaluations = [
        EvalResult(
            task_type=TASKS[kind], dataset_type=data, dataset_name=data,
            metric_type=name.rpartition("/")[2], metric_name=name, metric_value=value,
        )
        for name, value in shares.items()
        if data  # the hub asks for it
    ]  # fmt: skip
    trunk = None if config.architecture else config.trunk_config()
    mixers = trunk.token_mixer if trunk else None
    return render_card(
        "export/dense_card.md.j2",
        KINDS[kind],
        config,
        result,
        settings,
        package="vision",
        repository=repository,
        metadata={"pipeline_tag": TASKS[kind].replace("instance", "image"), "tags": ["vision", "metaformer"]},
        evaluations=evaluations,
        command=command,
        data=data,
        kind=kind,
        title=KINDS[kind],
        trunk=trunk,
        mixers=mixer_names(mixers if isinstance(mixers, list | tuple) else [mixers]) if mixers else None,
        labels=named_labels(config),
        results={name: f"{value:.2f} %" for name, value in shares.items()},
    )
