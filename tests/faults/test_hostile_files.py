"""Files of strangers that would run code, or take the memory: refused, and nothing of them is run."""

from __future__ import annotations

import json
import os
import pickle
import resource
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from metaformer_nlp import MetaFormerTextConfig, MetaFormerTextModel
from metaformer_nlp.engine import CheckpointError, checkpoint
from metaformer_nlp.engine.checkpoint import Snapshot, write_checkpoint

SMALL = {"vocab_size": 16, "hidden_size": 8, "num_hidden_layers": 1, "max_position_embeddings": 8}


def header(content: Any, data: bytes = b"", size: int | None = None) -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def tensor(start: int, end: int, shape: list[int]) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


HOSTILE = {
    "a header of 2 ** 62 bytes": header({}, size=2**62),
    "a header longer than the file": header({}, size=99),
    "a tensor of 2 ** 40 numbers": header({"a": tensor(0, 2**42, [2**40])}, b"\0" * 8),
    "a shape that overflows": header({"a": tensor(0, 8, [2**62, 2**62])}, b"\0" * 8),
    "tensors over one another": header({"a": tensor(0, 8, [2]), "b": tensor(4, 8, [1])}, b"\0" * 8),
    "a hole": header({"a": tensor(0, 4, [1]), "b": tensor(8, 12, [1])}, b"\0" * 12),
    "bytes after the end": header({"a": tensor(0, 4, [1])}, b"\0" * 8),
    "no header": header([1, 2]),
    "nothing": b"",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    MetaFormerTextModel(MetaFormerTextConfig(**SMALL)).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("name", HOSTILE)
def test_headers_of_safetensors(name: str, folder: Path, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (folder / "model.safetensors").write_bytes(HOSTILE[name])
    with pytest.raises(Exception, match=r"(?i)header|offset|invalid|incomplete|safetensor"):
        MetaFormerTextModel.from_pretrained(folder)
    made = write_checkpoint(tmp_path, 1, Snapshot({"a": torch.zeros(1)}), {}, keep=1)
    (made / checkpoint.MODEL).write_bytes(HOSTILE[name])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        checkpoint.verify(made)
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        checkpoint.read_snapshot(made)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kilobytes: nothing was allocated"


def test_names_of_tensors_are_no_paths(tmp_path: Path) -> None:
    made = write_checkpoint(tmp_path / "run", 1, Snapshot({"../../out": torch.zeros(1)}), {}, keep=1)
    assert list(checkpoint.read_snapshot(made).model) == ["../../out"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors"])
def test_a_pickle_with_code_is_not_run(name: str, folder: Path) -> None:
    marker = folder / "ran"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(marker),)

    (folder / "model.safetensors").unlink()
    torch.save({"a": Evil()}, folder / name)
    with pytest.raises(Exception, match=r"(?i)weights|header|unsupported|safetensor"):
        MetaFormerTextModel.from_pretrained(folder)
    (folder / name).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(Exception, match=r"(?i)weights|header|unsupported|safetensor"):
        MetaFormerTextModel.from_pretrained(folder)
    assert not marker.exists()


def test_a_configuration_names_no_code_that_is_run(folder: Path) -> None:
    marker = folder / "ran"
    (folder / "evil.py").write_text(f"import os\nos.mkdir({str(marker)!r})\nclass Model: pass\n")
    stored = json.loads((folder / "config.json").read_text())
    code = dict.fromkeys(("AutoConfig", "AutoModel"), "evil.Model")
    odd = {"auto_map": code, "trust_remote_code": True, "_attn_implementation_internal": "someone/kernels"}
    (folder / "config.json").write_text(json.dumps({**stored, **odd}))
    for start in (AutoConfig.from_pretrained, AutoModel.from_pretrained, MetaFormerTextModel.from_pretrained):
        assert "MetaFormerText" in type(start(folder)).__name__
    assert not marker.exists()
