"""Walks through what a generator reads, and how smoothly its images change on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import frozen
from torch import Tensor

from ganforge.interfaces.specs import NoiseSpec
from ganforge.lab import features
from ganforge.lab.latent_points import Place, along, made, noise_of

if TYPE_CHECKING:
    from ganforge.planning.plan import GeneratorPlan
    from ganforge.runs.run import Run


@frozen
class Walk:
    """Images [N, C, H, W] on the way, and the largest step over the mean step: 1 is an even glide,
    the number of steps a single jump. `seen_by` says what steps were measured in."""

    images: Tensor
    unevenness: float
    seen_by: str


def walk(
    run: Run, plan: GeneratorPlan, stops: Sequence[Place], frames: int, *, straight: bool = False
) -> Walk:
    """From stop to stop, with `frames` images from each to the next.

    Normal noise goes along arcs, since its length is what the generator was trained on (`straight`
    turns that off); everything else goes straight.
    """
    specs = dict(run.leaves(plan))
    arcs = [
        name
        for name in noise_of(run, plan)
        if isinstance(spec := specs[name], NoiseSpec) and spec.distribution == "normal"
    ]
    places = [at for at, _ in along(stops, frames, () if straight else arcs)]
    images = made(run, plan, places)
    eye = features.sharpest(run, plan.target)
    return Walk(images, unevenness(eye.see(images)), eye.name)


def unevenness(seen: Tensor) -> float:
    """The largest step over the mean step along vectors [N, D]; 1 where nothing moves."""
    steps = seen.double().diff(dim=0).norm(dim=1)
    mean = float(steps.mean())
    return float(steps.max()) / mean if mean else 1.0
