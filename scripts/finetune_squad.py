"""Fine-tune a text encoder to answer questions by spans of a context: SQuAD 1.1, SQuAD 2.0, or files of their layout.

    python scripts/finetune_squad.py --config recipe:squad --data.train squad/train-v1.1.json \\
        --data.validation squad/dev-v1.1.json --model.checkpoint runs/pretrain/model
    python scripts/finetune_squad.py --config recipe:squad --data.train 'squad_v2/train-*.parquet' \\
        --data.validation 'squad_v2/validation-*.parquet' --model.checkpoint runs/pretrain/model

predictions-validation.json in the run's folder has the answers, as SQuAD's own evaluation script reads them. What was
interrupted goes on when the same command is given again.
"""

from metaformer_nlp.config.command_line import main
from tasks.squad.options import SquadConfig

if __name__ == "__main__":
    main(SquadConfig, "tasks.squad.finetuning:run", __doc__)
