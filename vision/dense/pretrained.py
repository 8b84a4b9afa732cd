"""What the dense models share of Hugging Face: parts that draw their own weights, and folders that hold all of them."""

from typing import Any

from torch import nn
from transformers import PreTrainedModel

from vision.dense.configuration import DenseConfig
from vision.dense.pyramid import FeaturePyramid
from vision.weights import listed


class DensePreTrainedModel(PreTrainedModel):
    """A model over a feature pyramid."""

    config: DenseConfig
    config_class = DenseConfig
    input_modalities = ("image",)  # type: ignore[assignment]
    supports_gradient_checkpointing = True

    @property
    def pyramid(self) -> FeaturePyramid:
        """The trunk (`body`) and the network over its maps (`fpn`)."""
        raise NotImplementedError

    def _init_weights(self, module: nn.Module) -> None:
        # The parts have drawn their weights when they were built. What a checkpoint lacks is refused below; here only
        # what timm does not save and Hugging Face builds without memory.
        if callable(fill := getattr(module, "init_non_persistent_buffers", None)):
            fill()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As transformers' own, but strict.

        Raises:
            ValueError: the folder's weights lack a tensor of the model, or hold one that it has no place for.
        """
        told = kwargs.pop("output_loading_info", False)
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model, info = loaded
        problems = {key: sorted(map(str, info[key])) for key in ("missing_keys", "unexpected_keys", "mismatched_keys")}
        if any(problems.values()):
            found = "; ".join(f"{key.replace('_', ' ')}: {listed(names)}" for key, names in problems.items() if names)
            raise ValueError(f"{args[0] if args else kwargs} does not fit {cls.__name__} ({found})")
        return loaded if told else model
