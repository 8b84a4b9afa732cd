"""Folders of saved text models and tokenizers: opened with errors that say how to come by one, and written."""

from __future__ import annotations

import copy
import json
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from metaformer_nlp.errors import reading
from tasks.cache import short_hash

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "check_same_tokenizer",
    "given_tokenizer",
    "load_text_config",
    "load_text_model",
    "load_tokenizer",
    "save_text_model",
    "tokenizer_hash",
]

logger = logging.getLogger(__name__)

_HEADS = {"MaskedLM": "masked language model", "SequenceClassification": "text classifier"}
_TOKENIZER_FILES = ("tokenizer", "vocab", "spiece", "sentencepiece")  # how the names of all kinds begin
# Every kind of text that a tokenizer may treat in its own way: case, accents, numbers, blanks, signs, scripts.
_PROBE = (
    "The quick Brown fox's naïve Café, İstanbul: 3.14 % of 2,000 {x}…  “Straße” ﬁne\te-mail 日本語 한국어 עברית 😀 "
    "<0x41>."
)


def given_tokenizer(tokenizer: str | None, checkpoint: str | None) -> PreTrainedTokenizerBase | None:
    """The tokenizer of ``data.tokenizer`` or, without that, of ``model.checkpoint``; None where neither is given."""
    if tokenizer is not None:
        return load_tokenizer(tokenizer, "data.tokenizer")
    return None if checkpoint is None else load_tokenizer(checkpoint, "model.checkpoint")


def load_tokenizer(folder: str, option: str) -> PreTrainedTokenizerBase:
    """The tokenizer in ``folder``; a ``ValueError`` names ``option`` if there is none, or one not of BERT's kind, or
    another than the one that the model in the folder was saved with.
    """
    _check_folder(folder, option)
    tokenizer = _open_tokenizer(folder, option)
    config = Path(folder) / "config.json"
    if config.exists():
        with reading(config, "the configuration of a model", ValueError, AttributeError):
            saved = json.loads(config.read_text(encoding="utf-8")).get("tokenizer_hash")
        if saved is not None and saved != tokenizer_hash(tokenizer):
            raise ValueError(
                f"{option}={folder}: the tokenizer there is not the one that the model was saved with; its files were "
                f'changed. Put the model\'s own back or, if this is meant, take "tokenizer_hash" out of {config}'
            )
    return tokenizer


def _open_tokenizer(folder: str, option: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    if not any(file.name.startswith(_TOKENIZER_FILES) for file in Path(folder).iterdir()):
        # transformers would make one without words of a configuration alone
        raise ValueError(
            f"{option}={folder} holds no tokenizer that can be read: there is no tokenizer.json, vocab.txt"
        )
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # several classes, depending on which file is missing or broken
        raise ValueError(f"{option}={folder} holds no tokenizer that can be read: {error}") from error
    missing = [name for name in ("pad_token", "cls_token", "sep_token") if getattr(tokenizer, name) is None]
    if missing:
        raise ValueError(f"{option}={folder}: the tokenizer lacks {', '.join(missing)}; train one of BERT's kind")
    return tokenizer


def load_text_config(folder: str, option: str) -> PreTrainedConfig:
    """The configuration of the model in ``folder``; a ``ValueError`` names ``option`` if there is none."""
    from transformers import AutoConfig

    _check_folder(folder, option)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(folder)
    except Exception as error:  # as above
        raise ValueError(f"{option}={folder} holds no model that can be read: {error}") from error
    return config


def load_text_model(folder: str | Path, option: str, head: str) -> PreTrainedModel:
    """The model in ``folder`` in evaluation mode, with the head that transformers calls ``head``: MaskedLM or
    SequenceClassification.

    Raises:
        ValueError: a folder without such a model; it names ``option``.
    """
    import torch
    import transformers

    auto_class = getattr(transformers, f"AutoModelFor{head}")
    with reading(folder, "the folder of a model", Exception):
        model, info = auto_class.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
        )
    if info["missing_keys"]:
        raise ValueError(
            f"{option}={folder} is no {_HEADS[head]}: it lacks {', '.join(sorted(info['missing_keys']))}. Give the "
            "folder of a model that was trained as one"
        )
    opened: PreTrainedModel = model.eval()
    return opened


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """16 hexadecimal digits that name what a model knows of its tokenizer: the piece of each id, the special tokens,
    and how a text with all kinds of characters is cut. No library's way of writing a tokenizer to a file matters.
    """
    special = [getattr(tokenizer, f"{name}_token_id") for name in ("pad", "unk", "cls", "sep", "mask")]
    cut = tokenizer(_PROBE, _PROBE, truncation=False, verbose=False)["input_ids"]
    return short_hash(sorted(tokenizer.get_vocab().items()), special, cut)


def check_same_tokenizer(tokenizer: PreTrainedTokenizerBase, saved: PreTrainedConfig, folder: str) -> None:
    """Raise a ValueError unless ``tokenizer`` is that of the model in ``folder``, whose configuration is ``saved``."""
    given, known = tokenizer_hash(tokenizer), getattr(saved, "tokenizer_hash", None)
    if given == known:
        return
    own = None
    if Path(folder).is_dir():  # else it is made by a run that is only planned
        try:
            own = _open_tokenizer(folder, "model.checkpoint")
        except ValueError as error:
            if known is None:
                logger.warning("the given tokenizer cannot be compared with that of the model: %s", error)
    if own is None and known is None:
        return
    if own is not None and tokenizer_hash(own) == given:
        if known is None:
            return
        load_tokenizer(folder, "model.checkpoint")  # raises: it is not the model's
    raise ValueError(
        f"the tokenizer is another than that of model.checkpoint={folder}: {_difference(own, tokenizer)}; leave "
        "data.tokenizer out, so that the one saved with the checkpoint is taken"
    )


def _difference(own: PreTrainedTokenizerBase | None, given: PreTrainedTokenizerBase) -> str:
    if own is None:
        return "the hash in its config.json is not that of the given one"
    one, other = ({number: piece for piece, number in it.get_vocab().items()} for it in (own, given))
    differing = [number for number in sorted(one.keys() | other.keys()) if one.get(number) != other.get(number)]
    if not differing:
        return "all pieces are the same, but special tokens, or how a text is cut (such as lower case), are not"
    first = differing[0]
    return (
        f"{len(differing):,} of {len(one):,} pieces differ, the first is number {first}: {one.get(first)!r} in the "
        f"checkpoint, {other.get(first)!r} given"
    )


def save_text_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Model and tokenizer as the Auto classes and ``pipeline`` read them; without transformers' own progress bar.

    The tokenizer is saved with the length of the model, so that ``truncation=True`` cuts to what it takes; the model
    with the tokenizer's hash, by which another one is recognised.
    """
    from transformers.utils import logging as transformers_logging

    model.config.tokenizer_hash = tokenizer_hash(tokenizer)
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.model_max_length = _longest(model, tokenizer.model_max_length)
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _longest(model: PreTrainedModel, known: int) -> int:
    """The longest text that a model takes, in tokens; ``known`` is what its tokenizer says."""
    longest = getattr(model.config, "max_position_embeddings", known)
    if model.config.model_type == "metaformer_text":
        return int(longest)
    for name, module in model.named_modules():  # RoBERTa's kind counts positions from behind that of padding
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            longest -= int(module.padding_idx) + 1
    return int(min(longest, known))


def _check_folder(folder: str, option: str) -> None:
    """Raise a ValueError that says where such a folder comes from, unless ``folder`` is one."""
    path = Path(folder)
    if not path.is_dir():
        raise ValueError(f"{option}={folder} is not a folder (looked in {Path.cwd()}); {_made_by(path, option)}")
    if not (path / "config.json").is_file() and (path / "model" / "config.json").is_file():
        raise ValueError(f"{option}={folder} is the folder of a run; its model lies in {path / 'model'}")


def _made_by(path: Path, option: str) -> str:
    """The command that makes what ``option`` names, with the user's own folder where it can be kept."""
    if option.endswith("tokenizer"):
        return (
            f"`python scripts/train_tokenizer.py --folder {shlex.quote(str(path))} --data.text TEXT` makes one "
            "(docs/text.md); without this option there is one, too: the checkpoint's, or one that the run makes"
        )
    if option == "mnli_checkpoint":
        return (
            "give the folder of a model of MNLI: `python scripts/finetune_glue.py --config recipe:glue "
            "--data.root GLUE --data.tasks MNLI --run.folder runs/glue` makes runs/glue/MNLI/model; or say own"
        )
    run = path.parent if path.name == "model" and path.parent.name else Path("runs/pretrain")
    return (
        "give the folder of a saved model: `python scripts/pretrain_text.py --config "
        f"recipe:pretrain_tiny --run.folder {shlex.quote(str(run))}` makes {run / 'model'}, with the "
        "mixer of that recipe (another one: --model.token_mixer; docs/text.md)"
    )
