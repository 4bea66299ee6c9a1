"""The relativistic objective."""

import inspect

import pytest
import torch
from ganforge_relativistic.losses import Relativistic
from ganforge_relativistic.plugin import RelativisticOptions, ganforge_components
from playing import ONE_PAIR, training_of

(COMPONENT,) = ganforge_components()


def loss(against="pair"):
    return Relativistic(RelativisticOptions(against=against))


def test_a_pair_is_judged_by_the_probability_that_real_is_realer():
    real, fake = torch.tensor([[2.0, -1.0]]), torch.tensor([[0.5, 3.0]])
    torch.testing.assert_close(
        loss().discriminator(real, fake), -torch.log(torch.sigmoid(real - fake))
    )
    torch.testing.assert_close(loss().generator(real, fake), -torch.log(torch.sigmoid(fake - real)))


def test_equal_scores_cost_log_2():
    scores = torch.full((3,), 7.0)
    for values in (loss().discriminator(scores, scores), loss().generator(scores, scores)):
        assert values.tolist() == pytest.approx([0.6931472] * 3)


def test_against_the_mean_each_kind_is_compared_with_the_others_mean():
    real, fake = torch.tensor([2.0, -1.0, 0.5]), torch.tensor([0.5, 3.0, -2.0])
    realer = torch.sigmoid(real - fake.mean())
    faker = torch.sigmoid(fake - real.mean())
    terms = loss("mean").discriminator(real, fake)
    torch.testing.assert_close(terms["real"], -torch.log(realer))
    torch.testing.assert_close(terms["fake"], -torch.log(1 - faker))
    terms = loss("mean").generator(real, fake)
    torch.testing.assert_close(terms["real"], -torch.log(1 - realer))
    torch.testing.assert_close(terms["fake"], -torch.log(faker))


@pytest.mark.parametrize("against", ["pair", "mean"])
def test_only_differences_count(against):
    real, fake = torch.randn(5), torch.randn(5)
    for side in ("discriminator", "generator"):
        plain = getattr(loss(against), side)(real, fake)
        shifted = getattr(loss(against), side)(real + 3, fake + 3)
        torch.testing.assert_close(plain, shifted, atol=1e-5, rtol=1e-5)
    assert loss().decision_threshold is None


@pytest.mark.parametrize("against", ["pair", "mean"])
def test_sides_pull_in_opposite_directions(against):
    for side, direction in (("discriminator", -1), ("generator", 1)):
        real, fake = (torch.zeros(4, requires_grad=True) for _ in range(2))
        values = getattr(loss(against), side)(real, fake)
        total = sum(v.sum() for v in values.values()) if isinstance(values, dict) else values.sum()
        total.backward()
        assert (real.grad * direction > 0).all() and (fake.grad * direction < 0).all()


@pytest.mark.parametrize("against", ["pair", "mean"])
def test_extreme_scores_and_patches_stay_finite(against):
    real, fake = torch.full((2, 3, 3), 1e4), torch.full((2, 3, 3), -1e4)
    for values in (
        loss(against).discriminator(real, fake),
        loss(against).generator(real, fake),
    ):
        for value in values.values() if isinstance(values, dict) else (values,):
            assert value.shape == (2, 3, 3) and value.isfinite().all()


def test_it_trains_both_sides(tmp_path):
    training = training_of(tmp_path, ONE_PAIR.replace("non-saturating", "relativistic"))
    before = {name: parameter.clone() for name, parameter in parameters(training)}
    training.run()
    still = {
        name for name, parameter in parameters(training) if torch.equal(before[name], parameter)
    }
    assert still <= {"discriminators.main/score.bias"}, "which every difference of scores cancels"


def parameters(training):
    for address, network in training.game.networks.items():
        for name, parameter in network.named_parameters():
            yield f"{address}/{name}", parameter


def test_needs_are_the_parameters_of_the_methods():
    for side, needs in COMPONENT.needs.items():
        assert tuple(inspect.signature(getattr(Relativistic, side)).parameters)[1:] == tuple(needs)
