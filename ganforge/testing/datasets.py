"""What datasets must satisfy. Those that read files need an example that says where these are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from ganforge.interfaces.components import Dataset
from ganforge.interfaces.errors import GanforgeError
from ganforge.interfaces.manifest import (
    DataDescription,
    ImageOptions,
    Impossible,
    with_options,
)
from ganforge.interfaces.specs import ImageSpec, LabelSpec, Spec, TextSpec
from ganforge.testing.cases import Failed, NotTried, Subject

MOST = 16  # rows that are looked at, evenly spread
SIZES = (None, 16, (12, 20))


def described(subject: Subject) -> None:
    """Its description names its domains with their specs, and counts them as the dataset does."""
    for description, dataset in _sized(subject):
        if not description.domains:
            raise Failed("its description has no domains")
        for group in description.aligned:
            for name in group:
                if name not in description.domains:
                    raise Failed(f"aligned domain '{name}' is none of its domains")
            counts = {dataset.count("train", name) for name in group}
            if len(counts) > 1:
                raise Failed(f"aligned domains {group} have {sorted(counts)} rows")
        for split, rows in description.counts.items():
            for name, count in rows.items():
                if dataset.count(split, name) != count:
                    raise Failed(
                        f"describes {count} rows of '{name}' in '{split}'; there are "
                        f"{dataset.count(split, name)}"
                    )
        for name in description.domains:
            if dataset.count("train", name) < 1:
                raise Failed(f"has no training rows of '{name}'")


def items(subject: Subject) -> None:
    """Every row is what its spec says: images uint8 [C, H, W] at least as large, labels int64 []
    below their number of classes, other data float."""
    for description, dataset in _sized(subject):
        for name, spec in description.domains.items():
            for split, index in _rows(dataset, name):
                _check_item(dataset.item(split, name, index), spec, f"{split} row {index} '{name}'")


def _check_item(item: torch.Tensor, spec: Spec, what: str) -> None:
    if isinstance(spec, ImageSpec):
        good = item.dtype == torch.uint8 and item.dim() == 3 and len(item) == spec.channels
        good = good and item.shape[1] >= spec.height and item.shape[2] >= spec.width
        expected = f"uint8 [{spec.channels}, >= {spec.height}, >= {spec.width}]"
    elif isinstance(spec, LabelSpec):
        good = item.dtype == torch.int64 and item.dim() == 0 and 0 <= int(item) < spec.classes
        expected = f"int64 [] below {spec.classes}"
    elif isinstance(spec, TextSpec):
        good = item.dtype == torch.int64 and item.shape == spec.shape
        expected = f"int64 {list(spec.shape)}"
    else:
        good = item.is_floating_point() and item.shape == spec.shape
        good = good and bool(item.isfinite().all())
        expected = f"finite float {list(spec.shape)}"
    if not good:
        raise Failed(f"{what} is {item.dtype} {list(item.shape)}; its spec says {expected}")


def by_index(subject: Subject) -> None:
    """A row is the same on every read and in every instance; `rows` holds the same."""
    for (_, dataset), (_, other) in zip(_sized(subject), _sized(subject), strict=True):
        for name in dataset.description.domains:
            whole = {split: dataset.rows(split, name) for split in ("train", "test")}
            for split, index in reversed(list(_rows(dataset, name))):
                item = dataset.item(split, name, index)
                if not torch.equal(item, other.item(split, name, index)):
                    raise Failed(f"{split} row {index} of '{name}' differs when it is read again")
                rows = whole[split]
                if rows is not None and not torch.equal(rows[index], item):
                    raise Failed(f"rows() and item() differ for {split} row {index} of '{name}'")


def _sized(subject: Subject) -> Iterator[tuple[DataDescription, Dataset]]:
    """The dataset at several image sizes."""
    describe = subject.component.describe
    if describe is None:
        raise Failed("its manifest does not describe what it yields: Component(describe=...)")
    accepted = 0
    usual: Any = ImageOptions
    for size in SIZES:
        image = with_options(usual(), size=size)
        try:
            description = describe(subject.options, image)
        except Impossible as error:
            refusal = error
            continue
        except GanforgeError as error:  # such as of files that are not here
            raise NotTried(str(error)) from error
        accepted += 1
        yield description, subject.cls(subject.options, image, description)
    if not accepted:
        raise NotTried(f"its manifest refuses every image size that the kit tries: {refusal}")


def _rows(dataset: Dataset, name: str) -> Iterator[tuple[str, int]]:
    for split in ("train", "test"):
        count = dataset.count(split, name)
        step = max(1, count // MOST)
        yield from ((split, index) for index in range(0, count, step))


def checks(kind: str) -> tuple[Callable[[Subject], None], ...]:
    """The checks of a data set."""
    return described, items, by_index
