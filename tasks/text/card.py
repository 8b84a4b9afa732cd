"""The model card (README.md) of a text model, filled from what is known about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from metaformer_nlp.text import MetaFormerTextConfig
from tasks.card import PAPERS, join, last_part, metadata, mixer_names, size_rows, table, training, usage
from tasks.glue.metrics import METRICS
from tasks.glue.tasks import TASKS
from tasks.text.hub import PREFIX

__all__ = ["text_card"]

GLUE_PAPER = {"GLUE: A Multi-Task Benchmark and Analysis Platform for Natural Language Understanding": "1804.07461"}


@dataclass(frozen=True)
class _Head:
    """What a text model is for, by the end of its class's name."""

    title: str
    pipeline: str | None = None
    example: str = ""


_HEADS = {
    "ForMaskedLM": _Head("masked language model", "fill-mask", "A sentence with a {mask} in it."),
    "ForSequenceClassification": _Head("text classifier", "text-classification", "A sentence."),
    "ForTokenClassification": _Head("token classifier", "token-classification", "A sentence."),
    "ForQuestionAnswering": _Head("extractive question answerer"),
    "ForMultipleChoice": _Head("model for multiple choice"),
    "Model": _Head("text encoder", "feature-extraction", "A sentence."),
}


def text_card(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, result: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None, *, repository: str | None = None, command: Sequence[str] | None = None,
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

    Raises:
        ValueError: no text model.
    """
    result, settings = result or {}, settings or {}
    head, data = _head_of(config), _data(config, settings)
    parts = [
        _metadata(config, head, result, data, repository),
        f"# {repository.split('/')[-1] if repository else f'MetaFormer {head.title}'}",
        _about(config, tokenizer, head, result, settings),
        _usage(config, tokenizer, head, repository or "path/to/this/folder"),
        _labels(config, head),
        _results(config, result),
        training(settings, result, command, data, _masking(settings)),
        _limits(head, data),
    ]
    return join(parts, PAPERS | (GLUE_PAPER if _hub_name(config) else {}))


def _head_of(config: PreTrainedConfig) -> _Head:
    for architecture in config.architectures or ():
        for end, head in _HEADS.items():
            if architecture.endswith(end):
                return head
    raise ValueError(
        f"the model is a {', '.join(config.architectures or ()) or 'model of no known kind'}; a text model ends with "
        + ", ".join(_HEADS)
    )


def _hub_name(config: PreTrainedConfig) -> str | None:
    """The hub's name of the GLUE task a classifier was made for."""
    task = TASKS.get(getattr(config, "finetuning_task", None) or "")
    return task.hub_name if task else None


def _data(config: PreTrainedConfig, settings: Mapping[str, Any]) -> str | None:
    """What it was trained on, in words; no folders."""
    data, task = settings.get("data") or {}, getattr(config, "finetuning_task", None)
    if task:
        return f"GLUE {task}" if _hub_name(config) else str(task)
    texts = data.get("text")
    if texts == "english":
        return "the documentation of Python and its standard library"
    return ", ".join(map(_source, texts if isinstance(texts, list) else [texts])) if texts else None


def _source(text: str) -> str:
    """Of a path what may be told; a pattern alone would tell nothing, and a data set of the hub is public."""
    if text.startswith(PREFIX):
        return text.removeprefix(PREFIX)
    return "/".join(text.split("/")[-2:]) if "*" in last_part(text) else last_part(text)


def _metadata(
    config: PreTrainedConfig, head: _Head, result: Mapping[str, Any], data: str | None, repository: str | None
) -> str:
    values: dict[str, Any] = {"library_name": "transformers"}
    if head.pipeline:
        values["pipeline_tag"] = head.pipeline
    values["tags"] = ["metaformer"] if isinstance(config, MetaFormerTextConfig) else [config.model_type]
    values["tags"].append("sentence-transformers")
    hub_name = _hub_name(config)
    if hub_name:
        values["datasets"] = ["nyu-mll/glue"]
    scores = {
        name: value for name, value in _scores(result).items() if _kind(name) in METRICS or _kind(name) == "perplexity"
    }
    if scores:
        values["metrics"] = list(dict.fromkeys(map(_kind, scores)))
    if scores and data and head.pipeline:  # the hub asks for all three
        found = [{"type": _kind(name), "name": name, "value": round(value, 5)} for name, value in scores.items()]
        dataset = {"name": data, "type": data}
        if hub_name:
            dataset = {"name": data, "type": "nyu-mll/glue", "config": hub_name, "split": "validation"}
        results = [{"task": {"type": head.pipeline}, "dataset": dataset, "metrics": found}]
        values["model-index"] = [{"name": repository or f"MetaFormer {head.title}", "results": results}]
    return metadata(values)


def _kind(metric: str) -> str:
    """The hub's name of the kind that a run's metric is of."""
    name = metric.split("/")[-1]
    return "perplexity" if name.endswith("perplexity") else name


def _about(
    config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, head: _Head, result: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> str:  # fmt: skip
    rows: dict[str, Any] = {}
    if isinstance(config, MetaFormerTextConfig):
        text = (
            f"A {head.title} of the MetaFormer architecture: blocks of a token mixer and a channel MLP, each with norm "
            "and shortcut. Nothing that a token gets depends on padding; a text is read as the mean of its tokens."
        )
        rows["Token mixer of each layer"] = mixer_names(config.layer_mixers())
        if "pooling" in config.used_mixers():
            rows["Window of pooling"] = _windows(config)
        rows["Layers, channels, hidden width of the MLP"] = (
            f"{config.num_hidden_layers}, {config.hidden_size}, {config.intermediate_size}"
        )
        rows["Norm, activation"] = f"{config.norm}, {config.hidden_act}"
    else:
        text = f"A {head.title} on transformers' `{config.model_type}`."
    length = (settings.get("data") or {}).get("max_length")
    rows |= size_rows(result, f"a text of {length} tokens" if length else "a text")
    backend = getattr(tokenizer, "backend_tokenizer", None)
    kind = type(backend.model).__name__ if backend is not None else type(tokenizer).__name__
    rows["Tokenizer"] = f"{kind}, {len(tokenizer):,} tokens"
    longest = getattr(config, "max_position_embeddings", None)
    if longest:
        rows["Longest text"] = f"{longest} tokens"
    return f"{text}\n\n{table(('', ''), rows.items())}"


def _windows(config: MetaFormerTextConfig) -> str:
    """``3``, ``3 / 7`` where the channels are split into groups, and ``3, then 7`` where layers differ."""
    given = [spec.get("pool_size", config.pool_size) for spec in config.layer_mixers() if spec["name"] == "pooling"]
    told = (" / ".join(map(str, each)) if isinstance(each, list | tuple) else str(each) for each in given)
    return ", then ".join(window for window, _ in groupby(told))


def _usage(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, head: _Head, repository: str) -> str:
    if head.pipeline:
        example = f'"{head.example}"'.replace("{mask}", str(tokenizer.mask_token))
        task = TASKS.get(getattr(config, "finetuning_task", None) or "")
        if task and len(task.texts) == 2:
            example = '{"text": "A sentence.", "text_pair": "Another one."}'
        code = (
            "from transformers import pipeline\n\n"
            f'apply = pipeline("{head.pipeline}", model="{repository}"{{trust}})\nprint(apply({example}))'
        )
    else:
        auto = "AutoModel" + next(end for end, found in _HEADS.items() if found is head)
        code = f'from transformers import {auto}\n\nmodel = {auto}.from_pretrained("{repository}"{{trust}})'
    code += (
        "\n\nfrom sentence_transformers import SentenceTransformer\n\n"
        f'vectors = SentenceTransformer("{repository}"{{trust}}).encode(["A sentence.", "Another one."])'
    )
    more = (
        "sentence-transformers gives the mean of a text's hidden states, not scaled; the model was not trained to make "
        "like texts alike."
    )
    return usage(config, "metaformer_nlp", code, more)


def _labels(config: PreTrainedConfig, head: _Head) -> str:
    names = [str(name) for name in (config.id2label or {}).values()]
    if "classifier" not in head.title or names == [f"LABEL_{index}" for index in range(len(names))]:
        return ""
    return f"Labels: {', '.join(names)}."


def _scores(result: Mapping[str, Any], group: str = "metrics") -> dict[str, float]:
    """Metrics of the run; GLUE's score, the mean of those beside it, is left out."""
    return {name: float(value) for name, value in (result.get(group) or {}).items() if _kind(name) != "score"}


def _results(config: PreTrainedConfig, result: Mapping[str, Any]) -> str:
    metrics = _scores(result)
    if not metrics:
        return ""
    note = ""
    if any(_kind(name) == "perplexity" for name in metrics):
        note = "\n\nOf masked tokens of held-out text, 15 % of it; the perplexity is e to the loss, in nats a token."
    constant = {
        f"{name}, always the most frequent answer": value for name, value in _scores(result, "constant").items()
    }
    rows = [(name, f"{value:.4f}") for name, value in {**metrics, **constant}.items()]
    return f"## Results\n\n{table(('Metric', 'Value'), rows)}{note}"


def _masking(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the training of text alone has."""
    masking, data = settings.get("masking") or {}, settings.get("data") or {}
    hidden = f"{100 * masking['rate']:g} % of the tokens" if "rate" in masking else None
    if hidden and masking.get("whole_words"):
        hidden += ", whole words"
    return {"Masked": hidden, "Length": f"{data['max_length']} tokens" if "max_length" in data else None}


def _limits(head: _Head, data: str | None) -> str:
    known = data or "its training data"
    if "classifier" in head.title:
        first = (
            f"The model knows the labels of {known} and gives one of them for every text, also for text of another kind"
        )
    else:
        first = f"The model learned from {known}, and what it says is what is likely there, true or not"
    return f"## Limits\n\n{first}. It was not examined for bias, nor for robustness to other kinds of text."
