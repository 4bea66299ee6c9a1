"""Data sets made up of noise, in the forms that shipped recipes read."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from small_runs import draw_pictures


def make_mnist(root: Path, train: int = 160, test: int = 20) -> None:
    """The four IDX files of MNIST with few rows."""
    root.mkdir(parents=True)
    draws = np.random.default_rng(0)
    for stem, count in (("train", train), ("t10k", test)):
        images = draws.integers(0, 256, (count, 28, 28), dtype=np.uint8).tobytes()
        labels = bytes(number % 10 for number in range(count))
        header = struct.pack(">4BIII", 0, 0, 8, 3, count, 28, 28)
        (root / f"{stem}-images-idx3-ubyte").write_bytes(header + images)
        header = struct.pack(">4BI", 0, 0, 8, 1, count)
        (root / f"{stem}-labels-idx1-ubyte").write_bytes(header + labels)


def make_data(folder: Path) -> None:
    """Below a folder: `mnist`, `photos`, and `pairs` with `trainA`, `trainB`, `testA`, `testB`."""
    make_mnist(folder / "mnist")
    draw_pictures(folder / "photos", count=70, size=(40, 36))
    for name in ("trainA", "trainB", "testA", "testB"):
        draw_pictures(folder / "pairs" / name, count=5, size=(80, 72))


def data_settings(recipe: str, folder: Path) -> list[str]:
    """The settings with which a shipped recipe reads the data that `make_data` made."""
    endings = {"mnist": "mnist", "folder": "photos", "photos": "photos", "folders": "pairs"}
    for ending, place in endings.items():
        if recipe.endswith(f"-{ending}"):
            return [f"data.root={folder / place}"]
    if recipe.startswith("weight-sharing-mnist-") or recipe == "free-combination":
        return [f"data.root={folder / 'mnist'}"]
    if recipe.startswith("photos-few"):
        return [f"data.root={folder / 'photos'}"]
    return [f"data.root={folder / 'pairs'}"] if recipe == "cyclegan-horse2zebra" else []
