"""Where the rows of a shard lie in it: read off once, and kept in the cache folder. Light.

A shard is a tar archive in webdataset's convention: members of one key, which is the name up to the
first dot behind the last slash, make one row. `000017.jpg` is its image and `000017.cls` its class.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import tarfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

import numpy as np
from attrs import field, frozen
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ganforge import DataError
from ganforge.images import ENDINGS
from ganforge.plugin import cache_folder
from ganforge_shards.store import opened, size_and_mark

_FORMAT = "2"
_BLOCK = 512  # bytes; a tar is made of such
_LABELS = ("cls", "json", "txt")  # where a class stands, in this order
_JSON_KEYS = ("label", "cls", "class")
_LONGEST = 65536  # bytes of a member that is looked at for a class
_KNOWN: dict[tuple[str, int, str], Index] = {}  # those of this process


@frozen(eq=False)
class Index:
    """The rows of a shard, in its order.

    mark: changes with the shard's content. names: members that are images. starts, sizes: bytes,
    int64 [rows]. labels: what stands beside each image, "" where nothing does; kinds: in a member
    of which ending. others: what else the shard holds, kind (".json", "hidden") -> how many.
    dotted: a member that looks like an image of its own and is none, "" without one.
    """

    url: str
    mark: str
    names: list[str]
    starts: np.ndarray
    sizes: np.ndarray
    labels: list[str]
    kinds: list[str]
    others: Mapping[str, int] = field(factory=dict)
    dotted: str = ""


def index_of(url: str) -> Index:
    """The index of a shard, from the cache folder where it was read off before. Raises DataError
    for what is not a complete tar, and for rows without an image."""
    size, mark = size_and_mark(url)
    known = url, size, mark
    if known in _KNOWN:
        return _KNOWN[known]
    digest = hashlib.blake2b(repr((_FORMAT, *known)).encode(), digest_size=16).hexdigest()
    path = kept_indices() / f"{digest}.safetensors"
    found = _kept(path, url, mark)
    if found is None:
        with opened(url) as file:
            found = _read_off(url, file, size, mark)
        _keep(path, found)
    _KNOWN[known] = found
    return found


def kept_indices() -> Path:
    """The folder of indices."""
    return cache_folder("shards")


def _read_off(url: str, file: IO[bytes], size: int, mark: str) -> Index:
    shard = _Shard()
    end = 0
    try:
        with tarfile.open(fileobj=file, mode="r:", errors="surrogateescape") as archive:
            for member in archive:
                end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
                shard.add(archive, member)
            shard.add_links(archive)
    except (tarfile.TarError, EOFError) as error:
        cut = "unexpected end" in str(error) or end
        raise DataError(f"{url} {_CUT if cut else _NO_TAR}") from error
    except DataError as error:
        raise DataError(f"{url}: {error}") from error
    if size < end + _BLOCK:  # a whole archive ends with empty blocks
        raise DataError(f"{url} {_CUT}")
    return shard.index(url, mark)


class _Shard:
    """What was found in a shard so far."""

    def __init__(self) -> None:
        self._rows: dict[str, _Row] = {}
        self._others: Counter[str] = Counter()
        self._links: list[tarfile.TarInfo] = []
        self._dotted = ""

    def add(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        """Note a member. Raises DataError for a second image, and for what is not a label."""
        if member.isdir():
            return
        if _hidden(member.name):
            self._others["hidden"] += 1
        elif member.issym() or member.islnk():
            self._links.append(member)  # to what may come later
        elif member.isfile():
            self._add(archive, member, member)
        else:
            self._others["special file"] += 1

    def add_links(self, archive: tarfile.TarFile) -> None:
        """Note what links in the shard lead to, as if it stood in their place."""
        for link in self._links:
            target = _target(archive, link)
            if target is None:
                self._others["link that leads nowhere"] += 1
            else:
                self._add(archive, link, target)

    def _add(
        self, archive: tarfile.TarFile, member: tarfile.TarInfo, content: tarfile.TarInfo
    ) -> None:
        key, ending = _parted(member.name)
        row = self._rows.get(key) or _Row()
        if row.add(archive, member.name, content, ending):
            self._rows[key] = row
        else:
            self._others[_kind(ending)] += 1
        if _kind(ending) == _SECOND_DOT and not self._dotted:
            self._dotted = member.name

    def index(self, url: str, mark: str) -> Index:
        """Raises DataError where no row has an image."""
        rows = [row for row in self._rows.values() if row.image]
        others = self._others + Counter(
            f".{kind}" for row in self._rows.values() if not row.image for kind in row.kinds
        )
        others += Counter(f".{kind}" for row in rows for kind in row.kinds if kind != row.kind)
        if not rows:
            raise DataError(f"{url}: {self._without_images(others)}")
        return Index(
            url,
            mark,
            [row.image for row in rows],
            np.array([row.start for row in rows], np.int64),
            np.array([row.size for row in rows], np.int64),
            [row.label for row in rows],
            [row.kind for row in rows],
            dict(others),
            self._dotted,
        )

    def _without_images(self, others: Mapping[str, int]) -> str:
        if self._dotted:
            return dotted_name_note(self._dotted)
        if not others:
            return "it is empty"
        return (
            f"it holds no images, only {left_out_text(others)}; images end in {', '.join(ENDINGS)}"
        )


def left_out_text(others: Mapping[str, int]) -> str:
    """`3 .json, 1 hidden`"""
    return ", ".join(f"{count:,} {kind}" for kind, count in Counter(others).most_common())


def dotted_name_note(name: str) -> str:
    """Why a member is not the image that it seems to be."""
    key, ending = _parted(name)
    return (
        f"{name} is not a row of its own: names in shards end at their first dot, so it is member "
        f"'.{ending}' of row '{key}'; write its name with one dot"
    )


_SECOND_DOT = "with a second dot in the name"


def _kind(ending: str) -> str:
    """How a member that is not an image is counted: `.json`, `.seg.png`."""
    first, dot, last = ending.partition(".")
    if dot and f".{last.rpartition('.')[2]}" in ENDINGS and not first.isalpha():
        return _SECOND_DOT
    return f".{ending}" if ending else "without an ending"


def _target(archive: tarfile.TarFile, link: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """The file that a link in an archive leads to, also through other links; None where it leads
    out of it, to nothing, or round and round."""
    member = link
    for _ in range(_MOST_LINKS):
        if member.isfile():
            return member
        name = member.linkname
        if member.issym():
            name = posixpath.normpath(posixpath.join(posixpath.dirname(member.name), name))
        elif not member.islnk():
            return None
        try:
            member = archive.getmember(name)
        except KeyError:
            return None
    return None


_MOST_LINKS = 20
_CUT = "is cut short: get it again"
_NO_TAR = (
    "is not a tar archive (compressed ones cannot be read at random: unpack them to .tar first)"
)


class _Row:
    """What was found of a row. kind: the ending that its label is from; kinds: those there are."""

    image = label = kind = ""
    start = size = 0

    def __init__(self) -> None:
        self.kinds: list[str] = []

    def add(
        self, archive: tarfile.TarFile, name: str, member: tarfile.TarInfo, ending: str
    ) -> bool:
        """Note a member, under a name of its own; whether it is of use. Raises DataError for a
        second image, and for what is not a label."""
        if f".{ending}" in ENDINGS:
            if self.image:
                raise DataError(f"{self.image} and {name} are images of one row")
            self.image, self.start, self.size = name, member.offset_data, member.size
            return True
        if ending not in _LABELS or member.size > _LONGEST:
            return False
        self.kinds.append(ending)
        rank = _LABELS.index(self.kind) if self.kind else len(_LABELS)
        if ending in _LABELS[:rank]:
            content = archive.extractfile(member)
            assert content is not None  # it is a file
            label = _label(name, ending, content.read())
            if label:
                self.label, self.kind = label, ending
        return True


def _label(name: str, ending: str, content: bytes) -> str:
    """The class that a member names, "" where it names none."""
    try:
        text = content.decode("utf-8-sig").strip()
        if ending == "json":
            label = json.loads(text)
            found = (
                [label[k] for k in _JSON_KEYS if k in label] if isinstance(label, dict) else [label]
            )
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
        names, labels, kinds = (_texts(arrays[key]) for key in _TEXTS)
        starts, sizes = arrays["starts"], arrays["sizes"]
        others, dotted = json.loads(arrays["others"].tobytes())
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
    whole = len(names) == len(labels) == len(kinds) == len(starts) == len(sizes)
    return Index(url, mark, names, starts, sizes, labels, kinds, others, dotted) if whole else None


_TEXTS = ("names", "labels", "kinds")


def _texts(packed: np.ndarray) -> list[str]:
    return packed.tobytes().decode("utf-8", "surrogateescape").split("\0")


def _packed(texts: Iterable[str]) -> np.ndarray:
    """As bytes; names of old archives are what they are, in whatever encoding."""
    return np.frombuffer("\0".join(texts).encode("utf-8", "surrogateescape"), np.uint8)


def _keep(path: Path, index: Index) -> None:
    """Write it, whole or not at all. Where nothing can be written it is read off again."""
    packed = {key: _packed(getattr(index, key)) for key in _TEXTS}
    packed["others"] = _packed([json.dumps([index.others, index.dotted])])
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
