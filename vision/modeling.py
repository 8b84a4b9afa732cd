"""The four-stage MetaFormer for images: trunk, image classifier and backbone, as Hugging Face classes.

B batch, H x W pixels, h x w tokens of a stage, C channels. Inside a stage tokens are channels-last (B, h, w, C), which
linear layers, norms and attention take as they are; at the border of a stage and of the model maps are (B, C, h, w),
as Hugging Face has them. The change between the two is a `permute` of channels-last memory and copies nothing.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import initialization
from transformers.backbone_utils import BackboneMixin
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import (
    BackboneOutput,
    BaseModelOutputWithNoAttention,
    ImageClassifierOutputWithNoAttention,
)
from transformers.utils.generic import can_return_tuple

from metaformer_nlp.core import (
    MetaFormerBlock,
    build_mixer,
    build_norm,
    drop_path_rates,
    mixer_specs,
)
from metaformer_nlp.core.cost import block_macs, conv_macs, linear_macs
from metaformer_nlp.hub.modeling import MetaFormerPreTrainedModel
from vision.configuration import MetaFormerVisionConfig
from vision.head import build_classifier


class PatchEmbedding(nn.Module):
    """(B, C_in, H, W) -> (B, h, w, C): an overlapping strided convolution, the only place where tokens get fewer.

    The convolution keeps PyTorch's initialization, as the authors' does (timm and transformers narrow it).
    """

    def __init__(self, in_channels: int, dim: int, patch_size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(in_channels, dim, kernel_size=patch_size, stride=stride, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, h, w, C)"""
        return self.projection(x).permute(0, 2, 3, 1).contiguous()


class MetaFormerVisionLayer(GradientCheckpointingLayer, MetaFormerBlock):
    """The core's block, with Hugging Face's switch for gradient checkpointing."""


class MetaFormerVisionStage(nn.Module):
    """(B, C_in, H, W) -> (B, C, h, w): one patch embedding and the blocks on its tokens.

    Where the configuration says so, a norm stands after the stem's convolution and before each later one, and a learned
    position embedding (h, w, C) is added to the tokens.
    """

    def __init__(self, config: MetaFormerVisionConfig, index: int, token_mixer: Any, rates: list[float]) -> None:
        super().__init__()
        self.index = index
        self.grid = config.grids()[index]
        dim = config.hidden_sizes[index]
        in_channels = config.hidden_sizes[index - 1] if index else config.num_channels
        self.embedding = PatchEmbedding(
            in_channels=in_channels,
            dim=dim,
            patch_size=config.patch_sizes[index],
            stride=config.strides[index],
            padding=config.padding[index],
        )
        self.embedding_norm = (
            build_norm(config.embedding_norm, in_channels if index else dim, eps=config.norm_eps, bias=config.norm_bias)
            if config.embedding_norm
            else None
        )
        self.position_embedding_std = config.position_embedding_std
        self.position_embedding = (
            nn.Parameter(torch.zeros(*self.grid, dim)) if config.of_stages("position_embedding")[index] else None
        )
        mixers = [
            build_mixer(token_mixer, dim, self.grid, mixer_defaults(config, block)) for block in range(len(rates))
        ]
        self.fixed_mixers = sorted({type(mixer).__name__ for mixer in mixers if mixer.fixed_length})
        self.blocks = nn.ModuleList(
            MetaFormerVisionLayer(
                dim,
                mixer,
                hidden_dim=int(dim * config.of_stages("mlp_ratio")[index]),
                norm=config.norm,
                norm_eps=config.norm_eps,
                norm_bias=config.norm_bias,
                activation=config.hidden_act,
                mlp_bias=config.mlp_bias,
                dropout=config.hidden_dropout_prob,
                drop_path=rate,
                layer_scale_init=config.layer_scale_init_value,
                res_scale_init=config.of_stages("res_scale_init_value")[index],
                use_residual=config.use_residual,
                use_channel_mlp=config.use_channel_mlp,
            )
            for mixer, rate in zip(mixers, rates, strict=True)
        )

    def reset_parameters(self) -> None:
        if self.position_embedding is not None:
            if self.position_embedding_std:
                nn.init.normal_(self.position_embedding, std=self.position_embedding_std)
            else:  # draws nothing, so that the weights after it stay those of a model without positions
                nn.init.zeros_(self.position_embedding)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C, h, w)"""
        return self.mix(self.embed(x))

    def embed(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, h, w, C): the tokens that the blocks start with."""
        if self.embedding_norm is not None and self.index > 0:
            x = self.embedding_norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        tokens = self.embedding(x)
        if self.embedding_norm is not None and self.index == 0:
            tokens = self.embedding_norm(tokens)
        return self.add_positions(tokens)

    def add_positions(self, tokens: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, h, w, C): with the learned positions, if the stage has any."""
        if self.position_embedding is None:
            return tokens
        return tokens + resize_positions(self.position_embedding, tuple(tokens.shape[1:3]))

    def macs(self, grid: tuple[int, int]) -> int:
        """Multiply-accumulates of one image whose map in this stage is `grid` tokens."""
        return conv_macs(self.embedding.projection, grid) + sum(
            block_macs(cast(MetaFormerBlock, block), grid) for block in self.blocks
        )

    def mix(self, x: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, C, h, w): the blocks alone, on tokens that the embedding has made."""
        grid = tuple(x.shape[1:3])
        if self.fixed_mixers and grid != self.grid:
            raise ValueError(
                f"stage {self.index + 1} got a map of {grid[0]}x{grid[1]} tokens, but its mixer "
                f"({', '.join(self.fixed_mixers)}) is built for {self.grid[0]}x{self.grid[1]}. Give images of the "
                "configuration's image_size, or build the model with the image_size that you want."
            )
        for block in self.blocks:
            x = block(x)
        return x.permute(0, 3, 1, 2)


def mixer_defaults(config: MetaFormerVisionConfig, block: int) -> dict[str, dict[str, Any]]:
    """The model's own options of mixers by name, for block number `block` of a stage; a mixer's spec overrides them."""
    return {"pooling": {"pool_size": config.pool_size}, "window_mlp": {"shift": block % 2 == 1}}


def resize_positions(embedding: Tensor, grid: tuple[int, ...]) -> Tensor:
    """(h, w, C) -> (*grid, C), bicubic; nothing is done where the grid is the same."""
    if tuple(embedding.shape[:2]) == tuple(grid):
        return embedding
    maps = embedding.permute(2, 0, 1)[None].float()
    resized = nn.functional.interpolate(maps, size=tuple(grid), mode="bicubic", align_corners=False, antialias=True)
    return resized[0].permute(1, 2, 0).to(embedding.dtype)


class MetaFormerVisionPreTrainedModel(MetaFormerPreTrainedModel):
    """What all three models share: configuration, names, and the weights' start as the authors have it."""

    config: MetaFormerVisionConfig
    config_class = MetaFormerVisionConfig  # the annotation alone says it only where annotations are no strings
    base_model_prefix = "metaformer"
    main_input_name = "pixel_values"
    input_modalities = ("image",)  # type: ignore[assignment]
    _no_split_modules = ["MetaFormerVisionLayer", "PatchEmbedding"]  # noqa: RUF012

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        truncated = (nn.Linear, nn.Conv2d) if self.config.convolution_init == "trunc_normal" else nn.Linear
        if isinstance(module, truncated):
            initialization.trunc_normal_(module.weight, std=self.config.initializer_range)
            if module.bias is not None:
                initialization.zeros_(module.bias)
        else:
            super()._init_weights(module)


class MetaFormerVisionModel(MetaFormerVisionPreTrainedModel):
    """The trunk: (B, num_channels, H, W) -> the last stage's map (B, C, h, w), before any norm."""

    def __init__(self, config: MetaFormerVisionConfig) -> None:
        super().__init__(config)
        config.check()
        specs = mixer_specs(config.token_mixer, len(config.depths), unit="stage")
        rates = drop_path_rates(config.drop_path_rate, sum(config.depths))
        self.stages = nn.ModuleList()
        for index, (spec, depth) in enumerate(zip(specs, config.depths, strict=True)):
            first = sum(config.depths[:index])
            self.stages.append(MetaFormerVisionStage(config, index, spec, rates[first : first + depth]))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.stage_list()[0].embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.stage_list()[0].embedding = cast(PatchEmbedding, value)

    def stage_list(self) -> list[MetaFormerVisionStage]:
        return cast(list[MetaFormerVisionStage], list(self.stages))

    def macs(self, image_size: tuple[int, int] | None = None) -> int:
        """Multiply-accumulates of one image of (height, width) pixels, by default those of the configuration."""
        grids = self.config.grids(image_size)
        return sum(stage.macs(grid) for stage, grid in zip(self.stage_list(), grids, strict=True))

    def feature_maps(self, pixel_values: Tensor) -> list[Tensor]:
        """(B, num_channels, H, W) -> the maps (B, C, h, w) of the stem and of each stage, none of them normalised.

        Raises:
            ValueError: pixel values of another shape, of another number of channels, or of too small a size.
        """
        if pixel_values is None or pixel_values.ndim != 4 or pixel_values.shape[1] != self.config.num_channels:
            shape = None if pixel_values is None else tuple(pixel_values.shape)
            raise ValueError(
                f"pixel_values must be (batch, {self.config.num_channels} channels, height, width), not {shape}"
            )
        self.config.grids((pixel_values.shape[2], pixel_values.shape[3]))
        first, *others = self.stage_list()
        tokens = first.embed(pixel_values.contiguous(memory_format=torch.channels_last))
        maps = [tokens.permute(0, 3, 1, 2), first.mix(tokens)]
        for stage in others:
            maps.append(stage(maps[-1]))
        return maps

    @can_return_tuple
    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool | int | list[int] | None = None, **kwargs: Any
    ) -> BaseModelOutputWithNoAttention:
        """Run the trunk; `hidden_states` are the stages' maps (B, C, h, w), as transformers' PoolFormer gives them.

        Args:
            pixel_values: (B, num_channels, H, W), normalised pixels.
            output_hidden_states: True for all stages, or the indices of those wanted (the others are None).
            **kwargs: what the Auto classes and trainers pass to every model; it changes nothing here.
        """
        maps = self.feature_maps(pixel_values)[1:]
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        return BaseModelOutputWithNoAttention(
            last_hidden_state=maps[-1], hidden_states=selected_maps(maps, output_hidden_states)
        )


class MetaFormerVisionForImageClassification(MetaFormerVisionPreTrainedModel):
    """Trunk and head. The first paper's head: norm of the whole map, then mean over tokens, then linear.

    timm takes the mean first and normalises afterwards, which is another function of the same weights; the second
    paper's models do so too (`head_norm: after_pooling`), and some of them classify by an MLP (`head: mlp`).
    """

    def __init__(self, config: MetaFormerVisionConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels
        dim = config.hidden_sizes[-1]
        self.metaformer = MetaFormerVisionModel(config)
        if config.head_norm == "before_pooling":
            self.norm = build_norm(config.norm, dim, eps=config.norm_eps, bias=config.norm_bias)
        else:
            self.norm = build_norm("layer_norm", dim, eps=1e-6)
        self.dropout = nn.Dropout(config.classifier_dropout if config.head == "linear" else 0.0)
        self.classifier = build_classifier(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.metaformer.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.metaformer.set_input_embeddings(value)

    def macs(self, image_size: tuple[int, int] | None = None) -> int:
        """Multiply-accumulates of one image of (height, width) pixels, by default those of the configuration."""
        head = sum(linear_macs(layer, 1) for layer in self.classifier.modules() if isinstance(layer, nn.Linear))
        return self.metaformer.macs(image_size) + head

    def pool(self, last_map: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C): norm and mean over the tokens, in the configuration's order."""
        tokens = last_map.permute(0, 2, 3, 1)
        if self.config.head_norm == "before_pooling":
            return self.norm(tokens).mean(dim=(1, 2))
        return self.norm(tokens.mean(dim=(1, 2)))

    @can_return_tuple
    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        **kwargs: Any,
    ) -> ImageClassifierOutputWithNoAttention:
        """(B, num_channels, H, W) -> logits (B, num_labels), and the loss where labels are given.

        Args:
            pixel_values: (B, num_channels, H, W), normalised pixels.
            labels: (B,) class indices for cross entropy, (B, num_labels) zeros and ones for several labels an image,
                or (B,) numbers where num_labels is 1; the configuration's `problem_type` says which if it is set.
            output_hidden_states: as for the trunk.
            **kwargs: passed on to the loss.
        """
        outputs = self.metaformer(pixel_values, output_hidden_states=output_hidden_states, return_dict=True)
        logits = self.classifier(self.dropout(self.pool(outputs.last_hidden_state)))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels, logits, self.config, **kwargs)
            number = kwargs.get("num_items_in_batch")
            if number is not None and self.config.problem_type != "single_label_classification":
                loss = loss * labels.numel() / number  # a mean over this part of the batch alone
        return ImageClassifierOutputWithNoAttention(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


class MetaFormerVisionBackbone(BackboneMixin, MetaFormerVisionPreTrainedModel):
    """Feature maps for detection and segmentation, each normalised by a norm of its own, as the authors have it.

    `out_features` of the configuration names the maps: `stem`, `stage1`, `stage2`, ...
    """

    has_attentions = False
    _keys_to_ignore_on_load_unexpected = [r"^norm\.", r"^classifier\."]  # noqa: RUF012

    def __init__(self, config: MetaFormerVisionConfig) -> None:
        super().__init__(config)
        self.num_features = [config.hidden_sizes[0], *config.hidden_sizes]
        self.metaformer = MetaFormerVisionModel(config)
        self.hidden_states_norms = nn.ModuleDict(
            {
                name: build_norm(config.norm, dim, eps=config.norm_eps, bias=config.norm_bias)
                for name, dim in zip(self.out_features, self.channels, strict=True)
            }
        )
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.metaformer.get_input_embeddings()

    @can_return_tuple
    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool | int | list[int] | None = None, **kwargs: Any
    ) -> BackboneOutput:
        """(B, num_channels, H, W) -> `feature_maps`, one (B, C, h, w) for each of the configuration's out_features.

        `hidden_states`, where asked for, are the maps of the stem and of every stage before their norms.
        """
        maps = self.metaformer.feature_maps(pixel_values)
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        feature_maps = tuple(
            self.hidden_states_norms[name](x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            for name, x in zip(self.stage_names, maps, strict=True)
            if name in self.out_features
        )
        return BackboneOutput(feature_maps=feature_maps, hidden_states=selected_maps(maps, output_hidden_states))


def selected_maps(maps: list[Tensor], wanted: bool | int | list[int] | None) -> Any:
    """All maps, none, or those at the wanted indices with None in the others' places."""
    if wanted is None or wanted is False:
        return None
    if wanted is True:
        return tuple(maps)
    indices = [wanted] if isinstance(wanted, int) else wanted
    chosen = {index % len(maps) for index in indices if -len(maps) <= index < len(maps)}
    return tuple(x if index in chosen else None for index, x in enumerate(maps))


__all__ = [
    "MetaFormerVisionBackbone",
    "MetaFormerVisionForImageClassification",
    "MetaFormerVisionModel",
    "MetaFormerVisionPreTrainedModel",
    "PatchEmbedding",
]
