"""Evaluate a masked language model on held-out text: masked loss, accuracy and pseudo-perplexity.

    python scripts/evaluate_text.py --model runs/pretrain_tiny --data.held_out 0.05
    python scripts/evaluate_text.py --model runs/pretrain/small --data.text corpus/valid.parquet --json runs/small.json
    python scripts/evaluate_text.py --model path/to/bert-base-uncased --data.text corpus/valid.parquet

Any folder that AutoModelForMaskedLM opens will do. The masked loss (15 % hidden at once) is what pre-training reports;
the pseudo-perplexity hides one token at a time and is the number of the literature. Only the bits per character, taken
over the same passages whatever the tokenizer, can be compared between models with different tokenizers.
"""

from metaformer_nlp.config.command_line import main
from tasks.text.options import EvaluationConfig

if __name__ == "__main__":
    main(EvaluationConfig, "tasks.text.evaluation:run", __doc__)
