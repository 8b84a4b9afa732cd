"""Is it the architecture or the token mixer? Plans and runs a study file, and writes its report.

Run again, "run" goes on where it was stopped. More: docs/studies.md.
"""

import argparse
import shlex
import sys
from pathlib import Path

from metaformer_nlp.study.command_line import study_parser
from metaformer_nlp.study.executors import read_options
from metaformer_nlp.study.overview import describe
from metaformer_nlp.study.plan import Study
from metaformer_nlp.study.report import build_report
from metaformer_nlp.study.run import run_study
from metaformer_nlp.study.study_file import load_study
from tasks.cli import from_dict
from tasks.experiments import EXPERIMENTS


def run(study: Study, folder: Path, options: argparse.Namespace) -> int:
    command, slurm = shlex.join(["python", *sys.argv]), read_options(options.slurm)
    done = run_study(study, folder, from_dict, options.parallel, command, options.executor, slurm, options.only)
    if done.finished:
        print(f"Report: {build_report(folder).as_uri()}")
    return 130 if done.interrupted else int(bool(done.failed or done.blocked))


def main() -> int:
    options = study_parser(__doc__).parse_args()
    try:
        if options.command == "report":
            print(f"Report: {build_report(*options.folders, output=options.output).as_uri()}")
        else:
            study = load_study(options.file, EXPERIMENTS)
            folder = options.folder or Path("runs") / study.name
            if options.command == "run":
                return run(study, folder, options)
            plan = describe(study, folder, from_dict, options.parallel)
            print(plan.text)
            return 2 if plan.refusals else 0
        return 0
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
