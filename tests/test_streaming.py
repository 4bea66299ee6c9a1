"""Whole runs whose data is streamed: every number is that of data that is held."""

import json

import pytest
import torch
from playing import CYCLE, ONE_PAIR, train, training_of
from small_recipes import DIGITS, draw_pictures, write_recipe

from ganforge import DataError
from ganforge.storage import checkpoint

WORKERS = ["train.hold=0", "train.workers=2"]
THREADS = ["train.hold=0", "train.workers=0"]


def weights(folder, text, *sets, steps=10):
    folder.mkdir(parents=True)
    training = training_of(folder, text, sets=[f"train.steps={steps}", *sets])
    training.run()
    training.game.feed.close()
    return checkpoint.load(training.folder.checkpoints, steps).networks


def equal(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    ("text", "more"),
    [(ONE_PAIR, []), (ONE_PAIR, ["train.accumulate=3"]), (CYCLE, ["train.discriminator_steps=2"])],
    ids=["one pair", "in parts", "two domains"],
)
def test_a_streamed_run_ends_with_the_weights_of_one_that_holds_its_data(tmp_path, text, more):
    held = weights(tmp_path / "held", text, *more)
    assert equal(weights(tmp_path / "threads", text, *THREADS, *more), held)
    assert equal(weights(tmp_path / "workers", text, *WORKERS, *more), held)


def test_a_phase_that_reads_no_data_may_come_between(tmp_path):
    text = ONE_PAIR + (
        '[train.phases.a]\ntrain = ["discriminators.main"]\nsteps = 3\n'
        '[train.phases.b]\ntrain = ["generators.main"]\nsteps = 12\n'
        '[train.phases.c]\ntrain = ["generators.main", "discriminators.main"]\n'
    )
    held = weights(tmp_path / "held", text, steps=20)
    assert equal(weights(tmp_path / "workers", text, *WORKERS, steps=20), held)


@pytest.fixture
def recipe(ganforge_cli, workdir):
    """Runs a small recipe on a folder of pictures; the outcome."""
    draw_pictures(workdir / "pictures" / "a", count=12, size=(12, 10))
    draw_pictures(workdir / "pictures" / "b", count=12, size=(12, 10))
    write_recipe(workdir, DIGITS)
    return lambda *words: ganforge_cli(*words)


def test_a_run_goes_on_with_other_workers_and_a_cache(recipe, workdir, monkeypatch):
    monkeypatch.setenv("GANFORGE_CACHE", str(workdir / "cache"))
    words = "run", "recipe.toml", "--set", "hooks.metrics.every=1", "--set"
    assert recipe(*words, "train.steps=8", "--out", "held").status == 0
    for steps, *sets in (
        (3, "train.hold=0", "train.workers=1"),
        (5, "train.hold=0", "train.cache=true"),
        (6, "train.cache=true"),
        (8, "train.hold=0", "train.workers=0"),
    ):
        more = [word for value in sets for word in ("--set", value)]
        said = recipe(*words, f"train.steps={steps}", "--out", "streamed", *more)
        assert said.status == 0, said.err
        assert "not bit-exact" not in said.out + said.err
    assert len(list((workdir / "cache" / "decoded").glob("*.rows"))) == 1
    held, streamed = (
        [json.loads(line) for line in (workdir / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("held", "streamed")
    )
    waits = [line.pop("wait/data", None) for line in streamed]
    assert [wait is not None for wait in waits] == [True] * 5 + [False] + [True] * 2
    for one, other in zip(held, streamed, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


def test_a_picture_that_breaks_meanwhile_ends_the_run_in_a_line(tmp_path, recipe, workdir):
    from ganforge.hardware.machine import decide
    from ganforge.planning.compose import compose
    from ganforge.recipes.recipe import load
    from ganforge.registry.registry import Registry
    from ganforge.storage.run_folder import RunFolder
    from ganforge.training.launch import build_training

    registry = Registry.load(only=())
    sets = ["train.hold=0", "train.workers=1", "hooks.progress.off=true"]
    plan = compose(load(workdir / "recipe.toml", sets=sets), registry)
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    training = build_training(plan, registry, decide(plan.train), run)
    for picture in workdir.glob("pictures/*/*"):
        picture.write_bytes(picture.read_bytes()[:50])
    with pytest.raises(DataError, match=r"cannot be|is cut off|no image"):
        train(training)


def test_bench_tells_how_much_of_a_step_waits(recipe):
    said = recipe("bench", "recipe.toml", "--seconds", "1", "--set", "train.hold=0")
    assert said.status == 0, said.err
    assert "of a step is spent waiting for data" in said.out


def test_data_bench_times_every_way(recipe, workdir, monkeypatch):
    monkeypatch.setenv("GANFORGE_CACHE", str(workdir / "cache"))
    words = "data", "bench", "recipe.toml", "--seconds", "0.1", "--workers", "1"
    said = recipe(*words)
    assert said.status == 0, said.err
    for way in ("held", "threads", "1 worker"):
        assert way in said.out
    said = recipe(*words, "--json", "--set", "train.cache=true")
    filling, filled = json.loads(said.out)
    assert filling["way"] == "cache, as it fills" and filled["way"] == "cache, filled"
    assert filling["rows_per_second"] > 0 and filled["first_batch"] > 0


PLUGIN = '''
import torch
from ganforge import Dataset, ImageSpec
from ganforge.plugin import DataDescription


class Stripes(Dataset):
    """Stripes"""

    @staticmethod
    def describe(options, image):
        return DataDescription(
            domains={"image": ImageSpec(1, 8, 8)}, counts={"train": {"image": 40}}
        )

    def count(self, split, domain):
        return 40 if split == "train" else 0

    def item(self, split, domain, index):
        return torch.full((1, 8, 8), index, dtype=torch.uint8)
'''


def test_workers_know_the_dataset_of_a_plugin_file(recipe, workdir):
    (workdir / "stripes.py").write_text(PLUGIN, encoding="utf-8")
    text = DIGITS.replace('use = "image-folder"\nroot = "pictures"\nlabels = true\nsize = 8\n', "")
    text = text.replace("[data]", '[data]\nuse = "stripes"').replace(
        'from = ["noise", "label"]\n', ""
    )
    (workdir / "stripes.toml").write_text(text, encoding="utf-8")
    words = "run", "stripes.toml", "--plugin-file", "stripes.py"
    said = recipe(*words, "--set", "train.hold=0", "--set", "train.workers=1")
    assert said.status == 0, said.err
