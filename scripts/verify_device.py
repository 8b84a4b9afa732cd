"""Examine this machine: whether what its GPU computes is right, and how fast the models are beside their peers.

    python scripts/verify_device.py                                 # 8 minutes on one GPU
    python scripts/verify_device.py --sections images,text --budget 200 --output runs/speed
    python scripts/verify_device.py --device cpu --budget 60        # toy sizes, to try the command

The folder --output gets results.json, results.csv and report.md, whole after each result, so that a run that is stopped
or killed leaves what it found. The status is 1 if a check failed. It needs torch, torchvision, transformers, timm,
accelerate, safetensors, numpy, sentencepiece, tokenizers and PyYAML, and downloads nothing. Where this project is not
installed: PYTHONPATH=. python scripts/verify_device.py
"""

import importlib
import sys
import time

from tasks.device.options import parse

if __name__ == "__main__":
    began = time.monotonic()
    config = parse(__doc__)
    # Imported now, so that help need not wait for torch.
    sys.exit(importlib.import_module("tasks.device.verify").run(config, began))
