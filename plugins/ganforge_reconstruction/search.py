"""Looking for the noise from which a generator makes an image: searches for many images at once.

An objective takes codes [N, D] to losses [N] and their gradients [N, D]. Each row is a problem of
its own, and nothing here lets it look at another: rows may be searched in any company.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]

ENOUGH = 1e-4  # share of the fall that the slope promises which a step must bring (Armijo)
CURVED = 1e-8  # least cosine between a step and the change of gradient that is learnt from
STUCK = 1e-6  # share of a step below which no further halving will find anything lower
EDGE = 1 - 1e-4  # share of the radius from which on codes count as lying on the edge
FAINT = 1e-4  # least mean square of gradients along a direction, against all directions' mean


def rmsprop(objective: Objective, codes: Tensor, steps: int, lr: float) -> tuple[Tensor, Tensor]:
    """The paper's search (arXiv:1704.03971, section 4.2), without bounds, which its 50 steps would
    not reach. Returns the last codes and their losses."""
    squares = torch.zeros_like(codes)
    for _ in range(steps):
        gradients = objective(codes)[1]
        squares = torch.lerp(gradients.square(), squares, 0.99)
        codes = codes - lr * gradients / (squares.sqrt() + 1e-8)
    return codes, objective(codes)[0]


def bfgs(
    objective: Objective, codes: Tensor, steps: int, radius: float, first: Tensor, longest: float
) -> tuple[Tensor, Tensor]:
    """The method of Broyden, Fletcher, Goldfarb and Shanno, in `steps` evaluations or fewer,
    within `radius` of 0. Returns the codes that were lowest and their losses.

    Each row learns an inverse Hessian of its own, which begins as `first`, [D, D]. No step is
    longer than `longest`, so that a search does not jump out of its valley; one that does not bring
    the loss down is halved.
    """
    codes = within(radius, codes)
    losses, gradients = objective(codes)
    slopes = inwards(radius, codes, gradients)
    inverse = first.expand(len(codes), -1, -1).clone()
    directions = downwards(inverse, slopes, longest)
    share = codes.new_ones(len(codes), 1)
    for _ in range(steps - 1):
        tried = within(radius, codes + share * directions)
        tried_losses, gradients = objective(tried)
        tried_slopes = inwards(radius, tried, gradients)
        moved = tried - codes
        promised = dot(slopes, moved).clamp_max(0)
        lower = tried_losses[:, None] <= losses[:, None] + ENOUGH * promised
        learn(inverse, moved, tried_slopes - slopes, lower)
        codes = torch.where(lower, tried, codes)
        losses = torch.where(lower[:, 0], tried_losses, losses)
        slopes = torch.where(lower, tried_slopes, slopes)
        directions = torch.where(lower, downwards(inverse, slopes, longest), directions)
        share = torch.where(lower, 1.0, share / 2)
        if bool((share < STUCK).all()):
            break
    return codes, losses


def within(radius: float, codes: Tensor) -> Tensor:
    """Codes [N, D], those that are too long cut to `radius`."""
    return codes * (radius / codes.norm(dim=1, keepdim=True).clamp_min(radius))


def inwards(radius: float, codes: Tensor, gradients: Tensor) -> Tensor:
    """Gradients [N, D], at codes as long as `radius` without the part that would lengthen them."""
    length = codes.norm(dim=1, keepdim=True)
    outwards = codes / length.clamp_min(torch.finfo(codes.dtype).tiny)
    along = dot(gradients, outwards)
    return gradients - outwards * torch.where(length > EDGE * radius, along.clamp_max(0), 0.0)


def downwards(inverse: Tensor, slopes: Tensor, longest: float) -> Tensor:
    """Newton's steps for inverse Hessians [N, D, D] and gradients [N, D], cut to `longest`."""
    return within(longest, -torch.bmm(inverse, slopes[:, :, None])[:, :, 0])


def learn(inverse: Tensor, moved: Tensor, changed: Tensor, rows: Tensor) -> None:
    """Fit inverse Hessians [N, D, D] to steps [N, D] and to the changes of gradients [N, D] that
    they brought, in place, where a row is chosen, bool [N, 1], and the loss curves upwards:

        H <- (I - r s y') H (I - r y s') + r s s',  r = 1 / s'y
    """
    curvature = dot(moved, changed)
    least = CURVED * moved.norm(dim=1, keepdim=True) * changed.norm(dim=1, keepdim=True)
    rate = torch.where(rows & (curvature > least), 1 / curvature, 0.0)
    reached = torch.bmm(inverse, changed[:, :, None])[:, :, 0]  # H y
    left = rate * ((1 + rate * dot(changed, reached)) * moved - reached)
    inverse.baddbmm_(torch.stack([left, -rate * moved], 2), torch.stack([moved, reached], 1))


def dot(a: Tensor, b: Tensor) -> Tensor:
    """[N, D], [N, D] -> [N, 1]"""
    return (a * b).sum(1, keepdim=True)


def typical_scale(gradients: Tensor) -> Tensor:
    """(E g g')^-1/2 of gradients [N, D] at drawn codes, a symmetric matrix [D, D].

    What AdaGrad in its full form multiplies gradients by (Duchi, Hazan and Singer 2011): steps of
    about one in every direction, however strongly G's images depend on it.
    """
    values, vectors = torch.linalg.eigh(gradients.T @ gradients / len(gradients))
    spread = values.clamp_min(0) + FAINT * values.mean()
    return (vectors * spread.rsqrt()) @ vectors.T
