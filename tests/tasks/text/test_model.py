"""The encoder's option group: what its options make of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from metaformer_nlp.core import MIXERS
from tasks.text.model import TextModelConfig


def test_mask_token_is_left_out_as_a_source(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    def unmixed(**options: Any) -> int | None:
        return TextModelConfig(**options).build_config(tokenizer, 16).unmixed_token_id

    assert unmixed() is unmixed(exclude_mask_token=False) is None
    assert unmixed(exclude_mask_token=True) == tokenizer.mask_token_id
    TextModelConfig(exclude_mask_token=True).build_config(tokenizer, 16).save_pretrained(tmp_path)
    assert unmixed(checkpoint=str(tmp_path)) == tokenizer.mask_token_id
    assert unmixed(checkpoint=str(tmp_path), exclude_mask_token=True) == tokenizer.mask_token_id
    with pytest.raises(ValueError, match=r"unmixed_token_id: \d+ in the checkpoint, None given"):
        unmixed(checkpoint=str(tmp_path), exclude_mask_token=False)
    with pytest.raises(ValueError, match="layer 3, fourier, cannot leave a token out; those that can: attention"):
        unmixed(exclude_mask_token=True, token_mixer=["pooling x rest", "fourier"])


def test_mask_token_must_be_there(tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "_special_tokens_map", {**tokenizer._special_tokens_map, "mask_token": None})
    with pytest.raises(ValueError, match="exclude_mask_token is true, but the tokenizer has no mask token"):
        TextModelConfig(exclude_mask_token=True).build_config(tokenizer, 16)


def test_positions_are_a_choice_of_a_fresh_model(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    def positions(**options: Any) -> bool:
        return TextModelConfig(**options).build_config(tokenizer, 16).position_embedding

    assert positions()
    assert not positions(position_embedding=False)
    folder = str(tmp_path)
    TextModelConfig(position_embedding=False).build_config(tokenizer, 16).save_pretrained(folder)
    assert not positions(checkpoint=folder)
    assert not positions(checkpoint=folder, position_embedding=False)
    with pytest.raises(ValueError, match="position_embedding: False in the checkpoint, True given"):
        positions(checkpoint=folder, position_embedding=True)


def test_help_names_every_mixer_of_text() -> None:
    text = (Path(__file__).parents[3] / "tasks" / "text" / "model.py").read_text()
    documented = (Path(__file__).parents[3] / "docs" / "token_mixers.md").read_text()
    for name in MIXERS:
        if 1 in MIXERS[name].ranks:
            assert f"{name}," in text or f"{name})" in text
            assert f"| `{name}`" in documented
