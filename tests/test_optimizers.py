"""Optimizers, schedules, and moments that survive a file."""

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from ganforge.game import optimizers
from ganforge.interfaces.settings import OPTIMIZERS, Adam, Constant, ConstantThenLinear, Cosine
from ganforge.planning.plan import Chosen


def _factors(options, shares):
    return [optimizers.factor(Chosen("x", options), share) for share in shares]


def test_constant_then_linear_is_constant_and_then_falls_to_zero():
    shares = [0.0, 0.25, 0.5, 0.75, 1.0]
    assert _factors(ConstantThenLinear(constant=0.5), shares) == [1, 1, 1, 0.5, 0]


def test_constant_for_the_whole_run_never_falls():
    assert _factors(ConstantThenLinear(constant=1.0), [0.0, 1.0]) == [1, 1]


def test_cosine_goes_from_one_to_its_floor():
    first, middle, last = _factors(Cosine(floor=0.2), [0.0, 0.5, 1.0])
    assert (first, middle, last) == pytest.approx((1.0, 0.6, 0.2))


def test_a_schedule_may_end_before_the_run_does():
    shares = [0.0, 0.35, 0.525, 0.7, 0.9]
    linear = _factors(ConstantThenLinear(constant=0.5, until=0.7), shares)
    assert linear == pytest.approx([1, 1, 0.5, 0, 0])
    assert _factors(Cosine(floor=0.2, until=0.5), [0.0, 0.25, 0.5, 1.0]) == pytest.approx(
        [1, 0.6, 0.2, 0.2]
    )


def test_warmup_rises_from_zero():
    shares = [0.0, 0.05, 0.1, 0.9]
    assert _factors(Constant(warmup=0.1), shares) == pytest.approx([0, 0.5, 1, 1])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_can_be_made_and_moves_its_parameters(name):
    network = nn.Linear(3, 2)
    before = network.weight.detach().clone()
    optimizer = optimizers.make(Chosen(name, OPTIMIZERS[name]()), network.parameters())
    network(torch.ones(4, 3)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(network.weight, before)


def _trained(steps, through_a_file_after=None):
    """A channels_last convolution under fused Adam, perhaps with its state sent through a file."""
    torch.manual_seed(0)
    network = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
    names = {parameter: f"d/{name}" for name, parameter in network.named_parameters()}
    optimizer = optimizers.make(Chosen("adam", Adam(lr=0.05)), network.parameters())
    for step in range(steps):
        if step == through_a_file_after:
            held = optimizers.state_tensors(optimizer, names)
            file = save({key: value.contiguous().clone() for key, value in held.items()})
            optimizer = optimizers.make(Chosen("adam", Adam(lr=0.05)), network.parameters())
            optimizers.load_state_tensors(optimizer, names, load(file))
        optimizer.zero_grad()
        image = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(step))
        network(image.to(memory_format=torch.channels_last)).square().mean().backward()
        optimizer.step()
    return network.weight.detach()


def test_fused_adam_on_channels_last_weights_goes_on_bit_for_bit_after_a_file():
    assert torch.equal(_trained(8, through_a_file_after=4), _trained(8))


def test_moments_come_back_in_the_memory_layout_of_their_parameter():
    network = nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
    names = {p: n for n, p in network.named_parameters()}
    optimizer = optimizers.make(Chosen("adam", Adam()), network.parameters())
    plain = torch.randn(5, 3, 3, 3)
    optimizers.load_state_tensors(optimizer, names, {"weight/exp_avg": plain})
    kept = optimizer.state[network.weight]["exp_avg"]
    assert kept.stride() == network.weight.stride() != plain.stride()
    assert torch.equal(kept, plain)
