"""Option groups of the analysis, without the libraries that it computes with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SimulationConfig:
    """How many studies of each world."""

    studies: int = 4000
    """Studies drawn in each world."""
    seed: int = 0
    """Seed of the random numbers."""
