"""CycleGAN's networks, losses and image pool."""

import copy
import inspect
import random
import subprocess
import sys

import pytest
import torch
from ganforge_cyclegan.image_pool import ImagePool
from ganforge_cyclegan.instance_norm import InstanceNorm
from ganforge_cyclegan.losses import CycleConsistency, Identity
from ganforge_cyclegan.patchgan import Patchgan
from ganforge_cyclegan.plugin import (
    DistanceOptions,
    ImagePoolOptions,
    PatchganOptions,
    ResnetTranslatorOptions,
    ganforge_components,
    smallest_patch_image,
)
from ganforge_cyclegan.resnet_translator import ResnetTranslator
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ganforge import Draw, Draws, ImageSpec, LabelSpec, NoiseSpec, TextSpec, VectorSpec
from ganforge.plugin import Impossible

COMPONENTS = {c.name: c for c in ganforge_components()}
TEXT = TextSpec(vocabulary=("", "red", "blue"), length=5)
IMAGE = ImageSpec(3, 32, 32)


def translator(sources=(IMAGE,), target=IMAGE, width=4, blocks=2, **options):
    options = ResnetTranslatorOptions(width=width, blocks=blocks, **options)
    return ResnetTranslator(options, sources, target)


def patchgan(judged=IMAGE, given=(), width=4, **options):
    return Patchgan(PatchganOptions(width=width, **options), judged, given)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


# The translator


def test_translator_has_the_published_layers():
    image = ImageSpec(3, 256, 256)
    with torch.device("meta"):
        network = ResnetTranslator(ResnetTranslatorOptions(), [image], image)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    widths = [m.out_channels for m in convolutions]
    assert widths == [64, 128, 256] + [256] * 18 + [128, 64, 3]
    # 11,378,179 published, less the biases that InstanceNorm would take away again
    assert count(network) == 11_378_179 - sum(widths[:-1])
    assert not any(isinstance(m, nn.Dropout) for m in network.modules())


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (32, 32), (96, 96), (48, 80)])
@pytest.mark.parametrize("batch", [1, 2])
def test_translator_keeps_the_size_and_changes_the_channels(size, batch):
    network = translator([ImageSpec(3, *size)], ImageSpec(1, *size))
    made = network(torch.randn(batch, 3, *size))
    assert made.shape == (batch, 1, *size)
    assert made.abs().max() <= 1


def test_an_untrained_translator_of_differences_returns_its_source_and_can_learn():
    image = torch.rand(2, 3, 32, 32) * 2 - 1
    network = translator(output="difference")
    made = network(image)
    assert torch.equal(made, image)
    made.sum().backward()
    assert network.layers[-2].weight.grad.abs().sum() > 0


def test_a_difference_reaches_every_colour_and_no_more():
    network = translator(output="difference")
    nn.init.constant_(network.layers[-2].bias, 9.0)
    made = network(torch.full((1, 3, 32, 32), -1.0))
    torch.testing.assert_close(made, torch.ones(1, 3, 32, 32))


def test_a_difference_between_unequal_images_is_refused_at_its_option():
    options = ResnetTranslatorOptions(output="difference")
    with pytest.raises(Impossible, match="cannot become image 1 x 32 x 32") as caught:
        COMPONENTS["resnet-translator"].check(options, (IMAGE,), ImageSpec(1, 32, 32))
    assert caught.value.key == "output"


def test_translator_is_deterministic_and_treats_images_one_by_one():
    network = translator()
    images = torch.randn(3, *IMAGE.shape)
    assert torch.equal(network(images), network(images))
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(network(images), alone, rtol=0, atol=1e-5)


def test_dropout_is_an_option_of_the_blocks():
    network = translator(dropout=0.5)
    assert len([m for m in network.modules() if isinstance(m, nn.Dropout)]) == 2
    images = torch.randn(2, *IMAGE.shape)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_translator_reads_noise_and_labels_as_channels():
    network = translator([IMAGE, NoiseSpec(5), LabelSpec(3)])
    assert network.layers[1].in_channels == 3 + 5 + 3
    image = torch.randn(1, *IMAGE.shape).expand(2, -1, -1, -1)
    made = network(image, torch.zeros(2, 5), torch.tensor([0, 2]))
    assert not torch.allclose(made[0], made[1])


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    downsamplings=st.integers(0, 3),
)
def test_translator_works_where_the_check_lets_it_through(height, width, downsamplings):
    options = ResnetTranslatorOptions(width=2, blocks=1, downsamplings=downsamplings)
    image = ImageSpec(3, height, width)
    check = COMPONENTS["resnet-translator"].check
    multiple = 2**downsamplings
    fits = all(s % multiple == 0 and s >= max(2 * multiple, 4) for s in (height, width))
    if not fits:
        with pytest.raises(Impossible, match="divisible"):
            check(options, (image,), image)
        return
    check(options, (image,), image)
    with torch.device("meta"):
        network = ResnetTranslator(options, [image], image)
        assert network(torch.empty(1, *image.shape)).shape == (1, *image.shape)


def test_translator_check_names_the_side_and_sizes_that_fit():
    check, options = COMPONENTS["resnet-translator"].check, ResnetTranslatorOptions()
    with pytest.raises(Impossible, match=r"width 30 is not: take 28 or 32$"):
        check(options, (ImageSpec(3, 32, 30),), ImageSpec(3, 32, 30))
    with pytest.raises(Impossible, match=r"height 5 is not: take 8$"):
        check(options, (ImageSpec(3, 5, 32),), ImageSpec(3, 5, 32))
    with pytest.raises(Impossible, match=r"turns an image .* not normal noise of 10"):
        check(options, (NoiseSpec(10),), IMAGE)
    with pytest.raises(Impossible, match=r"turns an image .* into vector of 3"):
        check(options, (IMAGE,), VectorSpec(3))
    with pytest.raises(Impossible, match="images of one size"):
        check(options, (IMAGE,), ImageSpec(3, 64, 64))
    with pytest.raises(Impossible, match="turn text into vectors"):
        check(options, (IMAGE, TEXT), IMAGE)
    check(options, (IMAGE, NoiseSpec(10), LabelSpec(3)), ImageSpec(1, 32, 32))


# The patch discriminator


def test_patchgan_has_the_published_layers():
    D = Patchgan(PatchganOptions(), ImageSpec(3, 256, 256))
    convolutions = [m for m in D.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [64, 128, 256, 512, 1]
    assert [m.stride[0] for m in convolutions] == [2, 2, 2, 1, 1]
    assert sum(isinstance(m, InstanceNorm) for m in D.modules()) == 3
    # 2,764,737 published, less the biases that InstanceNorm would take away again
    assert count(D) == 2_764_737 - (128 + 256 + 512)
    with torch.no_grad():
        assert D(torch.zeros(1, 3, 256, 256)).scores.shape == (1, 30, 30)


@pytest.mark.parametrize(("layers", "patch"), [(1, 16), (2, 34), (3, 70)])
def test_a_score_sees_a_patch_of_this_size(layers, patch):
    D = patchgan(ImageSpec(1, 128, 128), layers=layers, norm="none")
    data = torch.randn(1, 1, 128, 128, requires_grad=True)
    scores = D(data).scores
    scores[0, scores.shape[1] // 2, scores.shape[2] // 2].backward()
    rows = data.grad[0, 0].abs().sum(1).nonzero()
    columns = data.grad[0, 0].abs().sum(0).nonzero()
    assert rows.max() - rows.min() + 1 == patch
    assert columns.max() - columns.min() + 1 == patch


@pytest.mark.parametrize("norm", ["instance", "batch", "none", "weight", "spectral"])
@pytest.mark.parametrize("layers", [1, 3, 5])
def test_smallest_images_leave_one_score(norm, layers):
    side = smallest_patch_image(layers)
    D = patchgan(ImageSpec(1, side, side), layers=layers, norm=norm)
    output = D(torch.randn(1, 1, side, side))
    assert output.scores.shape == (1, 1, 1)
    COMPONENTS["patchgan"].check(D.options, D.judged, ())


def test_patchgan_check_says_what_fits():
    check, options = COMPONENTS["patchgan"].check, PatchganOptions()
    check(options, ImageSpec(3, 24, 80), ())
    with pytest.raises(
        Impossible, match="at least 24 px, not 23 x 80: take layers = 2, or"
    ) as error:
        check(options, ImageSpec(3, 23, 80), ())
    assert error.value.key == "layers"
    with pytest.raises(Impossible, match="at least 24 px, not 5 x 80: larger images"):
        check(options, ImageSpec(3, 5, 80), ())
    with pytest.raises(Impossible, match="judges images, not vector"):
        check(options, VectorSpec(3), ())
    with pytest.raises(Impossible, match="images of one size"):
        check(options, IMAGE, (ImageSpec(3, 64, 64),))
    with pytest.raises(Impossible, match="turn text into vectors"):
        check(options, IMAGE, (TEXT,))


def test_patchgan_reads_its_conditions():
    D = patchgan(given=(ImageSpec(1, 32, 32), LabelSpec(2)))
    data = torch.randn(1, *IMAGE.shape).expand(2, -1, -1, -1)
    beside, labels = torch.randn(1, 1, 32, 32).expand(2, -1, -1, -1), torch.tensor([0, 1])
    other = D(data, (beside, labels)).scores
    assert not torch.allclose(other[0], other[1])
    assert not torch.allclose(other, D(data, (-beside, labels)).scores)


def test_patchgan_offers_exactly_what_the_manifest_says():
    output = patchgan()(torch.randn(2, *IMAGE.shape))
    offered = {
        name
        for name in ("class_scores", "features", "reconstruction")
        if getattr(output, name) is not None
    }
    assert COMPONENTS["patchgan"].offered(PatchganOptions()) == offered
    assert output.scores.shape == (2, 2, 2)
    assert output.features.shape == (2, 32, 3, 3)


@pytest.mark.parametrize("norm", ["instance", "batch", "none", "weight", "spectral"])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_gradient_reaches_every_parameter(norm, bf16, batch):
    torch.manual_seed(0)
    G, D = translator(), patchgan(norm=norm)
    G.to(memory_format=torch.channels_last)
    D.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        scores = D(G(torch.randn(batch, *IMAGE.shape))).scores
    scores.float().square().sum().backward()
    for name, parameter in [*G.named_parameters(), *D.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_weight_and_spectral_norm_hold_every_layer_of_patchgan():
    torch.manual_seed(0)
    for norm in ("weight", "spectral"):
        D = patchgan(norm=norm)
        for _ in range(30):
            D(torch.randn(1, *IMAGE.shape))
        layers = [m for m in D.eval().modules() if isinstance(m, nn.Conv2d)]
        assert len(layers) == 5 and all(layer.bias is not None for layer in layers)
        for layer in layers:
            if norm == "spectral":
                largest = torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item()
                assert largest == pytest.approx(1, abs=0.02)
            else:
                length = layer.parametrizations.weight.original0
                assert length.shape == (layer.out_channels, 1, 1, 1)
                torch.testing.assert_close(layer.weight.flatten(1).norm(dim=1), length.flatten())


@pytest.mark.parametrize("network", [translator, patchgan])
def test_initial_weights_follow_the_paper(network):
    torch.manual_seed(0)
    for module in network(width=16).modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.weight.numel() > 1000:
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert module.bias is None or module.bias.abs().max() == 0


def instance_norm_by_the_book(maps):
    variance, mean = torch.var_mean(maps, (2, 3), correction=0, keepdim=True)
    return (maps - mean) / (variance + 1e-5).sqrt()


LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.mark.parametrize("shape", [(1, 4, 5, 6), (3, 4, 5, 6), (3, 1, 5, 6), (1, 1, 2, 2)])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_instance_norm_keeps_the_layout_and_follows_its_formula(shape, layout):
    maps = (3 * torch.randn(shape) + 2).contiguous(memory_format=layout)
    weights = torch.randn(shape).contiguous(memory_format=layout)
    ours, exact = maps.clone().requires_grad_(), maps.double().requires_grad_()
    made, expected = InstanceNorm()(ours), instance_norm_by_the_book(exact)
    assert made.is_contiguous(memory_format=layout)
    torch.testing.assert_close(made.double(), expected, rtol=1e-5, atol=1e-5)
    (made * weights).sum().backward()
    (expected * weights.double()).sum().backward()
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("make", [translator, patchgan])
def test_gradients_are_those_of_double_precision_in_every_layout(make, layout, batch):
    """PyTorch's instance_norm returns wrong gradients for one channels_last image on CPU."""
    torch.manual_seed(0)
    network = make()
    exact = copy.deepcopy(network).double()
    network.to(memory_format=layout)
    data = torch.randn(batch, *IMAGE.shape)

    def score(network, data):
        made = network(data)
        return (made if isinstance(made, torch.Tensor) else made.scores).square().sum()

    score(network, data.contiguous(memory_format=layout)).backward()
    score(exact, data.double()).backward()
    for parameter, reference in zip(network.parameters(), exact.parameters(), strict=True):
        error = (parameter.grad.double() - reference.grad).norm() / reference.grad.norm()
        assert error < 1e-3


def test_second_derivatives_exist_for_gradient_penalties():
    D = patchgan()
    data = torch.randn(2, *IMAGE.shape, requires_grad=True)
    (gradient,) = torch.autograd.grad(D(data).scores.sum(), data, create_graph=True)
    gradient.square().sum().backward()
    assert D.body[0].weight.grad.abs().sum() > 0


# The losses


@pytest.mark.parametrize(("norm", "expected"), [("l1", [0.5, 2.0]), ("l2", [0.25, 4.0])])
@pytest.mark.parametrize("cls", [CycleConsistency, Identity])
def test_distances_are_taken_per_value(cls, norm, expected):
    a, b = torch.tensor([[0.5, -1.0]]), torch.tensor([[0.0, 1.0]])
    assert cls(DistanceOptions(norm=norm)).generator(a, b).tolist() == [expected]


@pytest.mark.parametrize(
    ("name", "cls"), [("cycle-consistency", CycleConsistency), ("identity", Identity)]
)
def test_needs_are_the_parameters_of_the_methods(name, cls):
    assert set(COMPONENTS[name].needs) == {"generator"}
    parameters = tuple(inspect.signature(cls.generator).parameters)[1:]
    assert parameters == tuple(COMPONENTS[name].needs["generator"])


# The image pool


class PoolByTheBook:
    """What ImagePool must do, with a list and one image after the other."""

    def __init__(self, size):
        self.size, self.images = size, []

    def show(self, image, swap, slot):
        if len(self.images) < self.size:
            self.images.append(image)
            return image
        if not swap:
            return image
        self.images[slot], earlier = image, self.images[slot]
        return earlier


def draw(address, batch, rows=slice(None)):
    return Draw(Draws(0).generator(address), batch, rows, torch.device("cpu"))


def pool(size=5, shape=(1, 1, 1)):
    return ImagePool(ImagePoolOptions(size=size), ImageSpec(*shape))


def numbered(first, batch):
    """Images that hold nothing but their number, [batch, 1, 1, 1]"""
    return torch.arange(first, first + batch, dtype=torch.float32)[:, None, None, None]


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_pool_passes_images_one_after_the_other(batch):
    ours, book = pool(), PoolByTheBook(5)
    for step in range(40):
        fakes = numbered(step * batch, batch)
        shown = ours.replay(fakes, draw(step, batch)).flatten().tolist()
        again = draw(step, batch)
        swaps, slots = again.coin().tolist(), again.integers(5, 1).flatten().tolist()
        expected = [
            book.show(*row) for row in zip(fakes.flatten().tolist(), swaps, slots, strict=True)
        ]
        assert shown == expected
        assert ours.stored.flatten().tolist()[: len(book.images)] == book.images
        assert ours.count.item() == len(book.images)


def test_pool_shows_all_until_full_then_half_from_uniform_slots():
    ours = pool(size=50)
    assert torch.equal(ours.replay(numbered(0, 50), draw("fill", 50)), numbered(0, 50))
    fakes = numbered(50, 4000)
    shown = ours.replay(fakes, draw("more", 4000))
    replaced = (shown != fakes).flatten()
    assert replaced.float().mean().item() == pytest.approx(0.5, abs=0.03)
    ages = (fakes - shown).flatten()[replaced]
    # a slot is left alone with probability 1 - 1/100 by each image: a mean age of 100
    assert ages.mean().item() == pytest.approx(100, rel=0.1)


def test_every_image_is_shown_at_most_once_more_and_none_is_invented():
    ours, seen = pool(size=4), []
    for step in range(100):
        seen += ours.replay(numbered(3 * step, 3), draw(step, 3)).flatten().tolist()
    kept = ours.stored.flatten().tolist()
    assert set(seen) | set(kept) == set(range(300))
    assert max(seen.count(number) for number in set(seen)) <= 2


def test_pool_changes_neither_its_input_nor_what_it_showed():
    ours, rng = pool(size=3, shape=(2, 4, 4)), random.Random(0)
    shown_before = []
    for step in range(20):
        fakes = torch.randn(rng.choice([1, 2, 5]), 2, 4, 4)
        before = fakes.clone()
        shown = ours.replay(fakes, draw(step, len(fakes)))
        assert torch.equal(fakes, before)
        shown_before.append((shown, shown.clone()))
        fakes.zero_()  # what is kept must not be a view of the fakes
    assert all(torch.equal(now, then) for now, then in shown_before)
    assert (ours.stored.flatten(1).abs().sum(1) > 0).all()


def test_pool_goes_on_from_its_saved_state():
    ours = pool(size=4)
    for step in range(7):
        ours.replay(numbered(2 * step, 2), draw(step, 2))
    resumed = pool(size=4)
    for name, buffer in ours.state_dict().items():
        resumed.state_dict()[name].copy_(buffer)  # in place, as checkpoints are read
    for step in range(7, 20):
        fakes = numbered(2 * step, 2)
        assert torch.equal(ours.replay(fakes, draw(step, 2)), resumed.replay(fakes, draw(step, 2)))


def test_saved_state_has_one_shape_full_or_not():
    ours = pool(size=4)
    shapes = {name: buffer.shape for name, buffer in ours.state_dict().items()}
    ours.replay(numbered(0, 9), draw(0, 9))
    assert {name: buffer.shape for name, buffer in ours.state_dict().items()} == shapes
    assert set(shapes) == {"stored", "count"}


def test_batch_in_parts_is_the_batch():
    whole, parts = pool(), pool()
    for step in range(10):
        fakes = numbered(8 * step, 8)
        first = parts.replay(fakes[:3], draw(step, 8, slice(0, 3)))
        second = parts.replay(fakes[3:], draw(step, 8, slice(3, 8)))
        assert torch.equal(whole.replay(fakes, draw(step, 8)), torch.cat([first, second]))


def test_half_precision_fakes_come_back_as_they_are():
    ours = pool(size=2)
    for step in range(5):
        shown = ours.replay(numbered(step, 1).bfloat16(), draw(step, 1))
        assert shown.dtype == torch.bfloat16
    assert ours.stored.dtype == torch.float32


def test_pool_keeps_the_spec_and_refuses_text():
    assert COMPONENTS["image-pool"].views(ImagePoolOptions(), IMAGE) == {"plain": IMAGE}
    with pytest.raises(Impossible, match="keeps images, not text"):
        COMPONENTS["image-pool"].views(ImagePoolOptions(), TEXT)


def test_manifest_does_not_import_torch():
    code = "import ganforge_cyclegan.plugin, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
