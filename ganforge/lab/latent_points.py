"""Points of what a generator reads, and the ways between them.

A place says what each source is: drawn noise, a class as one-hot numbers, the vector that an
encoder made of a text. All of these can be averaged and passed through; images cannot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ganforge.interfaces.addresses import made_by
from ganforge.interfaces.components import as_one_hot
from ganforge.interfaces.errors import GanforgeError
from ganforge.interfaces.specs import ImageSpec, LabelSpec, NoiseSpec, TextSpec, VectorSpec

if TYPE_CHECKING:
    from ganforge.planning.plan import GeneratorPlan
    from ganforge.runs.run import Run

Place = dict[str, Tensor]  # source -> [1, ...]


def place(
    run: Run,
    plan: GeneratorPlan,
    seed: int,
    *,
    label: int | str | None = None,
    text: str | None = None,
) -> Place:
    """What a generator is given for one seed, as `Run.sample` gives it.

    Raises GanforgeError for a generator that starts from images, and for unknown labels and texts.
    """
    if any(isinstance(spec, ImageSpec) for _, spec in run.leaves(plan)):
        raise GanforgeError(
            f"generator '{plan.name}' starts from images: `ganforge translate` shows what it makes"
        )
    found: Place = {}
    values = run.sources(plan, [seed], label, text=text)
    for source, spec, value in zip(plan.sources, plan.source_specs, values, strict=True):
        name = made_by(source)
        if name is not None and not isinstance(spec, VectorSpec):
            before = run.generator_plan(name)
            found |= place(run, before, seed, label=label, text=text)
        else:
            found[source] = as_one_hot(value, spec) if isinstance(spec, LabelSpec) else value.cpu()
    return found


def noise_of(run: Run, plan: GeneratorPlan) -> list[str]:
    """The sources of noise that a generator reads, also through others."""
    return list(dict.fromkeys(n for n, s in run.leaves(plan) if isinstance(s, NoiseSpec)))


def reads_text(run: Run, plan: GeneratorPlan) -> bool:
    """Whether a generator reads text, also through others."""
    return any(isinstance(spec, TextSpec) for _, spec in run.leaves(plan))


def along(
    stops: Sequence[Place], frames: int, spherical: Iterable[str] = ()
) -> Iterable[tuple[Place, float]]:
    """Places from stop to stop, `frames` from each to the next, and the last stop; each with how
    far it is, in stops. spherical: the sources that keep their length on the way."""
    round_ones = set(spherical)
    for number, (one, other) in enumerate(pairwise(stops)):
        for frame in range(frames):
            share = frame / frames
            yield (
                {
                    source: _between(value, other[source], share, source in round_ones)
                    for source, value in one.items()
                },
                number + share,
            )
    yield dict(stops[-1]), float(len(stops) - 1)


def _between(one: Tensor, other: Tensor, share: float, spherical: bool) -> Tensor:
    if not one.is_floating_point():  # token numbers have nothing between them
        return one if share < 0.5 else other
    return slerp(one, other, share) if spherical else torch.lerp(one, other, share)


def slerp(one: Tensor, other: Tensor, share: float) -> Tensor:
    """Between vectors [N, D] on the arc, lengths in between as well (Shoemake 1985): noise of many
    dimensions is hardly ever near 0, where straight lines lead (arXiv:1609.04468, section 2.1)."""
    cosine = F.cosine_similarity(one, other, dim=1).clamp(-1, 1)[:, None]
    angle = torch.acos(cosine)
    sine = torch.sin(angle)
    straight = torch.lerp(one, other, share)
    arc = (torch.sin((1 - share) * angle) * one + torch.sin(share * angle) * other) / sine
    return torch.where(sine > 1e-4, arc, straight)


def made(run: Run, plan: GeneratorPlan, places: Sequence[Place]) -> Tensor:
    """What a generator makes at places, float32 [N, C, H, W] in [-1, 1], on the CPU."""
    rows: Mapping[str, Tensor] = {
        source: torch.cat([at[source] for at in places]) for source in places[0]
    }
    return run.made_of(rows, plan.name)
