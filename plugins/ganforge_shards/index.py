"""Where the rows of a shard lie in it: read off once, and kept in the cache folder. Light.

A shard is a tar archive in webdataset's convention: members of one key, which is the name up to the
first dot behind the last slash, make one row. `000017.jpg` is its image and `000017.cls` its class.
"""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import IO

import numpy as np
import platformdirs
from attrs import frozen
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ganforge import DataError
from ganforge.images import ENDINGS
from ganforge_shards.store import opened, size_and_mark

_FORMAT = "1"
_BLOCK = 512  # bytes; a tar is made of such
_LABELS = ("cls", "json", "txt")  # where a class stands, in this order
_JSON_KEYS = ("label", "cls", "class")
_LONGEST = 65536  # bytes of a member that is looked at for a class
_KNOWN: dict[tuple[str, int, str], Index] = {}  # those of this process


@frozen(eq=False)
class Index:
    """The rows of a shard, in its order.

    mark: changes with the shard's content. names: members that are images. starts, sizes: bytes,
    int64 [rows]. labels: what stands beside each image, "" where nothing does.
    """

    url: str
    mark: str
    names: list[str]
    starts: np.ndarray
    sizes: np.ndarray
    labels: list[str]


def index_of(url: str) -> Index:
    """The index of a shard, from the cache folder where it was read off before. Raises DataError
    for what is no whole tar, and for rows without an image."""
    size, mark = size_and_mark(url)
    known = url, size, mark
    if known in _KNOWN:
        return _KNOWN[known]
    digest = hashlib.blake2b(repr((_FORMAT, *known)).encode(), digest_size=16).hexdigest()
    path = cache_folder() / f"{digest}.safetensors"
    found = _kept(path, url, mark)
    if found is None:
        with opened(url) as file:
            found = _read_off(url, file, size, mark)
        _keep(path, found)
    _KNOWN[known] = found
    return found


def cache_folder() -> Path:
    """The folder `shards` below GANFORGE_CACHE, or below the user's cache folder."""
    chosen = os.environ.get("GANFORGE_CACHE")
    cache = Path(chosen) if chosen else platformdirs.user_cache_path("ganforge", appauthor=False)
    return cache / "shards"


def _read_off(url: str, file: IO[bytes], size: int, mark: str) -> Index:
    rows: dict[str, _Row] = {}
    end = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                if member.isfile() and not _hidden(member.name):
                    key, ending = _parted(member.name)
                    rows.setdefault(key, _Row()).add(archive, member, ending)
    except (tarfile.TarError, EOFError) as error:
        cut = "unexpected end" in str(error) or end
        raise DataError(f"{url} {_CUT if cut else _NO_TAR}") from error
    except DataError as error:
        raise DataError(f"{url}: {error}") from error
    if size < end + _BLOCK:  # a whole archive ends with empty blocks
        raise DataError(f"{url} {_CUT}")
    lacking = [key for key, row in rows.items() if not row.image]
    if lacking or not rows:
        faults = "it is empty"
        if rows:
            faults = f"{len(lacking)} of {len(rows)} rows have no image, '{lacking[0]}' first"
        raise DataError(f"{url}: {faults}; images end in {', '.join(ENDINGS)}")
    return Index(
        url,
        mark,
        [row.image for row in rows.values()],
        np.array([row.start for row in rows.values()], np.int64),
        np.array([row.size for row in rows.values()], np.int64),
        [row.label for row in rows.values()],
    )


_CUT = "is cut short: get it again"
_NO_TAR = "is no tar archive (compressed ones cannot be read at random: unpack them to .tar first)"


class _Row:
    """What was found of a row."""

    image = label = ""
    start = size = 0
    _rank = len(_LABELS)

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> None:
        """Note a member. Raises DataError for a second image, and for what is no label."""
        if f".{ending}" in ENDINGS:
            if self.image:
                raise DataError(f"{self.image} and {member.name} are images of one row")
            self.image, self.start, self.size = member.name, member.offset_data, member.size
        elif ending in _LABELS[: self._rank] and member.size <= _LONGEST:
            content = archive.extractfile(member)
            assert content is not None  # it is a file
            said = _label(member.name, ending, content.read())
            if said:
                self.label, self._rank = said, _LABELS.index(ending)


def _label(name: str, ending: str, content: bytes) -> str:
    """The class that a member names, "" where it names none."""
    try:
        text = content.decode("utf-8-sig").strip()
        if ending == "json":
            said = json.loads(text)
            found = [said[k] for k in _JSON_KEYS if k in said] if isinstance(said, dict) else [said]
            text = str(found[0]) if found and isinstance(found[0], (str, int)) else ""
    except ValueError as error:
        raise DataError(f"{name} cannot be read ({error})") from error
    return " ".join(text.split())


def _hidden(name: str) -> bool:
    return any(part.startswith(".") and part != "." for part in name.split("/"))


def _parted(name: str) -> tuple[str, str]:
    """`a/17.seg.png` -> ("a/17", "seg.png")"""
    folder, slash, last = name.rpartition("/")
    key, _, ending = last.partition(".")
    return folder + slash + key, ending.lower()


def _kept(path: Path, url: str, mark: str) -> Index | None:
    """What was written there; None where there is nothing whole."""
    try:
        arrays = load(path.read_bytes())
        names, labels = (arrays[k].tobytes().decode().split("\0") for k in ("names", "labels"))
        starts, sizes = arrays["starts"], arrays["sizes"]
    except (OSError, ValueError, KeyError, SafetensorError):
        return None
    whole = len(names) == len(labels) == len(starts) == len(sizes)
    return Index(url, mark, names, starts, sizes, labels) if whole else None


def _keep(path: Path, index: Index) -> None:
    """Write it, whole or not at all. Where nothing can be written it is read off again."""
    texts = {"names": index.names, "labels": index.labels}
    packed = {key: np.frombuffer("\0".join(t).encode(), np.uint8) for key, t in texts.items()}
    content = save({"starts": index.starts, "sizes": index.sizes, **packed})
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError:
        return
