"""Looking at runs whose data are no pictures, or pictures of other channels than files have."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import ganforge
from ganforge.lab import export_folder

PLUGIN = """
import torch

from ganforge import Dataset, Generator, ImageSpec, Metric, VectorSpec
from ganforge.plugin import DataDescription, option


class Made(Dataset):
    class Options:
        planes: int = option(0, help="channels of the images; 0 for vectors")
        sources: int = option(0, help="images of two kinds that lead to them")

    @staticmethod
    def describe(options, image):
        target = ImageSpec(options.planes, 8, 8) if options.planes else VectorSpec(2)
        domains = {"thing": target}
        if options.sources:
            domains |= {"left": ImageSpec(3, 8, 8), "right": ImageSpec(3, 8, 8)}
        counts = {"train": dict.fromkeys(domains, 20), "test": dict.fromkeys(domains, 8)}
        return DataDescription(domains=domains, aligned=(tuple(domains),), counts=counts)

    def count(self, split, domain):
        return self.description.counts[split][domain]

    def item(self, split, domain, index):
        spec = self.description.domains[domain]
        draw = torch.Generator().manual_seed(index + len(split))
        if isinstance(spec, ImageSpec):
            return torch.randint(0, 256, spec.shape, generator=draw, dtype=torch.uint8)
        return torch.randn(2, generator=draw)


class Both(Generator):
    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.share = torch.nn.Parameter(torch.tensor(0.3))

    def forward(self, left, right):
        return torch.tanh(left * self.share + right * (1 - self.share))


class Bright(Generator):
    keeps_range = False

    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.level = torch.nn.Parameter(torch.tensor(3.0))

    def forward(self, *sources):
        return self.level * torch.ones(len(sources[0]), *self.target.shape)


class Wrong(Metric):
    def measure(self, run):
        return {"figure": [][1]}

    def protocol(self):
        return "none"
"""

RECIPE = """
recipe = 1
name = "made"
[data]
use = "made"
{data}
[train]
steps = 2
batch = 4
precision = "fp32"
device = "cpu"
[noise]
dim = 3
[generator]
{generator}
[discriminator]
use = "mlp"
on = "thing"
hidden = [6]
[losses.adversarial]
use = "non-saturating"
[hooks.samples]
count = 4
"""
FROM_NOISE = 'use = "mlp"\nto = "thing"\nhidden = [6]'
FROM_TWO = 'use = "both"\nfrom = ["left", "right"]\nto = "thing"'
FILE = ["--plugin-file", "own.py"]


def trained(ganforge_cli, data: str, generator: str = FROM_NOISE, more: str = ""):
    """A run `made`; what the command that trains it said."""
    Path("own.py").write_text(PLUGIN, encoding="utf-8")
    text = RECIPE.format(data=data, generator=generator) + more
    Path("recipe.toml").write_text(text, encoding="utf-8")
    return ganforge_cli("run", "recipe.toml", *FILE)


def recommended(said: str) -> list[str]:
    """The words of the command that a run's end recommends to look at what it makes."""
    (line,) = re.findall(r"ganforge ((?:sample|translate) .*)", said)
    return shlex.split(line)


def test_what_a_run_of_vectors_recommends_works_and_other_looks_say_what_they_need(
    ganforge_cli, workdir
):
    answer = trained(ganforge_cli, "")
    assert answer.status == 0, answer.err
    words = recommended(answer.out)
    assert words == ["sample", "made", "--count", "64", "--out", "made.safetensors"] + [
        word for word in FILE if word in words
    ]
    told = ganforge_cli(*words, *(FILE if FILE[0] not in words else []))
    assert told.status == 0, told.err
    assert told.out == "64 items of made at step 2: made.safetensors\n"
    items = load_file("made.safetensors")["items"]
    run = ganforge.open_run("made", plugin_files=["own.py"])
    assert torch.equal(items, run.sample(64))
    for words, needs in (
        (["sample", "made"], "makes no pictures (vector of 2): write what it makes as a tensor"),
        (["walk", "made"], "a walk shows pictures, and generator 'main' makes none (vector"),
        (["nearest", "made"], "nearest compares pictures, and generator 'main' makes none (vec"),
    ):
        told = ganforge_cli(*words, *FILE)
        assert told.status == 2
        assert needs in told.err and told.err.count("\n") == 1
    told = ganforge_cli("filters", "made", *FILE)
    assert told.status == 2 and told.err.count("\n") == 1, told.err
    told = ganforge_cli("report", "made", *FILE)
    assert told.status == 0, told.err
    told = ganforge_cli("export", "made", "--out", "out", *FILE)
    assert told.status == 0, told.err
    assert torch.equal(export_folder._opened(Path("out")).sample(64), run.sample(64))


def test_images_of_six_channels_are_shown_side_by_side_everywhere(ganforge_cli, workdir):
    answer = trained(ganforge_cli, "planes = 6")
    assert answer.status == 0, answer.err
    (sheet,) = Path("runs/made/samples").glob("step-000002.png")
    with Image.open(sheet) as picture:
        assert (picture.mode, picture.size) == ("RGB", (2 * 16 + 2, 2 * 8 + 2))
    for words in (["sample", "made"], ["walk", "made"], ["nearest", "made"]):
        told = ganforge_cli(*words, *FILE)
        assert told.status == 0, told.err
    assert ganforge_cli("export", "made", "--out", "out", *FILE).status == 0


def test_a_generator_of_two_pictures_is_exported(ganforge_cli, workdir):
    answer = trained(ganforge_cli, "planes = 3\nsources = 2", FROM_TWO)
    assert answer.status == 0, answer.err
    told = ganforge_cli("export", "made", "--out", "out", *FILE)
    assert told.status == 0, told.err
    exported = export_folder._opened(Path("out"))
    left, right = torch.rand(2, 3, 3, 8, 8)
    run = ganforge.open_run("made", plugin_files=["own.py"])
    assert torch.equal(exported.make(left, right), run.made_of({"left": left, "right": right}))
    with pytest.raises(Exception, match=r"reads several pictures \(left, right\): call Exported"):
        exported.translate(left)
    told = ganforge_cli("translate", "made", "own.png", "--out", "t", *FILE)
    assert told.status == 2
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save("own.png")
    told = ganforge_cli("translate", "made", "own.png", "--out", "t", *FILE)
    assert "reads several pictures (left, right), and translate gives it one" in told.err


def test_a_metric_that_raises_is_named_and_not_the_hook_that_measures(ganforge_cli, workdir):
    answer = trained(ganforge_cli, "planes = 3", more="[metrics.wrong]\n")
    assert answer.status == 0, answer.err
    named = "metric 'wrong' of own.py raised IndexError: list index out of range"
    assert f"metric wrong could not be computed: {named}" in answer.out
    told = ganforge_cli("evaluate", "made", "--metric", "wrong", *FILE)
    assert told.status != 0
    assert named in told.err and "bug in ganforge" not in told.err


def test_images_beyond_black_and_white_are_cut_off_where_they_are_shown(ganforge_cli, workdir):
    answer = trained(ganforge_cli, "planes = 3", 'use = "bright"\nto = "thing"')
    assert answer.status == 0, answer.err
    assert ganforge_cli("sample", "made", "--out", "sheet.png", *FILE).status == 0
    assert ganforge.open_run("made", plugin_files=["own.py"]).sample(2).min() > 2.9
    for sheet in ("sheet.png", "runs/made/samples/step-000002.png"):
        with Image.open(sheet) as picture:
            assert np.array(picture).min() == 255
