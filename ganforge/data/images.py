"""Image files: finding, checking, reading and writing them. Public for plugins.

Light: numpy and Pillow are imported where they are used, torch never, so that a dataset's
`describe` may look at folders and at the headers of files.

Everywhere: arrays are uint8 [C, H, W] unless said otherwise; what cannot be used raises DataError
with one line that names the file, what is wrong with it and what to do.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from attrs import frozen

from ganforge.interfaces.errors import BrokenRows, DataError, GanforgeError
from ganforge.interfaces.manifest import ImageOptions, Impossible, Resample
from ganforge.interfaces.specs import ImageSpec
from ganforge.storage.part_files import beside

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image
    from torch import Tensor

__all__ = [
    "ENDINGS",
    "Listing",
    "THREADS",
    "check_images",
    "evenly",
    "fit_images",
    "folder_names",
    "grid",
    "image_endings",
    "image_files",
    "image_listing",
    "image_names",
    "image_size",
    "image_spec",
    "natural_key",
    "one_line",
    "read_image",
    "spec_under",
    "stem_of",
    "write_gif",
    "write_png",
]

ENDINGS = (  # the usual ones; `image_endings` has all
    ".bmp",
    ".gif",
    ".jpeg",
    ".jpg",
    ".pbm",
    ".pgm",
    ".png",
    ".ppm",
    ".tif",
    ".tiff",
    ".webp",
)
THREADS = min(8, os.cpu_count() or 1)  # for decoding, which runs outside Python's global lock
_AGAIN = "delete it or save it again as PNG"
_EMPTY = "is an empty file: delete it"
_UNKNOWN = f"is not a readable image, despite its name: {_AGAIN}"
LOOKED_AT = 20_000  # files of a folder whose headers are read to know it; of more, as many of them
T = TypeVar("T")
_AT_ONCE = 2048  # images that are resized together
_GAP = 2  # pixels between the tiles of a sheet


# ---------------------------------------------------------------- folders


def image_files(folder: Path, *, recursive: bool = True) -> list[Path]:
    """The images of a folder in the order of their relative names, the same on every system.

    Names count naturally (`2.png` before `10.png`); hidden files and folders are left out.
    Raises DataError for a folder that is missing, empty, unreadable, a file, or without images.
    """
    return [Path(folder, name) for name in image_names(folder, recursive=recursive)]


def image_names(folder: Path, *, recursive: bool = True) -> list[str]:
    """The same as names relative to the folder, with `/` between their parts. Much quicker where
    there are millions; while a folder stays as it is, a process lists it once."""
    listing = image_listing(folder, recursive=recursive)
    if not listing.names:
        raise DataError(_without_images(folder, listing.others, recursive))
    return listing.names


@frozen
class Listing:
    """What a folder holds: the names of its pictures, and what else, kind -> how many.

    Kinds are endings (".txt") and words ("hidden", "without an ending"). A hidden folder counts
    as one. folders: those directly below, without hidden ones, in no order.
    """

    names: list[str]
    others: Mapping[str, int]
    folders: tuple[str, ...]


def image_listing(folder: Path, *, recursive: bool = True, apart: Collection[str] = ()) -> Listing:
    """`image_names`, which may be none here, and how many files of which kind are not pictures.

    A picture is what ends as Pillow's formats do, and what has no ending and is one by its content.
    apart: names, in lower case, of folders directly below that are not looked into.
    """
    wanted = os.path.realpath(_existing(folder)), recursive, frozenset(apart)
    known = _LISTED.get(wanted)
    if known is not None and _changed(known[0]) == known[0]:
        return _unpacked(*known[1:])
    others: Counter[str] = Counter()
    found: list[str] = []
    seen: dict[str, int] = {}
    folders: list[str] = []
    for name, odd in _walk(str(folder), "", recursive, seen, apart, folders):
        kind = odd or _no_picture(folder, name)
        if kind:
            others[kind] += 1
        else:
            found.append(name)
    found.sort(key=natural_key)
    if max(seen.values()) < time.time_ns() - _SETTLED:
        _LISTED[wanted] = seen, "\0".join(found), others, tuple(folders)
    return Listing(found, others, tuple(folders))


def _unpacked(names: str, others: Mapping[str, int], folders: tuple[str, ...]) -> Listing:
    return Listing(names.split("\0") if names else [], others, folders)


def _no_picture(folder: Path, name: str) -> str:
    """The kind of a file that is not a picture; "" for a picture."""
    _, dot, last = name.rpartition(".")
    if dot and f".{last.lower()}" in image_endings():  # nearly always
        return ""
    ending = ending_of(name)
    if ending:
        return ending
    return "" if _is_picture(os.path.join(folder, name)) else "without an ending"  # noqa: PTH118


def ending_of(name: str) -> str:
    """`.jpg` of `a/B.JPG`; "" if what follows the last dot is not an extension (`2021.05.07`)."""
    _, dot, ending = name.rpartition("/")[2].rpartition(".")
    return f".{ending.lower()}" if dot and _ENDING.fullmatch(ending) else ""


_ENDING = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_~+-]{1,12}")


def stem_of(name: str) -> str:
    """The name of a picture without its ending: `a/1` of `a/1.png`, and of `a/1`."""
    ending = ending_of(name)
    return name[: -len(ending)] if ending in image_endings() else name


# Formats of Pillow that are no pictures to learn from: drawings that other programs paint, films,
# and containers of measurements or of text.
_NO_PICTURES = {"BUFR", "EPS", "FLI", "GRIB", "HDF5", "IPTC", "MPEG", "PDF", "WMF"}


@cache
def image_endings() -> frozenset[str]:
    """The endings, in lower case, of every format that this Pillow reads as a picture."""
    pillow = _pillow()
    return frozenset(
        ending for ending, form in pillow.registered_extensions().items() if form in _formats()
    )


@cache
def _formats() -> frozenset[str]:
    pillow = _pillow()
    pillow.init()
    return frozenset(pillow.OPEN) - _NO_PICTURES


@cache
def _recognised_by_content() -> list[str]:
    """Formats whose files begin with a mark of their own."""
    return sorted(form for form in _formats() if _pillow().OPEN[form][1] is not None)


def _is_picture(path: str) -> bool:
    pillow = _pillow()
    try:
        with pillow.open(path, formats=_recognised_by_content()):
            return True
    except pillow.DecompressionBombError:
        return True
    except Exception:  # whatever a file that is no picture makes of a decoder
        return False


# (folder, recursive, apart) -> when each folder below it was changed (ns), the names that were
# found, as one string, which takes a fifth of the memory, the counts of what else there is, and the
# folders.
_LISTED: dict[
    tuple[str, bool, frozenset[str]],
    tuple[dict[str, int], str, Mapping[str, int], tuple[str, ...]],
] = {}
_SETTLED = 2_000_000_000  # ns; what was changed since may change again within the same tick


def _changed(folders: Iterable[str]) -> dict[str, int]:
    """When each folder was changed, in nanoseconds; -1 where it is gone."""
    times = {}
    for folder in folders:
        try:
            times[folder] = Path(folder).stat().st_mtime_ns
        except OSError:
            times[folder] = -1
    return times


def folder_names(folder: Path) -> list[str]:
    """Names of the folders below this one, naturally sorted, without hidden ones."""
    return sorted(
        (e.name for e in _entries(_existing(folder)) if e.is_dir() and not _hidden(e.name)),
        key=natural_key,
    )


def natural_key(name: str) -> tuple[str, str]:
    """A sort key in which numbers count as numbers; equal on every system and locale."""
    # As one string, which compares fastest: a number begins with what sorts before any letter, and
    # then with its length; parts of a path end with what sorts before that.
    return _NUMBER.sub(_counting, name).replace("/", "\0"), name


_NUMBER = re.compile("[0-9]+")


def _counting(number: re.Match[str]) -> str:
    digits = number[0].lstrip("0")
    return f"\1{chr(len(digits) + 1)}{digits}"


def _existing(folder: Path) -> Path:
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise DataError(f"{folder} is a file, not a folder of images: unpack it or name its folder")
    above = folder.parent
    while not above.is_dir() and above != above.parent:
        above = above.parent
    names = folder_names(above) if above == folder.parent else []
    there = f"; {above} has the folders {_several(names)}" if names else ""
    raise DataError(f"there is no folder {folder}{there}")


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def _walk(
    folder: str,
    below: str,
    recursive: bool,
    seen: dict[str, int],
    apart: Collection[str] = (),
    folders: list[str] | None = None,
) -> Iterator[tuple[str, str]]:
    """(name behind `below`, kind) of files, the kind of those that are not even to be looked at;
    links to folders are followed, each folder once. folders: is given the names of those below."""
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen |= _changed([real])
    for entry in _entries(Path(folder)):
        if _hidden(entry.name):
            yield below + entry.name, "hidden"
        elif entry.is_file():
            yield below + entry.name, ""
        elif not entry.is_dir():
            yield below + entry.name, "broken link" if entry.is_symlink() else "special file"
        else:
            if folders is not None:
                folders.append(entry.name)
            if recursive and entry.name.lower() not in apart:
                yield from _walk(entry.path, f"{below}{entry.name}/", recursive, seen)


def _without_images(folder: Path, others: Mapping[str, int], recursive: bool) -> str:
    wanted = f"images end in {', '.join(ENDINGS)} and as other formats of Pillow do"
    if others:
        most = Counter(others).most_common()
        kinds = _several([f"{count} {kind}" for kind, count in most])
        return f"{folder} holds no images, only {kinds}: {wanted}"
    folders = [] if recursive else folder_names(folder)
    if folders:
        return f"{folder} holds no images itself, only the folders {_several(folders)}"
    return f"{folder} is empty: put images into it; {wanted}"


def _several(names: Sequence[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


# ---------------------------------------------------------------- reading


def image_size(
    path: Path | str, content: bytes | None = None, *, resample: Resample = "smooth"
) -> tuple[int, int, int]:
    """(channels, height, width) of a file as `read_image` sees it, read from its header.

    Channels: 1 grey, 3 colour, 4 colour with alpha; grey with alpha counts as grey, and so does a
    palette that is read by "nearest", as its numbers.
    content: what is in the file, where it is not to be opened; `path` then is what it is called.
    """
    with _opened(path, content) as image:
        width, height = image.size
        if _orientation(image) >= 5:  # lies on its side
            width, height = height, width
        numbers = resample == "nearest" and image.mode in ("P", "PA")
        return 1 if numbers else _channels(image), height, width


@frozen
class Look:
    """What a file holds, as people are told of it.

    low, high: its darkest and brightest value, 0 to 255, as "smooth" reads it. palette: whether its
    numbers stand for colours. sixteen: whether it is grey of 16 bits. numbers: how many different
    ones it has; of colours, and where they came out of lossy compression, 257. lowest, highest: of
    the numbers. frames: pages, or pictures of an animation.
    """

    height: int
    width: int
    low: int
    high: int
    palette: bool
    sixteen: bool
    numbers: int
    lowest: int
    highest: int
    frames: int


def look_at(path: Path) -> Look:
    """Look at a file's values. Raises DataError for what cannot be read."""
    import numpy as np

    with _opened(path) as image:
        width, height = image.size
        frames = int(getattr(image, "n_frames", 1))
        image.seek(0)
        exact = image.format not in ("JPEG", "MPO") and image.mode in _OF_NUMBERS
        image.draft(None, (_LOOKED_SIDE, _LOOKED_SIDE))
        shown = np.asarray(_with_channels(image, 3))
        numbers = np.asarray(image) if exact else shown
        return Look(
            height=height,
            width=width,
            low=int(shown.min()),
            high=int(shown.max()),
            palette=image.mode in ("P", "PA"),
            sixteen=image.mode.startswith("I"),
            numbers=len(np.unique(numbers)) if exact else 257,
            lowest=int(numbers.min()),
            highest=int(numbers.max()),
            frames=frames,
        )


_OF_NUMBERS = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B", "I;16N")
_LOOKED_SIDE = 256  # pixels that are enough to look at a JPEG


def read_image(
    path: Path | str,
    *,
    height: int,
    width: int,
    channels: int,
    fit: Literal["cover", "contain", "stretch"] = "cover",
    content: bytes | None = None,
    resample: Resample = "smooth",
    part: tuple[int, int] = (0, 1),
) -> np.ndarray:
    """A file as uint8 [C, H, W] of the given size; of an animation the first frame.

    Turned as its EXIF says. 16 bits become 8 by dividing by 257, never by the image's own
    extremes. Transparency is put on white unless `channels` is 4. `contain` pads with black
    (with transparent black where `channels` is 4). content: as `image_size` takes it.
    resample: "smooth" shrinks and enlarges by Lanczos; "nearest" takes each pixel as it is in the
    file: no blending, transparency left out, with one channel a palette's numbers, and of 16 bits
    the numbers themselves, which may be no larger than 255.
    part: (which, of how many) pictures of equal width that stand side by side in the file.
    """
    exact = resample == "nearest"
    with _opened(path, content) as image:
        orientation = _orientation(image)
        _refuse_uneven_parts(path, image.size, orientation, part[1])
        if not exact:
            _draft(image, height, width * part[1], orientation, part[1])
        picture = _exactly(image, channels) if exact else _with_channels(image, channels)
        picture = _part(_turned(picture, orientation), *part)
        return _to_array(_fitted(picture, height, width, fit, resample))


def _refuse_uneven_parts(
    path: Path | str, size: tuple[int, int], orientation: int, parts: int
) -> None:
    across = size[1] if orientation >= 5 else size[0]
    if across % parts:
        raise DataError(
            f"{path} is {across} px wide, which {parts} images of equal width do not fill"
        )


def _draft(image: Image.Image, height: int, width: int, orientation: int, parts: int) -> None:
    """Let a JPEG decode to 1/2, 1/4 or 1/8 directly; twice the wanted size keeps the quality.

    Where parts would not end at its blocks of 8 pixels, it is decoded in full.
    """
    across = image.size[1] if orientation >= 5 else image.size[0]
    if parts > 1 and across % (8 * parts):
        return
    longest = 2 * max(height, width)
    image.draft(None, (longest, longest) if orientation >= 5 else (2 * width, 2 * height))


def _part(picture: Image.Image, which: int, parts: int) -> Image.Image:
    """One of the pictures of equal width, from left to right."""
    if parts == 1:
        return picture
    across = picture.size[0] // parts
    return picture.crop((which * across, 0, (which + 1) * across, picture.size[1]))


def evenly(items: Sequence[T]) -> Sequence[T]:
    """So many of them that looking at each takes seconds, spread evenly; all of 20,000 or fewer."""
    if len(items) <= LOOKED_AT:
        return items
    return [items[number * len(items) // LOOKED_AT] for number in range(LOOKED_AT)]


def check_images(paths: Sequence[Path]) -> None:
    """Reads the header of every file, of more than 20,000 of so many of them. Raises one DataError
    for all that cannot be used."""
    paths = evenly(paths)

    def fault(path: Path) -> str | None:
        try:
            image_size(path)
        except DataError as error:
            return str(error)
        return None

    faults = [found for found in _each(fault, paths) if found]
    if faults:
        raise BrokenRows(one_line(faults, len(paths)))


def _each(look: Callable[[Path], T], paths: Sequence[Path]) -> Iterator[T]:
    """`look` at every file, in their order, with threads: disks and networks are slow to answer."""
    from concurrent.futures import ThreadPoolExecutor  # slow to import, and not always needed

    parts = [paths[start : start + 256] for start in range(0, len(paths), 256)]
    with ThreadPoolExecutor(THREADS) as pool:
        for results in pool.map(lambda part: [look(path) for path in part], parts):
            yield from results


def one_line(faults: Sequence[str], total: int) -> str:
    """Several faults as one line: how many, and the first few in full."""
    if len(faults) == 1:
        return faults[0]
    more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
    return f"{len(faults)} of {total} images cannot be used: " + "; ".join(faults[:3]) + more


@cache
def _pillow() -> Any:
    """Pillow, without its warnings of images over 89 megapixels (it refuses over 179 only) and of
    broken EXIF."""
    from PIL import Image

    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", message="Corrupt EXIF data")
    return Image


class _FloatingPoint(DataError):
    """A picture whose numbers do not say what is black and what is white."""


@contextmanager
def _opened(path: Path | str, content: bytes | None = None) -> Iterator[Image.Image]:
    """The file, header read; whatever goes wrong with it inside the block becomes a DataError."""
    from PIL import UnidentifiedImageError

    pillow = _pillow()
    try:
        with pillow.open(path if content is None else BytesIO(content)) as image:
            if min(image.size) < 2:
                size = f"{image.size[0]} x {image.size[1]}"
                raise DataError(f"{path} is {size} px, too small to be of use: delete it")
            if image.mode == "F":
                raise _FloatingPoint(
                    f"{path} holds floating-point pixels of unknown range: {_AGAIN}"
                )
            if _is_misread(image):
                raise DataError(
                    f"{path} has a palette of greys that Pillow reads wrongly: {_AGAIN}"
                )
            yield image
    except (GanforgeError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        held = Path(path).stat().st_size if content is None else len(content)
        raise DataError(f"{path} {_UNKNOWN if held else _EMPTY}") from error
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        limit = 2 * (pillow.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise DataError(
            f"{path} has more than {limit} million pixels: scale it down or delete it"
        ) from error
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}") from error
    except PermissionError as error:
        raise DataError(
            f"{path} cannot be read: permission denied; change its permissions"
        ) from error
    except Exception as error:  # decoders raise nearly anything on broken files
        what = "is cut off" if "truncated" in str(error).lower() else f"cannot be decoded ({error})"
        raise DataError(f"{path} {what}: {_AGAIN}") from error


def _is_misread(image: Image.Image) -> bool:
    """Whether Pillow takes the numbers of a BMP's palette for pixels of another depth, as it does
    where the palette is black and white and its numbers have more than one bit."""
    bits = {"1": 1, "L": 8}.get(image.mode)
    if image.format not in ("BMP", "DIB") or bits is None:
        return False
    stride = (image.size[0] * bits + 31) // 32 * 4  # bytes of a row
    tiles: Any = getattr(image, "tile", ())
    return bool(tiles) and tiles[0].args[-2] != stride


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8. TIFF files are turned by Pillow itself.

    Only what stands before the pixels is read: `getexif` would decode a whole PNG to look behind.
    """
    raw = image.info.get("exif")
    if image.format == "TIFF" or not isinstance(raw, bytes):
        return 1
    exif = _pillow().Exif()
    try:
        exif.load(raw)
        orientation = exif.get(0x0112, 1)
    except Exception:  # broken EXIF does not make an image unusable
        return 1
    return orientation if orientation in range(1, 9) else 1


def _turned(picture: Image.Image, orientation: int) -> Image.Image:
    how = _pillow().Transpose
    methods = {
        2: how.FLIP_LEFT_RIGHT,
        3: how.ROTATE_180,
        4: how.FLIP_TOP_BOTTOM,
        5: how.TRANSPOSE,
        6: how.ROTATE_270,
        7: how.TRANSVERSE,
        8: how.ROTATE_90,
    }
    return picture if orientation == 1 else picture.transpose(methods[orientation])


def _channels(image: Image.Image) -> int:
    if image.mode.startswith(("1", "L", "I")) and image.mode != "LAB":
        return 1
    return 4 if image.has_transparency_data else 3


def _with_channels(image: Image.Image, channels: int) -> Image.Image:
    """As mode L, RGB or RGBA."""
    pillow = _pillow()
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    if channels == 4:
        return image.convert("RGBA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", image.size, "white"), image)
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    return image.convert("L" if channels == 1 else "RGB")


def _exactly(image: Image.Image, channels: int) -> Image.Image:
    """As mode L, RGB or RGBA, with the numbers that the file holds."""
    import numpy as np

    pillow = _pillow()
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 255:
            raise ValueError(
                f'numbers from {values.min()} to {values.max()}; resample = "nearest" keeps those '
                "from 0 to 255"
            )
        image = pillow.fromarray(values.astype(np.uint8))
    elif channels == 1 and image.mode == "PA":
        return image.getchannel(0)
    elif channels == 1 and image.mode == "P":
        numbers: Image.Image = pillow.fromarray(np.asarray(image))
        return numbers
    return image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey as 8-bit grey: 65535 is white in every image. Pillow itself would clip at 255."""
    import numpy as np

    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError("32-bit pixels of unknown range")
    grey: Image.Image = _pillow().fromarray(((values + 128) // 257).astype(np.uint8))
    return grey


def _fitted(
    picture: Image.Image, height: int, width: int, fit: str, resample: Resample
) -> Image.Image:
    pillow = _pillow()
    across, down = picture.size
    size, box = (width, height), (0.0, 0.0, float(across), float(down))
    if fit == "cover":
        scale = max(width / across, height / down)
        x, y = (across - width / scale) / 2, (down - height / scale) / 2
        box = (max(x, 0.0), max(y, 0.0), min(across - x, across), min(down - y, down))
    elif fit == "contain":
        scale = min(width / across, height / down)
        size = (max(1, round(across * scale)), max(1, round(down * scale)))
    if resample == "nearest":
        fitted = picture.resize(size, pillow.Resampling.NEAREST, box=box)
    else:
        # reducing_gap: first a cheap whole-number reduction to three times the size, then Lanczos.
        fitted = picture.resize(size, pillow.Resampling.LANCZOS, box=box, reducing_gap=3.0)
    if size == (width, height):
        return fitted
    padded: Image.Image = pillow.new(picture.mode, (width, height))
    padded.paste(fitted, ((width - size[0]) // 2, (height - size[1]) // 2))
    return padded


def fit_images(
    images: Tensor, height: int, width: int, fit: str, resample: Resample = "smooth"
) -> Tensor:
    """Images that are read already, uint8 [N, C, h, w] -> uint8 [N, C, height, width], antialiased.

    fit: as in ImageOptions; `contain` pads with black. resample: "nearest" blends nothing.
    """
    import torch
    from torch.nn.functional import pad

    down, across = images.shape[2:]
    size = height, width
    if fit == "cover":
        scale = max(height / down, width / across)
        rows, columns = round(height / scale), round(width / scale)
        top, left = (down - rows) // 2, (across - columns) // 2
        images = images[:, :, top : top + rows, left : left + columns]
    elif fit == "contain":
        scale = min(height / down, width / across)
        size = max(1, round(down * scale)), max(1, round(across * scale))
    if images.shape[2:] != size:
        from ganforge.data.resampling import resampled

        parts = torch.split(images, _AT_ONCE)
        images = torch.cat([resampled(part, size, resample) for part in parts])
    above, before = (height - size[0]) // 2, (width - size[1]) // 2
    sides = before, width - size[1] - before, above, height - size[0] - above
    return pad(images, sides) if any(sides) else images


def _to_array(picture: Image.Image) -> np.ndarray:
    import numpy as np

    pixels = np.array(picture)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


# ---------------------------------------------------------------- specs


def image_spec(
    paths: Sequence[Path], image: ImageOptions, *, resample: Resample = "smooth"
) -> ImageSpec:
    """The spec of these files under the shared image options.

    resample: as they will be read, since palettes are then colours or numbers.

    Without `size` all files must agree in size; without `channels` it is 3 unless all are grey.
    Of more than 20,000 files, so many are looked at. Files that cannot be read are passed over
    here: all are told at once when they are decoded.
    Raises Impossible, which names the option to set, and DataError if no file can be read, and for
    TIFF files of floating-point pixels.
    """
    paths = evenly(paths)
    _refuse_floating_point(paths)
    height = width = 0  # where `size` decides
    look = partial(_readable_size, resample=resample)
    if image.size is None:
        looked = zip(paths, _each(look, paths), strict=True)
        sizes = {path: size for path, size in looked if size is not None}
        _refuse_uneven(sizes or {paths[0]: image_size(paths[0])})
        _, height, width = next(iter(sizes.values()))
        grey = all(channels == 1 for channels, _, _ in sizes.values())
    else:
        seen = (look(path) for path in paths)  # until the first in colour
        grey = image.channels is None and all(size is None or size[0] == 1 for size in seen)
    return spec_under(image, channels=1 if grey else 3, height=height, width=width)


def _readable_size(path: Path, *, resample: Resample) -> tuple[int, int, int] | None:
    try:
        return image_size(path, resample=resample)
    except DataError:
        return None


def _refuse_floating_point(paths: Sequence[Path]) -> None:
    """One DataError for all pictures of floating-point pixels, by their headers."""
    tiffs = [path for path in paths if path.suffix.lower() in (".tif", ".tiff")]

    def fault(path: Path) -> str | None:
        try:
            image_size(path)
        except _FloatingPoint as error:
            return str(error)
        except DataError:
            return None
        return None

    faults = [found for found in _each(fault, tiffs) if found]
    if faults:
        raise DataError(one_line(faults, len(paths)))


def _refuse_uneven(sizes: Mapping[Path, tuple[int, int, int]]) -> None:
    first = next(iter(sizes))
    for path, size in sizes.items():
        if size[1:] != sizes[first][1:]:
            raise Impossible(
                f"the images differ in size: {first} has {_pixels(sizes[first])}, "
                f"{path} {_pixels(size)}; set `size`",
                key="size",
            )


def spec_under(image: ImageOptions, *, channels: int, height: int, width: int) -> ImageSpec:
    """The spec of images of the given kind and size in pixels under the shared image options."""
    if image.channels == 2:
        raise Impossible("images have 1 (grey), 3 (colour) or 4 (alpha) channels", key="channels")
    final = image.pixels(height, width)
    loaded = image.loaded_pixels(height, width)
    if loaded[0] < final[0] or loaded[1] < final[1]:
        raise Impossible(
            f"`load` is {loaded[0]} x {loaded[1]}, less than the {final[0]} x {final[1]} that are "
            "cropped from it",
            key="load",
        )
    return ImageSpec(image.channels or channels, *final)


def _pixels(size: tuple[int, int, int]) -> str:
    return f"{size[2]} x {size[1]} px"


# ---------------------------------------------------------------- writing


def grid(images: Tensor, columns: int) -> np.ndarray:
    """Images float [N, C, H, W] in [-1, 1] as one sheet, uint8 [H', W', C] (or [H', W'] for grey).

    -1 is black and 1 is white whatever the images hold; nothing is normalised. Tiles are two
    white pixels apart, and places without an image are white. Other channels than 1, 3 and 4 stand
    side by side, by threes in colour where they can be counted by threes, else each in grey.
    """
    import numpy as np

    images = _beside(images)
    count, channels, height, width = images.shape
    pixels = images.detach().float().add(1).mul(127.5).round().clamp(0, 255)
    tiles = pixels.byte().permute(0, 2, 3, 1).cpu().numpy()  # [N, H, W, C]
    columns = max(1, min(columns, count))
    rows = max(1, -(-count // columns))
    shape = (rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, channels)
    sheet = np.full(shape, 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = (number // columns) * (height + _GAP), (number % columns) * (width + _GAP)
        sheet[top : top + height, left : left + width] = tile
    return sheet[:, :, 0] if channels == 1 else sheet


def _beside(images: Tensor) -> Tensor:
    """Images [N, C, H, W] of any number of channels as images of 1, 3 or 4."""
    count, channels, height, width = images.shape
    if channels in (1, 3, 4):
        return images
    each = 1 if channels % 3 else 3
    parts = images.reshape(count, channels // each, each, height, width)
    return parts.permute(0, 2, 3, 1, 4).reshape(count, each, height, -1)


def tiled(
    blocks: Sequence[np.ndarray], columns: int, *, down: int = _GAP, across: int = 6 * _GAP
) -> np.ndarray:
    """Sheets, uint8 [H, W] or [H, W, C], as one, with white gaps of so many pixels."""
    import numpy as np

    channels = max(1 if block.ndim == 2 else block.shape[2] for block in blocks)
    lines = [blocks[start : start + columns] for start in range(0, len(blocks), columns)]
    height = sum(max(b.shape[0] for b in line) for line in lines) + down * (len(lines) - 1)
    width = max(sum(b.shape[1] for b in line) + across * (len(line) - 1) for line in lines)
    whole = np.full((height, width, channels), 255, np.uint8)
    top = 0
    for line in lines:
        left = 0
        for block in line:
            pixels = _block_with_channels(block, channels)
            whole[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
            left += pixels.shape[1] + across
        top += max(b.shape[0] for b in line) + down
    return whole[:, :, 0] if channels == 1 else whole


def _block_with_channels(block: np.ndarray, channels: int) -> np.ndarray:
    import numpy as np

    if block.ndim == 2:
        block = np.repeat(block[:, :, None], min(channels, 3), 2)
    if block.shape[2] < channels:
        block = np.concatenate([block, np.full_like(block[:, :, :1], 255)], 2)
    return block


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write uint8 [H, W], [H, W, 3] or [H, W, 4]; the file is whole or not there at all."""
    picture = _pillow().fromarray(pixels)
    _write_whole(path, lambda part: picture.save(part, format="PNG"))


def write_gif(path: Path, frames: Iterable[np.ndarray], milliseconds: int) -> None:
    """Write frames, uint8 [H, W] or [H, W, 3] of one size, as an endless animation.

    Each is shown for `milliseconds` (GIF counts in tens). Raises ValueError without frames.
    """
    pictures = (_pillow().fromarray(frame) for frame in frames)
    first = next(pictures, None)
    if first is None:
        raise ValueError("an animation needs at least one frame")
    settings = {"save_all": True, "append_images": pictures, "duration": milliseconds, "loop": 0}
    _write_whole(path, lambda part: first.save(part, format="GIF", **settings))


def _write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Call `write` with a name beside `path`, then move the file to its place."""
    part = beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise GanforgeError(f"cannot write {path}: {error.strerror or error}") from error
