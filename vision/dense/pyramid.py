"""The feature pyramid: a trunk's maps at rising strides, and torchvision's network that gives all the same channels.

B images of H x W pixels; maps are (B, C, h, w) with h = H / stride, the finest first.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import Any, cast

import timm
from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, FeaturePyramidNetwork, LastLevelMaxPool

from metaformer_nlp.core.registry import nearest
from vision.dense.configuration import DenseConfig
from vision.modeling import MetaFormerVisionBackbone
from vision.timm_wrapper import PREFIX
from vision.variants import VARIANTS

FINEST = 4  # the least stride of a map that the pyramid takes from a model of timm


class MetaFormerTrunk(MetaFormerVisionBackbone):
    """A trunk of ours: (B, 3, H, W) -> the maps of its stages from number `first` (0, 1, ...) on, each normalised."""

    def __init__(self, config: DenseConfig, first: int) -> None:
        trunk = config.trunk_config()
        trunk.out_features = trunk.stage_names[1 + first :]
        super().__init__(trunk)
        self.map_strides = list(accumulate(trunk.strides, mul))[first:]
        self.map_channels = list(self.channels)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        """(B, 3, H, W) -> one (B, C, h, w) a stage, the finest first."""
        return super().forward(pixel_values).feature_maps


class TimmTrunk(nn.Module):
    """A trunk of timm: (B, 3, H, W) -> its maps of stride 4 and above, from number `first` (0, 1, ...) on.

    Raises:
        ValueError: a model that timm does not have, or that gives no such maps.
    """

    def __init__(self, architecture: str, first: int, frozen_stages: int = 0) -> None:
        super().__init__()
        try:
            self.body = timm.create_model(architecture, features_only=True)
        except (RuntimeError, ValueError, AttributeError) as error:
            hint = nearest(architecture, timm.list_models())
            raise ValueError(f"timm builds no trunk from {architecture!r} ({error}).{hint}") from error
        info: Any = self.body.feature_info
        self.chosen = [index for index, stride in enumerate(info.reduction()) if stride >= FINEST][first:]
        if len(self.chosen) < 2:
            raise ValueError(f"{architecture} gives maps of strides {info.reduction()}: too few for a pyramid")
        self.map_strides = [info.reduction()[index] for index in self.chosen]
        self.map_channels = [info.channels()[index] for index in self.chosen]
        self.frozen_stages = frozen_stages
        if frozen_stages:
            last = [name for name, stride in zip(info.module_name(), info.reduction(), strict=True) if stride >= FINEST]
            names = [name for name, _ in self.body.named_children()]
            stages = [name for stage in last if (name := stage.replace(".", "_")) in names]
            if frozen_stages > len(stages):
                raise ValueError(f"frozen_stages {frozen_stages}: {architecture} has {len(stages)} stages to freeze")
            for name, module in self.body.named_children():
                module.requires_grad_(False)
                if name == stages[frozen_stages - 1]:
                    break

    def train(self, mode: bool = True) -> "TimmTrunk":
        super().train(mode)
        if self.frozen_stages:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, pixel_values: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> one (B, C, h, w) a map, the finest first."""
        maps = self.body(pixel_values)
        chosen = [maps[index] for index in self.chosen]
        channels_last = getattr(self.body, "output_fmt", "NCHW") == "NHWC"
        return [x.permute(0, 3, 1, 2) for x in chosen] if channels_last else chosen


class ExtraLevels(ExtraFPNBlock):
    """P6 and P7 of RetinaNet: convolutions of stride 2, P6 of the trunk's last map (C5), P7 of P6 as it is.

    torchvision's own takes P5 where C5 has as many channels, and puts a ReLU before P7; the papers' models do neither.
    """

    def __init__(self, in_channels: int, out_channels: int, levels: int) -> None:
        super().__init__()
        for index in range(levels):
            layer = nn.Conv2d(out_channels if index else in_channels, out_channels, 3, stride=2, padding=1)
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(cast(Tensor, layer.bias))
            self.add_module(f"p{index + 6}", layer)

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """Append a map for each level, of half the size of the one before."""
        last = x[-1]
        for name, layer in self.named_children():
            last = layer(last)
            results.append(last)
            names.append(name)
        return results, names


class FeaturePyramid(nn.Module):
    """(B, 3, H, W) -> maps (B, pyramid_channels, h, w) by name, the finest first: `0`, `1`, ..., `p6`, `p7` or `pool`.

    Args:
        config: its trunk and `pyramid_channels`.
        first: number of the trunk's first map that is used: 0 for stride 4, 1 for stride 8.
        extra: maps above the trunk's last: so many convolutions (`ExtraLevels`), or `pool` for one by subsampling.
    """

    def __init__(self, config: DenseConfig, first: int = 0, extra: int | str = 0) -> None:
        super().__init__()
        self.body = (
            MetaFormerTrunk(config, first)
            if config.architecture is None
            else TimmTrunk(config.architecture, first, config.frozen_stages)
        )
        self.out_channels = config.pyramid_channels
        block: ExtraFPNBlock | None = None
        if extra == "pool":
            block = LastLevelMaxPool()
        elif extra:
            block = ExtraLevels(self.body.map_channels[-1], self.out_channels, int(extra))
        self.fpn = FeaturePyramidNetwork(self.body.map_channels, self.out_channels, extra_blocks=block)
        self.strides = list(self.body.map_strides)
        for _ in range(1 if extra == "pool" else int(extra)):
            self.strides.append(2 * self.strides[-1])

    def forward(self, pixel_values: Tensor) -> dict[str, Tensor]:
        maps: Sequence[Tensor] = self.body(pixel_values)
        return self.fpn(OrderedDict((str(index), x) for index, x in enumerate(maps)))


def trunk_fields(name: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """The `trunk` of a configuration by name: a row of `vision.VARIANTS`, or `timm/<name>`.

    A row's drop path is left out, as dense recipes have none; `options` are fields of the configuration and win.
    """
    if name.startswith(PREFIX):
        return {"architecture": name.removeprefix(PREFIX), **(options or {})}
    row = {key: value for key, value in VARIANTS[name].items() if key not in ("drop_path_rate", "num_labels")}
    return {**row, **(options or {})}


def default_frozen_stages(name: str) -> int:
    """Stages that detectors do not train: the first of a ResNet or ResNeXt, which began as an ImageNet classifier."""
    return int(name.startswith((f"{PREFIX}resnet", f"{PREFIX}resnext")))
