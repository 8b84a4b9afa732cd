"""Fine-tune a text encoder on GLUE's tasks, or on the embedded suite (topic, order, pairs) that needs no download.

    python scripts/finetune_glue.py --config recipe:suite
    python scripts/finetune_glue.py --config recipe:glue_tiny --data.root path/to/glue --data.tasks SST-2
    python scripts/finetune_glue.py --config recipe:glue --data.root path/to/glue \\
        --model.checkpoint runs/pretrain/model --seeds '[0, 1, 2]'
    python scripts/finetune_glue.py --config recipe:glue --data.root path/to/glue \\
        --model.checkpoint runs/pretrain/model --data.tasks '[MRPC, RTE]' --sweep.lr '[1e-4, 3e-4, 1e-3]'

Each task is a run of its own in <run.folder>/<task>, or <run.folder>/seed-<n>/<task> with --seeds; result.json in the
folder above has all metrics, the score of a constant answer, and the averages; predictions-*.tsv in a task's folder has
the answers on its dev set. What was interrupted goes on when the same command is given again.
"""

from metaformer_nlp.config.command_line import main
from tasks.glue.options import FinetuningConfig

if __name__ == "__main__":
    main(FinetuningConfig, "tasks.glue.finetuning:run", __doc__)
