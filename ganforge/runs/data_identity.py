"""What the rows of a run are made of, wherever they lie: kept in the run folder as data.json.

A run may go on at another path or on another machine, as long as its data is the same. What the
same is, is looked up quickly: a file that has its size, its time and its number on the disk still
is what it was, and only others are read. Data that is made of no files of its own is known by its
rows, or by some of them where they are many.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen

from ganforge.data.dataset_checks import count_of, rows_of, sources_of, wrong
from ganforge.data.images import THREADS
from ganforge.interfaces.components import Dataset
from ganforge.interfaces.errors import DataError, Elsewhere, RunError
from ganforge.storage.run_folder import RunFolder, write_whole

if TYPE_CHECKING:
    from ganforge.hardware.processes import Ranks

SPLITS = ("train", "test")
_VERSION = 1
_WHOLE = 1_000_000_000  # bytes of files of a domain, up to which each is read as a whole
_PART = 4096  # bytes at the start, in the middle and at the end of a file, of more
_ROWS = 64  # rows that are looked at where there are no files
_COSTLY_ROWS = 8  # the same, where each takes long to make
_MANY = 256_000_000  # bytes of rows in one tensor, up to which each is looked at
_SHOWN = 3  # names in a message

Mark = tuple[int, int, int]  # size, time of the last change (ns), number on the disk


@frozen
class Listing:
    """What the rows of one domain of a split are made of, in their order.

    names: of the files, from the data's root; none where there are no files. marks: by which a
    file is known quickly. hashes: of the contents, or of parts of them where `parts`; without
    files a single one of all rows.
    """

    count: int
    names: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    hashes: tuple[str, ...] = ()
    parts: bool = False

    def digest(self) -> str:
        """Of all that makes these rows, and nothing of where they lie."""
        text = json.dumps([self.count, self.names, self.hashes])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@frozen
class Identity:
    """The listings of a data set: (split, domain) -> listing. broken: (split, domain) -> names of
    files, or numbers of rows, that are left out since they cannot be read; None where nobody asked
    for that."""

    listings: Mapping[tuple[str, str], Listing]
    broken: Mapping[tuple[str, str], Sequence[str]] | None = None

    def left_out(self) -> set[str]:
        """Names of files that are left out."""
        return {name for names in (self.broken or {}).values() for name in names}

    def digests(self) -> dict[str, str]:
        """`train/image` -> digest"""
        return {"/".join(place): it.digest() for place, it in self.listings.items()}

    def as_json(self) -> dict[str, Any]:
        """What `of_json` takes."""
        splits: dict[str, dict[str, Any]] = {}
        for (split, domain), it in self.listings.items():
            splits.setdefault(split, {})[domain] = {
                "count": it.count,
                "digest": it.digest(),
                "parts": it.parts,
                "names": it.names,
                "marks": it.marks,
                "hashes": it.hashes,
            }
        broken = None
        if self.broken is not None:
            broken = {"/".join(place): list(names) for place, names in self.broken.items()}
        return {"version": _VERSION, "splits": splits, "broken": broken}

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> Identity:
        """What `as_json` gave. Raises LookupError, TypeError, ValueError or AttributeError for
        anything else."""
        listings = {
            (split, domain): Listing(
                it["count"],
                tuple(it["names"]),
                tuple((size, time, number) for size, time, number in it["marks"]),
                tuple(it["hashes"]),
                it["parts"],
            )
            for split, domains in kept["splits"].items()
            for domain, it in domains.items()
        }
        broken = kept["broken"]
        if broken is not None:
            broken = {_place(place): names for place, names in broken.items()}
        return cls(listings, broken)

    def write(self, folder: RunFolder) -> None:
        """Keep it in the run folder. Raises OSError."""
        write_whole(folder.data, json.dumps(self.as_json()) + "\n")


def read_identity(folder: RunFolder) -> Identity | None:
    """What a run folder keeps; None where it is older than that, or damaged."""
    try:
        return Identity.of_json(json.loads(folder.data.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _place(text: str) -> tuple[str, str]:
    split, _, domain = text.partition("/")
    return split, domain


# --- taking ---------------------------------------------------------------------------------------


def identity_of(dataset: Dataset, before: Identity | None = None) -> Identity:
    """What the rows of a data set are made of. before: what they were, so that only those files are
    read that changed. Raises DataError for what cannot be read."""
    known = before.listings if before else {}
    listings: dict[tuple[str, str], Listing] = {}
    read: dict[tuple[str, Mark], str] = {}  # several domains may be made of the same files
    for split in SPLITS:
        for domain in dataset.description.domains:
            if count_of(dataset, split, domain):
                place = split, domain
                listings[place] = _listing(dataset, split, domain, known.get(place), read)
    return Identity(listings, getattr(dataset, "broken", None))


def _listing(
    dataset: Dataset,
    split: str,
    domain: str,
    known: Listing | None,
    read: dict[tuple[str, Mark], str],
) -> Listing:
    count = dataset.count(split, domain)
    files = sources_of(dataset, split, domain, count)
    if files is None:
        return Listing(count, hashes=(_of_rows(dataset, split, domain, count),))
    names, paths = [name for name, _ in files], [path for _, path in files]
    marks = list(_each(_mark, paths))
    parts = known.parts if known else sum(size for size, _, _ in marks) > _WHOLE
    if known:
        rows = zip(known.names, known.marks, known.hashes, strict=True)
        read |= {(name, mark): digest for name, mark, digest in rows}
    wanted = list(zip(names, marks, strict=True))
    unknown = [number for number, row in enumerate(wanted) if row not in read]
    found = _each(_of_parts if parts else _of_file, [paths[number] for number in unknown])
    read |= {wanted[number]: digest for number, digest in zip(unknown, found, strict=True)}
    return Listing(count, tuple(names), tuple(marks), tuple(read[row] for row in wanted), parts)


def _each(look: Any, paths: Sequence[str]) -> Iterator[Any]:
    """`look` at every file, in their order, by threads: disks are slow to answer."""
    chunks = [paths[start : start + 256] for start in range(0, len(paths), 256)]
    with ThreadPoolExecutor(THREADS) as pool:
        for found in pool.map(lambda chunk: [_looked(look, path) for path in chunk], chunks):
            yield from found


def _looked(look: Any, path: str) -> Any:
    try:
        return look(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def _mark(path: str) -> Mark:
    found = os.stat(path)  # noqa: PTH116 (a million Paths take seconds)
    return found.st_size, found.st_mtime_ns, found.st_ino


def _of_file(path: str) -> str:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        return hashlib.file_digest(file, _hasher).hexdigest()


def _of_parts(path: str) -> str:
    digest = _hasher()
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        size = os.fstat(file.fileno()).st_size
        digest.update(f"{size}\n".encode())
        for start in sorted({0, max(0, (size - _PART) // 2), max(0, size - _PART)}):
            file.seek(start)
            digest.update(file.read(_PART))
    return str(digest.hexdigest())


def _hasher() -> Any:
    return hashlib.blake2b(digest_size=12)


def _of_rows(dataset: Dataset, split: str, domain: str, count: int) -> str:
    """Of rows that are made of no files of their own."""
    rows = rows_of(dataset, split, domain, count)
    if rows is None:
        some = min(count, _COSTLY_ROWS if dataset.costly else _ROWS)
        numbers = [count * n // some for n in range(some)]
        kept = [item for n in numbers if (item := _item(dataset, split, domain, n)) is not None]
        rows = torch.stack(kept) if kept else torch.empty(0)
    elif rows.nbytes > _MANY:
        rows = rows[:: -(-rows.nbytes // _MANY)]
    content = rows.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    digest = _hasher()
    digest.update(f"{tuple(rows.shape)} {rows.dtype}\n".encode())
    digest.update(content.data)
    return str(digest.hexdigest())


def _item(dataset: Dataset, split: str, domain: str, number: int) -> torch.Tensor | None:
    try:
        item: Any = dataset.item(split, domain, number)
    except DataError:  # told, with all others, where the data is read
        return None
    if not isinstance(item, torch.Tensor):
        what = f"{type(item).__name__} for a row of '{domain}', no tensor"
        raise wrong(dataset, "item", what)
    return item


# --- comparing ------------------------------------------------------------------------------------


@frozen
class Change:
    """What became of the rows of one domain of a split.

    gone, new, replaced: names of files. renamed: (before, now) of the same content. counts: rows
    before and now. other: of rows without files, whether they are not what they were. exact: of
    names that changed, and nothing else.
    """

    where: str
    counts: tuple[int, int]
    gone: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    other: bool = False
    exact: bool = False

    @property
    def of_rows(self) -> bool:
        """Whether rows came or went, so that others are drawn from now on."""
        return bool(self.gone or self.new) or self.counts[0] != self.counts[1]

    def __str__(self) -> str:
        """`train/image: 40 -> 39 rows, 1 file gone: b.png`"""
        before, now = self.counts
        parts = [f"{before:,} -> {now:,} rows"] if before != now else []
        for names, what in (
            (self.gone, "gone"),
            (self.new, "new"),
            (self.replaced, "replaced"),
            ([f"{old} -> {name}" for old, name in self.renamed], "renamed"),
        ):
            parts += [f"{_files(len(names))} {what}: {_named(names)}"] if names else []
        if before == now and not parts:
            parts = ["rows are not what they were" if self.other else "files are in another order"]
        return f"{self.where}: " + ", ".join(parts)


def changes(before: Identity, now: Identity) -> list[Change]:
    """What is not as it was, by split and domain; the same files under several domains once."""
    found: dict[str, Change] = {}
    for place in dict.fromkeys((*before.listings, *now.listings)):
        old = before.listings.get(place, Listing(0))
        new = now.listings.get(place, Listing(0))
        if old.digest() != new.digest():
            change = _change("/".join(place), old, new)
            found.setdefault(str(change).partition(": ")[2], change)
    return list(found.values())


def _change(where: str, old: Listing, new: Listing) -> Change:
    counts = old.count, new.count
    if not (old.names or new.names):
        return Change(where, counts, other=True)
    before = dict(zip(old.names, old.hashes, strict=True))
    after = dict(zip(new.names, new.hashes, strict=True))
    gone = {name: digest for name, digest in before.items() if name not in after}
    came = {name: digest for name, digest in after.items() if name not in before}
    by_content: dict[str, list[str]] = {}
    for name, digest in came.items():
        by_content.setdefault(digest, []).append(name)
    renamed = []
    for name, digest in gone.items():
        if by_content.get(digest):
            renamed.append((name, by_content[digest].pop(0)))
    known = {name for pair in renamed for name in pair}
    return Change(
        where,
        counts,
        gone=tuple(name for name in gone if name not in known),
        new=tuple(name for name in came if name not in known),
        replaced=tuple(n for n, d in before.items() if n in after and after[n] != d),
        renamed=tuple(renamed),
        exact=old.hashes == new.hashes,
    )


def refuse_other_rows(folder: Path, found: Iterable[Change], left_out: Collection[str]) -> None:
    """Raises RunError where rows came or went, but for files that are left out on purpose."""
    moved = [
        str(change)
        for change in found
        if change.of_rows and (change.new or not {*change.gone} <= {*left_out} or not change.gone)
    ]
    if moved:
        raise RunError(
            f"the data of {folder} has other rows than before ({'; '.join(moved)}): undo "
            "that, or go on with `--accept-data`, which is not bit for bit"
        )


def refuse_unlike(ranks: Ranks | None, identity: Identity) -> None:
    """Raises DataError in the first of several processes, and Elsewhere in the others, where they
    would learn from different data."""
    if ranks is None:
        return
    own = json.dumps(identity.digests(), sort_keys=True)
    if len(set(ranks.collect(own))) == 1:
        return
    if ranks.leads:
        ranks.broadcast({"host": platform.node(), **identity.as_json()})
        unlike = ""
    else:
        unlike = _unlike(ranks, ranks.receive(), identity)
    unlike_texts = [text for text in ranks.collect(unlike) if text]
    if not ranks.leads:
        raise Elsewhere("the first process says what differs")
    more = f"; and {len(unlike_texts) - 1} more processes" if len(unlike_texts) > 1 else ""
    raise DataError(f"{unlike_texts[0]}{more}: all processes of a run need the same data")


def _unlike(ranks: Ranks, leaders: Mapping[str, Any], identity: Identity) -> str:
    """`process 1 (on node2) has other data than process 0 (on node1): ...`; "" where it has not."""
    found = changes(Identity.of_json(leaders), identity)
    if not found:
        return ""
    return (
        f"process {ranks.rank} (on {platform.node()}) has other data than process 0 (on "
        f"{leaders['host']}): {'; '.join(map(str, found))}"
    )


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
