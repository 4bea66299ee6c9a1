"""Each metric, and what `nearest` and `walk` measure, against closed forms and against the same
figure written a second time here, in float64 with numpy and scipy; and that no figure depends on
how many items are looked at at once, or on their order.

Tolerances, relative:

EXACT   the same float32 items in another order: only float64 sums are rounded.
FLOAT   against numpy: the metric takes its items, and differences of them, in float32.
BATCH   items that pass a network in other company: its kernels round otherwise.
SEARCH  the same where a search, or a distance by eigenvalues, widens what is rounded.
"""

from __future__ import annotations

import copy
import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
import torch
from ganforge_captioned_shapes import truth as captions
from ganforge_captioned_shapes.checker import Claims
from ganforge_captioned_shapes.plugin import CaptionedShapesOptions
from ganforge_captioned_shapes.plugin import describe as describe_shapes
from ganforge_checkerboard.checkerboard import checkerboard
from ganforge_judge import network as judge_network
from ganforge_judge.distance import frechet_distance
from ganforge_judge.metric import ClassDeviation, Looked
from ganforge_judge.metric import class_figures as judged_figures
from ganforge_overfitting.overfitting import rows, share
from ganforge_painted_horses import truth as horses
from ganforge_pix2pix.paired_error import constant_error, mean_error
from ganforge_reconstruction.plugin import ReconstructionOptions
from ganforge_reconstruction.problem import Problem
from ganforge_reconstruction.reconstruction import Reconstruction
from ganforge_semi_supervised.accuracy import class_figures
from ganforge_spoken_times import coverage
from ganforge_spoken_times.plugin import SpokenTimesOptions
from ganforge_spoken_times.plugin import describe as describe_times
from ganforge_spoken_times.wording import wordings
from ganforge_weight_sharing.cut_gradient import compared, gradients
from playing import CYCLE, ONE_PAIR, QUIET, registry, training_of
from small_recipes import draw_pictures

from ganforge import LabelSpec, NoiseSpec
from ganforge.lab.features import Eye
from ganforge.lab.nearest import copying
from ganforge.lab.walk import unevenness
from ganforge.plugin import ImageOptions

EXACT, FLOAT, BATCH, SEARCH = 1e-12, 1e-6, 1e-5, 1e-4

TESTS = Path(__file__).parent
# Package of a plugin -> the file that tests its metrics in the same way.
ELSEWHERE = {"ganforge_fidelity": "plugins/test_fidelity.py"}


def metrics():
    return {c.name: c for c in registry().of("metric") if c.provider == "ganforge"}


def cls_of(name):
    return registry().load_target(metrics()[name])


def here():
    return [n for n, c in metrics().items() if c.target.partition(".")[0] not in ELSEWHERE]


def random(*shape, seed=0, low=-1.0, high=1.0):
    draws = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=draws) * (high - low) + low


def near(expected, rel):
    return pytest.approx(expected, rel=rel, abs=rel)


def wide(tensor):
    """A tensor as numpy's float64."""
    return tensor.detach().numpy().astype(np.float64)


# --- that none is left out ------------------------------------------------------------------------


def test_every_shipped_metric_is_measured_a_second_time_here_or_in_its_own_file():
    assert set(here()) == set(SECOND) == set(GAMES) | {"cut-gradient"}
    for component in metrics().values():
        file = ELSEWHERE.get(component.target.partition(".")[0])
        assert file is None or component.name in (TESTS / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", sorted(metrics()))
def test_every_shipped_metric_has_closed_forms_and_meets_them(name):
    listed = list(cls_of(name).closed_forms())
    assert listed
    for what, found, expected in listed:
        assert found == near(expected, FLOAT), what


# --- written a second time ------------------------------------------------------------------------


def second_checkerboard():
    images = random(5, 3, 17, 22)
    images[..., ::3, 1::3] += 1
    x = wide(images)
    energies = np.zeros((3, 3, 3))
    counts = np.zeros((3, 3))
    for row in range(1, 16):
        for column in range(1, 21):
            around = x[..., row - 1, column] + x[..., row + 1, column]
            around = around + x[..., row, column - 1] + x[..., row, column + 1]
            place = (row - 1) % 3, (column - 1) % 3
            energies[place] += ((4 * x[..., row, column] - around) ** 2).mean(0)
            counts[place] += 1
    places = (energies / counts[..., None]).reshape(9, 3)
    yield checkerboard(images, 3), (places.std(0) / places.mean(0)).mean()


def second_class_accuracy():
    first, second = torch.randn(70, 5) @ torch.randn(5, 5), 2 * torch.randn(60, 5) + 1
    a, b = np.cov(wide(first).T), np.cov(wide(second).T)
    apart = wide(first).mean(0) - wide(second).mean(0)
    root = np.real(scipy.linalg.sqrtm(a @ b))
    yield frechet_distance(first, second), apart @ apart + np.trace(a + b - 2 * root)

    probabilities = torch.randn(40, 3).double().softmax(1)
    asked = torch.arange(40) % 3
    looked = Looked(first, probabilities, asked, torch.zeros(3))
    figures = judged_figures(looked, LabelSpec(3), asked=True)
    p, y = probabilities.numpy(), asked.numpy()
    taken = p.argmax(1)
    for number in range(3):
        yield figures[f"share/{number}"], (taken == number).sum() / 40
        yield figures[f"agreement/{number}"], (taken[y == number] == number).mean()
    yield figures["smallest-share"], min((taken == k).mean() for k in range(3))
    yield figures["largest-share"], max((taken == k).mean() for k in range(3))
    yield figures["smallest-agreement"], min((taken[y == k] == k).mean() for k in range(3))
    yield figures["agreement"], (taken == y).mean()
    yield figures["confidence"], p.max(1).mean()

    images, deviation = random(40, 2, 4, 5), ClassDeviation(3)
    deviation.add(images[:11], asked[:11])
    deviation.add(images[11:], asked[11:])
    for number, found in enumerate(deviation.each().tolist()):
        yield found, wide(images)[y == number].std(0, ddof=1).mean()


def second_classifier_accuracy():
    scores, labels = 3 * torch.randn(50, 4), torch.arange(50) % 3  # no item is of class 3
    figures = class_figures(scores, labels)
    x, y = wide(scores), labels.numpy()
    right = x.argmax(1) == y
    yield figures["accuracy"], right.mean()
    yield figures["smallest-accuracy"], min(right[y == number].mean() for number in range(3))
    logs = x - np.log(np.exp(x).sum(1, keepdims=True))
    yield figures["cross-entropy"], -logs[np.arange(50), y].mean()


def second_paired_error():
    made, truths = random(6, 3, 9, 7), random(6, 3, 9, 7, seed=1)
    yield mean_error(made, truths), np.abs(wide(made) - wide(truths)).mean() * 255 / 2
    x = wide(truths)
    yield constant_error(truths), np.abs(x - np.median(x, 0)).mean() * 255 / 2


def second_translation_truth():
    images, made, truths = (random(4, 3, 32, 32, seed=seed) for seed in range(3))
    made[1] = truths[1]  # one is striped for certain, and one is not
    made[2] = images[2]
    masks = random(4, 1, 32, 32, seed=3, low=-0.5, high=1.5).clamp(0, 1)
    masks[:, :, 4:28, 4:28] = 1
    figures = horses.figures("horse", images, made, truths, masks)
    x, y, t, m = (wide(tensor) for tensor in (images, made, truths, masks))
    for what, weight in (("coat", m), ("background", (m == 0) * 1.0)):
        for end, shown in (("", y), ("-untouched", x)):
            errors = [
                (np.abs(a - b).mean(0) * w[0]).sum() / w.sum()
                for a, b, w in zip(shown, t, weight, strict=True)
            ]
            yield figures[what + end], np.mean(errors) * 255 / 2
    patterns = [[spectrum(i.mean(0), w[0]) for i, w in zip(v, m, strict=True)] for v in (x, y, t)]
    nearer = [
        ((b - c) ** 2).sum() < ((b - a) ** 2).sum() for a, b, c in zip(*patterns, strict=True)
    ]
    assert nearer[1:3] == [True, False]
    yield figures["stripes"], np.mean(nearer)


def spectrum(grey, mask, side=8):
    """Amplitudes by octave and direction of all windows of one image [H, W] with a mask."""
    hann = np.hanning(side)[:, None] * np.hanning(side)
    found = []
    for top, left in itertools.product(range(0, grey.shape[0] - side + 1, side // 2), repeat=2):
        seen = np.s_[top : top + side, left : left + side]
        weight = mask[seen] * hann
        if weight.sum() / hann.sum() <= 0.5:
            continue
        mean = (grey[seen] * weight).sum() / weight.sum()
        power = np.abs(np.fft.rfft2((grey[seen] - mean) * weight)) ** 2
        sums = np.zeros((2, 4))
        for row, column in np.ndindex(*power.shape):
            down = row if row < side / 2 else row - side
            octave = np.searchsorted([1.5, 3.0, 6.0], math.hypot(down, column), side="right") - 1
            if octave in (0, 1):
                direction = round(math.atan2(down, column) * 4 / math.pi) % 4
                sums[octave, direction] += power[row, column]
        found.append(np.sqrt(sums))
    return np.stack(found)


def second_caption_truth():
    images = random(5, 3, 12, 9)
    x = wide(images)
    squares = [(np.diff(x, axis=axis) ** 2).mean() for axis in (2, 3)]
    yield captions.energy(images), sum(squares) / 2
    draws = np.random.default_rng(0)
    parts = ("colour", "shape", "size", "relation", "count")
    table = draws.random((30, 5)) < 0.7
    relation = draws.random(30) < 0.5  # whether the caption claims one
    claims = [
        Claims(**dict(zip(parts, (bool(v) for v in line), strict=True)) | ({} if said else NONE))
        for line, said in zip(table, relation, strict=True)
    ]
    shares = captions.shares(claims)
    for number, part in enumerate(parts):
        counted = table[relation] if part == "relation" else table
        yield shares[part], counted[:, number].mean()
    yield shares["all"], (table | np.outer(~relation, [0, 0, 0, 1, 0]).astype(bool)).all(1).mean()


NONE = {"relation": None}


def second_wording_coverage():
    data = times()
    spec, asked = data.description.domains["wording"], data.times("test")[:12]
    draws = np.random.default_rng(0)
    texts = [
        [str(draws.choice([*wordings(time), "noon", "quarter to five"])) for _ in range(6)]
        for time in asked
    ]
    tallies = coverage.Tallies(spec)
    for start in range(0, 12, 5):
        part = [spec.encode(text) for each in texts[start : start + 5] for text in each]
        tallies.add("", asked[start : start + 5], torch.tensor(part))
    right = [[t for t in each if t in wordings(a)] for a, each in zip(asked, texts, strict=True)]
    yield tallies.figures()["valid"], np.mean([len(each) / 6 for each in right])
    shares = [len(set(r)) / len(wordings(a)) for a, r in zip(asked, right, strict=True)]
    yield tallies.figures()["covered"], np.mean(shares)
    ways = [len(set(way)) / 3 for way in itertools.product(range(3), repeat=5)]
    yield coverage.covered_at_most([3, 3], 5), np.mean(ways)


def second_overfitting():
    draws = np.random.default_rng(0)
    for a, b, c in draws.normal(size=(20, 3)):
        yield share(a, b, c), 1 - (b - c) / (a - c)


def second_reconstruction():
    """Searches of an affine generator, against scipy's least squares within the same radius."""
    problem = affine_problem()
    metric = Reconstruction(ReconstructionOptions(count=5, steps=200))
    figures = metric._figures(problem)
    weight, bias = (wide(p) for p in problem.network.parameters())
    images = wide(problem.images.flatten(1))
    losses = []
    for image in images:
        found = scipy.optimize.minimize(
            lambda z, image=image: ((weight @ z + bias - image) ** 2).mean(),
            np.zeros(3),
            jac=lambda z, image=image: 2 * weight.T @ (weight @ z + bias - image) / len(image),
            constraints={"type": "ineq", "fun": lambda z: problem.radius() ** 2 - z @ z},
            method="SLSQP",
            options={"ftol": 1e-14, "maxiter": 500},
        )
        losses.append(found.fun)
    yield figures["loss"], np.mean(losses)
    yield figures["unsearched"], ((images - bias) ** 2).mean()


def affine_problem():
    torch.manual_seed(0)

    class Affine(torch.nn.Linear):
        def forward(self, noise):
            return super().forward(noise).unflatten(1, (1, 2, 3))

    return Problem(Affine(3, 6).requires_grad_(False), [NoiseSpec(3)], {}, random(5, 1, 2, 3), 4)


def second_cut_gradient():
    one, other = torch.randn(200), torch.randn(200) + 0.3
    a, b = wide(one), wide(other)
    cosine, norms = compared(one, other)
    yield cosine, a @ b / math.sqrt((a @ a) * (b @ b))
    yield norms, math.sqrt((a @ a) / (b @ b))


SECOND = {
    "checkerboard": second_checkerboard,
    "class-accuracy": second_class_accuracy,
    "classifier-accuracy": second_classifier_accuracy,
    "paired-error": second_paired_error,
    "translation-truth": second_translation_truth,
    "caption-truth": second_caption_truth,
    "wording-coverage": second_wording_coverage,
    "overfitting": second_overfitting,
    "reconstruction": second_reconstruction,
    "cut-gradient": second_cut_gradient,
}


@pytest.mark.parametrize("name", sorted(SECOND))
def test_figures_are_those_of_a_second_implementation_in_float64(name):
    torch.manual_seed(0)
    pairs = list(SECOND[name]())
    assert pairs
    for found, expected in pairs:
        assert found == near(float(expected), FLOAT)


# --- order ----------------------------------------------------------------------------------------


def permuted(*tensors):
    order = torch.randperm(len(tensors[0]), generator=torch.Generator().manual_seed(7))
    return [tensor[order] for tensor in tensors]


def judged(features, probabilities, labels, images):
    deviation = ClassDeviation(4)
    deviation.add(images, labels)
    looked = Looked(features, probabilities, labels, deviation.each())
    figures = judged_figures(looked, LabelSpec(4), asked=True)
    distance = frechet_distance(features, features[:9].clone() + 1)
    return {**figures, "deviation": looked.deviation, "distance": distance}


def over_horses(images, made, truths, masks):
    return horses.figures("zebra", images, made, truths, masks.clamp_min(0))


# What is to be put in another order -> the figures.
ORDERLESS = {
    "checkerboard": lambda images: {"": checkerboard(images, 2)},
    "paired-error": lambda images: {"": mean_error(images, images + images[:1] * 0.0 + 0.3)},
    "constant": lambda images: {"": constant_error(images)},
    "energy": lambda images: {"": captions.energy(images)},
}


@pytest.mark.parametrize("name", sorted(ORDERLESS))
def test_figures_of_images_do_not_depend_on_their_order(name):
    images = random(200, 3, 12, 12)
    (other,) = permuted(images)
    assert ORDERLESS[name](other) == near(ORDERLESS[name](images), EXACT)


def test_figures_of_translations_do_not_depend_on_their_order():
    tensors = [random(40, 3, 32, 32, seed=seed) for seed in range(3)]
    tensors.append(random(40, 1, 32, 32, seed=3))
    assert over_horses(*permuted(*tensors)) == near(over_horses(*tensors), EXACT)


def test_figures_of_classes_do_not_depend_on_the_order_of_the_items():
    features, labels = torch.randn(300, 6), torch.arange(300) % 4
    probabilities, images = torch.randn(300, 4).double().softmax(1), random(300, 1, 5, 5)
    everything = features, probabilities, labels, images
    other = permuted(*everything)
    first, second = judged(*everything), judged(*other)
    # These compare with other features, so that all 300 of one side are in another order.
    first["distance"], second["distance"] = (
        frechet_distance(x, features[:50] + 1) for x in (features, other[0])
    )
    assert second == near(first, 1e-9)  # roots of the eigenvalues of covariances
    scores, labels = 3 * torch.randn(300, 4), torch.arange(300) % 4
    expected = class_figures(scores, labels)
    assert class_figures(*permuted(scores, labels)) == near(expected, EXACT)


def test_what_a_cut_costs_does_not_depend_on_the_order_of_the_samples(tmp_path):
    """They pass both networks together, as in a training, so batch norm's sums are rounded."""
    with training_of(tmp_path, SHARING).looking() as run:
        plan = run.generator_plan("main")
        sources = run.sources(plan, range(24))
        found = []
        for each in (sources, permuted(*sources)):
            networks = (copy.deepcopy(run.generator()), copy.deepcopy(run.discriminator()))
            cut, true = (gradients(*networks, each, c) for c in ("activations", "weights"))
            found.append([compared(a, b) for a, b in zip(cut, true, strict=True)])
    assert np.array(found[1]) == near(np.array(found[0]), BATCH)


def test_gradients_with_weights_cut_are_the_slopes_of_ds_mean_score(tmp_path):
    """Against central differences, in float64."""
    with training_of(tmp_path, SHARING).looking() as run:
        generator, discriminator = (
            copy.deepcopy(run.generator()),
            copy.deepcopy(run.discriminator()),
        )
        sources = run.sources(run.generator_plan("main"), range(12))
    generator, discriminator = generator.double(), discriminator.double()
    sources = [s.double() if s.is_floating_point() else s for s in sources]
    found = gradients(generator, discriminator, sources, "weights")

    @torch.no_grad()
    def score():  # that of `DiscriminatorOutput.of_classes`, where fake is the last class
        of_classes = discriminator(generator(*sources)).class_scores
        return float((of_classes[:, :3].logsumexp(1) - of_classes[:, 3:].sum(1)).mean())

    for block, gradient in zip(generator.blocks, found, strict=True):
        weight = next(block.first.parameters()).detach()
        for number in gradient.abs().topk(3).indices.tolist():
            place = np.unravel_index(number, weight.shape)
            weight[place] += 1e-5
            above = score()
            weight[place] -= 2e-5
            slope = (above - score()) / 2e-5
            weight[place] += 1e-5
            assert float(gradient[number]) == pytest.approx(slope, rel=BATCH)


SHARING = (
    ONE_PAIR.replace(
        '[generator]\nuse = "mlp"\nhidden = [12]', '[generator]\nuse = "weight-sharing"'
    )
    .replace("[generator]\n", '[generator]\nfrom = ["noise", "label"]\n')
    .replace(
        '[discriminator]\nuse = "mlp"\nhidden = [12]\ndropout = 0.0',
        '[discriminator]\nuse = "mirrored"\nwidth = 4\nnorm = "none"',
    )
    .replace('use = "non-saturating"', 'use = "odena"')
)


# --- how many at once -----------------------------------------------------------------------------

PAIRED = (
    """
recipe = 1
name = "pairs"
[data]
use = "paired-folders"
root = "ROOT"
domains = { one = "trainA", other = "trainB" }
holdout = 0.5
[train]
steps = 1
batch = 2
precision = "fp32"
device = "cpu"
[generator]
use = "unet-translator"
from = "one"
to = "other"
width = 4
[discriminator]
use = "patchgan"
on = "other"
given = "one"
width = 4
layers = 1
[losses.adversarial]
use = "non-saturating"
"""
    + QUIET
)

HORSES = CYCLE.replace('use = "dots"\npair = true', 'use = "painted-horses"\nsize = 32\ncount = 8')
for light, dark in (("light", "horse"), ("dark", "zebra")):
    HORSES = HORSES.replace(f'"{light}"', f'"{dark}"').replace(f"rs.{light}]", f"rs.{dark}]")

CLASSIFIED = ONE_PAIR.replace(
    '[discriminator]\nuse = "mlp"\nhidden = [12]\ndropout = 0.0',
    '[discriminator]\nuse = "noisy-mlp"\nhidden = [12]',
).replace('use = "non-saturating"', 'use = "salimans"\n[losses.feature-matching]')


def times():
    data = registry().find("dataset", "spoken-times")
    options = SpokenTimesOptions()
    image = ImageOptions()
    return registry().load_target(data)(options, image, describe_times(options, image))


def shapes(count=40):
    options, image = CaptionedShapesOptions(held_out=count), ImageOptions(size=48)
    data = registry().find("dataset", "captioned-shapes")
    return registry().load_target(data)(options, image, describe_shapes(options, image))


def run_of_captions():
    """A generator of which half of the images are those of other captions."""
    data = shapes()
    images, texts = (
        torch.stack([data.item("test", domain, i) for i in range(40)])
        for domain in ("image", "caption")
    )
    images = images / 127.5 - 1
    made = torch.cat([images[:20], images[:20]])
    spec = data.description.domains["image"]
    plan = SimpleNamespace(sources=("caption",), source_specs=(captions.TEXT,), target="image")
    plan.target_spec = spec
    return SimpleNamespace(
        plan=SimpleNamespace(generators={"main": plan}),
        dataset=lambda: data,
        leaves=lambda plan: [("caption", captions.TEXT)],
        generator_plan=lambda name: plan,
        sample=lambda count, generator: made[:count],
        held_out=lambda domain, count: (images if domain == "image" else texts)[:count],
    )


class Speaker(torch.nn.Module):
    """Says one of the wordings of its time, as its noise chooses; sometimes of another time."""

    def __init__(self, spec, time):
        super().__init__()
        self.spec, self.time = spec, time

    def said(self, tokens, choice):
        texts = wordings(self.time.decode(tokens.tolist()))
        text = "noon" if choice % 4 == 3 else texts[choice % len(texts)]
        return torch.tensor(self.spec.encode(text))

    def forward(self, tokens, noise):
        choices = (noise[:, 0].abs() * 1000).long().tolist()
        said = torch.stack([self.said(*pair) for pair in zip(tokens, choices, strict=True)])
        return torch.nn.functional.one_hot(said, len(self.spec.vocabulary)).float()

    def decode(self, tokens, noise, *, method, count=1, temperature=1.0, generator=None):
        choices = (noise[:, 0].abs() * 1000).long().tolist()
        both = zip(tokens, choices, strict=True)
        return torch.stack(
            [torch.stack([self.said(t, c + i) for i in range(count)]) for t, c in both]
        )


def run_of_times():
    data = times()
    domains = data.description.domains
    plan = SimpleNamespace(name="main", target="wording", sources=("time", "noise"))
    network = Speaker(domains["wording"], domains["time"])
    noise = random(5000, 2)
    return SimpleNamespace(
        device=torch.device("cpu"),
        plan=SimpleNamespace(generators={"main": plan}),
        dataset=lambda: data,
        generator=lambda name: network,
        sources=lambda plan, seeds, rows: [rows["time"], noise[list(seeds)]],
    )


def game(text, *sets):
    """A game before its first step, as a run."""

    def opened(folder):
        if "ROOT" in text:
            for name in ("trainA", "trainB"):
                draw_pictures(folder / name, count=40, size=(32, 32))
        training = training_of(folder, str.replace(text, "ROOT", folder.as_posix()), sets=sets)
        with torch.no_grad():  # so that images show what was drawn for them
            for network in training.game.networks.values():
                for weight in network.parameters():
                    weight.mul_(4 if weight.dim() > 1 else 1)
        return training.looking()

    return opened


class Opened:
    """A run that stands for one."""

    def __init__(self, made):
        self.made = made

    def __call__(self, folder):
        return self

    def __enter__(self):
        return self.made()

    def __exit__(self, *error):
        return None


# Metric -> a run, and the metric's options.
GAMES = {
    "checkerboard": [(game(CYCLE), {}), (game(ONE_PAIR), {"count": 100})],
    "class-accuracy": [(game(ONE_PAIR), {"count": 50})],
    "classifier-accuracy": [(game(CLASSIFIED), {})],
    "paired-error": [(game(PAIRED, "data.size=32"), {"count": 20})],
    "translation-truth": [(game(HORSES), {"count": 20})],
    "caption-truth": [(Opened(run_of_captions), {"count": 40})],
    "wording-coverage": [(Opened(run_of_times), {"count": 40, "draws": 5})],
    "overfitting": [(game(ONE_PAIR), {"count": 30}), (game(CYCLE), {"count": 6})],
    "reconstruction": [(game(ONE_PAIR), {"steps": 40, "batch": 5})],
}
USUAL = {"reconstruction": {"batch": 500}}
WIDENED = ("class-accuracy", "reconstruction")

# Wherever items are taken in parts.
PARTS = (
    "ganforge.runs.run._BATCH",
    "ganforge.runs.run._TRANSLATED",
    "ganforge_checkerboard.checkerboard.AT_ONCE",
    "ganforge_captioned_shapes.truth.AT_ONCE",
    "ganforge_judge.judge.AT_ONCE",
    "ganforge_judge.metric.AT_ONCE",
    "ganforge_overfitting.overfitting.AT_ONCE",
    "ganforge_painted_horses.truth.AT_ONCE",
    "ganforge_spoken_times.coverage.AT_ONCE",
)


@pytest.fixture(scope="module")
def judges(tmp_path_factory):
    return tmp_path_factory.mktemp("judges")


@pytest.mark.parametrize(
    ("name", "place"),
    [(name, place) for name, games in GAMES.items() for place in range(len(games))],
)
def test_figures_do_not_depend_on_how_many_items_are_looked_at_at_once(
    name, place, tmp_path, monkeypatch, judges
):
    monkeypatch.setenv("GANFORGE_CACHE", str(judges))
    monkeypatch.setattr(judge_network, "MOST_EPOCHS", 2)
    opened, options = GAMES[name][place]
    component = metrics()[name]
    with opened(tmp_path) as run:
        usual = {**options, **USUAL.get(name, {})}
        expected = dict(cls_of(name)(component.options(**usual)).measure(run))
        for part in PARTS:
            monkeypatch.setattr(part, 3)
        found = dict(cls_of(name)(component.options(**options)).measure(run))
    expected.pop("seconds", None), found.pop("seconds", None)
    assert len(expected) > 1
    assert found == near(expected, SEARCH if name in WIDENED else BATCH)


def test_the_parts_that_items_are_taken_in_are_all_tried():
    found = set()
    for component in metrics().values():
        package = component.target.partition(".")[0]
        if package in ELSEWHERE:
            continue
        for path in (TESTS.parent / "plugins" / package).glob("*.py"):
            if "\nAT_ONCE = " in path.read_text(encoding="utf-8"):
                found.add(f"{package}.{path.stem}.AT_ONCE")
    assert found <= set(PARTS)


# --- overfitting, of scores that are known --------------------------------------------------------


class Mean(torch.nn.Module):
    """Scores patches by their brightness."""

    def forward(self, images, given=None):
        return 10 * images[:, 0, ::2, ::2]


def test_scores_are_means_over_patches_and_images(tmp_path):
    training = training_of(tmp_path, ONE_PAIR)
    training.game.networks["discriminators.main"] = Mean()
    component = metrics()["overfitting"]
    with training.looking() as run:
        figures = cls_of("overfitting")(component.options(count=40)).measure(run)
        fake = wide(run.sample(40))
        seen = {split: wide(rows(run.dataset(), split, "image", 40)) for split in ("train", "test")}
    expected = [
        10 * x[:, 0, ::2, ::2].mean((1, 2)).mean() for x in (seen["train"], seen["test"], fake)
    ]
    names = ("score-training", "score-held-out", "score-fake")
    assert [figures[name] for name in names] == near(expected, FLOAT)
    training_score, held_out, fakes = expected
    r = (training_score - held_out) / (training_score - fakes)
    assert figures["overfitting"] == pytest.approx(r, rel=1e-4)


# --- what `nearest` and `walk` measure ------------------------------------------------------------

FLAT = Eye("numbers", lambda images: images.flatten(1))


def copied(samples, held_out, training):
    """(score, p, copies) with numpy: pairs, ties of them by half; p by the normal distribution with
    the variance of ties and half a step of continuity."""

    def closeness(images):
        found = []
        for image in wide(images.flatten(1)):
            apart = np.sort(np.sqrt(((wide(training.flatten(1)) - image) ** 2).sum(1)))
            found.append(apart[0] / apart[1:11].mean())
        return np.array(found)

    ours, theirs = closeness(samples), closeness(held_out)
    wins = (ours[:, None] < theirs).sum() + 0.5 * (ours[:, None] == theirs).sum()
    n, m = len(ours), len(theirs)
    _, ties = np.unique(np.concatenate([ours, theirs]), return_counts=True)
    total = n + m
    variance = n * m / 12 * (total + 1 - (ties**3 - ties).sum() / (total * (total - 1)))
    p = 0.5 * math.erfc((wins - n * m / 2 - 0.5) / math.sqrt(2 * variance))
    return wins / (n * m), p, (ours < np.quantile(theirs, 0.01)).mean()


def of_copies(copies=0):
    training, held_out = random(60, 1, 6, 6), random(80, 1, 6, 6, seed=1)
    samples = random(70, 1, 6, 6, seed=2)
    samples[:copies] = training[torch.arange(copies) % 60]
    held_out[: copies // 3] = training[: copies // 3]
    return samples, held_out, training


@pytest.mark.parametrize("copies", [0, 12, 70])
def test_the_score_of_copying_is_that_of_a_second_implementation(copies):
    """Copies are exactly 0 away, so that they are ties, whatever rounding says."""
    found = copying(*of_copies(copies), FLAT)
    score, p, nearer = copied(*of_copies(copies))
    assert (found.score, found.p, found.copies) == near((score, p, nearer), 1e-9)


def test_the_score_of_copying_depends_neither_on_parts_nor_on_order(monkeypatch):
    samples, held_out, training = of_copies(12)
    expected = copying(samples, held_out, training, FLAT)
    monkeypatch.setattr("ganforge.lab.nearest._AT_ONCE", 7)
    others = [permuted(x)[0] for x in (samples, held_out, training)]
    found = copying(*others, FLAT)
    assert (found.score, found.p, found.copies) == near(
        (expected.score, expected.p, expected.copies), 1e-9
    )


def test_how_even_a_walk_is_by_hand_and_by_numpy():
    assert unevenness(torch.tensor([[0.0], [1.0], [2.0], [3.0]])) == 1
    assert unevenness(torch.tensor([[0.0], [0.0], [0.0], [9.0]])) == 3
    assert unevenness(torch.ones(4, 2)) == 1
    seen = random(30, 50)
    steps = np.linalg.norm(np.diff(wide(seen), axis=0), axis=1)
    assert unevenness(seen) == near(steps.max() / steps.mean(), EXACT)
    assert unevenness(seen.flip(0)) == near(unevenness(seen), EXACT)
