r"""Train and evaluate a semantic segmenter: Semantic FPN over any trunk, on ADE20K, label maps of your own, digits.

    python scripts/train_segmentation.py --config recipe:scenes_segmentation
    python scripts/train_segmentation.py --config recipe:scenes_segmentation --model.token_mixer identity \
        --run.folder runs/identity
    accelerate launch scripts/train_segmentation.py --config recipe:ade20k/poolformer_s12 \
        --data.root ADEChallengeData2016 --model.checkpoint poolformer_s12.pth.tar
    python scripts/train_segmentation.py --config recipe:ade20k/poolformer_s12 --data.name folder --data.root mine \
        --data.num_classes 7 --run.folder runs/mine

A run that was interrupted goes on when the same command is given again.
"""

from metaformer_nlp.config.command_line import main
from tasks.segmentation.options import SegmentationConfig

if __name__ == "__main__":
    main(SegmentationConfig, "tasks.segmentation.segmentation:run", __doc__)
