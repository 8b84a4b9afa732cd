"""The moving average of the weights, which is often better than the weights themselves (Polyak averaging)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor


class WeightAverage:
    """average <- decay * average + (1 - decay) * weights, over all that a checkpoint of the model holds.

    Running statistics of norms are averaged likewise, counters are copied. One copy of the model; of a sharded one
    each process averages its own shard. As timm's ModelEmaV3 without a warmup.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.averages = [tensor.clone() for tensor in self._tensors()]

    def _tensors(self) -> list[Tensor]:
        """The tensors of the model as they are now, tied ones once; the order is always the same."""
        state = {id(tensor): tensor for tensor in self.model.state_dict(keep_vars=True).values()}
        return [
            tensor.to_local() if isinstance(tensor, DTensor) else tensor
            for tensor in (tensor.detach() for tensor in state.values())
        ]

    def update(self) -> None:
        """To be called after each optimizer step."""
        pairs = list(zip(self.averages, self._tensors(), strict=True))
        floating = [pair for pair in pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([mine for mine, _ in floating], [theirs for _, theirs in floating], 1 - self.decay)
        for mine, theirs in pairs:
            if not mine.is_floating_point():
                mine.copy_(theirs)

    def reset(self) -> None:
        """Take the model as it is for the average."""
        torch._foreach_copy_(self.averages, self._tensors())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside, and its own ones afterwards."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        for mine, theirs in zip(self.averages, self._tensors(), strict=True):  # in place: wrappers hold on to tensors
            held = mine.clone()
            mine.copy_(theirs)
            theirs.copy_(held)
