"""The image model as an option group: a fresh one by name, or one from a checkpoint; ours or any of timm."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import vision

# Annotations are not postponed here: where they are, jsonargparse runs the imports under TYPE_CHECKING to read them.
if TYPE_CHECKING:
    from torch import nn
    from transformers import TimmWrapperConfig

    ModelDescription: TypeAlias = vision.MetaFormerVisionConfig | TimmWrapperConfig

DEFAULT = "poolformer_xxs"
_NOT_FIELDS = ("name", "checkpoint", "new_head")


@dataclass(frozen=True)
class ModelConfig:
    """The network. An option left at null is what the model's row in vision/variants.py says, or the checkpoint."""

    name: str | None = None
    """Row of the table in vision/variants.py, or timm/<name> for any image model of timm, such as
    timm/resmlp_12_224. null: what the checkpoint is (a saved folder knows it); without a checkpoint poolformer_xxs."""
    checkpoint: str | None = None
    """Weights to start from: a run folder, a folder of save_pretrained, or a weight file of the authors, timm or
    transformers. Other classes get a new head; position embeddings are resized. null: fresh weights."""
    new_head: bool = False
    """A fresh head even where the checkpoint's has the right number of classes."""
    token_mixer: str | dict[str, Any] | list[Any] | None = None
    """What mixes the tokens: a name (pooling, identity, random, attention, spatial_reduction_attention, spatial_mlp,
    spatial_gating, window_mlp, depthwise_conv, separable_conv, shift, fourier), {name: pooling, pool_size: 7}, or a
    list of these, one for each stage."""
    pool_size: int | str | list[Any] | None = None
    """Window of pooling: odd, or a list of windows, one for each group of channels."""
    position_embedding: bool | list[bool] | None = None
    """Learned numbers are added to the tokens that a stage starts with: true or false, or a list of these, one for each
    stage."""
    position_embedding_std: float | None = None
    """Standard deviation of fresh ones; 0: they start at 0, as the authors'."""
    norm: str | None = None
    """group_norm, layer_norm, batch_norm, rms_norm or none."""
    hidden_act: str | None = None
    """Activation of the channel MLP: gelu, relu, silu, star_relu, squared_relu."""
    use_residual: bool | None = None
    """false: blocks without their shortcuts (an ablation)."""
    use_channel_mlp: bool | None = None
    """false: blocks without their channel MLP (an ablation)."""
    layer_scale_init_value: float | Literal["none"] | None = None
    """Start of the scale on each branch; none: no such scale."""
    res_scale_init_value: float | list[Any] | Literal["none"] | None = None
    """Start of the scale on the shortcuts; none: no such scale."""
    drop_path_rate: float | None = None
    """Probability of dropping a branch in the last block; it grows linearly from 0."""
    classifier_dropout: float | None = None
    """Dropout before the classifier."""
    depths: list[int] | None = None
    """Blocks of each stage."""
    hidden_sizes: list[int] | None = None
    """Channels of each stage."""
    patch_sizes: list[int] | None = None
    """Kernel of the convolution that opens each stage, in pixels of the map before it."""
    strides: list[int] | None = None
    """Its stride."""
    padding: list[int] | None = None
    """Its padding."""
    initializer_range: float | None = None
    """Standard deviation of the linear layers at the start. The authors' 0.02 suits hundreds of channels; narrow models
    learn faster from 0.1."""

    def __post_init__(self) -> None:
        if self.new_head and self.checkpoint is None:
            raise ValueError("model.new_head without model.checkpoint: a fresh model has a new head anyway")

    def overrides(self) -> dict[str, Any]:
        """The options that were set, as keywords of ``vision.create_model``."""
        given = {key: value for key, value in dataclasses.asdict(self).items() if value is not None}
        return {
            key: None if key.endswith("_init_value") and value == "none" else value
            for key, value in given.items()
            if key not in _NOT_FIELDS
        }

    def describe(self, **fields: Any) -> "ModelDescription":
        """The configuration of the model that ``build`` gives, but for its classes; ``fields`` are laid over it.

        Raises:
            ValueError: unknown name, options that do not fit each other or the checkpoint, an unusable checkpoint.
        """
        if self.checkpoint is None:
            return vision.create_config(self.name or DEFAULT, **{**self.overrides(), **fields})
        # Some number of classes, since what was trained without labels has none.
        return vision.load_model(self.checkpoint, self.name, num_labels=2, **{**self.overrides(), **fields}).config

    def describe_after(
        self, before: "ModelConfig", its_fields: Mapping[str, Any], fields: Mapping[str, Any]
    ) -> "ModelDescription":
        """What ``describe(**fields)`` will give once ``checkpoint`` is there: the model of ``before``, built with
        ``its_fields``.

        Raises:
            ValueError: unknown name, options that do not fit each other or the weights that the checkpoint will hold.
        """
        from tasks.planned_cost import without_memory
        from vision.loading import HEAD, resized_positions
        from vision.variants import build_model
        from vision.weights import fill

        if self.name is None:
            description = before.describe(**{**its_fields, **self.overrides(), **fields})
        else:  # as in `load_model`, what the folder says of its model does not count then
            description = replace(self, checkpoint=None, new_head=False).describe(**fields)
        made = without_memory(lambda: build_model(before.describe(**its_fields)))
        model = without_memory(lambda: build_model(description))
        if all(isinstance(it, vision.MetaFormerVisionForImageClassification) for it in (made, model)):
            trunk = {name: x for name, x in made.state_dict().items() if name.startswith("metaformer.")}
            fill(model, resized_positions(trunk, model), str(self.checkpoint), new=("norm.", HEAD))
        return description

    def build(self, classes: Sequence[str], **fields: Any) -> "vision.ImageClassifier":
        """The classifier; what the checkpoint does not give is drawn from torch's generator."""
        from vision.variants import build_model

        names = dict(enumerate(classes))
        fields |= {"id2label": names, "label2id": {name: index for index, name in names.items()}}
        if self.checkpoint is None:
            return build_model(vision.create_config(self.name or DEFAULT, **self.overrides(), **fields))
        return vision.load_model(self.checkpoint, self.name, keep_head=not self.new_head, **self.overrides(), **fields)


def not_decayed(model: "nn.Module") -> set[str]:
    """Parameters that a model of timm excludes from weight decay, such as class tokens and position embeddings."""
    from transformers import TimmWrapperForImageClassification

    if not isinstance(model, TimmWrapperForImageClassification):
        return set()
    patterns: set[str] = getattr(model.timm_model, "no_weight_decay", set)()  # not every model of timm says it
    names = [name for name, _ in model.timm_model.named_parameters()]
    return {f"timm_model.{name}" for name in names if any(fnmatch(name, pattern) for pattern in patterns)}


def layer_depths(model: "nn.Module") -> dict[str, int]:
    """The depth of each parameter, by name: 0 the stem, then a block each, last of all the head.

    What opens a later stage is of the depth of the stage's first block, as in timm.
    """
    from transformers import TimmWrapperForImageClassification

    if isinstance(model, TimmWrapperForImageClassification):
        from timm.models import group_parameters

        inner = model.timm_model
        if not hasattr(inner, "group_matcher"):
            raise ValueError(
                f"optim.layer_decay: timm gives no order of the layers of {model.config.architecture}; leave it"
            )
        depths = group_parameters(inner, inner.group_matcher(coarse=False), reverse=True)
        return {f"timm_model.{name}": depth for name, depth in depths.items()}
    first_blocks = [1]
    for depth in model.config.depths:  # type: ignore[union-attr]
        first_blocks.append(first_blocks[-1] + depth)
    depths = {}
    for name, _ in model.named_parameters():
        match = re.match(r"metaformer\.stages\.(\d+)\.(?:blocks\.(\d+)\.)?", name)
        if match is None:
            depths[name] = first_blocks[-1]
        else:
            stage, block = int(match[1]), match[2]
            opening = 0 if stage == 0 else first_blocks[stage]
            depths[name] = opening if block is None else first_blocks[stage] + int(block)
    return depths
