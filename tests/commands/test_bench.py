"""`ganforge bench`: ways of playing one game, timed side by side, and what they may not change."""

from __future__ import annotations

import json

import pytest
import torch
from playing import training_of
from small_recipes import CYCLE, DIGITS, write_recipe

from ganforge.hardware import matmul
from ganforge.hardware.machine import Machine
from ganforge.planning.compose import compose
from ganforge.recipes.recipe import load
from ganforge.registry.registry import Registry
from ganforge.training.benchmark import Timed, Way, together, ways

CPU = torch.device("cpu")


def timed(ratio: float, **lines: object) -> Timed:
    return Timed(Way(**lines), 1.0, ratio, 3)


def test_each_switch_is_tried_and_nothing_is_written(ganforge_cli, workdir) -> None:
    write_recipe(workdir, DIGITS)
    before = sorted(workdir.rglob("*"))
    said = ganforge_cli("bench", "recipe.toml", "--seconds", "1", "--set", "train.threads=2")
    assert said.status == 0, said.err
    assert "digits: batch 4" in said.out
    assert "as it is: device cpu, precision fp32, threads 2, layout auto, products" in said.out
    others = ["products torch", "products onednn"] if matmul.offered() else []
    for way in ("layout contiguous", "layout channels_last", "threads 1", *others):
        assert way in said.out
    assert sorted(workdir.rglob("*")) == before


def test_json_holds_what_was_timed(ganforge_cli, workdir) -> None:
    write_recipe(workdir, DIGITS)
    said = ganforge_cli(
        "bench", "recipe.toml", "--seconds", "1", "--json", "--set", "train.threads=1"
    )
    first, *others = json.loads(said.out)
    assert first["train"] == {} and first["ratio"] == 1.0
    assert first["images_per_second"] == pytest.approx(4 / first["milliseconds"] * 1e3)
    assert {"layout": "channels_last"} in [one["train"] for one in others]
    assert all(one["rounds"] >= 3 and one["milliseconds"] > 0 for one in (first, *others))


def test_a_wrong_recipe_is_told_as_everywhere(ganforge_cli, workdir) -> None:
    write_recipe(workdir, DIGITS)
    said = ganforge_cli("bench", "recipe.toml", "--set", "train.batsh=3")
    assert said.status == 2 and "batch" in said.err


def test_what_the_machine_and_the_game_leave_open_is_tried(workdir) -> None:
    registry = Registry.load(only=())
    plan = compose(load(write_recipe(workdir, CYCLE)), registry)
    usual = Machine(CPU, "bf16", threads=4)
    assert list(ways(plan, usual)) == [
        Way(precision="fp32"),
        Way(layout="contiguous"),
        Way(layout="channels_last"),
        Way(threads=2),
    ]
    alone = Machine(CPU, "bf16", threads=1, wanted_layout="contiguous")
    assert list(ways(plan, alone)) == [Way(precision="fp32"), Way(layout="channels_last")]
    texts = compose(load("sequence-times", shipped=registry.recipes()), registry)
    assert list(ways(texts, alone)) == [Way(precision="fp32")]


def test_what_gains_is_put_together_and_what_does_not_is_left_out() -> None:
    found = [
        timed(1.3, precision="bf16"),
        timed(1.1, layout="contiguous"),
        timed(1.2, layout="channels_last"),
        timed(1.01, threads=1),
    ]
    assert together(found) == Way(precision="bf16", layout="channels_last")
    assert together([timed(0.9, threads=1)]) == Way()


@pytest.mark.parametrize(
    "switch, tolerance",
    [
        ('train.layout="channels_last"', 1e-4),
        ("train.threads=2", 1e-4),
        ("train.accumulate=2", 1e-4),
        ('train.products="onednn"', 1e-4),
        ('train.precision="bf16"', 0.05),
    ],
)
def test_a_switch_changes_losses_by_rounding_only(switch, tolerance, workdir) -> None:
    """Over 50 steps, of networks without BatchNorm and dropout, which differ in parts of a batch.
    bf16 holds 8 bits: its losses go along within 5 % of their size."""
    write_recipe(workdir, DIGITS)
    sets = ["train.threads=1", "discriminator.dropout=0.0", 'generator.norm="none"']
    sets += ["generator.hidden=[64]", "discriminator.hidden=[64]", "train.batch=32"]
    sets += ['train.products="torch"']
    curves = [losses_of(workdir, [*sets, *more]) for more in ([], [switch])]
    assert curves[0].shape == (50, 3) and curves[0].std(0).min() > 0
    worst = ((curves[0] - curves[1]).abs() / curves[0].abs().clamp_min(0.1)).max()
    assert 0 <= worst < tolerance


def losses_of(folder, sets) -> torch.Tensor:
    """What each loss term was after each step, [steps, terms]"""
    training = training_of(folder, DIGITS.replace("steps = 4", "steps = 50"), sets=sets)
    rows = []
    for step in range(1, 51):
        training.take_step(step)
        gauges = training.gauges()
        rows.append([v for k, v in sorted(gauges.items()) if k.startswith("loss/")])
    return torch.tensor(rows)
