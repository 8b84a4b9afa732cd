"""Anchors as the papers' detectors have them: true strides, corners that are not rounded, and always float32."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

RATIOS = (0.5, 1.0, 2.0)  # height / width


class Anchors(AnchorGenerator):
    """A box of every size and ratio around each place (i x stride, j x stride) of every map.

    torchvision's own divides the padded image by the map for the stride (61 instead of 64), rounds corners, and makes
    anchors in the maps' arithmetic, which moves them by up to 8 pixels in bfloat16.

    Args:
        strides: pixels between neighbours on each map.
        sizes: sides of the square anchors, in strides of their map.
    """

    def __init__(self, strides: Sequence[int], sizes: Sequence[float]) -> None:
        super().__init__(
            sizes=tuple(tuple(size * stride for size in sizes) for stride in strides),
            aspect_ratios=(RATIOS,) * len(strides),
        )
        self.cell_anchors: list[
            Tensor
        ] = []  # made where they are used: a tensor kept here would not move with the model
        self.strides = list(strides)

    def forward(self, image_list: ImageList, feature_maps: list[Tensor]) -> list[Tensor]:
        """Maps (B, C, h, w) -> one float32 (anchors, 4) an image, the same for all: x1, y1, x2, y2 in pixels.

        Order: map, row, column, ratio, size.
        """
        device = feature_maps[0].device
        anchors = torch.cat(
            [
                _grid(x.shape[-2], x.shape[-1], stride, self._cell(sizes, device))
                for x, stride, sizes in zip(feature_maps, self.strides, self.sizes, strict=True)
            ]
        )
        return [anchors] * len(image_list.image_sizes)

    def _cell(self, sizes: Sequence[float], device: torch.device) -> Tensor:
        """(ratios x sizes, 4): the boxes around the origin."""
        side = torch.tensor(sizes, dtype=torch.float32, device=device)
        root = torch.tensor(RATIOS, dtype=torch.float32, device=device).sqrt()[:, None]
        half_width, half_height = (side / root).flatten() / 2, (side * root).flatten() / 2
        return torch.stack([-half_width, -half_height, half_width, half_height], dim=1)


def _grid(height: int, width: int, stride: int, cell: Tensor) -> Tensor:
    """(boxes, 4) -> (height x width x boxes, 4): `cell` moved to every place of a map."""
    y, x = (torch.arange(n, dtype=torch.float32, device=cell.device) * stride for n in (height, width))
    y, x = torch.meshgrid(y, x, indexing="ij")
    places = torch.stack([x, y, x, y], dim=-1).view(-1, 1, 4)
    return (places + cell).view(-1, 4)
