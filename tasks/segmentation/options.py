"""Option groups of semantic segmentation and of its tools, without the libraries that run them."""

from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.images.model import ModelConfig
from tasks.segmentation.data import DataConfig
from tasks.training import TrainingConfig

__all__ = ["EvaluationConfig", "SegmentationConfig", "SegmenterConfig"]


@dataclass(frozen=True)
class SegmenterConfig:
    """Semantic FPN over the trunk (the options of model)."""

    pyramid_channels: int = 256
    """Channels of the feature pyramid."""
    head_channels: int = 128
    """Channels of the head's branches, a multiple of 4."""
    head_norm: Literal["group_norm", "batch_norm"] = "group_norm"
    """group_norm (groups of four channels), whose results depend on no other image; batch_norm, with which ADE20K's
    published numbers were trained: it takes its statistics over the micro-batch, on several GPUs over that of all."""
    head_dropout: float = 0.1
    """Probability of dropping a channel of the head's map."""

    def fields(self) -> dict[str, Any]:
        """Keywords of ``vision.dense.create_segmenter``."""
        return dict(vars(self))


@dataclass(frozen=True)
class SegmentationConfig(TrainingConfig):
    """Train and evaluate a semantic segmenter."""

    model: ModelConfig = field(default_factory=ModelConfig)
    segmenter: SegmenterConfig = field(default_factory=SegmenterConfig)
    data: DataConfig = field(default_factory=DataConfig)

    def __post_init__(self) -> None:
        if self.run.eval_batch_size != 1:
            raise ValueError(
                f"run.eval_batch_size {self.run.eval_batch_size}: must be 1 for segmenters. Images of other sizes "
                "would be padded to one, and norms over whole maps see the padding: what is found in an image would "
                "depend on the others"
            )
        if self.model.new_head or self.model.classifier_dropout is not None:
            raise ValueError("model.new_head and model.classifier_dropout are a classifier's; leave them at null here")


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluate a semantic segmenter: mean IoU, pixel accuracy, mean accuracy."""

    checkpoint: str
    """Run folder of train_segmentation.py, a folder of save_pretrained, or a file of the authors: TRUNK=FILE, such as
    poolformer_s12=weights.pth."""
    output: str | None = None
    """csv file that gets a line, after those that are there."""
    pictures: str | None = None
    """Folder for pictures: an image, its labels and what the model says, side by side, one file an image."""
    num_pictures: int = 20
    """How many of them, the first of the data."""
    data: DataConfig = field(default_factory=DataConfig)
    num_workers: int = 0
    """Reader processes per process."""
    precision: Literal["no", "bf16", "fp16"] | None = None
    """Arithmetic: float32 (no), or autocast. null: what `accelerate launch --mixed_precision` says, else float32."""
    plugins: list[str] = field(default_factory=list)
    """Python files or modules to import first, such as one that registers a token mixer."""
