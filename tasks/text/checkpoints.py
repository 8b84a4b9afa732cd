"""Folders of saved text models and tokenizers: opened with errors that say how to come by one, and written."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["given_tokenizer", "load_text_config", "load_tokenizer", "save_text_model"]


def given_tokenizer(tokenizer: str | None, checkpoint: str | None) -> PreTrainedTokenizerBase | None:
    """The tokenizer of ``data.tokenizer`` or, without that, of ``model.checkpoint``; None where neither is given."""
    if tokenizer is not None:
        return load_tokenizer(tokenizer, "data.tokenizer")
    return None if checkpoint is None else load_tokenizer(checkpoint, "model.checkpoint")


def load_tokenizer(folder: str, option: str) -> PreTrainedTokenizerBase:
    """The tokenizer in ``folder``; a ``ValueError`` names ``option`` if there is none, or one not of BERT's kind."""
    from transformers import AutoTokenizer

    _check_folder(folder, option)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
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


def save_text_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Model and tokenizer as the Auto classes and ``pipeline`` read them; without transformers' own progress bar."""
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


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
