"""What the tabs for pictures and sentences show, as HTML; and sentences in place of results."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.demo import images, text
from tasks.demo.models import Models
from tasks.demo.words import escape, telling
from tasks.segmentation import drawing as segmentation


@pytest.fixture
def file(tmp_path: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 52, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "one.png")
    return str(tmp_path / "one.png")


def shares(html: str) -> list[float]:
    return [float(number) for number in re.findall(r"<b>([\d.]+) %</b>", html)]


def test_a_classifier_shows_five_classes_and_where_it_looks(models: Models, file: str) -> None:
    html = images.predicted(models, ["runs/classifier"], file)
    found = shares(html)
    assert len(found) == 5
    assert found == sorted(found, reverse=True)
    assert html.count('<img class="map" src="data:image/png;base64,') == 1
    assert html.count("<section") == 2, "the picture and the model"


def test_dense_models_show_objects_and_classes(models: Models, file: str) -> None:
    html = images.predicted(models, ["runs/detector", "runs/segmenter"], file, 0.0)
    assert html.count("<section") == 3
    assert 'class="map"' not in html
    assert sum(shares(html)[-10:]) > 0
    assert "No object has a score of 1 or more." in images.predicted(models, ["runs/detector"], file, 1.0)


def test_the_label_map_stands_alone_with_its_legend() -> None:
    for width, height in ((40, 52), (600, 300)):
        image, labels = Image.new("RGB", (width, height), "#808080"), np.zeros((height, width), np.uint8)
        labels[: height // 2] = 1
        drawn, legend = images.map_alone(segmentation.draw(image, [labels], ["ground", "sky"]), image)
        assert drawn.width / drawn.height == pytest.approx(width / height, rel=0.01)
        assert len(drawn.getcolors()) == 2, "the classes, and not the picture"
        assert legend.width < 100, "as wide as its words"
        assert legend.height > 20, "two lines"


def test_grad_cam_leaves_the_model_of_other_sessions_alone(models: Models, file: str) -> None:
    model = models.open("runs/classifier", "classifier").model
    assert 'class="map"' in images.predicted(models, ["runs/classifier"], file)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_map_is_seen_over_the_picture() -> None:
    cut, heat = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32)
    heat[0, 0] = 1
    drawn = np.asarray(images.overlaid(cut, heat))
    assert drawn.shape == (224, 224, 3)
    assert drawn[0, 0, 0] > 150 > drawn[0, 0, 2]
    assert not drawn[-1, -1].any(), "what does not speak for the class is the picture"


def test_the_error_of_one_model_leaves_the_others(models: Models, file: str) -> None:
    html = images.predicted(models, ["runs/none", "runs/classifier", "../secret"], file)
    assert html.count('class="problem"') == 2
    assert "a path with .. is refused" in html
    assert len(shares(html)) == 5


def test_pictures_that_cannot_be_used_get_a_sentence(models: Models, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    html = images.predicted(models, ["runs/classifier"], str(tmp_path / "text.png"))
    assert 'role="alert">text.png is no picture that can be read' in html
    assert "Choose a model" in images.predicted(models, [], images.example_digit())
    assert "Drop a picture" in images.predicted(models, ["runs/classifier"], None)


def test_the_examples_are_pictures() -> None:
    for example, side in ((images.example_digit, 28), (images.example_scene, 64)):
        with Image.open(example()) as image:
            assert image.size == (side, side)


def test_missing_words_are_filled_in_by_each_model(models: Models) -> None:
    html = text.filled(models, ["runs/words", "runs/words"], "the [MASK] of a [MASK]")
    assert html.count("<section") == 2
    assert len(shares(html)) == 2 * 2 * 5
    assert html.count("<h4>[MASK] 2</h4>") == 2


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("", "Write a text first"),
        (" \n ", "Write a text first"),
        (None, "Write a text first"),
        ("no word is missing", "The text has no [MASK]"),
        ("[MASK] " * 7, "The text has 7 [MASK]; up to 6"),
        ("[MASK] " + "x" * 20_000, "up to 20,000 are read"),
        ("of the list " * 100 + "[MASK]", "[MASK] comes after the part that the model can read"),
    ],
)
def test_texts_without_an_answer_get_a_sentence(models: Models, given: str | None, why: str) -> None:
    html = text.filled(models, ["runs/words"], given)
    assert why in html
    assert shares(html) == []


def test_a_long_text_is_cut_and_the_page_says_so(models: Models) -> None:
    html = text.filled(models, ["runs/words"], "the [MASK] " + "of the list " * 100)
    assert "The model reads 32 tokens; the text has" in html
    assert len(shares(html)) == 5


def test_half_a_character_is_no_error(models: Models) -> None:
    assert len(shares(text.filled(models, ["runs/words"], "the \ud800 [MASK]"))) == 5


def test_classes_of_a_text_and_of_a_pair(models: Models) -> None:
    for second in (None, "", "a second text"):
        html = text.classified(models, ["runs/order"], "the first text", second)
        assert sum(shares(html)) == pytest.approx(100, abs=0.2)
        assert {"kept", "swapped"} <= set(re.findall(r"<span>(\w+)</span>", html))
    assert "Write a text first" in text.classified(models, ["runs/order"], " ")
    assert "runs/words is a masked language model" in text.classified(models, ["runs/words"], "a text")


def test_no_markup_of_a_user_reaches_the_page(models: Models) -> None:
    assert escape("<b>${1} {{x}}") == "&lt;b&gt;&#36;&#123;1&#125; &#123;&#123;x&#125;&#125;"
    assert "<b>x" not in images.predicted(models, ["<b>x"], images.example_digit())


def test_an_error_that_nobody_foresaw_is_a_sentence_too(caplog: pytest.LogCaptureFixture) -> None:
    @telling
    def fails() -> str:
        raise RuntimeError("inside")

    assert "This did not work (RuntimeError)" in fails()
    assert "inside" in caplog.text
