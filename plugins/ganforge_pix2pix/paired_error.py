"""How near translations come to what they are paired with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganforge import GanforgeError, ImageSpec, Metric

if TYPE_CHECKING:
    from ganforge import Run

LEVELS = 127.5  # grey levels of 255 in one unit of [-1, 1]


class PairedError(Metric):
    """For each generator from images to images that the data pairs with them, over held-out pairs:

    NAME/error          mean absolute error to the image that the source is paired with, in grey
                        levels of 255
    NAME/untouched      the same for the source as it is; where both have the same shape
    NAME/best-constant  the least that one image, the same for all, could have: their median's
    """

    @staticmethod
    def closed_forms() -> Iterable[tuple[str, float, float]]:
        """Black for white is wrong by 255 levels; one image for black, black and white is best
        black, and wrong by a third of that."""
        black, white = -torch.ones(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
        yield "black for white", mean_error(black, white), 255.0
        yield "one image for three", constant_error(torch.cat([black, black, white])), 85.0

    def measure(self, run: Run) -> Mapping[str, float]:
        figures: dict[str, float] = {}
        for name in run.plan.generators:
            if self._is_paired(run, name):
                figures |= {f"{name}/{key}": value for key, value in self._one(run, name).items()}
        if not figures:
            raise GanforgeError(
                "paired-error needs a generator from images to images that they are paired with; "
                f"this run has {', '.join(run.plan.generators)}"
            )
        return figures

    def _is_paired(self, run: Run, name: str) -> bool:
        plan = run.generator_plan(name)
        specs = (plan.source_specs[0], plan.target_spec)
        return run.plan.paired(name) and all(isinstance(spec, ImageSpec) for spec in specs)

    def _one(self, run: Run, name: str) -> dict[str, float]:
        plan = run.generator_plan(name)
        sources, truths = (
            run.held_out(domain, self.options.count).cpu()
            for domain in (plan.sources[0], plan.target)
        )
        made = run.translate(sources, name)
        figures = {"error": mean_error(made, truths), "best-constant": constant_error(truths)}
        if sources.shape == truths.shape:
            figures["untouched"] = mean_error(sources, truths)
        return figures

    def protocol(self) -> str:
        return (
            f"first {self.options.count} held-out pairs; mean absolute error to the image that the "
            "source is paired with, in grey levels of 255; untouched = of the source itself; "
            "best-constant = of the median of the true images, the best that one image can do"
        )


def mean_error(made: Tensor, truths: Tensor) -> float:
    """Mean absolute difference of images [N, C, H, W] in [-1, 1], in grey levels; summed in
    float64."""
    return float((made - truths).abs().mean(dtype=torch.float64)) * LEVELS


def constant_error(truths: Tensor) -> float:
    """The least mean error that one image [C, H, W] has to all of [N, C, H, W], in grey levels."""
    return mean_error(truths.median(0, keepdim=True).values, truths)
