"""The Wasserstein objective and the gradient penalty."""

import inspect

import pytest
import torch
from ganforge_wgan.losses import GradientPenalty, Wasserstein
from ganforge_wgan.plugin import GradientPenaltyOptions, WassersteinOptions, ganforge_components
from gradient_losses import NORMS, before_and_after, game_with, turn_of

COMPONENTS = {c.name: c for c in ganforge_components()}


def wasserstein(**options):
    return Wasserstein(WassersteinOptions(**options))


def penalty(**options):
    return GradientPenalty(GradientPenaltyOptions(**options))


def test_sides_widen_and_close_the_gap():
    real, fake = torch.tensor([[2.0, -1.0]]), torch.tensor([[0.5, 3.0]])
    terms = wasserstein().discriminator(real, fake)
    assert terms.keys() == {"real", "fake"}
    assert terms["real"].tolist() == [[-2.0, 1.0]]
    assert terms["fake"].tolist() == [[0.5, 3.0]]
    assert wasserstein().generator(fake).tolist() == [[-0.5, -3.0]]
    assert wasserstein().decision_threshold is None


def test_drift_holds_real_scores_near_0():
    terms = wasserstein(drift=0.001).discriminator(torch.tensor([-3.0, 2.0]), torch.zeros(2))
    assert terms["drift"].tolist() == pytest.approx([0.009, 0.004])


def test_estimate_is_the_gap_of_the_mean_scores():
    values = {"real": torch.tensor(-2.5), "fake": torch.tensor(0.75), "drift": torch.tensor(9.0)}
    assert wasserstein().observe("discriminator", values)["wasserstein-estimate"].item() == 1.75
    assert wasserstein().observe("generator", {"loss": torch.tensor(1.0)}) == {}


def test_penalty_by_hand():
    gradient = torch.tensor([[[3.0, 4.0]], [[0.6, 0.0]], [[0.0, 0.0]]])  # lengths 5, 0.6, 0
    assert penalty().discriminator(gradient).tolist() == pytest.approx([16.0, 0.16, 1.0])
    one = penalty(sides="one").discriminator(gradient)
    assert one.tolist() == pytest.approx([16.0, 0.0, 0.0])
    assert penalty(target=5.0).discriminator(gradient)[0].item() == 0
    zero = penalty(target=0.0).discriminator(gradient)
    assert zero.tolist() == pytest.approx([25.0, 0.36, 0.0])


@pytest.mark.parametrize("sides", ["one", "two"])
def test_a_vanishing_gradient_is_no_fault(sides):
    gradient = torch.zeros(2, 3, requires_grad=True)
    penalty(sides=sides).discriminator(gradient).sum().backward()
    assert gradient.grad.isfinite().all()


def test_the_penalty_looks_between_real_and_fake(tmp_path):
    turn, plan = turn_of(game_with(tmp_path, "[losses.gradient-penalty]\nweight = 10.0"))
    real, fake, mixed = (
        turn.input_of("main", kind, "main").data for kind in ("real", "fake", "mixed")
    )
    along = ((mixed - fake) * (real - fake)).flatten(1).sum(1)
    share = along / (real - fake).flatten(1).square().sum(1)
    assert ((share >= 0) & (share <= 1)).all() and len(share.unique()) == len(share)
    torch.testing.assert_close(mixed, torch.lerp(fake, real, share[:, None, None, None]))
    gradient = turn.pairing("main", "main", "plain", "mixed_gradient")
    ((_, terms),) = turn.game.terms(plan, turn)
    lengths = gradient.detach().square().flatten(1).sum(1).sqrt()
    torch.testing.assert_close(terms["loss"], (lengths - 1).square().mean())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("target", [0.01, 10.0])
def test_it_draws_ds_slope_to_the_target(tmp_path, norm, precision, target):
    text = f"[losses.gradient-penalty]\nweight = 20.0\ntarget = {target}"
    before, after = before_and_after(game_with(tmp_path, text, norm, precision))
    assert 0 < after < before


def test_a_linear_critic_of_slope_1_finds_the_wasserstein_distance():
    """Two points 3 apart: D(x) = x has slope 1 and attains the distance 3."""
    real, fake = torch.tensor([4.0]), torch.tensor([1.0])
    values = {k: v.mean() for k, v in wasserstein().discriminator(real, fake).items()}
    assert wasserstein().observe("discriminator", values)["wasserstein-estimate"].item() == 3
    assert penalty().discriminator(torch.ones(1, 1)).item() == 0


def test_needs_are_the_parameters_of_the_methods():
    for name, cls in (("wasserstein", Wasserstein), ("gradient-penalty", GradientPenalty)):
        for side, needs in COMPONENTS[name].needs.items():
            assert tuple(inspect.signature(getattr(cls, side)).parameters)[1:] == tuple(needs)
