"""Time text encoders against each other: ours with any token mixers beside transformers' BERT, FNet and ModernBERT.

    python scripts/benchmark_text.py
    python scripts/benchmark_text.py --models pooling,attention,pooling+compile,transformers/bert --mode training
    python scripts/benchmark_text.py --models '[pooling, {token_mixer: pooling, num_hidden_layers: 18}]' --threads 2
    python scripts/benchmark_text.py --device cuda --shapes 256x128,16x2048 --precision float32,amp_bfloat16,bfloat16 \
      --mode both --models pooling,pooling+compile,transformers/bert,transformers/bert+compile --output results.csv

Same depth, width, vocabulary and heads for all; weights are random, nothing is downloaded. All compute the last hidden
states of every token, without pooler or head. FNet takes no mask. Packed rows: benchmark_packing.py.
"""

from metaformer_nlp.config.command_line import main
from tasks.benchmark.options import TextBenchmarkConfig

if __name__ == "__main__":
    main(TextBenchmarkConfig, "tasks.benchmark.text:run", __doc__)
