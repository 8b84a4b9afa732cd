"""Option groups of the experiments with text and of their tools, without the libraries that run them."""

from dataclasses import dataclass, field
from typing import Literal

from tasks.text.model import TextModelConfig
from tasks.text.sources import DocumentUnit
from tasks.training import TrainingConfig

__all__ = [
    "DataConfig",
    "EvaluationConfig",
    "EvaluationDataConfig",
    "MaskedLMConfig",
    "MaskingConfig",
    "TokenizerConfig",
    "TokenizerDataConfig",
]


@dataclass(frozen=True)
class DataConfig:
    """The text, and how it becomes rows of tokens."""

    text: str | list[str] = "english"
    """english (embedded: the documentation of Python), a .txt, .jsonl (also .gz, .zst) or .parquet file, a folder with
    some, a pattern such as 'corpus/train-*.parquet', a data set of the hub as hub:NAME[:CONFIG][@SPLIT], such as
    hub:allenai/c4:en, or a list of these. It is tokenised once, into the cache ($METAFORMER_CACHE)."""
    max_documents: int | None = None
    """The first so many documents of `text` are used; what is taken of a stream. null: all."""
    validation: str | list[str] | None = None
    """Held-out text of its own, named in the same way. null: a part of `text` is held out."""
    held_out: float = 0.05
    """Share of the documents of `text` that is held out if `validation` is null; by a document's number."""
    column: str = "text"
    """Parquet, JSON and hub: the column with the text."""
    unit: DocumentUnit = "paragraph"
    """.txt files: what a document is: paragraph (blank lines between), line, or file."""
    max_length: int = 128
    """Slots of a row; longer documents are cut into pieces, short ones share a row."""
    tokenizer: str | None = None
    """Folder of a saved tokenizer. null: the checkpoint's; if there is none, one is trained on the text."""
    vocab_size: int = 8192
    """Size of a tokenizer that is trained here."""
    lowercase: bool | None = None
    """Whether a tokenizer that is trained here folds case, so that a small vocabulary holds more words."""


@dataclass(frozen=True)
class MaskingConfig:
    """What is hidden in training. Evaluation hides 15 % of the tokens, of which 80 % become [MASK] and 10 % another
    token."""

    rate: float = 0.3
    """Share of the tokens to be predicted."""
    mask_share: float = 0.8
    """Share of these that are replaced by [MASK]; 1, with a random_share of 0, makes all of them [MASK]."""
    random_share: float = 0.1
    """Share of these that are replaced by another token; the others stay as they are."""
    whole_words: bool = False
    """Hide words and not pieces of them: all tokens of a word, in the same way. The rate stays that of the tokens."""

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise ValueError(f"masking.rate is {self.rate}; it must be above 0 and at most 1")
        if min(self.mask_share, self.random_share) < 0 or self.mask_share + self.random_share > 1 + 1e-9:
            raise ValueError(
                f"masking.mask_share {self.mask_share} and masking.random_share {self.random_share} are shares of the "
                "same tokens: both at least 0, together at most 1"
            )


@dataclass(frozen=True)
class MaskedLMConfig(TrainingConfig):
    """Pre-train a text encoder as a masked language model."""

    model: TextModelConfig = field(default_factory=TextModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    decoder_bias: Literal["log_frequency"] | None = None
    """Where the bias of a fresh decoder starts: log_frequency (of the tokens in the training text), so that nothing has
    to be learned to know which tokens are frequent. null: zeros."""

    def __post_init__(self) -> None:
        if self.decoder_bias is not None and self.model.checkpoint is not None:
            raise ValueError(
                f"decoder_bias={self.decoder_bias} is for fresh weights, but model.checkpoint={self.model.checkpoint} "
                "has a decoder with a bias of its own; leave decoder_bias out (null)"
            )


@dataclass(frozen=True)
class EvaluationDataConfig:
    """The text; as for scripts/pretrain_text.py."""

    text: str | list[str] = "english"
    """english (embedded), a .txt, .jsonl (also .gz, .zst) or .parquet file, a folder, a pattern, hub:NAME, or a list of
    these."""
    max_documents: int | None = None
    """The first so many documents are used. null: all."""
    held_out: float = 0.0
    """Only the documents that scripts/pretrain_text.py holds out of this text with the same number. 0: all."""
    column: str = "text"
    """Parquet, JSON and hub: the column with the text."""
    unit: DocumentUnit = "paragraph"
    """.txt files: what a document is: paragraph (blank lines between), line, or file."""
    max_length: int = 128
    """Longest piece in tokens; longer documents are cut. The number of pre-training gives its masked loss."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluate a masked language model."""

    model: str
    """A finished run of scripts/pretrain_text.py, or a folder that AutoModelForMaskedLM opens, with its tokenizer."""
    data: EvaluationDataConfig = field(default_factory=EvaluationDataConfig)
    pseudo_characters: int = 40_000
    """Characters of text that the pseudo-perplexity is taken over, in passages drawn once and for all; 0: it is left
    out. Each token of them costs a forward pass of its piece."""
    batch_tokens: int = 4096
    """Tokens in a batch."""
    json: str | None = None
    """File to write the numbers to."""
    plugins: list[str] = field(default_factory=list)
    """Python files or modules to import first, such as one that registers a token mixer."""

    def __post_init__(self) -> None:
        if self.pseudo_characters < 0 or self.batch_tokens < 1 or not 0 <= self.data.held_out < 1:
            raise ValueError(
                f"pseudo_characters {self.pseudo_characters} must be at least 0, batch_tokens {self.batch_tokens} "
                f"at least 1, data.held_out {self.data.held_out} at least 0 and below 1"
            )


@dataclass(frozen=True)
class TokenizerDataConfig:
    """The text that the pieces are learned from."""

    text: str | list[str] = "english"
    """english (embedded: the documentation of Python), a .txt, .jsonl (also .gz, .zst) or .parquet file, a folder with
    some, a pattern such as 'corpus/train-*.parquet', a data set of the hub as hub:NAME[:CONFIG][@SPLIT], or a list of
    these."""
    column: str = "text"
    """Parquet, JSON and hub: the column with the text."""
    unit: DocumentUnit = "paragraph"
    """.txt files: what a document is: paragraph (blank lines between), line, or file."""
    held_out: float = 0.05
    """Share of the documents that is left out: those that scripts/pretrain_text.py holds out with the same number."""
    max_documents: int | None = None
    """The first so many documents are used. null: all."""
    max_characters: int = 50_000_000
    """Read at most so many characters. Time and memory grow with them (about 2.5 GB for 50 million)."""


@dataclass(frozen=True)
class TokenizerConfig:
    """Train a tokenizer."""

    folder: str
    """Where the tokenizer is saved; a new or empty folder."""
    data: TokenizerDataConfig = field(default_factory=TokenizerDataConfig)
    vocab_size: int = 8192
    """Pieces in all, special tokens and 256 bytes included; 8192 to 50000 are usual."""
    lowercase: bool = False
    """Fold case before the text is cut into pieces."""
    character_coverage: float = 0.9995
    """Share of the characters of the text that get a piece of their own; the others are spelled as bytes."""
    max_length: int = 512
    """Length at which truncation=True cuts, special tokens included."""
    wordpiece_vocab: str | None = None
    """A vocab.txt of BERT's kind: nothing is trained, it is wrapped as it is; only lowercase and max_length matter."""
