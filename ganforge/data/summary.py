"""What was read of the data, in a few lines that are the same wherever rows are counted. Light.

What a dataset's description says, and what a few of its pictures hold; all of them where a command
decodes them anyway.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from ganforge.data.images import Look, look_at
from ganforge.interfaces.errors import DataError
from ganforge.interfaces.manifest import DataDescription, Resample
from ganforge.interfaces.specs import ImageSpec, LabelSpec
from ganforge.planning.plan import DataPlan

_SHOWN = 12  # classes that are shown with their rows
_FLAT = 8  # grey levels of 255 that a set of pictures has to use, at least
_LABELS = 32  # numbers that a picture with a palette has at most where it is taken for a mask
_SHADES = 16  # and one in grey
_MOST = 32_000_000  # pixels that are looked at of a domain
_WHITE_16 = 65535
_SOME = 8  # pictures that are looked at, of those that somebody hands over


@frozen
class Range:
    """The darkest and the brightest value, 0 to 255, of so many pictures."""

    low: int
    high: int
    pictures: int

    def __or__(self, other: Range) -> Range:
        pictures = self.pictures + other.pictures
        return Range(min(self.low, other.low), max(self.high, other.high), pictures)


@frozen
class Summary:
    """What was read. rows: domain -> split -> how many, left_out: kind -> how many, ranges: domain
    -> of values. warnings: whole sentences."""

    name: str  # of the dataset, as recipes write it
    specs: Mapping[str, str]  # domain -> what its data looks like
    rows: Mapping[str, Mapping[str, int]]
    classes: Mapping[str, Mapping[str, int]]  # split -> class -> rows
    left_out: Mapping[str, int]
    ranges: Mapping[str, Range]
    warnings: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Rows of each domain, classes, what was left out, and values."""
        for domain, spec in self.specs.items():
            yield f"{domain}: {_counted(self.rows.get(domain, {}), spec)}  ({self.name})"
        yield from _class_lines(self.classes)
        if self.left_out:
            yield f"left out: {kinds(self.left_out)}"
        if self.ranges:
            yield f"values, of 0 to 255: {_ranges(self.ranges)}"

    def as_json(self) -> dict[str, Any]:
        """Plain dicts, for programs."""
        return {
            "dataset": self.name,
            "rows": {domain: dict(splits) for domain, splits in self.rows.items()},
            "classes": {split: dict(classes) for split, classes in self.classes.items()},
            "left_out": dict(self.left_out),
            "values": {
                domain: {"low": r.low, "high": r.high, "pictures": r.pictures}
                for domain, r in self.ranges.items()
            },
            "warnings": list(self.warnings),
        }


def summary_of(
    data: DataPlan, domains: Collection[str] | None = None, read: Mapping[str, Range] | None = None
) -> Summary:
    """The summary of a plan's data.

    domains: those to speak of; unset: all. read: domain -> the range of every picture, where all
    were decoded; without it a few are looked at.
    """
    description = data.description
    named = [name for name in description.domains if domains is None or name in domains]
    looks = {
        name: _Looked(
            _looked_at(description.pictures.get(name, ())),
            data.image.resampling(name),
            _loaded(data, name),
        )
        for name in named
    }
    seen = {name: found.range() for name, found in looks.items() if found.looks}
    ranges = {**seen, **(read or {})}
    return Summary(
        data.component.name,
        {name: str(description.domains[name]) for name in named},
        {name: _rows(description, name) for name in named},
        description.classes if _has_labels(description, named) else {},
        description.left_out,
        {name: ranges[name] for name in named if name in ranges},
        (*description.notes, *_warnings(looks, ranges)),
    )


def summary_of_files(
    files: Sequence[Path],
    left_out: Mapping[str, int],
    name: str,
    *,
    domain: str,
    spec: str,
    shape: tuple[int, int] | None,
    resample: Resample,
) -> Summary:
    """The summary of pictures that somebody hands over, all of one domain.

    name: what they are called together. spec: what becomes of them. shape: the (height, width) that
    they are resized to, None where each keeps its own.
    """
    some = [files[len(files) * n // _SOME] for n in range(_SOME)] if len(files) > _SOME else files
    looks = {domain: _Looked(_looked_at(some), resample, set() if shape is None else {shape})}
    ranges = {domain: looks[domain].range()} if looks[domain].looks else {}
    return Summary(
        name,
        {domain: spec},
        {domain: {"train": len(files)}},
        {},
        left_out,
        ranges,
        tuple(_warnings(looks, ranges)),
    )


def kinds(left_out: Mapping[str, int]) -> str:
    """`3 .txt, 2 hidden`"""
    most = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {kind}" for kind, count in most)


def _has_labels(description: DataDescription, named: Iterable[str]) -> bool:
    return any(isinstance(description.domains[name], LabelSpec) for name in named)


def _rows(description: DataDescription, domain: str) -> dict[str, int]:
    return {split: rows[domain] for split, rows in description.counts.items() if rows.get(domain)}


def _counted(rows: Mapping[str, int], spec: str) -> str:
    """`40 x image 3 x 64 x 64, 10 held out`"""
    there = f"{rows['train']:,} x {spec}" if "train" in rows else spec
    return there + (f", {rows['test']:,} held out" if "test" in rows else "")


def _class_lines(classes: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """`2 classes: 20 x cat (5 held out), 20 x dog`"""
    train, test = classes.get("train", {}), classes.get("test", {})
    if not train:
        return
    shown = [
        f"{rows:,} x {name}" + (f" ({test[name]:,} held out)" if test.get(name) else "")
        for name, rows in [*train.items()][:_SHOWN]
    ]
    sizes = f" of {min(train.values()):,} to {max(train.values()):,}" if len(train) > _SHOWN else ""
    more = f" and {len(train) - _SHOWN} more" if len(train) > _SHOWN else ""
    yield f"{len(train)} class{'' if len(train) == 1 else 'es'}{sizes}: {', '.join(shown)}{more}"


def _ranges(ranges: Mapping[str, Range]) -> str:
    """`image 3 to 250 (of 8 pictures)`"""
    return ", ".join(
        f"{domain} {r.low} to {r.high} (of {r.pictures:,} picture{'' if r.pictures == 1 else 's'})"
        for domain, r in ranges.items()
    )


# --- what pictures hold ---------------------------------------------------------------------------


def _looked_at(files: Sequence[Path]) -> dict[Path, Look]:
    """What files hold; fewer of very large ones. Broken ones are reported elsewhere."""
    found: dict[Path, Look] = {}
    for path in files:
        if sum(look.height * look.width for look in found.values()) > _MOST:
            break
        try:
            found[path] = look_at(path)
        except DataError:
            continue
    return found


@frozen
class _Looked:
    """Some pictures of a domain. sizes: (height, width) that they are brought to on their way, none
    where each keeps its own."""

    looks: Mapping[Path, Look]
    how: Resample
    sizes: Collection[tuple[int, int]]

    def range(self) -> Range:
        looks = self.looks.values()
        if self.how == "nearest":
            low, high = min(look.lowest for look in looks), max(look.highest for look in looks)
        else:
            low, high = min(look.low for look in looks), max(look.high for look in looks)
        return Range(low, high, len(looks))

    def is_resized(self, look: Look) -> bool:
        return bool(self.sizes) and set(self.sizes) != {(look.height, look.width)}


def _loaded(data: DataPlan, domain: str) -> set[tuple[int, int]]:
    spec = data.description.domains[domain]
    if not isinstance(spec, ImageSpec) or data.image.size == data.image.load is None:
        return set()
    return {(spec.height, spec.width), data.image.loaded_pixels(spec.height, spec.width)}


def _warnings(looks: Mapping[str, _Looked], ranges: Mapping[str, Range]) -> Iterator[str]:
    for domain, seen in looks.items():
        if seen.looks:
            yield from _of_pages(domain, seen.looks)
            if seen.how == "smooth":
                yield from _of_depth(domain, seen.looks)
                yield from _of_masks(domain, seen)
    for domain, found in ranges.items():
        if domain in looks and found.high - found.low < _FLAT:
            values = f"{found.low} to {found.high}" if found.high > found.low else str(found.low)
            yield f"the pictures of '{domain}' are nearly constant: values {values}, of 0 to 255"


def _of_pages(domain: str, looks: Mapping[Path, Look]) -> Iterator[str]:
    several = [path for path, look in looks.items() if look.frames > 1]
    if several:
        yield (
            f"{_share(several, looks, domain)} hold further pages or frames, such as {several[0]}: "
            "only the first is read"
        )


def _of_depth(domain: str, looks: Mapping[Path, Look]) -> Iterator[str]:
    deep = {path: look for path, look in looks.items() if look.sixteen}
    most = max((look.highest for look in deep.values()), default=_WHITE_16)
    if most < _WHITE_16 // 8:
        yield (
            f"the 16-bit pictures of '{domain}', such as {next(iter(deep))}, use values up to "
            f"{most:,} of {_WHITE_16:,}, so they are nearly black: scale them to the full range"
        )


def _of_masks(domain: str, seen: _Looked) -> Iterator[str]:
    """Pictures that look like label masks, and would come out as something else."""
    looks = seen.looks
    coloured = [p for p, look in looks.items() if look.palette and look.numbers <= _LABELS]
    shaded = [
        path
        for path, look in looks.items()
        if not look.palette and 1 < look.numbers <= _SHADES and seen.is_resized(look)
    ]
    how = f'`resample = {{ {domain} = "nearest" }}` in [data]'
    if len(coloured) == len(looks):
        yield (
            f"the pictures of '{domain}' have palettes of few colours, as label masks do, such as "
            f"{coloured[0]}: they are read as these colours; {how} reads their numbers"
        )
    elif len(shaded) == len(looks):
        most = max(look.numbers for look in looks.values())
        yield (
            f"the pictures of '{domain}' hold at most {most} values each, as label masks do, and "
            f"resizing blends them; {how} keeps them"
        )


def _share(some: Sequence[Path], every: Mapping[Path, Look], domain: str) -> str:
    of = f"{len(some)} of {len(every)}" if len(some) < len(every) else f"all {len(every)}"
    return f"{of} pictures of '{domain}' that were looked at"
