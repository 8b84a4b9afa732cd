"""The experiments: what is learned, on which data, and how it is measured."""

import os
import sys

if not sys.stderr.isatty():  # no progress bars into log files; read by Hugging Face's libraries when they are imported
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
