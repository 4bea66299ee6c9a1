"""Data sets made up of noise, in the forms that shipped recipes read."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from small_recipes import draw_pictures

from ganforge.planning.compose import compose
from ganforge.plugin import option_names
from ganforge.recipes.recipe import load
from ganforge.registry.registry import Registry

REGISTRY = Registry.load(only=())


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
    """Below a folder: `mnist`, `photos` with two classes, and `pairs` with `trainA`, `trainB`,
    `testA`, `testB`."""
    make_mnist(folder / "mnist")
    for name in ("cats", "dogs"):
        draw_pictures(folder / "photos" / name, count=35, size=(40, 36))
    for name in ("trainA", "trainB", "testA", "testB"):
        draw_pictures(folder / "pairs" / name, count=5, size=(80, 72))


# Data set -> the folder that `make_data` makes for it; others need none.
FOLDERS = {
    "mnist": "mnist",
    "image-folder": "photos",
    "unpaired-folders": "pairs",
    "paired-folders": "pairs",
}


def data_settings(recipe: str, folder: Path) -> list[str]:
    """The settings with which a shipped recipe reads the data that `make_data` made."""
    use = load(recipe, shipped=REGISTRY.recipes()).table.get("data").get("use")
    return [f"data.root={folder / FOLDERS[use]}"] if use in FOLDERS else []


def small_settings(recipe: str, folder: Path) -> list[str]:
    """The settings with which the preview of a shipped recipe is a matter of seconds; it reads the
    data that `make_data` made, and horses where those stand in."""
    sets = [] if recipe == "cyclegan-horse2zebra" else data_settings(recipe, folder)
    sets += ["train.precision=fp32", "train.device=cpu", "hooks.samples.count=12"]
    plan = compose(load(recipe, preview=True, sets=sets, shipped=REGISTRY.recipes()), REGISTRY)
    for address, network in plan.networks.items():
        options = option_names(network.component.options)
        sets += [f"{address}.{k}={v}" for k, v in NARROW.items() if k in options]
    sets.append(f"train.batch={min(plan.train.batch, 4)}")
    if plan.data.component.name in ("unpaired-folders", "paired-folders", "painted-horses"):
        size = min(plan.data.image.pixels(64, 64))
        sets += ["data.size=32", "data.load=36"] if size <= 64 else []
    if plan.data.component.name in ("painted-horses", "captioned-shapes"):
        sets += ["data.count=8", "data.held_out=4"]
    for name, metric in plan.metrics.items():
        options = option_names(metric.component.options)
        sets += [f"metrics.{name}.count=4"] if "count" in options else []
    return sets


NARROW = {"width": "4", "hidden": "[16]", "blocks": "1"}
