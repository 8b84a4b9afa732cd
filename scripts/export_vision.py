"""Export an image classifier or segmenter: torch.export (.pt2) or ONNX (.onnx), for any batch size, run and compared.

    python scripts/export_vision.py --checkpoint runs/digits --output digits.pt2,digits.onnx
    python scripts/export_vision.py --checkpoint poolformer_s12=poolformer_s12.pth.tar --output s12.onnx
    python scripts/export_vision.py --checkpoint runs/scenes_segmentation --output segmenter.pt2,segmenter.onnx

Beside each file a .json says how images are prepared and what the classes are called.
ONNX needs more libraries: pip install 'metaformer-nlp[export]'.
"""

from metaformer_nlp.config.command_line import main
from tasks.export.options import ImageExportConfig

if __name__ == "__main__":
    main(ImageExportConfig, "tasks.export.images:run", __doc__)
