"""Train a sentencepiece Unigram tokenizer on plain text and save it as a fast Hugging Face tokenizer.

    python scripts/train_tokenizer.py --folder runs/tokenizer
    python scripts/train_tokenizer.py --folder runs/tokenizer --data.text 'corpus/train-*.parquet' --vocab_size 16384
    python scripts/train_tokenizer.py --folder runs/bert --wordpiece_vocab path/to/vocab.txt --lowercase true

What it writes opens with AutoTokenizer, and --data.tokenizer of the other scripts takes it.
"""

from metaformer_nlp.config.command_line import main
from tasks.text.options import TokenizerConfig

if __name__ == "__main__":
    main(TokenizerConfig, "tasks.text.tokenizer:run", __doc__)
