"""Sequence classification and regression on GLUE's tasks, and on the embedded suite in GLUE's layout.

One call may name several tasks and several seeds. Each is a run of its own in ``<folder>/<task>/``, or
``<folder>/seed-<n>/<task>/``; the folder above the tasks gets a ``result.json`` with every task's metrics, what a
constant answer scores, and the averages. All tasks have the same hyper-parameters, unless ``sweep`` chooses them.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoModelForSequenceClassification, PreTrainedTokenizerBase

from metaformer_nlp.config.command_line import to_dict
from metaformer_nlp.config.plugins import import_plugins
from metaformer_nlp.engine import run_training
from metaformer_nlp.engine.files import replace_text
from metaformer_nlp.engine.items import FILE, Items, read_items, write_items
from tasks.glue.files import available_tasks, read_split
from tasks.glue.options import DataConfig
from tasks.glue.options import FinetuningConfig as Config
from tasks.glue.sweep import Setting, choose, is_first_process
from tasks.glue.table import averages, combine, glue_table, render, results_table, show
from tasks.glue.task import GlueFinetuning
from tasks.glue.tasks import FROM_MNLI, GLUE, MNLI_STARTS, SUITE, GlueTask, task_named, task_of
from tasks.planned_cost import counted_once, parameters_of, planned_training, without_memory
from tasks.text.checkpoints import given_tokenizer, load_tokenizer
from tasks.text.encoding import tokenizer_key, trained_tokenizer
from tasks.text.english import english_documents
from tasks.text.masked_lm import saved_config, tokenizer_of
from tasks.text.model import TextModelConfig, encoder_macs

__all__ = ["Config", "DataConfig", "GlueFinetuning", "run"]

logger = logging.getLogger(__name__)


def cost(config: Config, start: Any = None) -> dict[str, Any]:
    """What ``run`` will take, without training: ``steps``, ``samples`` and ``tokens`` of all tasks together,
    ``parameters`` and ``macs`` of one row as of the first task's model, under the names of the result, and
    ``training_macs`` of all forward passes, taken as full rows of ``data.max_length`` tokens.

    Steps, samples and tokens are left out where ``schedule.minutes`` limits the run, MACs for encoders that are not
    ours. ``start`` is the configuration of the run that will make ``model.checkpoint``, where that is not there yet.

    Raises:
        ValueError: as ``run`` does, for options that do not fit (the checkpoint's, too) and data that is not there.
        NotImplementedError: for several runs in one, of which the cost is not known before.
    """
    import_plugins(config.plugins)
    if config.seeds is not None or config.sweep.settings() or config.mnli_checkpoint is not None:
        raise NotImplementedError("the cost of a run with seeds, sweep or mnli_checkpoint is not known before it")
    names, length = _task_names(config.data), config.data.max_length
    start = start if config.model.checkpoint is not None else None
    saved = None if start is None else saved_config(start)

    def tokenizer() -> PreTrainedTokenizerBase:
        its_own = start is None or config.data.tokenizer is not None
        return _tokenizer(config, names) if its_own else tokenizer_of(start)

    words = counted_once(tokenizer, config.data, config.model.checkpoint, start and start.data)
    total: dict[str, int] = {}
    first: dict[str, Any] = {}
    for name in names:
        task = task_named(name)

        def count(task: GlueTask = task) -> tuple[int, float]:
            data = GlueFinetuning(config.data, TextModelConfig(), task, words, held_out=config.data.held_out)
            return len(data.train_data), data.tokens_per_sample()

        num_samples, tokens_per_sample = counted_once(count, name, config.data, tokenizer_key(words))
        training = planned_training(config.run, config.optim, config.schedule, num_samples, tokens_per_sample)
        description = config.model.build_config(words, length, saved=saved, num_labels=len(task.labels or ("score",)))
        model = without_memory(lambda it=description: AutoModelForSequenceClassification.from_config(it))  # type: ignore[misc]
        macs = encoder_macs(model, length)
        if training and macs is not None:
            training["training_macs"] = round(macs * training["tokens"] / length)
        total = {key: total.get(key, 0) + value for key, value in training.items()}
        first = first or {"parameters": parameters_of(model), **({} if macs is None else {"macs": macs})}
    return {**total, **first}


def run(config: Config) -> dict[str, Any]:
    """Train and evaluate every task of ``config`` with every seed; returns what ``<folder>/result.json`` holds."""
    import_plugins(config.plugins)
    names = _task_names(config.data)
    _check_mnli(config, names)
    tokenizer = _tokenizer(config, names)
    settings = _sweep(config, names, tokenizer)
    if config.seeds is None:
        return _run_seed(config, names, tokenizer, settings)
    results = {}
    for seed in config.seeds:
        folder = Path(config.run.folder) / f"seed-{seed}"
        single = dataclasses.replace(config, run=dataclasses.replace(config.run, seed=seed, folder=str(folder)))
        results[seed] = _run_seed(single, names, tokenizer, settings)
    metrics = [result["metrics"] for result in results.values()]
    combined = {
        "metrics": {key: float(np.mean([found[key] for found in metrics])) for key in metrics[0]},
        "seeds": {str(seed): result["metrics"] for seed, result in results.items()},
        "seconds": sum(result["seconds"] for result in results.values()),
    }
    if is_first_process():
        _write(combined, Path(config.run.folder))
        show(render([*glue_table(metrics), *averages(metrics)]))
    return combined


def _run_seed(
    config: Config, names: Sequence[str], tokenizer: PreTrainedTokenizerBase, settings: Mapping[str, Setting]
) -> dict[str, Any]:
    """All tasks with one seed, and then those that begin with MNLI's model."""
    results, constants, counts = {}, {}, {}
    columns = [*names, *(name + FROM_MNLI for name in MNLI_STARTS if config.mnli_checkpoint and name in names)]
    for column in columns:
        name, folder = task_of(column).name, Path(config.run.folder) / column
        single = _with(config, settings.get(name, {}), name, folder)
        if column != name:
            own = str(Path(config.run.folder) / "MNLI" / "model")
            checkpoint = own if config.mnli_checkpoint == "own" else str(config.mnli_checkpoint)
            single = dataclasses.replace(single, model=dataclasses.replace(single.model, checkpoint=checkpoint))
        words = tokenizer if column == name else load_tokenizer(str(single.model.checkpoint), "mnli_checkpoint")
        task = GlueFinetuning(
            single.data, single.model, task_named(name), words, held_out=single.data.held_out, predictions=folder
        )
        results[column] = _train(task, single)
        constants[column], counts[column] = task.constant(), task.counts()
    combined = combine(results, constants, counts)
    if is_first_process():
        _write(combined, Path(config.run.folder))
        _combine_items(columns, Path(config.run.folder))
        show(results_table(columns, results, constants, combined["metrics"]))
    return combined


def _sweep(config: Config, names: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> dict[str, Setting]:
    """Task -> the setting chosen for it; empty if there is nothing to choose. The cost is said before it is spent."""
    settings = config.sweep.settings()
    if not settings:
        return {}
    root, runs = Path(config.run.folder) / "sweep", len(config.seeds or [config.run.seed])
    tasks = {
        name: GlueFinetuning(config.data, config.model, task_named(name), tokenizer, held_out=config.sweep.share)
        for name in names
    }
    if is_first_process():
        for name, task in tasks.items():
            rows, held = len(task.train_data), len(task.eval_data["held_out"])
            lengths = ", ".join(_length(_with(config, setting, name, root), rows) for setting in settings)
            print(
                f"sweep of {name}: {len(settings)} trials ({lengths}) on {rows} of {rows + held} training samples, "
                f"chosen on the other {held}; then {runs} run{'s' * (runs > 1)} on all of them",
                flush=True,
            )
    chosen = {}
    for name, task in tasks.items():

        def train(setting: Setting, folder: Path, task: GlueFinetuning = task, name: str = name) -> dict[str, Any]:
            return _train(task, _with(config, setting, name, folder))

        about = {"task": name, "seed": config.run.seed, "rows": task.counts()}
        chosen[name] = choose(settings, config.sweep.share, root / name, about, train)
        if is_first_process():
            print(f"sweep of {name}: chosen {chosen[name]}; see {root / name / 'sweep.json'}", flush=True)
    return chosen


def _with(config: Config, setting: Setting, name: str, folder: Path) -> Config:
    """The configuration of one run: of one task, in its folder, with the setting that was chosen or is tried."""
    values: dict[str, dict[str, Any]] = {"run": {"folder": str(folder)}, "data": {"tasks": [name]}}
    for option, value in setting.items():
        group, key = option.split(".")
        values.setdefault(group, {})[key] = value
    groups = {group: dataclasses.replace(getattr(config, group), **changes) for group, changes in values.items()}
    return dataclasses.replace(config, **groups)


def _train(task: GlueFinetuning, config: Config) -> dict[str, Any]:
    # What has led to this run is not a part of it: it may be extended and called again.
    known = {key: value for key, value in to_dict(config).items() if key not in ("seeds", "sweep", "mnli_checkpoint")}
    return run_training(
        task, optim=config.optim, schedule=config.schedule, run=config.run, config=known, tracker=config.tracker
    )


def _length(config: Config, rows: int) -> str:
    schedule = config.schedule
    if schedule.epochs is not None:
        return f"{math.ceil(schedule.epochs * rows / config.run.batch_size)} steps"
    return f"{schedule.steps} steps" if schedule.steps is not None else "as long as the schedule says"


def _write(result: Mapping[str, Any], folder: Path) -> None:
    replace_text(folder / "result.json", json.dumps(result, indent=2) + "\n")


def _combine_items(columns: Sequence[str], folder: Path) -> None:
    """What each task's run knows of its items, for all of them: ``<split>/<task>/correct``, as metrics are named."""
    combined: Items = {}
    for column in columns:
        if (folder / column / FILE).exists():  # there is none of a score
            for key, bits in read_items(folder / column).items():
                split, name = key.split("/", 1)
                combined[f"{split}/{column}/{name}"] = bits
    if combined:
        write_items(folder, combined)


def _check_mnli(config: Config, names: Sequence[str]) -> None:
    if config.mnli_checkpoint is None:
        return
    if not set(names) & set(MNLI_STARTS):
        raise ValueError(f"mnli_checkpoint is given, but none of {', '.join(MNLI_STARTS)} is among data.tasks")
    if config.mnli_checkpoint == "own" and "MNLI" not in names:
        raise ValueError("mnli_checkpoint is own, but MNLI is not among data.tasks; name the folder of its model")
    if config.mnli_checkpoint != "own":
        load_tokenizer(config.mnli_checkpoint, "mnli_checkpoint")  # not only when all other tasks have been trained


def _task_names(data: DataConfig) -> list[str]:
    given = [data.tasks] if isinstance(data.tasks, str) else data.tasks
    names: list[str] = []
    for name in given:
        if name == "suite":
            names += SUITE
        elif name == "all" and data.root is not None:
            complete, partial = available_tasks(Path(data.root))
            if partial:
                logger.warning("%s: left out, since files are missing: %s", data.root, "; ".join(partial))
            names += complete
        elif name == "all":
            names += [task.name for task in GLUE.values() if task.train]
        else:
            task = task_named(name)
            if task.train is None:
                raise ValueError(f"{task.name} has no training data: it is predicted with a model of MNLI")
            names.append(task.name)
    if not names:
        raise ValueError("data.tasks is empty; name tasks, suite or all")
    return list(dict.fromkeys(names))


def _tokenizer(config: Config, names: Sequence[str]) -> PreTrainedTokenizerBase:
    given = given_tokenizer(config.data.tokenizer, config.model.checkpoint)
    if given is not None:
        return given
    # Small tasks alone have too few different words for a vocabulary; the embedded English is always there.
    texts = [document.text for document in english_documents()]
    for name in names:
        task = task_named(name)
        if task.name not in SUITE:  # whose texts are the embedded English
            texts += ["\n".join(row.texts) for row in read_split(task, "train", config.data.root)]
    return trained_tokenizer(texts, config.data.vocab_size)
