"""Recipes and plugins of the days of 0.1.0 are still played, and every public name still works.

tests/data/public_surface_0_1_0.txt lists what was public then; tests/data/plugin_0_1_0.py uses it.
"""

import re
from pathlib import Path

import pytest
from making_data import data_settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of names that were renamed

DATA = Path(__file__).parent / "data"
PLUGIN = DATA / "plugin_0_1_0.py"
RECIPES = DATA / "recipes_0_1_0"
OWN = sorted(path.stem for path in RECIPES.glob("kept*.toml"))
# Recipes that were shipped -> what makes their previews small; `--set` is of those days too.
SHIPPED = {
    "vanilla_mnist": ["generator.hidden=[8]", "discriminator.hidden=[8]"],
    "dcgan_mnist": ["generator.width=4", "discriminator.width=4"],
    "gradient_image_mnist": ["generator.width=4", "discriminator.width=4"],
    "semi_supervised_mnist": [
        "generator.hidden=[8]",
        "discriminator.hidden=[8]",
        "data.labelled=20",
    ],
    "cyclegan_horse2zebra": [
        "generators.horse2zebra.width=2",
        "generators.horse2zebra.blocks=1",
        "discriminators.horse.width=2",
        "data.count=8",
        "data.held_out=4",
        "data.size=32",
        "data.load=36",
        "metrics.translation-truth.count=4",
    ],
    "stackgan_shapes": [
        "generators.stage1.width=4",
        "generators.stage2.width=2",
        "discriminators.stage1.width=4",
        "discriminators.stage2.width=2",
        "data.count=24",
        "data.held_out=8",
        "metrics.caption-truth.off=true",
    ],
}


def _played(ganforge_cli, recipe: Path, *options: str) -> str:
    """What `check` and then `run` of two steps said."""
    checked = ganforge_cli("check", recipe, *options)
    assert checked.status == 0, checked
    answer = ganforge_cli("run", recipe, "--out", "run", *options)
    assert answer.status == 0, answer
    assert Path("run/checkpoints/step-00000002/state.json").is_file()
    return answer.out + answer.err


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_that_0_1_0_shipped_is_still_played(name, data, workdir, ganforge_cli):
    recipe = RECIPES / f"{name}.toml"
    sets = ["train.steps=2", "train.batch=4", "train.device=cpu", "train.precision=fp32"]
    sets += ["hooks.samples.count=8", *SHIPPED[name]]
    if "mnist" in name:
        sets += data_settings("dcgan-mnist", data)
    _played(ganforge_cli, recipe, "--preview", *(f"--set={one}" for one in sets))


@pytest.mark.parametrize("name", OWN)
def test_a_plugin_of_0_1_0_still_plays(name, workdir, ganforge_cli):
    said = _played(ganforge_cli, RECIPES / f"{name}.toml", f"--plugin-file={PLUGIN}")
    assert "could not be computed" not in said


def test_a_run_of_the_plugin_goes_on(workdir, ganforge_cli):
    options = ("--out", "run", f"--plugin-file={PLUGIN}")
    assert ganforge_cli("run", RECIPES / "kept.toml", *options).status == 0
    longer = ganforge_cli("run", RECIPES / "kept.toml", *options, "--set", "train.steps=3")
    assert longer.status == 0, longer
    assert Path("run/checkpoints/step-00000003/state.json").is_file()


def _names() -> set[str]:
    """The last word of everything in Python that was public, and what losses could ask."""
    lines = (DATA / "public_surface_0_1_0.txt").read_text(encoding="utf-8").splitlines()
    kinds = ("class ", "function ", "member ", "field ", "value ", "vocabulary ", "moment ")
    found = (line.partition(" ")[2].partition("(")[0] for line in lines if line.startswith(kinds))
    return {name.rpartition(".")[2] for name in found}


def test_the_plugin_uses_every_name_that_was_public():
    used = set(re.findall(r"\w+", PLUGIN.read_text(encoding="utf-8")))
    assert sorted(_names() - used) == []
