"""DCGAN at every size and option."""

import subprocess
import sys

import pytest
import torch
from ganforge_dcgan.networks import DcganDiscriminator, DcganGenerator
from ganforge_dcgan.plugin import (
    DcganDiscriminatorOptions,
    DcganGeneratorOptions,
    ganforge_components,
)
from ganforge_dcgan.sizes import map_sizes, map_widths, padding, smallest_image
from hypothesis import given, settings
from hypothesis import strategies as st
from playing import QUIET, training_of
from torch import nn

from ganforge import ImageSpec, LabelSpec, NoiseSpec, TextSpec, VectorSpec
from ganforge.plugin import Impossible

COMPONENTS = {c.kind: c for c in ganforge_components()}
SIZES = [(7, 7), (28, 28), (32, 32), (96, 96), (128, 128), (48, 80), (37, 23)]
NORMS = ["batch", "none", "weight", "spectral"]
TEXT = TextSpec(vocabulary=("", "red", "blue"), length=5)


def generator(target, sources=(NoiseSpec(10),), width=4, **options):  # noqa: B008
    return DcganGenerator(DcganGeneratorOptions(width=width, **options), sources, target)


def discriminator(judged, given=(), width=4, **options):
    return DcganDiscriminator(DcganDiscriminatorOptions(width=width, **options), judged, given)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_64_px_has_the_layers_of_the_reference():
    image = ImageSpec(3, 64, 64)
    G = DcganGenerator(DcganGeneratorOptions(), [NoiseSpec(100)], image)
    D = DcganDiscriminator(DcganDiscriminatorOptions(), image)
    assert (count(G), count(D)) == (3_576_704, 2_765_568)

    up = [m for m in G.modules() if isinstance(m, nn.ConvTranspose2d)]
    down = [m for m in D.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in up] == [512, 256, 128, 64, 3]
    assert [m.out_channels for m in down] == [64, 128, 256, 512, 1]
    assert {m.kernel_size for m in up + down} == {(4, 4)}
    assert [(m.stride, m.padding) for m in up] == [((1, 1), (0, 0))] + [((2, 2), (1, 1))] * 4
    assert [(m.stride, m.padding) for m in down] == [((2, 2), (1, 1))] * 4 + [((1, 1), (0, 0))]
    assert {m.output_padding for m in up} == {(0, 0)}
    assert all(m.bias is None for m in up + down)


def test_no_batch_norm_on_the_generators_last_and_the_discriminators_first_layer():
    image = ImageSpec(3, 32, 32)
    assert [type(m).__name__ for m in generator(image).layers][-3:] == [
        "ReLU",
        "ConvTranspose2d",
        "Tanh",
    ]
    assert [type(m).__name__ for m in discriminator(image).body][:3] == [
        "Conv2d",
        "LeakyReLU",
        "Conv2d",
    ]


def test_initial_weights_follow_the_paper():
    torch.manual_seed(0)
    image = ImageSpec(3, 64, 64)
    for network in (generator(image, width=32), discriminator(image, width=32)):
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.weight.numel() > 1000:
                assert abs(module.weight.mean()) < 0.003
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
            if isinstance(module, nn.BatchNorm2d):
                assert module.weight.mean().item() == pytest.approx(1, abs=0.02)
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.5)
                assert module.bias.abs().max() == 0


@pytest.mark.parametrize(
    ("size", "stride", "expected"),
    [
        ((64, 64), 2, [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]),
        ((28, 28), 2, [(28, 28), (14, 14), (7, 7), (4, 4)]),
        ((48, 80), 2, [(48, 80), (24, 40), (12, 20), (6, 10)]),
        ((96, 96), 3, [(96, 96), (32, 32), (11, 11), (4, 4)]),
        ((6, 80), 2, [(6, 80)]),
    ],
)
def test_maps_shrink_by_the_stride_to_about_4_px(size, stride, expected):
    assert map_sizes(*size, stride) == expected


def test_widths_double_and_stop_at_8_times():
    assert map_widths(6, 64) == [64, 128, 256, 512, 512, 512]


@given(large=st.integers(4, 600), kernel=st.sampled_from([3, 4, 5]), stride=st.sampled_from([2, 3]))
def test_padding_meets_every_size_exactly_in_both_directions(large, kernel, stride):
    small = -(-large // stride)
    pad, extra = padding(large, small, kernel, stride)
    assert pad >= 0 and 0 <= extra < stride
    assert (large + 2 * pad - kernel) // stride + 1 == small
    assert (small - 1) * stride - 2 * pad + kernel + extra == large


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("upsampling", "kernel", "stride"),
    [
        ("transposed", 3, 2),
        ("transposed", 4, 2),
        ("transposed", 5, 2),
        ("transposed", 4, 3),
        ("resize", None, 2),
        ("resize", 4, 2),
        ("resize", 5, 3),
    ],
)
def test_every_size_is_met_exactly(size, upsampling, kernel, stride):
    if min(size) < smallest_image(stride):
        return
    image = ImageSpec(2, *size)
    made = generator(image, upsampling=upsampling, kernel=kernel, stride=stride)(torch.randn(2, 10))
    assert made.shape == (2, 2, *size)
    assert made.abs().max() <= 1
    output = discriminator(image, kernel=kernel or 4, stride=stride)(made)
    assert output.scores.shape == (2,)
    assert output.features.shape[2:] == map_sizes(*size, stride)[-1]


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    stride=st.sampled_from([2, 3]),
    upsampling=st.sampled_from(["transposed", "resize"]),
)
def test_what_the_check_lets_through_works_and_nothing_else(height, width, stride, upsampling):
    image, noise = ImageSpec(3, height, width), (NoiseSpec(10),)
    made = DcganGeneratorOptions(width=2, stride=stride, upsampling=upsampling)
    judged = DcganDiscriminatorOptions(width=2, stride=stride)
    if min(height, width) < smallest_image(stride):
        for check, arguments in [
            (COMPONENTS["generator"].check, (made, noise, image)),
            (COMPONENTS["discriminator"].check, (judged, image, ())),
        ]:
            with pytest.raises(Impossible, match="at least"):
                check(*arguments)
        return
    COMPONENTS["generator"].check(made, noise, image)
    COMPONENTS["discriminator"].check(judged, image, ())
    with torch.device("meta"):
        data = DcganGenerator(made, noise, image)(torch.empty(2, 10))
        assert data.shape == (2, *image.shape)
        assert DcganDiscriminator(judged, image)(data).scores.shape == (2,)


@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bf16", [False, True])
def test_gradient_reaches_every_parameter(norm, upsampling, bf16):
    torch.manual_seed(0)
    image = ImageSpec(3, 28, 20)
    G = generator(image, (NoiseSpec(10), LabelSpec(3)), norm=norm, upsampling=upsampling)
    D = discriminator(image, (LabelSpec(3), ImageSpec(1, 28, 20)), norm=norm)
    G.to(memory_format=torch.channels_last)
    D.to(memory_format=torch.channels_last)
    labels = torch.arange(6) % 3
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        made = G(torch.randn(6, 10), labels)
        scores = D(made, (labels, torch.randn(6, 1, 28, 20))).scores
    scores.float().square().sum().backward()
    for name, parameter in [*G.named_parameters(), *D.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_second_derivatives_exist_for_gradient_penalties():
    image = ImageSpec(1, 12, 12)
    D = discriminator(image, norm="none")
    data = torch.randn(4, *image.shape, requires_grad=True)
    (gradient,) = torch.autograd.grad(D(data).scores.sum(), data, create_graph=True)
    gradient.square().sum().backward()
    assert D.score[0].weight.grad.abs().sum() > 0


def test_weight_norm_is_taken_per_output_channel():
    network = generator(ImageSpec(1, 16, 16), norm="weight")
    for module in network.modules():
        if isinstance(module, nn.ConvTranspose2d):
            assert module.parametrizations.weight.original0.shape == (1, module.out_channels, 1, 1)


def test_spectral_norm_is_1():
    torch.manual_seed(0)
    image = ImageSpec(1, 16, 16)
    D = discriminator(image, norm="spectral")
    for _ in range(20):
        D(torch.randn(2, *image.shape))
    D.eval()
    for module in D.modules():
        if isinstance(module, nn.Conv2d):
            norm = torch.linalg.matrix_norm(module.weight.flatten(1), 2)
            assert norm.item() == pytest.approx(1, abs=0.02)


def test_clamped_output_cuts_and_tanh_squashes():
    image = ImageSpec(1, 16, 16)
    for output, exact in [("clamp", True), ("tanh", False)]:
        torch.manual_seed(0)
        network = generator(image, output=output)
        with torch.no_grad():
            network.layers[-2].weight.mul_(100)
        made = network(torch.randn(4, 10))
        assert made.abs().max() <= 1
        before = network.layers[:-1](network.join([torch.randn(4, 10)])[:, :, None, None])
        shown = network.layers[-1](before)
        expected = before.clamp(-1, 1) if exact else before.tanh()
        torch.testing.assert_close(shown, expected)


def test_discriminator_judges_image_and_condition_together():
    """Additive conditions could not tell matching from other pairs: the score must mix them."""
    torch.manual_seed(0)
    image = ImageSpec(1, 16, 16)
    D = discriminator(image, (VectorSpec(3),), norm="none")
    with torch.no_grad():
        for parameter in D.parameters():
            parameter.mul_(10)
    images, vectors = torch.randn(2, *image.shape), torch.randn(2, 3)
    a, b = images
    u, v = vectors
    scores = D(torch.stack([a, a, b, b]), (torch.stack([u, v, u, v]),)).scores
    assert (scores[0] - scores[1] - scores[2] + scores[3]).abs() > 1e-3 * scores.abs().max()


def test_given_images_are_channels_beside_the_judged_one():
    D = discriminator(ImageSpec(3, 16, 16), (ImageSpec(1, 16, 16),))
    assert D.body[0].in_channels == 4
    data, beside = torch.randn(2, 3, 16, 16), torch.randn(2, 1, 16, 16)
    D.eval()
    assert not torch.equal(D(data, (beside,)).scores, D(data, (-beside,)).scores)


def test_offers_exactly_what_the_manifest_says():
    image = ImageSpec(3, 28, 28)
    output = discriminator(image)(torch.randn(2, *image.shape))
    offered = {
        name
        for name in ("class_scores", "features", "reconstruction")
        if getattr(output, name) is not None
    }
    component = COMPONENTS["discriminator"]
    assert component.offered(DcganDiscriminatorOptions()) == offered
    assert output.features.shape == (2, 16, 4, 4)


def test_check_says_what_dcgan_cannot_do():
    image, noise = ImageSpec(3, 64, 64), (NoiseSpec(100),)
    check, options = COMPONENTS["generator"].check, DcganGeneratorOptions()
    check(options, (NoiseSpec(100), LabelSpec(10), VectorSpec(5)), image)
    with pytest.raises(Impossible, match="makes images, not vector of 3"):
        check(options, noise, VectorSpec(3))
    for source in (image, TEXT):
        with pytest.raises(Impossible, match="resnet-translator"):
            check(options, (source,), image)
    with pytest.raises(Impossible, match="at least 7 x 7 px, not 6 x 80; mlp"):
        check(options, noise, ImageSpec(1, 6, 80))
    with pytest.raises(Impossible, match="at least 10 x 10 px") as error:
        check(DcganGeneratorOptions(stride=3), noise, ImageSpec(1, 9, 9))
    assert error.value.key == "stride"

    check, options = COMPONENTS["discriminator"].check, DcganDiscriminatorOptions()
    check(options, image, (LabelSpec(10), ImageSpec(1, 64, 64)))
    with pytest.raises(Impossible, match="judges images, not vector"):
        check(options, VectorSpec(3), ())
    with pytest.raises(Impossible, match="turn text into vectors"):
        check(options, image, (TEXT,))
    with pytest.raises(Impossible, match="same height and width"):
        check(options, image, (ImageSpec(3, 32, 64),))


def test_manifest_does_not_import_torch():
    code = "import ganforge_dcgan.plugin, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


SIZES_GAME = (
    """
recipe = 1
[data]
use = "dots"
[train]
steps = 2
batch = 4
precision = "fp32"
device = "cpu"
[noise]
dim = 10
[generator]
use = "dcgan"
width = 2
[discriminator]
use = "dcgan"
width = 2
[losses.adversarial]
use = "non-saturating"
"""
    + QUIET
)


@pytest.mark.parametrize("size", ["28", "32", "64", "96", "128", "[48, 80]"])
@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_two_steps_at_every_size_are_finite_and_move_every_parameter(size, upsampling, tmp_path):
    sets = [f"data.size={size}", f"generator.upsampling={upsampling}"]
    training = training_of(tmp_path, SIZES_GAME, sets=sets)
    before = {k: v.clone() for k, v in training.game.state()["networks"].items()}
    training.run()
    assert training.step == 2
    after = training.game.state()["networks"]
    for name, value in after.items():
        assert value.isfinite().all(), name
        assert not torch.equal(value, before[name]), name
    made = training.generator("main")(torch.randn(2, 10))
    assert made.shape == (2, *training.plan.domains["image"].spec.shape)
