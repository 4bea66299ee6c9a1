"""Dense layers by oneDNN give what PyTorch's give, where they are asked for."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from ganforge.hardware import machine, matmul
from ganforge.hardware.machine import decide
from ganforge.hardware.matmul import LEAST, by_onednn, fits, linear
from ganforge.interfaces.settings import TrainSettings

pytestmark = pytest.mark.skipif(not matmul.offered(), reason="this PyTorch has no such products")


@pytest.fixture
def asked(monkeypatch) -> list[tuple[int, ...]]:
    """The shapes of what oneDNN is asked to multiply."""
    shapes: list[tuple[int, ...]] = []
    before = matmul.linear

    def noting(rows, weight, bias):
        shapes.append((*rows.shape, len(weight)))
        return before(rows, weight, bias)

    monkeypatch.setattr(matmul, "linear", noting)
    return shapes


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def test_values_and_gradients_are_those_of_float64() -> None:
    rows, weight, bias, pull = drawn(40, 70), drawn(50, 70), drawn(50), drawn(40, 50)
    made = [t.clone().requires_grad_() for t in (rows, weight, bias)]
    exact = [t.double().requires_grad_() for t in (rows, weight, bias)]
    value, true = linear(*made), F.linear(*exact)
    torch.testing.assert_close(value.double(), true, rtol=1e-5, atol=1e-4)
    value.backward(pull)
    true.backward(pull.double())
    for one, other in zip(made, exact, strict=True):
        assert one.grad.stride() == other.grad.stride()  # optimizers go by memory order
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-5, atol=1e-4)


def test_a_penalty_on_gradients_is_differentiated_as_in_float64() -> None:
    def penalty(apply, rows, weight, bias):
        scores = apply(rows, weight, bias).tanh()
        (gradient,) = torch.autograd.grad(scores.sum(), rows, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), (rows, weight, bias))

    values = drawn(36, 34) / 6, drawn(33, 34) / 6, drawn(33)
    found = penalty(linear, *(v.clone().requires_grad_() for v in values))
    true = penalty(F.linear, *(v.double().requires_grad_() for v in values))
    for one, other in zip(found, true, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-5)


def test_only_what_trains_in_float32_with_many_rows_is_asked_of_onednn(asked) -> None:
    network = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 1))
    by_onednn(network)
    network(drawn(LEAST, 64))
    assert asked == [(LEAST, 64, 96)]  # not the layer of one output
    asked.clear()
    network(drawn(LEAST - 1, 64))
    with torch.autocast("cpu", torch.bfloat16):
        network(drawn(64, 64))
    network.eval()(drawn(64, 64))
    assert asked == []
    assert not fits(drawn(40, 40).double()) and not fits(drawn(40))


def test_rows_may_have_any_number_of_axes(asked) -> None:
    layer = nn.Linear(40, 48)
    plain = copy.deepcopy(layer)
    by_onednn(layer)
    words = drawn(5, 9, 40)
    torch.testing.assert_close(layer(words), plain(words), rtol=1e-5, atol=1e-5)
    assert asked == [(45, 40, 48)]


@pytest.mark.parametrize("norm", [weight_norm, spectral_norm])
def test_layers_of_a_class_of_their_own_stay_what_they_are(norm, asked) -> None:
    layer = norm(nn.Linear(40, 48))
    before = type(layer)
    by_onednn(layer)
    layer(drawn(33, 40))
    assert type(layer) is before and asked == []


def test_copies_are_layers_of_their_own() -> None:
    layer = nn.Linear(40, 48)
    by_onednn(layer)
    twin = copy.deepcopy(layer)
    with torch.no_grad():
        twin.weight.zero_()
        twin.bias.zero_()
    assert twin(drawn(33, 40)).abs().max() == 0 and layer(drawn(33, 40)).abs().max() > 0


@pytest.mark.parametrize(
    "intel, wanted, taken",
    [
        (True, "auto", "torch"),
        (False, "auto", "onednn"),
        (True, "onednn", "onednn"),
        (False, "torch", "torch"),
    ],
)
def test_the_processor_decides_unless_the_recipe_does(intel, wanted, taken, monkeypatch) -> None:
    monkeypatch.setattr(machine, "_is_intel", lambda: intel)
    decided = decide(TrainSettings(steps=1, device="cpu", products=wanted))
    assert decided.products == taken
    assert decided.locked()["products"] == decided.facts()["products"] == taken


def test_elsewhere_pytorch_multiplies(monkeypatch) -> None:
    monkeypatch.setattr(matmul, "offered", lambda: False)
    assert decide(TrainSettings(steps=1, device="cpu", products="onednn")).products == "torch"
