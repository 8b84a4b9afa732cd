"""Where do image classifiers look? Grad-CAM pictures of several models side by side.

    python scripts/explain.py --checkpoint runs/cifar10 --images pictures/
    python scripts/explain.py --checkpoint poolformer_s12=s12.pth,timm/resmlp_24_224=resmlp.pth --images dog.jpg \\
        --output compared.png
    python scripts/explain.py --checkpoint runs/cifar10 --images dog.jpg --target dog --layer metaformer.stages.2

It needs one more library: pip install 'metaformer-nlp[explain]'.
"""

from metaformer_nlp.config.command_line import main
from tasks.images.options import ExplanationConfig

if __name__ == "__main__":
    main(ExplanationConfig, "tasks.images.explain:run", __doc__)
