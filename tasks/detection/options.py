"""Option groups of object detection and of its tools, without the libraries that run them."""

from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.detection.data import DataConfig
from tasks.images.model import ModelConfig
from tasks.training import TrainingConfig

__all__ = ["DetectionConfig", "DetectorConfig", "EvaluationConfig"]


@dataclass(frozen=True)
class DetectorConfig:
    """What the trunk (the options of model) carries. The defaults are those of the papers' COCO tables."""

    kind: Literal["retinanet", "mask_rcnn"] = "retinanet"
    """retinanet: boxes; mask_rcnn: boxes and masks."""
    short_side: int = 800
    """An image is resized so that its short side has so many pixels ..."""
    long_side: int = 1333
    """... but its long side no more than so many."""
    pyramid_channels: int = 256
    """Channels of the feature pyramid."""
    anchor_size: float | None = None
    """Side of the smallest square anchor of a map, in strides of the map; null: 4 for retinanet, 8 for mask_rcnn."""
    extra_levels: int = 2
    """retinanet: maps above the trunk's last one, 0 to 2."""
    score_threshold: float = 0.05
    """Detections below are dropped."""
    max_detections: int = 100
    """The best that are kept of an image."""
    proposals: int = 1000
    """mask_rcnn: boxes of an image that the second stage looks at."""
    sampled_boxes: int = 512
    """mask_rcnn: those of them that it trains on."""
    box_head_channels: int = 1024
    """mask_rcnn: channels of the box head's two layers."""
    mask_head_channels: list[int] = field(default_factory=lambda: [256, 256, 256, 256])
    """mask_rcnn: channels of the mask head's convolutions."""

    @property
    def masks(self) -> bool:
        """Whether objects have masks."""
        return self.kind == "mask_rcnn"

    def fields(self) -> dict[str, Any]:
        """Keywords of ``vision.dense.create_detector``."""
        return {"detector" if name == "kind" else name: value for name, value in vars(self).items()}


@dataclass(frozen=True)
class DetectionConfig(TrainingConfig):
    """Train and evaluate a detector."""

    model: ModelConfig = field(default_factory=ModelConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    data: DataConfig = field(default_factory=DataConfig)

    def __post_init__(self) -> None:
        if self.run.eval_batch_size != 1:
            raise ValueError(
                f"run.eval_batch_size {self.run.eval_batch_size}: must be 1 for detectors. Images of a batch are "
                "padded to one size, and norms over whole maps see the padding: what is found in an image would depend "
                "on the others"
            )
        if self.model.new_head or self.model.classifier_dropout is not None:
            raise ValueError("model.new_head and model.classifier_dropout are a classifier's; leave them at null here")


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluate a detector: COCO's twelve numbers for boxes and for masks."""

    checkpoint: str
    """Run folder of train_detection.py, a folder of save_pretrained, or a file of the authors: KIND/TRUNK=FILE, such as
    retinanet/poolformer_s12=weights.pth."""
    output: str
    """Folder for scores.json, <split>.bbox.json and <split>.segm.json (COCO's result format), and pictures."""
    pictures: int = 0
    """Draw what is found in so many images, the first of the data, as pictures/<image id>.png."""
    picture_threshold: float = 0.5
    """Least score of what is drawn."""
    data: DataConfig = field(default_factory=DataConfig)
    num_workers: int = 0
    """Reader processes per process."""
    precision: Literal["no", "bf16", "fp16"] | None = None
    """Arithmetic: float32 (no), or autocast. null: what `accelerate launch --mixed_precision` says, else float32."""
    plugins: list[str] = field(default_factory=list)
    """Python files or modules to import first, such as one that registers a token mixer."""
