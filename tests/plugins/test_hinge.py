"""The hinge loss."""

import inspect

import pytest
import torch
from ganforge_hinge.losses import Hinge
from ganforge_hinge.plugin import HingeOptions, ganforge_components

(COMPONENT,) = ganforge_components()


def loss(**options):
    return Hinge(HingeOptions(**options))


def test_values_by_hand():
    real, fake = torch.tensor([[2.0, 0.25, -3.0]]), torch.tensor([[-1.5, -0.25, 2.0]])
    terms = loss().discriminator(real, fake)
    assert terms["real"].tolist() == [[0.0, 0.75, 4.0]]
    assert terms["fake"].tolist() == [[0.0, 0.75, 3.0]]
    assert loss().generator(fake).tolist() == [[1.5, 0.25, -2.0]]


def test_margin_is_the_score_that_satisfies():
    terms = loss(margin=0.5).discriminator(torch.tensor([0.25, 0.5]), torch.tensor([0.0, -0.75]))
    assert terms["real"].tolist() == [0.25, 0.0]
    assert terms["fake"].tolist() == [0.5, 0.0]


@pytest.mark.parametrize(("score", "slopes"), [(-2.0, (-1, 0)), (0.0, (-1, 1)), (2.0, (0, 1))])
def test_discriminator_learns_only_from_scores_within_the_margin(score, slopes):
    real = torch.tensor([score], requires_grad=True)
    fake = torch.tensor([score], requires_grad=True)
    terms = loss().discriminator(real, fake)
    (terms["real"] + terms["fake"]).sum().backward()
    assert (real.grad.item(), fake.grad.item()) == slopes


@pytest.mark.parametrize("score", [-20.0, 0.0, 20.0])
def test_generator_learns_equally_from_every_score(score):
    fake = torch.tensor([score], requires_grad=True)
    loss().generator(fake).sum().backward()
    assert fake.grad.item() == -1


def test_scores_above_0_mean_real():
    assert loss().decision_threshold == 0


def test_needs_are_the_parameters_of_the_methods():
    for side, needs in COMPONENT.needs.items():
        assert tuple(inspect.signature(getattr(Hinge, side)).parameters)[1:] == tuple(needs)
