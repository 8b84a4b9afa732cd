"""What every test relies on: no network, and tests that do not disturb each other."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator

import pytest
import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
# The first backward pass of a process decides for good whether autograd starts threads of its own. After a fake tensor
# was made (torch.export, torch.compile) it counts an accelerator that is not there, starts them, and no test may fork.
torch.ones((), requires_grad=True).backward()


@pytest.fixture(autouse=True)
def _same_start() -> Iterator[None]:
    """Every test starts from the same random state and leaves the default dtype as it was."""
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)
