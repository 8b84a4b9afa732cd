"""Every reader of a user's file in text and GLUE, with every fault: the error names the file and is our own."""

from __future__ import annotations

import errno
import gzip
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import AutoModelForMaskedLM, PreTrainedTokenizerBase

from metaformer_nlp.config.command_line import from_dict
from metaformer_nlp.config.recipes import merge_recipes
from metaformer_nlp.study.protocol.file import load_study
from metaformer_nlp.text.tokenizer import SPECIAL_TOKENS, read_wordpiece
from tasks.glue import order
from tasks.glue.files import read_split
from tasks.glue.submission import check_submission, predict
from tasks.glue.table import read_runs
from tasks.glue.tasks import GLUE
from tasks.text import evaluation, masked_lm, sources, tokenised
from tasks.text import tokenizer as tokenizer_training
from tasks.text.checkpoints import load_text_config, load_tokenizer, save_text_model
from tasks.text.model import TextModelConfig
from tasks.text.packed import pack_text
from tasks.text.sources import text_source

TEXTS = [f"the café number {i} has a name" for i in range(40)]
LINES = ("\n".join(TEXTS) + "\n").encode()
JSON_LINES = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in TEXTS).encode()
TSV = ("sentence\tlabel\n" + "".join(f"{text}\t1\n" for text in TEXTS)).encode()
YAML = b"# caf\xc3\xa9\nschedule.steps: 3\n"
VOCABULARY = "\n".join([*SPECIAL_TOKENS, "café", "the"]).encode()


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


def plain(data: bytes) -> bytes:
    return data


def table(data: bytes) -> bytes:
    """A parquet file of one text, which may be no UTF-8, and a label."""
    offsets = pa.py_buffer(b"\0\0\0\0" + len(data).to_bytes(4, "little"))
    text = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(data)])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": text, "sentence": text, "label": [1]}), sink)
    return bytes(sink.getvalue())


def documents(path: Path) -> list[str]:
    return list(text_source(str(path)).read())


def pieces(path: Path) -> object:
    config = {"folder": str(path.with_name("out")), "vocab_size": 300, "data": {"text": str(path), "held_out": 0}}
    return tokenizer_training.run(from_dict(tokenizer_training.Config, config))


def order_task(path: Path) -> object:
    return order.run(from_dict(order.Config, {"folder": str(path.with_name("out")), "data": {"text": str(path)}}))


def sst2(path: Path) -> object:
    return read_split(GLUE["SST-2"], "train", str(path.parents[1]))


READERS: dict[str, tuple[Callable[[Path], object], bytes, Callable[[bytes], bytes]]] = {
    "a.txt": (documents, LINES, plain),
    "a.TXT.GZ": (documents, LINES, gzip.compress),
    "a.jsonl": (documents, JSON_LINES, plain),
    "a.jsonl.gz": (documents, JSON_LINES, gzip.compress),
    "a.jsonl.zst": (documents, JSON_LINES, zstd),
    "a.parquet": (documents, LINES, table),
    "tokenizer/a.jsonl": (pieces, JSON_LINES, plain),
    "order/a.jsonl.gz": (order_task, JSON_LINES, gzip.compress),
    "vocab.txt": (read_wordpiece, VOCABULARY, plain),
    "SST-2/train.tsv": (sst2, TSV, plain),
    "sst2/train-0.parquet": (sst2, b"a text", table),
    "recipe.yaml": (lambda path: merge_recipes(masked_lm.Config, [path]), YAML, plain),
    "study.yaml": (load_study, YAML, plain),
    "run/result.json": (lambda path: read_runs([path.parent]), b'{"metrics": {"validation/average": 1}}', plain),
    "out.zip": (check_submission, b"", plain),
}
"""Name of a file -> what reads it, what it says, and how that is packed."""

ACCEPTED = {("a.txt", "truncated"), ("a.txt", "empty"), ("a.jsonl", "empty"), ("recipe.yaml", "empty")}
"""Nothing is wrong with these; that an empty file has no document is said in the log."""


def damage(path: Path, fault: str, said: bytes, pack: Callable[[bytes], bytes]) -> None:
    if fault == "folder":
        path.mkdir()
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "truncated":
        data = pack(said)
        path.write_bytes(data[: len(data) // 2])
    elif fault == "latin-1":
        path.write_bytes(pack(said.decode().encode("latin-1") + b"\xe9"))
    elif fault == "utf-16":
        path.write_bytes(pack(said.decode().encode("utf-16-le")))
    elif fault == "picture":
        path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)))


@pytest.mark.parametrize("fault", ["absent", "empty", "truncated", "latin-1", "utf-16", "picture", "folder"])
@pytest.mark.parametrize("name", list(READERS))
def test_a_damaged_file_is_named(name: str, fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read, said, pack = READERS[name]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if pack is table and fault == "utf-16":
        pytest.skip("the bytes of a column are UTF-8 or they are not; that is latin-1's case")
    damage(path, fault, said, pack)
    if (name, fault) in ACCEPTED:
        sources.warn_once.cache_clear()
        read(path)
        assert fault != "empty" or name == "recipe.yaml" or f"the first: {path}" in caplog.text
        return
    with pytest.raises(ValueError, match=r".") as error:
        read(path)
    assert type(error.value) is ValueError  # no error of a library, which may be one
    # A split that is not there is known by its folder.
    assert any(part in str(error.value) for part in (str(path), f"{path.with_suffix('')}-", str(path.parent / "train")))


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    for name, (read, said, pack) in READERS.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pack(said))
        path.chmod(0)
        with pytest.raises(ValueError, match=str(path)):
            read(path)


@pytest.fixture(scope="module")
def model(tokenizer: PreTrainedTokenizerBase, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    config = TextModelConfig(hidden_size=16, num_hidden_layers=1).build_config(tokenizer, 16)
    save_text_model(AutoModelForMaskedLM.from_config(config), tokenizer, folder)
    return folder


OPENED: dict[str, list[Callable[[str], Any]]] = {
    "tokenizer.json": [lambda folder: load_tokenizer(folder, "model"), lambda folder: predict(folder, [("a",)], 8)],
    "config.json": [lambda folder: load_text_config(folder, "model"), lambda folder: load_tokenizer(folder, "model")],
    "model.safetensors": [
        lambda folder: evaluation._open_model(Path(folder), 8),
        lambda folder: TextModelConfig(checkpoint=folder).build_model(
            AutoModelForMaskedLM, load_text_config(folder, "model")
        ),
        lambda folder: TextModelConfig(checkpoint=folder).build_classifier(load_text_config(folder, "model")),
    ],
}


@pytest.mark.parametrize("fault", ["empty", "truncated", "picture", "folder"])
@pytest.mark.parametrize("name", list(OPENED))
def test_a_damaged_model_is_named(name: str, fault: str, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    good = (folder / name).read_bytes()
    (folder / name).unlink()
    damage(folder / name, fault, good, plain)
    for opened in OPENED[name]:
        with pytest.raises(ValueError, match=str(folder)) as error:
            opened(str(folder))
        assert type(error.value) is ValueError


def full(*_: object, **__: object) -> Iterator[Any]:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_named(
    tmp_path: Path, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METAFORMER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.txt").write_text(
        "\n\n".join(f"The quick fox jumps over the lazy brown dog of the man {i}." for i in range(9))
    )
    source = text_source(str(tmp_path / "a.txt"))
    for module, writes in ((tokenised, "replace_text"), (os, "fsync")):
        with monkeypatch.context() as patch:
            patch.setattr(module, writes, full)
            with pytest.raises(ValueError, match=r"cache.*cannot be written: No space left.*METAFORMER_CACHE"):
                pack_text(source, tokenizer, 32)
    assert pack_text(source, tokenizer, 32).info["documents"] == 9  # what failed is in nobody's way
    for run in (pieces, order_task):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_text", full)
            with pytest.raises(ValueError, match=r"out: cannot be written: No space left.*Free some space"):
                run(tmp_path / "a.txt")
        assert not (tmp_path / "out" / "made.json").exists()
        shutil.rmtree(tmp_path / "out", ignore_errors=True)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """transformers has much to say of damaged models."""
    logger = logging.getLogger("transformers")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)
