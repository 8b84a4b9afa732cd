"""Time the training loop itself: what a step takes beside forward pass, backward pass and optimizer.

Beside it stand transformers' Trainer and the shortest loop that does the same work.

    python scripts/benchmark_loop.py --threads 1
    python scripts/benchmark_loop.py --threads 1 --batch_size 8 --steps 100 --output loop.csv

On one thread processor time is measured, so that other programs on the machine do not matter.
"""

from metaformer_nlp.config.command_line import main
from tasks.benchmark.options import LoopBenchmarkConfig

if __name__ == "__main__":
    main(LoopBenchmarkConfig, "tasks.benchmark.loop:run", __doc__)
