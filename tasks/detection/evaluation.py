"""COCO's twelve numbers of a saved detector, its results in COCO's format, and pictures of what it finds.

Images go through the model one by one, and the results are put in the order of the images' ids before they are scored:
the numbers depend neither on a batch size nor on the number of processes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
from tqdm import tqdm

from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.engine import RunConfig
from metaformer_nlp.engine.evaluate import evaluate
from metaformer_nlp.engine.processes import on_first, start_processes
from tasks.detection.data import ObjectSource, load_source
from tasks.detection.detection import Scoring
from tasks.detection.drawing import draw
from tasks.detection.metric import Kind, Result, rle
from tasks.detection.options import EvaluationConfig as Config
from vision.dense import MetaFormerVisionForObjectDetection, create_detector, load_dense_model, load_published


def run(config: Config) -> dict[str, float]:
    """Evaluate, print and write the scores, results and pictures; returns the scores, shares of one."""
    import_plugins(config.plugins)
    folder = Path(config.output)
    with start_processes(RunConfig(folder=".", batch_size=1, mixed_precision=config.precision), None) as accelerator:
        on_first(accelerator, lambda: (folder / "pictures").mkdir(parents=True, exist_ok=True))
        split = config.data.eval_split if config.data.name == "coco" else config.data.scenes.measured
        source, model = open_detector(config)
        scoring = Scoring(source, split, folder)
        batches = math.ceil(len(source) / accelerator.num_processes)
        with tqdm(total=batches, unit="image", disable=None if accelerator.is_main_process else True) as bar:
            model.register_forward_hook(lambda *_: bar.update())
            prepared = accelerator.prepare_model(model, evaluation_mode=True)
            found = evaluate(scoring, prepared, accelerator, batch_size=1, num_workers=config.num_workers)
        assert found is not None
        scores = {name.removeprefix(f"{split}/"): value for name, value in found.items()}

        def write() -> None:
            (folder / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
            draw_pictures(config, source, split)

        on_first(accelerator, write)
        accelerator.print(f"{len(source)} images: " + ", ".join(f"{name} {x:.4f}" for name, x in scores.items()))
        accelerator.print(f"written: {folder}")
    return scores


def open_detector(config: Config) -> tuple[ObjectSource, MetaFormerVisionForObjectDetection]:
    """What to measure on, and the detector of ``config.checkpoint``, in evaluation mode.

    Raises:
        ValueError: no such file or folder, one that holds no detector, or classes that are not the data's.
    """
    named, equals, file = config.checkpoint.partition("=")
    kind, slash, trunk = named.partition("/")
    if equals and slash and kind in ("retinanet", "mask_rcnn"):
        source = load_source(config.data, "validation", kind == "mask_rcnn")
        names = dict(enumerate(source.classes))
        model = create_detector(trunk, detector=kind, id2label=names, category_ids=source.category_ids)
        load_published(model, file)
    else:
        model = load_dense_model(config.checkpoint)  # type: ignore[assignment]
        if not isinstance(model, MetaFormerVisionForObjectDetection):
            raise ValueError(
                f"checkpoint {config.checkpoint}: holds a segmenter; scripts/evaluate_segmentation.py takes it"
            )
        source = load_source(config.data, "validation", model.config.detector == "mask_rcnn")
    if model.config.categories() != source.category_ids:
        raise ValueError(
            f"checkpoint {config.checkpoint} was trained on the categories {model.config.categories()[:10]} ..., the "
            f"data has {source.category_ids[:10]} ... ({source.name(0)}); both must be the same"
        )
    return source, model.eval()


def draw_pictures(config: Config, source: ObjectSource, split: str) -> None:
    """The first pictures with what was found in them, from the results that were written."""
    folder = Path(config.output)
    label = {category: index for index, category in enumerate(source.category_ids)}
    results: dict[Kind, list[Result]] = {}
    for kind in ("bbox", "segm"):
        file = folder / f"{split}.{kind}.json"
        results[kind] = json.loads(file.read_bytes()) if file.exists() else []
    for index in range(min(config.pictures, len(source))):
        image_id = source.image_ids[index]
        boxes, masks = (
            [row for row in results[kind] if row["image_id"] == image_id and row["score"] >= config.picture_threshold]
            for kind in ("bbox", "segm")
        )
        corners = np.array([row["bbox"] for row in boxes]).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        layers = np.stack([rle.decode(row["segmentation"]) for row in masks]) if masks else None
        labels, scores = [label[row["category_id"]] for row in boxes], [row["score"] for row in boxes]
        picture = draw(source.load(index).picture, corners, labels, source.classes, scores, layers)
        picture.save(folder / "pictures" / f"{image_id}.png")
