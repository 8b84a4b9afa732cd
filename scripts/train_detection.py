r"""Train and evaluate a detector: RetinaNet (boxes) or Mask R-CNN (boxes and masks) over any trunk.

    python scripts/train_detection.py --config recipe:scenes_retinanet
    python scripts/train_detection.py --config recipe:scenes_mask_rcnn --model.token_mixer identity --run.folder runs/b
    accelerate launch scripts/train_detection.py --config recipe:coco/retinanet_poolformer_s12 --data.root COCO \
        --model.checkpoint poolformer_s12.pth.tar
    python scripts/train_detection.py --config recipe:coco/mask_rcnn_poolformer_s12 --data.root COCO \
        --detector.short_side 320 --detector.long_side 533 --schedule.steps 100 --run.folder runs/try

A run that was interrupted goes on when the same command is given again.
"""

from metaformer_nlp.config.command_line import main
from tasks.detection.options import DetectionConfig

if __name__ == "__main__":
    main(DetectionConfig, "tasks.detection.detection:run", __doc__)
