"""pix2pix's generator, its loss of pairs, and the metric of pairs."""

import copy
import inspect
import subprocess
import sys

import numpy as np
import pytest
import torch
from ganforge_pix2pix.losses import PairedDistance
from ganforge_pix2pix.paired_error import PairedError, constant_error, mean_error
from ganforge_pix2pix.plugin import (
    PairedDistanceOptions,
    PairedErrorOptions,
    UnetTranslatorOptions,
    ganforge_components,
    halvings,
)
from ganforge_pix2pix.unet_translator import UnetTranslator
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from playing import CYCLE, QUIET, plan_of, registry, training_of
from recipe_text import RecipeText
from torch import nn

from ganforge import GanforgeError, ImageSpec, LabelSpec, NoiseSpec, Run, TextSpec, VectorSpec
from ganforge.planning.resolved_recipe import resolved_tables, to_toml
from ganforge.plugin import Impossible
from ganforge.recipes.problems import RecipeError

COMPONENTS = {c.name: c for c in ganforge_components()}
TEXT = TextSpec(vocabulary=("", "red", "blue"), length=5)
IMAGE = ImageSpec(3, 32, 32)


def unet(sources=(IMAGE,), target=IMAGE, width=4, **options):
    return UnetTranslator(UnetTranslatorOptions(width=width, **options), sources, target)


# The generator


def test_unet_has_the_published_layers():
    image = ImageSpec(3, 256, 256)
    with torch.device("meta"):
        network = UnetTranslator(UnetTranslatorOptions(), [image], image)
    down = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    up = [m for m in network.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [m.out_channels for m in down] == [64, 128, 256] + [512] * 5
    assert [m.out_channels for m in up] == [512] * 4 + [256, 128, 64, 3]
    assert [m.in_channels for m in up] == [512] + [1024] * 4 + [512, 256, 128]
    norms = [m for m in network.modules() if isinstance(m, nn.GroupNorm)]
    assert len(norms) == 6 + 7  # none on the first, the innermost and the last convolution
    assert network.shares == (0.5, 0.5, 0.5, 0, 0, 0, 0)
    # 54,413,955 of the published code, whose first and innermost convolutions have no bias
    assert sum(p.numel() for p in network.parameters()) == 54_413_955 + 64 + 512


@pytest.mark.parametrize(
    ("size", "shares"),
    [
        ((64, 64), (0.5, 0.5, 0, 0, 0)),
        ((32, 48), (0.5, 0, 0, 0)),
        ((16, 16), (0, 0, 0)),
        ((2, 9), ()),
    ],
)
def test_the_innermost_wide_layers_drop(size, shares):
    image = ImageSpec(3, *size)
    network = unet([image], image)
    assert network.shares == shares
    assert network.draws_itself == any(shares)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    asked=st.none() | st.integers(1, 6),
)
def test_unet_works_where_the_check_lets_it_through(height, width, asked):
    options = UnetTranslatorOptions(width=2, halvings=asked)
    image = ImageSpec(3, height, width)
    if min(height, width) < 2 ** (asked or 1):
        with pytest.raises(Impossible, match="needs sides of at least") as caught:
            COMPONENTS["unet-translator"].check(options, (image,), image)
        assert caught.value.key == "halvings"
        return
    COMPONENTS["unet-translator"].check(options, (image,), image)
    grey = ImageSpec(1, height, width)
    with torch.device("meta"):
        network = UnetTranslator(options, [image], grey)
        assert network(torch.empty(2, *image.shape)).shape == (2, *grey.shape)
    if asked is None:
        inner = [side >> halvings(options, image) for side in (height, width)]
        assert min(inner) == 1


def test_unet_made_for_one_size_translates_others():
    network = unet().eval()
    assert network(torch.zeros(1, 3, 41, 60)).shape == (1, 3, 41, 60)
    with pytest.raises(GanforgeError, match=r"halves images 5 times, so .* not 31 x 60"):
        network(torch.zeros(1, 3, 31, 60))


def test_unet_check_says_what_fits():
    check, options = COMPONENTS["unet-translator"].check, UnetTranslatorOptions()
    with pytest.raises(Impossible, match=r"turns an image .* not normal noise of 10"):
        check(options, (NoiseSpec(10),), IMAGE)
    with pytest.raises(Impossible, match=r"turns an image .* into vector of 3"):
        check(options, (IMAGE,), VectorSpec(3))
    with pytest.raises(Impossible, match="images of one size"):
        check(options, (IMAGE,), ImageSpec(3, 64, 64))
    with pytest.raises(Impossible, match="turn text into vectors"):
        check(options, (IMAGE, TEXT), IMAGE)
    with pytest.raises(Impossible, match=r"at least 64 px, not 32 x 32: take 5$"):
        check(UnetTranslatorOptions(halvings=6), (IMAGE,), IMAGE)
    check(options, (IMAGE, NoiseSpec(10), LabelSpec(3)), ImageSpec(1, 32, 32))


def test_dropout_stays_on_and_is_the_only_draw():
    images = torch.randn(1, *IMAGE.shape)
    network = unet().eval()
    torch.manual_seed(0)
    first, second = network(images), network(images)
    torch.manual_seed(0)
    assert torch.equal(first, network(images)) and not torch.equal(first, second)
    still = unet(dropout=0.0)
    assert not still.draws_itself and torch.equal(still(images), still(images))


@pytest.mark.parametrize("norm", ["instance", "none"])
def test_without_batch_norm_images_are_treated_one_by_one(norm):
    network = unet(norm=norm, dropout=0.0)
    images = torch.randn(3, *IMAGE.shape)
    alone = torch.cat([network(image[None]) for image in images])
    torch.testing.assert_close(network(images), alone, rtol=0, atol=1e-5)


def test_skips_lead_around_the_bottleneck():
    network = unet(dropout=0.0)
    nn.init.zeros_(network.up[0].weight)
    images = torch.randn(1, *IMAGE.shape, requires_grad=True)
    network(images).sum().backward()
    assert images.grad.abs().sum() > 0
    assert network.down[-1][1].weight.grad.abs().sum() == 0


def test_conditions_are_read_beside_the_image():
    network = unet([IMAGE, NoiseSpec(5), LabelSpec(3)], dropout=0.0)
    image = torch.randn(1, *IMAGE.shape).expand(2, -1, -1, -1)
    made = network(image, torch.zeros(2, 5), torch.tensor([0, 2]))
    assert not torch.allclose(made[0], made[1])


@pytest.mark.parametrize("norm", ["instance", "batch", "none"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("batch", [1, 3])
def test_gradients_are_those_of_double_precision_in_every_layout(norm, layout, batch):
    torch.manual_seed(0)
    network = unet(norm=norm, dropout=0.0)
    exact = copy.deepcopy(network).double()
    network.to(memory_format=layout)
    data = torch.randn(batch, *IMAGE.shape)
    network(data.contiguous(memory_format=layout)).square().sum().backward()
    exact(data.double()).square().sum().backward()
    for parameter, reference in zip(network.parameters(), exact.parameters(), strict=True):
        error = (parameter.grad.double() - reference.grad).norm()
        assert error <= 1e-3 * reference.grad.norm() + 1e-6


def test_initial_weights_follow_the_paper():
    torch.manual_seed(0)
    for module in unet(width=16).modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.weight.numel() > 1000:
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert module.bias is None or module.bias.abs().max() == 0


# The loss


@pytest.mark.parametrize(("norm", "expected"), [("l1", [0.5, 2.0]), ("l2", [0.25, 4.0])])
def test_distances_are_taken_per_value(norm, expected):
    made, truth = torch.tensor([[0.5, -1.0]]), torch.tensor([[0.0, 1.0]])
    loss = PairedDistance(PairedDistanceOptions(norm=norm))
    assert loss.generator(made, truth).tolist() == [expected]
    parameters = tuple(inspect.signature(loss.generator).parameters)
    assert parameters == tuple(COMPONENTS["paired-distance"].needs["generator"])


# In a game

PAIRS = (
    RecipeText("""
    recipe = 1
    name = "pairs"
    [data]
    use = "paired-folders"
    root = "ROOT"
    domains = { photo = "trainA", negative = "trainB" }
    holdout = 0.3
    [train]
    steps = STEPS
    batch = 4
    precision = "fp32"
    [optimizer]
    use = "adam"
    lr = 1e-2
    [generator]
    use = "unet-translator"
    from = "photo"
    to = "negative"
    width = 4
    [discriminator]
    use = "patchgan"
    on = "negative"
    given = "photo"
    width = 4
    layers = 1
    [losses.adversarial]
    use = "non-saturating"
    [losses.paired-distance]
    weight = 100.0
    """)
    + QUIET
)


def pairs(folder, steps=2, size=32):
    """A recipe on photographs (here: one colour each) and the same in negative."""
    draws = np.random.default_rng(0)
    for name in ("trainA", "trainB"):
        (folder / name).mkdir()
    for number in range(30):
        pixels = np.full((size, size, 3), draws.integers(0, 256, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "trainA" / f"{number}.png")
        Image.fromarray(255 - pixels).save(folder / "trainB" / f"{number}.png")
    return PAIRS.replace("ROOT", folder.as_posix()).replace("STEPS", str(steps))


def opened(training):
    text = to_toml(resolved_tables(training.plan), "a run")
    training.folder.resolved.write_text(text, encoding="utf-8")
    return Run(training.folder, registry=registry())


def test_pairs_are_learnt_and_measured(tmp_path):
    training = training_of(tmp_path, pairs(tmp_path, steps=60, size=16))
    training.run()
    metric = PairedError(PairedErrorOptions(count=5))
    figures = metric.measure(opened(training))
    assert set(figures) == {"main/error", "main/best-constant", "main/untouched"}
    assert figures["main/error"] < 0.6 * figures["main/best-constant"]
    assert figures["main/best-constant"] < figures["main/untouched"]
    assert "5 held-out pairs" in metric.protocol()


def test_samples_of_a_net_that_draws_follow_their_seeds(tmp_path):
    training = training_of(tmp_path, pairs(tmp_path))
    training.run()
    run = opened(training)
    images = run.held_out("photo", 1).expand(3, -1, -1, -1)
    made = run.translate(images)
    assert torch.equal(made, run.translate(images))
    assert not torch.equal(made[0], made[1])
    assert torch.equal(made[:1], run.translate(images[:1]))


def test_sheets_show_the_true_image_beside_what_is_made(tmp_path):
    text = pairs(tmp_path).replace(
        "samples = { off = true }", "samples = { count = 6, columns = 1 }"
    )
    training = training_of(tmp_path, text)
    training.run()
    with Image.open(training.folder.sheets()[-1]) as sheet:
        pixels = np.array(sheet).astype(int)
    assert pixels.shape == (2 * 32 + 2, 3 * 32 + 2 * 2, 3)
    source, truth = pixels[:32, :32], pixels[:32, 68:]
    assert np.abs(source + truth - 255).max() <= 1


def test_the_translator_plays_a_cycle(tmp_path):
    text = CYCLE.replace('"resnet-translator"', '"unet-translator"').replace("blocks = 1\n", "")
    training = training_of(tmp_path, text)
    training.run()
    assert training.step == 4


def test_a_loss_of_pairs_is_refused_where_there_are_none(tmp_path):
    with pytest.raises(RecipeError) as raised:
        plan_of(tmp_path, CYCLE + "[losses.paired-distance]\n")
    (problem,) = raised.value.problems
    assert problem.message == (
        "loss 'paired-distance' cannot play on 'l2d': it asks for 'truth', but the rows of 'light' "
        "and 'dark' are not paired"
    )


# The metric


def test_no_one_image_is_better_than_the_median():
    torch.manual_seed(0)
    truths = torch.rand(7, 3, 4, 4) * 2 - 1
    least = constant_error(truths)
    for one in (truths.median(0).values, truths.mean(0), torch.zeros(3, 4, 4), *truths):
        assert mean_error(one, truths) >= least
    assert constant_error(truths[:1]) == 0


def test_the_metric_refuses_what_is_not_paired(tmp_path):
    training = training_of(tmp_path, CYCLE)
    training.run()
    with pytest.raises(GanforgeError, match="that they are paired with; this run has l2d, d2l"):
        PairedError(PairedErrorOptions()).measure(opened(training))


def test_manifest_does_not_import_torch():
    code = "import ganforge_pix2pix.plugin, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
