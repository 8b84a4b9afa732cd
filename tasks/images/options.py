"""Option groups of the experiments with images and of their tools, without the libraries that run them."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tasks.images.data import DataConfig
from tasks.images.model import ModelConfig
from tasks.training import TrainingConfig

# Annotations are not postponed here: where they are, jsonargparse runs the imports under TYPE_CHECKING to read them.
if TYPE_CHECKING:
    from vision import MetaFormerVisionConfig

__all__ = [
    "ClassificationConfig",
    "DistillConfig",
    "EvaluationConfig",
    "ExplanationConfig",
    "LossConfig",
    "MaskedImageModelingConfig",
    "MaskingConfig",
    "MixConfig",
]


@dataclass(frozen=True)
class MixConfig:
    """How training images are mixed with each other; with both alphas 0 they are not.

    Images of one micro-batch are mixed, so that its size (run.micro_batch_size; if null, the number of processes too)
    has a part in the result: a run is resumed with the same one only.
    """

    mixup_alpha: float = 0.0
    """Mixup's coefficient is drawn from Beta(alpha, alpha); 0: no mixup. The ImageNet recipes use 0.8."""
    cutmix_alpha: float = 0.0
    """The same for CutMix, which pastes a rectangle of the other image; 0: no CutMix. The ImageNet recipes use 1.0."""
    probability: float = 1.0
    """Probability that a micro-batch is mixed at all."""
    switch_probability: float = 0.5
    """Where both are on: the probability of CutMix."""

    def __post_init__(self) -> None:
        for name in ("mixup_alpha", "cutmix_alpha"):
            if getattr(self, name) < 0:
                raise ValueError(f"mix.{name} {getattr(self, name)}: must be at least 0 (0: off)")
        for name in ("probability", "switch_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"mix.{name} {getattr(self, name)}: must be a probability, from 0 to 1")

    @property
    def on(self) -> bool:
        """Whether anything is ever mixed."""
        return (self.mixup_alpha > 0 or self.cutmix_alpha > 0) and self.probability > 0


@dataclass(frozen=True)
class DistillConfig:
    """A teacher, if any."""

    teacher: str | None = None
    """Checkpoint of a classifier of the same classes in the same order: a run folder, a folder of save_pretrained, or a
    weight file of the authors, timm or transformers. null: no distillation."""
    teacher_name: str | None = None
    """Its name where a weight file does not say it: a row of vision/variants.py, or timm/<name>."""
    kind: Literal["soft", "hard"] = "hard"
    """soft: its probabilities are the target; hard: its decision is."""
    alpha: float = 0.5
    """Share of the teacher in the loss; the rest is the ordinary loss."""
    temperature: float = 1.0
    """soft: logits of both are divided by it first; larger ones show more of the small probabilities."""

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise ValueError(f"distill.alpha {self.alpha}: must be a share, from 0 to 1")
        if self.temperature <= 0:
            raise ValueError(f"distill.temperature {self.temperature}: must be above 0")


@dataclass(frozen=True)
class LossConfig:
    """What is minimised."""

    label_smoothing: float = 0.0
    """Share of the target that is spread evenly over all classes."""


@dataclass(frozen=True)
class ClassificationConfig(TrainingConfig):
    """Train and evaluate an image classifier."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    mix: MixConfig = field(default_factory=MixConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)


@dataclass(frozen=True)
class MaskingConfig:
    """What is hidden of an image."""

    patch_size: int = 32
    """Side in pixels of the squares that are hidden; divides the image, and is a multiple of the stem's stride."""
    ratio: float = 0.6
    """Share of the squares that is hidden, rounded up to a whole number of them."""

    def check(self, config: "MetaFormerVisionConfig") -> None:
        """ValueError unless images of the configuration's size can be hidden and painted in."""
        size, stem, stride = config.image_height_width, config.strides[0], math.prod(config.strides)
        if self.patch_size < 1 or self.patch_size % stem or any(side % self.patch_size for side in size):
            allowed = [n for n in range(stem, min(size) + 1, stem) if not any(side % n for side in size)]
            raise ValueError(
                f"masking.patch_size {self.patch_size}: must divide the image of {size[0]}x{size[1]} pixels and be a "
                f"multiple of the stem's stride {stem}: {', '.join(map(str, allowed)) or 'no number is'}"
            )
        if not 0 < self.ratio < 1:
            raise ValueError(f"masking.ratio {self.ratio}: must be a share, above 0 and below 1")
        if math.prod(size) <= self.patch_size**2:
            raise ValueError(f"masking.patch_size {self.patch_size} is the whole image; hide smaller squares")
        grid = config.grids()[-1]
        if (grid[0] * stride, grid[1] * stride) != size:
            raise ValueError(
                f"images of {size[0]}x{size[1]} pixels end in {grid[0]}x{grid[1]} tokens, each of which paints "
                f"{stride}x{stride} pixels: use an image size that is a multiple of {stride}"
            )


@dataclass(frozen=True)
class MaskedImageModelingConfig(TrainingConfig):
    """Pre-train an image model on images alone; their classes are not used."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluate checkpoints of image classifiers."""

    checkpoint: str | list[str]
    """What to evaluate; several separated by commas, or a list. A run folder, a folder of save_pretrained, or a weight
    file of sail-sg, timm or transformers; NAME=FILE says which model a weight file is of, where its tensors leave that
    open: poolformer_s12=weights.pth, timm/resmlp_12_224=weights.pth."""
    part: Literal["validation", "train", "all"] = "validation"
    """Which part of the data; all: the whole folder, as for `--data.root imagenet/val`, a folder of class folders."""
    real_labels: str | None = None
    """ReaL labels (arXiv 2006.07159): a json file, the list of right classes of each of ImageNet's 50,000 validation
    images; or timm, for the copy that timm has."""
    output: str | None = None
    """csv file that gets a line for each checkpoint, after those that are there; timm's columns."""
    batch_size: int = 64
    """Images of a batch of one process."""
    num_workers: int = 0
    """Reader processes per process."""
    precision: Literal["no", "bf16", "fp16"] | None = None
    """Arithmetic: float32 (no), or autocast. null: what `accelerate launch --mixed_precision` says, else float32."""
    data: DataConfig = field(default_factory=DataConfig)
    plugins: list[str] = field(default_factory=list)
    """Python files or modules to import first, such as one that registers a token mixer."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size {self.batch_size}: must be at least 1")
        if self.num_workers < 0:
            raise ValueError(f"num_workers {self.num_workers}: must be at least 0, for no reader processes")


@dataclass(frozen=True)
class ExplanationConfig:
    """Draw Grad-CAM pictures."""

    checkpoint: str | list[str]
    """Models, separated by commas: run folders, folders of save_pretrained, weight files or NAME=FILE, as for
    evaluate_vision.py. Each is a column."""
    images: str | list[str]
    """Image files, or a folder of them (its subfolders too), separated by commas. Each image is a row."""
    output: str = "explanation.png"
    """Picture to write."""
    target: int | str | None = None
    """Number or name of the class that is explained; null: the one that each model takes for the best."""
    layer: str | None = None
    """Name of the module whose output is explained, such as metaformer.stages.2; null: the last one with a map."""
    image_size: int | None = None
    """Pixels of the side; null: each model's own."""
    plugins: list[str] = field(default_factory=list)
    """Python files or modules to import first, such as one that registers a token mixer."""
