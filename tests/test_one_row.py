"""One row of a batch alone, and discriminators that PyTorch cannot follow: right, or told."""

import copy
import sys

import pytest
import torch
from playing import ONE_PAIR, registry, training_of
from torch import nn
from torch.nn import functional as F

from ganforge import Discriminator, DiscriminatorOutput, Generator, Loss
from ganforge.interfaces.errors import PluginError, TrainingError
from ganforge.plugin import Component
from ganforge.testing import Failed, cases_of


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setitem(sys.modules, "test_one_row", sys.modules[__name__])


def convolution(inputs, outputs):
    return nn.Conv2d(inputs, outputs, 3, padding=1)


class Layered(Discriminator):
    """PyTorch's own instance norm between convolutions, as a layer"""

    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.first, self.second = convolution(judged.channels, 8), convolution(8, 8)
        self.norm = nn.InstanceNorm2d(8, affine=True)
        self.last = convolution(8, 1)

    def forward(self, data, given=None):
        return self.last(self.second(self.normalised(self.first(data))))

    def normalised(self, maps):
        return self.norm(maps)


class Called(Layered):
    """The same, called as a function"""

    def normalised(self, maps):
        return F.instance_norm(maps, weight=self.norm.weight, bias=self.norm.bias)


class Careless(Layered):
    """Its own operation reads gradients as they lie in memory"""

    def normalised(self, maps):
        return _AsItLies.apply(maps.contiguous())


class _AsItLies(torch.autograd.Function):
    @staticmethod
    def forward(ctx, maps):
        return maps * 1

    @staticmethod
    def backward(ctx, gradient):
        shape = gradient.shape
        last = gradient.permute(0, 2, 3, 1)
        return last.reshape(shape) if last.is_contiguous() else gradient


class Attentive(Discriminator):
    """Fast attention between the pixels, which has no second derivative on the CPU"""

    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 1)

    def forward(self, data, given=None):
        rows = data.flatten(1).view(len(data), -1, 8)
        seen, _ = self.attention(rows, rows, rows, need_weights=False)
        return self.head(seen.mean(1)).squeeze(1)


class Pair(Layered):
    """Returns two tensors where one belongs"""

    offers = ("features",)

    def forward(self, data, given=None):
        first = self.first(data)
        return DiscriminatorOutput(scores=super().forward(data), features=(first, first))


class Rooted(Layered):
    """The root of a constant has no derivative, and that of the gradient none either"""

    def forward(self, data, given=None):
        scores = super().forward(data)
        return scores + (scores - scores.detach()).square().flatten(1).sum(1).sqrt().view(
            -1, 1, 1, 1
        )


class SlopeOfSlope(Loss):
    """Finite, with a second derivative of the scores that is not"""

    def discriminator(self, real_gradient):
        return (real_gradient - real_gradient.detach()).flatten(1).square().sum(1).sqrt()


class Normed(Generator):
    """A generator with PyTorch's own instance norm"""

    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.first = nn.Linear(sources[0].flat, 8 * target.height * target.width)
        self.norm, self.last = nn.InstanceNorm2d(8), convolution(8, target.channels)
        self.before = convolution(8, 8)

    def forward(self, *sources):
        maps = self.first(sources[0]).view(-1, 8, self.target.height, self.target.width)
        return torch.tanh(self.last(self.norm(self.before(maps))))


def _component(kind, name, cls):
    return Component(kind, name, f"test_one_row:{cls}", provider="tests", version="0")


JUDGES = ("Layered", "Called", "Careless", "Attentive", "Pair", "Rooted")
PARTS = (
    *(_component("discriminator", cls.lower(), cls) for cls in JUDGES),
    _component("generator", "normed", "Normed"),
    _component("loss", "slope-of-slope", "SlopeOfSlope"),
)
MLP = 'use = "mlp"\nhidden = [12]\ndropout = 0.0'
PENALTY = '\n[losses.penalty]\nuse = "gradient-penalty"\n'


def game(folder, judge, more="", sets=()):
    folder.mkdir(exist_ok=True)
    text = ONE_PAIR.replace(MLP, f'use = "{judge}"') + more
    text = text.replace('[generator]\nuse = "mlp"\nhidden = [12]', '[generator]\nuse = "normed"')
    return training_of(folder, text, *PARTS, sets=sets)


def first_gradients(training):
    """Of both sides in the first step, by parameter."""
    found = {}
    update = training._update

    def kept(trained_modules):
        for trained_module in trained_modules:
            found.update({n: p.grad.clone() for p, n in trained_module.names().items()})
        update(trained_modules)

    training._update = kept
    training.take_step(1)
    return found


@pytest.mark.parametrize("sets", [("train.batch=1",), ("train.batch=2", "train.accumulate=2")])
@pytest.mark.parametrize("judge", ["layered", "called"])
def test_rows_played_one_by_one_learn_alike_in_both_memory_layouts(tmp_path, judge, sets):
    sets = (*sets, 'optimizer.use="sgd"')
    one, other = (
        first_gradients(game(tmp_path / layout, judge, sets=(*sets, f'train.layout="{layout}"')))
        for layout in ("contiguous", "channels_last")
    )
    assert one.keys() == other.keys() and len(one) > 8
    for name, gradient in one.items():
        apart = (other[name] - gradient).norm()
        assert apart <= 1e-3 * (gradient.norm() + 1e-3), name


def case(name, check):
    (found,) = (
        c
        for c in cases_of("tests", registry=registry(*PARTS))
        if c.component.name == name and c.check == check
    )
    return found


def test_the_kit_plays_one_row_in_both_layouts():
    for name in ("layered", "called", "normed"):
        case(name, "one-row").run()
    with pytest.raises(Failed, match="for one row alone, the gradient of 'first"):
        case("careless", "one-row").run()


def test_a_discriminator_without_a_second_derivative_is_told_in_a_line(tmp_path):
    training = game(tmp_path, "attentive", PENALTY)
    with pytest.raises(TrainingError) as caught:
        training.run()
    said = str(caught.value)
    assert said.startswith(
        "discriminator 'main' (tests/attentive) has no second derivative on cpu, which loss "
        "'penalty' needs; "
    )
    assert "`need_weights=True`" in said and "\n" not in said


def test_the_same_discriminator_plays_without_a_loss_that_needs_one(tmp_path):
    game(tmp_path, "attentive").run()


def test_a_verdict_of_two_tensors_in_one_place_is_refused_in_a_line(tmp_path):
    training = game(tmp_path, "pair", "\n[losses.feature-matching]\n")
    with pytest.raises(PluginError) as caught:
        training.run()
    assert str(caught.value).startswith(
        "discriminator 'pair' of tests returned a tuple as features, not a tensor [N, ...]"
    )
    with pytest.raises(Failed, match="a tuple as features"):
        case("pair", "shapes").run()


@pytest.mark.parametrize(
    ("judge", "loss", "what"),
    [
        ("rooted", "gradient-penalty", "loss 'penalty' on discriminator 'main'"),
        ("layered", "slope-of-slope", "gradient of discriminator 'main'"),
    ],
)
def test_no_smaller_rate_is_advised_for_what_was_so_from_the_first_step_on(
    tmp_path, judge, loss, what
):
    training = game(tmp_path, judge, PENALTY.replace("gradient-penalty", loss))
    with pytest.raises(TrainingError) as caught:
        training.run()
    said = str(caught.value)
    assert said.startswith(f"step 1: not finite: {what}")
    assert "no smaller learning rate helps" in said and "optimizer.lr" not in said
    assert "a loss there reads a gradient, and a square root" in said


def test_the_fault_that_is_guarded_against_is_still_there():
    """Once PyTorch has mended it, ganforge/game/single_row_gradients.py may go."""
    torch.manual_seed(0)
    maps = torch.randn(1, 4, 6, 6)
    weights = torch.randn(1, 4, 6, 6)
    exact = copy.deepcopy(maps).double().requires_grad_()
    F.instance_norm(exact).backward(weights.double())
    given = maps.requires_grad_()
    F.instance_norm(given).backward(weights.contiguous(memory_format=torch.channels_last))
    apart = (given.grad.double() - exact.grad).norm() / exact.grad.norm()
    if apart < 1e-3:
        pytest.skip(f"mended in PyTorch {torch.__version__}: the guard may go")
