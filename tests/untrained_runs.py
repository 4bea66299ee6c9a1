"""Runs to look at: shipped recipes before their first step, and small ones that were trained."""

from __future__ import annotations

from pathlib import Path

import torch
from making_data import small_settings
from small_recipes import write_recipe

import ganforge
from ganforge.hardware.machine import decide
from ganforge.planning.compose import compose
from ganforge.planning.plan import Plan
from ganforge.recipes.recipe import load
from ganforge.registry.registry import Registry
from ganforge.runs.run import Run
from ganforge.storage.run_folder import RunFolder
from ganforge.training.launch import build_training

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


def train_small(folder: Path, **texts: str) -> Path:
    """Train recipes of `small_recipes`, by the names of their runs, on pictures of their own.
    Returns the folder, whose `runs` holds them."""
    for name, text in texts.items():
        pictures = f'root = "{folder.as_posix()}/pictures"'
        write_recipe(folder, text.replace('root = "pictures"', pictures))
        ganforge.train(folder / "recipe.toml", out=folder / "runs" / name)
    return folder
