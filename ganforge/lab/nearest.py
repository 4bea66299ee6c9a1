"""Which training images are nearest to samples, and whether samples are copies of them."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from ganforge.lab.features import Eye

NEIGHBOURS = 10  # that the nearest image is compared with
LIKELY = 0.01  # a p-value below is no accident
SCORE = 0.6  # more is no trifle
COPIES = 0.1
_AT_ONCE = 256


@frozen
class Copying:
    """Whether samples lie nearer to training images than held-out images do.

    score: the share of pairs of a sample and a held-out image in which the sample is nearer to what
    it is nearest to; 0.5 where they are alike, 1 where every sample is a copy. p: how likely so
    high a score is by chance (Mann and Whitney 1947, one-sided), were samples independent, which
    those of a collapsed generator are not. copies: the share of samples that are nearer than 99 %
    of the held-out images.
    """

    score: float
    p: float
    copies: float
    samples: int
    held_out: int
    training: int
    seen_by: str

    @property
    def memorised(self) -> bool:
        return self.nearer and self.copies > COPIES

    @property
    def nearer(self) -> bool:
        """Whether samples as a whole lie nearer than chance and trifles explain."""
        return self.p < LIKELY and self.score > SCORE


def nearest(seen: Tensor, training: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(distances, rows) of the nearest training images, [N, <= count] each, the nearest first.

    seen, training: vectors [N, D] and [M, D]. Distances are float64.
    """
    count, training = min(count, len(training)), training.double()
    parts = [_nearest(part.double(), training, count) for part in torch.split(seen, _AT_ONCE)]
    distances, rows = zip(*parts, strict=True)
    return torch.cat(distances), torch.cat(rows)


def _nearest(seen: Tensor, training: Tensor, count: int) -> tuple[Tensor, Tensor]:
    # `cdist` multiplies matrices, which loses what is left of |a|^2 + |b|^2 - 2 ab where a is
    # nearly b. So the few that it finds are measured again, and copies are exactly 0 away.
    rows = torch.cdist(seen, training).topk(count, largest=False).indices
    distances = (seen[:, None] - training[rows]).norm(dim=2)
    distances, order = distances.sort(dim=1, stable=True)
    return distances, rows.gather(1, order)


def copying(samples: Tensor, held_out: Tensor, training: Tensor, eye: Eye) -> Copying:
    """Compare samples with held-out images by how near each is to its nearest training image.

    As in the test of arXiv:2004.05675, ranks of distances are compared. Since blurred images lie
    nearer to all others, each distance is taken in units of the mean distance to the ten images
    that come next. All are images [N, C, H, W] in [-1, 1].
    """
    from scipy.stats import mannwhitneyu

    known = eye.see(training)
    ours, theirs = (_closeness(eye.see(images), known) for images in (samples, held_out))
    result = mannwhitneyu(ours.numpy(), theirs.numpy(), alternative="less", method="asymptotic")
    return Copying(
        score=1 - float(result.statistic) / (len(ours) * len(theirs)),
        p=float(result.pvalue),
        copies=float((ours < theirs.quantile(0.01)).double().mean()),
        samples=len(samples),
        held_out=len(held_out),
        training=len(training),
        seen_by=eye.name,
    )


def _closeness(seen: Tensor, training: Tensor) -> Tensor:
    """Distance to the nearest over the mean distance to those that come next, [N]."""
    distances, _ = nearest(seen, training, 1 + NEIGHBOURS)
    return distances[:, 0] / distances[:, 1:].mean(1).clamp_min(1e-12)
