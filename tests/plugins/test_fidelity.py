"""FID and its relatives: the figures against closed forms and a second implementation in numpy, the
extractors, and what the metric says, keeps and refuses."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import torch
from ganforge_fidelity import extractors, figures, inception, metric, store
from ganforge_fidelity.extractors import as_bytes, as_float, in_colour
from ganforge_fidelity.figures import Seen, density_coverage, precision_recall, repeats_note
from ganforge_fidelity.metric import Fidelity, named
from ganforge_fidelity.plugin import FidelityOptions, check
from ganforge_fidelity.untrained import Untrained, shrunk
from ganforge_judge import network as judge_network
from playing import CYCLE, ONE_PAIR, training_of
from safetensors.torch import save_file
from torch_fidelity import feature_extractor_inceptionv3 as upstream

from ganforge import GanforgeError, ImageSpec, NoiseSpec, Run
from ganforge.plugin import Impossible


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(judge_network, "MOST_EPOCHS", 1)
    return tmp_path / "cache" / "features"


def drawn(count, dim, seed, scale=1.0):
    return np.random.default_rng(seed).normal(size=(count, dim)) * scale


def tensor(array):
    return torch.from_numpy(np.asarray(array, dtype=np.float64))


# --- figures: Frechet distance --------------------------------------------------------------------


def with_moments(count, mean, covariance, seed):
    """Features [N, D] that have exactly these moments."""
    draws = drawn(count, len(mean), seed)
    draws -= draws.mean(0)
    white = draws @ np.linalg.inv(np.linalg.cholesky(np.cov(draws, rowvar=False))).T
    return tensor(white @ np.linalg.cholesky(covariance).T + mean)


def test_frechet_distance_is_that_of_gaussians_with_known_moments():
    a = with_moments(300, [0, 1, 2], np.diag([1.0, 4.0, 0.25]), 1)
    b = with_moments(200, [1, 1, 4], np.diag([9.0, 4.0, 0.01]), 2)
    expected = 1 + 0 + 4 + (3 - 1) ** 2 + 0 + (0.5 - 0.1) ** 2
    assert figures.frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert figures.frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_is_scipys_where_covariances_do_not_commute():
    a, b = drawn(60, 5, 1) @ drawn(5, 5, 2) + 1, drawn(80, 5, 3) @ drawn(5, 5, 4)
    one, two = (np.cov(x, rowvar=False) for x in (a, b))
    shared = np.trace(scipy.linalg.sqrtm(one @ two)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one + two) - 2 * shared
    assert figures.frechet_distance(tensor(a), tensor(b)) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_a_set_to_itself_in_another_order_is_zero():
    a = drawn(50, 6, 0, 10)
    a[:, 2] = 0  # a dead feature
    assert figures.frechet_distance(tensor(a), tensor(a[::-1].copy())) == pytest.approx(0, abs=1e-4)


# --- figures: kernel distance ---------------------------------------------------------------------


def unbiased(x, y):
    """Equation 4 of arXiv:1801.01401, term by term."""
    k = lambda a, b: (a @ b / len(a) + 1) ** 3  # noqa: E731
    m, n = len(x), len(y)
    within = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    other = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return within + other - 2 * sum(k(a, b) for a in x for b in y) / (m * n)


def test_kernel_distance_of_whole_sets_is_the_unbiased_estimate_written_out():
    x, y = drawn(9, 4, 1), drawn(9, 4, 2) + 0.5
    found, deviation = figures.kernel_distance(tensor(x), tensor(y))
    assert found == pytest.approx(unbiased(x, y), rel=1e-10)
    assert deviation is None


def test_kernel_distance_by_hand():
    # Kernels: (1 + 1)^3 = 8 within the ones, 1 within the zeros and across.
    found, _ = figures.kernel_distance(torch.ones(3, 1).double(), torch.zeros(3, 1).double())
    assert found == pytest.approx(8 + 1 - 2)


def test_subsets_estimate_the_same_as_all(monkeypatch):
    monkeypatch.setattr(figures, "SUBSET", 20)
    x, y = drawn(60, 3, 1), drawn(50, 3, 2) + 1
    found, deviation = figures.kernel_distance(tensor(x), tensor(y))
    assert found == pytest.approx(unbiased(x, y), abs=4 * deviation / math.sqrt(figures.SUBSETS))
    assert deviation > 0


# --- figures: score -------------------------------------------------------------------------------


def scores(logits):
    samples = Seen(tensor(drawn(len(logits), 3, 0)), torch.as_tensor(logits))
    found = figures.figures(samples, Seen(tensor(drawn(20, 3, 1))))
    return found["score"], found["score-deviation"]


def test_sure_and_even_classes_score_their_number_and_one_class_scores_one():
    sure = torch.eye(4).repeat(1000, 1) * 100
    assert scores(sure)[0] == pytest.approx(4, rel=1e-2)  # splits are not quite even
    assert scores(torch.zeros(40, 4)) == pytest.approx((1, 0), abs=1e-6)
    assert scores(torch.eye(4)[[2] * 40] * 100) == pytest.approx((1, 0), abs=1e-6)


def test_score_is_that_of_numpy():
    logits = drawn(200, 5, 3, 2)
    order = np.random.RandomState(figures.SEED).permutation(200)
    p = np.exp(logits[order]) / np.exp(logits[order]).sum(1, keepdims=True)
    parts = [p[i * 20 : (i + 1) * 20] for i in range(10)]
    each = [np.exp((q * np.log(q / q.mean(0))).sum(1).mean()) for q in parts]
    assert scores(logits) == pytest.approx((np.mean(each), np.std(each)), rel=1e-9)


# --- figures: neighbours --------------------------------------------------------------------------


def by_hand(fake, real, nearest=5, third=3):
    """All four by the papers' definitions, one distance at a time."""
    apart = lambda a, b: np.array([[np.linalg.norm(x - y) for y in b] for x in a])  # noqa: E731
    radius = lambda a, k: np.sort(apart(a, a), 1)[:, k]  # noqa: E731 (0 is itself)
    across = apart(real, fake)  # [M, N]
    inside = across < radius(real, nearest)[:, None]
    return {
        "precision": float((across <= radius(real, third)[:, None]).any(0).mean()),
        "recall": float((across <= radius(fake, third)).any(1).mean()),
        "density": float(inside.sum() / (nearest * len(fake))),
        "coverage": float(inside.any(1).mean()),
    }


@pytest.mark.parametrize("at_once", [1000, 7])
def test_neighbours_are_those_of_the_definitions_however_many_are_looked_at(monkeypatch, at_once):
    monkeypatch.setattr(figures, "AT_ONCE", at_once)
    fake, real = drawn(40, 3, 1) * 0.7 + 0.4, drawn(33, 3, 2)
    expected = by_hand(fake, real)
    found = figures.precision_recall(tensor(fake), tensor(real))
    found |= figures.density_coverage(tensor(fake), tensor(real))
    assert found == pytest.approx(expected)
    assert 0 < expected["coverage"] < 1 and 0 < expected["precision"] < 1


def test_neighbours_by_hand():
    real = tensor([[0.0], [1.0], [2.0], [3.0], [20.0], [21.0]])  # nearest: all 1 away
    fake = tensor([[0.5], [1.5], [45.0], [-50.0], [20.5]])
    found = figures.density_coverage(fake, real, nearest=1)
    assert found == pytest.approx({"density": (2 + 2 + 0 + 0 + 2) / 5, "coverage": 5 / 6})
    found = figures.precision_recall(fake, real)  # reach: 3, 2, 2, 3, 18, 19
    assert found == pytest.approx({"precision": 3 / 5, "recall": 1.0})


def test_a_collapsed_set_is_precise_and_covers_little_a_wild_one_neither():
    real = tensor(drawn(100, 2, 1))
    same = tensor(drawn(100, 2, 2, 0.01))
    collapsed = figures.figures(Seen(same), Seen(real))
    assert collapsed["precision"] == 1 and collapsed["coverage"] < 0.3
    far = figures.figures(Seen(same + 100), Seen(real))
    assert far["precision"] == far["recall"] == far["density"] == far["coverage"] == 0
    assert far["frechet"] > 100 * collapsed["frechet"] and far["kernel"] > collapsed["kernel"] > 0


def test_figures_of_whole_sets_do_not_depend_on_the_order_of_the_items():
    """Subsets of the kernel distance and splits of the score are drawn by the items' numbers."""
    fake, real = drawn(60, 4, 1) + 0.3, drawn(60, 4, 2)
    expected = figures.figures(Seen(tensor(fake)), Seen(tensor(real)))
    order = np.random.default_rng(0).permutation(60)
    found = figures.figures(Seen(tensor(fake[order])), Seen(tensor(real[order[::-1]])))
    assert found == pytest.approx(expected, rel=1e-9)
    assert len(found) == 6


def test_closed_forms_hold():
    for what, found, expected in Fidelity.closed_forms():
        assert found == pytest.approx(expected, abs=1e-6), what


# --- extractors -----------------------------------------------------------------------------------


def test_the_untrained_network_is_the_same_everywhere():
    assert Untrained(3).fingerprint() == Untrained(3).fingerprint()
    assert Untrained(1).fingerprint().startswith("1bd4e0c49d04b52d")


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (64, 48), (100, 200)])
def test_the_untrained_network_sees_an_image_as_it_sees_it_among_others(size):
    images = as_float(torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, *size))))
    network = Untrained(3)
    together = network(images)
    assert together.shape == (5, 256)
    alone = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(together, alone, rtol=1e-4, atol=1e-5)
    assert max(shrunk(images).shape[2:]) <= 64 and min(shrunk(images).shape[2:]) >= 8


def test_images_are_compared_as_files_would_hold_them():
    images = torch.tensor([-1.5, -1.0, -0.999, 0.0, 1.0, 2.0]).reshape(1, 1, 2, 3)
    assert as_bytes(images).flatten().tolist() == [0, 0, 0, 128, 255, 255]
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(as_bytes(as_float(every)), every)


def test_images_of_any_channels_come_to_inception_in_colour():
    grey = torch.full((1, 1, 2, 2), 7, dtype=torch.uint8)
    assert torch.equal(in_colour(grey), torch.full((1, 3, 2, 2), 7, dtype=torch.uint8))
    half = torch.cat([torch.zeros(1, 3, 2, 2), torch.full((1, 1, 2, 2), 51.0)], 1).byte()
    assert torch.equal(in_colour(half), torch.full((1, 3, 2, 2), 204, dtype=torch.uint8))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """(file of weights that fit, the network that has them); they mean nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upstream, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(upstream.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = upstream.FeatureExtractorInceptionV3("x", inception.FEATURES, verbose=False)
    path = tmp_path_factory.mktemp("weights") / "inception.safetensors"
    save_file(network.state_dict(), path)
    return path, network


def test_inception_has_the_weights_of_its_file_and_nothing_is_fetched(weights, monkeypatch):
    def fetch(*_, **__):
        raise AssertionError("fetches weights")

    monkeypatch.setattr(upstream, "load_state_dict_from_url", fetch)
    path, expected = weights
    network, checksum = inception.inception(path)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32))).byte()
    for found, right in zip(network(images), expected(images), strict=True):
        assert torch.equal(found, right)
    assert checksum == inception.fingerprint(expected.state_dict())
    assert upstream.load_state_dict_from_url is fetch, "the library is left as it was"


def test_files_that_are_not_inceptions_weights_are_refused_in_a_line(tmp_path, weights):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nothing")
    with pytest.raises(GanforgeError, match=r"^cannot read Inception's weights from .*broken"):
        inception.inception(broken)
    with pytest.raises(GanforgeError, match=r"^there is no file .*none\.safetensors with I"):
        inception.inception(tmp_path / "none.safetensors")
    state = {**weights[1].state_dict(), "fc.weight": torch.zeros(1000, 2048)}  # torchvision's
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(GanforgeError, match="does not hold the weights of FID's Inception"):
        inception.inception(tmp_path / "other.safetensors")


# --- the metric -----------------------------------------------------------------------------------


def run_of(folder, *sets, text=ONE_PAIR):
    return Run.during(training_of(folder, text, sets=sets))


def measured(run, **chosen):
    metric = Fidelity(FidelityOptions(**{"count": 20, "extractor": "untrained", **chosen}))
    return metric.measure(run), metric.protocol()


def test_figures_carry_the_name_of_their_extractor(tmp_path, weights, monkeypatch):
    run = run_of(tmp_path)
    plain = {"frechet", "kernel", "precision", "recall", "density", "coverage"}
    found, _ = measured(run)
    assert {key for key in found if not key.endswith("-real")} == {
        *(f"untrained-{key}" for key in plain),
        "untrained-kernel-deviation",
    }
    assert {f"untrained-{key}-real" for key in plain} < found.keys()
    found, told = measured(run, extractor="auto", count=10)
    assert {f"judge-{key}" for key in (*plain, "score", "score-deviation")} < found.keys()
    assert all(key.startswith("judge-") for key in found) and "; judge " in told

    def narrow(path):  # 2,048 features take a minute
        network, checksum = inception.inception(path)
        network.register_forward_hook(lambda _, given, made: (made[0][:, :8], made[1]))
        return network, checksum

    monkeypatch.setattr(extractors, "inception", narrow)
    found, told = measured(run, extractor="auto", weights=weights[0], count=10)
    assert {"fid", "kid", "inception-score", "inception-precision", "fid-real"} < found.keys()
    assert all(key.startswith(("fid", "kid", "inception-")) for key in found)
    assert f"Inception of FID {inception.fingerprint(weights[1].state_dict())[:16]}" in told


def test_names_of_inceptions_figures():
    assert (
        named("frechet", "inception") == "fid" and named("kernel-real", "inception") == "kid-real"
    )
    assert named("score-deviation", "inception") == "inception-score-deviation"
    assert named("coverage", "inception") == "inception-coverage"
    assert named("frechet-real", "judge") == "judge-frechet-real"


def test_the_protocol_tells_what_it_takes_to_measure_again(tmp_path):
    run = run_of(tmp_path)
    _, told = measured(run, count=12, seed=7)
    clauses = told.split("; ")
    assert clauses[0] == "12 samples of seeds from 7"
    assert clauses[1] == "against 6 held-out images of image (image 1 x 8 x 8), as 8 bits"
    assert clauses[2].startswith("untrained network 1bd4e0c49d04b52d")
    assert clauses[-1] == "-real = of 12 training images in place of samples"
    _, told = measured(run, against="training")
    assert "against 20 training images" in told and "-real = of 6 held-out images" in told


def test_nothing_depends_on_how_many_images_are_looked_at_at_once(tmp_path, monkeypatch, cache):
    run = run_of(tmp_path)
    expected, _ = measured(run)
    monkeypatch.setattr(metric, "AT_ONCE", 3)
    monkeypatch.setattr("ganforge.runs.run._BATCH", 5)
    for path in cache.iterdir():
        path.unlink()
    found, _ = measured(run)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_samples_are_those_of_their_seeds(tmp_path):
    run = run_of(tmp_path)
    made = torch.cat([*Fidelity(FidelityOptions(count=70, seed=5))._samples(run, "main")])
    assert torch.equal(made, as_bytes(run.sample(70, seed=5)))
    assert measured(run, seed=0)[0] != measured(run, seed=1000)[0]


def test_real_images_are_near_and_noise_is_far(tmp_path, monkeypatch):
    run = run_of(tmp_path)
    near = lambda count, seed, generator: run.training("image", count)  # noqa: E731
    monkeypatch.setattr(run, "sample", near)
    found, _ = measured(run)
    noise, _ = measured(run_of(tmp_path))
    assert found["untrained-frechet"] == pytest.approx(found["untrained-frechet-real"], rel=1e-3)
    assert found["untrained-coverage"] == found["untrained-coverage-real"] > 0
    assert noise["untrained-frechet"] > 3 * found["untrained-frechet"]


def test_translations_are_measured_of_each_generator_under_its_name(tmp_path):
    run = run_of(tmp_path, text=CYCLE)
    found, told = measured(run)
    names = [*run.plan.generators]
    assert len(names) == 2
    assert {f"{name}/untrained-frechet" for name in names} < found.keys()
    assert "6 translations of held-out light" in told and "of dark" in told


IMAGE, NOISE = ImageSpec(1, 8, 8), NoiseSpec(5, "normal")


@pytest.mark.parametrize(
    ("sources", "leaves", "expected"),
    [
        (["noise"], {"noise": NOISE}, None),
        (["light", "noise"], {"light": IMAGE, "noise": NOISE}, "light"),
        (["generators.small", "noise"], {"noise": NOISE}, None),  # a second stage
    ],
)
def test_what_is_drawn_is_sampled_and_what_is_read_is_translated(sources, leaves, expected):
    assert metric.translated(reading(sources, leaves), "main") == expected


def test_images_that_are_read_later_or_through_others_are_refused():
    run = reading(["generators.dark"], {"light": IMAGE})
    with pytest.raises(GanforgeError, match="reads images of light, but not as its first source"):
        metric.translated(run, "main")


def reading(sources, leaves):
    """What of a run tells what its generator reads."""
    plan = SimpleNamespace(sources=sources)
    return SimpleNamespace(generator_plan=lambda name: plan, leaves=lambda plan: [*leaves.items()])


def test_real_images_are_looked_at_once(tmp_path, monkeypatch, cache):
    run = run_of(tmp_path)
    looks = []
    see = extractors.Extractor.see
    monkeypatch.setattr(
        extractors.Extractor, "see", lambda self, parts: looks.append(1) or see(self, parts)
    )
    first, _ = measured(run)
    assert len(looks) == 3  # samples, held-out, training
    again, _ = measured(run)
    assert len(looks) == 4 and again == first
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", *[".safetensors"] * 2]
    for path in cache.iterdir():
        path.write_bytes(b"damaged")
    third, _ = measured(run)
    assert len(looks) == 7 and third == first


def test_other_images_and_other_networks_are_kept_apart():
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    name = store.name_of("judge 1", [images])
    assert name == store.name_of("judge 1", [images.clone()])
    assert name != store.name_of("judge 2", [images])
    assert name != store.name_of("judge 1", [images + 1])


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "file"))
    found, _ = measured(run_of(tmp_path))
    assert found["untrained-frechet"] > 0


def test_what_cannot_be_measured_is_told_in_a_line(tmp_path, monkeypatch):
    run = run_of(tmp_path, "data.labelled=6")
    monkeypatch.setattr(metric, "LEAST", 7)
    with pytest.raises(GanforgeError, match="fidelity needs 7 real images; of image 6 are held o"):
        measured(run)
    monkeypatch.setattr(run, "sample", lambda *_, **__: torch.full((20, 1, 8, 8), math.nan))
    monkeypatch.setattr(metric, "LEAST", 6)
    with pytest.raises(GanforgeError, match="generator 'main' makes images that are not finite"):
        measured(run)
    pair = run_of(tmp_path, text=CYCLE)
    with pytest.raises(GanforgeError, match=r'extractor = "judge" needs labels of (dark|light)'):
        measured(pair, extractor="judge")


@pytest.mark.parametrize(
    ("chosen", "key"),
    [
        ({"extractor": "inception"}, "extractor"),
        ({"extractor": "judge", "weights": "a.safetensors"}, "weights"),
        ({"weights": "pt_inception-2015-12-05-6726825d.pth"}, "weights"),
    ],
)
def test_options_that_contradict_each_other_are_refused(chosen, key, tmp_path):
    if "weights" in chosen:
        chosen["weights"] = tmp_path / chosen["weights"]
    with pytest.raises(Impossible) as refusal:
        check(FidelityOptions(**chosen))
    assert refusal.value.key == key


# --- during training ------------------------------------------------------------------------------

STEERED = (
    ONE_PAIR.replace("metrics = { off = true }", "metrics = { every = 1, evaluate = 2 }")
    .replace("checkpoint = { off = true }", 'checkpoint = { best = "FIGURE", better = "lower" }')
    .replace("FIGURE", "metric/fidelity/untrained-frechet")
    + '[metrics.fidelity]\ncount = 10\nextractor = "untrained"\n'
)


def test_measuring_leaves_what_is_learned_as_it_is_keeps_the_best_and_writes_protocols(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    dropout = ["discriminator.dropout=0.3", "train.steps=6"]
    watched = training_of(tmp_path / "a", STEERED, sets=dropout)
    alone = training_of(tmp_path / "b", ONE_PAIR, sets=dropout)
    for training in (watched, alone):
        training.run()
    expected = alone.game.state()
    for what in ("networks", "optimizers"):
        for name, value in watched.game.state()[what].items():
            assert torch.equal(value, expected[what][name]), name
    lines = [*watched.folder.metric_lines()]
    figures = {x["step"]: x["metric/fidelity/untrained-frechet"] for x in lines if "protocols" in x}
    assert sorted(figures) == [2, 4, 6]
    assert watched.folder.best() == min(figures, key=figures.get)
    told = next(x["protocols"]["fidelity"] for x in lines if "protocols" in x)
    assert told.startswith("10 samples of seeds from 0; against 6 held-out images")


def test_a_figure_ends_a_run_and_lowers_its_rates(tmp_path):
    watch = 'watch = "metric/fidelity/untrained-coverage"\nbetter = "higher"\n'
    hooks = f"[hooks.early-stopping]\n{watch}patience = 2\n[hooks.lower-lr]\n{watch}factor = 0.5\n"
    training = training_of(tmp_path, STEERED + hooks, sets=["train.steps=20"])
    training.run()  # of samples so poor that they cover nothing
    assert training.step == 6, "the first figure and two that are no better"
    assert training.lr_factor == 0.25


def test_what_decides_where_real_images_repeat_is_said():
    """Density and coverage are 0 beside precision and recall of 1, since distances of 0 decide."""
    real = torch.arange(4.0).repeat_interleave(8)[:, None].expand(-1, 3).double()
    found = density_coverage(real, real) | precision_recall(real, real)
    assert found == {"density": 0, "coverage": 0, "precision": 1, "recall": 1}
    assert repeats_note(real).startswith(
        "caution: 32 of 32 real images are the same as 5 others or more, so their reach is 0"
    )
    assert repeats_note(torch.randn(40, 3)) == ""
    assert repeats_note(torch.zeros(5, 3)) == ""  # each is the same as 4 others only
