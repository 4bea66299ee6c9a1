"""The Frechet distance between two sets of features."""

from __future__ import annotations

import torch
from torch import Tensor


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Squared Frechet distance between Gaussians fitted to features [N, D] and [M, D]:

        |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2)

    (Dowson and Landau 1982; arXiv:1706.08500, equation 6). Computed in float64.
    """
    (mean, covariance), (other_mean, other_covariance) = moments(first), moments(second)
    values, vectors = torch.linalg.eigh(covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    # The trace of a root is the sum of the roots of the eigenvalues.
    shared = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp_min(0).sqrt().sum()
    distance = (mean - other_mean).square().sum() - 2 * shared
    return max(0.0, float(distance + covariance.trace() + other_covariance.trace()))


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and covariance [D, D] of features [N, D], float64; N - 1 in the denominator."""
    features = features.double()
    mean = features.mean(0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)
