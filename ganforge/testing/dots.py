"""A data set and a game small enough to be played whole in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganforge.interfaces.components import Dataset
from ganforge.interfaces.manifest import Component, DataDescription, ImageOptions, option, options
from ganforge.interfaces.specs import ImageSpec, LabelSpec


@options
class DotsOptions:
    count: int = option(48, at_least=1, help="rows of the training split")
    pair: bool = option(False, help="two unpaired domains, light and dark, instead of one")


def describe(options: Any, image: ImageOptions) -> DataDescription:
    """Images of 8 x 8 px unless the recipe says otherwise, and three classes."""
    height, width = image.pixels(8, 8)
    spec = ImageSpec(image.channels or 1, height, width)
    if options.pair:
        domains: dict[str, Any] = {"light": spec, "dark": spec}
    else:
        domains = {"image": spec, "label": LabelSpec(3)}
    return DataDescription(
        domains=domains,
        aligned=() if options.pair else (("image", "label"),),
        counts={
            "train": dict.fromkeys(domains, options.count),
            "test": dict.fromkeys(domains, TEST_ROWS),
        },
    )


TEST_ROWS = 6


class Dots(Dataset):
    """A bright dot whose column shows the class; `dark` is the same in negative."""

    def count(self, split: str, domain: str) -> int:
        return int(self.options.count) if split == "train" else TEST_ROWS

    def item(self, split: str, domain: str, index: int) -> Tensor:
        number = index + (10_000 if split == "test" else 0)
        if domain == "label":
            return torch.tensor(number % 3)
        spec = self.description.domains[domain]
        assert isinstance(spec, ImageSpec)
        image = torch.full(spec.shape, 30, dtype=torch.uint8)
        image[:, (number * 5) % spec.height, (number % 3) * spec.width // 3] = 240
        return 255 - image if domain == "dark" else image


DOTS = Component(
    "dataset",
    "dots",
    "ganforge.testing.dots:Dots",
    DotsOptions,
    summary="Bright dots, for tests",
    describe=describe,
    provider="ganforge.testing",
    version="1",
)

GAME = """
recipe = 1
name = "dots"
[data]
use = "dots"
[train]
steps = 4
batch = 6
precision = "fp32"
device = "cpu"
[noise]
dim = 5
[generator]
use = "mlp"
hidden = [12]
from = ["noise", "label"]
[discriminator]
use = "mlp"
hidden = [12]
[losses.adversarial]
use = "non-saturating"
[hooks]
progress = { off = true }
metrics = { off = true }
checkpoint = { off = true }
samples = { off = true }
collapse-alarm = { off = true }
"""


def written(folder: Path, *more: str) -> Path:
    """The game as a recipe in a folder, with more tables."""
    path = folder / "recipe.toml"
    path.write_text("\n".join((GAME, *more)), encoding="utf-8", newline="\n")
    return path
