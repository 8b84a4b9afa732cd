"""Pre-train a text encoder as a masked language model, on text files, parquet or the embedded English.

    python scripts/pretrain_text.py --config scripts/recipes/pretrain_tiny.yaml
    python scripts/pretrain_text.py --config scripts/recipes/pretrain_tiny.yaml --data.text 'corpus/train-*.parquet' \\
        --data.validation corpus/valid.parquet --run.folder runs/pretrain_corpus
    accelerate launch scripts/pretrain_text.py --config my_recipe.yaml --data.text my_texts/

The trained model lies in <run.folder>/model: finetune_glue.py starts from it with `--model.checkpoint`, and
`pipeline("fill-mask", ...)` opens it. A run that was interrupted goes on when the same command is given again.
"""

from tasks.cli import main
from tasks.masked_lm import Config, run

if __name__ == "__main__":
    main(Config, run, __doc__)
