"""How far a discriminator has learnt its training images by heart (arXiv:2006.06676, section 3).

A discriminator that judges scores held-out images as it scores training images. One that knows the
training images by heart scores held-out images as it scores fakes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganforge import Dataset, DiscriminatorOutput, Draw, Draws, GanforgeError, ImageSpec, Metric
from ganforge.images import fit_images

if TYPE_CHECKING:
    from ganforge import Run

AT_ONCE = 64  # images judged together


class Overfitting(Metric):
    """For each discriminator of images (its name stands before each figure if there are several):

    score-training   mean score of training images
    score-held-out   mean score of images that were held out
    score-fake       mean score of generated images
    overfitting      (training - held-out) / (training - fake), r_v of equation 1: 0 where held-out
                     images pass as training images, 1 where they pass as fakes

    All are seen through the discriminator's augmentors, as in training; by the first view.
    """

    @staticmethod
    def closed_forms() -> Iterable[tuple[str, float, float]]:
        """Held-out scores half-way between those of training images and of fakes."""
        yield "half-way", share(2.0, 1.0, 0.0), 0.5

    def measure(self, run: Run) -> Mapping[str, float]:
        figures: dict[str, float] = {}
        for name in run.plan.discriminators:
            prefix = f"{name}/" if len(run.plan.discriminators) > 1 else ""
            measured = self._discriminator(run, name)
            figures |= {prefix + key: value for key, value in measured.items()}
        return figures

    def protocol(self) -> str:
        return (
            f"scores of up to {self.options.count} training images, held-out images and samples, "
            f"D in eval mode; augmentors drawn from seed {self.options.seed}"
        )

    def _discriminator(self, run: Run, name: str) -> dict[str, float]:
        domain = run.discriminator_plan(name).on
        self._refuse(run, name)
        dataset, count = run.dataset(), self.options.count
        fakes = [self._made(run, generator) for generator in run.plan.pairings(name)]
        training, held_out, fake = (
            self._score(run, name, images)
            for images in (
                rows(dataset, "train", domain, count),
                rows(dataset, "test", domain, count),
                torch.cat(fakes),
            )
        )
        return {
            "score-training": training,
            "score-held-out": held_out,
            "score-fake": fake,
            "overfitting": share(training, held_out, fake),
        }

    def _refuse(self, run: Run, name: str) -> None:
        plan = run.discriminator_plan(name)
        domain = run.plan.domains[plan.on]
        if plan.given:
            raise GanforgeError(
                f"discriminator '{name}' is given conditions: it scores no image alone"
            )
        if not isinstance(domain.spec, ImageSpec) or domain.origin != "data":
            raise GanforgeError(f"discriminator '{name}' judges no images of the data")
        if not run.dataset().count("test", plan.on):
            raise GanforgeError(
                f"no images of '{plan.on}' are held out; for a folder of images write "
                "`holdout = 0.2` in [data]"
            )

    def _made(self, run: Run, generator: str) -> Tensor:
        """Images of a generator; a translator's are of held-out inputs."""
        plan = run.generator_plan(generator)
        if not isinstance(plan.source_specs[0], ImageSpec):
            return run.sample(self.options.count, seed=self.options.seed, generator=generator)
        return run.translate(run.held_out(plan.sources[0], self.options.count), generator)

    @torch.no_grad()
    def _score(self, run: Run, name: str, images: Tensor) -> float:
        """Mean score of images [N, C, H, W] as the discriminator sees them; summed in float64."""
        seen = as_seen(run, name, images, self.options.seed)
        network = run.discriminator(name)
        scores = []
        for part in seen.split(AT_ONCE):
            output = network(part.to(run.device))
            found = output.scores if isinstance(output, DiscriminatorOutput) else output
            if found is None:
                raise GanforgeError(f"discriminator '{name}' returns no scores")
            scores.append(found.double().reshape(len(found), -1).mean(1))
        return float(torch.cat(scores).mean())


def share(training: float, held_out: float, fake: float) -> float:
    """r_v; 0 if D does not tell training images from fakes, and so has learned nothing."""
    return (training - held_out) / (training - fake) if training != fake else 0.0


def as_seen(run: Run, name: str, images: Tensor, seed: int) -> Tensor:
    """Images through the augmentors before a discriminator, of several views the first."""
    spec = run.plan.domains[run.discriminator_plan(name).on].spec
    for augmentor, plan in run.plan.augmentors.items():
        if name not in plan.on:
            continue
        draw = Draw(
            Draws(seed).generator("overfitting", augmentor), len(images), slice(None), images.device
        )
        view = run.registry.load_target(plan.component)(plan.options, spec).view(images, draw)
        images = view if isinstance(view, Tensor) else next(iter(view.values()))
        views = plan.component.views
        spec = next(iter(views(plan.options, spec).values())) if views else spec
    return images


def rows(dataset: Dataset, split: str, domain: str, count: int) -> Tensor:
    """Evenly spread rows of a split, images [<= count, C, H, W] in [-1, 1], whole."""
    spec = dataset.description.domains[domain]
    there = dataset.count(split, domain)
    chosen = torch.linspace(0, there - 1, min(count, there)).long().tolist()
    whole = dataset.whole()
    images = torch.stack([whole.item(split, domain, index) for index in chosen])
    return fit_images(images, spec.height, spec.width, "cover") / 127.5 - 1
