"""A generator that walks its discriminator's layers back and reuses its convolutions."""

import subprocess
import sys

import pytest
import torch
from ganforge_dcgan.networks import DcganDiscriminator
from ganforge_dcgan.plugin import DcganDiscriminatorOptions
from ganforge_weight_sharing.convolutions import before_features, effective_weight
from ganforge_weight_sharing.cut_gradient import CutGradient
from ganforge_weight_sharing.generator import WeightSharingGenerator
from ganforge_weight_sharing.losses import SameLabelDifference, pairs
from ganforge_weight_sharing.mirrored import MirroredDiscriminator
from ganforge_weight_sharing.plugin import (
    CutGradientOptions,
    MirroredOptions,
    SameLabelDifferenceOptions,
    WeightSharingOptions,
    ganforge_components,
)
from ganforge_weight_sharing.sizes import channels, fewest, layers
from hypothesis import given, settings
from hypothesis import strategies as st
from playing import QUIET, training_of
from recipe_text import RecipeText
from torch.nn import functional as F

from ganforge import (
    Discriminator,
    DiscriminatorOutput,
    GanforgeError,
    ImageSpec,
    LabelSpec,
    NoiseSpec,
    TextSpec,
    open_run,
)
from ganforge.plugin import Impossible
from ganforge.storage import checkpoint
from ganforge.training.trainer import Training

COMPONENTS = {c.name: c for c in ganforge_components()}
DIGIT, LABELS, SOURCES = ImageSpec(1, 28, 28), LabelSpec(10), (NoiseSpec(6), LabelSpec(10))


def mirrored(judged=DIGIT, labels=LABELS, width=4, **options):
    return MirroredDiscriminator(MirroredOptions(width=width, **options), judged, (), labels)


def generator(discriminator, target=DIGIT, sources=SOURCES, **options):
    return WeightSharingGenerator(WeightSharingOptions(**options), sources, target, discriminator)


def drawn(count, sources=SOURCES):
    return [
        torch.arange(count) % spec.classes
        if isinstance(spec, LabelSpec)
        else torch.randn(count, spec.dim)
        for spec in sources
    ]


# --- sizes ----------------------------------------------------------------------------------------


def sizes(height, width, count):
    return [(height, width), *(layer.small for layer in layers(height, width, count))]


@pytest.mark.parametrize(
    ("side", "count", "expected"),
    [
        (28, 4, [28, 9, 5, 3, 1]),
        (28, 5, [28, 9, 5, 3, 3, 1]),
        (28, 10, [28, 9, 9, 9, 5, 5, 5, 3, 3, 3, 1]),
        (32, 4, [32, 10, 5, 3, 1]),
        (64, 5, [64, 21, 11, 6, 3, 1]),
        (6, 4, [6, 2, 2, 2, 1]),
    ],
)
def test_sizes_shrink_to_one_and_further_layers_keep_them(side, count, expected):
    assert sizes(side, side, count) == [(size, size) for size in expected]


def test_each_side_shrinks_by_itself():
    assert sizes(48, 80, 5) == [(48, 80), (16, 26), (8, 13), (4, 7), (4, 7), (1, 1)]


@given(height=st.integers(6, 150), width=st.integers(6, 150), more=st.integers(0, 5))
def test_every_layer_ends_at_its_size_exactly_and_reads_every_pixel(height, width, more):
    count = fewest(height, width) + more
    made = layers(height, width, count)
    assert len(made) == count and made[-1].small == (1, 1)
    for layer in made:
        for large, small, kernel in zip(layer.large, layer.small, layer.kernel, strict=True):
            covered = (small - 1) * layer.stride + kernel
            assert covered == large + 2 * layer.padding and layer.stride <= kernel


def test_channels_double_with_each_size_and_stop_at_8_times():
    assert [channels(stage, 16) for stage in range(5)] == [16, 32, 64, 128, 128]


@pytest.mark.parametrize("count", [4, 10])
def test_the_generator_walks_the_discriminators_sizes_back(count):
    D = mirrored(layers=count)
    G = generator(D)
    assert len(G.blocks) == count - 1
    met = []
    for block in G.blocks:
        block.register_forward_hook(lambda block, given, made: met.append(made.shape[1:]))
        block.second.register_forward_hook(lambda layer, given, made: met.append(made.shape[1:]))
    made = G(*drawn(2))
    assert made.shape == (2, 1, 28, 28) and made.abs().max() <= 1
    ends = [(layer.outputs, *layer.small) for layer in before_features(D)[0]]
    starts = [(layer.inputs, *layer.large) for layer in before_features(D)[0]]
    assert met[0::2] == starts[::-1] and met[1::2] == ends[::-1]  # second, then the block's end


@settings(max_examples=15, deadline=None)
@given(height=st.integers(6, 70), width=st.integers(6, 70), more=st.integers(0, 3))
def test_the_generator_meets_every_size_that_the_check_lets_through(height, width, more):
    image = ImageSpec(3, height, width)
    options = MirroredOptions(layers=fewest(height, width) + more, width=2)
    COMPONENTS["mirrored"].check(options, image, (), LABELS)
    D = MirroredDiscriminator(options, image, (), LABELS)
    made = generator(D, image)(*drawn(2))
    assert made.shape == (2, *image.shape) and D(made).class_scores.shape == (2, 11)


def test_a_third_of_the_weights_are_shared_not_counting_the_first_transposed_convolution():
    """The 1 x 1 convolutions beside the shared ones make it 32 %."""
    G = generator(mirrored(width=32))
    shared = sum(block.shared.numel() for block in G.blocks)
    own = sum(p.numel() for p in G.parameters() if p.dim() > 1)
    first = sum(p.numel() for p in G.blocks[0].first.parameters())
    assert shared / (shared + own - first) == pytest.approx(0.32, abs=0.005)
    assert shared / (shared + own) == pytest.approx(0.057, abs=0.002)


# --- the discriminator ----------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["batch", "none", "spectral", "weight"])
def test_scores_are_the_logit_of_being_real(norm):
    output = mirrored(norm=norm)(torch.randn(3, 1, 28, 28))
    assert output.features.shape == (3, 16, 3, 3)
    share = output.class_scores.softmax(1)[:, :10].sum(1)
    torch.testing.assert_close(output.scores.sigmoid(), share)


def test_its_rows_are_those_that_its_class_scores_come_from():
    D = mirrored().eval()
    output = D(torch.randn(3, 1, 28, 28))
    rows = D.class_rows()
    assert rows.shape == (10, 16 * 3 * 3)
    expected = output.features.flatten(1) @ rows.T + D.rows.bias[:10]
    torch.testing.assert_close(output.class_scores[:, :10], expected)


def test_the_checks_say_what_cannot_be():
    check, options = COMPONENTS["mirrored"].check, MirroredOptions()
    with pytest.raises(Impossible, match="judges images, not normal noise"):
        check(options, NoiseSpec(3), (), LABELS)
    with pytest.raises(Impossible, match="given no condition"):
        check(options, DIGIT, (LABELS,), LABELS)
    with pytest.raises(Impossible, match="the data has no labels"):
        check(options, DIGIT, (), None)
    with pytest.raises(Impossible, match="at least 6 x 6 px, not 5 x 28"):
        check(options, ImageSpec(1, 5, 28), (), LABELS)
    with pytest.raises(Impossible, match="at least 5 layers for 64 x 64 px, not 4") as error:
        check(options, ImageSpec(1, 64, 64), (), LABELS)
    assert error.value.key == "layers"

    check, options = COMPONENTS["weight-sharing"].check, WeightSharingOptions()
    check(options, SOURCES, DIGIT)
    with pytest.raises(Impossible, match="makes images"):
        check(options, SOURCES, NoiseSpec(3))
    for labels in ((), (LABELS, LABELS)):
        with pytest.raises(Impossible, match="one label"):
            check(options, (NoiseSpec(3), *labels), DIGIT)
    for source in (DIGIT, TextSpec(vocabulary=("", "a"), length=2)):
        with pytest.raises(Impossible, match="from noise and a label"):
            check(options, (LABELS, source), DIGIT)


# --- gradient paths -------------------------------------------------------------------------------


def gradient_of_large(cut, residual, only_shared):
    """The gradient that reaches the map before the two convolutions of a block."""
    torch.manual_seed(0)
    block = generator(mirrored(), cut=cut, residual=residual, norm="none").blocks[1]
    large = torch.randn(2, block.geometry.inputs, *block.geometry.large, requires_grad=True)
    made = (
        block.recognised(large)
        if only_shared
        else block.trained(F.pad(large, block.geometry.centres()))
    )
    if not made.requires_grad:
        return None
    made.square().sum().backward()
    return large.grad


def test_activations_cut_no_gradient_passes_the_shared_convolution():
    assert gradient_of_large("activations", False, only_shared=True) is None
    assert gradient_of_large("activations", False, only_shared=False).abs().sum() > 0


def test_weights_cut_gradient_passes_the_shared_convolution():
    assert gradient_of_large("weights", False, only_shared=True).abs().sum() > 0


@pytest.mark.parametrize("cut", ["activations", "weights"])
@pytest.mark.parametrize("residual", [False, True])
def test_every_parameter_learns_and_no_shared_weight_does(cut, residual):
    torch.manual_seed(0)
    G = generator(mirrored(), cut=cut, residual=residual)
    G(*drawn(8)).square().sum().backward()
    for name, parameter in G.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    names = {name for name, _ in G.named_parameters()}
    assert not any("shared" in name or "memory" in name for name in names)
    assert {name for name, _ in G.named_buffers()} >= {
        "memory",
        "blocks.0.shared",
        "blocks.1.shared",
        "blocks.2.shared",
    }


@pytest.mark.parametrize(
    ("cut", "residual", "learns"),
    [
        ("activations", False, False),
        ("activations", True, True),
        ("weights", False, True),
    ],
)
def test_without_the_1x1_path_only_weights_cut_or_a_residual_leave_a_way_back(
    cut, residual, learns
):
    torch.manual_seed(0)
    G = generator(mirrored(), cut=cut, residual=residual)
    for block in G.blocks:
        block.trained.weight.requires_grad_(False).zero_()
    made = G(*drawn(8))
    made.square().sum().backward()
    grad = G.blocks[0].first[1].weight.grad
    assert (grad is not None and bool(grad.abs().sum() > 0)) is learns


def test_the_1x1_convolution_reads_the_centres_of_the_shared_ones_windows():
    for count in (4, 10):
        for layer in before_features(mirrored(layers=count))[0]:
            weight = torch.zeros(1, 1, *layer.kernel)
            weight[0, 0, (layer.kernel[0] - 1) // 2, (layer.kernel[1] - 1) // 2] = 1
            image = torch.randn(1, 1, *layer.large)
            centres = F.conv2d(image, weight, None, layer.stride, layer.padding)
            down, across = layer.stride
            read = F.pad(image, layer.centres())[..., ::down, ::across]
            torch.testing.assert_close(read, centres)


# --- what is shared -------------------------------------------------------------------------------


@pytest.mark.parametrize(("even", "loud"), [(True, 1.0), (False, 1 / 3)])
def test_the_1x1_path_begins_as_loud_as_the_shared_one_where_it_is_asked_to(even, loud):
    """D's 3 x 3 convolution sums over 9 times as many pixels, so it is 3 times as loud."""
    D = mirrored(width=16)
    block = generator(D, even=even).blocks[0]
    large = torch.randn(64, 32, 5, 5)
    shared, trained = block.recognised(large).detach(), block.trained(large).detach()
    assert block.shared.shape[2:] == (3, 3)
    inner = (slice(None), slice(None), 1, 1)  # the window that no padding meets
    assert float(trained[inner].std() / shared[inner].std()) == pytest.approx(loud, rel=0.15)


@pytest.mark.parametrize("norm", ["batch", "spectral", "weight"])
def test_weights_are_shared_as_the_discriminator_computes_with_them(norm):
    torch.manual_seed(0)
    D = mirrored(norm=norm)
    G = generator(D)
    with torch.no_grad():
        for parameter in D.parameters():
            parameter.add_(torch.randn_like(parameter))
    D(torch.randn(4, 1, 28, 28))  # spectral norm estimates anew
    before = {name: value.clone() for name, value in D.state_dict().items()}
    G.take_weights(D, D.class_rows())
    assert all(torch.equal(value, before[name]) for name, value in D.state_dict().items())
    assert D.training and all(module.training for module in D.modules())

    D.eval()
    block = G.blocks[-1]  # the last one reuses D's first layer, which reads images
    image = torch.randn(2, 1, 28, 28)
    first = D.body[0]
    bias = 0 if first.bias is None else first.bias[:, None, None]
    torch.testing.assert_close(block.recognised(image) + bias, first(image))
    assert [block.shared.shape for block in reversed(G.blocks)] == [
        effective_weight(D.get_submodule(name)).shape for name in G.shared_from
    ]
    assert torch.equal(G.memory, D.class_rows())


def test_the_label_is_told_by_its_row_alone():
    G = generator(mirrored()).eval()
    noise = torch.randn(1, 6)
    three, four = (G(noise, torch.tensor([label])) for label in (3, 4))
    assert not torch.equal(three, four)
    G.memory[4] = G.memory[3]
    assert torch.equal(G(noise, torch.tensor([4])), three)


def test_balanced_rows_are_as_long_as_the_noise_is():
    """Rows as they are have length 0.02 * 12 against sqrt(6) here: the noise drowns the label."""
    D = mirrored()
    for balanced, length in [(False, 0.02 * (16 * 3 * 3) ** 0.5), (True, 6**0.5)]:
        G = generator(D, balanced=balanced)
        read = []
        G.blocks.register_forward_pre_hook(lambda blocks, given, read=read: read.append(given[0]))
        G(*drawn(10))
        rows = read[0][:, : G.memory.shape[1], 0, 0]
        torch.testing.assert_close(rows.norm(dim=1).mean(), torch.tensor(length), rtol=0.1, atol=0)
        torch.testing.assert_close(F.normalize(rows), F.normalize(G.memory))


def test_any_discriminator_of_one_chain_of_convolutions_can_be_shared():
    D = DcganDiscriminator(DcganDiscriminatorOptions(width=4), DIGIT)
    G = generator(D)
    assert G.shared_from == ["body.0", "body.2", "body.5"]
    assert G.memory.shape == (10, 16 * 4 * 4) and G.memory.abs().sum() == 0
    assert G(*drawn(2)).shape == (2, 1, 28, 28)
    G.take_weights(D, torch.ones(10, 256))
    assert G.memory.sum() == 2560
    with pytest.raises(GanforgeError, match=r"rows of 256 numbers.* has rows \[10, 16\]"):
        G.take_weights(D, torch.ones(10, 16))


class Skipping(Discriminator):
    def __init__(self, judged):
        super().__init__(None, judged)
        self.body = torch.nn.Conv2d(1, 4, 3, padding=1)
        self.skip = torch.nn.Conv2d(1, 8, 1)

    def forward(self, data, given=None):
        return DiscriminatorOutput(features=self.body(data).tile(1, 2, 1, 1) + self.skip(data))


def test_other_discriminators_are_refused_with_the_reason():
    with pytest.raises(GanforgeError, match=r"one after the other.*; Skipping has none"):
        generator(Skipping(DIGIT))
    with pytest.raises(GanforgeError, match="sees image 2 x 28 x 28; an augmentor that stacks"):
        generator(mirrored(ImageSpec(2, 28, 28)))
    given = DcganDiscriminator(DcganDiscriminatorOptions(width=4), DIGIT, (LABELS,))
    with pytest.raises(GanforgeError, match="is given label of 10 classes"):
        generator(given)


# --- the ascent -----------------------------------------------------------------------------------


def test_pairs_are_of_one_label_and_lone_ones_have_none():
    order, after = pairs(torch.tensor([2, 0, 2, 1, 2, 0]))
    assert order.tolist() == [1, 5, 3, 0, 2, 4]
    assert order[after].tolist() == [5, 1, 3, 2, 4, 0]  # 3 is alone: it follows itself


def test_same_label_difference_by_hand():
    """Images differ by 0.5 in the mean, noise by 2: 1 / (0.25 + 0.1); identical images: 1 / 0.1."""
    loss = SameLabelDifference(SameLabelDifferenceOptions())
    image = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.3, 0.3], [0.3, 0.3], [0.9, 0.9]])
    noise = torch.tensor([[0.0, 0.0], [3.0, -1.0], [0.0, 0.0], [1.0, 1.0], [5.0, 5.0]])
    value = loss.generator(image, torch.tensor([0, 0, 1, 1, 2]), noise)
    torch.testing.assert_close(value, torch.tensor([1 / 0.35, 1 / 0.35, 10.0, 10.0, 0.0]))


def test_same_label_difference_drives_images_apart():
    loss = SameLabelDifference(SameLabelDifferenceOptions())
    image = torch.tensor([[0.1], [0.2]], requires_grad=True)
    loss.generator(
        image, torch.zeros(2, dtype=torch.int64), torch.tensor([[0.0], [1.0]])
    ).sum().backward()
    assert image.grad[0] > 0 > image.grad[1]  # descent lowers the darker one


# --- what a cut costs -----------------------------------------------------------------------------


def figures_of(folder, change):
    training = training_of(folder, GAME + "[metrics.cut-gradient]\n")
    game = training.game
    game.enter(training.plan.phases[0])
    for networks in (game.networks, game.ema):
        change(networks["generators.main"])
    before = game.state()["networks"]
    before = {name: value.clone() for name, value in before.items()}
    with training.looking() as run:
        figures = CutGradient(CutGradientOptions(count=12)).measure(run)
    for name, value in game.state()["networks"].items():
        assert torch.equal(value, before[name]), name  # looking changes nothing
    assert figures.keys() == {
        f"{what}/block-{block}" for what in ("alignment", "norm") for block in (1, 2, 3)
    }
    return figures


@torch.no_grad()
def without_shared(G):
    for block in G.blocks:
        block.residual = False
        block.shared.zero_()


@torch.no_grad()
def without_trained(G):
    for block in G.blocks:
        block.residual = False
        block.trained.weight.zero_()


def test_a_cut_costs_nothing_where_nothing_is_shared(tmp_path):
    figures = figures_of(tmp_path, without_shared)
    assert list(figures.values()) == pytest.approx([1.0] * 6)


def test_a_cut_costs_all_where_all_is_shared(tmp_path):
    figures = figures_of(tmp_path, without_trained)
    assert list(figures.values()) == [0.0] * 6


# --- the game -------------------------------------------------------------------------------------

GAME = (
    RecipeText("""
recipe = 1
name = "dots"
[data]
use = "dots"
[train]
steps = 6
batch = 6
precision = "fp32"
device = "cpu"
[noise]
dim = 5
[generator]
use = "weight-sharing"
from = ["noise", "label"]
ema = 0.9
[discriminator]
use = "mirrored"
width = 4
norm = "spectral"
[losses.adversarial]
use = "odena"
[losses.same-label-difference]
weight = 0.3
[hooks.weight-sync]
every = 3
""")
    + QUIET
)


def differs(training):
    """Whether G's copies, and those of its average, are other than D's weights as they are."""
    discriminator = training.game.networks["discriminators.main"]
    found = set()
    for networks in (training.game.networks, training.game.ema):
        G = networks["generators.main"]
        for name, block in zip(G.shared_from, reversed(G.blocks), strict=True):
            weight = effective_weight(discriminator.get_submodule(name))
            found.add(not torch.equal(block.shared, weight))
        found.add(not torch.equal(G.memory, discriminator.class_rows()))
    assert len(found) == 1
    return found.pop()


def test_copies_are_made_before_the_first_step_and_then_every_so_often(tmp_path):
    training = training_of(tmp_path, GAME)
    history = []
    for name in ("generators.main",):  # as if D had been loaded from elsewhere after G was built
        training.game.networks[name].memory.zero_()
    take = training.take_step

    def step(number):
        history.append(differs(training))
        take(number)

    training.take_step = step
    training.run()
    assert history == [False, True, True, False, True, True] and not differs(training)


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(tmp_path):
    for name in ("whole", "halved"):
        (tmp_path / name).mkdir()
    whole = training_of(tmp_path / "whole", GAME)
    whole.run()
    first = training_of(tmp_path / "halved", GAME)
    first.steps = 4  # stops between two copies
    first.run()
    second = training_of(tmp_path / "halved", GAME)
    second.resume(checkpoint.newest_whole(second.folder.checkpoints)[0])
    second.run()
    one, other = whole.game.state(), second.game.state()
    for part in ("networks", "optimizers"):
        assert one[part].keys() == other[part].keys()
        for name, value in one[part].items():
            assert torch.equal(value, other[part][name]), name


def trained(folder, text, monkeypatch):
    """The run of a recipe on pictures of two labels, opened as a stranger would."""
    from small_recipes import write_recipe

    from ganforge import train

    monkeypatch.chdir(folder)
    recipe = write_recipe(folder, text)
    return train(recipe, out=folder / "run")


PICTURES = (
    GAME.replace('use = "dots"', 'use = "image-folder"\nroot = "pictures"\nlabels = true\nsize = 8')
    .replace("[hooks]\n", "")
    .split("progress =")[0]
)


def test_a_saved_generator_samples_alone(tmp_path, monkeypatch):
    run = trained(tmp_path, PICTURES, monkeypatch)
    made = run.sample(4, label=1)
    opened = open_run(tmp_path / "run")
    monkeypatch.setattr(type(opened), "discriminator", None)
    torch.testing.assert_close(opened.sample(4, label=1), made, rtol=0, atol=0)
    saved = checkpoint.load(tmp_path / "run" / "checkpoints", 6).networks
    weight = saved["ema.generators.main/memory"]
    assert weight.abs().sum() > 0 and torch.equal(opened.generator().memory, weight)
    assert torch.equal(saved["generators.main/memory"], weight)


def test_with_an_auxiliary_classifier_the_memory_is_its_rows(tmp_path):
    text = GAME.replace('"odena"', '"least-squares"\n[losses.auxiliary-classifier]')
    for network in ('"mirrored"\nwidth = 4\nnorm = "spectral"', '"dcgan"\nwidth = 4'):
        game = text.replace('"mirrored"\nwidth = 4\nnorm = "spectral"', network)
        training = training_of(tmp_path, game)
        training.run()
        head = training.game.losses["losses.auxiliary-classifier@main"].head
        G = training.game.networks["generators.main"]
        assert torch.equal(G.memory, head.weight) and head.weight.abs().sum() > 0


def test_what_cannot_be_shared_is_said_before_the_first_step(tmp_path):
    no_rows = GAME.replace(
        '"mirrored"\nwidth = 4\nnorm = "spectral"', '"dcgan"\nwidth = 4'
    ).replace('"odena"', '"hinge"')
    with pytest.raises(GanforgeError, match="the rows of a classifier on discriminator 'main'"):
        training_of(tmp_path, no_rows).run()
    no_sharer = GAME.replace('use = "weight-sharing"', 'use = "dcgan"\nwidth = 4')
    with pytest.raises(GanforgeError, match="no generator that shares weights"):
        training_of(tmp_path, no_sharer).run()


def test_the_generator_takes_the_discriminator_as_it_was_initialised(tmp_path):
    text = GAME.replace("[losses.adv", "init = { normal = 0.5 }\n[losses.adv")
    training = training_of(tmp_path, text)
    assert isinstance(training, Training) and not differs(training)


def test_manifest_does_not_import_torch():
    code = "import ganforge_weight_sharing.plugin, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
