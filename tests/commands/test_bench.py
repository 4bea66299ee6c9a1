"""`ganforge bench`: ways of playing one game, timed side by side, and what they may not change."""

from __future__ import annotations

import json
import math
import time
from types import SimpleNamespace

import pytest
import torch
from playing import training_of
from small_recipes import CYCLE, DIGITS, write_recipe

from ganforge.hardware import matmul
from ganforge.hardware.machine import Machine
from ganforge.planning.compose import compose
from ganforge.recipes.recipe import load
from ganforge.registry.registry import Registry
from ganforge.training import benchmark
from ganforge.training.benchmark import Timed, TimedTraining, Way, together, ways

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


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """[seconds that have passed], which nothing but a test moves on."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def steady(clock: list[float], seconds: float, waiting: float = 0.0) -> SimpleNamespace:
    """A training whose steps take so many seconds, some of them by waiting for data."""
    feed = SimpleNamespace(waited=0.0)
    device, threads = CPU, SimpleNamespace(threads=1)
    training = SimpleNamespace(
        step=0, steps=10, game=SimpleNamespace(feed=feed, machine=threads, device=device)
    )

    def take_step(step: int) -> None:
        clock[0] += seconds
        feed.waited += waiting
        training.step = step

    training.take_step = take_step
    return training


def test_ways_are_compared_by_what_their_steps_take(clock) -> None:
    usual = TimedTraining(steady(clock, 0.02, waiting=0.005))
    quick = TimedTraining(steady(clock, 0.01))
    assert usual.preparing == pytest.approx(benchmark.WARM_UP * 0.02)
    assert usual.steps == math.ceil(benchmark.TURN / 0.02)
    found = benchmark._compared(usual, quick, Way(threads=2), budget=0.0)
    assert found.ratio == pytest.approx(2.0)
    assert found.milliseconds == pytest.approx(10.0)
    assert found.rounds == benchmark.LEAST_ROUNDS
    assert usual.waiting() == pytest.approx(0.25) and quick.waiting() == 0


@pytest.mark.parametrize(
    ("gaining", "last"),
    [
        ({"layout", "threads"}, Way(layout="channels_last", threads=1)),
        ({"threads"}, Way(threads=1)),  # which was tried already
    ],
)
def test_all_that_gain_together_are_tried_as_well(workdir, monkeypatch, gaining, last) -> None:
    def compared(baseline: object, other: object, way: Way, budget: float) -> Timed:
        gains = set(way.lines) <= gaining and way.layout != "contiguous"
        return Timed(way, 1.0, 1.5 if gains else 1.0, 3)

    played = SimpleNamespace(times=[1.0], preparing=0.0, waiting=lambda: 0.0)
    stage = SimpleNamespace(timed=lambda way: played, close=lambda: None)
    monkeypatch.setattr(benchmark, "Stage", lambda *_: stage)
    monkeypatch.setattr(benchmark, "_compared", compared)
    registry = Registry.load(only=())
    sets = ("train.threads=2", 'train.products="torch"', 'train.precision="fp32"')
    plan = compose(load(write_recipe(workdir, DIGITS), sets=sets), registry)
    _, *found = benchmark.bench(plan, registry, 1.0)
    assert [timed.way for timed in found].count(last) == 1
    assert len(last.lines) == 1 or found[-1].way == last
