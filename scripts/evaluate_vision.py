"""Accuracy of image classifiers: top-1, top-5, ReaL, for any checkpoint on any labelled images.

    python scripts/evaluate_vision.py --checkpoint runs/digits
    python scripts/evaluate_vision.py --checkpoint poolformer_s12=poolformer_s12.pth.tar --data.name folder \\
        --data.root path/to/imagenet --data.class_file imagenet --real_labels timm --output results.csv
    python scripts/evaluate_vision.py --checkpoint a.safetensors,timm/resmlp_12_224=b.pth --data.name folder \\
        --data.root path/to/imagenet/val --part all --data.class_file imagenet --data.image_size 256
    accelerate launch scripts/evaluate_vision.py --checkpoint runs/s12 --data.name folder --data.root path/to/imagenet

Size, crop, interpolation and normalisation are the model's own unless --data.image_size or --data.crop_pct is given.
The result does not depend on the number of processes.
"""

from metaformer_nlp.config.command_line import main
from tasks.images.options import EvaluationConfig

if __name__ == "__main__":
    main(EvaluationConfig, "tasks.images.evaluation:run", __doc__)
