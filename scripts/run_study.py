"""Is it the architecture or the token mixer? Plans and runs a study file, and writes its report.

Run again, "run" goes on where it was stopped. More: docs/studies.md.
"""

import argparse
import shlex
import sys
from pathlib import Path

from metaformer_nlp.study.executors import EXECUTORS, read_options
from metaformer_nlp.study.overview import describe
from metaformer_nlp.study.plan import Study
from metaformer_nlp.study.report import build_report
from metaformer_nlp.study.run import run_study
from metaformer_nlp.study.study_file import load_study
from tasks.cli import from_dict


def run(study: Study, folder: Path, options: argparse.Namespace) -> int:
    command, slurm = shlex.join(["python", *sys.argv]), read_options(options.slurm)
    done = run_study(study, folder, from_dict, options.parallel, command, options.executor, slurm, options.only)
    if done.finished:
        print(f"Report: {build_report(folder).as_uri()}")
    return 130 if done.interrupted else int(bool(done.failed or done.blocked))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    plan = commands.add_parser("plan", help="print the cells of a study file and what they cost")
    start = commands.add_parser("run", help="run what is not finished, then report")
    for command in (plan, start):
        command.add_argument("file", type=Path, help="a study file, such as scripts/recipes/studies/quick.yaml")
        command.add_argument("--folder", type=Path, help="folder of the study (default: runs/NAME)")
        command.add_argument("--parallel", type=int, help="cells at once (default: as in the study file)")
    start.add_argument("--executor", choices=EXECUTORS, default="processes", help="where cells run: %(choices)s")
    start.add_argument("--slurm", nargs="+", default=[], metavar="NAME=VALUE", help="submitit's options for the jobs")
    start.add_argument("--only", nargs="+", default=[], metavar="CELL", help="only these, such as 'cifar10/pooling/*'")
    report = commands.add_parser("report", help="write the report of what is finished, of several studies as one")
    report.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="of a study or of a report")
    report.add_argument("--output", type=Path, help="folder of the report (default: FOLDER/report)")
    options = parser.parse_args()
    try:
        if options.command == "report":
            print(f"Report: {build_report(*options.folders, output=options.output).as_uri()}")
        else:
            study = load_study(options.file)
            folder = options.folder or Path("runs") / study.name
            if options.command == "run":
                return run(study, folder, options)
            print(describe(study, folder, from_dict, options.parallel))
        return 0
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
