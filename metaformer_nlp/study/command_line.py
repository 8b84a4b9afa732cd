"""The command line of scripts/run_study.py: its commands, their options and their help."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from metaformer_nlp.study.runner.executors import EXECUTORS

_EXAMPLES = """
examples:
  python scripts/run_study.py plan recipe:studies/quick
  python scripts/run_study.py run recipe:studies/quick --parallel 4
  python scripts/run_study.py report runs/quick

A study file is YAML: question, domains, arms, seeds. docs/studies.md goes through an example, and
docs/study_file.md has all keys; recipe:studies/quick is an example, too, and so are the files beside it.
"""
_PLAN = """Prints what a study file asks, what was decided beforehand and is held equal, its cells and trials, and what
they will take. It trains and writes nothing. Exit status 2 if run would refuse the study; the reason is at the end."""
_RUN = """Runs every cell of a study that is not finished, then writes the report. Started again it goes on where it was
stopped; started beside another runner it takes other cells. Exit status: 0 all is finished, 1 something failed, 2 the
study, an option or a file of your own does not fit, 130 interrupted."""
_RUN_EXAMPLES = """
examples:
  python scripts/run_study.py run quick.yaml --folder /big/disk/quick --parallel 4
  python scripts/run_study.py run images.yaml --only one_stage/pooling/seed-0   one cell and what it waits for
  python scripts/run_study.py run images.yaml --only 'one_stage/*/seed-0' '*/attention/*'
  python scripts/run_study.py run images.yaml --executor slurm --slurm timeout_min=240 slurm_partition=gpu
  python scripts/run_study.py run images.yaml --executor slurm --slurm timeout_min=60 cluster=local
                                                      the same jobs on this machine: a rehearsal without a cluster
"""
_REPORT = """Writes the report of what is finished: report.html, .md, .csv and .json. Of several folders it writes one,
as of one study with the domains of all; they must name the same baseline."""
_REPORT_EXAMPLES = """
examples:
  python scripts/run_study.py report runs/quick
  python scripts/run_study.py report docs/results/images docs/results/text --output runs/both
"""


def study_parser(description: str | None) -> argparse.ArgumentParser:
    """Parses ``plan FILE``, ``run FILE`` and ``report FOLDER ...`` with their options."""
    lines = argparse.RawDescriptionHelpFormatter  # descriptions and examples keep theirs
    parser = argparse.ArgumentParser(description=description, epilog=_EXAMPLES, formatter_class=lines)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, summary: str, details: str, examples: str) -> Callable[..., argparse.Action]:
        parser = commands.add_parser(name, help=summary, description=details, epilog=examples, formatter_class=lines)
        return parser.add_argument

    plan = command("plan", "print what a study file asks and takes", _PLAN, _EXAMPLES)
    run = command("run", "run what is not finished, then report", _RUN, _RUN_EXAMPLES)
    report = command(
        "report", "write the report of what is finished, of several studies as one", _REPORT, _REPORT_EXAMPLES
    )
    for add in (plan, run):
        add("file", type=Path, help="a study file, or a name such as recipe:studies/quick")
        add("--folder", type=Path, help="folder of the study's runs and report (default: runs/NAME)")
        at_once = "cells at once, one thread each (default: the file's parallel; of SLURM jobs 100)"
        add("--parallel", type=int, help=at_once)
    where = "where cells run: %(choices)s (default: %(default)s)"
    run("--executor", choices=list(EXECUTORS), default="processes", help=where)
    options = "submitit's options for the jobs; timeout_min is required, cluster=local runs them on this machine"
    run("--slurm", nargs="+", default=[], metavar="NAME=VALUE", help=options)
    only = (
        "only the cells DOMAIN/ARM/seed-N and trials DOMAIN/ARM/trial-N that match one of these (* is anything), and "
        "those they wait for (default: all)"
    )
    run("--only", nargs="+", default=[], metavar="PATTERN", help=only)
    report("folders", type=Path, nargs="+", metavar="FOLDER", help="of a study, or of a report made before")
    output = "folder of the report (default: FOLDER/report, or FOLDER if it is a report; needed for several)"
    report("--output", type=Path, help=output)
    return parser
