"""Memory that is freed is kept for the next step."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, resource, sys
import torch
from metaformer_nlp.engine.processes import keep_freed_memory

# As glibc starts, but for good: it raises the limit for large blocks when it sees some, and may keep them by chance.
ctypes.CDLL(None).mallopt(-3, 128 * 1024)
if sys.argv[1] == "kept":
    keep_freed_memory()

def step():
    blocks = [torch.ones(4 * 2**20 // 4) for _ in range(8)]

step()
step()
counts = [resource.getrusage(resource.RUSAGE_SELF).ru_minflt]
for _ in range(10):
    step()
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(min(after - before for before, after in zip(counts, counts[1:])))
"""


def faults(mode: str) -> int:
    """Those of a step; of ten the fewest, since the system may take pages away meanwhile."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what is asked of glibc")
def test_a_step_finds_the_memory_of_the_one_before() -> None:
    """The system hands pages out at page faults; 32 MiB have 8192 of them where pages are of 4 KiB."""
    kept, given_back = faults("kept"), faults("given back")
    assert kept < 10
    assert given_back > 1000
