r"""Mean IoU, pixel accuracy and mean accuracy of a semantic segmenter, with pictures of what it says.

    python scripts/evaluate_segmentation.py --checkpoint runs/scenes_segmentation --pictures runs/pictures
    accelerate launch scripts/evaluate_segmentation.py --checkpoint runs/ade20k/poolformer_s12 --data.name ade20k \
        --data.root ADEChallengeData2016 --output results.csv
    python scripts/evaluate_segmentation.py --checkpoint poolformer_s12=AUTHORS_FILE.pth --data.name ade20k \
        --data.root ADEChallengeData2016 --output results.csv

The numbers do not depend on the number of processes.
"""

from metaformer_nlp.config.command_line import main
from tasks.segmentation.options import EvaluationConfig

if __name__ == "__main__":
    main(EvaluationConfig, "tasks.segmentation.evaluation:run", __doc__)
