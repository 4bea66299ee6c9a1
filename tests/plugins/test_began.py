"""BEGAN: its autoencoder at every size, its loss and k against hand-computed steps."""

import subprocess
import sys

import pytest
import torch
from ganforge_began.autoencoder import BeganDiscriminator, BeganGenerator, Elu, map_sizes
from ganforge_began.losses import Began
from ganforge_began.plugin import (
    BeganDiscriminatorOptions,
    BeganGeneratorOptions,
    BeganOptions,
    ganforge_components,
)
from playing import ONE_PAIR, training_of
from torch import nn
from torch.nn import functional as F

from ganforge import ImageSpec, LabelSpec, NoiseSpec, TextSpec, VectorSpec
from ganforge.game.batch import parts_of
from ganforge.plugin import Impossible
from ganforge.storage import checkpoint

COMPONENTS = {component.kind: component for component in ganforge_components()}
SIZES = [(28, 28), (32, 32), (64, 64), (48, 80), (37, 23), (6, 100), (5, 3), (1, 1)]

BEGAN = ONE_PAIR.replace(
    """
use = "mlp"
hidden = [12]
[discriminator]
use = "mlp"
hidden = [12]
dropout = 0.0
[losses.adversarial]
use = "non-saturating"
""",
    """
use = "began"
width = 3
layers = 1
[discriminator]
use = "began"
width = 3
layers = 1
code = 4
[losses.adversarial]
use = "began"
gamma = 0.9
lambda_k = 0.05
""",
)


def generator(target, sources=(NoiseSpec(5),), **options):  # noqa: B008
    return BeganGenerator(BeganGeneratorOptions(**{"width": 3, **options}), sources, target)


def discriminator(judged, given=(), **options):
    chosen = BeganDiscriminatorOptions(**{"width": 3, "code": 4, **options})
    return BeganDiscriminator(chosen, judged, given)


def loss(**options):
    return Began(BeganOptions(**options))


def played(began, real, fake):
    """One step's observations: what G's turn logs, as floats."""
    assert not began.observe("discriminator", {"real": torch.tensor(real), "fake": torch.zeros(())})
    logged = began.observe("generator", {"loss": torch.tensor(fake)})
    return {name: value.item() for name, value in logged.items()}


# --- the loss -------------------------------------------------------------------------------------


def test_an_images_loss_is_its_mean_absolute_difference():
    seen = torch.tensor([[[[0.5, -1.0]]], [[[0.0, 0.0]]]])
    reconstruction = torch.tensor([[[[0.0, 1.0]]], [[[0.25, 0.0]]]])
    assert loss().generator(seen, reconstruction).tolist() == [1.25, 0.125]


def test_d_takes_k_times_the_fakes_loss_from_that_of_real_images():
    began = loss()
    began.k.fill_(0.25)
    zeros = torch.zeros(1, 1, 1, 2)
    terms = began.discriminator(zeros, zeros + 1, zeros, zeros - 2)
    assert terms["real"].tolist() == [1.0]
    assert terms["fake"].tolist() == [-0.5]


def test_k_starts_at_0_so_that_d_first_only_learns_to_reconstruct():
    zeros = torch.zeros(1, 1, 1, 2)
    assert loss().discriminator(zeros, zeros, zeros, zeros + 1)["fake"].tolist() == [0.0]


def test_k_and_the_convergence_measure_are_those_computed_by_hand():
    began = loss(gamma=0.5, lambda_k=0.1)
    # k = 0 + 0.1 (0.5 * 0.4 - 0.1) = 0.01; M = 0.4 + |0.2 - 0.1| = 0.5
    assert played(began, 0.4, 0.1) == pytest.approx({"k": 0.01, "convergence": 0.5})
    # k = 0.01 + 0.1 (0.15 - 0.05) = 0.02; M = 0.3 + 0.1 = 0.4
    assert played(began, 0.3, 0.05) == pytest.approx({"k": 0.02, "convergence": 0.4})
    # k = 0.02 + 0.1 (0.1 - 0.25) = 0.005; M = 0.2 + 0.15 = 0.35
    assert played(began, 0.2, 0.25) == pytest.approx({"k": 0.005, "convergence": 0.35})


def test_k_stays_between_0_and_1():
    began = loss(gamma=1.0, lambda_k=10.0)
    assert played(began, 0.1, 0.9)["k"] == 0
    assert played(began, 0.9, 0.1)["k"] == 1
    # 1 + 10 (0.1 - 0.15), from 1 and not from the 8 that it was before it was cut
    assert played(began, 0.1, 0.15)["k"] == pytest.approx(0.5)


def test_what_was_logged_does_not_change_with_k():
    began = loss(lambda_k=0.1)
    began.observe("discriminator", {"real": torch.tensor(0.4), "fake": torch.tensor(0.0)})
    first = began.observe("generator", {"loss": torch.tensor(0.1)})["k"]
    began.observe("generator", {"loss": torch.tensor(0.1)})
    assert first.item() == pytest.approx(0.01)


def test_all_that_k_is_moved_by_is_state():
    """A loss may play on D's side less often than on G's: then its L(x) is older than a step."""
    began, again = loss(), loss()
    began.observe("discriminator", {"real": torch.tensor(0.4), "fake": torch.tensor(0.0)})
    again.load_state_dict(began.state_dict())
    numbers = [b.observe("generator", {"loss": torch.tensor(0.1)}) for b in (began, again)]
    assert numbers[0] == numbers[1]


def test_needs_are_those_read_from_the_source():
    import inspect

    for side, needs in COMPONENTS["loss"].needs.items():
        assert tuple(inspect.signature(getattr(Began, side)).parameters)[1:] == tuple(needs)


# --- in a game ------------------------------------------------------------------------------------


def game_of(folder, steps, *sets):
    """A training in which k begins at 0.5, so that D minds the fakes and k can move both ways."""
    training = training_of(folder, BEGAN, sets=[f"train.steps={steps}", *sets])
    training.game.losses["losses.adversarial@main"].k.fill_(0.5)
    return training


def test_k_follows_the_logged_losses_once_a_step(tmp_path):
    training = game_of(tmp_path, 6)
    training.game.enter(training.plan.phases[0])
    began = training.game.losses["losses.adversarial@main"]
    k = 0.5
    for step in range(1, 7):
        training.take_step(step)
        logged = training.gauges()
        real = logged["loss/adversarial/discriminator/real"]
        fake = logged["loss/adversarial/generator"]
        k += 0.05 * (0.9 * real - fake)
        assert logged["adversarial/k"] == began.k.item() == pytest.approx(k, abs=1e-6)
        measure = real + abs(0.9 * real - fake)
        assert logged["adversarial/convergence"] == pytest.approx(measure, abs=1e-6)


def test_k_is_in_every_checkpoint_and_a_resumed_run_is_bit_for_bit_the_same(tmp_path):
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    save = "hooks.checkpoint={off=false,every=1,keep=9}"
    whole = game_of(tmp_path / "whole", 8, save)
    whole.run()
    values = []
    for step in range(1, 9):
        saved = checkpoint.load(whole.folder.checkpoints, step)
        values.append(saved.networks["losses.adversarial@main/k"].item())
    assert len(set(values)) == 8
    game_of(tmp_path / "parts", 4, save).run()
    resumed = game_of(tmp_path / "parts", 8, save)
    resumed.resume(checkpoint.load(resumed.folder.checkpoints, 4))
    assert resumed.game.losses["losses.adversarial@main"].k.item() == values[3]
    resumed.run()
    expected = whole.game.state()
    for kind, tensors in resumed.game.state().items():
        assert tensors.keys() == expected[kind].keys()
        for name, tensor in tensors.items():
            assert torch.equal(tensor, expected[kind][name]), name


def test_gs_gradient_never_reaches_d_and_ds_never_reaches_g(tmp_path):
    training = game_of(tmp_path, 4)
    phase = training.plan.phases[0]
    training.game.enter(phase)
    G, D = (training.game.networks[f"{kind}.main"] for kind in ("generators", "discriminators"))
    untouched = weights_and_gradients(G)
    batches = parts_of(training.game, 0, graph=True)
    training._play("discriminator", 1, 0, batches)
    assert same(weights_and_gradients(G), untouched), "G moved or took gradient in D's turn"
    left = weights_and_gradients(D)
    assert all(f"{name}.grad" in left for name, _ in D.named_parameters())
    training._play("generator", 1, 0, batches)
    assert same(weights_and_gradients(D), left), "D moved or took gradient in G's turn"
    assert all(p.grad is not None and p.grad.any() for p in G.parameters())


def weights_and_gradients(network):
    state = {name: p.detach().clone() for name, p in network.named_parameters()}
    graded = ((name, p.grad) for name, p in network.named_parameters() if p.grad is not None)
    return state | {f"{name}.grad": gradient.clone() for name, gradient in graded}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- the networks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 64), [(64, 64), (32, 32), (16, 16), (8, 8)]),
        ((28, 28), [(28, 28), (14, 14), (7, 7)]),
        ((48, 80), [(48, 80), (24, 40), (12, 20), (6, 10)]),
        ((5, 90), [(5, 90)]),
    ],
)
def test_maps_are_halved_down_to_about_8_px(size, expected):
    assert map_sizes(*size) == expected


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("layers", "skip"), [(1, False), (2, False), (2, True)])
def test_every_size_is_met_exactly(size, layers, skip):
    image = ImageSpec(2, *size)
    made = generator(image, layers=layers, skip=skip)(torch.rand(2, 5))
    assert made.shape == (2, 2, *size) and made.abs().max() <= 1
    output = discriminator(image, layers=layers, skip=skip)(made)
    assert output.reconstruction.shape == made.shape
    assert output.features.shape == (2, 4)


def test_64_px_has_the_layers_of_the_paper():
    """Figure 1: convolutions 3 -> n, then two of each multiple of n; the decoder keeps n."""
    D = BeganDiscriminator(BeganDiscriminatorOptions(width=128), ImageSpec(3, 64, 64))
    channels = [
        [(m.in_channels // 128 or 3, m.out_channels // 128 or 3) for m in convolutions(part)]
        for part in (D.encoder, D.decoder)
    ]
    assert channels[0] == [
        *[(3, 1), (1, 1), (1, 1)],
        *[(1, 2), (2, 2), (2, 2)],
        *[(2, 3), (3, 3), (3, 3)],
        *[(3, 4), (4, 4), (4, 4)],
    ]
    assert channels[1] == [(1, 1)] * 8 + [(1, 3)]
    into, out = (m for m in D.modules() if isinstance(m, nn.Linear))
    assert (into.in_features, into.out_features) == (8 * 8 * 4 * 128, 64)
    assert (out.in_features, out.out_features) == (64, 8 * 8 * 128)


def test_skips_put_the_first_maps_beside_every_larger_one():
    G = generator(ImageSpec(1, 28, 28), skip=True)
    seen = []
    for convolutions in G.decoder.larger:
        convolutions.register_forward_pre_hook(lambda _, maps: seen.append(maps[0]))
    z = torch.rand(2, 5)
    G(z)
    start = G.decoder.start(z)
    for maps, times in zip(seen, (2, 4), strict=True):
        enlarged = start.repeat_interleave(times, 2).repeat_interleave(times, 3)
        assert maps.shape[1] == 2 * start.shape[1]
        torch.testing.assert_close(maps[:, start.shape[1] :], enlarged)


def test_there_is_no_norm_and_every_bend_is_an_elu():
    for network in (generator(ImageSpec(1, 28, 28)), discriminator(ImageSpec(1, 28, 28))):
        kinds = {type(m).__name__ for m in network.modules() if not list(m.children())}
        assert kinds - {"Tanh"} == {
            "Conv2d",
            "Elu",
            "Linear",
            "Flatten",
            "Unflatten",
            "Upsample",
        } - ({"Flatten"} if isinstance(network, BeganGenerator) else set())


def test_the_generator_is_a_decoder_with_weights_of_its_own():
    image = ImageSpec(1, 28, 28)
    G, D = generator(image, (NoiseSpec(4),)), discriminator(image)
    shapes = [[p.shape for p in part.parameters()] for part in (G.decoder, D.decoder)]
    assert shapes[0] == shapes[1]


def test_untrained_networks_pass_their_input_on():
    """Else all samples begin, and long stay, as one image."""
    torch.manual_seed(0)
    image = ImageSpec(1, 64, 64)
    options = {"width": 16, "layers": 2}
    G, D = generator(image, (NoiseSpec(64),), **options), discriminator(image, code=64, **options)
    with torch.no_grad():
        assert 0.3 < G(torch.rand(32, 64) * 2 - 1).std(0).mean() < 0.9
        output = D(torch.randn(32, *image.shape))
    for part in (output.features, output.reconstruction):
        assert 0.4 < part.std(0).mean() < 2.5


def test_first_weights_keep_the_mean_square():
    x = torch.linspace(-8, 8, 100_001, dtype=torch.float64)
    density = torch.exp(-x.square() / 2) / (2 * torch.pi) ** 0.5
    assert torch.trapezoid(F.elu(x).square() * density, x).item() == pytest.approx(
        1 / 1.55, rel=0.01
    )


def test_conditions_stand_beside_the_code():
    torch.manual_seed(0)
    image = ImageSpec(1, 12, 12)
    D = discriminator(image, (LabelSpec(3), VectorSpec(2)))
    images, vectors = torch.rand(2, *image.shape), torch.rand(2, 2)
    one, other = (D(images, (torch.tensor(labels), vectors)) for labels in ([0, 1], [0, 2]))
    assert torch.equal(one.features, other.features)
    assert torch.equal(one.reconstruction[0], other.reconstruction[0])
    assert not torch.equal(one.reconstruction[1], other.reconstruction[1])


@pytest.mark.parametrize("bf16", [False, True])
def test_gradient_reaches_every_parameter(bf16):
    torch.manual_seed(0)
    image = ImageSpec(3, 28, 20)
    sources = (NoiseSpec(5), LabelSpec(3))
    G, D = generator(image, sources, skip=bf16), discriminator(image, skip=bf16)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        made = G(torch.rand(4, 5), torch.arange(4) % 3)
        output = D(made)
    loss().generator(made, output.reconstruction.float()).sum().backward()
    for name, parameter in [*G.named_parameters(), *D.named_parameters()]:
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_clamped_output_cuts_and_tanh_squashes():
    for output, bend in [("clamp", lambda x: x.clamp(-1, 1)), ("tanh", torch.tanh)]:
        G = generator(ImageSpec(1, 12, 12), output=output)
        z = 20 * torch.rand(4, 5)
        torch.testing.assert_close(G(z), bend(G.decoder(z)))


def test_elu_is_pytorchs_with_both_its_derivatives():
    x = torch.cat([torch.linspace(-30, 5, 701), torch.tensor([-1e-6, -0.0, 1e-6])])
    a, b = (x.double().requires_grad_() for _ in range(2))
    torch.testing.assert_close(Elu()(x), F.elu(x), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(Elu()(x.bfloat16()), F.elu(x.bfloat16()), rtol=0.01, atol=1e-3)
    derivatives = []
    for leaf, function in ((a, Elu()), (b, F.elu)):
        (first,) = torch.autograd.grad(function(leaf).sum(), leaf, create_graph=True)
        derivatives.append((first, *torch.autograd.grad(first.square().sum(), leaf)))
    for ours, theirs in zip(*derivatives, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


# --- the manifest ---------------------------------------------------------------------------------


def test_offers_exactly_what_the_manifest_says():
    output = discriminator(ImageSpec(1, 12, 12))(torch.rand(2, 1, 12, 12))
    names = ("scores", "class_scores", "features", "reconstruction")
    offered = {name for name in names if getattr(output, name) is not None}
    assert COMPONENTS["discriminator"].offered(BeganDiscriminatorOptions()) == offered


def test_check_says_what_began_cannot_do():
    image, text = ImageSpec(3, 32, 32), TextSpec(vocabulary=("", "red"), length=5)
    check = COMPONENTS["generator"].check
    check(BeganGeneratorOptions(), (NoiseSpec(64), LabelSpec(10), VectorSpec(5)), image)
    with pytest.raises(Impossible, match="makes images, not vector of 3"):
        check(BeganGeneratorOptions(), (NoiseSpec(64),), VectorSpec(3))
    for source in (image, text):
        with pytest.raises(Impossible, match="from noise, labels and vectors"):
            check(BeganGeneratorOptions(), (source,), image)
    check = COMPONENTS["discriminator"].check
    check(BeganDiscriminatorOptions(), image, (LabelSpec(10), VectorSpec(5)))
    with pytest.raises(Impossible, match="reconstructs images, not vector"):
        check(BeganDiscriminatorOptions(), VectorSpec(3), ())
    for condition in (image, text):
        with pytest.raises(Impossible, match="labels and vectors beside its code"):
            check(BeganDiscriminatorOptions(), image, (condition,))


def test_manifest_does_not_import_torch():
    code = "import ganforge_began.plugin, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def convolutions(part):
    return [module for module in part.modules() if isinstance(module, nn.Conv2d)]
