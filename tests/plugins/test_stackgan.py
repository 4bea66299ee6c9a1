"""StackGAN: the text encoder, both stages, the discriminator, and its losses."""

import math
from itertools import pairwise

import pytest
import torch
from ganforge_stackgan.discriminator import StackganDiscriminator
from ganforge_stackgan.generators import StageOne, StageTwo
from ganforge_stackgan.losses import KlDivergence, Matching
from ganforge_stackgan.plugin import (
    DiscriminatorOptions,
    MatchingOptions,
    StageOneOptions,
    StageTwoOptions,
    TextEncoderOptions,
    check_discriminator,
    check_encoder,
    check_stage_one,
    check_stage_two,
)
from ganforge_stackgan.sizes import doublings, map_sizes, quarter
from ganforge_stackgan.text_encoder import TextEncoder
from hypothesis import given, settings
from hypothesis import strategies as st
from playing import QUIET, training_of
from torch import nn

from ganforge import ImageSpec, LabelSpec, NoiseSpec, TextSpec, VectorSpec, as_one_hot
from ganforge.plugin import Impossible

TEXT = TextSpec(("", "a", "red", "blue", "circle", "left", "of"), 9)
Z, WOBBLE, VECTOR = NoiseSpec(5), NoiseSpec(6), VectorSpec(7)
SMALL = ImageSpec(3, 32, 32)


def stage_one(target=SMALL, sources=(Z, WOBBLE, VECTOR), width=4):
    return StageOne(StageOneOptions(width=width), sources, target)


def stage_two(target, given=SMALL, sources=(WOBBLE, VECTOR), width=4, **options):
    options = StageTwoOptions(width=width, blocks=1, **options)
    return StageTwo(options, (*sources, given), target)


def judge(judged, conditions=(VECTOR,), width=4, **options):
    return StackganDiscriminator(DiscriminatorOptions(width=width, **options), judged, conditions)


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def items(*specs, n=3):
    return [torch.randn(n, *spec.shape) for spec in specs]


# Sizes


def test_maps_are_halved_down_to_4_px_and_doubled_on_the_way_back():
    assert map_sizes((64, 64)) == [(64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]
    assert map_sizes((48, 80))[-1] == (6, 10)
    assert quarter((64, 64)) == (16, 16)
    assert doublings((16, 16), (128, 128)) == [(32, 32), (64, 64), (128, 128)]
    assert doublings((16, 16), (16, 16)) == [(16, 16)]
    assert doublings((7, 9), (25, 31)) == [(13, 16), (25, 31)]


@given(st.tuples(*[st.integers(7, 70)] * 2), st.integers(1, 5))
def test_no_step_more_than_doubles(large, part):
    small = tuple(max(2, side // part) for side in large)
    sizes = [small, *doublings(small, large)]
    assert sizes[-1] == large
    for before, after in pairwise(sizes):
        assert all(a <= b <= 2 * a for a, b in zip(before, after, strict=True))


# Networks


def test_64_px_has_the_layers_of_the_paper():
    G = StageOne(
        StageOneOptions(), (NoiseSpec(100), NoiseSpec(128), VectorSpec(1024)), ImageSpec(3, 64, 64)
    )
    convolutions = [m for m in G.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [768, 384, 192, 96, 3]
    assert {m.kernel_size for m in convolutions} == {(3, 3)}
    assert G.first[0].out_features == 1536 * 4 * 4
    assert G.first[0].in_features == 228
    D = StackganDiscriminator(DiscriminatorOptions(), ImageSpec(3, 64, 64), (VectorSpec(1024),))
    kernels = [(m.out_channels, m.kernel_size[0]) for m in D.modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [(96, 4), (192, 4), (384, 4), (768, 4), (768, 1), (1, 4)]
    assert not D.independent_rows


@pytest.mark.parametrize("size", [(7, 7), (28, 28), (64, 64), (48, 80), (37, 23)])
def test_stage_one_makes_images_of_any_size(size):
    made = stage_one(ImageSpec(3, *size))(*items(Z, WOBBLE, VECTOR))
    assert made.data.shape == (3, 3, *size)
    assert made.data.abs().max() <= 1
    assert [part.shape for part in made.posterior] == [(3, 6), (3, 6)]


@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.integers(7, 40)] * 2), st.tuples(*[st.integers(0, 60)] * 2))
def test_stage_two_enlarges_from_any_size_to_any(small, more):
    given = ImageSpec(3, *small)
    target = ImageSpec(3, *(a + b for a, b in zip(small, more, strict=True)))
    made = stage_two(target, given)(*items(WOBBLE, VECTOR, given))
    assert made.data.shape == (3, *target.shape)


def test_stage_two_begins_at_the_enlarged_image_where_it_learns_a_difference():
    target = ImageSpec(3, 64, 64)
    network = stage_two(target, output="difference")
    nn.init.zeros_(network.layers[-1].weight)
    wobble, vector, image = items(WOBBLE, VECTOR, SMALL)
    image = image.clamp(-1, 1)
    made = network(wobble, vector, image).data
    expected = nn.functional.interpolate(image, (64, 64), mode="bilinear")
    torch.testing.assert_close(made, expected)


def test_the_code_is_drawn_from_the_posterior_by_the_last_noise():
    network = stage_one()
    z, wobble, vector = items(Z, WOBBLE, VECTOR)
    code, (mean, log_variance) = network.augmented([z, wobble, vector])
    torch.testing.assert_close((code - mean) / torch.exp(log_variance / 2), wobble)
    assert (log_variance < 0).any()  # no ReLU on it
    still, _ = network.augmented([z, torch.zeros_like(wobble), vector])
    torch.testing.assert_close(still, mean)
    other, _ = network.augmented([z + 1, wobble, vector])
    torch.testing.assert_close(other, code)


def test_conditions_may_be_several_vectors_and_labels():
    sources = (Z, WOBBLE, VECTOR, LabelSpec(4))
    network = stage_one(sources=sources)
    values = [*items(Z, WOBBLE, VECTOR), torch.tensor([0, 3, 1])]
    assert network(*values).data.shape == (3, *SMALL.shape)
    D = judge(SMALL, (VECTOR, LabelSpec(4)))
    output = D(torch.randn(3, *SMALL.shape), tuple(values[2:]))
    assert output.scores.shape == (3,)


@pytest.mark.parametrize("norm", ["batch", "spectral", "none"])
@pytest.mark.parametrize("size", [(7, 7), (33, 20), (64, 64)])
def test_the_discriminator_says_one_score_of_images_of_any_size(norm, size):
    spec = ImageSpec(3, *size)
    network = judge(spec, norm=norm)
    output = network(torch.randn(3, *spec.shape), (torch.randn(3, 7),))
    assert output.scores.shape == (3,)
    assert output.features.shape[0] == 3
    assert network.independent_rows == (norm != "batch")


def test_the_score_depends_on_image_and_condition_together():
    """A condition that were only added could say nothing of whether both match."""
    network = judge(SMALL, norm="none").eval()
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0, 0.3)
    image, vector = torch.randn(2, *SMALL.shape), torch.randn(2, 7)

    def score(i, v):
        return network(image[i : i + 1], (vector[v : v + 1],)).scores[0]

    apart = (score(0, 0) - score(0, 1)) - (score(1, 0) - score(1, 1))
    assert apart.abs() > 1e-3 * score(0, 0).abs()


# The text encoder


def encoder(**options):
    return TextEncoder(TextEncoderOptions(width=8, **options), (TEXT,), VectorSpec(10)).eval()


def test_encodes_numbers_and_one_hot_text_alike():
    network = encoder()
    numbers = torch.tensor([TEXT.encode("a red circle"), TEXT.encode("blue circle left of a red")])
    made = network(numbers)
    assert made.shape == (2, 10)
    torch.testing.assert_close(network(as_one_hot(numbers, TEXT)), made)
    torch.testing.assert_close(made.mean(1), torch.zeros(2), atol=1e-5, rtol=0)


def test_an_encoding_depends_on_the_words_and_their_order_but_not_on_what_fills_up():
    network = encoder()
    one, other = TEXT.encode("a red circle"), TEXT.encode("a circle red")
    made = network(torch.tensor([one, other]))
    assert (made[0] - made[1]).abs().max() > 1e-3
    short = TextSpec(TEXT.vocabulary, 3)  # nothing to fill up
    same = TextEncoder(TextEncoderOptions(width=8), (short,), VectorSpec(10)).eval()
    same.load_state_dict(network.state_dict())
    torch.testing.assert_close(same(torch.tensor([short.encode("a red circle")])), made[:1])


def test_gradients_reach_words_that_were_made():
    text = as_one_hot(torch.tensor([TEXT.encode("a red circle")]), TEXT).requires_grad_()
    encoder()(text)[0, 0].backward()
    assert text.grad.abs().sum() > 0


# Losses


def test_matching_halves_what_is_fake():
    loss = Matching(MatchingOptions())
    real, fake, wrong = torch.tensor([[2.0, -1.0], [0.5, 0.0], [1.0, -3.0]]).unbind()
    terms = loss.discriminator(real, fake, wrong)
    assert terms["real"][0].item() == pytest.approx(math.log(1 + math.exp(-2)))
    assert terms["fake"][1].item() == pytest.approx(math.log(2) / 2)
    assert terms["mismatched"][0].item() == pytest.approx(math.log(1 + math.exp(1)) / 2)
    assert loss.generator(fake)[0].item() == pytest.approx(math.log(1 + math.exp(-0.5)))


def test_matching_with_the_hinge_stops_at_its_margin():
    loss = Matching(MatchingOptions(form="hinge"))
    scores = torch.tensor([2.0, 0.5, -2.0])
    terms = loss.discriminator(scores, scores, scores)
    assert terms["real"].tolist() == [0, 0.5, 3]
    assert terms["fake"].tolist() == terms["mismatched"].tolist() == [1.5, 0.75, 0]
    assert loss.generator(scores).tolist() == [-2, -0.5, 2]


def test_kl_divergence_has_its_closed_form_and_is_0_at_the_prior():
    loss = KlDivergence(None)
    mean, log_variance = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, math.log(4)]])
    expected = (0.5 + (4 - 1 - math.log(4)) / 2) / 2  # the mean of both dimensions
    assert loss.generator((mean, log_variance)).tolist() == pytest.approx([expected])
    assert loss.generator((torch.zeros(2, 3), torch.zeros(2, 3))).tolist() == [0, 0]
    normals = (torch.distributions.Normal(m, s) for m, s in ((0.7, 0.3), (0.0, 1.0)))
    known = torch.distributions.kl_divergence(*normals)
    stated = (torch.full((1, 1), 0.7), torch.full((1, 1), 2 * math.log(0.3)))
    torch.testing.assert_close(loss.generator(stated)[0], known)


# What is refused


@pytest.mark.parametrize(
    ("check", "arguments", "words"),
    [
        (check_encoder, ((VECTOR,), VECTOR), "reads one text"),
        (check_encoder, ((TEXT,), SMALL), "makes vectors, not image"),
        (check_stage_one, ((Z, TEXT), SMALL), "a text-encoder makes them"),
        (check_stage_one, ((Z, VECTOR), SMALL), "the noise of its conditioning augmentation"),
        (check_stage_one, ((Z, WOBBLE), SMALL), "and a vector"),
        (check_stage_one, ((Z, WOBBLE, VECTOR, SMALL), SMALL), "stackgan-2 does"),
        (check_stage_one, ((Z, NoiseSpec(3, "uniform"), VECTOR), SMALL), "which is normal"),
        (check_stage_one, ((Z, WOBBLE, VECTOR), ImageSpec(3, 6, 9)), "at least 7 x 7"),
        (check_stage_one, ((Z, WOBBLE, VECTOR), VECTOR), "makes images"),
        (check_stage_two, ((WOBBLE, VECTOR), SMALL), "a vector and an image"),
        (check_stage_two, ((Z, WOBBLE, VECTOR, SMALL), SMALL), "a vector and an image"),
        (check_stage_two, ((WOBBLE, VECTOR, SMALL), ImageSpec(3, 31, 64)), "no smaller images"),
        (check_discriminator, (SMALL, ()), "under a condition"),
        (check_discriminator, (SMALL, (TEXT,)), "a text-encoder makes them"),
        (check_discriminator, (VECTOR, (VECTOR,)), "judges images"),
    ],
)
def test_refuses_what_does_not_fit(check, arguments, words):
    options = {check_stage_two: StageTwoOptions()}.get(check)
    with pytest.raises(Impossible, match=words):
        check(options, *arguments)


def test_a_difference_needs_equal_channels():
    options = StageTwoOptions(output="difference")
    with pytest.raises(Impossible, match="as many channels") as refused:
        check_stage_two(options, (WOBBLE, VECTOR, ImageSpec(1, 32, 32)), SMALL)
    assert refused.value.key == "output"


# The game

GAME = (
    """
recipe = 1
name = "stack"
[data]
use = "captioned-shapes"
size = 48
count = 12
held_out = 4
[train]
steps = 4
batch = 4
precision = "fp32"
device = "cpu"
[train.phases.one]
train = ["generators.text", "generators.stage1", "discriminators.stage1"]
losses = ["matching1", "kl1"]
share = 0.5
[train.phases.two]
train = ["generators.stage2", "discriminators.stage2"]
losses = ["matching2", "kl2"]
[noise]
dim = 5
[domains.wobble1]
dim = 6
[domains.wobble2]
dim = 6
[domains.embedding]
vector = 7
[domains.small]
of = "image"
size = 24
[generators.text]
use = "text-encoder"
from = "caption"
to = "embedding"
width = 8
[generators.stage1]
use = "stackgan-1"
from = ["noise", "wobble1", "generators.text"]
to = "small"
width = 4
[generators.stage2]
use = "stackgan-2"
from = ["wobble2", "generators.text", "generators.stage1"]
to = "image"
width = 4
blocks = 1
[discriminators.stage1]
use = "stackgan"
on = "small"
given = "embedding"
width = 4
[discriminators.stage2]
like = "stage1"
on = "image"
[losses.matching1]
use = "matching"
on = "stage1"
[losses.matching2]
use = "matching"
on = "stage2"
[losses.kl1]
use = "kl-divergence"
on = "stage1"
[losses.kl2]
use = "kl-divergence"
on = "stage2"
"""
    + QUIET
)


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_each_phase_trains_its_stage_and_the_text_learns_with_the_first(tmp_path):
    training = training_of(tmp_path, GAME)
    assert training.plan.generators["text"].side == "discriminator"
    networks = training.game.networks
    moved = []
    for step in range(1, 5):
        before = {address: weights(network) for address, network in networks.items()}
        training.take_step(step)
        moved.append({a for a, n in networks.items() if not torch.equal(before[a], weights(n))})
    first = {"generators.text", "generators.stage1", "discriminators.stage1"}
    second = {"generators.stage2", "discriminators.stage2"}
    assert moved == [first, first, second, second]
