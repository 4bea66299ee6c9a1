"""Feature matching."""

import inspect

import pytest
import torch
from ganforge_feature_matching.losses import FeatureMatching
from ganforge_feature_matching.plugin import ganforge_components
from playing import ONE_PAIR, plan_of, training_of

from ganforge.recipes.problems import RecipeError

(COMPONENT,) = ganforge_components()
MATCHING = "[losses.feature-matching]\n"
LOSS = FeatureMatching(COMPONENT.options())


def test_value_by_hand():
    real = torch.tensor([[1.0, 4.0], [3.0, 0.0]])  # means 2, 2
    fake = torch.tensor([[0.0, 1.0], [0.0, 1.0]])  # means 0, 1
    assert LOSS.generator(real, fake).item() == (4 + 1) / 2


def test_only_batch_means_count_whatever_the_shape():
    real, fake = torch.randn(6, 2, 3, 3), torch.randn(6, 2, 3, 3)
    value = LOSS.generator(real, fake)
    torch.testing.assert_close(value, LOSS.generator(real[torch.randperm(6)], fake))
    torch.testing.assert_close(
        value, (real.mean(0) - fake.mean(0)).flatten().square().sum() / 18
    )  # the paper's squared length, over the number of features


def test_it_is_0_with_gradient_0_where_the_means_agree():
    real, fake = torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [2.0]], requires_grad=True)
    value = LOSS.generator(real, fake)
    value.backward()
    assert value.item() == 0 and torch.equal(fake.grad, torch.zeros(2, 1))


def test_generator_moves_its_features_towards_the_real_ones():
    fake = torch.zeros(4, 3, requires_grad=True)
    LOSS.generator(torch.ones(4, 3), fake).backward()
    assert (fake.grad < 0).all()


def test_it_trains_g_beside_a_loss_that_trains_d(tmp_path):
    adversarial = "weight = { discriminator = 1.0, generator = 0.0 }\n"
    training = training_of(
        tmp_path, ONE_PAIR.replace("[hooks]", adversarial + MATCHING + "[hooks]")
    )
    before = [p.clone() for n in training.game.networks.values() for p in n.parameters()]
    training.run()
    after = [p for n in training.game.networks.values() for p in n.parameters()]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_alone_it_is_refused_since_nothing_trains_d(tmp_path):
    alone = ONE_PAIR.replace('use = "non-saturating"', 'use = "feature-matching"')
    with pytest.raises(RecipeError, match="no loss trains discriminator 'main'"):
        plan_of(tmp_path, alone)


def test_needs_are_the_parameters_of_the_method():
    (needs,) = COMPONENT.needs.values()
    assert tuple(inspect.signature(FeatureMatching.generator).parameters)[1:] == tuple(needs)
