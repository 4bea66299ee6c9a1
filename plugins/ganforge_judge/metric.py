"""The metric: what a judge finds in the samples of a run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import Tensor

from ganforge import DataError, GanforgeError, LabelSpec, Metric, NoiseSpec
from ganforge_judge.distance import frechet_distance
from ganforge_judge.judge import Judge, judge_for
from ganforge_judge.labelled import Labelled, data_of, judged_as, judged_domains

if TYPE_CHECKING:
    from ganforge import Run

AT_ONCE = 512  # samples made and judged together
Parts = Iterator[tuple[Tensor, Tensor | None]]  # images, and the class that each is to be

MOST_NAMED = 20  # classes; of more, only the extremes are figures


class ClassAccuracy(Metric):
    """For each generator of labelled images (its name stands before each figure where there are
    several):

    share/NAME             share of samples that the judge takes for this class
    smallest-share         the smallest of these
    largest-share          the largest
    confidence             mean of the judge's largest probability
    agreement              share of samples whose class is the one asked for
    agreement/NAME         the same of the samples asked to be of this class
    smallest-agreement     the smallest of these
    deviation              standard deviation of pixels, in [-1, 1], within a class
    smallest-deviation     that of the class that varies least
    deviation-real         the deviation of held-out images
    judge-distance         Frechet distance to held-out images in the judge's features
    judge-distance-real    the same of training images, of which there are as many
    judge-accuracy         share of held-out images whose class the judge finds

    Agreement is for generators that are given the label. The judge distance is not the FID, which
    is measured in the features of an Inception network.
    """

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._protocol = "samples judged by a classifier of the run's data"

    @staticmethod
    def closed_forms() -> Iterable[tuple[str, float, float]]:
        """Features -1, 1 against 1, 5: means 3 apart, deviations sqrt(2) and sqrt(8)."""
        first, second = torch.tensor([[-1.0], [1.0]]), torch.tensor([[1.0], [5.0]])
        yield "Frechet distance in one dimension", frechet_distance(first, second), 11.0

    @staticmethod
    def judge(run: Run, target: str) -> Judge | None:
        """The judge of a domain of images, for other metrics; None where the data has no labels
        that belong to it. Raises DataError for data that cannot be read."""
        try:
            domain = judged_as(run, target, judged_domains(run))
        except DataError:
            raise
        except GanforgeError:
            return None
        return None if domain is None else judge_for(data_of(run, domain)[0], run.device)

    def measure(self, run: Run) -> Mapping[str, float]:
        figures: dict[str, float] = {}
        protocols: dict[str, None] = {}  # each protocol once, in order
        generators = _judged_generators(run)
        for name, (domain, asked) in generators.items():
            measured, how = self._generator(run, name, domain, asked)
            prefix = f"{name}/" if len(generators) > 1 else ""
            figures |= {prefix + key: value for key, value in measured.items()}
            protocols[how] = None
        self._protocol = "; ".join(protocols)
        return figures

    def protocol(self) -> str:
        return self._protocol

    def _generator(
        self, run: Run, name: str, domain: str, asked: bool
    ) -> tuple[dict[str, float], str]:
        """(figures of one generator, how they came about)"""
        data, played = data_of(run, domain)
        judge = judge_for(data, run.device)
        classes = judge.classes.classes
        held_out, training = (
            played.where(part, self.options.count) for part in ("held-out", "training")
        )
        samples = look(judge, _samples(run, name, self.options, classes if asked else None))
        real, learnt = (look(judge, _real(played, *part)) for part in (held_out, training))
        present = samples.deviations[~samples.deviations.isnan()]
        figures = {
            **class_figures(samples, judge.classes, asked=asked),
            "deviation": samples.deviation,
            "smallest-deviation": float(present.min()) if len(present) else 0.0,
            "deviation-real": real.deviation,
            "judge-distance": frechet_distance(samples.features, real.features),
            "judge-distance-real": frechet_distance(learnt.features, real.features),
            "judge-accuracy": judge.accuracy,
        }
        return figures, self._how(judge, data, played, (len(held_out[1]), len(training[1])), asked)

    def _how(
        self, judge: Judge, data: Labelled, played: Labelled, real: tuple[int, int], asked: bool
    ) -> str:
        split = "" if data.has_test else " (every 10th row, which the generator has seen)"
        size = f", shown {played.spec} resized" if judge.spec != played.spec else ""
        return (
            f"{self.options.count:,} samples of seeds from {self.options.seed}; judge "
            f"{judge.identity}, trained on {judge.trained:,} images of {data.name} ({judge.spec}"
            f"{size}), "
            f"right on {judge.accuracy:.2%} of {judge.held_out:,} held-out ones{split}; deviation "
            "= standard deviation of each pixel in [-1, 1] within the class "
            f"{'asked for' if asked else 'found'}, mean over pixels and classes; judge-distance = "
            "Frechet distance between Gaussians fitted to the judge's penultimate features (not "
            f"the Inception FID) of the samples and of {real[0]:,} held-out images, -real = of "
            f"{real[1]:,} training images and of these"
        )


@frozen(eq=False)
class Looked:
    """What a judge found in N images: features [N, D], probabilities [N, classes], the class that
    each was to be, int64 [N], or was found to be, and the deviation within each class."""

    features: Tensor
    probabilities: Tensor
    classes: Tensor
    deviations: Tensor

    @property
    def deviation(self) -> float:
        """The mean over the classes that have one."""
        mean = float(self.deviations.nanmean())
        return 0.0 if math.isnan(mean) else mean


def class_figures(looked: Looked, spec: LabelSpec, *, asked: bool) -> dict[str, float]:
    """Shares of classes, confidence, and agreement with the classes that were asked for."""
    confidence, found = looked.probabilities.max(1)
    share = torch.bincount(found, minlength=spec.classes).double() / len(found)
    figures = _named("share", share, spec)
    figures |= {"smallest-share": float(share.min()), "largest-share": float(share.max())}
    figures["confidence"] = float(confidence.mean())
    if asked:
        right = (found == looked.classes).double()
        wanted = torch.bincount(looked.classes, minlength=spec.classes)
        each = torch.bincount(looked.classes, right, minlength=spec.classes) / wanted
        figures |= {"agreement": float(right.mean()), **_named("agreement", each, spec)}
        figures["smallest-agreement"] = float(each[wanted > 0].min())
    return figures


def _named(what: str, values: Tensor, spec: LabelSpec) -> dict[str, float]:
    """`share/NAME` for each class; none where there are too many, or no value."""
    if spec.classes > MOST_NAMED:
        return {}
    return {
        f"{what}/{name}": value
        for name, value in zip(class_names(spec), values.tolist(), strict=True)
        if value == value
    }


def class_names(spec: LabelSpec) -> list[str]:
    """The classes' names as parts of keys: lower-case words joined by `-`; else their numbers."""
    names = [re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") for name in spec.names]
    usable = len(set(names)) == spec.classes and all(names)
    return names if usable else [str(number) for number in range(spec.classes)]


class ClassDeviation:
    """Standard deviation of pixels within classes, over images that come in parts."""

    def __init__(self, classes: int) -> None:
        self._count = torch.zeros(classes, dtype=torch.float64)
        self._sum = torch.zeros(classes, 0, dtype=torch.float64)  # [classes, pixels] when known
        self._squares = self._sum

    def add(self, images: Tensor, classes: Tensor) -> None:
        """Images [N, C, H, W], all of one size, and the class of each, int64 [N]."""
        pixels = images.flatten(1).double()
        if not self._sum.numel():
            self._sum, self._squares = pixels.new_zeros(2, len(self._count), pixels.shape[1])
        self._count.index_add_(0, classes, torch.ones_like(classes, dtype=torch.float64))
        self._sum.index_add_(0, classes, pixels)
        self._squares.index_add_(0, classes, pixels.square())

    def each(self) -> Tensor:
        """For each class the mean over pixels of their standard deviation, float64 [classes];
        NaN where a class has fewer than two images."""
        count = self._count[:, None]
        variance = (self._squares - self._sum.square() / count) / (count - 1)
        deviation = variance.clamp_min(0).sqrt().mean(1)
        return deviation.where(self._count > 1, deviation.new_tensor(torch.nan))


def look(judge: Judge, parts: Parts) -> Looked:
    """What a judge finds in images, which come in parts with the class that each is to be; where
    that is not said, it is the class found."""
    deviation = ClassDeviation(judge.classes.classes)
    features, logits, classes = [], [], []
    for images, given in parts:
        found, scores = judge.look(images)
        classes.append(scores.argmax(1) if given is None else given)
        deviation.add(images, classes[-1])
        features.append(found)
        logits.append(scores)
    probabilities = torch.cat(logits).double().softmax(1)
    return Looked(torch.cat(features), probabilities, torch.cat(classes), deviation.each())


def _samples(run: Run, generator: str, options: Any, classes: int | None) -> Parts:
    """A generator's samples; classes: how many it is asked for in turn, None if for none."""
    for start in range(0, options.count, AT_ONCE):
        count, seed = min(AT_ONCE, options.count - start), options.seed + start
        images = run.sample(count, seed=seed, generator=generator)
        if not images.isfinite().all():
            raise GanforgeError(f"generator '{generator}' makes images that are not finite")
        # Left to itself, sampling asks for class (seed modulo classes).
        yield images, None if classes is None else torch.arange(seed, seed + count) % classes


def _real(data: Labelled, split: str, rows: Tensor) -> Parts:
    for part in rows.split(AT_ONCE):
        real = data.read(split, part)
        yield real.pixels(), real.labels


def _judged_generators(run: Run) -> dict[str, tuple[str, bool]]:
    """The generators that make labelled images from what is drawn -> (domain of the data, whether
    they are given the label)."""
    labels = judged_domains(run)
    found = {}
    for name, plan in run.plan.generators.items():
        domain = judged_as(run, plan.target, labels)
        sources = dict(run.leaves(run.plan.generators[name]))
        drawn = all(isinstance(spec, (NoiseSpec, LabelSpec)) for spec in sources.values())
        if domain and drawn:
            found[name] = (domain, labels[domain] in sources)
    if not found:
        raise GanforgeError(
            f"class-accuracy needs a generator that makes {' or '.join(labels)} from noise and "
            f"labels; this run has {', '.join(run.plan.generators)}"
        )
    return found
