"""Option groups of the benchmarks, without the libraries that are measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from metaformer_nlp.config.names import split_names
from tasks.text.model import TextModelConfig

__all__ = [
    "ARITHMETIC",
    "KNOBS",
    "SCALES",
    "CostTableConfig",
    "GrowthConfig",
    "ImageBenchmarkConfig",
    "Knob",
    "Options",
    "PackingBenchmarkConfig",
    "Scale",
    "ScaleOutConfig",
    "SpeedConfig",
    "TextBenchmarkConfig",
    "described",
    "model_specs",
    "split_switches",
]

ARITHMETIC: dict[str, tuple[str, str | None]] = {
    "float32": ("float32", None),
    "bfloat16": ("bfloat16", None),
    "float16": ("float16", None),
    "amp_bfloat16": ("float32", "bfloat16"),
    "amp_float16": ("float32", "float16"),
}
"""Torch's types of weights and inputs, and what autocast turns products into (None: no autocast)."""
TEXT_SWITCHES = ("compile",)
Scale = Literal["parameters", "macs", "time"]
Knob = Literal["num_hidden_layers", "intermediate_size"]
SCALES: tuple[Scale, ...] = ("parameters", "macs", "time")
KNOBS: dict[Knob, int] = {"num_hidden_layers": 1, "intermediate_size": 8}
"""What may be changed, and the multiples that it is changed by: tensor cores like widths that 8 divides."""


@dataclass(frozen=True)
class Options:
    """How models are measured."""

    mode: Literal["inference", "training", "both"] = "inference"
    """training: forward, loss, backward and an AdamW step."""
    precision: str | list[str] = "float32"
    """float32; bfloat16 or float16: weights and inputs in that type; amp_bfloat16 or amp_float16: float32 weights under
    autocast, as trainers do (float16 training with a gradient scaler). Several, separated by commas, are measured one
    by one."""
    rounds: int = 7
    """How often the models take turns."""
    steps: int = 3
    """Measured steps of a model in a turn, after one that is not."""
    warmup: int = 3
    """Steps before all measuring; torch.compile compiles in them."""
    device: str | None = None
    """cpu, cuda, cuda:1, ...; null: cuda where there is one."""
    threads: int | None = None
    """CPU threads; null: torch's choice."""
    output: str | None = None
    """File for the results, .csv or .json; null: only the screen."""
    plugins: list[str] = field(default_factory=list)
    """Python files or modules to import first, such as one that registers a token mixer."""

    def __post_init__(self) -> None:
        self.check_counts("rounds", "steps", "warmup", "threads")
        for precision in split_names(self.precision):
            if precision not in ARITHMETIC:
                raise ValueError(f"precision {precision}: must be one of {', '.join(ARITHMETIC)}")
        check_output(self.output)

    def check_counts(self, *names: str) -> None:
        """A ``ValueError`` for an option of these that is neither null nor at least 1."""
        for name in names:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} {value}: must be at least 1")

    def settings(self) -> list[tuple[str, str]]:
        """Every mode with every precision."""
        modes = ("inference", "training") if self.mode == "both" else (self.mode,)
        return [(mode, precision) for mode in modes for precision in split_names(self.precision)]


def check_output(path: str | None) -> None:
    """A ``ValueError`` for the name of a file that is no table."""
    if path is not None and Path(path).suffix not in (".csv", ".json"):
        raise ValueError(f"output {path}: must end with .csv or .json")


def split_switches(spec: str, allowed: Sequence[str]) -> tuple[str, list[str]]:
    """``"name+compile"`` -> ``("name", ["compile"])``; ValueError for a switch that is not ``allowed``."""
    name, *switches = spec.split("+")
    for switch in switches:
        if switch not in allowed:
            raise ValueError(f"{spec}: unknown switch +{switch}; there are {', '.join('+' + s for s in allowed)}")
    return name, switches


@dataclass(frozen=True)
class ImageBenchmarkConfig(Options):
    """Time image models against each other."""

    models: str | list[str] = (
        "poolformer_s12,timm/poolformer_s12,timm/poolformer_s12+channels_last,transformers/poolformer_s12,"
        "limit/poolformer_s12,mixers/poolformer_s12,copies/poolformer_s12"
    )
    """Names, separated by commas (or a list): a row of vision/variants.py, timm/NAME for any model of timm,
    transformers/NAME for transformers' PoolFormer of that row. limit/NAME: the matrix products of a row's layers alone,
    which no model with these layers can be faster than; mixers/NAME: its token mixers alone; copies/NAME: a copy in the
    place of each mixer. "+channels_last" and "+compile" after a name run it in that memory format and through
    torch.compile. The first one is what the others are compared with."""
    batch_size: int = 8
    """Images a step. 1 gives the latency of a single image."""
    image_size: int | None = None
    """Pixels of the side; null: each model's own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_counts("batch_size", "image_size")


@dataclass(frozen=True)
class TextBenchmarkConfig(Options):
    """Time text encoders against each other."""

    models: str | list[Any] = (
        "pooling,transformers/bert,transformers/fnet,transformers/modernbert,limit/pooling,mixers/pooling,"
        "copies/pooling"
    )
    """Names, separated by commas: a token mixer for our encoder, or transformers/bert, transformers/fnet,
    transformers/modernbert; limit/MIXER for the matrix products of our encoder alone, mixers/MIXER for its token mixers
    alone, copies/MIXER for a copy in the place of each; "+compile" after a name runs it through torch.compile. Or a
    list, in which a mapping gives fields of our configuration: [pooling, {token_mixer:
    pooling, num_hidden_layers: 18}]. The first model is what the others are compared with."""
    shapes: str | list[str] = "8x128,1x2048"
    """Rows and slots of a row of a step, each pair measured by itself."""
    padding: float | None = 0.0
    """Share of every other row that is padding. 0: models are given a mask that says all tokens are real, as
    tokenizers do; null: no mask."""
    dropout: Literal["none", "default"] = "none"
    """default: in training every model drops what it drops by default: ours, BERT and FNet a tenth, ModernBERT
    nothing."""
    hidden_size: int = 768
    """Channels of a token; heads have 64 each."""
    num_hidden_layers: int = 12
    """Blocks."""
    vocab_size: int = 30522
    """Tokens that are known; BERT's number."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_counts("hidden_size", "num_hidden_layers", "vocab_size")
        if self.padding is not None and not 0 <= self.padding < 1:
            raise ValueError(f"padding {self.padding}: must be a share from 0 to less than 1, or null for no mask")
        self.pairs()
        model_specs(self.models)

    def pairs(self) -> list[tuple[int, int]]:
        """``shapes`` as numbers: (B, L)."""
        found = []
        for shape in split_names(self.shapes):
            rows, times, slots = shape.partition("x")
            if not (times and rows.isdecimal() and slots.isdecimal() and int(rows) and int(slots)):
                raise ValueError(f"shapes {shape}: must be ROWSxSLOTS, such as 8x128, both at least 1")
            found.append((int(rows), int(slots)))
        return found


def model_specs(models: str | list[Any]) -> dict[str, tuple[dict[str, Any], list[str]]]:
    """The name in the results -> the fields of the configuration, with ``token_mixer``, and the switches.

    Raises:
        ValueError: nothing is listed, or a switch is unknown.
    """
    found: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for spec in models if isinstance(models, list) else split_names(models):
        if isinstance(spec, Mapping):
            fields: dict[str, Any] = {"token_mixer": "pooling", **spec}
            found[described(fields)] = fields, ["compile"] if fields.pop("compile", False) else []
        else:
            name, switches = split_switches(str(spec).strip(), TEXT_SWITCHES)
            found[str(spec).strip()] = {"token_mixer": name}, switches
    if not found:
        raise ValueError("models: an empty list; give at least one")
    return found


def described(fields: Mapping[str, Any]) -> str:
    """``{"token_mixer": "pooling", "num_hidden_layers": 18}`` -> ``pooling num_hidden_layers=18``."""
    mixer = fields["token_mixer"]
    options = {key: value for key, value in fields.items() if key != "token_mixer"}
    if isinstance(mixer, Mapping):
        options = {**{key: value for key, value in mixer.items() if key != "name"}, **options}
        mixer = mixer.get("name")
    if isinstance(mixer, list):
        mixer = ", ".join(map(str, mixer))
    return " ".join([str(mixer), *(f"{key}={value}" for key, value in options.items())])


@dataclass(frozen=True)
class PackingBenchmarkConfig(Options):
    """Time packed rows against padded ones."""

    models: str | list[Any] = "pooling,attention"
    """Token mixers, separated by commas, or a list, in which a mapping gives fields of the configuration:
    [pooling, {token_mixer: pooling, pool_size: [3, 7, 15, 31]}]."""
    task: Literal["masked_lm", "classification"] = "masked_lm"
    """What is computed: pre-training on documents of these lengths, or fine-tuning on rows of these lengths."""
    examples: int = 64
    """Examples of a step."""
    slots: int = 128
    """Slots of a row; longer examples are cut."""
    lengths_from: str | None = None
    """Folder of a task of GLUE, such as path/to/glue/SST-2, whose training rows are counted. null: SST-2's lengths,
    which were counted before."""
    tokenizer: str | None = None
    """Folder of a saved tokenizer for lengths_from. null: one of vocab_size is trained on the training rows."""
    hidden_size: int = 256
    """Channels of a token; heads have 32 each."""
    num_hidden_layers: int = 4
    """Blocks."""
    vocab_size: int = 8192
    """Tokens that are known."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_counts("examples", "slots", "hidden_size", "num_hidden_layers", "vocab_size")
        model_specs(self.models)


@dataclass(frozen=True)
class LoopBenchmarkConfig:
    """Time the training loop beside others."""

    batch_size: int = 16
    """Rows of a step."""
    length: int = 64
    """Tokens of a row."""
    hidden_size: int = 128
    """Channels of a token. The gradient's norm is counted as the loop's, and grows with the number of weights."""
    num_hidden_layers: int = 6
    """Blocks."""
    steps: int = 40
    """Measured steps of a loop in a round."""
    rounds: int = 3
    """Times that each loop trains; they take turns."""
    threads: int | None = None
    """CPU threads; null: torch's choice."""
    output: str | None = None
    """File for the results, .csv or .json; null: only the screen."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "length", "hidden_size", "num_hidden_layers", "steps", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: must be at least 1")
        check_output(self.output)


@dataclass(frozen=True)
class CostTableConfig(Options):
    """Find text encoders that cost what a reference costs."""

    model: TextModelConfig = field(
        default_factory=lambda: TextModelConfig(
            token_mixer="attention", hidden_size=768, num_hidden_layers=12, num_attention_heads=12
        )
    )
    """The reference."""
    mixers: str | list[Any] | None = None
    """Mixers to match with it: names, separated by commas, or a list of what model.token_mixer may be. null: every
    mixer for text but the reference's."""
    equal: str | list[str] = "parameters,macs"
    """What is to be equal, separated by commas: parameters, macs, time. With time every model is measured."""
    change: str | list[str] = "num_hidden_layers,intermediate_size"
    """What is changed for it, one by one: num_hidden_layers, intermediate_size (in eights)."""
    length: int = 128
    """Tokens of a row."""
    vocab_size: int = 32768
    """Tokens that are known."""
    tokens: float | None = None
    """Tokens of a training run, whose hours are to be calculated. null: no hours."""
    mode: Literal["inference", "training"] = "training"
    """What is timed: forward alone, or a whole training step of the encoder, with AdamW."""
    batch_size: int = 8
    """Rows of a step that is timed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_counts("length", "vocab_size", "batch_size", "tokens")
        if len(self.settings()) != 1:
            raise ValueError(f"precision {self.precision}: one at a time")
        for option, allowed in (("equal", SCALES), ("change", tuple(KNOBS))):
            for name in split_names(getattr(self, option)):
                if name not in allowed:
                    raise ValueError(f"{option} {name}: must be one of {', '.join(allowed)}")
        if self.model.checkpoint is not None:
            raise ValueError("model.checkpoint: the reference is a fresh model; give its fields")


@dataclass(frozen=True)
class SpeedConfig:
    """Measure how many images a second one processor core prepares, here and in timm."""

    root: str
    """Image folder, with train/ or with one folder a class."""
    image_size: int = 224
    """Pixels of the side that the model sees."""
    crop_pct: float = 0.9
    """Evaluation: share of the resized image that the central crop keeps."""
    images: int = 90
    """Images of the training part to use, a fixed random choice; at most as many as there are."""
    batch_size: int = 30
    """Images of a batch."""
    rounds: int = 7
    """How often each pipeline prepares each image."""
    output: str | None = None
    """File for the results, .csv or .json; null: only the screen."""

    def __post_init__(self) -> None:
        for name in ("images", "batch_size", "rounds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}: must be at least 1")
        check_output(self.output)


@dataclass(frozen=True)
class ScaleOutConfig:
    """Calculate what training on many GPUs is to reach."""

    gpu: Literal["A100", "H100"] = "H100"
    """Whose peak in bfloat16 is taken."""
    utilisation: float = 0.4
    """Share of the peak that one GPU alone reaches."""
    gpus: list[int] = field(default_factory=lambda: [8, 64, 512])
    """Numbers of GPUs, eight a node."""
    processes: int = 1
    """Processes of this machine's CPU, one thread each, whose efficiency is measured, too; 1: none."""
    steps: int = 10
    """Measured steps of each kind."""
    output: str | None = None
    """File for the results, .csv or .json; null: only the screen."""

    def __post_init__(self) -> None:
        if not 0 < self.utilisation <= 1:
            raise ValueError(f"utilisation {self.utilisation}: must be a share, above 0 and at most 1")
        for name, number in (("processes", self.processes), ("steps", self.steps), *(("gpus", n) for n in self.gpus)):
            if number < 1:
                raise ValueError(f"{name} {number}: must be at least 1")
        check_output(self.output)


@dataclass(frozen=True)
class GrowthConfig:
    """Measure how time and memory grow with the number of tokens."""

    mode: Literal["inference", "training"] = "inference"
    """training: forward and backward pass."""
    longest: int = 65536
    """Tokens of the longest text; the shortest has 128, each the double of the one before."""
    largest: int = 1792
    """Pixels of the side of the largest image; the smallest has 224, each side is the double of the one before."""
    hidden_size: int = 128
    """Channels of a token of the text encoder; heads have 64 each."""
    num_hidden_layers: int = 2
    """Blocks of the text encoder."""
    document: int | None = None
    """Tokens of each document that is packed into a text; null: each text is one document, under a padding mask."""
    steps: int = 3
    """Measured steps of a point."""
    seconds: float = 30.0
    """A point that would take longer is not measured, nor are the larger ones."""
    output: str | None = None
    """File for the results, .csv or .json; null: only the screen."""
    plot: str | None = None
    """Picture to write, such as growth.svg; null: none."""

    def __post_init__(self) -> None:
        for name in ("longest", "largest", "hidden_size", "num_hidden_layers", "document", "steps", "seconds"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} {value}: must be above 0")
        check_output(self.output)

    def doublings(self) -> tuple[list[int], list[int]]:
        """Lengths of texts and sides of images, rising."""
        lengths, sides = ([start << n for n in range(24)] for start in (128, 224))
        return [size for size in lengths if size <= self.longest], [size for size in sides if size <= self.largest]
