"""IDX files, the format of MNIST: a magic number, the dimensions, then the bytes. Light.

0x00000801 is a vector of unsigned bytes, 0x00000803 a cube; all numbers are big-endian 32 bits.
Files may be compressed (`.gz`).
"""

import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from ganforge import DataError
from ganforge.archives import known

_AT_ONCE = 16_000_000  # bytes

SPLITS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def find(root: Path, stem: str) -> Path | None:
    """The file below `root`, as it is or as `.gz`; None if missing."""
    return known("mnist").find(root, f"{stem}.gz")


def shape(path: Path, dimensions: int) -> tuple[int, ...]:
    """Lengths of the file's dimensions, from its header. Raises DataError."""
    with _opened(path) as file:
        return _header(file, dimensions)


def content(path: Path, dimensions: int) -> tuple[tuple[int, ...], bytearray]:
    """The lengths of the dimensions, and the bytes in them. Raises DataError."""
    with _opened(path) as file:
        lengths = _header(file, dimensions)
        # One byte more than there should be tells a longer file, which is another one.
        content = _up_to(file, math.prod(lengths) + 1)
        if len(content) != math.prod(lengths):
            raise ValueError("its length is not what its header says")
        return lengths, content


def _up_to(file: IO[bytes], count: int) -> bytearray:
    """So many bytes, or all there are; a wrong header takes no memory."""
    content = bytearray()
    while part := file.read(min(_AT_ONCE, count - len(content))):
        content += part
    return content


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            yield file
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path} is damaged ({error}): delete it and fetch it again") from error


def _header(file: IO[bytes], dimensions: int) -> tuple[int, ...]:
    header = file.read(4 + 4 * dimensions)
    if len(header) < 4 + 4 * dimensions or header[:4] != bytes((0, 0, 8, dimensions)):
        raise ValueError(f"it is not an IDX file with {dimensions} dimensions")
    return struct.unpack(f">{dimensions}I", header[4:])
