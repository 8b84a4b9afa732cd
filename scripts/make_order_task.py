"""Make the task `order` (were two neighbouring words swapped?) from any text, in GLUE's layout.

    python scripts/make_order_task.py --folder data/order --data.text 'corpus/valid-*.parquet'
    python scripts/finetune_glue.py --config recipe:glue --data.root data/order --data.tasks '[order]' \\
        --model.checkpoint runs/pretrain/model --run.folder runs/order

A bag of words is at 50 % exactly. Use text of the pre-training's kind that was held out of it.
"""

from metaformer_nlp.config.command_line import main
from tasks.glue.order import Config

if __name__ == "__main__":
    main(Config, "tasks.glue.order:run", __doc__)
