"""Is it the architecture or the token mixer? Plans and runs a study file, and writes its report.

Run again, "run" goes on where it was stopped. More: docs/studies.md.
"""

import argparse
import shlex
import sys
from pathlib import Path

from metaformer_nlp.study.command_line import study_parser
from metaformer_nlp.study.protocol.file import Names, load_study
from metaformer_nlp.study.protocol.study import Study
from tasks.experiments import EXPERIMENTS, FORMER_NAMES


def run(study: Study, folder: Path, options: argparse.Namespace) -> int:
    from metaformer_nlp.config.command_line import command_words, from_dict
    from metaformer_nlp.study.analysis.more_seeds import with_further_seeds
    from metaformer_nlp.study.report.write import build_report
    from metaformer_nlp.study.runner.executors import read_options
    from metaformer_nlp.study.runner.runner import run_study

    command, slurm = shlex.join(command_words(sys.argv)), read_options(options.slurm)
    how = options.parallel, command, options.executor, slurm, options.only
    done = run_study(study, folder, from_dict, *how, with_further_seeds)
    if done.finished or done.failed:
        print(f"Report: {build_report(folder).as_uri()}")
    return 130 if done.interrupted else int(bool(done.failed or done.blocked))


def plan(study: Study, folder: Path, options: argparse.Namespace) -> int:
    from metaformer_nlp.config.command_line import from_dict
    from metaformer_nlp.study.analysis.more_seeds import with_further_seeds
    from metaformer_nlp.study.preview.overview import describe

    described = describe(with_further_seeds(study, folder), folder, from_dict, options.parallel)
    print(described.text)
    return 2 if described.problems else 0


def main() -> int:
    """Each command imports what it needs, after its line was understood."""
    options = study_parser(__doc__).parse_args()
    try:
        if options.command == "report":
            from metaformer_nlp.study.report.write import build_report

            print(f"Report: {build_report(*options.folders, output=options.output).as_uri()}")
            return 0
        study = load_study(options.file, Names(EXPERIMENTS, FORMER_NAMES))
        start = run if options.command == "run" else plan
        return start(study, options.folder or Path("runs") / study.name, options)
    except (ValueError, OSError) as error:  # an OSError names its file
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
