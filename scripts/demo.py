"""A page to try models on: pictures, sentences, how far a mixer reaches, and the results of studies.

    python scripts/demo.py
    python scripts/demo.py --models runs/digits,runs/scenes_mask_rcnn,runs/pretrain_tiny
    python scripts/demo.py --models runs --studies docs/results --folder runs/demo

It needs more libraries: pip install 'metaformer-nlp[demo]'. Without models the page offers to train small ones on data
that is embedded, about a minute each. The page asks nothing of the network, and only this machine can open it.
"""

from metaformer_nlp.config.command_line import main
from tasks.demo.options import DemoConfig

if __name__ == "__main__":
    main(DemoConfig, "tasks.demo.serve:run", __doc__)
