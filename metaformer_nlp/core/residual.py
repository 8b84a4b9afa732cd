"""How a branch joins the stream: shortcut, scales and drop path."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Drops a whole branch for some samples of the batch while training (stochastic depth, Huang et al., 2016)."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"drop path rate must lie in [0, 1), got {rate}")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0.0 or not self.training:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * mask.div_(keep)

    def extra_repr(self) -> str:
        return f"rate={self.rate:g}"


def drop_path_rates(peak: float, depth: int) -> list[float]:
    """Rates growing linearly from 0 at the first block to ``peak`` at the last."""
    return [peak * index / max(depth - 1, 1) for index in range(depth)]


class Residual(nn.Module):
    """``res_scale * x + layer_scale * drop_path(y)``, y being what a branch made of x; or, without residual, y alone.

    Both scales are one learned number a channel, and absent when their initial value is None (LayerScale: Touvron et
    al., 2021; ResScale: Shleifer et al., 2021). Without the shortcut there is no path left to drop.
    """

    def __init__(
        self,
        dim: int,
        *,
        layer_scale_init: float | None = None,
        res_scale_init: float | None = None,
        drop_path: float = 0.0,
        use_residual: bool = True,
    ) -> None:
        super().__init__()
        if not use_residual and res_scale_init is not None:
            raise ValueError("res_scale scales the residual, which is off: leave res_scale_init None")
        self.layer_scale_init, self.res_scale_init, self.use_residual = layer_scale_init, res_scale_init, use_residual
        self.layer_scale = (
            None if layer_scale_init is None else nn.Parameter(torch.full((dim,), float(layer_scale_init)))
        )
        self.res_scale = None if res_scale_init is None else nn.Parameter(torch.full((dim,), float(res_scale_init)))
        self.drop_path = DropPath(drop_path if use_residual else 0.0)

    def reset_parameters(self) -> None:
        if self.layer_scale is not None and self.layer_scale_init is not None:
            nn.init.constant_(self.layer_scale, self.layer_scale_init)
        if self.res_scale is not None and self.res_scale_init is not None:
            nn.init.constant_(self.res_scale, self.res_scale_init)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Stream x and branch y, both (B, *S, C) -> (B, *S, C)."""
        if not self.use_residual:
            return y if self.layer_scale is None else y * self.layer_scale
        if self.res_scale is not None:
            x = x * self.res_scale
        y = self.drop_path(y)
        # One pass over memory: scaling and adding apart would write and read another map of this size.
        return x + y if self.layer_scale is None else torch.addcmul(x, y, self.layer_scale)

    def extra_repr(self) -> str:
        return f"layer_scale={self.layer_scale_init}, res_scale={self.res_scale_init}, use_residual={self.use_residual}"
