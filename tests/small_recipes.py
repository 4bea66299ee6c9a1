"""Small recipes on a few small pictures, for the tests of the commands that train and look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from recipe_text import RecipeText

DIGITS = RecipeText("""
recipe = 1
name = "digits"
[data]
use = "image-folder"
root = "pictures"
labels = true
size = 8
[train]
steps = 4
batch = 4
precision = "fp32"
device = "cpu"
[noise]
dim = 3
[generator]
use = "mlp"
from = ["noise", "label"]
hidden = [6]
[discriminator]
use = "mlp"
hidden = [6]
[losses.adversarial]
use = "non-saturating"
[hooks.samples]
every = 2
count = 4
[preview]
train.steps = 2
""")

PLAIN = DIGITS.replace('from = ["noise", "label"]\n', "").replace("labels = true\n", "")

CYCLE = RecipeText("""
recipe = 1
name = "cats-and-dogs"
[data]
use = "unpaired-folders"
root = "pictures"
domains = { cat = "cats", dog = "dogs" }
size = 8
[train]
steps = 2
batch = 2
precision = "fp32"
device = "cpu"
[generators.cat2dog]
use = "resnet-translator"
from = "cat"
to = "dog"
width = 4
blocks = 1
[generators.dog2cat]
like = "cat2dog"
from = "dog"
to = "cat"
[discriminators.cat]
use = "patchgan"
on = "cat"
width = 4
layers = 1
[discriminators.dog]
like = "cat"
on = "dog"
[losses.adversarial]
use = "least-squares"
[losses.cycle-consistency]
weight = 10.0
[hooks.samples]
count = 6
""")


def draw_pictures(folder: Path, count: int = 4, size: tuple[int, int] = (8, 8)) -> None:
    """Pictures of noise, `0.png`, ..., of a size in (width, height)."""
    folder.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(len(folder.name))
    for number in range(count):
        pixels = draws.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def write_recipe(folder: Path, text: str) -> Path:
    """The recipe and its pictures. Returns the recipe's path."""
    for name in ("cats", "dogs"):
        draw_pictures(folder / "pictures" / name)
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)
