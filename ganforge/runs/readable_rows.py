"""A data set without the rows that cannot be read: `data.skip_broken = true`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from typing import Any

from attrs import frozen
from torch import Tensor

from ganforge.data.images import THREADS
from ganforge.interfaces.components import Dataset
from ganforge.interfaces.errors import DataError
from ganforge.interfaces.specs import ImageSpec
from ganforge.runs.data_identity import SPLITS, Identity, identity_of

_AT_ONCE = 64  # rows that a thread reads before it says so

Progress = Callable[[int, int], None]
Place = tuple[str, str]  # split, domain


class ReadableRows(Dataset):
    """The rows of a data set but those that cannot be read, in any of the domains they belong to.

    broken: (split, domain) -> numbers of such rows, of each domain of a group the same.
    """

    def __init__(self, whole: Dataset, broken: Mapping[Place, Sequence[int]]) -> None:
        super().__init__(whole.options, whole.image, whole.description)
        self.all_rows = whole
        self.costly = whole.costly  # type: ignore[misc]
        self._left_out = {place: set(numbers) for place, numbers in broken.items()}
        self._sound = {
            place: [n for n in range(whole.count(*place)) if n not in left_out]
            for place, left_out in self._left_out.items()
            if left_out
        }
        self.broken = {
            place: _names(whole, place, sorted(left_out))
            for place, left_out in self._left_out.items()
            if left_out
        }

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "all_rows":
            raise AttributeError(name)
        return getattr(self.all_rows, name)

    def whole(self) -> Dataset:
        seen = copy(self)
        seen.all_rows = self.all_rows.whole()
        seen.image = seen.all_rows.image
        return seen

    def count(self, split: str, domain: str) -> int:
        sound = self._sound.get((split, domain))
        return self.all_rows.count(split, domain) if sound is None else len(sound)

    def item(self, split: str, domain: str, index: int) -> Tensor:
        sound = self._sound.get((split, domain))
        return self.all_rows.item(split, domain, index if sound is None else sound[index])

    def rows(self, split: str, domain: str) -> Tensor | None:
        rows, sound = self.all_rows.rows(split, domain), self._sound.get((split, domain))
        return rows if rows is None or sound is None else rows[sound]

    def sources(self, split: str, domain: str) -> Sequence[tuple[str, str]] | None:
        files, sound = self.all_rows.sources(split, domain), self._sound.get((split, domain))
        return files if files is None or sound is None else [files[number] for number in sound]

    def fingerprint(self, split: str, domain: str) -> str | None:
        whole = self.all_rows.fingerprint(split, domain)
        left_out = sorted(self._left_out.get((split, domain), ()))
        return whole if whole is None or not left_out else f"{whole} without {left_out}"


def _names(whole: Dataset, place: Place, numbers: Sequence[int]) -> list[str]:
    files = whole.sources(*place)
    return [files[n][0] if files else str(n) for n in numbers]


@frozen
class _Group:
    """Domains whose rows belong together, in one split."""

    split: str
    domains: tuple[str, ...]
    count: int

    def is_broken(self, dataset: Dataset, number: int) -> bool:
        for domain in self.domains:
            if isinstance(dataset.description.domains[domain], ImageSpec):
                try:
                    dataset.item(self.split, domain, number)
                except DataError:
                    return True
        return False


def without_broken(
    dataset: Dataset, before: Identity | None, on_progress: Progress = lambda done, total: None
) -> ReadableRows:
    """The data set without the rows that cannot be read. before: what a run has kept of it; where
    that is what is there, nothing is read again. Raises DataError where nothing is left."""
    if before is not None and before.broken is not None:
        kept = ReadableRows(dataset, _numbers(dataset, before.broken))
        if identity_of(kept, before).digests() == before.digests():
            return kept
    groups = _groups(dataset)
    total, done = sum(group.count for group in groups), 0
    broken: dict[Place, list[int]] = {}
    with ThreadPoolExecutor(THREADS, thread_name_prefix="decode") as pool:
        for group in groups:
            starts = range(0, group.count, _AT_ONCE)
            for start, found in zip(
                starts, pool.map(lambda s, g=group: _broken(dataset, g, s), starts), strict=True
            ):
                for domain in group.domains:
                    broken.setdefault((group.split, domain), []).extend(found)
                done += min(_AT_ONCE, group.count - start)
                on_progress(done, total)
            if group.split == "train" and len(broken[group.split, group.domains[0]]) == group.count:
                raise DataError(f"no row of '{group.domains[0]}' can be read")
    return ReadableRows(dataset, broken)


def _broken(dataset: Dataset, group: _Group, start: int) -> list[int]:
    numbers = range(start, min(start + _AT_ONCE, group.count))
    return [number for number in numbers if group.is_broken(dataset, number)]


def _groups(dataset: Dataset) -> list[_Group]:
    description = dataset.description
    found = []
    for split in SPLITS:
        for domains in dict.fromkeys(description.group(name) for name in description.domains):
            there = tuple(name for name in domains if dataset.count(split, name))
            if there:
                found.append(_Group(split, there, dataset.count(split, there[0])))
    return found


def _numbers(dataset: Dataset, broken: Mapping[Place, Sequence[str]]) -> dict[Place, list[int]]:
    """Numbers of the rows that a run has left out, by the names that it has kept of them."""
    numbers = {}
    for place, names in broken.items():
        files = dataset.sources(*place)
        there = {name: n for n, (name, _) in enumerate(files)} if files else None
        numbers[place] = [
            number
            for name in names
            if (number := there.get(name, -1) if there is not None else int(name)) >= 0
        ]
    return numbers


def as_kept(dataset: Dataset, kept: Identity | None) -> Dataset:
    """The data set without the rows that a run has left out."""
    if kept is None or not kept.broken:
        return dataset
    return ReadableRows(dataset, _numbers(dataset, kept.broken))
