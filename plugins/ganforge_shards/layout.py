"""Which shards there are, and which of their rows are of which split. Light.

Every function raises Impossible, which names the option at fault.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from attrs import frozen

from ganforge import DataError
from ganforge.images import natural_key
from ganforge.plugin import Impossible
from ganforge_shards.index import Index, dotted_name_note, index_of
from ganforge_shards.store import matching, part

_AT_ONCE = 8  # shards that are read at once
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@frozen(eq=False)
class Rows:
    """Rows of one split. shards: which shard each is in, int64; labels: int64, or none."""

    indices: list[Index]
    shards: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    names: list[str]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.names)


@frozen
class Layout:
    """The rows of "train" and "test", the names of the classes, what else the shards hold, kind ->
    how many, and sentences on what is likely not meant."""

    splits: dict[str, Rows]
    classes: tuple[str, ...]
    left_out: dict[str, int]
    notes: tuple[str, ...]

    def sizes(self) -> dict[str, dict[str, int]]:
        """split -> class -> rows."""
        return {
            split: dict(
                zip(
                    self.classes,
                    np.bincount(rows.labels, minlength=len(self.classes)).tolist(),
                    strict=True,
                )
            )
            for split, rows in self.splits.items()
            if self.classes and rows
        }

    def sample(self, count: int) -> dict[str, bytes]:
        """Some images of the training set, evenly spread: what they are called -> their bytes."""
        rows = self.splits["train"]
        numbers = np.unique(np.linspace(0, len(rows) - 1, count).astype(np.int64)).tolist()

        def read(number: int) -> tuple[str, bytes]:
            url = rows.indices[rows.shards[number]].url
            start, size = int(rows.starts[number]), int(rows.sizes[number])
            return f"{url}: {rows.names[number]}", part(url, start, size)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return dict(pool.map(read, numbers))


def tar_shards(options: Any) -> Layout:
    """The rows of TarShardsOptions."""
    train = _indices(options.urls, "urls")
    test = _indices(options.test, "test") if options.test else []
    if test and options.holdout:
        raise Impossible(
            "`test` names what is already held out: leave `holdout` out", key="holdout"
        )
    twice = {index.url for index in train} & {index.url for index in test}
    if twice:
        raise Impossible(f"{min(twice)} is both for training and held out", key="test")
    classes = _classes([*train, *test]) if options.labels else ()
    kept = _rows(train, classes, lambda name: not _held_out(name, options.holdout))
    if not kept:
        raise Impossible("all images are held out: none is left for training", key="holdout")
    if options.holdout:
        held = _rows(train, classes, lambda name: _held_out(name, options.holdout))
    else:
        held = _rows(test, classes, lambda name: True)
    every = [*train, *test]
    splits = {"train": kept, "test": held}
    return Layout(splits, classes, _left_out(every, options.labels), _notes(every))


def _left_out(indices: Iterable[Index], labels: bool) -> dict[str, int]:
    """What is neither an image nor, with `labels`, a class."""
    found: Counter[str] = Counter()
    for index in indices:
        found.update(index.others)
        if not labels:
            found.update(f".{kind}" for kind in index.kinds if kind)
    return dict(found)


def _notes(indices: Iterable[Index]) -> tuple[str, ...]:
    dotted = [index for index in indices if index.dotted]
    return tuple(f"{index.url}: {dotted_name_note(index.dotted)}" for index in dotted[:1])


def expanded(pattern: str) -> Iterator[str]:
    """`a-{00..02}.tar` -> a-00.tar, a-01.tar, a-02.tar; `{x,y}.tar` -> x.tar, y.tar."""
    braces = _BRACES.search(pattern)
    if braces is None:
        yield pattern
        return
    numbers = _RANGE.fullmatch(braces[1])
    if numbers:
        first, last = numbers.groups()
        within = [f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1)]
    else:
        within = braces[1].split(",")
    for each in within:
        yield from expanded(pattern[: braces.start()] + each + pattern[braces.end() :])


def _indices(patterns: Iterable[str], key: str) -> list[Index]:
    urls: dict[str, None] = {}
    try:
        for pattern in (name for written in patterns for name in expanded(written)):
            found = sorted(matching(pattern), key=natural_key) if _is_glob(pattern) else [pattern]
            if not found:
                raise DataError(f"there is no shard {pattern}")
            urls |= dict.fromkeys(found)
        if not urls:
            raise DataError('name shards: ["data/train-{000..099}.tar"]')
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return [*pool.map(index_of, urls)]
    except DataError as error:
        raise Impossible(str(error), key=key) from error


def _is_glob(pattern: str) -> bool:
    return any(sign in pattern for sign in "*[") or ("?" in pattern and "://" not in pattern)


def _classes(indices: Sequence[Index]) -> tuple[str, ...]:
    """The classes that there are: numbers in their order, or names in theirs."""
    labels: set[str] = set()
    for index in indices:
        if "" in index.labels:
            lacking = index.names[index.labels.index("")]
            raise Impossible(
                f"{index.url}: {lacking} has no class beside it, in a member .cls, .json with "
                "`label`, or .txt",
                key="labels",
            )
        labels |= set(index.labels)
    _refuse_below_0(indices, labels)
    _refuse_captions(indices, labels)
    if all(_is_number(label) for label in labels):
        return tuple(map(str, sorted({int(label) for label in labels})))
    return tuple(sorted(labels, key=natural_key))


def _is_number(label: str) -> bool:
    return label.isascii() and label.isdigit()


def _refuse_below_0(indices: Iterable[Index], labels: Iterable[str]) -> None:
    """-1 is how many data sets write that a class is not known."""
    below = next(
        (label for label in labels if label.startswith("-") and _is_number(label[1:])), None
    )
    if below is None:
        return
    url, name, count = next(
        (index.url, index.names[index.labels.index(below)], index.labels.count(below))
        for index in indices
        if below in index.labels
    )
    more = f" and {count - 1:,} others have" if count > 1 else " has"
    raise Impossible(
        f"{url}: {name}{more} the class {below}, as images without a class have; classes are names "
        "or numbers from 0, so leave these images out",
        key="labels",
    )


def _refuse_captions(indices: Iterable[Index], labels: Collection[str]) -> None:
    """Texts of which nearly each image has its own name no classes."""
    texts = [
        label
        for index in indices
        for label, kind in zip(index.labels, index.kinds, strict=True)
        if kind != "cls" and not _is_number(label)
    ]
    if len(texts) >= _FEW and 2 * len(set(texts)) > len(texts):
        raise Impossible(
            f"there are {len(labels):,} different texts beside {len(texts):,} images, such as "
            f"'{texts[0][:40]}': these are captions, not classes; leave `labels` out, or put "
            "classes beside the images as members .cls",
            key="labels",
        )


_FEW = 4  # texts that may differ by chance


def _rows(indices: list[Index], classes: tuple[str, ...], wanted: Any) -> Rows:
    """wanted: says of a row's name, with its shard's before it, whether to take it."""
    number = {name: place for place, name in enumerate(classes)}
    taken = [
        [n for n, name in enumerate(index.names) if wanted(f"{_file(index.url)}/{name}")]
        for index in indices
    ]
    every = [*zip(indices, taken, strict=True)]
    return Rows(
        indices,
        _joined([np.full(len(rows), place) for place, rows in enumerate(taken)]),
        _joined([index.starts[rows] for index, rows in every]),
        _joined([index.sizes[rows] for index, rows in every]),
        [index.names[row] for index, rows in every for row in rows],
        _joined(
            [[_number(index.labels[row], number) for row in rows] for index, rows in every]
            if classes
            else []
        ),
    )


def _number(label: str, classes: dict[str, int]) -> int:
    """`007` is the class 7 where classes are numbers."""
    return classes[label] if label in classes else classes[str(int(label))]


def _joined(parts: list[Any]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int64), *parts]).astype(np.int64)


def _file(url: str) -> str:
    return url.replace("\\", "/").rpartition("/")[2]


def _held_out(name: str, share: float) -> bool:
    """Whether a number in [0, 1) that follows from the name is below the share."""
    if not share:
        return False
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48 < share
