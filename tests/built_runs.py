"""The shipped recipes' previews as runs that took no step yet, for what looks at networks."""

from __future__ import annotations

from pathlib import Path

import torch
from making_data import small_settings

from ganforge.compose import compose
from ganforge.launch import build_training
from ganforge.machine import decide
from ganforge.plan import Plan
from ganforge.recipe import load
from ganforge.registry import Registry
from ganforge.runfolder import RunFolder
from ganforge.runs import Run

REGISTRY = Registry.load(only=())
RECIPES = {recipe.name: recipe.path for recipe in REGISTRY.shipped()}


def small_plan(name: str, data: Path) -> Plan:
    """The plan of a recipe's preview, small, on made-up data."""
    sets = tuple(small_settings(name, data))
    return compose(load(RECIPES[name], preview=True, sets=sets), REGISTRY)


def built(plan: Plan, folder: Path) -> Run:
    """The run of a plan before its first step, its weights laid out as those of a file are."""
    run = RunFolder(folder / "run")
    run.path.mkdir(exist_ok=True)
    training = build_training(plan, REGISTRY, decide(plan.train), run)
    torch.set_flush_denormal(False)
    opened = Run.during(training)
    for generator in plan.generators:
        opened.generator(generator).to(memory_format=torch.contiguous_format)
    return opened
