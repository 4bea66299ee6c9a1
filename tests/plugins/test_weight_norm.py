"""Strict weight normalisation against its formulas, and the networks that compare it."""

import math
import subprocess
import sys

import pytest
import torch
from ganforge_weight_norm.networks import (
    WeightNormalisedDiscriminator,
    WeightNormalisedGenerator,
)
from ganforge_weight_norm.plugin import (
    DiscriminatorOptions,
    GeneratorOptions,
    ganforge_components,
)
from ganforge_weight_norm.sizes import map_sizes, map_widths
from ganforge_weight_norm.strict_norm import Affine, PReLU, TPReLU, inputs_met, strictly_normed
from hypothesis import given, settings
from hypothesis import strategies as st
from playing import QUIET, training_of
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from ganforge import ImageSpec, LabelSpec, NoiseSpec, TextSpec, VectorSpec
from ganforge.plugin import Impossible

COMPONENTS = {c.kind: c for c in ganforge_components()}
NORMS = ["weight", "batch", "none"]
LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
TEXT = TextSpec(vocabulary=("", "red", "blue"), length=5)


def generator(target, norm="weight", sources=(NoiseSpec(10),), width=4):  # noqa: B008
    return WeightNormalisedGenerator(GeneratorOptions(width=width, norm=norm), sources, target)


def discriminator(judged, norm="weight", given=(), width=4):
    return WeightNormalisedDiscriminator(
        DiscriminatorOptions(width=width, norm=norm), judged, given
    )


def layers(network):
    return [module for module in network.modules() if isinstance(module, LAYERS)]


# --- strict weight norm ---------------------------------------------------------------------------


def test_weights_of_an_output_have_length_1():
    dense = strictly_normed(nn.Linear(2, 2, bias=False))
    with torch.no_grad():
        dense.parametrizations.weight.original.copy_(torch.tensor([[3.0, 4.0], [0.0, -2.0]]))
    torch.testing.assert_close(dense.weight, torch.tensor([[0.6, 0.8], [0.0, -1.0]]))
    torch.testing.assert_close(dense(torch.tensor([[1.0, 2.0]])), torch.tensor([[2.2, -2.0]]))

    convolution = strictly_normed(nn.Conv2d(3, 5, 4, 2, 1))
    lengths = convolution.weight.square().sum((1, 2, 3))  # of each of the 5 outputs
    torch.testing.assert_close(lengths, torch.ones(5))


@pytest.mark.parametrize("stride", [1, 2, 3, (2, 3)])
def test_a_transposed_kernel_has_the_length_1_in_each_of_its_stride_x_stride_parts(stride):
    layer = strictly_normed(nn.ConvTranspose2d(3, 5, 6, stride))
    down, across = layer.stride
    squares = layer.weight.square().sum((0, 2, 3))  # of each of the 5 outputs
    torch.testing.assert_close(squares / (down * across), torch.ones(5))


def test_stride_rule_by_hand():
    """|v|^2 = 16 x 1; divided by 2 x 2 it is 4, so w = v / 2."""
    layer = strictly_normed(nn.ConvTranspose2d(1, 1, 4, 2, bias=False))
    with torch.no_grad():
        layer.parametrizations.weight.original.fill_(1.0)
    torch.testing.assert_close(layer.weight, torch.full((1, 1, 4, 4), 0.5))
    made = layer(torch.ones(1, 1, 5, 5))
    torch.testing.assert_close(made[:, :, 2:-2, 2:-2], torch.full((1, 1, 8, 8), 2.0))  # 4 x 1/2


def test_length_of_v_changes_nothing_but_the_gradient_which_it_divides():
    torch.manual_seed(0)
    short, long = (strictly_normed(nn.Conv2d(2, 3, 3)) for _ in range(2))
    v = torch.randn(3, 2, 3, 3)
    gradients = []
    for layer, length in ((short, 1.0), (long, 10.0)):
        original = layer.parametrizations.weight.original
        with torch.no_grad():
            original.copy_(length * v)
        layer.weight.pow(3).sum().backward()
        gradients.append(original.grad)
    torch.testing.assert_close(short.weight, long.weight)
    torch.testing.assert_close(gradients[0], 10 * gradients[1])
    along_v = (gradients[0] * v).sum((1, 2, 3))  # v can turn, but not grow
    torch.testing.assert_close(along_v, torch.zeros(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.Linear(300, 400),
        lambda: nn.Conv2d(32, 64, 4, 2, 1),
        lambda: nn.ConvTranspose2d(64, 32, 4, 2, 1),
        lambda: nn.ConvTranspose2d(64, 32, 6, 3, 1),
    ],
)
def test_variance_1_comes_out_as_variance_1(layer):
    torch.manual_seed(0)
    layer = strictly_normed(layer())
    nn.init.zeros_(layer.bias)
    if isinstance(layer, nn.Linear):
        made = layer(torch.randn(100, layer.in_features))
    else:
        made = layer(torch.randn(8, layer.in_channels, 24, 24))[:, :, 4:-4, 4:-4]  # no borders
    assert made.var().item() == pytest.approx(1, abs=0.1)


# --- activations ----------------------------------------------------------------------------------


def test_tprelu_is_prelu_moved_along_the_diagonal():
    activation = TPReLU(3)
    a, t = torch.tensor([0.25, 0.0, 1.0]), torch.tensor([0.5, -1.0, 2.0])
    with torch.no_grad():
        activation.slope.copy_(a)
        activation.threshold.copy_(t)
    x = torch.linspace(-3, 3, 25).view(-1, 1).expand(-1, 3)
    expected = F.prelu(x - t, a) + t
    torch.testing.assert_close(activation(x), expected)
    by_hand = activation(torch.tensor([[-1.5, -3.0, -3.0], [0.5, -1.0, 2.0], [2.0, 2.0, 5.0]]))
    torch.testing.assert_close(
        by_hand, torch.tensor([[0.0, -1.0, -3.0], [0.5, -1.0, 2.0], [2.0, 2.0, 5.0]])
    )


def test_tprelu_has_the_gradients_of_its_formula():
    torch.manual_seed(0)
    activation = TPReLU(4)
    with torch.no_grad():
        activation.threshold.normal_()
    x = torch.randn(6, 4, 3, 3, requires_grad=True)
    (activation(x) * x.detach().cos()).sum().backward()
    found = [x.grad, activation.slope.grad, activation.threshold.grad]
    a, t = (p.detach().clone().requires_grad_() for p in activation.parameters())
    y = x.detach().clone().requires_grad_()
    t_ = t[:, None, None]
    ((F.prelu(y - t_, a) + t_) * y.detach().cos()).sum().backward()
    for ours, expected in zip(found, [y.grad, a.grad, t.grad], strict=True):
        torch.testing.assert_close(ours, expected)


def test_activations_start_at_a_quarter_and_bend_at_0():
    x = torch.randn(5, 3, 2, 2)
    for activation in (TPReLU(3), PReLU(3)):
        torch.testing.assert_close(activation(x), F.leaky_relu(x, 0.25))


def test_prelu_is_torchs():
    ours, theirs = PReLU(3), nn.PReLU(3)
    slopes = torch.tensor([-0.5, 0.25, 1.5])
    with torch.no_grad():
        ours.slope.copy_(slopes)
        theirs.weight.copy_(slopes)
    x = torch.randn(5, 3, 2, 2)
    torch.testing.assert_close(ours(x), theirs(x))
    (ours(x).square().sum() + theirs(x).square().sum()).backward()
    torch.testing.assert_close(ours.slope.grad, theirs.weight.grad)


@pytest.mark.parametrize(("stored", "used"), [(-0.3, 0.0), (1.4, 1.0), (0.6, 0.6)])
def test_slopes_of_tprelu_are_cut_to_0_and_1(stored, used):
    activation = TPReLU(1)
    nn.init.constant_(activation.slope, stored)
    assert activation(torch.tensor([[-2.0]])).item() == pytest.approx(-2 * used)


@pytest.mark.parametrize(
    ("stored", "wish", "moves"),
    [(-0.1, -1, False), (-0.1, +1, True), (1.1, +1, False), (1.1, -1, True), (0.5, +1, True)],
)
def test_a_slope_outside_comes_back_but_goes_no_further(stored, wish, moves):
    """wish: the direction in which descent would move the slope."""
    activation = TPReLU(1)
    nn.init.constant_(activation.slope, stored)
    (wish * activation(torch.tensor([[-1.0]]))).sum().backward()
    assert activation.slope.grad.item() == (-wish if moves else 0)


# --- networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 64), [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]),
        ((28, 28), [(28, 28), (14, 14), (7, 7), (3, 3)]),
        ((48, 80), [(48, 80), (24, 40), (12, 20), (6, 10), (3, 5)]),
        ((6, 37), [(6, 37), (3, 18)]),
    ],
)
def test_maps_are_halved_while_they_keep_3_px(size, expected):
    assert map_sizes(*size) == expected


def test_widths_double_and_stop_at_8_times():
    assert map_widths(6, 64) == [64, 128, 256, 512, 512, 512]


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 150), width=st.integers(1, 150), norm=st.sampled_from(["weight", "none"])
)
def test_what_the_check_lets_through_works_and_nothing_else(height, width, norm):
    image, noise = ImageSpec(3, height, width), (NoiseSpec(10),)
    made, judged = GeneratorOptions(width=2, norm=norm), DiscriminatorOptions(width=2, norm=norm)
    checks = (COMPONENTS["generator"].check, COMPONENTS["discriminator"].check)
    if min(height, width) < 6:
        for check, arguments in zip(
            checks, [(made, noise, image), (judged, image, ())], strict=True
        ):
            with pytest.raises(Impossible, match="at least 6 x 6 px"):
                check(*arguments)
        return
    checks[0](made, noise, image)
    checks[1](judged, image, ())
    with torch.device("meta"):
        data = WeightNormalisedGenerator(made, noise, image)(torch.empty(2, 10))
        assert data.shape == (2, *image.shape)
        output = WeightNormalisedDiscriminator(judged, image)(data)
    assert output.scores.shape == (2,)
    assert output.features.shape[2:] == map_sizes(height, width)[-1]


@pytest.mark.parametrize("size", [(32, 32), (28, 28), (37, 23)])
def test_strict_networks_have_unit_weights_no_biases_and_an_affine_last_layer(size):
    image = ImageSpec(2, *size)
    for network in (generator(image), discriminator(image)):
        for layer in layers(network):
            assert layer.bias is None and parametrize.is_parametrized(layer, "weight")
            outputs = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
            squares = layer.weight.square().transpose(0, outputs).flatten(1).sum(1)
            parts = 4 if isinstance(layer, nn.ConvTranspose2d) else 1  # stride 2 x 2
            torch.testing.assert_close(squares / parts, torch.ones_like(squares))
        kinds = [type(module) for module in network.modules()]
        assert kinds.count(TPReLU) == len(layers(network)) - 1
        assert kinds.count(Affine) == 1 and nn.BatchNorm2d not in kinds and PReLU not in kinds


def test_last_layer_scales_and_shifts():
    D = discriminator(ImageSpec(1, 8, 8))
    data = torch.randn(3, 1, 8, 8)
    before = D(data).scores
    with torch.no_grad():
        D.score[-1].scale.fill_(3.0)
        D.score[-1].shift.fill_(-1.0)
    torch.testing.assert_close(D(data).scores, 3 * before - 1)


def test_compared_networks_differ_in_their_norm_alone():
    image = ImageSpec(1, 28, 28)
    for network in (generator, discriminator):
        weights = {}
        for norm in NORMS:
            torch.manual_seed(0)
            built = network(image, norm)
            weights[norm] = [
                layer.parametrizations.weight.original if norm == "weight" else layer.weight
                for layer in layers(built)
            ]
            kinds = [type(module) for module in built.modules()]
            hidden = len(layers(built)) - 1
            assert kinds.count(TPReLU if norm == "weight" else PReLU) == hidden
            normed = hidden - (network is discriminator) if norm == "batch" else 0
            assert kinds.count(nn.BatchNorm2d) == normed
            biased = [layer.bias is not None for layer in layers(built)]
            if norm == "batch":
                first_too = network is discriminator
                assert biased == [first_too, *[False] * (hidden - 1), True]
            else:
                assert biased == [norm == "none"] * (hidden + 1)
        for a, b, c in zip(*weights.values(), strict=True):
            assert torch.equal(a, b) and torch.equal(b, c)


def test_first_weights_have_the_length_that_strict_norm_has():
    torch.manual_seed(0)
    image = ImageSpec(1, 32, 32)
    for network in (generator(image, "none", width=32), discriminator(image, "none", width=32)):
        for layer in layers(network):
            expected = 1 / math.sqrt(inputs_met(layer))
            assert layer.weight.std().item() == pytest.approx(expected, rel=0.15)
    transposed = nn.ConvTranspose2d(64, 32, 4, 2, 1)
    assert (inputs_met(transposed), inputs_met(nn.Conv2d(3, 8, 4, 2, 1))) == (64 * 4, 3 * 16)


@pytest.mark.parametrize("norm", ["weight", "none"])
def test_signals_neither_vanish_nor_explode_on_the_way(norm):
    """Each bend with a = 1/4 halves the mean square: (1 + a^2) / 2 = 0.53."""
    torch.manual_seed(0)
    image = ImageSpec(1, 32, 32)
    made = generator(image, norm, width=32).layers[:-1](torch.randn(64, 10))  # before tanh
    scores = discriminator(image, norm, width=32)(torch.randn(64, 1, 32, 32)).scores
    for value in (made, scores):
        assert 0.53**3 / 3 < value.square().mean() < 1


@pytest.mark.parametrize("norm", NORMS)
def test_an_item_is_made_and_judged_by_itself_where_there_is_no_batch_norm(norm):
    torch.manual_seed(0)
    image = ImageSpec(1, 16, 16)
    G, D = generator(image, norm), discriminator(image, norm)
    z, data = torch.randn(4, 10), torch.randn(4, 1, 16, 16)
    for network, items in ((G, z), (lambda x: D(x).scores, data)):
        alone, together = network(items[:2]), network(items)[:2]
        assert torch.allclose(alone, together, atol=1e-6) == (norm != "batch")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bf16", [False, True])
def test_gradient_reaches_every_parameter(norm, bf16):
    torch.manual_seed(0)
    image = ImageSpec(1, 28, 20)
    G = generator(image, norm, (NoiseSpec(10), LabelSpec(3)))
    D = discriminator(image, norm, (LabelSpec(3), ImageSpec(1, 28, 20)))
    G.to(memory_format=torch.channels_last)
    D.to(memory_format=torch.channels_last)
    labels = torch.arange(6) % 3
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16, cache_enabled=False):
        made = G(torch.randn(6, 10), labels)
        scores = D(made, (labels, torch.randn(6, 1, 28, 20))).scores
    assert made.dtype == (torch.bfloat16 if bf16 else torch.float32)
    scores.float().square().sum().backward()
    for name, parameter in [*G.named_parameters(), *D.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("norm", NORMS)
def test_conditions_count(norm):
    torch.manual_seed(0)
    image = ImageSpec(1, 16, 16)
    G = generator(image, norm, (NoiseSpec(10), LabelSpec(3))).eval()
    D = discriminator(image, norm, (LabelSpec(3), VectorSpec(2))).eval()
    z, data, vectors = torch.randn(2, 10), torch.randn(2, 1, 16, 16), torch.randn(2, 2)
    one, two = torch.tensor([0, 0]), torch.tensor([1, 2])
    assert not torch.allclose(G(z, one), G(z, two))
    assert not torch.allclose(D(data, (one, vectors)).scores, D(data, (two, vectors)).scores)
    assert not torch.allclose(D(data, (one, vectors)).scores, D(data, (one, -vectors)).scores)


@pytest.mark.parametrize("norm", ["weight", "none"])
def test_second_derivatives_exist_for_gradient_penalties(norm):
    image = ImageSpec(1, 12, 12)
    D = discriminator(image, norm)
    data = torch.randn(4, *image.shape, requires_grad=True)
    (gradient,) = torch.autograd.grad(D(data).scores.sum(), data, create_graph=True)
    gradient.square().sum().backward()
    weight = layers(D)[0]
    weight = weight.parametrizations.weight.original if norm == "weight" else weight.weight
    assert weight.grad.abs().sum() > 0


RECIPE = (
    """
recipe = 1
name = "small"
[data]
use = "dots"
[train]
steps = 3
batch = 6
precision = "fp32"
device = "cpu"
[noise]
dim = 5
[optimizer]
use = "rmsprop"
lr = 1e-2
[generator]
use = "weight-normalised"
width = 2
[discriminator]
use = "weight-normalised"
width = 2
[losses.adversarial]
use = "non-saturating"
"""
    + QUIET
)


@pytest.mark.parametrize("norm", NORMS)
def test_a_game_trains_and_weights_stay_of_length_1(norm, tmp_path):
    sets = [f"generator.norm={norm}", f"discriminator.norm={norm}"]
    training = training_of(tmp_path, RECIPE, sets=sets)
    networks = training.game.networks
    before = {
        (address, name): parameter.detach().clone()
        for address, network in networks.items()
        for name, parameter in network.named_parameters()
    }
    training.run()
    for (address, name), parameter in before.items():
        after = networks[address].get_parameter(name)
        assert torch.isfinite(after).all() and not torch.equal(after, parameter), name
    if norm == "weight":
        for layer in layers(networks["discriminators.main"]):
            squares = layer.weight.square().flatten(1).sum(1)
            torch.testing.assert_close(squares, torch.ones_like(squares))


# --- the manifest ---------------------------------------------------------------------------------


def test_offers_exactly_what_the_manifest_says():
    output = discriminator(ImageSpec(3, 28, 28))(torch.randn(2, 3, 28, 28))
    names = ("class_scores", "features", "reconstruction")
    offered = {name for name in names if getattr(output, name) is not None}
    assert COMPONENTS["discriminator"].offered(DiscriminatorOptions()) == offered


def test_check_says_what_cannot_be_made_or_judged():
    image, noise = ImageSpec(3, 64, 64), (NoiseSpec(100),)
    check, options = COMPONENTS["generator"].check, GeneratorOptions()
    check(options, (NoiseSpec(100), LabelSpec(10), VectorSpec(5)), image)
    with pytest.raises(Impossible, match="makes images, not vector of 3"):
        check(options, noise, VectorSpec(3))
    for source in (image, TEXT):
        with pytest.raises(Impossible, match="resnet-translator"):
            check(options, (source,), image)

    check, options = COMPONENTS["discriminator"].check, DiscriminatorOptions()
    check(options, image, (LabelSpec(10), ImageSpec(1, 64, 64)))
    with pytest.raises(Impossible, match="judges images, not vector"):
        check(options, VectorSpec(3), ())
    with pytest.raises(Impossible, match="turn text into vectors"):
        check(options, image, (TEXT,))
    with pytest.raises(Impossible, match="same height and width"):
        check(options, image, (ImageSpec(3, 32, 64),))


def test_manifest_does_not_import_torch():
    code = "import ganforge_weight_norm.plugin, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
