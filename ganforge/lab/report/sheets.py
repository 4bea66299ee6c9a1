"""The sample sheets of runs as a page holds them: all of them where there is room, else fewer and
smaller ones, and that is said."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from ganforge.storage.run_folder import RunFolder
from ganforge.storage.step_names import step_of

# What is tried in turn until the sheets of a run fit: (sheets, longest side in px, quality).
# Quality 0 keeps the files as they are, 100 is WebP without loss, less is WebP with some.
_LEVELS = (
    *((40, 0, 0), (40, 0, 100), (20, 0, 100)),
    *((24, 2048, 90), (16, 1600, 85), (12, 1024, 85), (8, 1024, 80)),
    *((6, 768, 75), (4, 512, 75), (2, 384, 70)),
)
_LOSSLESS = 2  # as large a PNG is as WebP without loss, at best


@frozen
class Picture:
    """A picture as the page holds it: a `data:` address, and its pixels."""

    address: str
    width: int
    height: int


@frozen
class Sheets:
    """Sheets of a run by step, ascending; its real images. note: what was done to make them fit."""

    steps: tuple[int, ...]
    pictures: tuple[Picture, ...]
    real: Picture | None
    note: str


def sheets_of(folder: RunFolder, room: int) -> Sheets:
    """The sheets of a run in at most so many bytes (of the pictures, before they are written as
    text), or as few and small as this gets; a file that is not a picture is left out."""
    files = {step: path for path in folder.sheets() if (step := step_of(path)) is not None}
    real = folder.samples / "real.png"
    for count, side, quality in _LEVELS:
        steps = spread(sorted(files), count)
        chosen = [*(files[step] for step in steps), *([real] if real.is_file() else [])]
        last = count == _LEVELS[-1][0]
        pictures = _fitting(chosen, side, quality, math.inf if last else room)
        if pictures is not None:
            break
    assert pictures is not None
    steps = [step for step in steps if files[step] in pictures]
    there = tuple(pictures[files[step]] for step in steps)
    return Sheets(tuple(steps), there, pictures.get(real), _note(len(files), count, side, quality))


def _fitting(
    paths: Sequence[Path], side: int, quality: int, room: float
) -> dict[Path, Picture] | None:
    """Pictures by their files; None as soon as they take more than the room."""
    need = sum(map(_size, paths))
    if (not quality and need > room) or (quality == 100 and need > _LOSSLESS * room):
        return None
    pictures = {}
    for path in paths:
        found = encoded(path, side, quality)
        if found is None:
            continue
        data, kind, width, height = found
        room -= len(data)
        if room < 0:
            return None
        pictures[path] = Picture(address(data, kind), width, height)
    return pictures


def shared(sizes: Sequence[int], room: int) -> list[int]:
    """How much room each gets: those that need less than their part leave the rest to others."""
    parts = [0] * len(sizes)
    waiting = sorted(range(len(sizes)), key=lambda number: sizes[number])
    while waiting:
        number = waiting.pop(0)
        parts[number] = min(sizes[number], room // (len(waiting) + 1))
        room -= parts[number]
    return parts


def size_of(folder: RunFolder) -> int:
    """Bytes that the sheets of a run take as they are."""
    return sum(_size(path) for path in (*folder.sheets(), folder.samples / "real.png"))


def encoded(path: Path, side: int, quality: int) -> tuple[bytes, str, int, int] | None:
    """A picture's bytes, kind, width and height: as it is, or as WebP and, with a side, shrunk to
    it. None where it cannot be read."""
    from PIL import Image

    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            if not quality:
                return data, "png", *image.size
            picture = image.convert("L" if image.mode == "L" else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # being written, or damaged
    if side:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return webp(picture, quality), "webp", *picture.size


def webp(picture: object, quality: int) -> bytes:
    """A picture of Pillow's as WebP; quality 100 loses nothing."""
    from PIL import Image

    assert isinstance(picture, Image.Image)
    file = io.BytesIO()
    picture.convert("RGB").save(file, "webp", quality=quality, lossless=quality == 100, method=4)
    return file.getvalue()


def address(data: bytes, kind: str) -> str:
    """A picture as text that HTML takes in place of a file's address."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def spread(items: Sequence[int], count: int) -> list[int]:
    """At most `count` of them (two or more), the first and the last among them, evenly spread."""
    if len(items) <= count:
        return list(items)
    return [items[round(place * (len(items) - 1) / (count - 1))] for place in range(count)]


def _note(there: int, count: int, side: int, quality: int) -> str:
    parts = []
    if there > count:
        parts.append(f"{count} of {there} sheets, evenly spread")
    if side:
        parts.append(f"at most {side:,} px a side, as WebP of quality {quality}")
    return "; ".join(parts)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
