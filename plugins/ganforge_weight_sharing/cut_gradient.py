"""The metric that shows what a cut at the shared convolutions does to G's gradient."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ganforge import DiscriminatorOutput, GanforgeError, Metric
from ganforge_weight_sharing.generator import WeightSharingGenerator

if TYPE_CHECKING:
    from ganforge import Run


class CutGradient(Metric):
    """For each block of a weight-sharing generator, counted from the code (its name stands before
    each figure where there are several generators):

    alignment/block-I   cosine between the gradient that the block gets with activations cut and
                        the one that it gets with weights cut alone, which is the true one
    norm/block-I        norm of the first over that of the second

    Gradients are those of D's mean score with respect to the block's first transposed convolution,
    whatever the run itself cuts. Both networks are in training mode, as they are when G learns.
    """

    @staticmethod
    def closed_forms() -> Iterable[tuple[str, float, float]]:
        """Gradients (3, 4) and (8, 6): the cosine is 48 / 50, and one is half as long."""
        cosine, share = compared(torch.tensor([3.0, 4.0]), torch.tensor([8.0, 6.0]))
        yield "alignment", cosine, 0.96
        yield "norm", share, 0.5

    def measure(self, run: Run) -> Mapping[str, float]:
        figures: dict[str, float] = {}
        sharing = {
            name: network
            for name in run.plan.generators
            if isinstance(network := run.generator(name), WeightSharingGenerator)
        }
        if not sharing:
            raise GanforgeError("cut-gradient is of weight-sharing generators; this run has none")
        for name, network in sharing.items():
            prefix = f"{name}/" if len(sharing) > 1 else ""
            figures |= {prefix + key: value for key, value in self._of(run, name, network).items()}
        return figures

    def protocol(self) -> str:
        return (
            f"gradient of D's mean score over {self.options.count} samples of seeds from "
            f"{self.options.seed}, in one batch, networks in training mode: activations cut "
            "against weights cut, at the first transposed convolution of each block"
        )

    def _of(self, run: Run, name: str, network: WeightSharingGenerator) -> dict[str, float]:
        plan = run.generator_plan(name)
        discriminator_name = plan.settings.refs["discriminator"].removeprefix("discriminators.")
        discriminator = run.discriminator(discriminator_name)
        seeds = range(self.options.seed, self.options.seed + self.options.count)
        sources = [source.to(run.device) for source in run.sources(plan, seeds)]
        cut, true = (
            gradients(copy.deepcopy(network), copy.deepcopy(discriminator), sources, where)
            for where in ("activations", "weights")
        )
        figures = {}
        for number, (one, other) in enumerate(zip(cut, true, strict=True), 1):
            cosine, share = compared(one, other)
            figures[f"alignment/block-{number}"] = cosine
            figures[f"norm/block-{number}"] = share
        return figures


def compared(one: Tensor, other: Tensor) -> tuple[float, float]:
    """The cosine between two gradients [P], and the norm of the first over that of the second;
    summed in float64. A cosine with nothing is 0."""
    one, other = one.double(), other.double()
    cosine = torch.nn.functional.cosine_similarity(one, other, dim=0)
    return float(cosine), float(one.norm() / other.norm())


@torch.enable_grad()
def gradients(
    network: WeightSharingGenerator,
    discriminator: nn.Module,
    sources: Sequence[Tensor],
    cut: str,
) -> list[Tensor]:
    """The gradient of D's mean score at each block's first layer, flat, if G cut this.

    Changes both networks: their mode, the cut, their running statistics.
    """
    network.train()
    discriminator.train()
    weights = [next(block.first.parameters()).requires_grad_() for block in network.blocks]
    for block in network.blocks:
        block.cut = cut
    output = discriminator(network(*sources))
    scores = output.scores if isinstance(output, DiscriminatorOutput) else output
    found = torch.autograd.grad(scores.float().mean(), weights)
    return [gradient.flatten() for gradient in found]
