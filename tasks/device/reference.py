"""Inputs and weights that are a formula of their place, and numbers of the project's that were made from them once.

A device is compared with the CPU of the same machine in float64, which cannot show what is wrong in both. So what the
CPU computes is compared with ``reference.json``: eight numbers that tell outputs and gradients of each mixer, norm and
model. A deliberate change of what one computes brings its new numbers:
``python -m tasks.device.reference`` writes the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metaformer_nlp.core import MIXERS, NORMS, build_mixer, build_norm
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextForMaskedLM
from vision import create_model

__all__ = ["Case", "cases", "projections", "stored"]

FILE = Path(__file__).with_name("reference.json")
DIM, LENGTH, GRID = 32, 192, (8, 8)
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "attention": [{"window": 8}, {"positions": "rotary", "qk_norm": True}, {"positions": "alibi"}],
    "pooling": [{"pool_size": [3, 15, "left:4", "global"]}, {"gate": True}],
}
"""Options that take other paths through a mixer's code."""


def wave(*shape: int, salt: float = 0.0) -> Tensor:
    """Numbers in (-1, 1) that look random and are the same everywhere: float64, ``shape``."""
    places = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
    return ((places + 1) * (0.7390851 + salt / 7) * (places % 97 + 1)).sin().view(shape)


class Case:
    """A module with its input, in float64 on the CPU; ``segment_ids`` (B, L) where it is text of several documents."""

    def __init__(
        self, name: str, module: nn.Module, x: Tensor, segment_ids: Tensor | None = None, keyword: str | None = None
    ) -> None:
        self.name, self.x, self.segment_ids, self.keyword = name, x, segment_ids, keyword
        self.module = module.double().train()
        with torch.no_grad():
            for number, parameter in enumerate(module.parameters()):
                if not parameter.is_floating_point():
                    continue
                values = wave(*parameter.shape, salt=number) / max(parameter[0].numel(), 1) ** 0.5
                frozen = not parameter.requires_grad  # a matrix of averages: its rows may not sum to nearly 0
                parameter.copy_(values.abs() + 0.1 if frozen else values + 1.0 * (parameter.ndim == 1))

    def run(self, module: nn.Module, device: torch.device, dtype: torch.dtype) -> list[Tensor]:
        """The output and the gradients of the input and of all weights, from ``module`` on ``device`` in ``dtype``."""
        x = self.x.to(device)
        segments = None if self.segment_ids is None else self.segment_ids.to(device)
        learned = x.is_floating_point()
        x = x.to(dtype).requires_grad_() if learned else x
        if self.keyword is None:
            output = module(x) if segments is None else module(x, segments)
        else:
            output = module(**{self.keyword: x}, **({} if segments is None else {"segment_ids": segments})).logits
        weights = wave(*output.shape, salt=0.5).to(device, dtype)
        wanted = [*([x] if learned else []), *(p for p in module.parameters() if p.requires_grad)]
        gradients = torch.autograd.grad((output * weights).sum(), wanted, allow_unused=True)
        return [output.detach(), *(gradient for gradient in gradients if gradient is not None)]


def cases() -> Iterator[Case]:
    """Every mixer that is registered, on text without and with documents and on images; every norm; both models."""
    text, image = wave(2, LENGTH, DIM), wave(2, *GRID, DIM)
    for name in MIXERS:
        for options in ({}, *VARIANTS.get(name, [])):
            title = " ".join([name, *(f"{key}={value}" for key, value in options.items())])
            spec = {"name": name, **options}
            if 1 in MIXERS[name].ranks:
                yield Case(f"{title}, text", build_mixer(spec, DIM, (LENGTH,)), text)
                yield Case(f"{title}, packed text", build_mixer(spec, DIM, (LENGTH,)), text, documents())
            if 2 in MIXERS[name].ranks and not any("left" in str(value) for value in options.values()):
                yield Case(f"{title}, image", build_mixer(spec, DIM, GRID), image)
    for name in NORMS:
        yield Case(f"{name}, image", build_norm(name, DIM), image)
        yield Case(f"{name}, packed text", build_norm(name, DIM), text, documents())
    for mixer in ("pooling", "attention"):
        config = MetaFormerTextConfig(
            vocab_size=97, hidden_size=DIM, num_hidden_layers=2, num_attention_heads=2, intermediate_size=2 * DIM,
            max_position_embeddings=LENGTH, token_mixer=mixer, hidden_dropout_prob=0.0,
        )  # fmt: skip
        ids = torch.arange(2 * LENGTH).view(2, LENGTH) * 7 % 96 + 1
        model = MetaFormerTextForMaskedLM(config)
        yield Case(f"text model with {mixer}", model, ids, documents(), "input_ids")
    for mixers in ("pooling", ["separable_conv x 2", "attention x 2"]):
        image_model = create_model("poolformer_nano", num_labels=10, token_mixer=mixers, drop_path_rate=0.0)
        yield Case(f"image model with {mixers}", image_model, wave(2, 3, 32, 32), None, "pixel_values")


def documents() -> Tensor:
    """Segments (2, LENGTH): a row of three documents and padding, and a row of one."""
    lengths = (64, 100, 11)
    row = [number + 1 for number, length in enumerate(lengths) for _ in range(length)]
    return torch.tensor([row + [0] * (LENGTH - len(row)), [1] * LENGTH])


def projections(tensors: Sequence[Tensor]) -> list[float]:
    """Mean, root mean square and two projections of the output, and of the gradients: eight numbers."""
    found = []
    for part in (tensors[0].flatten(), torch.cat([tensor.flatten() for tensor in tensors[1:] or tensors[:1]])):
        part, scale = part.double(), part.numel() ** 0.5
        found += [
            part.mean(),
            part.norm() / scale,
            *((part * wave(part.numel(), salt=s)).sum() / scale for s in (1, 2)),
        ]
    return [float(value) for value in found]


def stored() -> dict[str, list[float]]:
    found: dict[str, list[float]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def main() -> None:
    lines = []
    for case in cases():
        found = projections(case.run(case.module, torch.device("cpu"), torch.float64))
        lines.append(f" {json.dumps(case.name)}: {[round(value, 7) for value in found]}")
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
