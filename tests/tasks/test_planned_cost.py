"""What an experiment says it will take is what its runs then take."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForMaskedLM, PreTrainedTokenizerBase

from metaformer_nlp.config.command_line import from_dict
from tasks.glue import finetuning as glue_finetuning
from tasks.images import classification as image_classification
from tasks.text import masked_lm
from tasks.text.checkpoints import save_text_model

TEXT = {"hidden_size": 16, "num_hidden_layers": 2, "token_mixer": ["pooling", "random"]}
IMAGES = {"name": "poolformer_xxs", "token_mixer": "random"}


def run_of(folder: Path, **values: Any) -> dict[str, Any]:
    return {"folder": str(folder), "batch_size": 16, "keep_checkpoints": 0, **values}


def check(told: dict[str, Any], result: dict[str, Any]) -> None:
    train = {key: value for key, value in result["train"].items() if key in ("steps", "samples", "tokens")}
    assert {key: told[key] for key in train} == train
    assert told["parameters"] == result["parameters"]
    assert told["parameters"]["trainable"] < told["parameters"]["total"], "a frozen matrix is no trained parameter"
    assert told["macs"] == result["macs"]


@pytest.mark.slow
def test_images(tmp_path: Path) -> None:
    data = {"name": "digits", "image_size": 32, "max_train_samples": 40, "max_eval_samples": 10}
    values = {"model": IMAGES, "data": data, "schedule": {"epochs": 2}, "run": run_of(tmp_path / "run")}
    config = from_dict(image_classification.Config, values)
    told = image_classification.cost(config)
    assert told["steps"] == 5
    assert told["training_macs"] == told["macs"] * told["samples"] == told["macs"] * 80
    check(told, image_classification.run(config))
    # From what that run has made, known before it is there: the same model under other settings of the data.
    later = {**values, "model": {"checkpoint": str(tmp_path / "run" / "model")}, "run": run_of(tmp_path / "later")}
    started = from_dict(image_classification.Config, later)
    assert image_classification.cost(started) == image_classification.cost(started, config) == told


@pytest.mark.slow
def test_text_and_what_starts_from_it(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    data = {"max_length": 64, "tokenizer": str(tmp_path / "tokenizer"), "max_documents": 100}
    before = from_dict(
        masked_lm.Config,
        {
            "model": TEXT,
            "data": data,
            "schedule": {"tokens": 2000},
            "run": run_of(tmp_path / "before", eval_batch_size=64),
        },
    )
    told = masked_lm.cost(before)
    assert told["steps"] == -(-2000 // (told["tokens"] / told["steps"])), "as many steps as hold so many tokens"
    after = from_dict(
        glue_finetuning.Config,
        {
            "model": {"checkpoint": str(tmp_path / "before" / "model")},
            "data": {"tasks": ["topic", "order"], "max_length": 64, "max_train_rows": 40},
            "schedule": {"epochs": 1},
            "run": run_of(tmp_path / "after"),
        },
    )
    expected = glue_finetuning.cost(after, before)  # whose checkpoint is not there yet
    check(told, masked_lm.run(before))
    assert glue_finetuning.cost(after) == expected
    result = glue_finetuning.run(after)
    check(expected, result)
    assert expected["tokens"] == sum(task["train"]["tokens"] for task in result["tasks"].values())
    assert expected["training_macs"] < expected["macs"] * expected["samples"], "several texts share a row"


@pytest.mark.parametrize("experiment", [glue_finetuning, masked_lm])
def test_options_beside_a_checkpoint_are_taken_as_the_run_takes_them(
    experiment: Any, tmp_path: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Whether it is there, or is yet to be made by another run: what differs is refused, in the same words."""
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    larger = copy.deepcopy(tokenizer)
    larger.add_tokens(["a-word-of-its-own"])
    larger.save_pretrained(tmp_path / "larger")
    made = tmp_path / "before" / "model"
    data = {"max_length": 64, "tokenizer": str(tmp_path / "tokenizer"), "max_documents": 100}
    options = {"model": TEXT, "data": data, "schedule": {"steps": 1}, "run": run_of(tmp_path / "before")}
    before = from_dict(masked_lm.Config, options)
    rows: dict[str, Any] = {"tasks": "topic", "max_train_rows": 40}
    values = {
        "model.checkpoint": str(made),
        "data": {"max_length": 64, **(rows if experiment is glue_finetuning else {"max_documents": 100})},
        "schedule.steps": 1,
        "run": run_of(tmp_path / "after"),
    }
    wrong: list[tuple[str, Any, str]] = [
        ("model.hidden_size", 32, "hidden_size: 16 in the checkpoint, 32 given"),
        ("model.token_mixer", "attention", r"\['pooling', 'random'\] in the checkpoint, 'attention' given"),
        ("model.exclude_mask_token", True, "unmixed_token_id: None in the checkpoint"),
        ("data.max_length", 65, "data.max_length=65, but .* has positions for 64 tokens"),
        (
            "data.tokenizer",
            str(tmp_path / "larger"),
            f"has {len(larger)} tokens, .* leave data.tokenizer out",
        ),
    ]
    fitting = {**values, "model.hidden_size": 16, "model.hidden_dropout_prob": 0.3, "model.drop_path_rate": 0.1}

    told = experiment.cost(from_dict(experiment.Config, fitting), before)
    refused = [(from_dict(experiment.Config, {**values, key: value}), problem) for key, value, problem in wrong]
    said = []
    for config, problem in refused:
        with pytest.raises(ValueError, match=problem) as error:
            experiment.cost(config, before)
        said.append(str(error.value))

    save_text_model(AutoModelForMaskedLM.from_config(masked_lm.saved_config(before)), tokenizer, made)
    assert experiment.cost(from_dict(experiment.Config, fitting)) == told
    for act in (experiment.cost, experiment.run):
        for (config, _), message in zip(refused, said, strict=True):
            with pytest.raises(ValueError, match="^" + re.escape(message) + "$"):
                act(config)


def test_options_beside_an_image_checkpoint_are_taken_as_the_run_takes_them(tmp_path: Path) -> None:
    made = tmp_path / "before" / "model"
    data = {"name": "digits", "max_train_samples": 40, "max_eval_samples": 10}
    model = {"name": "poolformer_xxs", "token_mixer": ["pooling", "pooling", "pooling", "attention"]}
    options = {"schedule": {"steps": 1}, "run": run_of(tmp_path / "before")}
    before = from_dict(
        image_classification.Config, {**options, "model": model, "data": {**data, "image_size": 64, "crop_pct": 0.9}}
    )
    values = {**options, "model.checkpoint": str(made), "data": data, "run": run_of(tmp_path / "after")}

    def config(**given: Any) -> image_classification.Config:
        return from_dict(image_classification.Config, {**values, **given})

    identity = ["identity", "pooling", "pooling", "attention"]  # neither has weights
    fitting = [config(), config(**{"model.token_mixer": identity}), config(**{"data.image_size": 32})]
    told = [image_classification.cost(it, before) for it in fitting]
    assert told[0]["macs"] > 3 * told[2]["macs"], "the size of the images is the checkpoint's"
    refused = [config(**{"model.token_mixer": "pooling"}), config(**{"model.name": "poolformer_s12"})]
    refused.append(config(**{"model.use_channel_mlp": False}))
    said = []
    for it in refused:
        with pytest.raises(ValueError, match="before/model does not fit the model") as error:
            image_classification.cost(it, before)
        said.append(str(error.value))

    before.model.build(list("0123456789"), **before.data.model_fields()).save_pretrained(made)
    assert [image_classification.cost(it) for it in fitting] == told
    for act in (image_classification.cost, image_classification.run):
        for it, message in zip(refused, said, strict=True):
            with pytest.raises(ValueError, match="^" + re.escape(message[:200])):  # then, how many more do not fit
                act(it)


def test_time_and_data_that_are_not_known(tmp_path: Path) -> None:
    values = {"model": IMAGES, "data": {"image_size": 32}, "schedule": {"minutes": 1.0}, "run": run_of(tmp_path)}
    told = image_classification.cost(from_dict(image_classification.Config, values))
    assert set(told) == {"parameters", "macs"}
    values["data"] = {"name": "parquet", "root": str(tmp_path / "nothing")}
    with pytest.raises(ValueError, match=r"nothing: no such folder"):
        image_classification.cost(from_dict(image_classification.Config, values))
    assert not list(tmp_path.iterdir())


def test_what_several_runs_in_one_take_is_not_known_and_no_mistake(tmp_path: Path) -> None:
    values = {"model": {"checkpoint": "nowhere"}, "seeds": [0, 1], "schedule": {"epochs": 1}, "run": run_of(tmp_path)}
    config = from_dict(glue_finetuning.Config, values)
    with pytest.raises(NotImplementedError, match="seeds, sweep or mnli_checkpoint"):
        glue_finetuning.cost(config)
