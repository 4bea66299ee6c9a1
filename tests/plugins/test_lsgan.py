"""The least squares loss."""

import inspect

import pytest
import torch
from ganforge_lsgan.losses import LeastSquares
from ganforge_lsgan.plugin import LeastSquaresOptions, ganforge_components

from ganforge.plugin import Impossible

(COMPONENT,) = ganforge_components()


def loss(**options):
    return LeastSquares(LeastSquaresOptions(**options))


def test_values_are_plain_squares_per_score():
    real, fake = torch.tensor([[3.0, 0.5]]), torch.tensor([[-2.0, 0.25]])
    terms = loss().discriminator(real, fake)
    assert terms["real"].tolist() == [[4.0, 0.25]]
    assert terms["fake"].tolist() == [[4.0, 0.0625]]
    assert loss().generator(fake).tolist() == [[9.0, 0.5625]]


def test_minus_one_one_zero_targets():
    targets = loss(fake=-1, real=1, wanted=0)
    terms = targets.discriminator(torch.tensor([1.0]), torch.tensor([-1.0]))
    assert terms["real"].item() == terms["fake"].item() == 0
    assert targets.generator(torch.tensor([2.0])).item() == 4
    assert targets.decision_threshold == 0


@pytest.mark.parametrize(("score", "direction"), [(5.0, -1), (1.5, -1), (0.5, 1), (-3.0, 1)])
def test_generator_pulls_samples_to_the_target_also_from_beyond_it(score, direction):
    scores = torch.tensor([score], requires_grad=True)
    loss().generator(scores).sum().backward()
    assert torch.sign(-scores.grad).item() == direction, "a descent step goes the other way"


def test_discriminator_pulls_real_scores_back_from_beyond_their_target():
    real = torch.tensor([4.0], requires_grad=True)
    loss().discriminator(real, torch.zeros(1))["real"].sum().backward()
    assert real.grad.item() == 6


def test_boundary_lies_half_way():
    assert loss().decision_threshold == 0.5
    assert loss(real=3, fake=-1).decision_threshold == 1


@pytest.mark.parametrize("targets", [{"real": 0.0}, {"real": -1.0, "fake": 1.0}])
def test_check_refuses_targets_in_the_wrong_order(targets):
    with pytest.raises(Impossible, match="real above fake") as error:
        COMPONENT.check(LeastSquaresOptions(**targets))
    assert error.value.key == "real"


def test_check_accepts_the_defaults():
    COMPONENT.check(LeastSquaresOptions())


def test_needs_are_the_parameters_of_the_methods():
    for side, needs in COMPONENT.needs.items():
        parameters = inspect.signature(getattr(LeastSquares, side)).parameters
        assert tuple(parameters)[1:] == tuple(needs)
