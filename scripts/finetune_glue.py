"""Fine-tune a text encoder on GLUE's tasks, or on the embedded suite (topic, order, pairs) that needs no download.

    python scripts/finetune_glue.py --config scripts/recipes/suite.yaml
    python scripts/finetune_glue.py --config scripts/recipes/glue_tiny.yaml --data.root path/to/glue --data.tasks SST-2
    python scripts/finetune_glue.py --config scripts/recipes/glue_tiny.yaml --data.root path/to/glue --data.tasks all \\
        --model.checkpoint runs/pretrain_tiny/model --run.folder runs/glue

Each task is a run of its own in <run.folder>/<task>; result.json in run.folder has all metrics, the score of a constant
answer, and the averages. What was interrupted goes on when the same command is given again.
"""

from tasks.cli import main
from tasks.glue_finetuning import Config, run

if __name__ == "__main__":
    main(Config, run, __doc__)
