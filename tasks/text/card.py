"""The model card (README.md) of a text model; its wording is in ``card.md.j2``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from huggingface_hub import EvalResult
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from metaformer_nlp.text import MetaFormerTextConfig
from tasks.card import last_part, mixer_names, named_labels, render_card
from tasks.text.hub import PREFIX

__all__ = ["text_card"]

_HEADS = {
    "ForMaskedLM": ("masked language model", "fill-mask"),
    "ForSequenceClassification": ("text classifier", "text-classification"),
    "ForTokenClassification": ("token classifier", "token-classification"),
    "ForQuestionAnswering": ("extractive question answerer", None),  # transformers 5 has no such pipeline
    "ForMultipleChoice": ("model for multiple choice", None),
    "Model": ("text encoder", "feature-extraction"),
}
"""What a text model is for and the pipeline that runs it, by the end of its class's name."""
_HUB_METRICS = ("accuracy", "exact_match", "f1", "matthews_correlation", "pearson", "spearmanr", "perplexity")


def text_card(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, result: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None, *, repository: str | None = None, command: Sequence[str] | None = None,
    glue: str | None = None, pair: bool = False,
) -> str:  # fmt: skip
    """The text of README.md: what the model is, how to use it, what it was measured to do and how it was trained.

    Args:
        config: the model's configuration, ours or that of another encoder.
        tokenizer: what cuts its texts into tokens.
        result: a run's result.json: metrics, parameters, macs, train, batch_size, lr; `constant`: metrics of an answer
            that is always the same.
        settings: a run's config.json: the resolved options, by group.
        repository: the name on the hub, `user/model`, for the examples.
        command: the command that trained it, in words.
        glue: the hub's name of the GLUE task that a classifier was trained for.
        pair: whether a classifier reads two texts.

    Raises:
        ValueError: no text model.
    """
    result, settings = result or {}, settings or {}
    kind = _kind(config)
    title, pipeline = _HEADS[kind]
    ours = isinstance(config, MetaFormerTextConfig)
    data, scores = _data(config, settings, glue), _scores(result)
    known = {name: round(value, 5) for name, value in scores.items() if _metric(name) in _HUB_METRICS}
    dataset = {"dataset_type": "nyu-mll/glue", "dataset_config": glue, "dataset_split": "validation"}
    evaluations = [
        EvalResult(
            task_type=pipeline,
            dataset_name=data,
            metric_type=_metric(name),
            metric_name=name,
            metric_value=value,
            **(dataset if glue else {"dataset_type": data}),
        )
        for name, value in known.items()
        if data and pipeline  # the hub asks for both
    ]
    masking, length = settings.get("masking") or {}, (settings.get("data") or {}).get("max_length")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return render_card(
        "text/card.md.j2",
        f"MetaFormer {title}",
        config,
        result,
        settings,
        package="metaformer_nlp",
        repository=repository,
        metadata={
            "pipeline_tag": pipeline,
            "tags": ["metaformer" if ours else config.model_type, "sentence-transformers"],
            "datasets": ["nyu-mll/glue"] if glue else None,
            "metrics": list(dict.fromkeys(map(_metric, known))) or None,
        },
        evaluations=evaluations,
        command=command,
        data=data,
        kind=kind,
        title=title,
        pipeline=pipeline,
        glue=glue,
        pair=pair,
        mask=tokenizer.mask_token,
        mixers=mixer_names(config.layer_mixers()) if ours else None,
        windows=_windows(config) if isinstance(config, MetaFormerTextConfig) else None,
        tokenizer=f"{type(tokenizer if backend is None else backend.model).__name__}, {len(tokenizer):,} tokens",
        labels=named_labels(config) if "classifier" in title else [],
        results={name: f"{value:.4f}" for name, value in scores.items()},
        constant={name: f"{value:.4f}" for name, value in _scores(result, "constant").items()},
        perplexity=any(_metric(name) == "perplexity" for name in scores),
        masked=f"{100 * masking['rate']:g}" if "rate" in masking else None,
        length=length,
    )


def _kind(config: PreTrainedConfig) -> str:
    for architecture in config.architectures or ():
        for end in _HEADS:
            if architecture.endswith(end):
                return end
    raise ValueError(
        f"the model is a {', '.join(config.architectures or ()) or 'model of no known kind'}; a text model ends with "
        + ", ".join(_HEADS)
    )


def _data(config: PreTrainedConfig, settings: Mapping[str, Any], glue: str | None) -> str | None:
    """What it was trained on, in words; no folders."""
    if task := getattr(config, "finetuning_task", None):
        return f"GLUE {task}" if glue else str(task)
    texts = (settings.get("data") or {}).get("text")
    if texts == "english":
        return "the documentation of Python and its standard library"
    return ", ".join(map(_source, texts if isinstance(texts, list) else [texts])) if texts else None


def _source(text: str) -> str:
    """The public part of a path; a pattern alone would tell nothing, and a data set of the hub is public."""
    if text.startswith(PREFIX):
        return text.removeprefix(PREFIX)
    return "/".join(text.split("/")[-2:]) if "*" in last_part(text) else last_part(text)


def _metric(name: str) -> str:
    """The hub's name of the metric that a run calls ``name``."""
    name = name.split("/")[-1]
    return "perplexity" if name.endswith("perplexity") else name


def _scores(result: Mapping[str, Any], group: str = "metrics") -> dict[str, float]:
    """Metrics of the run; GLUE's score, the mean of those beside it, is left out."""
    return {name: float(value) for name, value in (result.get(group) or {}).items() if _metric(name) != "score"}


def _windows(config: MetaFormerTextConfig) -> str | None:
    """``3``, ``3 / 7`` where the channels are split into groups, and ``3, then 7`` where layers differ."""
    given = [spec.get("pool_size", config.pool_size) for spec in config.layer_mixers() if spec["name"] == "pooling"]
    names = (" / ".join(map(str, each)) if isinstance(each, list | tuple) else str(each) for each in given)
    return ", then ".join(window for window, _ in groupby(names)) or None
