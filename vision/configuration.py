"""The configuration of the four-stage image model, with the names Hugging Face uses for the same things.

A stage halves the map with one strided convolution and then runs blocks on it; what mixes the tokens of a stage is
said by `token_mixer`. A misspelt key is an error that names the nearest one: a mixer option that is silently ignored
would make an experiment lie.
"""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers.backbone_utils import BackboneConfigMixin

from metaformer_nlp.core import ACTIVATIONS, NORMS, mixer_specs
from metaformer_nlp.hub.configuration import MetaFormerConfig


@strict
class MetaFormerVisionConfig(BackboneConfigMixin, MetaFormerConfig):
    """Everything that defines a MetaFormer for images; the defaults are PoolFormer-S12.

    A field with one entry a stage (`depths`, `hidden_sizes`, `patch_sizes`, `strides`, `padding`) has as many
    entries as there are stages, and any number of stages is allowed.

    Args:
        num_channels: channels of the image.
        image_size: pixels of the side, or [height, width]. Mixers of a fixed length are built for this size; all
            others take images of any size.
        depths: blocks of each stage.
        hidden_sizes: channels of each stage.
        patch_sizes, strides, padding: of the convolution that opens each stage, in pixels of the map before it.
        embedding_norm: norm after the stem and before each later strided convolution, or None for none of them.
        position_embedding: learned numbers added to the tokens that a stage starts with; for all stages or a list with
            one entry a stage. Images of another size see them resized.
        position_embedding_std: standard deviation of fresh ones; with 0 they start at 0, as the authors'.
        mlp_ratio: hidden channels of the channel MLP over the channels of its stage: one number, or one a stage.
        token_mixer: a mixer's name, `{"name": ..., option: ...}`, or a list of these with one entry a stage.
        pool_size: window of the mixer `pooling`: odd, or a list of windows, one a group of channels.
        norm: `group_norm` (over the whole map, as the authors train), `layer_norm` (each token alone), ...
        norm_eps, norm_bias: of all norms.
        hidden_act, mlp_bias: of the channel MLP.
        hidden_dropout_prob: dropout inside the channel MLP.
        head: `linear`, or `mlp` (expand four times, squared ReLU, layer norm, dropout, linear).
        head_norm: `before_pooling` (`norm`, of the whole map) or `after_pooling` (layer norm of the mean, eps 1e-6).
        classifier_dropout: dropout before the classifier's last linear layer.
        drop_path_rate: probability of dropping a branch in the last block; it rises linearly from 0 in the first.
        use_residual, use_channel_mlp: False for the paper's ablations.
        layer_scale_init_value: start of the scale on each branch, or None for no such scale.
        res_scale_init_value: start of the scale on the shortcut: a number, None, or a list with one entry a stage.
        initializer_range: standard deviation of the linear layers at the start.
        convolution_init: start of the convolutions: `pytorch` (torch's own) or `trunc_normal` (as the linear layers').
        crop_pct: share of the resized image that the centre crop of an evaluation keeps.
        out_features, out_indices: maps that the backbone returns, of `stem`, `stage1`, `stage2`, ...

    Raises:
        ValueError: unknown key (the nearest is named), unknown mixer, norm or activation (the known ones are
            listed), fields whose numbers of stages disagree, values out of range.
    """

    model_type = "metaformer_vision"

    num_channels: int = 3
    image_size: int | list[int] | tuple[int, ...] = 224
    depths: list[int] | tuple[int, ...] = (2, 2, 6, 2)
    hidden_sizes: list[int] | tuple[int, ...] = (64, 128, 320, 512)
    patch_sizes: list[int] | tuple[int, ...] = (7, 3, 3, 3)
    strides: list[int] | tuple[int, ...] = (4, 2, 2, 2)
    padding: list[int] | tuple[int, ...] = (2, 1, 1, 1)
    embedding_norm: str | None = None
    position_embedding: bool | list[bool] | tuple[bool, ...] = False
    position_embedding_std: float | int = 0.0
    mlp_ratio: float | int | list[Any] | tuple[Any, ...] = 4.0
    token_mixer: str | dict[str, Any] | list[Any] | tuple[Any, ...] = "pooling"
    pool_size: int | str | list[Any] | tuple[Any, ...] = 3
    norm: str = "group_norm"
    norm_eps: float | int = 1e-5
    norm_bias: bool = True
    hidden_act: str = "gelu"
    mlp_bias: bool = True
    hidden_dropout_prob: float | int = 0.0
    head: Literal["linear", "mlp"] = "linear"
    head_norm: Literal["before_pooling", "after_pooling"] = "before_pooling"
    classifier_dropout: float | int = 0.0
    drop_path_rate: float | int = 0.0
    use_residual: bool = True
    use_channel_mlp: bool = True
    layer_scale_init_value: float | int | None = 1e-5
    res_scale_init_value: float | int | list[Any] | tuple[Any, ...] | None = None
    initializer_range: float | int = 0.02
    convolution_init: Literal["pytorch", "trunc_normal"] = "pytorch"
    crop_pct: float | int = 0.9
    _out_features: list[str] | None = None
    _out_indices: list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        out_features, out_indices = kwargs.pop("out_features", None), kwargs.pop("out_indices", None)
        super().__post_init__(**kwargs)
        self.stage_names = ["stem"] + [f"stage{number}" for number in range(1, len(self.depths) + 1)]
        self.set_output_features_output_indices(out_features=out_features, out_indices=out_indices)

    def check(self) -> None:
        """Raise ValueError for values that fit no model. Models call it again: fields can be set after the start."""
        num_stages = len(self.depths)
        per_stage = ("depths", "hidden_sizes", "patch_sizes", "strides", "padding")
        lengths = {name: len(getattr(self, name)) for name in per_stage}
        if num_stages == 0 or len(set(lengths.values())) != 1:
            raise ValueError(
                f"each of {', '.join(per_stage)} needs one entry a stage; got "
                + ", ".join(f"{name} with {length}" for name, length in lengths.items())
                + ". Give all five the same length, at least one."
            )
        for name in per_stage:
            least = 0 if name in ("depths", "padding") else 1
            if any(value < least for value in getattr(self, name)):
                raise ValueError(f"{name} has entries below {least}: {list(getattr(self, name))}")
        for name in ("hidden_dropout_prob", "classifier_dropout", "drop_path_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is a probability from 0 to below 1, not {getattr(self, name)}")
        if self.position_embedding_std < 0:
            raise ValueError(f"position_embedding_std must be 0 or above, not {self.position_embedding_std}")
        if not 0 < self.crop_pct <= 1:
            raise ValueError(f"crop_pct is the share of the image that is kept, above 0 up to 1, not {self.crop_pct}")
        if min(self.of_stages("mlp_ratio")) <= 0:
            raise ValueError(f"mlp_ratio must be positive, not {self.mlp_ratio}")
        NORMS[self.norm]
        if self.embedding_norm is not None:
            NORMS[self.embedding_norm]
        ACTIVATIONS[self.hidden_act]
        mixer_specs(self.token_mixer, num_stages, unit="stage")
        for name in ("position_embedding", "res_scale_init_value"):
            self.of_stages(name)
        self.grids()

    @property
    def image_height_width(self) -> tuple[int, int]:
        """(height, width) in pixels of the images the model is built for."""
        size = [self.image_size, self.image_size] if isinstance(self.image_size, int) else list(self.image_size)
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"image_size is a number of pixels or [height, width], not {self.image_size!r}")
        return size[0], size[1]

    def used_mixers(self) -> set[str]:
        return {spec["name"] for spec in mixer_specs(self.token_mixer, len(self.depths))}

    def of_stages(self, name: str) -> list[Any]:
        """The field `name` with one entry a stage, whether it was given as one value for all or as a list."""
        value, num_stages = getattr(self, name), len(self.depths)
        if not isinstance(value, list | tuple):
            return [value] * num_stages
        if len(value) != num_stages:
            raise ValueError(f"{name} has {len(value)} entries for {num_stages} stages: {list(value)}")
        return list(value)

    def grids(self, image_size: tuple[int, int] | None = None) -> list[tuple[int, int]]:
        """The maps' (height, width) of all stages for images of `image_size` (default: the configuration's own).

        Raises:
            ValueError: the image is smaller than the convolutions can take; the least size is named.
        """
        size = image_size or self.image_height_width
        grids, grid = [], size
        for patch, stride, pad in zip(self.patch_sizes, self.strides, self.padding, strict=True):
            if min(grid) + 2 * pad < patch:
                least = self.least_image_size()
                raise ValueError(
                    f"images of {size[0]}x{size[1]} pixels (height x width) are too small for this model: its "
                    f"{len(self.depths)} stages need at least {least}x{least}. Enlarge the images, or choose a model "
                    f"with smaller patch_sizes {list(self.patch_sizes)} and strides {list(self.strides)}."
                )
            height, width = ((side + 2 * pad - patch) // stride + 1 for side in grid)
            grid = (height, width)
            grids.append(grid)
        return grids

    def least_image_size(self) -> int:
        """The smallest side in pixels from which every stage still gets one token."""
        need = 1
        for patch, stride, pad in reversed(list(zip(self.patch_sizes, self.strides, self.padding, strict=True))):
            need = max(1, (need - 1) * stride + patch - 2 * pad)
        return need
