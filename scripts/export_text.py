"""Export a trained text model: torch.export (.pt2) or ONNX (.onnx), for any batch and length, run and compared.

    python scripts/export_text.py --model runs/glue/RTE/model --output rte.pt2,rte.onnx

Takes input_ids, attention_mask and token_type_ids. Beside each file a .json names labels, special tokens and the
longest row; the tokenizer itself is the folder's tokenizer.json.
ONNX needs more libraries: pip install 'metaformer-nlp[export]'.
"""

from metaformer_nlp.config.command_line import main
from tasks.export.options import TextExportConfig

if __name__ == "__main__":
    main(TextExportConfig, "tasks.export.text:run", __doc__)
