"""A study as large as a real one, made up from known truths: for tests of what is said, drawn and written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metaformer_nlp.study.analysis.results import Analysis
from metaformer_nlp.study.analysis.rows import empty_row
from metaformer_nlp.study.protocol.study import Study

Row = dict[str, Any]
Truth = Mapping[str, float | Mapping[str, float]]

# What each arm scores above chance as a share of the best possible, by domain.
SKILLS = {
    "attention": (0.70, 0.62, 0.95),
    "pooling": (0.66, 0.45, 0.45),
    "multi_window": (0.69, 0.55, 0.70),
    "depthwise_conv": (0.74, 0.57, 0.60),
    "fourier": (0.62, 0.50, 0.80),
    "spatial_mlp": (0.68, 0.52, 0.85),
    "identity": (0.48, 0.30, 0.02),
    "random": (0.40, 0.33, 0.30),
    "hybrid": (0.71, 0.60, 0.93),
    "no_residual": (0.20, 0.25, 0.05),
    "no_channel_mlp": (0.35, 0.36, 0.30),
}
TOY = Path(__file__).with_name("toy_experiment.py")
MIXERS = ("attention", "pooling", "identity", "conv", "fourier")
PARTS = ("no_residual", "no_norm")
CHANCES = (0.1, 0.5, 0.25)
DISTANCES = (1, 2, 4, 8, 16, 32)
GLUE = ("cola", "sst2", "mrpc", "stsb", "rte")


def large_study_data(seeds: int = 4) -> dict[str, Any]:
    """The content of a study file with three domains, nine mixers and two parts taken out."""
    domain = {"experiment": "tasks.image_classification", "config": [{"seconds": 0.0}], "metric": "validation/accuracy"}
    tasks = {name: {"metric": f"validation/{name}", "chance": CHANCES[1]} for name in GLUE}
    steps = {f"match {d}": {"metric": f"validation/match_{d}", "chance": CHANCES[2]} for d in DISTANCES}
    arms: dict[str, Any] = {}
    for name in SKILLS:
        arms[name] = {"kind": "mixer", "set": {"model.token_mixer": name}}
        if name.startswith("no_"):
            arms[name] |= {"kind": "architecture", "of": "pooling"}
    arms["no_channel_mlp"]["label"] = "no channel MLP"
    return {
        "name": "simulated",
        "question": "Is it the architecture or the token mixer? Made up numbers of known truth.",
        "baseline": "attention",
        "references": ["pooling"],
        "claim": {"arm": "pooling", "retains": 0.9},
        "domains": {
            "images": {
                **domain,
                "chance": CHANCES[0],
                "label": "CIFAR-10 images",
                "margin": 0.02,
                "equal": {"steps": 0.0, "parameters": 0.25, "macs": 0.5},
                "tune": {"key": "optim.lr", "values": [0.001, 0.003, 0.01], "metric": "held_out/accuracy"},
            },
            "text": {**domain, "chance": CHANCES[1], "label": "text (GLUE)", "tasks": tasks, "margin": 0.02},
            "probe": {**domain, "chance": CHANCES[2], "label": "matching probe", "tasks": steps, "axis": "distance"},
        },
        "arms": arms,
        "seeds": list(range(seeds)),
        "parallel": 2,
        "limits": ["The numbers are made up."],
    }


def simulated_rows(study: Study, skills: Mapping[str, tuple[float, ...]] = SKILLS, noise: float = 0.008) -> list[Row]:
    """The rows that `read_row` would give of a finished study."""
    rng = np.random.default_rng(0)
    rows = []
    for number, cell in enumerate(study.cells()):
        place = ("images", "text", "probe").index(cell.domain)
        skill, chance = skills[cell.arm][place], CHANCES[place]
        offsets = {"cola": -0.3, "sst2": 0.2, "mrpc": 0.0, "stsb": 0.1, "rte": -0.35}
        reach = {
            name: skill * float(np.exp(-np.log2(d) * (1 - skill) * 0.6)) for d in DISTANCES for name in [f"match {d}"]
        }
        shares = {
            task.name: reach.get(task.name, skill + offsets.get(task.name, 0.0))
            for task in study.domain(cell.domain).tasks
        }
        tasks = {
            name: {
                "score": float(chance + (1 - chance) * np.clip(share + rng.normal(0, 2 * noise), -0.05, 1)),
                "chance": chance,
            }
            for name, share in shares.items()
        }
        score = chance + (1 - chance) * skill + float(rng.normal(0, noise))
        if tasks:
            score = float(np.mean([task["score"] for task in tasks.values()]))
        cost = 1.0 + 0.1 * (sum(map(ord, cell.arm)) % 7)
        rows.append(
            {
                "domain": cell.domain,
                "arm": cell.arm,
                "seed": cell.seed,
                "status": "finished",
                "problem": None,
                "score": score,
                "chance": chance,
                "total": int(1_600_000 * (0.6 if cell.arm == "no_channel_mlp" else cost)),
                "trainable": 1_500_000,
                "macs": int(4e7 * cost * (1 + 2 * (cell.arm == "attention"))),
                "steps": 4000,
                "tokens": 2_000_000 if cell.domain == "text" else None,
                "train_seconds": 120 * cost + float(rng.normal(0, 2)),
                "cell_seconds": 130 * cost,
                "tasks": tasks,
                "tuned": {"optim.lr": [0.001, 0.003, 0.01][len(cell.arm) % 3]} if cell.domain == "images" else {},
                "curve": [
                    [
                        step,
                        chance + (score - chance) * (1 - float(np.exp(-step / 900))) + float(rng.normal(0, noise / 2)),
                    ]
                    for step in range(100, 4001, 100)
                ]
                if cell.domain != "probe"
                else [],
                "environment": {
                    "time": f"2026-01-01T00:{number % 60:02d}:00Z",
                    "command": ["made", "up"],
                    "commit": "0123456789abcdef",
                    "python": "3.11.7",
                    "packages": {"torch": "2.15.0", "numpy": "2.4.6"},
                    "machine": "Linux",
                    "threads": 1,
                    "gpu": None,
                },
            }
        )
    return rows


def small_study_data(seeds: int = 5, domains: Sequence[str] = ("vision",), **changes: Any) -> dict[str, Any]:
    """The content of a study file with five mixers, one of which mixes nothing, and two parts and a norm of pooling."""
    domain = {"experiment": str(TOY), "config": [{"seconds": 0.0}], "metric": "validation/accuracy", "chance": 0.1}
    arms: dict[str, Any] = {name: {"kind": "mixer", "set": {"model.token_mixer": name}} for name in MIXERS}
    for name in PARTS:
        arms[name] = {"kind": "architecture", "of": "pooling", "set": {f"model.{name}": True}}
    norm = {"model.token_mixer": "pooling", "model.norm": "batch_norm"}
    arms["batch_norm"] = {"kind": "variant", "of": "pooling", "set": norm}
    return {
        "name": "small",
        "question": "Does it work?",
        "baseline": "attention",
        "control": "identity",
        "claim": {"arm": "pooling", "gain": 0.5},
        "domains": {name: {**domain, "margin": 0.02} for name in domains},
        "arms": arms,
        "seeds": list(range(seeds)),
        "parallel": 1,
    } | changes


def words(analysis: Analysis) -> dict[str, str]:
    """The answer to each question of an analysis."""
    return {question.name: question.answer.word for question in analysis.questions}


def without_result(
    rows: Iterable[Row], arm: str, seeds: Sequence[int], status: str = "failed", domain: str | None = None
) -> list[Row]:
    """The rows with these runs failed or missing."""
    gone: Row = {"status": status, "problem": "diverged" if status == "failed" else None, "score": None, "chance": None}
    gone |= {"tasks": {}, "curve": []}
    return [
        row | gone if row["arm"] == arm and row["seed"] in seeds and domain in (None, row["domain"]) else row
        for row in rows
    ]


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def planted_rows(study: Study, truth: Truth, noise: float = 0.01, seed: int = 0) -> list[Row]:
    """The rows that `read_row` would give, with scores of known mean: of each arm, or of each arm in each domain."""
    rng = np.random.default_rng(seed)
    rows = []
    for cell in study.cells():
        mean = truth[cell.arm]
        score = float((mean[cell.domain] if isinstance(mean, Mapping) else mean) + rng.normal(0, noise))
        rows.append(
            {
                **empty_row(),
                "domain": cell.domain,
                "arm": cell.arm,
                "seed": cell.seed,
                "status": "finished",
                "score": score,
                "chance": 0.1,
                "total": 1000,
                "trainable": 900,
                "macs": 5_000_000,
                "steps": 10,
                "train_seconds": 1.0,
                "cell_seconds": 2.0,
                "tasks": {task.name: {"score": score, "chance": 0.2} for task in study.domain(cell.domain).tasks},
            }
        )
    return rows
