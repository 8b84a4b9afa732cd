"""A trained image classifier as a program of its own: torch.export's .pt2, or ONNX. Every file is run and compared.

The exported function is pixels (B, 3, S, S) float32 -> logits (B, K), for any B; S is the model's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tasks.cli import split_names
from tasks.image_checkpoints import Logits, class_names, eval_transform, open_checkpoint
from tasks.plugins import import_plugins
from vision import ImageClassifier, preprocessing

SUFFIXES = (".pt2", ".onnx")
BATCHES = (1, 2, 5)
"""Batch sizes at which an exported program is compared with the model."""
TOLERANCE = 1e-4
"""Largest difference of a logit, relative to the largest logit (at least 1)."""

Program = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Config:
    """Export a trained image classifier."""

    checkpoint: str
    """A run folder, a folder of save_pretrained, a published weight file, or NAME=FILE, as for evaluate_vision.py."""
    output: str | list[str]
    """Files to write, separated by commas: .pt2 is torch.export's program, .onnx is ONNX."""
    image_size: int | None = None
    """Pixels of the side; null: the model's own. The program takes this size only."""
    opset: int = 18
    """ONNX: version of the operators; 18 or above, as far as the installed torch knows them."""
    plugins: list[str] = field(default_factory=list)
    """Python files or modules to import first, such as one that registers a token mixer."""


def export_torch(model: nn.Module, pixels: Tensor, path: Path) -> Program:
    """Write a .pt2 file; returns what is read back from it."""
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(model, (pixels,), dynamic_shapes={"pixel_values": {0: batch}})
    torch.export.save(program, path)
    return torch.export.load(path).module()


def export_onnx(model: nn.Module, pixels: Tensor, path: Path, opset: int) -> Program:
    """Write an .onnx file, weights inside; returns it as onnxruntime runs it.

    Raises:
        ValueError: the libraries are not installed, or torch cannot write that ``opset``; nothing is written then.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise ValueError(f"ONNX needs {', '.join(missing)}: pip install 'metaformer-nlp[export]'")
    import onnxruntime

    program = torch.onnx.export(
        model,
        (pixels,),
        input_names=["pixel_values"],
        output_names=["logits"],
        dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch", min=1)}},
        opset_version=opset,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    written = program.model.opset_imports[""]
    if written != opset:  # torch says so in a warning at most, and goes on
        raise ValueError(f"opset {opset}: torch {torch.__version__} writes {written} instead; give --opset {written}")
    program.save(path, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(np.asarray(session.run(["logits"], {"pixel_values": x.numpy()})[0]))


def difference(program: Program, model: nn.Module, size: int) -> float:
    """The largest difference of the two functions' logits at several batch sizes, relative to the largest logit.

    Raises:
        ValueError: it is above TOLERANCE.
    """
    found = 0.0
    for batch in BATCHES:
        pixels = torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            expected, given = model(pixels), program(pixels)
        found = max(found, float((given - expected).abs().max() / expected.abs().max().clamp(min=1)))
    if not found <= TOLERANCE:  # also where it is NaN
        raise ValueError(f"the exported program differs from the model by {found:.2g} (allowed: {TOLERANCE})")
    return found


def describe(model: ImageClassifier) -> dict[str, object]:
    """What one has to know to feed the program: preprocessing, and the names of the classes."""
    return {"preprocessing": asdict(preprocessing(model)), "classes": class_names(model)}


def run(config: Config) -> dict[str, float]:
    """Write the files, each with a .json beside it that says how to feed it; returns file -> difference."""
    import_plugins(config.plugins)
    paths = [Path(name).expanduser() for name in split_names(config.output)]
    for path in paths:
        if path.suffix not in SUFFIXES:
            raise ValueError(f"output {path}: must end with {' or '.join(SUFFIXES)}")
    model = open_checkpoint(config.checkpoint, config.image_size)
    size, function = eval_transform(preprocessing(model), config.checkpoint).size, Logits(model).eval()
    pixels, differences = torch.randn(2, 3, size, size), {}
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        program = (
            export_torch(function, pixels, path)
            if path.suffix == ".pt2"
            else export_onnx(function, pixels, path, config.opset)
        )
        differences[str(path)] = difference(program, function, size)
        path.with_suffix(".json").write_text(json.dumps(describe(model), indent=2) + "\n", encoding="utf-8")
        print(
            f"{path}: {path.stat().st_size / 2**20:.1f} MB, (batch, 3, {size}, {size}) -> (batch, "
            f"{model.config.num_labels}), differs from the model by {differences[str(path)]:.1e} at batches {BATCHES}"
        )
    return differences
