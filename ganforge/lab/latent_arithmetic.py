"""Vector arithmetic in what a generator reads (arXiv:1511.06434, section 6.3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch import Tensor

from ganforge.interfaces.draws import Draws
from ganforge.interfaces.errors import GanforgeError
from ganforge.lab.latent_points import Place, made, noise_of, place
from ganforge.lab.sample_formula import Group

if TYPE_CHECKING:
    from ganforge.planning.plan import GeneratorPlan
    from ganforge.runs.run import Run


@frozen
class Sum:
    """For each group of the formula its samples [N, C, H, W] and what their mean gives [1, ...];
    the result [1, ...]; and its neighbours [8, ...], whose noise is up to `spread` away."""

    samples: Sequence[Tensor]
    means: Sequence[Tensor]
    result: Tensor
    neighbours: Tensor


def summed(
    run: Run,
    plan: GeneratorPlan,
    groups: Sequence[Group],
    *,
    label: int | str | None = None,
    text: str | None = None,
    spread: float = 0.25,
) -> Sum:
    """Add and subtract the means of samples' noise; what else the generator reads (a class, a text)
    is that of the first sample. Neighbours have uniform noise within +- spread added, as the paper
    shows them. Raises GanforgeError where the generator reads no noise."""
    noise = noise_of(run, plan)
    if not noise:
        raise GanforgeError(f"generator '{plan.name}' reads no noise that could be added")
    places = {
        seed: place(run, plan, seed, label=label, text=text)
        for group in groups
        for seed in group.seeds
    }
    kept = next(iter(places.values()))
    means = [_with(kept, {n: _mean(places, group, n) for n in noise}) for group in groups]
    weighted = list(zip(groups, means, strict=True))
    total = {n: torch.stack([g.weight * m[n] for g, m in weighted]).sum(0) for n in noise}
    return Sum(
        samples=[made(run, plan, [places[seed] for seed in group.seeds]) for group in groups],
        means=[made(run, plan, [mean]) for mean in means],
        result=made(run, plan, [_with(kept, total)]),
        neighbours=made(run, plan, [_with(kept, _near(total, n, spread)) for n in range(8)]),
    )


def _with(place: Place, noise: Place) -> Place:
    return {**place, **noise}


def _mean(places: dict[int, Place], group: Group, source: str) -> Tensor:
    return torch.stack([places[seed][source] for seed in group.seeds]).mean(0)


def _near(noise: Place, number: int, spread: float) -> Place:
    near = {}
    for source, value in noise.items():
        drawn = Draws(number).generator("neighbour", source).uniform(-spread, spread, value.shape)
        near[source] = value + torch.from_numpy(drawn).to(value.dtype)
    return near
