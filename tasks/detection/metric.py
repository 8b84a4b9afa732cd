"""COCO's twelve numbers, by pycocotools, from what a detector found."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

try:
    from pycocotools import mask as rle
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
except ModuleNotFoundError as error:
    raise ValueError("detection needs the package pycocotools: pip install 'metaformer-nlp[dense]'") from error

NAMES = (
    "ap", "ap_50", "ap_75", "ap_small", "ap_medium", "ap_large",
    "ar_1", "ar_10", "ar_100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip
"""In pycocotools' order. A mean over nothing, such as that of small objects where there are none, is -1."""
PREFIXES: dict[str, str] = {"bbox": "box", "segm": "mask"}
Kind = Literal["bbox", "segm"]
Result = dict[str, Any]
"""One detection as in COCO's result files."""


def records(indices: Tensor, detections: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """What the engine keeps of a batch: all detections one after the other, masks as the bytes of their RLE.

    Args:
        indices: (B,), where the images stand in the data.
        detections: one an image: ``boxes`` (n, 4), ``scores`` (n,), ``labels`` (n,), and perhaps ``masks`` (n, H, W).
    """
    kept = {key: torch.cat([found[key] for found in detections]) for key in ("boxes", "scores", "labels")}
    kept |= {"image": indices.cpu(), "count": torch.tensor([len(found["boxes"]) for found in detections])}
    if "masks" in detections[0]:
        coded = [encoded for found in detections for encoded in _encode(found["masks"])]
        kept["sizes"] = torch.tensor([tuple(found["masks"].shape[-2:]) for found in detections])
        kept["lengths"] = torch.tensor([len(counts) for counts in coded], dtype=torch.int64)
        kept["counts"] = torch.from_numpy(np.frombuffer(b"".join(coded), dtype=np.uint8).copy())
    return kept


def _encode(masks: Tensor) -> list[bytes]:
    """(n, H, W) bool -> the counts of each one's compressed RLE."""
    if not len(masks):
        return []
    whole = np.asfortranarray(masks.cpu().numpy().astype(np.uint8).transpose(1, 2, 0))
    return [coded["counts"] for coded in rle.encode(whole)]


def results(
    batches: Sequence[dict[str, Tensor]], image_ids: Sequence[int], category_ids: Sequence[int]
) -> dict[Kind, list[Result]]:
    """Detections by kind, images in the order of their ids, with the data set's own numbers.

    Mask results have no box: pycocotools takes their area from the mask, as detectron2 and mmdetection do.
    """
    boxes: list[Result] = []
    masks: list[Result] = []
    for index, found in sorted(_images(batches), key=lambda one: one[0]):
        corners = found["boxes"].double()
        sides = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1).tolist()
        for row, (score, label) in enumerate(zip(found["scores"].tolist(), found["labels"].tolist(), strict=True)):
            shared = {"image_id": image_ids[index], "category_id": category_ids[label], "score": score}
            boxes.append({**shared, "bbox": sides[row]})
            if "masks" in found:
                masks.append({**shared, "segmentation": found["masks"][row]})
    return {"bbox": boxes, "segm": masks} if "sizes" in batches[0] else {"bbox": boxes}


def _images(batches: Sequence[dict[str, Tensor]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each image's index and detections."""
    for batch in batches:
        first = byte = 0
        for place, (index, count) in enumerate(zip(batch["image"].tolist(), batch["count"].tolist(), strict=True)):
            rows = slice(first, first + count)
            found: dict[str, Any] = {key: batch[key][rows] for key in ("boxes", "scores", "labels")}
            if "sizes" in batch:
                size, found["masks"] = batch["sizes"][place].tolist(), []
                for length in batch["lengths"][rows].tolist():
                    counts = batch["counts"][byte : byte + length].numpy().tobytes()
                    found["masks"].append({"size": size, "counts": counts.decode()})
                    byte += length
            first += count
            yield index, found


def coco_scores(
    truth: dict[str, Any], found: Sequence[Result], kind: Kind, image_ids: Sequence[int]
) -> dict[str, float]:
    """The twelve numbers as ``box_ap`` and so on, shares of one; nothing found scores 0.

    Args:
        truth: ``images``, ``annotations`` and ``categories`` of a COCO file.
        found: results in rising order of the images, with all digits of the scores: ties change the result.
        kind: which of boxes and masks counts.
        image_ids: those to score; the others of ``truth`` are left out.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        expected = _indexed(truth)
        predicted = (
            expected.loadRes([dict(result) for result in found]) if found else _indexed({**truth, "annotations": []})
        )
        evaluation = COCOeval(expected, predicted, kind)
        evaluation.params.imgIds = sorted(image_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {f"{PREFIXES[kind]}_{name}": float(value) for name, value in zip(NAMES, evaluation.stats, strict=True)}


def _indexed(content: dict[str, Any]) -> COCO:
    coco = COCO()
    coco.dataset = {"info": {}, **content}
    coco.createIndex()
    return coco
