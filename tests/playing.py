"""A tiny data set and a quick way from a recipe's text to a game, for the tests of the core."""

from __future__ import annotations

import textwrap
from functools import cache
from pathlib import Path

import torch
from recipe_text import RecipeText

from ganforge import Dataset
from ganforge.hardware.machine import decide
from ganforge.planning.compose import compose
from ganforge.planning.plan import Plan
from ganforge.plugin import (
    Component,
    DataDescription,
    ImageSpec,
    LabelSpec,
    option,
    options,
)
from ganforge.recipes.recipe import load
from ganforge.registry.registry import Registry
from ganforge.storage.run_folder import RunFolder
from ganforge.training.launch import build_training, explaining_errors
from ganforge.training.trainer import Training


@options
class DotsOptions:
    count: int = option(48, at_least=1, help="rows")
    pair: bool = option(False, help="two unpaired domains, light and dark, instead of one")
    labelled: int | None = option(None, at_least=1, help="rows whose labels are known; unset: all")


def describe(options, image):
    height, width = image.pixels(8, 8)
    spec = ImageSpec(image.channels or 1, height, width)
    if options.pair:
        domains = {"light": spec, "dark": spec}
        aligned = ()
    elif options.labelled:
        domains = {"image": spec, "labelled-image": spec, "label": LabelSpec(3)}
        aligned = (("labelled-image", "label"),)
    else:
        domains = {"image": spec, "label": LabelSpec(3)}
        aligned = (("image", "label"),)
    rows = dict.fromkeys(domains, options.count)
    if options.labelled:
        rows |= {"labelled-image": options.labelled, "label": options.labelled}
    return DataDescription(
        domains=domains,
        aligned=aligned,
        counts={"train": rows, "test": dict.fromkeys(domains, 6)},
        labelled={"image": "labelled-image"} if options.labelled else {},
    )


class Dots(Dataset):
    """A bright dot whose column tells the class; `dark` is the same in negative."""

    def count(self, split, domain):
        return self.description.counts[split][domain]

    def item(self, split, domain, index):
        number = index + (10_000 if split == "test" else 0)
        if domain == "label":
            return torch.tensor(number % 3)
        spec = self.description.domains[domain]
        image = torch.full(spec.shape, 30, dtype=torch.uint8)
        image[:, (number * 5) % spec.height, (number % 3) * spec.width // 3] = 240
        return 255 - image if domain == "dark" else image


DOTS = Component(
    "dataset",
    "dots",
    "playing:Dots",
    DotsOptions,
    describe=describe,
    provider="tests",
    version="0",
)


def registry(*components: Component) -> Registry:
    """The built-ins, the dots, and these."""
    built_in = _built_ins()
    return Registry(
        components=(*built_in.components, DOTS, *components), failures=built_in.failures
    )


@cache
def _built_ins() -> Registry:
    return Registry.load(only=())


def recipe_file(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return path


def plan_of(folder: Path, text: str, *components: Component, sets=(), preview=False) -> Plan:
    """The plan of a recipe's text. Raises RecipeError."""
    recipe = load(recipe_file(folder, text), sets=sets, preview=preview)
    return compose(recipe, registry(*components))


def training_of(folder: Path, text: str, *components: Component, sets=()) -> Training:
    """A training that is built but not begun, on the CPU."""
    plan = plan_of(folder, text, *components, sets=sets)
    run = RunFolder(folder / "run")
    run.path.mkdir(exist_ok=True)
    return build_training(plan, registry(*components), decide(plan.train), run)


def train(training: Training) -> None:
    """Train to the last step, as `ganforge run` does. Raises GanforgeError for what ends it."""
    with explaining_errors(training):
        training.run()


QUIET = """
[hooks]
progress = { off = true }
metrics = { off = true }
checkpoint = { off = true }
samples = { off = true }
collapse-alarm = { off = true }
"""

ONE_PAIR = (
    RecipeText("""
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
[discriminator]
use = "mlp"
hidden = [12]
dropout = 0.0
[losses.adversarial]
use = "non-saturating"
""")
    + QUIET
)

CYCLE = (
    RecipeText("""
recipe = 1
name = "light-and-dark"
[data]
use = "dots"
pair = true
[train]
steps = 4
batch = 2
precision = "fp32"
device = "cpu"
[generators.l2d]
use = "resnet-translator"
from = "light"
to = "dark"
width = 4
blocks = 1
[generators.d2l]
like = "l2d"
from = "dark"
to = "light"
[discriminators.light]
use = "patchgan"
on = "light"
width = 4
layers = 1
[discriminators.dark]
like = "light"
on = "dark"
[losses.adversarial]
use = "least-squares"
weight = { discriminator = 0.5, generator = 1.0 }
[losses.cycle-consistency]
weight = 10.0
[losses.identity]
weight = 5.0
[augmentors.image-pool]
size = 3
""")
    + QUIET
)
