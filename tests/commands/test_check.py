"""`ganforge check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from making_data import FOLDERS, REGISTRY
from recipe_text import RecipeText

from ganforge.recipes.recipe import load
from ganforge.registry.registry import Registry

SHIPPED = sorted(Registry.load().recipes())

SMALL = RecipeText("""
recipe = 1
name = "small"
[data]
use = "painted-horses"
size = 32
[train]
steps = 100
batch = 4
discriminator_steps = 2
[generators.horse2zebra]
use = "resnet-translator"
from = "horse"
to = "zebra"
[discriminators.zebra]
use = "patchgan"
on = "zebra"
[losses.adversarial]
use = "least-squares"
weight = { discriminator = 0.5, generator = 1.0 }
[losses.soft-hinge]
weight = 3
[augmentors.image-pool]
size = 50
""")

MINE = """
from ganforge import Loss

class SoftHinge(Loss):
    def discriminator(self, real_scores, fake_scores):
        return fake_scores - real_scores
"""


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    recipe, plugin = tmp_path / "small.toml", tmp_path / "mine.py"
    recipe.write_text(SMALL)
    plugin.write_text(MINE)
    return recipe, plugin


def test_a_good_recipe_is_summed_up(ganforge_cli, small: tuple[Path, Path]) -> None:
    recipe, plugin = small
    answer = ganforge_cli("check", recipe, "--plugin-file", plugin)
    assert answer.err == ""
    assert answer.status == 0
    lines = [" ".join(line.split()) for line in answer.out.splitlines()]
    assert lines[0] == "small: no mistakes"
    game = "game horse -> horse2zebra -> zebra judged by zebra (resnet-translator against patchgan)"
    assert game in lines
    assert "losses adversarial (least-squares) x 0.5 (discriminator), 1 (generator)" in lines
    assert "soft-hinge x 3" in lines
    assert "augmentors image-pool" in lines
    assert "length 100 steps of batch 4, 2 discriminator steps each" in lines
    assert lines[-1] == f"train it with `ganforge run {recipe} --plugin-file {plugin}`"


def test_every_mistake_is_shown_with_exit_status_2(ganforge_cli, small: tuple[Path, Path]) -> None:
    recipe, plugin = small
    recipe.write_text(SMALL.replace("steps = 100", "stpes = 100").replace("patchgan", "patchgam"))
    answer = ganforge_cli("check", recipe, "--plugin-file", plugin)
    assert answer.status == 2
    assert answer.out == ""
    assert "did you mean 'steps'?" in answer.err
    assert "there is no discriminator 'patchgam'" in answer.err
    assert "similar: 'patchgan'" in answer.err


def test_a_recipe_that_needs_a_broken_plugin_is_told_so(
    ganforge_cli, make_plugin, small: tuple[Path, Path]
) -> None:
    make_plugin("broken-gan", "raise ValueError('no weights')")
    answer = ganforge_cli("check", small[0])
    assert answer.status == 2
    assert "there is no loss 'soft-hinge'" in answer.err
    assert "broken-gan 0.3 failed to load and may provide it" in " ".join(answer.err.split())


def test_json_for_programs(ganforge_cli, small: tuple[Path, Path]) -> None:
    recipe, plugin = small
    good = ganforge_cli("check", recipe, "--plugin-file", plugin, "--json")
    report = json.loads(good.out)
    assert report.pop("data")["rows"]["horse"] == {"train": 1000, "test": 100}
    assert report == {"ok": True, "name": "small", "steps": 100, "problems": []}
    bad = ganforge_cli("check", recipe, "--plugin-file", plugin, "--json", "--set", "train.x=1")
    assert bad.status == 2
    report = json.loads(bad.out)
    assert report["ok"] is False
    assert [(p["file"], p["line"]) for p in report["problems"]] == [("--set", 1)]


@pytest.mark.parametrize("preview", [False, True], ids=["whole", "preview"])
@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_has_no_mistakes(
    ganforge_cli, workdir: Path, name: str, preview: bool
) -> None:
    table = load(name, shipped=REGISTRY.recipes()).table.get("data")
    if table.get("use") in FOLDERS and "root" not in table:
        pytest.skip("is about a folder of the person's own")
    answer = ganforge_cli("check", name, *(["--preview"] if preview else []))
    assert answer.status == 0, answer.err
    assert answer.err == ""


def test_a_retired_name_is_said(ganforge_cli, make_plugin, small: tuple[Path, Path]) -> None:
    manifest = """
from ganforge.plugin import Component, hookimpl

@hookimpl
def ganforge_components():
    return [Component("loss", "round-hinge", "{package}.losses:Hinge", aliases=["soft-hinge"])]
"""
    make_plugin("acme-gan", manifest)
    answer = ganforge_cli("check", small[0])
    assert answer.status == 0, answer.err
    assert answer.err == "warning: loss 'soft-hinge' is now called 'round-hinge'\n"


def test_floating_point_pictures_are_refused_before_anything_is_built(workdir, ganforge_cli):
    from PIL import Image

    (workdir / "photos").mkdir()
    for number in range(3):
        Image.new("F", (16, 16), number / 2).save(workdir / "photos" / f"{number}.tif")
    Image.new("RGB", (16, 16)).save(workdir / "photos" / "sound.png")
    sets = ["--set", "data.use=image-folder", "--set", "data.root=photos"]
    for size in ([], ["--set", "data.size=16"]):
        answer = ganforge_cli("check", "dcgan-mnist", *sets, *size)
        assert answer.status == 2
        assert "3 of 4 images cannot be used: " in answer.err
        assert "floating-point pixels of unknown range" in answer.err


def test_a_run_to_begin_with_that_is_not_there_is_refused(workdir, ganforge_cli):
    answer = ganforge_cli(
        "check",
        "cyclegan-horse2zebra",
        "--preview",
        "--set",
        'generators.horse2zebra.init={run="runs/gone"}',
    )
    assert answer.status == 2
    assert "runs/gone is not a run with a checkpoint" in answer.err
