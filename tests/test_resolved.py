"""resolved.toml: the run folder's memory, and a recipe that gives the same run again."""

import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from attrs import evolve
from making_data import data_settings
from playing import CYCLE, ONE_PAIR, plan_of, recipe_file, registry

import ganforge
from ganforge.planning.compose import compose
from ganforge.planning.resolved_recipe import differences, resolved_tables, to_toml
from ganforge.plugin import Component, Ref, option, options
from ganforge.recipes.recipe import load
from ganforge.registry.registry import Registry
from ganforge.storage import checkpoint
from ganforge.storage.run_folder import RunFolder
from ganforge.training.launch import Request, launch

REGISTRY = Registry.load(only=())
RECIPES = {recipe.name: recipe.path for recipe in REGISTRY.shipped()}

RICH = (
    ONE_PAIR.replace(
        "[generator]\n",
        "[domains.style]\ndim = 4\ndistribution = 'uniform'\n"
        "[domains.small]\nof = 'image'\nsize = [4, 6]\n"
        "[generator]\nfrom = ['noise', 'style', 'label']\nema = 0.99\nclip = 2\n"
        "init = { normal = 0.02 }\noptimizer = { use = 'sgd', momentum = 0.9 }\n"
        "schedule = { use = 'cosine', warmup = 0.1 }\n",
    )
    .replace("[discriminator]\n", "[discriminator]\ngiven = 'label'\ninit = { run = 'other' }\n")
    .replace(
        "[noise]",
        "[train.phases.critic]\ntrain = ['discriminator']\nshare = 0.25\ndiscriminator_steps = 3\n"
        "[train.phases.both]\ntrain = ['generator', 'discriminator']\nlosses = ['adversarial']\n"
        "[noise]",
    )
    + "samples.every = 3\nsamples.off = false\n"
    + "[augmentors.flip]\nevery = 2\n"
    + "[losses.second]\nuse = 'minimax'\nweight = { generator = 0.5 }\nevery = 4\nstop = 0.9\n"
).replace("samples = { off = true }\n", "")
RICH = RICH.replace("losses = ['adversarial']", "losses = ['adversarial', 'second']")


def again(tables, folder, there):
    """The plan of what `resolved_tables` gave, written and read in another folder."""
    folder.mkdir(exist_ok=True)
    path = folder / "resolved.toml"
    path.write_text(to_toml(tables, "a heading\nof two lines"), encoding="utf-8")
    recipe = load(path)
    assert recipe.problems == ()
    return compose(recipe, there)


def comparable(plan):
    """A plan without what a run does not depend on."""
    return evolve(
        plan,
        preview=False,
        has_preview=False,
        lock={},
        train=evolve(plan.train, epochs=None, steps=plan.steps),
    )


# --- the same again -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("preview", [False, True], ids=["whole", "preview"])
def test_the_resolved_form_of_a_shipped_recipe_is_the_same_plan(name, preview, data, tmp_path):
    sets = [] if name == "cyclegan-horse2zebra" and preview else data_settings(name, data)
    plan = compose(load(RECIPES[name], preview=preview, sets=sets), REGISTRY)
    tables = resolved_tables(plan)
    second = again(tables, tmp_path / "run", REGISTRY)
    assert comparable(second) == comparable(plan)
    assert differences(tables, resolved_tables(second)) == []
    assert {**resolved_tables(second), "lock": 0} == {**tables, "lock": 0}


@pytest.mark.parametrize("text", [ONE_PAIR, CYCLE, RICH], ids=["one", "cycle", "rich"])
def test_everything_that_can_be_written_survives(tmp_path, text):
    plan = plan_of(tmp_path, text)
    second = again(resolved_tables(plan), tmp_path / "run", registry())
    assert comparable(second) == comparable(plan)
    assert resolved_tables(second) == resolved_tables(plan)


def test_names_of_other_networks_survive(tmp_path):
    @options
    class MirrorOptions:
        critic: Ref = option(help="the network to mirror")

    mirror = Component(
        "generator", "mirror", "nowhere:Mirror", MirrorOptions, provider="tests", version="0"
    )
    text = ONE_PAIR.replace('use = "mlp"\nhidden = [12]\n[d', 'use = "mirror"\ncritic = "main"\n[d')
    text = text.replace('"main"', '"discriminator"')
    plan = plan_of(tmp_path, text, mirror)
    second = again(resolved_tables(plan), tmp_path / "run", registry(mirror))
    assert second.generators["main"].settings.refs == {"critic": "discriminators.main"}


def test_nothing_is_left_to_a_default_that_could_change(tmp_path):
    tables = resolved_tables(plan_of(tmp_path, ONE_PAIR))
    assert tables["generators"]["main"] == {
        "use": "ganforge/mlp",
        "hidden": [12],
        "norm": "batch",
        "from": ["noise"],
        "to": "image",
        "optimizer": {
            "use": "adam",
            "lr": 2e-4,
            "betas": [0.5, 0.999],
            "eps": 1e-8,
            "weight_decay": 0.0,
        },
        "schedule": {"use": "constant", "warmup": 0.0},
        "freeze": False,
    }
    assert tables["data"] == {
        "use": "tests/dots",
        "count": 48,
        "pair": False,
        "fit": "cover",
        "flip": False,
        "skip_broken": False,
    }
    assert tables["hooks"] == {
        name: {"off": True}
        for name in ("progress", "metrics", "checkpoint", "samples", "collapse-alarm")
    }


def test_versions_data_and_exact_names_are_written(tmp_path):
    lock = resolved_tables(plan_of(tmp_path, ONE_PAIR))["lock"]
    assert lock["versions"]["ganforge"] == ganforge.__version__
    assert lock["versions"]["tests"] == "0"
    assert lock["versions"]["torch"] == sys.modules["torch"].__version__.partition("+")[0]
    assert lock["data"]["domains"]["label"]["classes"] == 3
    assert lock["data"]["counts"]["train"] == {"image": 48, "label": 48}
    assert lock["data"]["aligned"] == [["image", "label"]]


def test_what_this_machine_decided_is_written_over_what_was_asked(tmp_path):
    plan = plan_of(tmp_path, ONE_PAIR)
    tables = resolved_tables(plan, {"precision": "bf16", "threads": 3, "layout": "auto"})
    assert (tables["train"]["precision"], tables["train"]["threads"]) == ("bf16", 3)
    assert tables["train"]["steps"] == 4 and "epochs" not in tables["train"]


def test_epochs_are_written_as_the_steps_they_came_to(tmp_path):
    plan = plan_of(tmp_path, ONE_PAIR.replace("steps = 4", "epochs = 2"))
    tables = resolved_tables(plan)
    assert tables["train"]["steps"] == 16 and "epochs" not in tables["train"]


def test_the_heading_is_a_comment(tmp_path):
    text = to_toml({"recipe": 1}, "first\nsecond")
    assert text == "# first\n# second\n\nrecipe = 1\n"
    assert tomllib.loads(text) == {"recipe": 1}


# --- a run of it ----------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [ONE_PAIR, CYCLE], ids=["one", "cycle"])
def test_a_run_of_resolved_toml_gives_the_same_bits(workdir, monkeypatch, text):
    there = registry()
    monkeypatch.setattr(Registry, "load", classmethod(lambda cls, **_: evolve(there)))
    first = launch(Request(recipe=recipe_file(workdir, text)), print).folder
    shutil.copy(first.resolved, "elsewhere.toml")
    second = launch(Request(recipe="elsewhere.toml", out=Path("second")), print).folder
    files = ("networks.safetensors", "optimizers.safetensors")
    for file in files:
        one, other = (
            (f.checkpoints / checkpoint.folder_name(4) / file).read_bytes()
            for f in (first, RunFolder(second.path))
        )
        assert one == other
    tables = first.resolved_tables()
    assert differences(tables, second.resolved_tables()) == []
    assert tables["train"]["threads"] >= 1 and tables["train"]["device"] == "cpu"


# --- differences ----------------------------------------------------------------------------------


def changed(folder, *sets, text=ONE_PAIR):
    one, other = (resolved_tables(plan_of(folder, text, sets=s)) for s in ((), sets))
    return differences(one, other)


def test_what_changed_is_named_with_both_values(tmp_path):
    sets = ("train.batch=8", "generator.ema=0.5", "noise.distribution=uniform")
    assert changed(tmp_path, *sets, "losses.adversarial.off=true", "losses.new.use=minimax") == [
        ("train.batch", "6", "8"),
        ("noise.distribution", "'normal'", "'uniform'"),
        ("losses.adversarial.use", "'ganforge/non-saturating'", "not there"),
        ("losses.adversarial.smooth", "0.0", "not there"),
        ("losses.adversarial.on", "['main']", "not there"),
        ("losses.adversarial.weight.discriminator", "1.0", "not there"),
        ("losses.adversarial.weight.generator", "1.0", "not there"),
        ("losses.adversarial.every", "1", "not there"),
        ("losses.adversarial.start", "0.0", "not there"),
        ("losses.adversarial.stop", "1.0", "not there"),
        ("generators.main.ema", "not there", "0.5"),
        ("losses.new.use", "not there", "'ganforge/minimax'"),
        ("losses.new.smooth", "not there", "0.0"),
        ("losses.new.on", "not there", "['main']"),
        ("losses.new.weight.discriminator", "not there", "1.0"),
        ("losses.new.weight.generator", "not there", "1.0"),
        ("losses.new.every", "not there", "1"),
        ("losses.new.start", "not there", "0.0"),
        ("losses.new.stop", "not there", "1.0"),
    ]


@pytest.mark.parametrize(
    "setting",
    [
        "name=other",
        "train.steps=40",
        "train.epochs=2",
        "train.device=auto",
        "train.threads=7",
        "train.precision=auto",  # what it stood for is locked
        "hooks.samples={off=false,every=3}",
        "hooks.tensorboard.every=3",
        "metrics.translation-truth={}",
    ],
)
def test_what_may_change_on_a_resumed_run_is_no_difference(tmp_path, setting, monkeypatch):
    monkeypatch.setattr("ganforge_watch.plugin.find_spec", lambda name: True)
    assert changed(tmp_path, setting) == []


@pytest.mark.parametrize(
    "setting",
    [
        *("train.seed=1", "train.accumulate=2", "train.precision=bf16", "train.layout=contiguous"),
        *("data.count=50", "data.flip=true", "generator.init.normal=0.1", "optimizer.lr=1e-3"),
        "train.discriminator_steps=2",
    ],
)
def test_what_changes_the_game_is_a_difference(tmp_path, setting):
    assert changed(tmp_path, setting)
