"""What is searched: a generator as a function of its noise alone, and the images to be met."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch import Tensor, nn

from ganforge import Draws, GanforgeError, GeneratorOutput, ImageSpec, NoiseSpec, Spec
from ganforge_reconstruction.search import Objective, typical_scale

if TYPE_CHECKING:
    from ganforge import Run

DRAWS = 1024  # from which is taken how long noise is, and how much images depend on it


@frozen(eq=False)
class Problem:
    """network: G in eval mode, whose weights take no gradient. specs: of its sources, in order.
    held: what it is given beside noise, by place among the sources, [N, ...] each: the rows' own.
    images: [N, C, H, W] in [-1, 1]. batch: rows that pass G at once.
    """

    network: nn.Module
    specs: Sequence[Spec]
    held: Mapping[int, Tensor]
    images: Tensor
    batch: int

    @classmethod
    def of(cls, run: Run, name: str, domain: str, count: int, batch: int) -> Problem:
        """The first `count` held-out images of a domain, and a copy of a generator of them."""
        plan = run.generator_plan(name)
        network = copy.deepcopy(run.generator(name)).requires_grad_(False)
        if getattr(network, "layout", "") == "channels_last":
            network.to(memory_format=torch.channels_last)
        sources = enumerate(zip(plan.sources, plan.source_specs, strict=True))
        held = {
            place: run.held_out(source, count)
            for place, (source, spec) in sources
            if not isinstance(spec, NoiseSpec)
        }
        return cls(network, plan.source_specs, held, run.held_out(domain, count), batch)

    @property
    def noises(self) -> list[NoiseSpec]:
        """The kinds of noise that it reads. A code is one vector of each, side by side."""
        return [spec for spec in self.specs if isinstance(spec, NoiseSpec)]

    def zeros(self) -> Tensor:
        """The middle of the noise for each image, [N, D]."""
        return self.images.new_zeros(len(self.images), sum(spec.dim for spec in self.noises))

    def drawn(self, count: int, purpose: str) -> Tensor:
        """Codes drawn as G's noise is, [count, D]; the first ones are the same for any count."""
        parts = []
        for place, spec in enumerate(self.noises):
            generator, size = Draws(0).generator(purpose, place), (count, spec.dim)
            parts.append(
                generator.uniform(-1, 1, size)
                if spec.distribution == "uniform"
                else generator.standard_normal(size)
            )
        return torch.cat([torch.from_numpy(part) for part in parts], 1).to(self.images)

    def radius(self) -> float:
        """How long noise may be that G is given: the length of the longest of some draws."""
        return float(self.drawn(DRAWS, "codes").norm(dim=1).amax())

    def parts(self, count: int) -> Sequence[Tensor]:
        """The numbers from 0 to `count`, a batch at a time, int64."""
        return torch.arange(count, device=self.images.device).split(self.batch)

    def made(self, codes: Tensor, rows: Tensor) -> Tensor:
        """What G makes of codes [n, D] and of what these rows, int64 [n], come with."""
        noise = iter(codes.split([spec.dim for spec in self.noises], 1))
        sources = [
            next(noise) if isinstance(spec, NoiseSpec) else self.held[place][rows]
            for place, spec in enumerate(self.specs)
        ]
        made = self.network(*sources)
        return made.data if isinstance(made, GeneratorOutput) else made

    def objective(self, rows: Tensor, images: Tensor) -> Objective:
        """Mean squared error per pixel to images [n, ...] beside what these rows come with."""

        def evaluate(codes: Tensor) -> tuple[Tensor, Tensor]:
            with torch.enable_grad():
                codes = codes.detach().requires_grad_()
                losses = (self.made(codes, rows) - images).square().flatten(1).mean(1)
                (gradients,) = torch.autograd.grad(losses.sum(), codes)
            return losses.detach(), gradients

        return evaluate

    @torch.no_grad()
    def scale(self) -> Tensor:
        """`typical_scale` [D, D] of searches from drawn codes for what other drawn codes make."""
        codes, others = self.drawn(DRAWS, "codes"), self.drawn(DRAWS, "others")
        gradients = []
        for part in self.parts(DRAWS):
            rows = part % len(self.images)
            evaluate = self.objective(rows, self.made(others[part], rows))
            gradients.append(evaluate(codes[part])[1])
        return typical_scale(torch.cat(gradients))


def domain_searched(run: Run, name: str) -> str:
    """The domain whose held-out images a generator is to make: its target or, where it reads
    labels that only some rows have, the domain of those.

    Raises GanforgeError where nothing can be searched, and says why.
    """
    plan, data = run.generator_plan(name), run.plan.data.description
    if not isinstance(plan.target_spec, ImageSpec) or plan.target not in data.domains:
        raise GanforgeError(f"'{name}' makes '{plan.target}', of which the data holds no images")
    pairs = list(zip(plan.sources, plan.source_specs, strict=True))
    if not any(isinstance(spec, NoiseSpec) for _, spec in pairs):
        raise GanforgeError(f"'{name}' reads no noise")
    others = {source for source, spec in pairs if not isinstance(spec, NoiseSpec)}
    for domain in (plan.target, data.labelled.get(plan.target, plan.target)):
        if others <= set(data.group(domain)):
            return domain
    unknown = ", ".join(sorted(others - set(data.group(plan.target))))
    raise GanforgeError(f"'{name}' reads {unknown}, which images of '{plan.target}' do not have")
