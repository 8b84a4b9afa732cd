"""What the lines of sessions.jsonl are read as, those that older studies wrote, too."""

from __future__ import annotations

import json

import pytest

from metaformer_nlp.study.runner.session_log import changes_of, file_and_folder, sessions_of

OLD = {"started": "2026-01-01", "seconds": 60, "command": "c", "parallel": 1, "cpu_count": 2, "interrupted": True}
FIRST = {"started": "2026-01-02T00:00:00.001", "command": "first", "host": "a", "parallel": 1, "cpu_count": 2}
SECOND = {**FIRST, "started": "2026-01-02T00:00:00.002", "command": "second"}
CHANGE = {"changed": {"claim": [None, {"arm": "pooling", "retains": 0.9}]}, "finished": 3, "time": "2026-01-03"}


def test_starts_are_brought_together_with_their_ends() -> None:
    end = {"started": SECOND["started"], "seconds": 5.0, "interrupted": True}
    lines = [*map(json.dumps, (OLD, FIRST, SECOND, CHANGE, end)), '{"started": "2026-01-0']
    old, killed, second = sessions_of(lines)
    assert old == OLD
    assert (killed["command"], killed["seconds"], killed["interrupted"]) == ("first", None, False)
    assert (second["command"], second["seconds"], second["interrupted"]) == ("second", 5.0, True)
    assert changes_of(lines) == [CHANGE]


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python scripts/run_study.py run a/b.yaml", ("a/b.yaml", None)),
        ("python scripts/run_study.py run --folder x b.yaml --only c d", ("b.yaml", "x")),
        ("python scripts/run_study.py run b.yaml --only c d --folder='my runs' --parallel 2", ("b.yaml", "my runs")),
        ("python scripts/run_study.py run --slurm time=5 mem=2 --parallel 2 b.yaml --fol x", ("b.yaml", "x")),
        ("metaformer run_study run recipe:studies/quick --folder x", ("recipe:studies/quick", "x")),
        ("python scripts/run_study.py report x", None),
        ("", None),
    ],
)
def test_the_file_and_the_folder_are_found_in_a_command(command: str, expected: tuple[str, str | None] | None) -> None:
    assert file_and_folder(command) == expected
