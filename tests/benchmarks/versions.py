"""Versions of one recipe beside each other: the same process, taking turns, nothing written.

    python tests/benchmarks/versions.py RECIPE [--set KEY=VALUE] [--version KEY=VALUE] [--rounds 7]

Prints milliseconds per step of the recipe as it is and of each version: medians over the rounds,
and the ratio to the recipe as it is, round by round, its median. Data is read once per version.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from ganforge.hardware.machine import decide
from ganforge.planning.compose import compose
from ganforge.recipes.recipe import load
from ganforge.registry.registry import Registry
from ganforge.storage.run_folder import RunFolder
from ganforge.training.launch import build_training

HOOKS = ("progress", "metrics", "checkpoint", "samples", "collapse-alarm")


def stepper(recipe: str, sets: list[str], folder: Path) -> Callable[[], None]:
    """A function that takes one step of the recipe with these settings."""
    registry = Registry.load(only=())
    quiet = [f"hooks.{name}.off=true" for name in HOOKS]
    plan = compose(load(recipe, sets=[*sets, *quiet], shipped=registry.recipes()), registry)
    training = build_training(plan, registry, decide(plan.train), RunFolder(folder))

    def step() -> None:
        training.take_step(training.step + 1)

    return step


def timed(step: Callable[[], None], steps: int) -> float:
    """Milliseconds per step."""
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps * 1e3


def compare(steppers: dict[str, Callable[[], None]], rounds: int, steps: int) -> Table:
    """The table of all versions; the first is what the others are compared with."""
    times: dict[str, list[float]] = {name: [] for name in steppers}
    for step in steppers.values():
        timed(step, 3)  # the first steps allocate
    for _ in range(rounds):
        for name, step in steppers.items():
            times[name].append(timed(step, steps))
    first = next(iter(times.values()))
    table = Table("version", "ms per step", "ratio")
    for name, values in times.items():
        ratio = median(own / base for own, base in zip(values, first, strict=True))
        table.add_row(name, f"{median(values):.1f}", f"{ratio:.2f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[], help="of all versions")
    parser.add_argument("--version", action="append", default=[], help="of one version more")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=10, help="that are timed together")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steppers = {
            name: stepper(asked.recipe, asked.set + sets, Path(folder))
            for name, sets in [("as it is", []), *((one, [one]) for one in asked.version)]
        }
        Console(file=sys.stdout).print(compare(steppers, asked.rounds, asked.steps))


if __name__ == "__main__":
    main()
