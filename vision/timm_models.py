"""The models for timm's users: `timm.create_model("metaformer_poolformer_s12")`, and so for every row of the table.

The entry of a row is `metaformer_<row>` (rows that begin so keep their name). What timm's scripts expect is there:
`num_classes`, `in_chans`, `img_size`, `drop_rate`, `drop_path_rate`, `features_only`, `forward_features`,
`forward_head`, `reset_classifier`, layer-wise decay; any field of the configuration is taken too. As with timm's own
models nothing is dropped unless asked for. Importing `vision` registers the entries. The tensors have this project's
names, so that such a state dict opens with `load_model`.
"""

import math
from functools import partial
from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from metaformer_nlp.core import MIXERS, mixer_specs
from vision.configuration import MetaFormerVisionConfig
from vision.head import build_classifier
from vision.modeling import MetaFormerVisionForImageClassification
from vision.processing import IMAGENET_MEAN, IMAGENET_STD
from vision.variants import VARIANTS, create_config


class TimmMetaFormer(MetaFormerVisionForImageClassification):
    """Our classifier with timm's methods; calling it gives logits (B, num_classes) and not an output object."""

    def __init__(
        self,
        row: str,
        num_classes: int = 1000,
        in_chans: int = 3,
        img_size: int | tuple[int, int] | None = None,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        **fields: Any,
    ) -> None:
        if img_size is not None:
            fields["image_size"] = img_size
        fields |= {"num_channels": in_chans, "classifier_dropout": drop_rate, "drop_path_rate": drop_path_rate}
        config = create_config(row, num_labels=num_classes, **fields)
        assert isinstance(config, MetaFormerVisionConfig)
        super().__init__(config)
        self.num_classes, self.global_pool = num_classes, global_pool
        self.num_features = self.head_hidden_size = config.hidden_sizes[-1]
        self.feature_info = [
            {
                "num_chs": dim,
                "reduction": math.prod(config.strides[: index + 1]),
                "module": f"metaformer.stages.{index}",
            }
            for index, dim in enumerate(config.hidden_sizes)
        ]
        self._check_pool()

    def _check_pool(self) -> None:
        if self.global_pool not in ("avg", "") or (self.num_classes and not self.global_pool):
            raise ValueError(
                f"global_pool is 'avg', or '' with num_classes 0 for the whole map, not {self.global_pool!r}"
            )

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> the last stage's map (B, C, h, w), before any norm."""
        return self.metaformer.feature_maps(x)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, C, h, w) -> logits (B, num_classes); with `pre_logits` the pooled channels (B, C)."""
        if not self.global_pool:
            return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        pooled = self.pool(x)
        return pooled if pre_logits else self.classifier(self.dropout(pooled))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_classes)."""
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | tuple[int, ...] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """The stages' maps (B, C, h, w), of all stages, the last `indices` ones, or those named; and the last map."""
        if output_fmt != "NCHW" or norm:
            raise ValueError("maps are given as they are, NCHW and without a norm: leave output_fmt and norm")
        maps = self.metaformer.feature_maps(x)[1:]
        if indices is None:
            wanted = maps
        else:
            wanted = maps[-indices:] if isinstance(indices, int) else [maps[index] for index in indices]
        return wanted if intermediates_only else (maps[-1], wanted)

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new head for `num_classes`; 0 gives the pooled channels, and with `global_pool=""` the whole map."""
        self.num_classes, self.config.num_labels = num_classes, num_classes
        self.num_labels = num_classes
        self.global_pool = self.global_pool if global_pool is None else global_pool
        self._check_pool()
        like = self.metaformer.stages[0].embedding.projection.weight  # type: ignore[union-attr]
        self.classifier = build_classifier(self.config).to(like)  # type: ignore[arg-type]
        for module in self.classifier.modules():
            self._init_weights(module)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        if enable:
            self.gradient_checkpointing_enable()
        else:
            self.gradient_checkpointing_disable()

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Which parameters form a layer, for timm's layer-wise decay; the rest, with the last norm, is the head."""
        block = r"^metaformer\.stages\.(\d+)" if coarse else r"^metaformer\.stages\.(\d+)\.blocks\.(\d+)"
        opening = (r"^metaformer\.stages\.(\d+)\.(?!blocks)", (0,))
        return {"stem": r"^metaformer\.stages\.0\.(?!blocks)", "blocks": [(block, None), opening]}


def _build(variant: str, row: str, pretrained: bool = False, **options: Any) -> nn.Module:
    if pretrained:
        raise ValueError(f"{variant} has no weights on the hub: open a published file with vision.load_model instead")
    stages = tuple(range(len(VARIANTS[row].get("depths", (2, 2, 6, 2)))))
    features = {"out_indices": options.pop("out_indices", stages), "feature_cls": "getter"}
    return build_model_with_cfg(partial(TimmMetaFormer, row), variant, False, feature_cfg=features, **options)


def _entry(variant: str, row: str) -> Any:
    """The function that timm calls for this row."""

    def create(pretrained: bool = False, **options: Any) -> nn.Module:
        return _build(variant, row, pretrained, **options)

    create.__name__ = create.__qualname__ = variant
    create.__doc__ = f"`vision.create_model({row!r})` as a model of timm."
    return create


def _settings(row: str) -> dict[str, Any]:
    config = create_config(row)
    assert isinstance(config, MetaFormerVisionConfig)
    mixers = mixer_specs(config.token_mixer, len(config.depths))
    return {
        "num_classes": config.num_labels,
        "input_size": (config.num_channels, *config.image_height_width),
        "pool_size": config.grids()[-1],
        "fixed_input_size": any(MIXERS[mixer["name"]].fixed_length for mixer in mixers),
        "crop_pct": float(config.crop_pct),
        "interpolation": "bicubic",
        "mean": IMAGENET_MEAN,
        "std": IMAGENET_STD,
        "classifier": "classifier" if config.head == "linear" else "classifier.fc2",
        "first_conv": "metaformer.stages.0.embedding.projection",
    }


ENTRIES = {f"metaformer_{row.removeprefix('metaformer_')}": row for row in VARIANTS}
"""timm's name -> our row."""
default_cfgs = generate_default_cfgs({variant: _settings(row) for variant, row in ENTRIES.items()})
__all__: list[str] = ["ENTRIES", "TimmMetaFormer"]
for _variant, _row in ENTRIES.items():
    register_model(_entry(_variant, _row))
