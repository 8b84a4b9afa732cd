"""What a run leaves behind, and the ways it can be run."""

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from metaformer_nlp.engine import checkpoint
from metaformer_nlp.engine.order import KeyedSamples, key_at, model_seed, seed_torch
from metaformer_nlp.engine.record import Progress
from metaformer_nlp.engine.run import Run
from metaformer_nlp.engine.signals import _launches
from tests.engine import toy
from tests.engine.harness import at_step, contents, die, launch, lines, steps_kept, train_alone


def test_a_run_folder_explains_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "deep" / "run"
    result = toy.train(folder, steps=None, epochs=2, eval_every=3, save_every=4, micro_batch_size=3, seed=2)
    said = capsys.readouterr()
    assert "world size 1 | device" in said.out
    assert "global batch 12 = 3 samples x 4 accumulated x 1 processes | from step 0 to 7" in said.out
    assert said.err == ""  # no progress bar where there is no terminal
    assert {path.name for path in folder.iterdir()} == {
        "checkpoints", "config.json", "environment.json", "metrics.jsonl", "model", "result.json", "run.lock",
        "summary.csv", "items.json",
    }  # fmt: skip
    assert json.loads((folder / "result.json").read_text()) == result
    assert result["train"]["steps"] == 7
    assert result["train"]["samples"] == 84
    assert result["parameters"] == {"total": 4 * 8 + 8 + 16 + 64 + 8 + 9, "trainable": 4 * 8 + 8 + 16 + 64 + 9}
    assert (result["batch_size"], result["lr"]) == (12, 0.01)
    assert result["macs"] == 123
    assert set(result["metrics"]) == {
        f"{split}/{name}" for split in ("validation", "tiny") for name in ("loss", "median", "rows", "small")
    }
    config = json.loads((folder / "config.json").read_text())
    assert config["run"]["seed"] == 2
    assert config["run"]["mixed_precision"] == "no"
    assert config["model"] == {"width": 8}
    (start,) = json.loads((folder / "environment.json").read_text())["starts"]
    assert torch.__version__.startswith(start["packages"]["torch"])
    training = [line for line in lines(folder) if "loss" in line]
    assert [line["step"] for line in training] == [2, 4, 6, 7]
    assert [line["step"] for line in lines(folder) if "validation/loss" in line] == [3, 6, 7]
    assert training[-1]["loss"] == result["train"]["loss"]
    assert steps_kept(folder) == [7, 4]
    assert (folder / "model" / "weights.json").exists()
    modes = {path.stat().st_mode & 0o777 for path in (folder / "checkpoints" / "step-00000007").iterdir()}
    assert len(modes) == 1  # whoever may read one file of a checkpoint may read all


def test_the_logged_loss_is_the_mean_over_all_samples_of_the_window(tmp_path: Path) -> None:
    toy.train(tmp_path / "one", steps=6, log_every=1, lr=0.0)
    toy.train(tmp_path / "three", steps=6, log_every=3, lr=0.0)
    counts = [sum(1 + toy_key % 5 for toy_key in keys) for keys in _indices(6)]
    single = [line["loss"] for line in lines(tmp_path / "one") if "loss" in line]
    for number, line in enumerate(line for line in lines(tmp_path / "three") if "loss" in line):
        part = slice(3 * number, 3 * number + 3)
        mean = sum(loss * count for loss, count in zip(single[part], counts[part], strict=True)) / sum(counts[part])
        assert line["loss"] == pytest.approx(mean, rel=1e-9)


@pytest.mark.parametrize("micro", [12, 4])
def test_the_gradient_is_that_of_the_sum_over_the_global_count(micro: int, tmp_path: Path) -> None:
    """By hand, for the first step: a division by samples, or of each part by its own count, would show."""
    toy.train(tmp_path / "run", steps=1, log_every=1, norm=False, dropout=0.0, micro_batch_size=micro)
    task = toy.ToyTask(norm=False, dropout=0.0)
    seed_torch(model_seed(0), torch.device("cpu"))
    model = task.build_model()
    samples = KeyedSamples(task.train_data, 0)
    loss, count = task.loss(model, task.collate([samples[key_at(position, 37, 0)] for position in range(12)]))
    assert count != 12
    (loss / count).backward()
    norm = torch.stack([weight.grad.norm() for weight in model.parameters() if weight.grad is not None]).norm()
    line = next(line for line in lines(tmp_path / "run") if "loss" in line)
    assert line["gradient_norm"] == pytest.approx(norm.item(), rel=1e-5)
    assert line["loss"] == pytest.approx((loss / count).item(), rel=1e-6)


def _indices(steps: int) -> list[list[int]]:
    return [[key_at(position, 37, 0)[1] for position in range(12 * step, 12 * step + 12)] for step in range(steps)]


def test_it_learns(tmp_path: Path) -> None:
    before = toy.train(tmp_path / "before", steps=0)
    after = toy.train(tmp_path / "after", steps=150, dropout=0.0)
    assert after["metrics"]["validation/loss"] < 0.3 * before["metrics"]["validation/loss"]
    assert not (tmp_path / "before" / "checkpoints").exists()


def test_a_last_evaluation_that_fails_does_not_cost_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreadable(*_: Any) -> Any:
        raise OSError("an image of the validation part cannot be read")

    toy.train(tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(toy.ToyTask, "evaluate_batch", unreadable)
        with pytest.raises(OSError, match="cannot be read"):
            toy.train(tmp_path / "run")
    trained = list[int]()
    toy.train(tmp_path / "run", seen=trained)
    assert trained == [], "all steps were saved"
    assert contents(tmp_path / "run")["model"] == contents(tmp_path / "whole")["model"]


def test_a_finished_run_whose_metric_is_no_number_is_returned_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(toy.ToyTask, "summarize", lambda *_: {"loss": math.nan, "small": 0.5})
    first = toy.train(tmp_path)
    again = toy.train(tmp_path)
    assert math.isnan(again["metrics"]["validation/loss"])
    assert again["metrics"]["validation/small"] == first["metrics"]["validation/small"]
    assert "validation/loss nan" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "best"), [("perplexity", 3), ("loss", 3), ("accuracy", 1)])
def test_less_is_better_of_a_loss_and_of_a_perplexity(name: str, best: int) -> None:
    run = SimpleNamespace(config=SimpleNamespace(keep_best=f"validation/{name}"), progress=Progress())
    for step, value in enumerate((300.0, 200.0, 100.0), start=1):
        run.progress.step = step
        Run._note_best(run, {f"validation/{name}": value})  # type: ignore[arg-type]
    assert run.progress.best_step == best


@pytest.mark.parametrize(
    ("words", "launches"),
    [
        (["/env/bin/python", "/env/bin/accelerate", "launch", "train.py"], True),
        (["accelerate-launch", "train.py"], True),
        (["python", "-m", "accelerate.commands.launch", "train.py"], True),
        (["bash", "/home/me/run_accelerate.sh"], False),
        (["bash", "./accelerate.run.sh"], False),
        (["bash", "-c", "cd accelerate.d; python train.py"], False),
        ([], False),
    ],
)
def test_only_accelerates_own_launcher_is_taken_for_it(words: list[str], launches: bool) -> None:
    """A run whose launcher has died saves and stops; one that was started from a script goes on without it."""
    assert _launches(words) == launches


def test_readers_seeds_and_micro_batches_do_what_they_say(tmp_path: Path) -> None:
    toy.train(tmp_path / "a")
    toy.train(tmp_path / "b", num_workers=2)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    toy.train(tmp_path / "c", seed=1)
    assert contents(tmp_path / "a")["model"] != contents(tmp_path / "c")["model"]


def test_a_model_that_comes_in_evaluation_mode_is_trained_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.train(tmp_path / "a")
    original = toy.ToyTask.build_model
    monkeypatch.setattr(toy.ToyTask, "build_model", lambda self: original(self).eval())
    toy.train(tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_no_checkpoints_are_kept_if_none_are_wanted(tmp_path: Path) -> None:
    options = {"steps": 6, "save_every": 2, "keep_checkpoints": 0}
    launch(tmp_path / "run", prepare=at_step(5, die), **options)
    assert steps_kept(tmp_path / "run") == [4]
    train_alone(tmp_path / "run", **options)
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_bf16_and_resume(tmp_path: Path) -> None:
    options = {"steps": 6, "save_every": 3, "mixed_precision": "bf16"}
    toy.train(tmp_path / "whole", **options)
    launch(tmp_path / "run", prepare=at_step(4, die), **options)
    toy.train(tmp_path / "run", **options)
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")
    toy.train(tmp_path / "float32", steps=6)
    assert contents(tmp_path / "float32")["model"] != contents(tmp_path / "whole")["model"]
    dtypes = {
        tensor.dtype for tensor in load_file(tmp_path / "run/checkpoints/step-00000006/model.safetensors").values()
    }
    assert dtypes == {torch.float32, torch.int64}


def test_sgd_with_a_step_schedule_survives_a_kill(tmp_path: Path) -> None:
    options = {"name": "sgd", "momentum": 0.9, "epochs": 2, "kind": "step", "milestones": [1], "factor": 0.1}
    toy.train(tmp_path / "whole", **options)
    launch(tmp_path / "run", prepare=at_step(5, die), save_every=3, **options)
    toy.train(tmp_path / "run", save_every=3, **options)
    assert contents(tmp_path / "run")["model"] == contents(tmp_path / "whole")["model"]
    toy.train(tmp_path / "still", **options | {"momentum": 0.0})
    assert contents(tmp_path / "still")["model"] != contents(tmp_path / "whole")["model"]


def test_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled(self, backend="eager"))
    toy.train(tmp_path / "run", compile=True, steps=4, save_every=2, dropout=0.0)
    saved = load_file(tmp_path / "run" / "checkpoints" / "step-00000004" / "model.safetensors")
    assert set(saved) == set(toy.ToyModel(8, 0.0).state_dict())
    toy.train(tmp_path / "plain", steps=4, dropout=0.0)
    plain = load_file(tmp_path / "plain" / "checkpoints" / "step-00000004" / "model.safetensors")
    for name, tensor in plain.items():
        torch.testing.assert_close(saved[name], tensor)


def test_trackers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    toy.train(tmp_path / "run", tracker="tensorboard")
    assert list((tmp_path / "run" / "tracker").rglob("events.out*"))
    with pytest.raises(ValueError, match=r"tensorbord.*tensorboard.*wandb"):
        toy.train(tmp_path / "other", tracker="tensorbord")


@pytest.mark.parametrize("data", ["train", "evaluation"])
def test_empty_data_is_an_error(tmp_path: Path, data: str) -> None:
    with pytest.raises(ValueError, match="no samples"):
        toy.train(tmp_path / "run", **{data: 0})
    assert not (tmp_path / "run" / "metrics.jsonl").exists()  # found before the training, not after it


def test_tied_weights_and_frozen_parameters_survive_a_checkpoint(tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = toy.ToyModel(4, 0.0)
    optimizer = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad])
    model(torch.randn(6, 4)).sum().backward()
    optimizer.step()
    path = checkpoint.write_checkpoint(tmp_path, 3, checkpoint.take_snapshot(model, optimizer), {"note": 1}, keep=1)
    other = toy.ToyModel(4, 0.0)
    fresh = torch.optim.AdamW([parameter for parameter in other.parameters() if parameter.requires_grad])
    checkpoint.restore_snapshot(other, fresh, checkpoint.read_snapshot(path), world_size=1)
    assert other.tied.weight is other.mix.weight
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        for name, value in optimizer.state[mine].items():
            assert torch.equal(value, fresh.state[theirs][name])
    assert checkpoint.read_state(path)["note"] == 1


def test_a_model_that_cannot_be_saved_leaves_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save(self: toy.ToyTask, model: torch.nn.Module, folder: Path) -> None:
        (folder / "half").write_text("")
        raise OSError(28, "no space left", str(folder))

    original = toy.ToyTask.save_model
    monkeypatch.setattr(toy.ToyTask, "save_model", save)
    with pytest.raises(OSError, match="no space"):
        toy.train(tmp_path / "run")
    monkeypatch.setattr(toy.ToyTask, "save_model", original)
    assert not (tmp_path / "run" / "model").exists()
    toy.train(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "model").iterdir()] == ["weights.json"]


@pytest.mark.distributed
def test_a_batch_is_fitted_to_the_data_and_stays_what_it_was(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    options = {
        "batch_size": 1024,
        "fit_batch": True,
        "lr_batch_size": 1024,
        "steps": 3,
        "kind": "constant",
        "save_every": 1,
    }
    outcomes = launch(tmp_path / "run", 2, prepare=at_step(2, die), **options)
    assert [outcome.code for outcome in outcomes] == [-9, -9], [outcome.said for outcome in outcomes]
    said = (tmp_path / "run.rank0.log").read_text()
    assert "scaled: 37 training samples are fewer than run.batch_size 1024: global batch 36 = 18 x 1 x 2" in said
    assert "lr 0.01 x 36/1024 = 0.000352" in said
    with pytest.raises(ValueError, match=r"fitted\.batch_size: 36 -> 37\n.*numbers of samples and processes"):
        toy.train(tmp_path / "run", **options)
    outcomes = launch(tmp_path / "run", 2, **options)
    assert [outcome.code for outcome in outcomes] == [0, 0], [outcome.said for outcome in outcomes]
    assert [line["lr"] for line in lines(tmp_path / "run") if "lr" in line] == 2 * [0.01 * 36 / 1024]
    capsys.readouterr()
    toy.train(tmp_path / "other", batch_size=12, fit_batch=True, lr_batch_size=12)
    assert "scaled" not in capsys.readouterr().out


def test_what_is_no_task_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Duck:
        __init__ = toy.ToyTask.__init__
        fingerprint = toy.ToyTask.fingerprint

    monkeypatch.setattr(toy, "ToyTask", Duck)
    with pytest.raises(TypeError, match=r"Duck is no metaformer_nlp\.engine\.Task.*class Duck\(Task\)"):
        toy.train(tmp_path)


def test_a_task_needs_only_the_abstract_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("macs", "layer_depths", "items"):
        monkeypatch.delattr(toy.ToyTask, name)
    result = toy.train(tmp_path, steps=2, keep_best="validation/loss")
    assert result["metrics"]["validation/loss"] > 0
    assert not {"macs", "tokens_per_second"} & result.keys()
    assert not (tmp_path / "items.json").exists()


def test_the_engine_knows_nothing_of_ours() -> None:
    folder = Path(checkpoint.__file__).parent
    wrong = ("metaformer_nlp.core", "metaformer_nlp.text", "metaformer_nlp.study", "import vision", "import tasks")
    for path in folder.glob("*.py"):
        assert not [word for word in (*wrong, "pickle.", "torch.load", "torch.save") if word in path.read_text()], path
        assert len(path.read_text().splitlines()) <= (150 if path.name == "loop.py" else 400)


@pytest.mark.parametrize("mixes", [True, False])
def test_where_samples_are_mixed_a_run_goes_on_with_the_same_micro_batches_only(
    mixes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toy.ToyTask, "mixes_samples", lambda _: mixes)
    options: dict[str, Any] = {"steps": 4, "save_every": 2, "norm": False, "dropout": 0.0}
    with monkeypatch.context() as patched:
        patched.setattr(toy.ToyTask, "evaluate_batch", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            toy.train(tmp_path, **options)
    if mixes:
        with pytest.raises(ValueError, match="samples_mixed_together: 12 -> 6"):
            toy.train(tmp_path, micro_batch_size=6, **options)
    assert toy.train(tmp_path, micro_batch_size=None if mixes else 6, **options)["train"]["steps"] == 4
    assert toy.train(tmp_path, micro_batch_size=3, **options)["train"]["steps"] == 4, "a finished run is returned"
