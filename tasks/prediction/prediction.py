"""What a classifier, detector or segmenter predicts on picture files: drawn as PNG, and in words as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from metaformer_nlp.config.plugins import import_plugins
from tasks.detection import drawing as objects
from tasks.images.checkpoints import class_names, eval_transform, open_checkpoint
from tasks.images.explain import find_images
from tasks.prediction.drawing import draw_classes
from tasks.prediction.options import PredictionConfig as Config
from tasks.segmentation import drawing as maps
from tasks.segmentation.augment import EvalTransform, Normalize
from tasks.segmentation.data import DataConfig
from vision import ImageClassifier, preprocessing
from vision.dense import MetaFormerVisionForObjectDetection, MetaFormerVisionForSemanticSegmentation, label_map
from vision.dense.checkpoints import DenseModel, is_dense, load_dense_model
from vision.dense.processing import short_side
from vision.images import load_rgb
from vision.loading import model_folder
from vision.transforms import EvalTransform as ImageTransform


class Prediction(NamedTuple):
    """Of one picture."""

    drawn: Image.Image
    """The picture with the prediction over it."""
    written: dict[str, Any]
    """What the JSON file holds."""
    labels: np.ndarray | None = None
    """(H, W) uint8, of a segmenter: the number of each pixel's class."""


Predict = Callable[[Image.Image], Prediction]


@torch.inference_mode()
def run(config: Config) -> None:
    """Predict on every picture; write and name the files.

    Raises:
        ValueError: pictures or a model that are not there or cannot be read, or two pictures of one name.
    """
    import_plugins(config.plugins)
    pictures = find_images(config.pictures)
    if twice := [name for name, count in Counter(path.stem for path in pictures).items() if count > 1]:
        raise ValueError(
            f"pictures: several are called {twice[0]}, and their results would be; predict on one at a time"
        )
    folder = Path(config.output)
    written = [file for path in pictures for file in written_files(folder, path)]
    if lost := sorted({path.resolve() for path in pictures} & {file.resolve() for file in written}):
        raise ValueError(f"output {folder}: {lost[0]} is one of the pictures and would be lost; give another output")
    predict = predictor(config)
    folder.mkdir(parents=True, exist_ok=True)
    for path in pictures:
        found = predict(load_rgb(path))
        drawn, listed, labels = written_files(folder, path)
        found.drawn.save(drawn)
        if found.labels is not None:
            Image.fromarray(found.labels).save(labels)
        text = json.dumps({"picture": str(path), "model": config.model, **found.written}, indent=1)
        listed.write_text(text + "\n", encoding="utf-8")
        print(f"{path}: {drawn} and .json")


def written_files(folder: Path, picture: Path) -> tuple[Path, Path, Path]:
    """Where a picture's drawing, its list and the label map of a segmenter are written."""
    name = picture.stem
    return folder / f"{name}.png", folder / f"{name}.json", folder / f"{name}.labels.png"


def predictor(config: Config) -> Predict:
    """The function from a picture to the prediction of the model of ``config``; ValueError where there is none."""
    folder = model_folder(Path(config.model).expanduser())
    model = load_dense_model(folder).eval() if is_dense(folder) else open_checkpoint(config.model)
    return predictor_of(model, folder, threshold=config.threshold, top=config.top)


def predictor_of(model: ImageClassifier | DenseModel, folder: Path, *, threshold: float, top: int) -> Predict:
    """The function from a picture to the prediction of an opened model, which lies in ``folder``."""
    if isinstance(model, MetaFormerVisionForObjectDetection):
        return lambda picture: boxes(model, picture, threshold)
    if isinstance(model, MetaFormerVisionForSemanticSegmentation):
        seen = EvalTransform(
            (short_side(folder), DataConfig.long_side),
            Normalize(tuple(model.config.image_mean), tuple(model.config.image_std)),
        )
        return lambda picture: label_maps(model, picture, seen)
    transform = eval_transform(preprocessing(model), str(folder))
    return lambda picture: classes(model, picture, transform, top)


def classes(model: ImageClassifier, picture: Image.Image, transform: ImageTransform, top: int) -> Prediction:
    """The likeliest classes and their probabilities."""
    shares, best = model(pixel_values=transform(picture)[None]).logits[0].softmax(0).sort(descending=True)
    names = class_names(model)
    found = [
        {"label": label, "name": names[label], "score": score}
        for label, score in list(zip(best.tolist(), shares.tolist(), strict=True))[:top]
    ]
    return Prediction(draw_classes(picture, found), {"classes": found})


def boxes(model: MetaFormerVisionForObjectDetection, picture: Image.Image, threshold: float) -> Prediction:
    """The objects from ``threshold`` on, best first: corners in pixels, and of Mask R-CNN a mask as COCO writes it."""
    found = model([torch.from_numpy(np.array(picture)).movedim(2, 0)])[0]
    chosen = found["scores"] >= threshold
    corners, scores, labels = (found[key][chosen] for key in ("boxes", "scores", "labels"))
    names, numbers = class_names(model), model.config.categories()
    masks = found["masks"][chosen].numpy() if "masks" in found else None
    rows: list[dict[str, Any]] = [
        {"label": label, "name": names[label], "category_id": numbers[label], "score": score, "box": box}
        for label, score, box in zip(labels.tolist(), scores.tolist(), corners.tolist(), strict=True)
    ]
    if masks is not None:
        from tasks.detection.metric import rle

        for row, mask in zip(rows, masks, strict=True):
            coded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
            row["mask"] = {"size": coded["size"], "counts": coded["counts"].decode()}
    drawn = objects.draw(picture, corners.numpy(), labels.tolist(), names, scores.tolist(), masks)
    return Prediction(drawn, {"objects": rows})


def label_maps(
    model: MetaFormerVisionForSemanticSegmentation, picture: Image.Image, transform: EvalTransform
) -> Prediction:
    """The class of each pixel, and the share of the picture that each class has, the largest first."""
    logits = model(pixel_values=transform(picture)[None]).logits[0]
    labels = label_map(logits, (picture.height, picture.width)).numpy().astype(np.uint8)
    names = class_names(model)
    counts = np.bincount(labels.ravel(), minlength=len(names))
    rows = [
        {"label": label, "name": names[label], "share": round(counts[label] / labels.size, 6)}
        for label in np.argsort(-counts, kind="stable").tolist()
        if counts[label]
    ]
    return Prediction(maps.draw(picture, [labels], names), {"classes": rows}, labels)
