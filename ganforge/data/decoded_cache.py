"""Rows that were decoded once, in a file below the cache folder: `train.cache = true`.

The file is named after everything that decides the pixels. It holds a mark for each row and then
the rows. A mark is the CRC-32 of its row, written after it, so a row that was cut off by a kill, a
lost machine or another writer is simply decoded again, and any number of threads, processes and
runs may read and fill the same file at once.
"""

from __future__ import annotations

import hashlib
import shutil
import zlib
from math import prod

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from ganforge.interfaces.caches import cache_folder
from ganforge.interfaces.errors import DataError

_FORMAT = "1"
_MARK = np.dtype("<u4")  # 0 where the row is not there


class DecodedRows:
    """Rows of one shape, uint8, in a file. May be handed to other processes.

    fingerprint: text of everything that decides the pixels. Raises DataError, one line, where the
    disk has too little room for the rows that are missing, or cannot be written to.
    """

    def __init__(self, fingerprint: str, count: int, shape: tuple[int, ...]) -> None:
        self._count = count
        self._shape = shape
        self._bytes = prod(shape)
        text = "\n".join((_FORMAT, str(count), str(shape), fingerprint))
        name = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
        self.path = cache_folder("decoded") / f"{name}.rows"
        self._mapped: tuple[np.ndarray, np.ndarray] | None = None
        self._prepare()

    def read(self, index: int) -> Tensor | None:
        """A row as it was written, in a tensor of its own; None where it is not there whole."""
        marks, rows = self._maps()
        mark = int(marks[index])
        if not mark:
            return None
        row = np.array(rows[index])
        return torch.from_numpy(row.reshape(self._shape)) if _mark(row) == mark else None

    def write(self, index: int, row: Tensor) -> None:
        """Keep a row. Raises DataError where the disk is full."""
        # Written, not stored through the map: a full disk is then an error and not the end.
        content = np.ascontiguousarray(row.numpy())
        try:
            with self.path.open("r+b", buffering=0) as file:
                file.seek(self._count * _MARK.itemsize + index * self._bytes)
                file.write(content.data)
                file.seek(index * _MARK.itemsize)
                file.write(np.array(_mark(content), _MARK).tobytes())
        except OSError as error:
            raise DataError(f"cannot keep decoded rows in {self.path}: {_why(error)}") from error

    def present(self) -> int:
        """Rows that are there."""
        return int(np.count_nonzero(self._maps()[0]))

    def _prepare(self) -> None:
        """Make the file, empty, where it is not there; look whether the rest will fit."""
        size = self._count * (_MARK.itemsize + self._bytes)
        folder = self.path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock")):
                if not self.path.is_file() or self.path.stat().st_size != size:
                    with self.path.open("wb") as file:
                        file.truncate(size)
            missing = (self._count - self.present()) * self._bytes
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise DataError(f"cannot keep decoded rows in {folder}: {_why(error)}") from error
        if missing > free:
            raise DataError(
                f"decoded rows need {missing / 1e9:.1f} GB more in {folder}, where {free / 1e9:.1f}"
                " GB are free: make room, let GANFORGE_CACHE name another folder, or leave out "
                "`train.cache`"
            )

    def _maps(self) -> tuple[np.ndarray, np.ndarray]:
        """Marks [count], and rows [count, bytes], as they are in the file."""
        if self._mapped is None:
            whole = np.memmap(self.path, np.uint8, mode="r")
            marks, rows = np.split(whole, [self._count * _MARK.itemsize])
            self._mapped = marks.view(_MARK), rows.reshape(self._count, self._bytes)
        return self._mapped

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_mapped": None}  # each process maps the file by itself


def _mark(row: np.ndarray) -> int:
    return zlib.crc32(row.data) or 1


def _why(error: OSError) -> str:
    return f"{error.strerror or error}; another folder is named by GANFORGE_CACHE"
