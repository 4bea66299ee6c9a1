"""Every shipped recipe: it says what it is, composes, and its preview runs."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from making_data import data_settings, small_settings
from PIL import Image

from ganforge import ImageSpec
from ganforge.planning.compose import compose
from ganforge.recipes.recipe import load
from ganforge.registry.registry import Registry
from ganforge.training.launch import Request, launch

REGISTRY = Registry.load(only=())
RECIPES = {recipe.name: recipe.path for recipe in REGISTRY.shipped()}
each_recipe = pytest.mark.parametrize("name", RECIPES)

UNGUARDED = {"sequence-times-likelihood"}  # likelihood alone, which games are compared with
ORIGINS = r"arXiv:\d{4}\.\d{4,5}"


def test_the_first_recipes_are_there():
    assert RECIPES.keys() >= {
        "cyclegan-folders",
        "cyclegan-horse2zebra",
        "dcgan-folder",
        "dcgan-mnist",
        "lsgan-mnist",
        "vanilla-mnist",
    }


# --- what they say --------------------------------------------------------------------------------


@each_recipe
def test_a_recipe_begins_with_a_sentence_and_names_its_source(name):
    lines = RECIPES[name].read_text(encoding="utf-8").splitlines()
    comment = [line for line in lines[: lines.index("recipe = 1")] if line]
    assert comment and all(line.startswith("#") for line in comment)
    first = comment[0].removeprefix("# ")
    assert 20 <= len(first) <= 110 and first[0].isupper()
    assert re.search(ORIGINS, " ".join(comment))


@each_recipe
def test_a_recipe_is_named_as_its_file_and_has_a_preview(name):
    recipe = load(RECIPES[name])
    assert recipe.name == RECIPES[name].stem.replace("_", "-") == name
    assert recipe.has_preview
    if "extends" not in tomllib.loads(RECIPES[name].read_text(encoding="utf-8")):
        assert "preview" in tomllib.loads(RECIPES[name].read_text(encoding="utf-8"))


@each_recipe
def test_a_recipe_is_found_by_its_name_with_either_stroke(name):
    for written in (name, name.replace("-", "_"), f"{name}.toml"):
        assert load(written, shipped=REGISTRY.recipes()).path == RECIPES[name]


@each_recipe
def test_the_adversarial_loss_has_its_role_as_name(name):
    losses = load(RECIPES[name]).table.get("losses")
    assert (losses.get("adversarial") is None) == (name in UNGUARDED)


# --- what they mean -------------------------------------------------------------------------------


@each_recipe
@pytest.mark.parametrize("preview", [False, True], ids=["whole", "preview"])
def test_a_recipe_composes(name, preview, data):
    sets = [] if name == "cyclegan-horse2zebra" and preview else data_settings(name, data)
    recipe = load(RECIPES[name], preview=preview, sets=sets, shipped=REGISTRY.recipes())
    plan = compose(recipe, REGISTRY)
    assert plan.steps >= 1 and plan.generators and plan.losses
    assert bool(plan.discriminators) == (name not in UNGUARDED)
    assert plan.preview is preview
    whole = compose(load(RECIPES[name], sets=data_settings(name, data)), REGISTRY)
    assert plan.generators.keys() == whole.generators.keys()  # the same game
    assert [p.component for p in plan.losses.values()] == [
        p.component for p in whole.losses.values()
    ]


def test_horse2zebra_is_the_published_setting():
    """arXiv:1703.10593, section 4 and appendix, with the published photographs."""
    plan = compose(load(RECIPES["cyclegan-horse2zebra"]), REGISTRY)
    assert plan.steps == 200 * 1334  # the larger domain is an epoch, at batch 1
    generator, discriminator = plan.generators["horse2zebra"], plan.discriminators["zebra"]
    assert (generator.options.blocks, generator.options.width) == (9, 64)
    assert (discriminator.options.layers, discriminator.options.width) == (3, 64)
    assert generator.target_spec.shape == (3, 256, 256) and plan.data.image.load == 286
    assert plan.data.image.flip and plan.train.batch == 1
    adam = generator.settings.optimizer
    assert (adam.use, adam.options.lr, adam.options.betas) == ("adam", 2e-4, (0.5, 0.999))
    assert generator.settings.schedule.use == "constant-then-linear"
    assert generator.settings.schedule.options.constant == 0.5
    weights = {name: dict(loss.weight) for name, loss in plan.losses.items()}
    assert weights["adversarial"] == {"discriminator": 0.5, "generator": 1.0}
    assert weights["cycle-consistency"]["generator"] == 10
    assert weights["identity"]["generator"] == 5
    assert plan.losses["adversarial"].component.name == "least-squares"
    assert plan.augmentors["image-pool"].options.size == 50
    assert plan.data.options.fallback == "painted-horses"


def test_lsgan_is_the_dcgan_recipe_with_another_loss(data):
    dcgan, lsgan = (
        compose(load(RECIPES[f"{n}-mnist"], sets=data_settings(f"{n}-mnist", data)), REGISTRY)
        for n in ("dcgan", "lsgan")
    )
    assert (lsgan.generators, lsgan.discriminators) == (dcgan.generators, dcgan.discriminators)
    assert lsgan.losses["adversarial"].component.name == "least-squares"


# --- that they run --------------------------------------------------------------------------------


@each_recipe
def test_a_preview_runs_and_leaves_what_a_run_leaves(name, data, workdir):
    small = small_settings(name, data)
    phases = compose(load(RECIPES[name], preview=True, sets=small), REGISTRY).phases
    steps = 2 if len(phases) < 3 else 10  # so that each has some
    sets = [*small, f"train.steps={steps}"]
    plan = compose(load(RECIPES[name], preview=True, sets=sets), REGISTRY)
    outcome = launch(Request(recipe=name, preview=True, sets=tuple(sets)), print)
    folder = outcome.folder
    assert (outcome.step, folder.path) == (steps, Path("runs") / f"{name}-preview")
    assert folder.checkpoint_steps() == [steps]
    assert folder.state()["state"] == "finished"
    for file in ("recipe.toml", "resolved.toml"):
        assert (folder.path / file).is_file(), file
    if any(isinstance(g.target_spec, ImageSpec) for g in plan.generators.values()):
        for file in ("samples/real.png", "samples/progress.gif"):
            assert (folder.path / file).is_file(), file
        with Image.open(folder.sheets()[-1]) as sheet:
            low, high = sheet.convert("L").getextrema()
            assert low < high
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert {1, steps} == {line["step"] for line in lines}
    assert all(value is not None for line in lines for value in line.values())
    if plan.metrics:
        assert any(key.startswith("metric/") for key in lines[-1])
