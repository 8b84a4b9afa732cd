"""Weights of dense models: saved folders, the authors' files, and classifiers that start a trunk."""

from pathlib import Path

from vision.dense.configuration import MetaFormerVisionDetectionConfig, MetaFormerVisionSegmentationConfig
from vision.dense.detection import MetaFormerVisionForObjectDetection
from vision.dense.segmentation import MetaFormerVisionForSemanticSegmentation

DenseModel = MetaFormerVisionForObjectDetection | MetaFormerVisionForSemanticSegmentation


def load_dense_model(path: str | Path) -> DenseModel:
    """The detector or segmenter of a saved folder, or of a run folder (its `model/` is taken), for evaluation.

    Raises:
        ValueError: no such folder, a model of another kind, or weights that do not fill it exactly.
    """
    raise NotImplementedError


def load_trunk(model: DenseModel, path: str | Path) -> list[str]:
    """Start the trunk of a new model with a classifier's weights; say and return which of its tensors stay new.

    Args:
        model: its trunk is filled, everything else stays as it is.
        path: as `vision.load_model` takes: a saved folder, a run folder, or a published weight file; for a trunk of
            timm a weight file of timm's or torchvision's model of that name, or a saved wrapped one.

    Raises:
        ValueError: a file that is no checkpoint of a classifier, or does not fit the trunk; the model is unchanged.
    """
    raise NotImplementedError


def load_published(model: DenseModel, path: str | Path) -> DenseModel:
    """Fill a model with a file of the authors' (mmdetection's or mmsegmentation's names), strictly, and return it.

    Raises:
        ValueError: missing and left-over names and other shapes are listed; the model is then unchanged.
    """
    raise NotImplementedError


def published_weights(model: DenseModel, path: str | Path) -> dict:
    raise NotImplementedError
