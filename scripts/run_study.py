"""Is it the architecture or the token mixer? Plans and runs a study file, and writes its report.

Run again, "run" goes on where it was stopped. More: docs/studies.md.
"""

import argparse
import shlex
import sys
from pathlib import Path

from metaformer_nlp.study.command_line import study_parser
from metaformer_nlp.study.plan import Study
from metaformer_nlp.study.study_file import load_study
from tasks.experiments import EXPERIMENTS


def run(study: Study, folder: Path, options: argparse.Namespace) -> int:
    from metaformer_nlp.study.executors import read_options
    from metaformer_nlp.study.report import build_report
    from metaformer_nlp.study.run import run_study
    from tasks.cli import from_dict

    command, slurm = shlex.join(["python", *sys.argv]), read_options(options.slurm)
    done = run_study(study, folder, from_dict, options.parallel, command, options.executor, slurm, options.only)
    if done.finished:
        print(f"Report: {build_report(folder).as_uri()}")
    return 130 if done.interrupted else int(bool(done.failed or done.blocked))


def plan(study: Study, folder: Path, options: argparse.Namespace) -> int:
    from metaformer_nlp.study.overview import describe
    from tasks.cli import from_dict

    described = describe(study, folder, from_dict, options.parallel)
    print(described.text)
    return 2 if described.refusals else 0


def main() -> int:
    """Each command imports what it needs, after its line was understood."""
    options = study_parser(__doc__).parse_args()
    try:
        if options.command == "report":
            from metaformer_nlp.study.report import build_report

            print(f"Report: {build_report(*options.folders, output=options.output).as_uri()}")
            return 0
        study = load_study(options.file, EXPERIMENTS)
        start = run if options.command == "run" else plan
        return start(study, options.folder or Path("runs") / study.name, options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
