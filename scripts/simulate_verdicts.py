"""How often do the rules of a verdict go wrong? Worlds of known truth, each rule's rate in them, and its bound.

    python scripts/simulate_verdicts.py
    python scripts/simulate_verdicts.py --studies 20000 --seed 1

The exit status is 1 where a bound does not hold.
"""

from metaformer_nlp.config.command_line import main
from metaformer_nlp.study.analysis.options import SimulationConfig

if __name__ == "__main__":
    main(SimulationConfig, "metaformer_nlp.study.analysis.simulation:run", __doc__)
