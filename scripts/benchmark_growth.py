"""How time and memory grow with the length of a text, 128 to 65,536 tokens, and the side of an image, 224 to 1,792.

    python scripts/benchmark_growth.py --output growth.csv --plot growth.svg
    python scripts/benchmark_growth.py --mode training --seconds 20
    python scripts/benchmark_growth.py --document 512 --longest 16384

On one CPU thread, in processor time. How memory is measured is at the top of tasks/benchmark/growth.py. Linux only.
"""

from metaformer_nlp.config.command_line import main
from tasks.benchmark.options import GrowthConfig

if __name__ == "__main__":
    main(GrowthConfig, "tasks.benchmark.growth:run", __doc__)
