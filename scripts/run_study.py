"""Is it the architecture or the token mixer? Runs a study file and writes its report.

    python scripts/run_study.py plan scripts/recipes/studies/quick.yaml
    python scripts/run_study.py run scripts/recipes/studies/quick.yaml
    python scripts/run_study.py report runs/quick

Run again, "run" goes on where it was stopped: finished cells are kept, failed ones tried again.
"""

import argparse
import shlex
import sys
from pathlib import Path

from metaformer_nlp.study.plan import Study
from metaformer_nlp.study.progress import describe
from metaformer_nlp.study.report import build_report
from metaformer_nlp.study.run import run_study
from metaformer_nlp.study.study_file import load_study
from tasks.cli import from_dict


def run(study: Study, folder: Path, parallel: int | None) -> int:
    summary = run_study(study, folder, from_dict, parallel, shlex.join(["python", *sys.argv]))
    print(f"\n{len(summary.finished)} cells finished, {len(summary.failed)} failed, {len(summary.left)} left.")
    if summary.interrupted:
        print(f"Interrupted. Go on with:\n  {shlex.join(['python', *sys.argv])}")
    if summary.finished:
        print(f"Report: {build_report(folder).as_uri()}")
    return 130 if summary.interrupted else int(bool(summary.failed))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("plan", "print the cells of a study file"), ("run", "run what is not finished, then report")):
        command = commands.add_parser(name, help=text)
        command.add_argument("file", type=Path, help="a study file, such as scripts/recipes/studies/quick.yaml")
        command.add_argument("--folder", type=Path, help="folder of the study (default: runs/NAME)")
        command.add_argument("--parallel", type=int, help="cells at once (default: as in the study file)")
    command = commands.add_parser("report", help="write the report of what is finished by now")
    command.add_argument("folder", type=Path, help="folder of the study, such as runs/quick")
    options = parser.parse_args()
    try:
        if options.command == "report":
            print(f"Report: {build_report(options.folder).as_uri()}")
            return 0
        study = load_study(options.file)
        folder = options.folder or Path("runs") / study.name
        if options.command == "run":
            return run(study, folder, options.parallel)
        print(describe(study, folder, options.parallel))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
