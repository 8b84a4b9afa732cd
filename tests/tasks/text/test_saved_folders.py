"""Folders as they are saved, opened in a fresh process and used through their pipelines with a far too long text."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tokenizers import normalizers
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    BertConfig,
    PreTrainedTokenizerBase,
    RobertaConfig,
)

from metaformer_nlp.core import MIXERS
from metaformer_nlp.text.tokenizer import train_tokenizer
from tasks.export.share import write_shared
from tasks.text.checkpoints import load_tokenizer, save_text_model, tokenizer_hash
from tasks.text.encoding import trained_tokenizer
from tasks.text.english import english_documents
from tasks.text.model import TextModelConfig

USE = """
import json, sys
import metaformer_nlp
from transformers import AutoModel, AutoTokenizer, pipeline

used = {}
for folder, task in json.loads(sys.argv[1]).items():
    text = "[MASK] " + "the name of a file " * 400
    if task == "token-classification":  # this pipeline always cuts
        options = {}
    elif task == "text-classification":
        options = {"truncation": True}
    else:
        options = {"tokenize_kwargs" if task == "feature-extraction" else "tokenizer_kwargs": {"truncation": True}}
    try:
        assert pipeline(task, folder, device="cpu")(text, **options)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        AutoModel.from_pretrained(folder)(**tokenizer(text, truncation=True, return_tensors="pt"))
        used[folder] = True
    except Exception as error:
        used[folder] = f"{type(error).__name__}: {error}"
print("\\n" + json.dumps(used))
"""
HEADS: dict[str, Any] = {
    "fill-mask": AutoModelForMaskedLM,
    "text-classification": AutoModelForSequenceClassification,
    "token-classification": AutoModelForTokenClassification,
}
SIZE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}


def test_a_text_that_is_far_too_long_is_cut(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    """For every head, mixer and length; a tokenizer's own 512 fits neither of them."""
    folders: dict[str, tuple[str, int]] = {}

    def save(name: str, head: str, config: Any, longest: int) -> Path:
        save_text_model(HEADS[head].from_config(config), tokenizer, tmp_path / name)
        folders[str(tmp_path / name)] = (head, longest)
        return tmp_path / name

    assert tokenizer.model_max_length == 512
    for length in (24, 1024):
        for head in HEADS:
            config = TextModelConfig(hidden_size=16, num_hidden_layers=1).build_config(tokenizer, length)
            save(f"{head}-{length}", head, config, length)
    for mixer in (name for name in MIXERS if 1 in MIXERS[name].ranks):
        options = TextModelConfig(token_mixer=mixer, hidden_size=16, num_hidden_layers=1, position_embedding=False)
        save(f"mixer-{mixer}", "fill-mask", options.build_config(tokenizer, 24), 24)
    known = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, **SIZE}
    save("bert", "text-classification", BertConfig(max_position_embeddings=30, **known), 30)
    save("roberta", "fill-mask", RobertaConfig(max_position_embeddings=31, **known), 30)
    (tmp_path / "shared").mkdir()
    write_shared(tmp_path / "text-classification-24", tmp_path / "shared")
    folders[str(tmp_path / "shared")] = ("feature-extraction", 24)
    assert tokenizer.model_max_length == 512  # the one in hand is as it was
    for folder, (_, longest) in folders.items():
        assert AutoTokenizer.from_pretrained(folder).model_max_length == longest, folder
    tasks = json.dumps({folder: head for folder, (head, _) in folders.items()})
    done = subprocess.run([sys.executable, "-c", USE, tasks], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == dict.fromkeys(folders, True)


def test_the_tokenizer_of_a_model_is_known(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [document.text for document in english_documents()[60:75]]
    other, folded = train_tokenizer(texts, 700), trained_tokenizer(texts, 700, lowercase=True)
    config = TextModelConfig(hidden_size=16, num_hidden_layers=1).build_config(tokenizer, 16)
    save_text_model(AutoModelForMaskedLM.from_config(config), tokenizer, tmp_path / "model")
    again = TextModelConfig(checkpoint=str(tmp_path / "model"))
    own = load_tokenizer(str(tmp_path / "model"), "model.checkpoint")
    assert tokenizer_hash(own) == tokenizer_hash(tokenizer)
    own.model_max_length = 7  # how it is asked to cut is no part of what it is
    own("a text", truncation=True, padding="max_length")
    assert again.build_config(own, 16).tokenizer_hash == tokenizer_hash(tokenizer)
    for foreign in (other, folded):
        with pytest.raises(
            ValueError, match=r"\d+ of 700 pieces differ, the first is number \d+: .*data.tokenizer out"
        ):
            again.build_config(foreign, 16)

    # A folder of an earlier version does not say; its own tokenizer is compared.
    values = json.loads((tmp_path / "model" / "config.json").read_text())
    del values["tokenizer_hash"]
    (tmp_path / "model" / "config.json").write_text(json.dumps(values))
    assert again.build_config(tokenizer, 16)
    with pytest.raises(ValueError, match=r"\d+ of 700 pieces differ"):
        again.build_config(other, 16)

    # The same pieces in another spelling of the text.
    values["tokenizer_hash"] = tokenizer_hash(tokenizer)
    (tmp_path / "model" / "config.json").write_text(json.dumps(values))
    shouting = copy.deepcopy(tokenizer)
    backend: Any = shouting.backend_tokenizer
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), backend.normalizer])
    with pytest.raises(ValueError, match="all pieces are the same, but special tokens, or how a text is cut"):
        again.build_config(shouting, 16)

    # Exchanged in the folder itself: whatever opens it says so.
    other.save_pretrained(tmp_path / "model")
    for work in (lambda: load_tokenizer(str(tmp_path / "model"), "model"), lambda: again.build_config(other, 16)):
        with pytest.raises(ValueError, match="not the one that the model was saved with"):
            work()
    assert caplog.text == ""
    # Without a tokenizer in the folder nothing can be compared, and the log says it.
    for file in (tmp_path / "model").glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ValueError, match=r"the hash in its config.json is not that of the given"):
        again.build_config(other, 16)
    del values["tokenizer_hash"]
    (tmp_path / "model" / "config.json").write_text(json.dumps(values))
    assert again.build_config(other, 16)
    assert "cannot be compared" in caplog.text
