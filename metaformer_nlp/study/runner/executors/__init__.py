"""How cells are started: in this process, as processes of this machine, as jobs of a cluster."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metaformer_nlp.config.yaml_text import read_yaml
from metaformer_nlp.study.protocol.study import Study
from metaformer_nlp.study.runner.cell import Build
from metaformer_nlp.study.runner.executors.base import Executor

EXECUTORS = {"processes": "Processes", "inline": "Inline", "slurm": "Slurm"}
"""The module of each executor, which is its name on the command line, and its class."""


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """The options of a cluster from a command line: ["timeout_min=240", "slurm_partition=gpu"]."""
    options = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise ValueError(f"--slurm {word!r} must be NAME=VALUE, such as timeout_min=240.")
        options[name] = read_yaml(value, f"--slurm {name}")
    return options


def make_executor(
    name: str, study: Study, folder: Path, build: Build, parallel: int | None, options: Mapping[str, Any]
) -> Executor:
    """The executor called `name`; `parallel` None is what the study says, `options` are those of the cluster.

    ValueError for an unknown name, options that do not fit, or a cluster that is not there.
    """
    if name not in EXECUTORS:
        raise ValueError(f"--executor {name!r} is unknown; allowed: {', '.join(EXECUTORS)}.")
    if parallel is not None and parallel < 1:
        raise ValueError(f"--parallel must be a whole number from 1 on, not {parallel}.")
    if options and name != "slurm":
        raise ValueError(f"Options of the cluster ({', '.join(options)}) are for --executor slurm, not {name}.")
    try:
        module = importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        raise ValueError(f"--executor {name} needs {error.name}: pip install 'metaformer-nlp[{name}]'") from error
    executor: Executor = getattr(module, EXECUTORS[name])(study, folder, build, parallel, options)
    return executor
