"""Read every image of a data set before a run, and list those that are broken; ends with status 1 if there are any.

    python scripts/verify_data.py --data.name folder --data.root path/to/imagenet --data.class_file imagenet
    python scripts/verify_data.py --data.name webdataset --data.root path/to/shards --report broken.csv --processes 16
    python scripts/verify_data.py --data.name parquet --data.root path/to/parquet
    python scripts/verify_data.py --data.name coco --data.root path/to/coco
    python scripts/verify_data.py --data.name ade20k --data.root path/to/ADEChallengeData2016

The data options are those of scripts/train_vision.py.
"""

import sys

from metaformer_nlp.config.command_line import main
from tasks.images.verify import CheckConfig

if __name__ == "__main__" and main(CheckConfig, "tasks.images.verify:run", __doc__)["broken"]:
    sys.exit(1)
