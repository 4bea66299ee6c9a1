"""How well a run's own classifier distinguishes the classes of held-out data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganforge import GanforgeError, LabelSpec, Metric

if TYPE_CHECKING:
    from ganforge import Run


class ClassifierAccuracy(Metric):
    """For each discriminator that classifies, alone or by a head that a loss hung on it (its name
    stands before each figure where there are several):

    accuracy           share of held-out items whose class it finds, among the real classes
    smallest-accuracy  that of the class that it finds worst
    cross-entropy      mean of -log p(y | x, real), in nats
    """

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._protocol = "the run's own classifier on held-out data"

    @staticmethod
    def closed_forms() -> Iterable[tuple[str, float, float]]:
        """Three of four right, one of two in the worse class; even logits cost log 2 each."""
        scores = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        figures = class_figures(scores, torch.tensor([0, 0, 1, 1]))
        yield "accuracy", figures["accuracy"], 0.75
        yield "smallest accuracy", figures["smallest-accuracy"], 0.5
        even = class_figures(torch.zeros(2, 2), torch.tensor([0, 1]))
        yield "cross-entropy", even["cross-entropy"], math.log(2)

    def measure(self, run: Run) -> Mapping[str, float]:
        judged = _judged(run)
        figures: dict[str, float] = {}
        for name, (domain, label) in judged.items():
            items, labels = (run.held_out(d, self.options.count) for d in (domain, label))
            prefix = f"{name}/" if len(judged) > 1 else ""
            found = class_figures(run.class_scores(items, name), labels.cpu())
            figures |= {prefix + key: value for key, value in found.items()}
            self._note_protocol(run, len(labels))
        return figures

    def _note_protocol(self, run: Run, count: int) -> None:
        data = run.dataset()
        held = all(data.count("test", domain) for domain in data.description.domains)
        rows = "held-out rows" if held else "training rows (no others are held out)"
        self._protocol = (
            f"first {count:,} {rows} of {run.plan.data.component.name}, unaugmented; accuracy = "
            "share whose largest class score, fake apart, is their label's; not averaged weights"
        )

    def protocol(self) -> str:
        return self._protocol


def class_figures(scores: Tensor, labels: Tensor) -> dict[str, float]:
    """Logits [N, classes], int64 [N] -> the figures of one classifier."""
    right = (scores.argmax(1) == labels).double()
    counts = torch.bincount(labels, minlength=scores.shape[1])
    each = torch.bincount(labels, right, minlength=scores.shape[1]) / counts
    return {
        "accuracy": float(right.mean()),
        "smallest-accuracy": float(each[counts > 0].min()),
        "cross-entropy": float(torch.nn.functional.cross_entropy(scores.double(), labels)),
    }


def _judged(run: Run) -> dict[str, tuple[str, str]]:
    """Discriminator -> the domains of held-out items and of their labels."""
    rows = run.plan.data.description
    found = {}
    for name, plan in run.plan.discriminators.items():
        domain = run.plan.domains[plan.on].of or plan.on
        domain = rows.labelled.get(domain, domain)
        label = rows.labels_of(domain)
        if label is not None and isinstance(rows.domains[label], LabelSpec) and not plan.given:
            found[name] = (domain, label)
    if not found:
        raise GanforgeError(
            "classifier-accuracy needs a discriminator of labelled data without a condition; "
            f"this run has {', '.join(run.plan.discriminators)}"
        )
    return found
