"""Find text encoders that cost what a reference costs: as many parameters, multiply-accumulates or milliseconds.

    python scripts/match_cost.py
    python scripts/match_cost.py --mixers pooling,fourier --equal parameters,macs,time --threads 2
    python scripts/match_cost.py --model.hidden_size 512 --model.num_hidden_layers 8 --model.num_attention_heads 8 \
      --tokens 1e9 --output costs.csv

The options of a row go to pretrain_text.py or finetune_glue.py after the reference's, or into the arm of a study.
"""

from metaformer_nlp.config.command_line import main
from tasks.benchmark.options import CostTableConfig

if __name__ == "__main__":
    main(CostTableConfig, "tasks.benchmark.cost_table:run", __doc__)
