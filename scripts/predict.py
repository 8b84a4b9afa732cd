r"""Predict on picture files with a classifier, detector or segmenter; the results are drawn (PNG) and listed (JSON).

python scripts/predict.py picture.jpg --model runs/scenes_mask_rcnn
python scripts/predict.py street.jpg pictures/ --model runs/ade20k/poolformer_s12 --output runs/predicted
python scripts/predict.py --pictures dog.jpg,cat.jpg --model poolformer_s12=poolformer_s12.pth.tar --top 3
"""

import json
import sys
from itertools import takewhile

from metaformer_nlp.config.command_line import main
from tasks.prediction.options import PredictionConfig

if __name__ == "__main__":
    if pictures := list(takewhile(lambda word: not word.startswith("-"), sys.argv[1:])):
        sys.argv[1 : 1 + len(pictures)] = ["--pictures", json.dumps(pictures)]  # a comma may be part of a name
    main(PredictionConfig, "tasks.prediction.prediction:run", __doc__)
