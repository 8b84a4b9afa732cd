"""The tab for mixers: what it answers to a place in a picture or a text, and to what it cannot use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.demo import mixing
from tasks.demo.models import Models


@pytest.fixture
def file(tmp_path: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 52, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    return str(tmp_path / "one.png")


def test_the_patch_that_was_clicked_is_asked_and_marked(models: Models, file: str) -> None:
    for place, reach in (((0.5, 0.5), "9, 25"), ((0.999, 0.0), "4, 9"), ((0.5, 1.0), "6, 15")):
        html = mixing.of_picture(models, file, place, ["pooling", "attention"], 2, [], False)
        assert f"pooling: {reach} of 256 tokens; attention: 256, 256 of 256 tokens" in html
        plain, marked = (np.asarray(mixing.marked(file, where)).astype(int) for where in ((), place))
        rows, columns = np.abs(plain - marked).any(-1).nonzero()
        frame = mixing.SIDE // mixing.PATCHES + 4
        assert rows.max() - rows.min() < frame
        assert columns.max() - columns.min() < frame
        assert abs(rows.mean() / mixing.SIDE - place[0]) < 1 / mixing.PATCHES


def test_a_trained_classifier_is_asked_on_its_own_grid(models: Models, file: str) -> None:
    """Of four stages, with group norm: everything is in reach, unless its statistics are held."""
    asked = (models, file, (0.5, 0.5), [], 2, ["runs/classifier"])
    html = mixing.of_picture(*asked, False)
    assert "runs/classifier: 196, 196, 196, 196 of 196 tokens" in html
    assert "group norm takes its mean and variance over all tokens" in html
    held = mixing.of_picture(*asked, True)
    assert "runs/classifier: 9, 81, 196, 196 of 196 tokens" in held
    assert "group norm" not in held


def test_a_trained_text_model_has_tokens_of_its_own(models: Models) -> None:
    text = "Return the list."
    html = mixing.of_text(models, text, 1, ["shift"], 2, ["runs/words", "runs/order"], False)
    assert "shift: 3, 4 of 4 tokens" in html
    assert "runs/words: 3 of 6 tokens; runs/order: 3 of 6 tokens" in html, "with [CLS] and [SEP]"
    assert 'class="problem"' not in html
    long = "one two three " * 11
    html = mixing.of_text(models, long, 0, [], 2, ["runs/words"], False)
    assert "runs/words: 3 of 32 tokens" in html
    html = mixing.of_text(models, long, 32, ["identity"], 2, ["runs/words"], False)
    assert "runs/words has no token of &#x27;three&#x27;: it reads 32 tokens" in html


def test_what_cannot_be_used_is_said(models: Models, file: str, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    middle = (0.5, 0.5)
    assert "no picture that can be read" in mixing.of_picture(
        models, str(tmp_path / "text.png"), (), ["pooling"], 1, [], False
    )
    assert mixing.marked(str(tmp_path / "text.png"), middle) is None
    assert "Click on a place" in mixing.of_picture(models, file, (), ["pooling"], 1, [], False)
    assert "Choose a mixer." in mixing.of_picture(models, file, middle, [], 1, [], False)
    html = mixing.of_picture(models, file, middle, ["identity"], 1, ["../secret", "runs/words"], False)
    assert "a path with .. is refused" in html
    assert "runs/words is a masked language model" in html
    assert "identity: 1 of 256 tokens" in html
    assert "Give a text" in mixing.of_text(models, " ", 0, ["pooling"], 1, [], False)
    assert "41 words and marks; at most 40" in mixing.of_text(models, "a " * 41, 0, ["pooling"], 1, [], False)
    assert "Click on a word" in mixing.of_text(models, "one two", None, ["pooling"], 1, [], False)
    assert "Click on a word" in mixing.of_text(models, "one two", 2, ["pooling"], 1, [], False)
    html = mixing.of_text(models, "cost $5 {x} and $6 of <b>it</b>", 1, ["identity"], 1, [], False)
    assert "identity: 1 of 18 tokens" in html
