"""Checkpoints that are whole or not there.

A checkpoint is a folder `step-00001200` with `model.safetensors`, `optimizer.safetensors`, `average.safetensors` if the
weights are averaged, `state.json` and, written last, `manifest.json`: the size and sha256 of each other file. It is
written under a temporary name, flushed to the disk, renamed, and only then are older ones removed. A folder without a
matching manifest is no checkpoint, whatever else is in it, so that a kill at any moment leaves the previous one in
force. Nothing is pickled. `evaluated.json` is added later where the step is evaluated after it was saved.
"""

import errno
import hashlib
import json
import re
import shutil
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

from metaformer_nlp.engine.average import WeightAverage
from metaformer_nlp.engine.files import TEMPORARY, replace_text, sync, write_text

FORMAT = 1
MODEL, OPTIMIZER, STATE, MANIFEST = "model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"
AVERAGE = "average.safetensors"
EVALUATED = "evaluated.json"
_NAME = re.compile(r"step-(\d{8,})")


class CheckpointError(ValueError):
    """A checkpoint is damaged, or only damaged ones are there."""


@dataclass
class Snapshot:
    """What a checkpoint holds. Tensors are on the CPU, named as in the model that was not wrapped."""

    model: dict[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    """"<name of the state>/<name of the parameter>" -> tensor."""
    groups: list[dict[str, Any]] = field(default_factory=list)
    """The optimizer's groups, parameters by name."""
    average: dict[str, Tensor] = field(default_factory=dict)
    """The averaged weights; empty if they are not averaged."""


def checkpoint_event(name: str) -> None:
    """Called before and after every write of a save. Does nothing; tests replace it to fail or kill at that point."""


# ---- the state of wrapped models and optimizers (collective: every process calls these) ----


def take_model(model: nn.Module, average: WeightAverage | None = None) -> dict[str, Tensor]:
    """The whole model's state, with averaged weights if there are any, on the first process; empty on the others."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    with average.applied() if average else nullcontext():
        state: dict[str, Any] = get_model_state_dict(model, options=options)
        # On the CPU these are the model's own tensors, which are about to get their own values back.
        return {name: tensor.clone() for name, tensor in state.items()} if average else state


def take_snapshot(model: nn.Module, optimizer: Optimizer, average: WeightAverage | None = None) -> Snapshot:
    """The whole state, on the first process; empty on the others."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state: dict[str, Any] = get_optimizer_state_dict(model, optimizer, options=options)
    tensors = {
        f"{name}/{parameter}": torch.as_tensor(value)
        for parameter, values in state.get("state", {}).items()
        for name, value in values.items()
    }
    groups = [
        {name: value.item() if isinstance(value, Tensor) else value for name, value in group.items()}
        for group in state.get("param_groups", [])
    ]
    return Snapshot(take_model(model), tensors, groups, take_model(model, average) if average else {})


def restore_snapshot(
    model: nn.Module,
    optimizer: Optimizer,
    snapshot: Snapshot | None,
    world_size: int,
    average: WeightAverage | None = None,
) -> None:
    """Put a snapshot, which only the first process needs to have, into the model, the optimizer and the average of
    every process.
    """
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=world_size > 1)
    state: dict[str, Any] = {}
    if snapshot is not None:
        values: dict[str, dict[str, Tensor]] = {}
        for key, tensor in snapshot.optimizer.items():
            name, parameter = key.split("/", 1)
            values.setdefault(parameter, {})[name] = tensor
        state = {"state": values, "param_groups": snapshot.groups}
    if average is not None:
        set_model_state_dict(model, dict(snapshot.average) if snapshot else {}, options=options)
        average.reset()
    set_model_state_dict(model, dict(snapshot.model) if snapshot else {}, options=options)
    # Not strict here: a parameter that never had a gradient, as of an unused head, has no state.
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=world_size > 1, strict=False)
    set_optimizer_state_dict(model, optimizer, state, options=options)


# ---- folders (the first process only) ----


def _folder(root: Path, step: int) -> Path:
    return root / f"step-{step:08d}"


def write_checkpoint(
    root: Path, step: int, snapshot: Snapshot, state: dict[str, Any], keep: int, spare: int | None = None
) -> Path:
    """Write the checkpoint of `step` under `root`, then remove all but the `keep` newest (at least this one) and that
    of step `spare`.

    `state` holds JSON values. OSError names the path and says that the older checkpoints are untouched.
    """
    final = _folder(root, step)
    temporary = root / f"{TEMPORARY}{final.name}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        manifest: dict[str, Any] = {"format": FORMAT, "step": step, "files": {}}
        contents = json.dumps({**state, "optimizer_groups": snapshot.groups}, indent=1)
        tensors = {MODEL: snapshot.model, OPTIMIZER: snapshot.optimizer, AVERAGE: snapshot.average}
        for name in (MODEL, OPTIMIZER, *([AVERAGE] if snapshot.average else []), STATE):
            checkpoint_event(f"before {name}")
            if name == STATE:
                write_text(temporary / name, contents)
            else:
                _write_tensors(temporary / name, tensors[name])
            manifest["files"][name] = _identify(temporary / name)
            checkpoint_event(f"after {name}")
        checkpoint_event(f"before {MANIFEST}")
        write_text(temporary / MANIFEST, json.dumps(manifest, indent=1))
        sync(temporary)
        checkpoint_event("before rename")
        if final.exists():  # a damaged one: a whole one would have been resumed from, and its step not done again
            _remove(final)
        temporary.rename(final)
        sync(root)
        checkpoint_event("after rename")
        others = [path for path in checkpoint_folders(root) if path != final]
        newer = [path for path in others if _step(path) > step]  # damaged, likewise
        older = [path for path in others if _step(path) < step]
        for path in newer + [path for path in older[max(0, keep - 1) :] if _step(path) != spare]:
            checkpoint_event("before prune")
            _remove(path)
            checkpoint_event("after prune")
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = error.strerror or str(error)
        raise OSError(
            error.errno or errno.EIO,
            f"could not write the checkpoint of step {step} ({reason}); older checkpoints are untouched. "
            "Free some space or make the folder writable, then start the same command again",
            error.filename or str(final),
        ) from error
    return final


def checkpoint_folders(root: Path) -> list[Path]:
    """Folders that are named as checkpoints, newest first, verified or not."""
    if not root.is_dir():
        return []
    return sorted((path for path in root.iterdir() if _NAME.fullmatch(path.name)), key=_step, reverse=True)


def remove_leftovers(root: Path) -> None:
    """Remove what interrupted saves have left behind."""
    if root.is_dir():
        for path in root.glob(f"{TEMPORARY}*"):
            _delete(path)


def verify(folder: Path) -> None:
    """CheckpointError saying what is wrong with the checkpoint in `folder`, if anything is."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = dict(manifest["files"])
        known = manifest["format"] == FORMAT and manifest["step"] == _step(folder)
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: {MANIFEST} is missing") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}: {MANIFEST} cannot be read ({error})") from None
    if not known or set(files) - {AVERAGE} != {MODEL, OPTIMIZER, STATE}:
        raise CheckpointError(f"{folder}: {MANIFEST} is of another format or step, or does not list the right files")
    for name, expected in files.items():
        path = folder / name
        try:
            found = {"bytes": path.stat().st_size}
            if found["bytes"] == expected["bytes"]:
                found = _identify(path)
        except (OSError, KeyError, TypeError) as error:
            reason = getattr(error, "strerror", None) or f"{MANIFEST} does not know its size"
            raise CheckpointError(f"{folder}: {name} cannot be read ({reason})") from None
        if found != expected:
            what = "its contents have" if "sha256" in found else f"its size ({found['bytes']} bytes) has"
            raise CheckpointError(f"{folder}: {name} is damaged: {what} changed since it was written")


def newest_whole(root: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that verifies (None if there is no checkpoint at all), and why each newer one was passed
    over.

    CheckpointError if there are checkpoints but none is whole: starting over silently would destroy what can be saved
    by hand.
    """
    problems: list[str] = []
    for folder in checkpoint_folders(root):
        try:
            verify(folder)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        return folder, problems
    if problems:
        raise CheckpointError(
            "no checkpoint of this run is whole:\n  "
            + "\n  ".join(problems)
            + f"\nRestore one of them from a backup, or remove {root} to start over from step 0"
        )
    return None, []


def read_state(folder: Path) -> dict[str, Any]:
    """The JSON state of a verified checkpoint, with the progress after an evaluation that was noted later."""
    state: dict[str, Any] = json.loads((folder / STATE).read_text(encoding="utf-8"))
    with suppress(OSError, ValueError, TypeError):  # without it the step is evaluated again
        state["progress"] = dict(json.loads((folder / EVALUATED).read_text(encoding="utf-8")))
    return state


def note_evaluation(root: Path, step: int, progress: dict[str, Any]) -> None:
    """Add to the checkpoint of `step` that this step has been evaluated; without room for it, it is evaluated again."""
    with suppress(OSError):
        replace_text(_folder(root, step) / EVALUATED, json.dumps(progress))


def read_snapshot(folder: Path) -> Snapshot:
    """The tensors of a verified checkpoint."""
    groups = read_state(folder)["optimizer_groups"]
    try:
        average = load_file(folder / AVERAGE) if (folder / AVERAGE).exists() else {}
        return Snapshot(load_file(folder / MODEL), load_file(folder / OPTIMIZER), groups, average)
    except SafetensorError as error:
        raise CheckpointError(f"{folder}: not a safetensors file ({error})") from error


def best_model(root: Path, step: int) -> dict[str, Tensor]:
    """The model of the checkpoint of `step`, averaged if it was; CheckpointError if that is not whole."""
    folder = _folder(root, step)
    verify(folder)
    snapshot = read_snapshot(folder)
    return snapshot.average or snapshot.model


def _step(folder: Path) -> int:
    match = _NAME.fullmatch(folder.name)
    return int(match.group(1)) if match else -1


def _identify(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _remove(folder: Path) -> None:
    # Renamed first: a kill in the middle of the removal must not leave half a folder that looks like a checkpoint.
    doomed = folder.with_name(f"{TEMPORARY}removed-{folder.name}")
    _delete(doomed)
    folder.rename(doomed)
    _delete(doomed)


def _delete(path: Path) -> None:
    with suppress(OSError):  # what is left has a temporary name
        path.unlink() if path.is_file() or path.is_symlink() else shutil.rmtree(path, ignore_errors=True)


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    seen: set[int] = set()
    separate: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        # Tied weights are written once under each of their names: the format knows no sharing.
        shared = tensor.numel() > 0 and tensor.untyped_storage().data_ptr() in seen
        seen.add(tensor.untyped_storage().data_ptr())
        separate[name] = tensor.detach().clone() if shared else tensor.detach().contiguous()
    try:
        path.touch()
        mode = path.stat().st_mode
        save_file(separate, path)
        path.chmod(mode)  # safetensors lets nobody but the owner read it
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error
    sync(path)
