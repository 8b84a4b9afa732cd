"""Memory that is freed is kept for the next step."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource, sys
import torch
from metaformer_nlp.engine.processes import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def step():
    blocks = [torch.ones(4 * 2**20 // 4) for _ in range(8)]

step()
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is asked of glibc")
def test_a_step_finds_the_memory_of_the_one_before() -> None:
    """The system hands pages out at page faults; 32 MiB have 8192 of them where pages are of 4 KiB."""
    kept = min(faults("kept") for _ in range(3))  # the system may take pages away meanwhile
    given_back = faults("given back")
    assert given_back > 10 * kept
