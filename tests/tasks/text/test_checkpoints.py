"""A folder that is not there: the error has the command that makes one, and that command is right."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from metaformer_nlp.config.command_line import parse
from metaformer_nlp.text import MetaFormerTextConfig
from tasks.glue import finetuning as glue_finetuning
from tasks.text import masked_lm
from tasks.text import tokenizer as tokenizer_training
from tasks.text.checkpoints import given_tokenizer, load_text_config, load_tokenizer

ROOT = Path(__file__).parents[3]
SCRIPTS = {
    "scripts/train_tokenizer.py": tokenizer_training.Config,
    "scripts/pretrain_text.py": masked_lm.Config,
    "scripts/finetune_glue.py": glue_finetuning.Config,
}


@pytest.mark.parametrize(
    ("option", "folder", "made"),
    [
        ("data.tokenizer", "runs/my words", "--folder 'runs/my words'"),
        ("tokenizer", "words", "--folder words"),
        ("model.checkpoint", "runs/mine/model", "--run.folder runs/mine` makes runs/mine/model"),
        ("model.checkpoint", "bert-base-uncased", "--run.folder runs/pretrain` makes runs/pretrain/model"),
        ("model", "model", "--run.folder runs/pretrain` makes runs/pretrain/model"),
        ("mnli_checkpoint", "x", "--run.folder runs/glue` makes runs/glue/MNLI/model; or say own"),
    ],
)
def test_the_command_that_makes_one_is_named_and_can_be_given(
    option: str, folder: str, made: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=f"^{option}={folder} is not a folder .looked in ") as error:
        load_tokenizer(folder, option)
    assert made in str(error.value)
    (command,) = re.findall("`(.*?)`", str(error.value))
    python, script, *options = shlex.split(command)
    assert python == "python"
    assert (ROOT / script).is_file()
    monkeypatch.chdir(ROOT)  # where the recipes are found
    assert parse(SCRIPTS[script], options)
    for document in re.findall(r"docs/\w+\.md", str(error.value)):
        assert script in (ROOT / document).read_text()


def test_a_runs_folder_is_told_where_its_model_lies(tmp_path: Path) -> None:
    MetaFormerTextConfig(vocab_size=10).save_pretrained(tmp_path / "run" / "model")
    for load in (load_tokenizer, load_text_config):
        with pytest.raises(ValueError, match=r"the folder of a run; its model lies in .*run/model$"):
            load(str(tmp_path / "run"), "model.checkpoint")
    assert load_text_config(str(tmp_path / "run" / "model"), "model.checkpoint").vocab_size == 10


def test_a_folder_that_holds_neither(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.save_pretrained(tmp_path)
    assert given_tokenizer(None, None) is None
    given = given_tokenizer(str(tmp_path), "nowhere")
    assert given is not None
    assert len(given) == len(tokenizer)
    with pytest.raises(ValueError, match=r"^model\.checkpoint=.* holds no model that can be read: "):
        load_text_config(str(tmp_path), "model.checkpoint")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"^data\.tokenizer=.* holds no tokenizer that can be read: "):
        given_tokenizer(str(tmp_path / "empty"), None)
