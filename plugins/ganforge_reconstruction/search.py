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
FAINT = 1e-4  # least mean square of gradients along a direction, against all directions' mean


def rmsprop(objective: Objective, codes: Tensor, steps: int, lr: float) -> tuple[Tensor, Tensor]:
    """The paper's search (arXiv:1704.03971, section 4.2). Returns the last codes and losses."""
    squares = torch.zeros_like(codes)
    for _ in range(steps):
        gradients = objective(codes)[1]
        squares = torch.lerp(gradients.square(), squares, 0.99)
        codes = codes - lr * gradients / (squares.sqrt() + 1e-8)
    return codes, objective(codes)[0]


def bfgs(
    objective: Objective, codes: Tensor, steps: int, first: Tensor, reach: float
) -> tuple[Tensor, Tensor]:
    """The method of Broyden, Fletcher, Goldfarb and Shanno, in `steps` evaluations.

    Each row learns an inverse Hessian of its own, which begins as `first`, [D, D]. No step is
    longer than `reach`, so that a search ends near its start; one that does not bring the loss down
    is halved. Returns the codes that were lowest and their losses.
    """
    losses, gradients = objective(codes)
    inverse = first.expand(len(codes), -1, -1).clone()
    directions = downwards(inverse, gradients, reach)
    share = codes.new_ones(len(codes), 1)
    for _ in range(steps - 1):
        tried = codes + share * directions
        tried_losses, tried_gradients = objective(tried)
        promised = share * dot(gradients, directions)
        lower = tried_losses[:, None] <= losses[:, None] + ENOUGH * promised
        learn(inverse, tried - codes, tried_gradients - gradients, lower)
        codes = torch.where(lower, tried, codes)
        losses = torch.where(lower[:, 0], tried_losses, losses)
        gradients = torch.where(lower, tried_gradients, gradients)
        directions = torch.where(lower, downwards(inverse, gradients, reach), directions)
        share = torch.where(lower, 1.0, share / 2)
    return codes, losses


def downwards(inverse: Tensor, gradients: Tensor, reach: float) -> Tensor:
    """Newton's steps for inverse Hessians [N, D, D], no longer than `reach`, [N, D]."""
    steps = -torch.bmm(inverse, gradients[:, :, None])[:, :, 0]
    return steps * (reach / steps.norm(dim=1, keepdim=True).clamp_min(reach))


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
