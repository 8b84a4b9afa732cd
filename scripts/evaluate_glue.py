"""GLUE's table of fine-tuned models over seeds, and the submission for its server.

    python scripts/evaluate_glue.py --runs runs/glue --csv runs/glue.csv
    python scripts/evaluate_glue.py --runs runs/a,runs/b --root path/to/glue --submission runs/glue.zip

Each folder is a finished run of scripts/finetune_glue.py: of one seed, any tasks, or over several seeds. Tasks without
a model get a constant answer in the submission, since the server takes all eleven files or none, and the output says
which.
"""

from metaformer_nlp.config.command_line import main
from tasks.glue.evaluation import Config

if __name__ == "__main__":
    main(Config, "tasks.glue.evaluation:run", __doc__)
