"""Images in tar files, as the WebDataset library writes them, read in any order.

A shard is a plain tar file; files that follow each other and share a name up to its first dot are one sample
(``000017.jpg`` and ``000017.cls``): an image, by its suffix or else by its first bytes, and its class as the text of
``.cls`` or as "label" in ``.json``: a number, or a class name of the class file. Hidden files, links and archives of no
part are left out; a line at the start counts and names them.

WebDataset's own readers stream shards and shuffle within a buffer. Here the order of an epoch is a function of (seed,
epoch), so every sample must be within reach: the shards are scanned once for where each image lies, and this index is
kept in the cache until a shard changes. A read opens the shard, reads one range and closes it: nothing is shared
between reader processes, and no limit of open files is met.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from tasks.cache import build_once, cache_folder, short_hash
from tasks.images.readers.classes import ClassList, count_classes, label_numbers, say_left_out
from tasks.images.readers.folder import HELD_OUT, entries_below
from tasks.images.readers.table import check_labels
from vision.images import BadImage, Picture, image_suffixes, is_image, load_rgb

_BLOCK = tarfile.BLOCKSIZE
_MAX_LABEL_BYTES = 1 << 20
_HEAD_BYTES = 1 << 16

LeftOut = dict[str, list[str]]
"""Kind -> names of what a reader leaves out."""


@dataclass
class ShardIndex:
    """Where the images of some shards lie; one row a sample, in the order of the shards and within them."""

    rows: np.ndarray
    """(N, 5) int64: shard, first byte of the image, its bytes, row in ``label_texts``, end of its name in ``names``."""
    label_texts: list[str]
    """The different labels, as they are written in the shards."""
    names: bytes
    """File names of the images in their shards, one after the other."""
    left_out: LeftOut = field(default_factory=dict)
    """What of the shards is no sample, as ``shard: file``."""

    def __post_init__(self) -> None:
        self.shard, self.offset, self.size, self.label, self._name_end = self.rows.T

    def name(self, index: int) -> str:
        """File name of an image in its shard."""
        start = int(self._name_end[index - 1]) if index else 0
        return self.names[start : int(self._name_end[index])].decode(errors="surrogateescape")


class ShardImages:
    """Images of ``shards``; a sample is named by its shard and its file in there."""

    def __init__(
        self,
        root: Path,
        shards: list[Path],
        index: ShardIndex,
        labels: np.ndarray,
        classes: ClassList,
        apply_exif: bool,
    ) -> None:
        self.shards, self.index, self.labels, self.apply_exif = shards, index, labels, apply_exif
        self.classes, self.class_names = classes.ids, classes.names
        self._shard_names = [shard.relative_to(root).as_posix() for shard in shards]
        check_labels(labels, len(classes.ids), self.name)

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        return f"{self._shard_names[self.index.shard[index]]}: {self.index.name(index)}"

    def file_size(self, index: int) -> int:
        """Bytes of the encoded image."""
        return int(self.index.size[index])

    def paths(self, indices: Sequence[int]) -> list[Path]:
        """The shards that hold these images."""
        return [self.shards[number] for number in np.unique(self.index.shard[np.asarray(indices)])]

    def load(self, index: int, rng: np.random.Generator | None = None, *, lazy: bool = False) -> Picture:
        shard, size = self.shards[self.index.shard[index]], int(self.index.size[index])
        name = f"{shard}: {self.index.name(index)}"
        try:
            with open(shard, "rb", buffering=0) as file:
                data = os.pread(file.fileno(), size, int(self.index.offset[index]))
        except OSError as error:
            raise BadImage(name, f"cannot be read: {error.strerror or error}") from error
        if len(data) < size:
            raise BadImage(name, f"the shard ends after {len(data)} of the image's {size} bytes: it was changed")
        return load_rgb(data, name, apply_exif=self.apply_exif, lazy=lazy)


def read_shards(root: Path, apply_exif: bool, class_list: ClassList | None = None) -> tuple[ShardImages, ShardImages]:
    """The training and the validation part: ``.tar`` files below ``root`` with train and with val, validation or test
    in their names or folders.

    Raises:
        ValueError: a part without shards, a damaged shard, a sample without image or label, a label that is no class.
    """
    files = {path: path.relative_to(root).as_posix() for path in entries_below(root)}
    archives = [path for path, name in files.items() if re.search(r"\.(tar(\.\w+)?|tgz)$", name.lower())]
    shards = {path: _part(path.relative_to(root)) for path in archives if _is_shard(files[path])}
    held_out = next((name for name in HELD_OUT if name in shards.values()), None)
    parts = [[path for path, part in shards.items() if part == wanted] for wanted in ("train", held_out)]
    if held_out is None or not all(parts):
        compressed = any(not path.name.lower().endswith(".tar") for path in archives)
        raise ValueError(
            f"data.root {root}: needs shards named train-*.tar and val-*.tar (or validation-*, test-*); found "
            f"{len(parts[0])} for training and {len(parts[1]) if held_out else 0} for validation among {len(shards)} "
            f".tar files" + ("; compressed shards must be unpacked first (gunzip *.tar.gz)" if compressed else "")
        )
    unread = [files[path] for path in archives if path not in parts[0] + parts[1]]
    say_left_out(root, {f"archives that are not of train or {held_out}": unread})
    indexes = [load_index(paths) for paths in parts]
    for name, index in zip(("train", held_out), indexes, strict=True):
        say_left_out(f"{root}, {name}", index.left_out)
    if class_list is None:
        labels = _labels(indexes[0], parts[0], None)
        classes = count_classes(np.unique(labels).tolist(), f"{parts[0][0]} ...")
    else:
        classes = class_list
    first, second = (
        ShardImages(root, paths, index, _labels(index, paths, class_list), classes, apply_exif)
        for paths, index in zip(parts, indexes, strict=True)
    )
    return first, second


def _is_shard(name: str) -> bool:
    return "/." not in f"/{name}" and name.lower().endswith(".tar")


def _part(path: Path) -> str | None:
    """train, val, validation or test, the last such word in a shard's path; None if there is none."""
    found = re.findall(r"(?:^|[-_./])(train|validation|val|test)(?=[-_./\d])", path.as_posix())
    return found[-1] if found else None


def _labels(index: ShardIndex, shards: list[Path], class_list: ClassList | None) -> np.ndarray:
    """(N,) int64; the labels are numbers, or names of the class file."""
    found = label_numbers(index.label_texts, class_list.labels if class_list else {})
    if None in found:
        wrong = int(np.flatnonzero(index.label == found.index(None))[0])
        raise ValueError(
            f"{shards[index.shard[wrong]]}: {index.name(wrong)}: label {index.label_texts[index.label[wrong]]!r} is "
            f"neither a number nor a class"
            + (f" of {class_list.origin}" if class_list else "; name a --data.class_file")
        )
    return np.array(found, dtype=np.int64)[index.label]


def load_index(shards: list[Path]) -> ShardIndex:
    """The index of ``shards``, out of the cache or made now, with a progress bar.

    Raises:
        ValueError: a shard that is damaged or cannot be read, a sample without image or label.
    """
    try:
        key = [(*_state(path), str(path.resolve())) for path in shards]
    except OSError as error:
        raise ValueError(f"shard {error.filename} cannot be read: {error.strerror}") from error
    file = build_once(cache_folder() / "shards" / f"{short_hash('index 2', key)}.npz", lambda new: _write(shards, new))
    with np.load(file, allow_pickle=False) as saved:
        labels, left_out = (json.loads(saved[key].tobytes()) for key in ("label_texts", "left_out"))
        return ShardIndex(saved["rows"], labels, saved["names"].tobytes(), left_out)


def _state(path: Path) -> tuple[int, ...]:
    state = path.stat()
    return state.st_size, state.st_ino, state.st_mtime_ns, state.st_ctime_ns  # the last one cannot be set back


def _write(shards: list[Path], path: Path) -> None:
    from tqdm import tqdm

    rows, names, labels, left_out = array("q"), bytearray(), dict[str, int](), LeftOut()
    total = sum(shard.stat().st_size for shard in shards)
    with tqdm(total=total, unit="B", unit_scale=True, desc=f"index of {len(shards)} shards") as bar:
        for number, shard in enumerate(shards):
            for image, label in _samples(shard, left_out):
                names += image.name.encode(errors="surrogateescape")
                label_number = labels.setdefault(label, len(labels))
                rows.extend((number, image.offset_data, image.size, label_number, len(names)))
            bar.update(shard.stat().st_size)
    if not rows:
        raise ValueError(f"{shards[0].parent}: the {len(shards)} shards {shards[0].name} ... hold no sample")
    texts = json.dumps(list(labels)).encode()
    with path.open("wb") as file:
        np.savez(
            file,
            rows=np.frombuffer(rows, np.int64).reshape(-1, 5),
            names=np.frombuffer(bytes(names), np.uint8),
            label_texts=np.frombuffer(texts, np.uint8),
            left_out=np.frombuffer(json.dumps(left_out).encode(), np.uint8),
        )


def _samples(shard: Path, left_out: LeftOut) -> Iterator[tuple[tarfile.TarInfo, str]]:
    """The image and the label of every sample of a shard; adds to ``left_out``."""
    try:
        with shard.open("rb") as file:
            for key, members in groupby(_members(shard, file, left_out), lambda member: _split_name(member.name)[0]):
                yield _read_sample(f"{shard}: sample {key}", list(members), file)
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"shard {shard} is damaged or no tar file: {error}. Fetch or write it again.") from error


def _members(shard: Path, file: IO[bytes], left_out: LeftOut) -> Iterator[tarfile.TarInfo]:
    """The files in a shard, without hidden ones and WebDataset's ``__notes__``: images among them go to ``left_out``,
    and so do links."""
    end = os.fstat(file.fileno()).st_size
    with tarfile.open(fileobj=file, mode="r:") as tar:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
            if member.isfile() and member.offset_data + member.size > end:
                raise tarfile.ReadError(f"it ends within {member.name}")
            if not member.isfile():
                if not member.isdir():
                    left_out.setdefault("links", []).append(f"{shard.name}: {member.name}")
            elif not PurePosixPath(member.name).name.startswith((".", "__")):
                yield member
            elif is_image(_read(file, member, _HEAD_BYTES)):
                left_out.setdefault("hidden images", []).append(f"{shard.name}: {member.name}")
        # tarfile takes whatever is no header for the end. The end is a block of zeros.
        file.seek(tar.offset)
        if file.read(_BLOCK) != bytes(_BLOCK):
            raise tarfile.ReadError(f"no end of the archive at byte {tar.offset} of {end}")
        while block := file.read(1 << 20):
            if any(block):  # by cat, for example; most readers stop at the first end
                raise tarfile.ReadError(f"more follows after the end of the archive at byte {tar.offset} of {end}")


def _read(file: IO[bytes], member: tarfile.TarInfo, most: int) -> bytes:
    """The first ``most`` bytes of a file in a shard."""
    return os.pread(file.fileno(), min(member.size, most), member.offset_data)


def _split_name(name: str) -> tuple[str, str]:
    """``a/b.seg.PNG`` -> ``a/b`` and ``seg.png``: WebDataset's convention."""
    folder, _, file = name.rpartition("/")
    stem, _, suffix = file.partition(".")
    return f"{folder}/{stem}" if folder else stem, suffix.lower()


def _read_sample(where: str, members: list[tarfile.TarInfo], file: IO[bytes]) -> tuple[tarfile.TarInfo, str]:
    kinds = {_split_name(member.name)[1]: member for member in members}
    images = [member for kind, member in kinds.items() if f".{kind}" in image_suffixes()] or [
        member for kind, member in kinds.items() if "." not in kind and is_image(_read(file, member, _HEAD_BYTES))
    ]
    if len(kinds) < len(members):
        raise ValueError(f"{where}: holds two files of one kind: {[member.name for member in members]}")
    if len(images) != 1:
        raise ValueError(f"{where}: needs one image beside its label, has the files {sorted(kinds)}")
    labels = [member for kind in ("cls", "json") if (member := kinds.get(kind)) is not None]
    if not labels:
        raise ValueError(f"{where}: needs its label in a .cls or .json file, has the files {sorted(kinds)}")
    if labels[0].size > _MAX_LABEL_BYTES:
        raise ValueError(f"{where}: {labels[0].name} has {labels[0].size} bytes, too many for a label")
    data = _read(file, labels[0], _MAX_LABEL_BYTES)
    try:
        if labels[0].name.lower().endswith(".json"):
            label = json.loads(data)["label"]
            if isinstance(label, bool) or not isinstance(label, (int, str)):
                raise TypeError(f"{label!r} is neither a whole number nor a text")
            return images[0], str(label)
        return images[0], data.decode().strip()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{where}: {labels[0].name} holds no label ({type(error).__name__}: {error}); .cls needs a number or name, "
            '.json {"label": ...}'
        ) from error
