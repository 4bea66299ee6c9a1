"""What captions say of the images that generators make from them, checked on the pixels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ganforge import GanforgeError, ImageSpec, Metric, TextSpec
from ganforge.plugin import Address
from ganforge_captioned_shapes.captions import LENGTH, VOCABULARY, Meaning, parse
from ganforge_captioned_shapes.checker import Claims, check, look
from ganforge_captioned_shapes.dataset import CaptionedShapes

if TYPE_CHECKING:
    from ganforge import Run

TEXT = TextSpec(VOCABULARY, LENGTH)
AT_ONCE = 64  # images looked at together
SHARES = ("colour", "shape", "size", "relation", "count", "all")


class CaptionTruth(Metric):
    """For each generator that makes images from captions, itself or through others:

    NAME/colour, shape, size, relation, count   share of the images of which that is true
    NAME/all                                     share of which the whole caption is true
    NAME/...-real                                the same of the captions' own images
    NAME/energy                                  mean squared difference of neighbouring pixels
    NAME/energy-real                             the same of real images
    NAME/energy-enlarged                         the same of the smaller images that it reads
    """

    @staticmethod
    def closed_forms() -> Iterable[tuple[str, float, float]]:
        """The energy of stripes of one pixel, which differ by 2 one way and by 0 the other; of a
        ramp; and claims of which half is true."""
        stripes = torch.tensor([-1.0, 1.0]).repeat(1, 3, 4, 4)
        yield "stripes of one pixel", energy(stripes), 2.0
        yield "a ramp", energy(torch.linspace(0, 0.7, 8).expand(1, 3, 8, 8)), 0.005
        claims = [
            Claims(colour=right, shape=True, size=True, relation=None, count=True)
            for right in (True, False)
        ]
        yield "half of the colours wrong", shares(claims)["all"], 0.5

    def measure(self, run: Run) -> Mapping[str, float]:
        dataset = run.dataset()
        if not isinstance(dataset, CaptionedShapes):
            raise GanforgeError(
                "caption-truth needs the data captioned-shapes, whose captions can be checked, not "
                f"{run.plan.data.component.name}"
            )
        figures: dict[str, float] = {}
        for name, plan in run.plan.generators.items():
            reads_captions = any(domain == "caption" for domain, _ in run.leaves(plan))
            if isinstance(plan.target_spec, ImageSpec) and reads_captions:
                found = self._generator(run, name)
                figures |= {f"{name}/{key}": value for key, value in found.items()}
        if not figures:
            raise GanforgeError(
                "caption-truth needs a generator of images that reads `caption`; this run has "
                f"{', '.join(run.plan.generators)}"
            )
        return figures

    def _generator(self, run: Run, name: str) -> dict[str, float]:
        count = self.options.count
        plan = run.generator_plan(name)
        captions = run.held_out("caption", count)
        meanings = [parse(TEXT.decode(row)) for row in captions.tolist()]
        # Sample i reads held-out row i where no text is asked for.
        made = run.sample(len(meanings), generator=name)
        real = run.held_out(plan.target, count).cpu()
        figures = shares(checked(meanings, made))
        figures |= {f"{k}-real": v for k, v in shares(checked(meanings, real)).items()}
        figures |= {"energy": energy(made), "energy-real": energy(real)}
        for source, spec in zip(plan.sources, plan.source_specs, strict=True):
            made_before = Address.parse(source)
            if made_before.kind == "generators" and isinstance(spec, ImageSpec):
                smaller = run.sample(len(meanings), generator=made_before.name)
                figures["energy-enlarged"] = energy(enlarged(smaller, made.shape[2:]))
        return figures

    def protocol(self) -> str:
        return (
            f"first {self.options.count} held-out captions, whose meanings training never names, "
            "one image each, sample i from seed i; shares of images whose pixels show what the "
            "caption claims, relation among captions that claim one, real = the captions' own "
            "images; energy = mean squared difference of neighbouring pixels, enlarged = bilinear"
        )


def checked(meanings: Sequence[Meaning], images: Tensor) -> list[Claims]:
    """What of each meaning is true of its image, [N, 3, H, W] in [-1, 1]."""
    seen = (things for part in images.split(AT_ONCE) for things in look(part))
    return [check(meaning, things) for meaning, things in zip(meanings, seen, strict=True)]


def shares(claims: Sequence[Claims]) -> dict[str, float]:
    """Share of the claims of each kind that are true, where there are such claims."""
    figures = {}
    for name in SHARES:
        made = [value for claim in claims if (value := getattr(claim, name)) is not None]
        if made:
            figures[name] = sum(made) / len(made)
    return figures


def energy(images: Tensor) -> float:
    """Mean squared difference of neighbouring pixels, both ways, of images [N, C, H, W].

    Squared, so that an edge counts for more the sharper it is: absolute differences add up to the
    same over a sharp edge and a soft one. Computed in float64.
    """
    each = torch.cat([_energies(part.double()) for part in images.split(AT_ONCE)])
    return float(each.mean())


def _energies(images: Tensor) -> Tensor:
    """The energy of each image, [N]."""
    down = (images[:, :, 1:] - images[:, :, :-1]).square().mean((1, 2, 3))
    across = (images[..., 1:] - images[..., :-1]).square().mean((1, 2, 3))
    return (down + across) / 2


def enlarged(images: Tensor, size: Sequence[int]) -> Tensor:
    """Images [N, C, H, W] at another size."""
    return F.interpolate(images, tuple(size), mode="bilinear")
