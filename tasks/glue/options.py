"""Option groups of fine-tuning on GLUE, without the libraries that run it."""

from dataclasses import dataclass, field

from tasks.glue.sweep import SweepConfig
from tasks.text.model import TextModelConfig
from tasks.training import TrainingConfig

__all__ = ["DataConfig", "FinetuningConfig"]


@dataclass(frozen=True)
class DataConfig:
    """Which tasks, where their rows come from, and how they become tokens."""

    tasks: str | list[str] = "suite"
    """suite (embedded: topic, order, pairs), all (every task that is whole under root; without root, GLUE from the
    hub), a task's name (CoLA, SST-2, MRPC, STS-B, QQP, MNLI, QNLI, RTE, WNLI, topic, order, pairs), or a list."""
    root: str | None = None
    """Folder in GLUE's layout, with SST-2/train.tsv and so on, or in the hub's, with sst2/train-*.parquet. null: GLUE's
    tasks are read from the hub."""
    max_length: int = 128
    """Longest row in tokens, special tokens included; longer ones are cut and counted."""
    tokenizer: str | None = None
    """Folder of a saved tokenizer. null: the checkpoint's; if there is none, one is trained on the training texts and
    on the embedded English, which is Python's own documentation and differs a little between its versions."""
    vocab_size: int = 8192
    """Size of a tokenizer that is trained here."""
    max_train_rows: int | None = None
    """Train on this many rows, the first of a fixed shuffle. null: all."""
    held_out: float | None = None
    """Measure on this share of the training rows, as the split held_out, and train on the others; the dev set plays no
    role. For choosing settings. null: measure on the dev set."""


@dataclass(frozen=True)
class FinetuningConfig(TrainingConfig):
    """Fine-tune (or train from nothing) a text encoder on one or several tasks."""

    model: TextModelConfig = field(default_factory=TextModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    seeds: list[int] | None = None
    """Run all tasks with each of these seeds, in <run.folder>/seed-<n>. null: run.seed alone, in run.folder itself."""
    sweep: SweepConfig = field(default_factory=SweepConfig)
    mnli_checkpoint: str | None = None
    """Train MRPC, STS-B and RTE a second time, from the encoder of a model that was fine-tuned on MNLI: its folder,
    such as runs/glue/MNLI/model, or own for that of the same seed, if MNLI is among the tasks. Results are called
    RTE-from-MNLI and so on and are in no average of the others. null: not."""

    def __post_init__(self) -> None:
        if self.seeds is not None and (not self.seeds or len(set(self.seeds)) < len(self.seeds)):
            raise ValueError(f"seeds is {self.seeds}; give different numbers, or null for run.seed alone")
        if self.sweep.epochs is not None and self.schedule.epochs is None:
            raise ValueError("sweep.epochs needs schedule.epochs; the schedule is counted in something else")
