"""Option groups of question answering on SQuAD, without the libraries that run it."""

from dataclasses import dataclass, field

from tasks.text.model import TextModelConfig
from tasks.training import TrainingConfig

__all__ = ["SquadConfig", "SquadDataConfig"]


@dataclass(frozen=True)
class SquadDataConfig:
    """Questions with their contexts, and how these become windows of tokens."""

    train: str
    """SQuAD's train-v1.1.json or train-v2.0.json, another file of this layout, or the hub's parquet files, such as
    'squad/train-*.parquet'."""
    validation: str
    """The questions to measure on, in one of the same forms."""
    max_length: int = 384
    """Tokens of a window: question, as much of the context as there is room for, special tokens."""
    overlap: int = 128
    """Tokens of context that a window shares with the one before. Longer answers may be whole in no window."""
    max_answer_length: int = 30
    """Tokens of the longest answer that is given."""
    tokenizer: str | None = None
    """Folder of a saved tokenizer. null: the checkpoint's; if there is none, one is trained on the training texts."""
    vocab_size: int = 8192
    """Size of a tokenizer that is trained here."""

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.max_length or self.max_answer_length < 1:
            raise ValueError(
                f"data.overlap is {self.overlap} and data.max_length {self.max_length}; overlap must be at least 0 and "
                f"smaller. data.max_answer_length is {self.max_answer_length}; it must be at least 1"
            )


@dataclass(frozen=True)
class SquadConfig(TrainingConfig):
    """Fine-tune (or train from nothing) a text encoder to answer questions by spans of a context."""

    data: SquadDataConfig
    model: TextModelConfig = field(default_factory=TextModelConfig)
