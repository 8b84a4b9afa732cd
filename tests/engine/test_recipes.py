"""What the field's recipes ask of the engine beside plain training: averages, the best model, repeats, layer decay."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from metaformer_nlp.engine import checkpoint
from metaformer_nlp.engine.average import WeightAverage
from metaformer_nlp.engine.config import OptimConfig
from metaformer_nlp.engine.optimizer import build_optimizer, set_learning_rate
from metaformer_nlp.engine.order import BatchLayout, KeyedSamples, MicroBatches, key_at, permutation
from tests.engine import toy
from tests.engine.harness import lines, steps_kept


def tensors(folder: Path, step: int, name: str = "model") -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / f"step-{step:08d}" / f"{name}.safetensors")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    saved = json.loads((folder / "weights.json").read_text())
    return {name: torch.tensor(values) for name, values in saved.items()}


def test_the_average_is_what_is_evaluated_and_saved(tmp_path: Path) -> None:
    options: dict[str, Any] = {"lr": 0.1, "steps": 4, "save_every": 1, "keep_checkpoints": 9, "dropout": 0.0}
    plain, averaged = tmp_path / "plain", tmp_path / "averaged"
    toy.train(tmp_path / "initial", steps=0, dropout=0.0)
    toy.train(plain, **options)
    toy.train(averaged, ema_decay=0.6, eval_every=2, **options)
    expected = weights(tmp_path / "initial" / "model")
    for step in range(1, 5):
        now = tensors(averaged, step)
        for name, value in tensors(plain, step).items():
            assert torch.equal(value, now[name]), "averaging or evaluating has changed the training"
            whole = not value.is_floating_point()
            expected[name] = value if whole else 0.6 * expected[name] + 0.4 * value
        for name, value in tensors(averaged, step, "average").items():
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-7)
    saved = weights(averaged / "model")
    for name, value in saved.items():
        torch.testing.assert_close(value, expected[name].to(value.dtype), rtol=1e-5, atol=1e-7)
    task = toy.ToyTask(dropout=0.0)
    model = task.build_model()
    model.load_state_dict(saved)
    data = task.eval_data["validation"]
    with torch.no_grad():
        batch = task.collate([data.sample(index, None) for index in range(len(data))])
        found = task.summarize("validation", [task.evaluate_batch(model.eval(), batch)])
    result = json.loads((averaged / "result.json").read_text())
    assert result["metrics"]["validation/loss"] == pytest.approx(found["loss"], rel=1e-5)


def test_an_average_takes_no_part_in_a_failed_evaluation() -> None:
    model = nn.Linear(2, 2)
    average = WeightAverage(model, 0.5)
    before = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1.0)

    def evaluate() -> None:
        with average.applied():
            assert torch.equal(model.weight, before)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        evaluate()
    assert torch.equal(model.weight, before + 1.0)
    average.update()
    with average.applied():
        torch.testing.assert_close(model.weight, nn.Parameter(before + 0.5))


@pytest.mark.parametrize("average", [None, 0.3])
def test_the_best_evaluation_is_kept(tmp_path: Path, average: float | None) -> None:
    options = {"steps": 12, "eval_every": 2, "save_every": 5, "lr": 0.7, "keep_checkpoints": 1, "kind": "constant"}
    result = toy.train(tmp_path, keep_best="validation/loss", ema_decay=average, **options)
    losses = {line["step"]: line["validation/loss"] for line in lines(tmp_path) if "validation/loss" in line}
    best = min(losses, key=losses.__getitem__)
    assert best not in (2, 12)
    assert result["best"] == {"step": best, "validation/loss": losses[best]}
    assert steps_kept(tmp_path) == [12, best]
    expected = tensors(tmp_path, best, "average" if average else "model")
    for name, value in weights(tmp_path / "model-best").items():
        assert torch.equal(value.to(expected[name].dtype), expected[name])
    assert (tmp_path / "model-best" / "weights.json").read_text() != (tmp_path / "model" / "weights.json").read_text()


def test_higher_is_better_unless_it_is_a_loss(tmp_path: Path) -> None:
    options = {"steps": 6, "eval_every": 2, "lr": 0.02}
    assert toy.train(tmp_path / "a", keep_best="validation/median", **options)["best"]["step"] == 2
    last = toy.train(tmp_path / "b", keep_best="validation/loss", keep_checkpoints=0, **options)
    assert last["best"]["step"] == 6
    assert not (tmp_path / "b" / "checkpoints").exists()
    assert (tmp_path / "b" / "model-best" / "weights.json").exists()
    with pytest.raises(ValueError, match=r"validation/accuracy.*validation/loss"):
        toy.train(tmp_path / "c", keep_best="validation/accuracy", **options)
    with pytest.raises(ValueError, match=r"val/loss.*validation, tiny"):
        toy.train(tmp_path / "d", keep_best="val/loss", **options)
    assert not (tmp_path / "d" / "metrics.jsonl").exists()  # before the training, not after it


def test_a_best_checkpoint_that_is_lost_costs_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = checkpoint.best_model

    def lose(root: Path, step: int) -> Any:
        (root / f"step-{step:08d}" / "model.safetensors").write_bytes(b"")
        return original(root, step)

    monkeypatch.setattr(checkpoint, "best_model", lose)
    toy.train(tmp_path, keep_best="validation/median", steps=6, eval_every=2, lr=0.02)
    assert (tmp_path / "result.json").exists()
    assert not (tmp_path / "model-best").exists()


def test_summary(tmp_path: Path) -> None:
    toy.train(tmp_path, steps=7, eval_every=3, log_every=2, kind="constant")
    with (tmp_path / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    written = lines(tmp_path)
    evaluated = [line for line in written if "validation/loss" in line]
    losses = {line["step"]: line["loss"] for line in written if "loss" in line}
    assert [int(row["step"]) for row in rows] == [3, 6, 7]
    assert [float(row["epoch"]) for row in rows] == pytest.approx([12 * step / 37 for step in (3, 6, 7)])
    assert [float(row["lr"]) for row in rows] == [0.01] * 3
    assert [float(row["train_loss"]) for row in rows] == [losses[2], losses[6], losses[7]]
    for row, line in zip(rows, evaluated, strict=True):
        assert {name: float(value) for name, value in row.items() if "/" in name} == {
            name: value for name, value in line.items() if "/" in name
        }


def test_repeats_follow_each_other_with_draws_of_their_own() -> None:
    keys = [key_at(position, 7, 3, repeats=3) for position in range(14)]
    order = permutation(7, 3, 0).tolist()
    assert [index for _, index, _ in keys[:7]] == [order[0]] * 3 + [order[1]] * 3 + [order[2]]
    assert [repeat for *_, repeat in keys[:7]] == [0, 1, 2, 0, 1, 2, 0]
    assert [epoch for epoch, *_ in keys] == [0] * 7 + [1] * 7
    assert keys[7][1:] == (permutation(7, 3, 1)[0], 0)
    samples = MicroBatches(7, 3, BatchLayout.of(4, 2, 2), rank=1, repeats=3)
    assert list(samples.between(0, 8)) == [keys[2:4], keys[6:8]]

    class Data:
        def __len__(self) -> int:
            return 7

        def sample(self, index: int, rng: np.random.Generator) -> int:
            return int(rng.integers(2**62))

    assert len({KeyedSamples(Data(), 3)[key] for key in keys}) == 14


def test_a_run_repeats_its_samples(tmp_path: Path) -> None:
    seen: list[int] = []
    toy.train(tmp_path, steps=3, augmentation_repeats=3, seen=seen)
    assert seen == [index for index in permutation(37, 0, 0)[:12].tolist() for _ in range(3)]


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_layer_decay(name: Any) -> None:
    task = toy.ToyTask()
    model = task.build_model()
    optimizer = build_optimizer(model, OptimConfig(name=name, layer_decay=0.5), depths=task.layer_depths(model))
    set_learning_rate(optimizer, 0.8)
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {
        names[parameter]: (group["lr"], group["weight_decay"] > 0)
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert found == {
        "lift.weight": (0.2, True), "lift.bias": (0.2, False), "norm.weight": (0.2, False), "norm.bias": (0.2, False),
        "mix.weight": (0.4, True), "out.weight": (0.8, True), "out.bias": (0.8, False),
    }  # fmt: skip


def test_a_task_can_spare_weights_from_decay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.train(tmp_path / "all", steps=1, weight_decay=10.0)
    monkeypatch.setattr(toy.ToyTask, "not_decayed", lambda self, model: {"lift.weight"})
    toy.train(tmp_path / "but one", steps=1, weight_decay=10.0)
    decayed, spared = (tensors(tmp_path / folder, 1) for folder in ("all", "but one"))
    assert [name for name in decayed if not torch.equal(decayed[name], spared[name])] == ["lift.weight"]


def test_the_result_tells_what_was_used(tmp_path: Path) -> None:
    """And not what was asked for, where the batch was fitted to the data."""
    result = toy.train(tmp_path, steps=1, batch_size=100, fit_batch=True, lr=0.1, lr_batch_size=74)
    assert (result["batch_size"], result["lr"]) == (37, 0.05)


def test_layer_decay_needs_depths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy.ToyTask, "layer_depths", lambda self, model: {"lift.weight": 0})
    with pytest.raises(ValueError, match=r"no depth for mix\.weight, out\.weight"):
        toy.train(tmp_path / "a", layer_decay=0.5)
    monkeypatch.delattr(toy.ToyTask, "layer_depths")
    with pytest.raises(ValueError, match=r"optim\.layer_decay.*layer_depths"):
        toy.train(tmp_path / "b", layer_decay=0.5)
