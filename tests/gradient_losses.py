"""Small DCGAN games in which losses that read D's gradient are held to what they promise."""

from __future__ import annotations

from pathlib import Path

import torch
from playing import QUIET, training_of

from ganforge.game.batch import Batch
from ganforge.game.turn import Turn
from ganforge.planning.plan import LossPlan
from ganforge.training.trainer import Training

NORMS = ("none", "batch", "spectral", "weight")

RECIPE = """
recipe = 1
name = "dots"
[data]
use = "dots"
size = 16
[train]
steps = 3
batch = 6
precision = "{precision}"
device = "cpu"
[noise]
dim = 5
[optimizer]
use = "sgd"
lr = {lr}
[generator]
use = "dcgan"
width = 4
freeze = true
init = {{ normal = 0.2 }}
[discriminator]
use = "dcgan"
width = 4
norm = "{norm}"
[losses.adversarial]
use = "wasserstein"
weight = {{ discriminator = 1e-6, generator = 1.0 }}
"""


def turn_of(training: Training) -> tuple[Turn, LossPlan]:
    """D's turn over the first batch, and the plan of the loss that reads a gradient."""
    game = training.game
    if game.phase is None:
        game.enter(training.plan.phases[0])
    game.open_side("discriminator")
    plan = list(training.plan.losses.values())[-1]
    batch = Batch(game, 0, slice(0, 6), graph=False)
    return Turn(batch, "discriminator", 1, game.wants([plan], "discriminator")), plan


def game_with(
    folder: Path, loss: str, norm: str = "none", precision: str = "fp32", lr: float = 1e-3
) -> Training:
    """A game with this loss, TOML, beside the adversarial one, of which D follows next to nothing;
    G stands still, so that a batch always holds the same fakes."""
    text = RECIPE.format(precision=precision, norm=norm, lr=lr) + loss + QUIET
    training = training_of(folder, text)
    with torch.no_grad():  # D's usual weights are so small that its gradients hardly count
        for name, parameter in training.game.networks["discriminators.main"].named_parameters():
            if name.endswith("original0"):
                parameter.fill_(1.0)  # lengths of normalised weights
            elif parameter.dim() > 1:
                parameter.mul_(5.0)
    return training


def value(training: Training) -> float:
    """The loss over the first batch."""
    turn, plan = turn_of(training)
    ((_, terms),) = turn.game.terms(plan, turn)
    return terms["loss"].item()


def before_and_after(training: Training) -> tuple[float, float]:
    """The loss over the first batch before and after three steps, in which D's parameters stay
    finite."""
    before = value(training)
    training.run()
    D = training.game.networks["discriminators.main"]
    assert training.step == 3 and all(p.isfinite().all() for p in D.parameters())
    return before, value(training)
