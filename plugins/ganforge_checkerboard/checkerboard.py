"""How unevenly fine detail lies on the grid that strided convolutions write their images on.

Where a kernel is no multiple of its stride, neighbouring pixels are written by different numbers
of kernel taps (Odena et al. 2016, doi:10.23915/distill.00003), and even where it is one, each
pixel of a stride's cell has weights of its own. Then some places of the cell hold more fine detail
than others. Natural images have no such grid: every place holds the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganforge import GanforgeError, ImageSpec, Metric

if TYPE_CHECKING:
    from ganforge import Run

AT_ONCE = 64  # images looked at together


class Checkerboard(Metric):
    """For samples of each generator of images, and for held-out images of its target domain:

    checkerboard       of the generator's images
    checkerboard-real  of real ones, which is what little there is in no grid at all

    With several generators the figures are NAME/checkerboard and NAME/checkerboard-real.
    """

    @staticmethod
    def closed_forms() -> Iterable[tuple[str, float, float]]:
        """A bright pixel in each 2 x 2 cell has the high-pass energies 16, 4, 4 and 0."""
        dots = torch.zeros(1, 1, 34, 34)
        dots[..., ::2, ::2] = 1
        yield "one bright pixel a cell", checkerboard(dots, 2), 1.0
        yield "a flat image", checkerboard(torch.ones(1, 1, 34, 34), 2), 0.0

    def measure(self, run: Run) -> Mapping[str, float]:
        figures: dict[str, float] = {}
        for name, plan in run.plan.generators.items():
            spec = plan.target_spec
            if not isinstance(spec, ImageSpec):
                continue
            self._refuse_small(spec, name)
            measured = {"checkerboard": checkerboard(self._made(run, name), self.options.stride)}
            if run.plan.domains[plan.target].origin == "data":
                real = run.held_out(plan.target, self.options.count)
                measured["checkerboard-real"] = checkerboard(real, self.options.stride)
            prefix = f"{name}/" if len(run.plan.generators) > 1 else ""
            figures |= {prefix + key: value for key, value in measured.items()}
        if not figures:
            raise GanforgeError("checkerboard needs a generator of images; this run has none")
        return figures

    def _made(self, run: Run, name: str) -> Tensor:
        """Images of a generator, [<= count, C, H, W]; a translator's are of held-out inputs."""
        plan = run.generator_plan(name)
        if not isinstance(plan.source_specs[0], ImageSpec):
            return run.sample(self.options.count, seed=self.options.seed, generator=name)
        held_out = run.held_out(plan.sources[0], self.options.count)
        return run.translate(held_out, name, seed=self.options.seed)

    def _refuse_small(self, spec: ImageSpec, name: str) -> None:
        least = self.options.stride + 2
        if min(spec.height, spec.width) < least:
            raise GanforgeError(
                f"checkerboard with stride {self.options.stride} needs images of at least "
                f"{least} x {least} px; generator '{name}' makes {spec.height} x {spec.width}"
            )

    def protocol(self) -> str:
        return (
            f"{self.options.count} samples of seeds from {self.options.seed} and as many held-out "
            "images (all, where there are fewer); energy of the Laplacian by place in cells of "
            f"{self.options.stride} x {self.options.stride} px, standard deviation over mean "
            "across places, mean over channels"
        )


def checkerboard(images: Tensor, stride: int) -> float:
    """Deviation over mean of the high-pass energies of a grid's places, mean over channels.

    images: [N, C, H, W], H and W at least stride + 2. 0: every place of the stride x stride cells
    holds the same detail; sqrt(stride^2 - 1), the most there can be: one place holds it all. Free
    of the images' scale. Flat images give 0.

    A pattern of alternating sign and constant strength has the same energy everywhere, and gives 0.
    Computed in float64.
    """
    parts = images.split(AT_ONCE)
    places = torch.stack([energies(part, stride) for part in parts]).sum(0) / len(images)
    deviation = places.std(0, unbiased=False)
    return float((deviation / places.mean(0).clamp_min(1e-12)).mean())


def energies(images: Tensor, stride: int) -> Tensor:
    """High-pass energy at each place of a grid's cells, mean over cells, sum over images
    [N, C, H, W]; float64 [stride^2, C]."""
    energy = laplacian(images.double()).square()  # [N, C, H - 2, W - 2]
    places = [
        energy[..., row::stride, column::stride].mean((2, 3)).sum(0)
        for row in range(stride)
        for column in range(stride)
    ]
    return torch.stack(places)


def laplacian(images: Tensor) -> Tensor:
    """Four times each inner pixel less its four neighbours, [N, C, H, W] -> [N, C, H-2, W-2]."""
    inner = images[..., 1:-1, 1:-1]
    vertical = images[..., :-2, 1:-1] + images[..., 2:, 1:-1]
    return 4 * inner - vertical - images[..., 1:-1, :-2] - images[..., 1:-1, 2:]
