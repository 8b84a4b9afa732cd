"""Tiny models of every kind that the page shows, as their trainings save them."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from metaformer_nlp.text import (
    MetaFormerTextConfig,
    MetaFormerTextForMaskedLM,
    MetaFormerTextForSequenceClassification,
)
from tasks.demo.models import Models
from tasks.text.checkpoints import save_text_model
from vision import create_model
from vision.dense import create_detector, create_segmenter
from vision.dense.processing import segmentation_processor

DIGITS = {number: str(number) for number in range(10)}


@pytest.fixture(scope="session")
def runs(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of each kind; weights are random."""
    folder = tmp_path_factory.mktemp("given") / "runs"
    create_model("poolformer_nano", image_size=28, id2label=DIGITS).save_pretrained(folder / "classifier/model")
    sizes = {"short_side": 64, "long_side": 96, "pyramid_channels": 16, "score_threshold": 0.0}
    detector = create_detector(
        "poolformer_nano", detector="retinanet", id2label=DIGITS, category_ids=list(DIGITS), **sizes
    )
    detector.save_pretrained(folder / "detector/model")
    segmenter = create_segmenter("poolformer_nano", id2label=DIGITS, pyramid_channels=16, head_channels=16)
    segmenter.save_pretrained(folder / "segmenter/model")
    segmentation_processor(segmenter.config, 64).save_pretrained(folder / "segmenter/model")
    size = {"hidden_size": 16, "num_hidden_layers": 1, "max_position_embeddings": 32, "vocab_size": len(tokenizer)}
    config = MetaFormerTextConfig(pad_token_id=tokenizer.pad_token_id, **size)
    save_text_model(MetaFormerTextForMaskedLM(config), tokenizer, folder / "words/model")
    config = MetaFormerTextConfig(pad_token_id=tokenizer.pad_token_id, id2label={0: "kept", 1: "swapped"}, **size)
    save_text_model(MetaFormerTextForSequenceClassification(config), tokenizer, folder / "order/model")
    return folder


@pytest.fixture
def models(runs: Path) -> Models:
    return Models({"runs": runs})
