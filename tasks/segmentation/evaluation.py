"""Scores of a saved segmenter on labelled pictures, and pictures of what it says.

Images go through the model one by one, and their confusion matrices are added: the numbers depend neither on a batch
size nor on the number of processes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.core.cost import count_parameters
from metaformer_nlp.engine import RunConfig
from metaformer_nlp.engine.evaluate import evaluate
from metaformer_nlp.engine.processes import on_first, start_processes
from tasks.images.evaluation import append_row, check_output
from tasks.segmentation.augment import EvalTransform, Normalize
from tasks.segmentation.data import LabelSource, load_source
from tasks.segmentation.drawing import draw
from tasks.segmentation.metric import NAMES
from tasks.segmentation.options import EvaluationConfig as Config
from tasks.segmentation.segmentation import Scoring
from vision.dense import (
    MetaFormerVisionForSemanticSegmentation,
    create_segmenter,
    label_map,
    load_dense_model,
)
from vision.dense.checkpoints import load_published

COLUMNS = ("model", *NAMES, "param_count", "images")
"""Of the csv file; scores in per cent, millions of parameters."""


def run(config: Config) -> dict[str, Any]:
    """Evaluate, print and write the scores, and draw the pictures; returns the row."""
    import_plugins(config.plugins)
    if config.output is not None:
        check_output(Path(config.output), COLUMNS)
    with start_processes(RunConfig(folder=".", batch_size=1, mixed_precision=config.precision), None) as accelerator:
        source = load_source(config.data, "validation")
        model = open_segmenter(config.checkpoint, source)
        normalize = Normalize(tuple(model.config.image_mean), tuple(model.config.image_std))
        batches = math.ceil(len(source) / accelerator.num_processes)
        with tqdm(total=batches, unit="image", disable=None if accelerator.is_main_process else True) as bar:
            hook = model.register_forward_hook(lambda *_: bar.update())
            found = evaluate(
                Scoring(source, config.data, normalize),
                accelerator.prepare_model(model, evaluation_mode=True),
                accelerator,
                batch_size=1,
                num_workers=config.num_workers,
            )
            hook.remove()
        assert found is not None
        row = {
            "model": config.checkpoint,
            **{name: round(100 * found[f"{config.data.scenes.measured}/{name}"], 4) for name in NAMES},
        }
        row |= {"param_count": round(count_parameters(model).total / 1e6, 3), "images": len(source)}

        def write() -> None:
            if config.output is not None:
                append_row(Path(config.output), row, COLUMNS)
            if config.pictures is not None:
                draw_pictures(config, source, model, EvalTransform(config.data.fit, normalize))

        on_first(accelerator, write)
        accelerator.print(", ".join(f"{name} {value}" for name, value in row.items()))
    return row


def open_segmenter(checkpoint: str, source: LabelSource) -> MetaFormerVisionForSemanticSegmentation:
    """The segmenter of ``PATH``, or of a file of the authors, ``TRUNK=FILE``, in evaluation mode.

    Raises:
        ValueError: no such file or folder, one that holds no segmenter, or classes that are not the source's.
    """
    trunk, equals, file = checkpoint.partition("=")
    if equals and not Path(checkpoint).exists():
        published = create_segmenter(trunk, id2label=dict(enumerate(source.classes)), head_norm="batch_norm")
        load_published(published, file)
        return published.eval()
    model = load_dense_model(checkpoint)
    if not isinstance(model, MetaFormerVisionForSemanticSegmentation):
        raise ValueError(f"checkpoint {checkpoint}: holds a detector; scripts/evaluate_detection.py takes it")
    names = [name for _, name in sorted((model.config.id2label or {}).items())]
    wrong = [
        f"{label}: {a!r} and {b!r}" for label, (a, b) in enumerate(zip(names, source.classes, strict=False)) if a != b
    ]
    if len(names) != len(source.classes) or wrong:
        raise ValueError(
            f"checkpoint {checkpoint} tells {len(names)} classes apart, the data has {len(source.classes)}; both must "
            f"be the same, in the same order{'. Differ: ' if wrong else ''}{'; '.join(wrong[:5])}"
        )
    return model.eval()


@torch.inference_mode()
def draw_pictures(
    config: Config, source: LabelSource, model: MetaFormerVisionForSemanticSegmentation, transform: EvalTransform
) -> None:
    """The first pictures: image, labels, prediction."""
    folder = Path(str(config.pictures))
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(min(config.num_pictures, len(source))):
        picture, labels = source.load(index)
        logits = model(pixel_values=transform(picture)[None].to(model.device)).logits[0]
        predicted = label_map(logits, labels.shape).cpu().numpy()
        draw(picture, [labels, predicted], source.classes).save(folder / f"{index:05d}.png")
    print(f"written: {folder}")
