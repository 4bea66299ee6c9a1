"""The reconstruction loss against problems whose solution is known, and its manners."""

import subprocess
import sys

import pytest
import torch
from ganforge_reconstruction.plugin import ReconstructionOptions, check, ganforge_components
from ganforge_reconstruction.problem import Problem
from ganforge_reconstruction.reconstruction import Reconstruction
from ganforge_reconstruction.search import (
    bfgs,
    downwards,
    inwards,
    learn,
    rmsprop,
    typical_scale,
)
from playing import CYCLE, ONE_PAIR, training_of
from torch import nn

from ganforge import GanforgeError, Generator
from ganforge.plugin import Component, Impossible


class Affine(Generator):
    """G(z) = A z + b for all sources as one vector: the nearest image is one of least squares."""

    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.layer = nn.Linear(sum(spec.flat for spec in sources), target.flat)

    def forward(self, *sources):
        return self.layer(self.join(sources)).unflatten(1, self.target.shape)


class Plain(Generator):
    """Grey around z = 0, where no slope leads away; darker beyond."""

    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, noise):
        dark = -self.scale * (noise[:, :1] - 0.1).relu()
        return dark[:, :, None, None].expand(-1, *self.target.shape)


PLAIN = Component("generator", "plain", f"{__name__}:Plain", provider="tests", version="0")
AFFINE = Component("generator", "affine", f"{__name__}:Affine", provider="tests", version="0")


def recipe():
    """The dots, with an affine generator."""
    text = ONE_PAIR.replace('use = "mlp"\nhidden = [12]\n[disc', 'use = "affine"\n[disc')
    assert "affine" in text
    return text


def metric(**options):
    return Reconstruction(ReconstructionOptions(**options))


def quadratics(count=4, dim=6, seed=0):
    """Bowls 1/2 (z - m)' H (z - m) of very unequal axes; returns their objective and m."""
    draws = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(count, dim, dim, generator=draws))[0]
    axes = torch.logspace(-2, 2, dim)
    hessians = basis @ torch.diag(axes) @ basis.mT
    middles = torch.randn(count, dim, generator=draws)

    def objective(codes):
        away = codes - middles[: len(codes)]
        gradients = (hessians[: len(codes)] @ away[:, :, None])[:, :, 0]
        return (away * gradients).sum(1) / 2, gradients

    return objective, middles, hessians


FAR = 1e6  # a radius that bounds nothing


def nearest(weight, rests, radius):
    """min |A z - r|^2 / P over |z| <= radius, mean over rows r of rests [N, P], weight A [P, D]:
    z = (A'A + l I)^-1 A'r, with the l >= 0 that brings z to the radius, by bisection."""
    values, vectors = torch.linalg.eigh(weight.T @ weight)
    losses = []
    for rest in rests:
        target = vectors.T @ (weight.T @ rest)
        low, high = 0.0, 1e6
        for _ in range(200):
            middle = (low + high) / 2
            if (target / (values + middle)).norm() > radius:
                low = middle
            else:
                high = middle
        short = (target / values).norm() <= radius
        code = vectors @ (target / (values + (0.0 if short else high)))
        losses.append((weight @ code - rest).square().mean())
    return float(torch.stack(losses).mean())


# --- the search -----------------------------------------------------------------------------------


def test_bfgs_finds_the_bottom_of_bowls_that_gradients_alone_do_not():
    objective, middles, _ = quadratics()
    zeros = torch.zeros(4, 6)
    codes, losses = bfgs(objective, zeros, 80, FAR, torch.eye(6), 10.0)
    torch.testing.assert_close(codes, middles, atol=2e-3, rtol=0)
    assert losses.max() < 1e-6
    torch.testing.assert_close(objective(codes)[0], losses)
    assert rmsprop(objective, zeros, 80, 0.01)[1].mean() > 1e-3


def test_each_row_is_searched_as_if_alone():
    objective, _, _ = quadratics()
    zeros = torch.zeros(4, 6)
    together = bfgs(objective, zeros, 12, 1.5, torch.eye(6), 1.0)[1]
    alone = bfgs(objective, zeros[:1], 12, 1.5, torch.eye(6), 1.0)[1]
    torch.testing.assert_close(alone, together[:1])


def test_losses_never_rise_and_steps_count_evaluations():
    objective, _, _ = quadratics()
    evaluations = []

    def counted(codes):
        evaluations.append(len(codes))
        return objective(codes)

    before = objective(torch.zeros(4, 6))[0]
    for steps in (1, 2, 5, 9):
        evaluations.clear()
        after = bfgs(counted, torch.zeros(4, 6), steps, FAR, torch.eye(6), 1.0)[1]
        assert len(evaluations) == steps
        assert (after <= before).all()
        before = after


def test_a_search_ends_when_no_row_finds_anything_lower():
    evaluations = []

    def uphill(codes):  # whatever the gradient says, everything but 0 is higher
        evaluations.append(codes)
        return codes.square().sum(1), codes + 1

    codes, _ = bfgs(uphill, torch.zeros(2, 3), 1000, FAR, torch.eye(3), 1.0)
    assert len(evaluations) == 1 + 20 and not codes.any()  # 2^-20 < 1e-6


def test_no_step_is_longer_than_allowed():
    seen = [torch.zeros(4, 6)]
    objective, _, _ = quadratics()

    def watched(codes):
        seen.append(codes)
        return objective(codes)

    bfgs(watched, seen[0], 2, FAR, 100 * torch.eye(6), 0.25)
    torch.testing.assert_close((seen[2] - seen[1]).norm(dim=1), torch.full((4,), 0.25))
    steps = downwards(torch.eye(2)[None], torch.tensor([[0.3, -0.4]]), 1.0)  # a short one stays
    torch.testing.assert_close(steps, torch.tensor([[-0.3, 0.4]]))


def test_bounded_searches_end_at_the_lowest_point_within_the_radius():
    """(z - m)' diag(1, 100) (z - m) / 2 with m = (3, 1): the lowest point of the unit circle."""
    axes, middle = torch.tensor([1.0, 100.0]), torch.tensor([3.0, 1.0])

    def objective(codes):
        away = codes - middle
        return (away.square() * axes).sum(1) / 2, away * axes

    angles = torch.linspace(0, torch.pi / 2, 100_001)
    circle = torch.stack([angles.cos(), angles.sin()], 1)
    lowest = objective(circle)[0].min()
    starts = torch.tensor([[0.0, 0.0], [5.0, -5.0], [-1.0, 0.0]])
    codes, losses = bfgs(objective, starts, 60, 1.0, 0.01 * torch.eye(2), 0.3)
    torch.testing.assert_close(codes.norm(dim=1), torch.ones(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(losses, lowest.expand(3), atol=0, rtol=1e-4)


def test_only_what_would_lengthen_codes_on_the_edge_is_taken_from_gradients():
    codes = torch.tensor([[2.0, 0.0], [2.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
    gradients = torch.tensor([[-1.0, 3.0], [1.0, 3.0], [-1.0, 3.0], [-1.0, 3.0]])
    expected = gradients.clone()
    expected[0, 0] = 0  # descent would go outwards
    assert torch.equal(inwards(2.0, codes, gradients), expected)


def test_an_inverse_hessian_learns_the_formula():
    """With s = (1, 0), y = (2, 1): r = 1/2, and H s-wards becomes what y asks for: H y = s."""
    inverse = torch.eye(2).repeat(1, 1, 1)
    s, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 1.0]])
    learn(inverse, s, y, torch.ones(1, 1, dtype=torch.bool))
    torch.testing.assert_close(inverse[0], torch.tensor([[0.75, -0.5], [-0.5, 1.0]]))
    torch.testing.assert_close(inverse[0] @ y[0], s[0])


@pytest.mark.parametrize(
    ("changed", "chosen"), [([[-1.0, 0.0]], True), ([[0.0, 0.0]], True), ([[1.0, 0.0]], False)]
)
def test_nothing_is_learnt_from_hills_from_nothing_and_from_steps_taken_back(changed, chosen):
    inverse = torch.eye(2).repeat(1, 1, 1)
    learn(inverse, torch.tensor([[1.0, 0.0]]), torch.tensor(changed), torch.tensor([[chosen]]))
    assert torch.equal(inverse[0], torch.eye(2))


def test_typical_scale_makes_gradients_equally_strong_in_all_directions():
    draws = torch.Generator().manual_seed(0)
    mix = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.2, 0.0], [0.5, 0.0, 0.7]])
    gradients = torch.randn(2000, 3, generator=draws) @ mix
    scale = typical_scale(gradients)
    scaled = gradients @ scale
    torch.testing.assert_close(scaled.T @ scaled / 2000, torch.eye(3), atol=0.01, rtol=0)
    torch.testing.assert_close(scale, scale.T)


def test_noise_that_does_nothing_leaves_the_scale_finite():
    gradients = torch.zeros(10, 3)
    gradients[:, 0] = torch.arange(10.0)
    assert typical_scale(gradients).isfinite().all()


def test_scale_of_an_affine_generator(tmp_path):
    """Gradients are 2 / P A'A (z - z'), so (E g g')^-1/2 is P / (2 sqrt 2) (A'A)^-1."""
    training = training_of(tmp_path, recipe(), AFFINE)
    with training.looking() as run:
        scale = Problem.of(run, "main", "image", 6, 50).scale()
    weight = training.game.networks["generators.main"].layer.weight.detach()  # [P, D]
    found = scale @ weight.T @ weight * (2 * 2**0.5 / len(weight))
    torch.testing.assert_close(found, torch.eye(5), atol=0.1, rtol=0)


def test_rmsprop_is_torchs():
    objective, _, _ = quadratics()
    codes = torch.zeros(4, 6, requires_grad=True)
    optimizer = torch.optim.RMSprop([codes], lr=0.01)
    for _ in range(50):
        codes.grad = objective(codes.detach())[1]
        optimizer.step()
    found, losses = rmsprop(objective, torch.zeros(4, 6), 50, 0.01)
    torch.testing.assert_close(found, codes.detach())
    torch.testing.assert_close(losses, objective(codes.detach())[0])


# --- the metric -----------------------------------------------------------------------------------


def best_loss(run, network, images, offsets=0.0):
    """The figure in closed form, where G is affine and reads 5 numbers of noise first."""
    weight = network.layer.weight.detach()[:, :5].double()
    rests = images.flatten(1).double() - network.layer.bias.detach().double() - offsets
    return nearest(weight, rests, Problem.of(run, "main", "image", 6, 4).radius())


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_loss_is_that_of_bounded_least_squares_whatever_the_batch(batch, tmp_path):
    training = training_of(tmp_path, recipe(), AFFINE)
    with training.looking() as run:
        images = run.held_out("image", 6)
        figures = metric(count=6, steps=60, batch=batch).measure(run)
        network = training.game.networks["generators.main"]
        assert figures["loss"] == pytest.approx(best_loss(run, network, images), rel=1e-4)
    at_zero = float((images.flatten(1) - network.layer.bias.detach()).square().mean())
    assert figures["unsearched"] == pytest.approx(at_zero, rel=1e-5)
    assert figures["seconds"] > 0
    assert set(figures) == {"loss", "unsearched", "seconds"}


def test_the_published_search_comes_to_the_same_end_in_time(tmp_path):
    training = training_of(tmp_path, recipe(), AFFINE)
    with training.looking() as run:
        images = run.held_out("image", 6)
        short, long = (
            metric(steps=steps, method="rmsprop").measure(run)["loss"] for steps in (5, 400)
        )
        best = best_loss(run, training.game.networks["generators.main"], images)
    assert short > 1.01 * best and long == pytest.approx(best, rel=1e-3)


def test_labels_are_the_images_own(tmp_path):
    text = recipe().replace('use = "affine"', 'use = "affine"\nfrom = ["noise", "label"]')
    training = training_of(tmp_path, text, AFFINE)
    network = training.game.networks["generators.main"]
    with training.looking() as run:
        images, labels = run.held_out("image", 6), run.held_out("label", 6)
        found = metric(count=6, steps=60).measure(run)["loss"]
        own = network.layer.weight.detach()[:, 5 + labels].T.double()
        others = network.layer.weight.detach()[:, 5 + (labels + 1) % 3].T.double()
        assert found == pytest.approx(best_loss(run, network, images, own), rel=1e-4)
        assert found != pytest.approx(best_loss(run, network, images, others), rel=1e-4)


def test_several_noises_are_searched_together(tmp_path):
    text = recipe().replace('use = "affine"', 'use = "affine"\nfrom = ["grain", "noise"]')
    text += '[domains.grain]\ndim = 2\ndistribution = "uniform"\n'
    training = training_of(tmp_path, text, AFFINE)
    with training.looking() as run:
        images = run.held_out("image", 6)
        found = metric(count=6, steps=80).measure(run)["loss"]
        problem = Problem.of(run, "main", "image", 6, 4)
    layer = training.game.networks["generators.main"].layer
    rests = (images.flatten(1) - layer.bias.detach()).double()
    weight = layer.weight.detach().double()  # of 2 + 5 numbers
    assert found == pytest.approx(nearest(weight, rests, problem.radius()), rel=1e-4)
    drawn = problem.drawn(500, "here")
    assert drawn[:, :2].abs().max() <= 1 < drawn[:, 2:].abs().max()
    assert torch.equal(problem.drawn(3, "here"), drawn[:3])
    assert not torch.equal(problem.drawn(3, "there"), drawn[:3])
    assert drawn.norm(dim=1).mean() < problem.radius() < 3 * drawn.norm(dim=1).mean()


def test_more_starts_find_what_lies_behind_a_plain(tmp_path):
    training = training_of(tmp_path, recipe().replace('"affine"', '"plain"'), PLAIN)
    with training.looking() as run:
        one, many = (metric(steps=20, restarts=n).measure(run) for n in (0, 7))
    assert one["loss"] == one["unsearched"] > 2 * many["loss"]
    assert many["unsearched"] < one["unsearched"]


def test_a_generator_that_ignores_its_noise_has_a_figure_too(tmp_path):
    training = training_of(tmp_path, recipe().replace('"affine"', '"plain"'), PLAIN)
    nn.init.zeros_(training.game.networks["generators.main"].scale)
    with training.looking() as run:
        figures = metric(steps=5, restarts=1).measure(run)
    assert figures["loss"] == figures["unsearched"] > 0


def test_several_generators_are_told_apart_by_name(tmp_path):
    text = recipe().replace("[generator]", "[generators.a]") + '[generators.b]\nlike = "a"\n'
    training = training_of(tmp_path, text, AFFINE)
    with training.looking() as run:
        figures = metric(steps=3).measure(run)
    assert set(figures) == {f"{g}/{x}" for g in "ab" for x in ("loss", "unsearched", "seconds")}
    assert figures["a/loss"] != figures["b/loss"]


def test_refuses_games_without_images_from_noise(tmp_path):
    training = training_of(tmp_path, CYCLE)
    with training.looking() as run, pytest.raises(GanforgeError, match="'l2d' reads no noise"):
        metric().measure(run)
    text = recipe().replace('use = "affine"', 'use = "affine"\nto = "thumbnail"')
    text = text.replace('use = "mlp"', 'use = "mlp"\non = "thumbnail"')
    text += '[domains.thumbnail]\nof = "image"\nsize = 4\n'
    (tmp_path / "other").mkdir()
    training = training_of(tmp_path / "other", text, AFFINE)
    with training.looking() as run, pytest.raises(GanforgeError, match="holds no images"):
        metric().measure(run)


def test_measuring_leaves_gradients_modes_weights_and_draws_as_they_are(tmp_path):
    training = training_of(tmp_path, ONE_PAIR)  # an mlp with BatchNorm
    training.steps = 2
    training.run()
    network = training.game.networks["generators.main"]
    gradients = {name: p.grad.clone() for name, p in network.named_parameters()}
    modes = [module.training for module in network.modules()]
    wanted = [p.requires_grad for p in network.parameters()]
    state = {name: value.clone() for name, value in network.state_dict().items()}
    draws = torch.get_rng_state()
    with training.looking() as run:
        metric(steps=5).measure(run)
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter.grad, gradients[name])
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])
    assert [module.training for module in network.modules()] == modes
    assert [p.requires_grad for p in network.parameters()] == wanted
    assert torch.equal(draws, torch.get_rng_state())


def test_searches_without_gradients_switched_on(tmp_path):
    training = training_of(tmp_path, recipe(), AFFINE)
    with training.looking() as run:
        usual = metric(steps=5).measure(run)["loss"]
        with torch.no_grad():
            assert metric(steps=5).measure(run)["loss"] == usual


def test_protocol_says_how_in_one_line():
    line = metric(count=200, steps=30).protocol()
    assert "first 200 held-out" in line and "30 steps of bfgs" in line and "\n" not in line
    assert "rmsprop at 0.01" in metric(method="rmsprop").protocol()
    assert "and 4 drawn starts" in metric(restarts=4).protocol()


# --- the manifest ---------------------------------------------------------------------------------


def test_a_learning_rate_is_refused_where_there_is_none():
    check(ReconstructionOptions())
    check(ReconstructionOptions(method="rmsprop", lr=0.1))
    with pytest.raises(Impossible, match="bfgs has no learning rate") as error:
        check(ReconstructionOptions(lr=0.1))
    assert error.value.key == "lr"


def test_offers_the_metric():
    assert [(c.kind, c.name) for c in ganforge_components()] == [("metric", "reconstruction")]


def test_manifest_does_not_import_torch():
    code = "import ganforge_reconstruction.plugin, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
