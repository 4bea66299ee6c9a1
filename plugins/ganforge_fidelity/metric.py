"""The metric: samples against real images, in one pass for all figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ganforge import GanforgeError, ImageSpec, Metric
from ganforge_fidelity import store
from ganforge_fidelity.extractors import Extractor, as_bytes, extractor
from ganforge_fidelity.figures import (
    HOW,
    NEAREST,
    density_coverage,
    figures,
    frechet_distance,
    kernel_distance,
    precision_recall,
    repeats_note,
)

if TYPE_CHECKING:
    from ganforge import Run

AT_ONCE = 64  # images made and looked at together
LEAST = NEAREST + 1  # real images: so many neighbours and itself
INCEPTION = {
    "frechet": "fid",
    "kernel": "kid",
    "kernel-deviation": "kid-deviation",
    "score": "inception-score",
    "score-deviation": "inception-score-deviation",
}


class Fidelity(Metric):
    """For each generator of the data's images (its name stands before each figure where there are
    several), with Inception's weights:

    fid, kid, kid-deviation, inception-score, inception-score-deviation, inception-precision,
    inception-recall, inception-density, inception-coverage

    and with another extractor, `judge` or `untrained`, in its features and under its name:
    judge-frechet, judge-kernel, judge-kernel-deviation, judge-score, ..., judge-coverage. An
    untrained network has no score. Beside each stands the same of as many real images that the
    samples are not compared with: fid-real, judge-frechet-real, ...
    """

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._protocol = f"{options.count:,} samples of seeds from {options.seed}"

    @staticmethod
    def closed_forms() -> Iterable[tuple[str, float, float]]:
        """Squares of points, pairs, and points on a line."""
        square = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]]).double()
        moved = 2 * square + torch.tensor([3, 4])  # covariances 4/3 and 16/3 along both axes
        yield "Frechet distance of two squares", frechet_distance(square, moved), 25 + 8 / 3
        ones, zeros = torch.ones(2, 1).double(), torch.zeros(2, 1).double()
        yield "kernel distance: 8 within, 1 within, 1 across", kernel_distance(ones, zeros)[0], 7.0
        pair = torch.tensor([[1.0], [5.0]]).double()
        yield "kernel distance of a pair to itself", kernel_distance(pair, pair)[0], -8576.0
        fake = torch.tensor([0.5, 1.5, 45.0, -50.0, 20.5])[:, None].double()
        real = torch.tensor([0.0, 1.0, 2.0, 3.0, 20.0, 21.0])[:, None].double()
        reach = precision_recall(fake, real)
        yield "precision: 3 of 5 in reach", reach["precision"], 3 / 5
        yield "recall: all in reach", reach["recall"], 1.0
        near = density_coverage(fake, real, nearest=1)
        yield "density: 2 + 2 + 2 hits of 5", near["density"], 6 / 5
        yield "coverage: all but the 3", near["coverage"], 5 / 6

    def measure(self, run: Run) -> Mapping[str, float]:
        measured: dict[str, float] = {}
        protocols: dict[str, None] = {}  # each protocol once, in order
        generators = measured_generators(run)
        for name in generators:
            found, how = self._generator(run, name)
            prefix = f"{name}/" if len(generators) > 1 else ""
            measured |= {prefix + key: value for key, value in found.items()}
            protocols[how] = None
        self._protocol = "; ".join(protocols)
        return measured

    def protocol(self) -> str:
        return self._protocol

    def _generator(self, run: Run, name: str) -> tuple[dict[str, float], str]:
        """(figures of one generator, how they came about)"""
        target = run.generator_plan(name).target
        seer = extractor(run, target, self.options)
        real, other = Real(run, target, self.options, seer), None
        if held_out(run):
            other = Real(run, target, self.options, seer, turned=True)
        samples = seer.see(self._samples(run, name))
        if len(samples) < LEAST:
            raise GanforgeError(
                f"fidelity needs {LEAST} samples; generator '{name}' translates {len(samples)} "
                "held-out images"
            )
        found = figures(samples, real.seen)
        if other is not None:
            found |= {f"{key}-real": value for key, value in other.against(real).items()}
        how = (
            self._made(run, name, len(samples)),
            f"against {real.what} of {target} ({run.plan.domains[target].spec}), as 8 bits",
            seer.about,
            HOW,
            *filter(None, [repeats_note(real.seen.features)]),
            f"-real = of {other.what} in place of samples" if other else "nothing is held out",
        )
        return {named(key, seer.name): value for key, value in found.items()}, "; ".join(how)

    def _samples(self, run: Run, name: str) -> Iterator[Tensor]:
        """What a generator makes, uint8, in parts; a translator of evenly spread held-out images.
        Image i is of seed S + i whatever the parts are."""
        count, seed, source = self.options.count, self.options.seed, translated(run, name)
        if source is not None:
            made = self._translated(run, name, source)
        else:
            made = (
                run.sample(min(AT_ONCE, count - start), seed=seed + start, generator=name)
                for start in range(0, count, AT_ONCE)
            )
        for images in made:
            if not images.isfinite().all():
                raise GanforgeError(f"generator '{name}' makes images that are not finite")
            yield as_bytes(images)

    def _translated(self, run: Run, name: str, source: str) -> Iterator[Tensor]:
        seed = self.options.seed
        for images in run.real_parts(source, self.options.count):
            yield run.translate(images, name, seed=seed)
            seed += len(images)

    def _made(self, run: Run, name: str, count: int) -> str:
        source = translated(run, name)
        what = "samples" if source is None else f"translations of held-out {source}"
        return f"{count:,} {what} of seeds from {self.options.seed}"


class Real:
    """Real images of a domain, as many as the options ask for, and what an extractor finds there.

    turned: those that samples are not compared with. What is found is kept on the disk.
    """

    def __init__(
        self, run: Run, domain: str, options: Any, seer: Extractor, *, turned: bool = False
    ) -> None:
        self._run, self._domain, self._most, self._seer = run, domain, options.count, seer
        training = (options.against == "training") != turned or not held_out(run)
        self._split: Literal["held-out", "training"] = "training" if training else "held-out"
        # Named after the very images, so that data that changed is looked at anew.
        self._name = store.name_of(seer.about, self._parts())
        self.seen = store.seen(self._name, lambda: seer.see(self._parts()))
        if len(self.seen) < LEAST:
            raise GanforgeError(
                f"fidelity needs {LEAST} real images; of {domain} {len(self.seen)} are "
                f"{'held out' if self._split == 'held-out' else 'there'}"
            )

    def _parts(self) -> Iterator[Tensor]:
        parts = self._run.real_parts(self._domain, self._most, split=self._split)
        return map(as_bytes, parts)

    @property
    def what(self) -> str:
        """`10,000 held-out images`"""
        return f"{len(self.seen):,} {self._split} images"

    def against(self, other: Real) -> dict[str, float]:
        """What these would get as samples, without deviations."""
        name = store.name_of(f"{self._name} {other._name} {HOW}")
        found = store.figures(name, lambda: figures(self.seen, other.seen))
        return {key: value for key, value in found.items() if not key.endswith("-deviation")}


def measured_generators(run: Run) -> list[str]:
    """The generators of images of which the data has real ones. Raises GanforgeError where there
    is none."""
    found = [
        name
        for name, plan in run.plan.generators.items()
        if isinstance(plan.target_spec, ImageSpec)
        and run.plan.domains[plan.target].origin in ("data", "derived")
    ]
    if not found:
        raise GanforgeError("fidelity needs a generator of images of the data; this run has none")
    return found


def translated(run: Run, name: str) -> str | None:
    """The domain whose images a generator translates; None where it, and what it reads of other
    generators, is made from noise, labels or texts. Raises GanforgeError where images are read in
    another place than the first."""
    plan = run.generator_plan(name)
    images = [domain for domain, spec in run.leaves(plan) if isinstance(spec, ImageSpec)]
    if images and plan.sources[0] != images[0]:
        raise GanforgeError(
            f"fidelity cannot measure generator '{name}': it reads images of {images[0]}, but not "
            "as its first source"
        )
    return images[0] if images else None


def held_out(run: Run) -> bool:
    """Whether the run's data has rows that were not trained on."""
    dataset = run.dataset()
    return all(dataset.count("test", name) for name in dataset.description.domains)


def named(key: str, extractor: str) -> str:
    """A figure under the name that includes its extractor: fid, judge-frechet."""
    plain, real, _ = key.partition("-real")
    if extractor == "inception" and plain in INCEPTION:
        return INCEPTION[plain] + real
    return f"{extractor}-{key}"
