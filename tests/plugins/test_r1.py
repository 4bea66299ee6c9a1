"""Zero-centred gradient penalties."""

import copy
import inspect

import pytest
import torch
from ganforge_r1.losses import R1, R2
from ganforge_r1.plugin import ganforge_components
from gradient_losses import NORMS, before_and_after, game_with, turn_of

COMPONENTS = {c.name: c for c in ganforge_components()}
BOTH = pytest.mark.parametrize(("name", "kind"), [("r1", "real"), ("r2", "fake")])


def loss(name):
    return {"r1": R1, "r2": R2}[name](COMPONENTS[name].options())


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_value_is_half_the_squared_length_of_each_samples_gradient(name):
    gradient = torch.tensor([[[[3.0, 4.0]]], [[[0.0, 0.0]]]])
    assert loss(name).discriminator(gradient).tolist() == [12.5, 0.0]


@BOTH
def test_the_gradient_is_that_of_the_scores_at_the_right_data(tmp_path, name, kind):
    """Against numbers: D's score at x + h and x - h."""
    turn, plan = turn_of(game_with(tmp_path, f"[losses.{name}]"))
    data = turn.input_of("main", kind, "main").data
    gradient = turn.pairing("main", "main", "plain", f"{kind}_gradient")
    direction = torch.randn_like(data).double()
    D = copy.deepcopy(turn.game.networks["discriminators.main"]).double()
    h = 1e-6
    with torch.no_grad():
        rise = (D(data + h * direction).scores - D(data - h * direction).scores) / (2 * h)
    torch.testing.assert_close((gradient * direction).flatten(1).sum(1), rise, atol=1e-5, rtol=1e-4)
    ((_, terms),) = turn.game.terms(plan, turn)
    torch.testing.assert_close(terms["loss"], gradient.flatten(1).square().sum(1).mean() / 2)


@BOTH
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_flattens_d_whatever_its_norm_and_precision(tmp_path, name, kind, norm, precision):
    training = game_with(tmp_path, f"[losses.{name}]\nweight = 20.0", norm, precision)
    before, after = before_and_after(training)
    assert 0 < after < before


@BOTH
def test_it_may_be_played_lazily(tmp_path, name, kind):
    training = game_with(tmp_path, f"[losses.{name}]\nevery = 16\nweight = 5.0")
    turn, plan = turn_of(training)
    playing = [s for s in range(1, 34) if plan in turn.game.active("discriminator", s, s - 1)]
    assert playing == [1, 17, 33]


def test_needs_are_the_parameters_of_the_methods():
    for name, cls in (("r1", R1), ("r2", R2)):
        (needs,) = COMPONENTS[name].needs.values()
        assert tuple(inspect.signature(cls.discriminator).parameters)[1:] == tuple(needs)
