"""Is what the device computes right: precisions, packing, compilation, repetition, and a run that was killed.

Errors are the largest difference of a tensor from its reference, relative to the reference's largest number; that of
gradients is the worst tensor's.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from metaformer_nlp.core import MIXERS
from metaformer_nlp.text import MetaFormerTextConfig, MetaFormerTextModel
from tasks.device import runs
from tasks.device.machine import Machine
from tasks.device.page import Result
from tasks.device.reference import Case, cases, projections, stored

__all__ = ["examine"]

TOLERANCES = {torch.float32: 1e-4, torch.float16: 0.03, torch.bfloat16: 0.2}
"""Largest relative error of forward pass and gradients beside float64: about four times the worst on a CPU."""
STORED = 1e-4
"""Largest difference of the CPU's numbers from the stored ones, which have seven digits."""
PACKED = 1e-4
COMPILED = 1e-4


def examine(machine: Machine) -> Iterator[Result]:
    """Correctness, in order of importance."""
    # The 19 bits of TensorFloat-32 are no float32; training may use them, a comparison may not.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    known = stored()
    for case in cases():
        examine_case = partial(_numbers, machine, case, known.get(case.name))
        yield from machine.attempt(case.name, "numbers", examine_case)
    yield from machine.attempt("training", "killed and resumed", lambda: runs.killed(machine))
    for mixer in [name for name in MIXERS if 1 in MIXERS[name].ranks]:
        yield from machine.attempt(mixer, "packed", partial(_packed, machine, mixer))
    for case in cases():
        if case.name.startswith(("text model", "image model")):
            yield from machine.attempt(case.name, "compiled", partial(_compiled, machine, case))


def _numbers(machine: Machine, case: Case, known: Sequence[float] | None) -> Iterator[Result]:
    """The CPU in float64 against the stored numbers, the device in each precision against the CPU, and itself."""
    reference = case.run(case.module, torch.device("cpu"), torch.float64)
    if known is None:
        yield machine.measured(case.name, "CPU, float64", "stored numbers", 0, "a plugin's: none are stored")
    else:
        error = max(abs(a - b) / (1 + abs(b)) for a, b in zip(projections(reference), known, strict=True))
        yield machine.check(case.name, "CPU, float64", "difference from the stored numbers", error, STORED)
    for dtype, limit in TOLERANCES.items():
        precision = str(dtype).removeprefix("torch.")
        if machine.toy and dtype == torch.float16:
            continue  # not made for CPUs
        module = copy.deepcopy(case.module).to(machine.device, dtype)
        found = case.run(module, machine.device, dtype)
        forward, gradients = errors(found, reference)
        yield machine.check(case.name, precision, "forward error", forward, limit)
        yield machine.check(case.name, precision, "gradient error", gradients, limit)
        again = case.run(module, machine.device, dtype)
        differing = sum(not torch.equal(a, b) for a, b in zip(found, again, strict=True))
        if differing:
            note = "run twice, bits differ: training with it is not bitwise repeatable"
            yield machine.measured(case.name, precision, "tensors that differ", differing, note)


def errors(found: Sequence[Tensor], reference: Sequence[Tensor]) -> tuple[float, float]:
    """Of the output, the first tensor, and of the gradients, the others."""
    largest = max(float(tensor.abs().max()) for tensor in reference[1:]) if len(reference) > 1 else 0.0

    def error(a: Tensor, b: Tensor, floor: float) -> float:
        return float((a.cpu().double() - b).abs().max()) / (float(b.abs().max()) + floor + 1e-30)

    gradients = [error(a, b, 1e-2 * largest) for a, b in zip(found[1:], reference[1:], strict=True)]
    return error(found[0], reference[0], 0.0), max(gradients, default=0.0)


def _packed(machine: Machine, mixer: str) -> Iterator[Result]:
    """Documents that share a row, and padded ones, against each of them alone."""
    lengths = (5, 17, 64, 40)
    config = MetaFormerTextConfig(
        vocab_size=97, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
        max_position_embeddings=128, token_mixer=mixer,
    )  # fmt: skip
    torch.manual_seed(0)
    model = MetaFormerTextModel(config).eval()
    for parameter in model.parameters():  # fresh weights would hide a leak
        if parameter.requires_grad:
            nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=parameter[0].numel() ** -0.5)
    model = model.to(machine.device)
    documents = [torch.randint(1, 97, (1, length), device=machine.device) for length in lengths]
    numbers = torch.tensor([[n + 1 for n, length in enumerate(lengths) for _ in range(length)] + [0, 0]])
    ids = torch.cat([*documents, torch.zeros(1, 2, dtype=torch.long, device=machine.device)], 1)
    with torch.no_grad():
        alone = [model(document).last_hidden_state for document in documents]
        together = model(ids, segment_ids=numbers.to(machine.device)).last_hidden_state[:, :-2].split(lengths, 1)
        padded = torch.zeros(len(lengths), 128, dtype=torch.long, device=machine.device)
        for row, document in zip(padded, documents, strict=True):
            row[: document.shape[1]] = document
        rows = model(padded, attention_mask=(padded > 0).long()).last_hidden_state
    for setting, found in (("packed", together), ("padded", [rows[i : i + 1, :n] for i, n in enumerate(lengths)])):
        worst = max(errors([a], [b.cpu().double()])[0] for a, b in zip(found, alone, strict=True))
        yield machine.check(mixer, setting, "difference from each document alone", worst, PACKED)


def _compiled(machine: Machine, case: Case) -> Iterator[Result]:
    module = case.module.float().to(machine.device)
    eager = [tensor.cpu().double() for tensor in case.run(module, machine.device, torch.float32)]
    compiled = case.run(cast(nn.Module, torch.compile(module)), machine.device, torch.float32)
    # `autograd.grad` names the weights in the same order, since the compiled module shares them.
    forward, gradients = errors(compiled, eager)
    yield machine.check(case.name, "compiled", "forward difference from eager", forward, COMPILED)
    yield machine.check(case.name, "compiled", "gradient difference from eager", gradients, COMPILED)
