"""The small game of dots.py, played with a hook or a metric that is under test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import evolve

from ganforge.hardware.machine import decide
from ganforge.planning.compose import compose
from ganforge.recipes.problems import RecipeError
from ganforge.recipes.recipe import load
from ganforge.recipes.typed_options import unstructure
from ganforge.registry.registry import Registry
from ganforge.storage.run_folder import RunFolder
from ganforge.testing.cases import NotTried, Subject
from ganforge.testing.dots import DOTS, written
from ganforge.training.launch import build_training
from ganforge.training.trainer import Training

NAME = "tried"  # of the component in the recipe


@contextmanager
def training(registry: Registry, subject: Subject | None = None) -> Iterator[Training]:
    """The game, built but not begun, on the CPU; with the subject's component where there is one.

    Its folder is removed afterwards.
    """
    import tomli_w

    more = ""
    if subject is not None:
        table = {"use": subject.component.id, **unstructure(subject.options)}
        key = "losses" if subject.component.kind == "loss" else f"{subject.component.kind}s"
        more = tomli_w.dumps({key: {NAME: table}})
    registry = evolve(registry, components=(*registry.components, DOTS))
    with TemporaryDirectory(prefix="ganforge-") as name:
        recipe = load(written(Path(name), more))
        try:
            plan = compose(recipe, registry)
        except RecipeError as refusal:
            raise NotTried(str(refusal)) from refusal
        folder = RunFolder(Path(name) / "run")
        folder.create(recipe.text, "")
        yield build_training(plan, registry, decide(plan.train), folder)
