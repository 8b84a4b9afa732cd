"""A model as a program of its own: torch.export's .pt2, or ONNX. Every file is read back, run and compared.

What is exported is a module whose forward takes tensors by name and gives one tensor or several, named in ``outputs``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SUFFIXES = (".pt2", ".onnx")
TOLERANCE = 1e-4
"""Largest difference of an output, relative to the largest value of it (at least 1)."""

Inputs = Mapping[str, Tensor]
Program = Callable[[Inputs], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Exportable:
    """A function to export, and what it has to be tried with."""

    function: nn.Module
    """In evaluation mode."""
    outputs: tuple[str, ...]
    """Names of what it gives, in order."""
    shapes: dict[str, dict[int, Any]]
    """Input -> axis -> ``torch.export.Dim``: the axes whose size is free."""
    samples: Sequence[Inputs]
    """Inputs of several shapes to compare with; the first is traced, and has no free axis of size 1."""
    described: dict[str, object]
    """What one has to know to feed the program and to read what it gives."""

    def __call__(self, inputs: Inputs) -> tuple[Tensor, ...]:
        with torch.no_grad():
            return as_tuple(self.function(**inputs))


def as_tuple(given: Tensor | Sequence[Tensor]) -> tuple[Tensor, ...]:
    return (given,) if isinstance(given, Tensor) else tuple(given)


def export_torch(exportable: Exportable, path: Path) -> Program:
    """Write a .pt2 file; returns what is read back from it."""
    traced = torch.export.export(exportable.function, (), dict(exportable.samples[0]), dynamic_shapes=exportable.shapes)
    torch.export.save(traced, path)
    module = torch.export.load(path).module()
    return lambda inputs: as_tuple(module(**inputs))


def export_onnx(exportable: Exportable, path: Path, opset: int) -> Program:
    """Write an .onnx file, weights inside; returns it as onnxruntime runs it.

    Raises:
        ValueError: the libraries are not installed, or torch cannot write that ``opset``; nothing is written then.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise ValueError(f"ONNX needs {', '.join(missing)}: pip install 'metaformer-nlp[export]'")
    import onnxruntime

    sample = dict(exportable.samples[0])
    with torch.no_grad():  # attention with a learned bias lays its result out otherwise where there are gradients
        program = torch.onnx.export(
            exportable.function,
            (),
            kwargs=sample,
            input_names=list(sample),
            output_names=list(exportable.outputs),
            dynamic_shapes=exportable.shapes,
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

    def run(inputs: Inputs) -> tuple[Tensor, ...]:
        arrays = {name: value.numpy() for name, value in inputs.items()}
        return tuple(torch.from_numpy(array) for array in session.run(list(exportable.outputs), arrays))

    return run


def difference(program: Program, exportable: Exportable) -> float:
    """The largest difference of the two on all samples, relative to the largest value of an output.

    Raises:
        ValueError: it is above TOLERANCE.
    """
    found = 0.0
    for inputs in exportable.samples:
        with torch.no_grad():
            outputs = program(inputs)
        for given, expected in zip(outputs, exportable(inputs), strict=True):
            found = max(found, float((given - expected).abs().max() / expected.abs().max().clamp(min=1)))
            if not found <= TOLERANCE:  # also where it is NaN
                shapes = {name: tuple(value.shape) for name, value in inputs.items()}
                raise ValueError(
                    f"the exported program differs from the model by {found:.2g} (allowed: {TOLERANCE}) at {shapes}"
                )
    return found


def output_paths(names: Sequence[str]) -> list[Path]:
    """The files to write; ValueError for one of no known kind."""
    paths = [Path(name).expanduser() for name in names]
    for path in paths:
        if path.suffix not in SUFFIXES:
            raise ValueError(f"output {path}: must end with {' or '.join(SUFFIXES)}")
    return paths


def write(exportable: Exportable, paths: Sequence[Path], opset: int) -> dict[str, float]:
    """Write the files, each with a .json beside it that says how to use it; returns file -> difference."""
    differences = {}
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        onnx = path.suffix == ".onnx"
        program = export_onnx(exportable, path, opset) if onnx else export_torch(exportable, path)
        differences[str(path)] = difference(program, exportable)
        description = json.dumps(exportable.described, indent=2, ensure_ascii=False)
        path.with_suffix(".json").write_text(description + "\n", encoding="utf-8")
        tried = ", ".join(str(tuple(next(iter(inputs.values())).shape)) for inputs in exportable.samples)
        print(
            f"{path}: {path.stat().st_size / 2**20:.1f} MB, {', '.join(exportable.samples[0])} -> "
            f"{', '.join(exportable.outputs)}; differs from the model by {differences[str(path)]:.1e} at {tried}"
        )
    return differences
