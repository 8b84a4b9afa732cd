"""Masked image modelling in the manner of SimMIM (arXiv 2111.09886): the trunk learns by painting in hidden patches.

B batch, H x W pixels, g_h x g_w mask patches, h x w tokens of the last stage, C its channels. A hidden patch is taken
away twice: its pixels become 0, the mean of all images, and the stem's tokens that lie on it become one learned token
(which has its place's learned position, in models that have some). Only both together hide it, since the stem's windows
overlap: without the first its neighbours would show it, and without the second the trunk could not tell a hidden patch
from a grey one. A linear layer then paints each token's square of pixels.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.modeling_outputs import MaskedImageModelingOutput
from transformers.utils.generic import can_return_tuple

from metaformer_nlp.core.cost import linear_macs
from vision.configuration import MetaFormerVisionConfig
from vision.modeling import MetaFormerVisionModel, MetaFormerVisionPreTrainedModel


class MetaFormerVisionForMaskedImageModeling(MetaFormerVisionPreTrainedModel):
    """Trunk and a linear decoder. Its trunk starts a classifier: `vision.load_model(folder, num_labels=...)`."""

    def __init__(self, config: MetaFormerVisionConfig) -> None:
        super().__init__(config)
        self.metaformer = MetaFormerVisionModel(config)
        self.stride = math.prod(config.strides)
        self.mask_token = nn.Parameter(torch.zeros(config.hidden_sizes[0]))
        self.decoder = nn.Linear(config.hidden_sizes[-1], config.num_channels * self.stride**2)
        self.post_init()

    def reset_parameters(self) -> None:
        """Draw the mask token, as the authors do."""
        nn.init.trunc_normal_(self.mask_token, std=self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        return self.metaformer.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.metaformer.set_input_embeddings(value)

    def macs(self, image_size: tuple[int, int] | None = None) -> int:
        """Multiply-accumulates of one image of (height, width) pixels, by default those of the configuration."""
        tokens = math.prod(self.config.grids(image_size)[-1])
        return self.metaformer.macs(image_size) + linear_macs(self.decoder, tokens)

    @can_return_tuple
    def forward(self, pixel_values: Tensor, bool_masked_pos: Tensor, **kwargs: Any) -> MaskedImageModelingOutput:
        """Paint in what is hidden; `reconstruction` is (B, num_channels, H, W), the loss a mean over hidden pixels.

        Args:
            pixel_values: (B, num_channels, H, W), normalised pixels, nothing hidden.
            bool_masked_pos: (B, g_h, g_w), True where a patch of H/g_h x W/g_w pixels is hidden.
            **kwargs: what trainers pass to every model; it changes nothing here.

        Raises:
            ValueError: a mask that does not divide the image, or an image that is no multiple of the strides.
        """
        height, width = pixel_values.shape[2:]
        hidden = pixel_mask(bool_masked_pos, (height, width))
        grid = self.config.grids((height, width))[-1]
        if (grid[0] * self.stride, grid[1] * self.stride) != (height, width):
            raise ValueError(f"pixel_values of {height}x{width}: both must be multiples of {self.stride}")
        first, *others = self.metaformer.stage_list()
        seen = pixel_values.masked_fill(hidden, 0.0).contiguous(memory_format=torch.channels_last)
        tokens = first.embed(seen)  # (B, h0, w0, C0)
        hidden_tokens = F.interpolate(hidden.float(), size=tokens.shape[1:3], mode="nearest")[:, 0, :, :, None] > 0
        unseen = first.add_positions(self.mask_token.to(tokens.dtype).expand(1, *tokens.shape[1:]))
        x = first.mix(torch.where(hidden_tokens, unseen, tokens))
        for stage in others:
            x = stage(x)
        painted = self.decoder(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        reconstruction = F.pixel_shuffle(painted, self.stride)
        distance = painting_error(reconstruction, pixel_values, hidden)
        loss = distance / (hidden.sum() * pixel_values.shape[1]).clamp(min=1)
        return MaskedImageModelingOutput(loss=loss, reconstruction=reconstruction)


def pixel_mask(bool_masked_pos: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, g_h, g_w) -> (B, 1, H, W) of bool: the mask of patches as one of pixels.

    Raises:
        ValueError: a mask of another rank, or one that does not divide the image.
    """
    shape = tuple(bool_masked_pos.shape)
    if len(shape) != 3 or size[0] % shape[1] or size[1] % shape[2]:
        raise ValueError(
            f"bool_masked_pos must be (batch, rows, columns) of patches that divide the image of {size[0]}x{size[1]} "
            f"pixels, not {shape}"
        )
    rows = bool_masked_pos.bool().repeat_interleave(size[0] // shape[1], dim=1)
    return rows.repeat_interleave(size[1] // shape[2], dim=2)[:, None]


def painting_error(reconstruction: Tensor, pixel_values: Tensor, hidden: Tensor) -> Tensor:
    """Sum of absolute differences over the hidden pixels' channels.

    reconstruction, pixel_values: (B, num_channels, H, W); hidden: (B, 1, H, W) of bool.
    """
    return ((reconstruction.float() - pixel_values.float()).abs() * hidden).sum()


__all__ = ["MetaFormerVisionForMaskedImageModeling", "painting_error", "pixel_mask"]
