"""What an image model costs: multiply-accumulates of one image, for this project's models and for timm's."""

import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import TimmWrapperForImageClassification

from vision.processing import preprocessing


def macs(model: nn.Module, image_size: int | tuple[int, int] | None = None) -> int:
    """Multiply-accumulates of one image, by the papers' convention: matrix products and convolutions alone.

    Args:
        model: a classifier of `create_model` or `load_model`. Ours are counted analytically, timm's by torch's counter
            on a twin without memory.
        image_size: pixels of the side, or (height, width); default: the model's own.

    Raises:
        ValueError: a size that the model cannot take.
    """
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if not isinstance(model, TimmWrapperForImageClassification):
        return model.macs(size)  # type: ignore[operator]
    config = model.config
    height, width = size or preprocessing(config).image_size
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        twin = timm.create_model(config.architecture, num_classes=config.num_labels, **(config.model_args or {}))
        try:
            twin.eval()(torch.empty(1, config.pretrained_cfg["input_size"][0], height, width))
        except (AssertionError, RuntimeError) as error:
            raise ValueError(
                f"timm/{config.architecture} takes no images of {height} x {width} pixels: {error}"
            ) from error
    return counter.get_total_flops() // 2
