"""The dense networks and the two objectives of the first GAN."""

import copy
import inspect
import math
import subprocess
import sys

import pytest
import torch
from ganforge_vanilla.losses import MaxMagnitude, Minimax, NonSaturating
from ganforge_vanilla.mlp import MlpDiscriminator, MlpGenerator
from ganforge_vanilla.plugin import (
    CrossEntropyOptions,
    MlpDiscriminatorOptions,
    MlpGeneratorOptions,
    ganforge_components,
)
from playing import ONE_PAIR, training_of
from torch import nn

from ganforge import AttributeSpec, Dropout, ImageSpec, LabelSpec, NoiseSpec, TextSpec, VectorSpec
from ganforge.game.batch import Batch
from ganforge.game.turn import Turn
from ganforge.plugin import Impossible

COMPONENTS = {(c.kind, c.name): c for c in ganforge_components()}
SIZES = [(1, 28, 28), (3, 32, 32), (1, 48, 80), (2, 1, 7)]
TEXT = TextSpec(vocabulary=("", "red", "blue"), length=5)


def generator(target=ImageSpec(1, 28, 28), sources=(NoiseSpec(100),), **options):  # noqa: B008
    return MlpGenerator(MlpGeneratorOptions(**options), sources, target)


def discriminator(judged=ImageSpec(1, 28, 28), given=(), **options):  # noqa: B008
    return MlpDiscriminator(MlpDiscriminatorOptions(**options), judged, given)


def loss(cls, **options):
    return cls(CrossEntropyOptions(**options))


@pytest.mark.parametrize("shape", SIZES)
def test_generator_makes_images_of_any_size_within_range(shape):
    made = generator(ImageSpec(*shape))(5 * torch.randn(4, 100))
    assert made.shape == (4, *shape)
    assert made.abs().max() <= 1


def test_generator_joins_noise_and_one_hot_labels():
    network = generator(sources=(NoiseSpec(10), LabelSpec(3)), hidden=[8])
    network.eval()
    noise = torch.randn(1, 10).expand(3, 10)
    made = network(noise, torch.arange(3))
    assert network.layers[0].in_features == 13
    assert not torch.allclose(made[0], made[1]), "the label changes nothing"


def test_generator_of_vectors_is_not_squashed():
    network = generator(VectorSpec(2))
    assert not any(isinstance(layer, nn.Tanh) for layer in network.modules())
    assert network(torch.randn(4, 100)).shape == (4, 2)


def test_default_layers_are_the_published_ones():
    layers = list(generator().layers)
    assert [m.out_features for m in layers if isinstance(m, nn.Linear)] == [256, 512, 1024, 784]
    assert [m.num_features for m in layers if isinstance(m, nn.BatchNorm1d)] == [256, 512, 1024]
    assert {m.negative_slope for m in layers if isinstance(m, nn.LeakyReLU)} == {0.01}
    body = list(discriminator().body)
    assert [m.out_features for m in body if isinstance(m, nn.Linear)] == [512, 256]
    assert [m.share for m in body if isinstance(m, Dropout)] == [0.5, 0.5]


@pytest.mark.parametrize("norms", [("batch", "none"), ("none", "spectral"), ("weight", "weight")])
def test_gradient_reaches_every_parameter(norms):
    G = generator(norm=norms[0])
    D = discriminator(given=(LabelSpec(4), VectorSpec(3)), norm=norms[1])
    output = D(G(torch.randn(8, 100)), (torch.arange(8) % 4, torch.randn(8, 3)))
    output.scores.square().sum().backward()
    for name, parameter in [*G.named_parameters(), *D.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_spectral_norm_is_1_in_every_layer():
    torch.manual_seed(0)
    D = discriminator(norm="spectral")
    for _ in range(60):  # a power iteration each
        D(torch.randn(2, 1, 28, 28))
    layers = [module for module in D.eval().modules() if isinstance(module, nn.Linear)]
    assert len(layers) == 3
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight, 2).item()
        assert largest == pytest.approx(1, abs=0.02)


def test_weight_norm_gives_each_output_a_length_of_its_own():
    for network in (discriminator(norm="weight"), generator(norm="weight")):
        layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
        assert len(layers) == 1 + len(network.options.hidden)
        for layer in layers:
            length = layer.parametrizations.weight.original0
            assert length.shape == (layer.out_features, 1) and layer.bias is not None
            torch.testing.assert_close(layer.weight.norm(dim=1), length.flatten())


def test_power_iterations_go_on_in_ds_own_turn_only(tmp_path):
    text = ONE_PAIR.replace("dropout = 0.0", 'dropout = 0.0\nnorm = "spectral"')
    training = training_of(tmp_path, text)
    game = training.game
    game.enter(training.plan.phases[0])
    D = game.networks["discriminators.main"]
    states = [copy.deepcopy(dict(D.named_buffers()))]
    for side in ("discriminator", "generator"):
        trained_modules = game.open_side(side)
        losses = list(training.plan.losses.values())
        turn = Turn(Batch(game, 0, slice(0, 6), graph=True), side, 1, game.wants(losses, side))
        assert trained_modules and all(list(game.terms(loss, turn)) for loss in losses)
        states.append(copy.deepcopy(dict(D.named_buffers())))
    start, after_d, after_g = states
    assert start and any(not torch.equal(start[name], after_d[name]) for name in start)
    assert all(torch.equal(after_d[name], after_g[name]) for name in start)


def test_discriminator_reads_its_condition():
    D = discriminator(given=(LabelSpec(4),)).eval()
    image = torch.randn(1, 1, 28, 28).expand(4, -1, -1, -1)
    assert len(D(image, (torch.arange(4),)).scores.unique()) == 4


@pytest.mark.parametrize("judged", [ImageSpec(1, 28, 28), VectorSpec(5), AttributeSpec(("a", "b"))])
def test_discriminator_offers_exactly_what_its_manifest_says(judged):
    component = COMPONENTS["discriminator", "mlp"]
    output = discriminator(judged)(torch.randn(2, *judged.shape))
    offered = {
        name
        for name in ("class_scores", "features", "reconstruction")
        if getattr(output, name) is not None
    }
    assert component.offered(MlpDiscriminatorOptions()) == offered
    assert output.scores.shape == (2,)
    assert output.features.shape == (2, 256)


def test_check_refuses_what_the_networks_cannot_do():
    check = COMPONENTS["generator", "mlp"].check
    check(MlpGeneratorOptions(), (NoiseSpec(100), LabelSpec(10)), ImageSpec(3, 48, 80))
    with pytest.raises(Impossible, match="makes images and vectors, not label of 3"):
        check(MlpGeneratorOptions(), (NoiseSpec(100),), LabelSpec(3))
    with pytest.raises(Impossible, match="turn text into vectors"):
        check(MlpGeneratorOptions(), (TEXT,), ImageSpec(3, 48, 80))
    with pytest.raises(Impossible, match="at least one hidden layer") as error:
        check(MlpGeneratorOptions(hidden=[]), (NoiseSpec(100),), ImageSpec(3, 48, 80))
    assert error.value.key == "hidden"
    check = COMPONENTS["discriminator", "mlp"].check
    check(MlpDiscriminatorOptions(), ImageSpec(1, 28, 28), (LabelSpec(10),))
    with pytest.raises(Impossible, match="turn text into vectors"):
        check(MlpDiscriminatorOptions(), ImageSpec(1, 28, 28), (TEXT,))


@pytest.mark.parametrize("cls", [Minimax, NonSaturating, MaxMagnitude])
def test_discriminator_side_is_binary_cross_entropy(cls):
    real, fake = torch.tensor([[0.3, -2.0]]), torch.tensor([[1.5, -0.1]])
    terms = loss(cls).discriminator(real, fake)
    torch.testing.assert_close(terms["real"], -torch.log(torch.sigmoid(real)))
    torch.testing.assert_close(terms["fake"], -torch.log(1 - torch.sigmoid(fake)))


def test_smoothing_labels_only_real_data():
    real, fake = torch.tensor([0.7, -3.0]), torch.tensor([0.2, 4.0])
    terms = loss(Minimax, smooth=0.1).discriminator(real, fake)
    expected = nn.functional.binary_cross_entropy_with_logits(
        real, torch.full_like(real, 0.9), reduction="none"
    )
    torch.testing.assert_close(terms["real"], expected)
    torch.testing.assert_close(
        terms["fake"], loss(Minimax).discriminator(real, fake)["fake"], rtol=0, atol=0
    )


def test_generator_sides_are_the_two_objectives():
    fake = torch.tensor([0.3, -2.0])
    probability = torch.sigmoid(fake)
    torch.testing.assert_close(loss(Minimax).generator(fake), torch.log(1 - probability))
    torch.testing.assert_close(loss(NonSaturating).generator(fake), -torch.log(probability))


def test_both_generators_want_higher_scores_but_only_minimax_saturates():
    for cls, strength in [(Minimax, 0.0), (NonSaturating, -1.0)]:
        score = torch.tensor([-30.0], requires_grad=True)
        loss(cls).generator(score).sum().backward()
        assert score.grad <= 0
        assert score.grad.item() == pytest.approx(strength, abs=1e-6)


def test_max_magnitude_by_hand():
    """With D(G(z)) = 1/4: a = log(3/4), b = log 4, so b; with 3/4: a = -log 4, b = log(4/3)."""
    low, high = torch.tensor([[-math.log(3)] * 2]), torch.tensor([[math.log(3)] * 2])
    assert loss(MaxMagnitude).generator(low).item() == pytest.approx(math.log(4))
    assert loss(MaxMagnitude).generator(high).item() == pytest.approx(-math.log(4))
    mixed = torch.tensor([-math.log(3), math.log(3), math.log(3)])  # means decide, not rows
    a = (math.log(3 / 4) + 2 * math.log(1 / 4)) / 3
    b = (math.log(4) + 2 * math.log(4 / 3)) / 3
    assert abs(a) > abs(b)
    assert loss(MaxMagnitude).generator(mixed).item() == pytest.approx(a)


@pytest.mark.parametrize("score", [-20.0, -1.0, -0.01, 0.01, 1.0, 20.0])
def test_max_magnitude_never_saturates(score):
    scores = torch.tensor([score], requires_grad=True)
    loss(MaxMagnitude).generator(scores).backward()
    assert scores.grad.item() == pytest.approx(-1 / (1 + math.exp(-abs(score))))


@pytest.mark.parametrize("cls", [Minimax, NonSaturating, MaxMagnitude])
def test_extreme_scores_stay_finite(cls):
    scores = torch.tensor([-1e4, 1e4], requires_grad=True)
    terms = loss(cls).discriminator(scores, scores)
    total = terms["real"].sum() + terms["fake"].sum() + loss(cls).generator(scores).sum()
    total.backward()
    assert total.isfinite() and scores.grad.isfinite().all()


def test_js_estimate_is_log_2_for_perfect_and_0_for_blind_discriminators():
    for real, fake, expected in [(0.0, 0.0, math.log(2)), (0.6931472, 0.6931472, 0), (2.0, 1.0, 0)]:
        values = {"real": torch.tensor(real), "fake": torch.tensor(fake)}
        logged = loss(NonSaturating).observe("discriminator", values)
        assert logged["js-estimate"].item() == pytest.approx(expected, abs=1e-6)
    assert loss(Minimax).observe("generator", {"loss": torch.tensor(1.0)}) == {}
    assert loss(Minimax, smooth=0.1).observe("discriminator", values) == {}


def test_js_estimate_of_the_optimal_discriminator_is_the_divergence():
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.1, 0.3, 0.6])
    middle = (p + q) / 2
    divergence = ((p * (p / middle).log()).sum() + (q * (q / middle).log()).sum()) / 2
    terms = loss(Minimax).discriminator((p / q).log(), (p / q).log())
    values = {"real": (p * terms["real"]).sum(), "fake": (q * terms["fake"]).sum()}
    logged = loss(Minimax).observe("discriminator", values)
    torch.testing.assert_close(logged["js-estimate"], divergence)


def test_needs_are_the_parameters_of_the_methods():
    classes = {"minimax": Minimax, "non-saturating": NonSaturating, "max-magnitude": MaxMagnitude}
    for name, cls in classes.items():
        for side, needs in COMPONENTS["loss", name].needs.items():
            assert tuple(inspect.signature(getattr(cls, side)).parameters)[1:] == tuple(needs)


def test_scores_above_0_mean_real():
    assert loss(Minimax).decision_threshold == 0


def test_manifest_does_not_import_torch():
    code = "import ganforge_vanilla.plugin, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
