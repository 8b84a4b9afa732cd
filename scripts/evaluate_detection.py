r"""COCO's twelve numbers of a detector, for boxes and masks, with its results in COCO's format and pictures of them.

    python scripts/evaluate_detection.py --checkpoint runs/scenes_retinanet --output runs/found --pictures 20
    accelerate launch scripts/evaluate_detection.py --checkpoint runs/coco/mask_rcnn_poolformer_s12 --data.name coco \
        --data.root COCO --output runs/found
    python scripts/evaluate_detection.py --checkpoint retinanet/poolformer_s12=AUTHORS_FILE.pth --data.name coco \
        --data.root COCO --output runs/found

<split>.bbox.json and <split>.segm.json are what COCO's server and pycocotools read. The numbers do not depend on the
number of processes.
"""

from metaformer_nlp.config.command_line import main
from tasks.detection.options import EvaluationConfig

if __name__ == "__main__":
    main(EvaluationConfig, "tasks.detection.evaluation:run", __doc__)
