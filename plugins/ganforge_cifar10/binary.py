"""The binary version of CIFAR-10: where its files lie, and their bytes. Light.

Each row is 3,073 bytes: the class, then 1,024 bytes of red, green and blue each, row by row. The
files are read from their folder or straight out of the archive, which is never unpacked on disk.
"""

import tarfile
import zlib
from pathlib import Path
from typing import Literal, get_args

from ganforge import DataError

Class = Literal[
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
]
CLASSES: tuple[str, ...] = get_args(Class)  # in the order of their numbers
FILES = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
ROW = 1 + 3 * 32 * 32  # bytes
ARCHIVE = "cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin"  # in the archive, and where it is unpacked by hand
ROWS_PER_CLASS = {"train": 5_000, "test": 1_000}  # in the public archive


def source(root: Path) -> Path | None:
    """The folder below `root` that holds all files, or else the archive; None if neither."""
    for folder in (root, root / FOLDER):
        if all((folder / name).is_file() for names in FILES.values() for name in names):
            return folder
    return root / ARCHIVE if (root / ARCHIVE).is_file() else None


def content(source: Path, split: str) -> bytearray:
    """All rows of a split, file after file. Raises DataError."""
    try:
        parts = _from_folder(source, split) if source.is_dir() else _from_archive(source, split)
    except (OSError, EOFError, tarfile.TarError, zlib.error, KeyError) as error:
        raise DataError(f"{source} is damaged ({error}): delete it and fetch it again") from error
    for name, part in parts.items():
        if len(part) % ROW or not part:
            raise DataError(
                f"{source / name} holds {len(part):,} bytes, not a multiple of {ROW:,}: it is "
                "damaged, "
                "or not a file of CIFAR-10's binary version"
            )
    rows = bytearray().join(parts.values())
    highest = max(rows[::ROW])
    if highest >= len(CLASSES):
        raise DataError(f"{source} has the class {highest}; only 0 to {len(CLASSES) - 1} are some")
    return rows


def _from_folder(folder: Path, split: str) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES[split]}


def _from_archive(archive: Path, split: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with tarfile.open(archive, "r:gz") as entries:
        for entry in entries:
            name = entry.name.rpartition("/")[2]
            if name in FILES[split] and entry.isfile():
                opened = entries.extractfile(entry)
                assert opened is not None, "a file has content"
                found[name] = opened.read()
                if len(found) == len(FILES[split]):
                    break
    return {name: found[name] for name in FILES[split]}
