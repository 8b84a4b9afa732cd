"""Pre-train a text encoder as a masked language model, on any text: files, the hub, or embedded English.

    python scripts/pretrain_text.py --config recipe:pretrain_tiny
    python scripts/pretrain_text.py --config recipe:pretrain_tiny --data.text 'corpus/train-*.parquet' \\
        --data.validation corpus/valid.parquet --run.folder runs/pretrain_corpus
    python scripts/pretrain_text.py --config recipe:pretrain/tiny --data.tokenizer runs/tokenizer \\
        --data.text 'corpus/*.jsonl.gz' --schedule.tokens 20_000_000
    accelerate launch scripts/pretrain_text.py --config recipe:pretrain/small --data.text my_texts/

The trained model lies in <run.folder>/model: finetune_glue.py starts from it with `--model.checkpoint`, and
`pipeline("fill-mask", ...)` opens it; evaluate_text.py tells its pseudo-perplexity. A run that was interrupted, also
while it tokenised, goes on when the same command is given again.
"""

from metaformer_nlp.config.command_line import main
from tasks.text.options import MaskedLMConfig

if __name__ == "__main__":
    main(MaskedLMConfig, "tasks.text.masked_lm:run", __doc__)
