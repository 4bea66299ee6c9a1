"""The judge: a classifier of a run's data, and the metric that it gives."""

import json
import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ganforge_judge.judge as judging
import pytest
import torch
from ganforge_judge import labelled, network, store
from ganforge_judge.distance import frechet_distance
from ganforge_judge.judge import as_seen, judge_of
from ganforge_judge.labelled import Rows, data_of, judged_as, judged_domains, spread
from ganforge_judge.metric import ClassAccuracy, ClassDeviation, class_names
from ganforge_judge.network import blank, shifted, train
from ganforge_judge.plugin import ClassAccuracyOptions
from making_data import make_mnist
from playing import ONE_PAIR, training_of

from ganforge import Dataset, Draws, GanforgeError, Run
from ganforge.plugin import (
    Component,
    DataDescription,
    ImageSpec,
    Impossible,
    LabelSpec,
    option,
    options,
)

CPU = torch.device("cpu")
NAMES = ("across", "down", "plain")


@options
class StripesOptions:
    wrong_labels: float = option(0.0, help="share of the training labels that are moved on by one")
    labelled: int | None = option(None, help="training rows that have a label; others are class 0")
    test: int = option(12, help="held-out rows")
    pixels: int = option(10, help="height and width")
    labels: bool = option(True, help="whether labels are there at all")
    uneven: bool = option(False, help="whether files differ in size, so that one must be chosen")


def describe(options, image):
    if options.uneven and image.size is None:
        raise Impossible("the images differ in size: set `size`", key="size")
    spec = ImageSpec(image.channels or 1, *image.pixels(options.pixels, options.pixels))
    domains = {"image": spec} | ({"label": LabelSpec(3, NAMES)} if options.labels else {})
    return DataDescription(
        domains=domains,
        aligned=(tuple(domains),) if options.labels else (),
        counts={
            "train": dict.fromkeys(domains, 60),
            **({"test": dict.fromkeys(domains, options.test)} if options.test else {}),
        },
    )


class Stripes(Dataset):
    """Stripes across, stripes down, or none, with a little noise."""

    def count(self, split, domain):
        return self.options.test if split == "test" else 60

    def item(self, split, domain, index):
        number = index + (1000 if split == "test" else 0)
        if domain == "label":
            wrong = split == "train" and index % 10 < 10 * self.options.wrong_labels
            unknown = split == "train" and index >= (self.options.labelled or 60)
            return torch.tensor(0 if unknown else (number + wrong) % 3)
        spec = self.description.domains["image"]
        return drawn(number, spec)


def drawn(number, spec):
    """An image of the class number % 3, uint8."""
    down, right = torch.meshgrid(torch.arange(spec.height), torch.arange(spec.width), indexing="ij")
    at = (down, right, torch.zeros_like(down))[number % 3]
    pixels = (at // 2 % 2) * 160 + 40
    noise = Draws(number).generator("stripes").integers(0, 40, (1, spec.height, spec.width))
    return (pixels + torch.from_numpy(noise)).expand(spec.channels, -1, -1).byte()


STRIPES = Component(
    "dataset",
    "stripes",
    "test_judge:Stripes",
    StripesOptions,
    describe=describe,
    provider="tests",
    version="0",
)
RECIPE = ONE_PAIR.replace("dots", "stripes")
GIVEN = RECIPE.replace("[generator]\n", '[generator]\nfrom = ["noise", "label"]\n')


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """This file under the name that the component's target has."""
    import sys

    monkeypatch.setitem(sys.modules, "test_judge", sys.modules[__name__])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("GANFORGE_CACHE", str(folder))
    monkeypatch.setattr(network, "MOST_EPOCHS", 10)  # stripes are easy
    return folder / "judges"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A cache that holds the judge of the stripes, so that most tests need not train it."""
    return tmp_path_factory.mktemp("trained")


@pytest.fixture
def shared(trained, monkeypatch):
    monkeypatch.setenv("GANFORGE_CACHE", str(trained))


def run_of(folder, *sets, text=RECIPE):
    return Run.during(training_of(folder, text, STRIPES, sets=sets))


def measured(run, count=90):
    metric = ClassAccuracy(ClassAccuracyOptions(count=count))
    return metric.measure(run), metric.protocol()


class Drawer:
    """Stands for a run's `sample`: draws what a perfect generator would make."""

    def __init__(self, run, spec, *, wrong=(), same=False):
        self.spec, self.wrong, self.same = spec, wrong, same
        run.sample = self

    def __call__(self, count, *, seed, generator):
        numbers = [
            (seed + i) % 3 if self.same else seed + i + 3000 + ((seed + i) % 30 in self.wrong)
            for i in range(count)
        ]
        return torch.stack([drawn(n, self.spec) for n in numbers]).float() / 127.5 - 1


# ---------------------------------------------------------------- the distance


def with_moments(count, mean, root, seed=0):
    """Features whose mean and covariance (root @ root.T) are exactly these."""
    dim = len(mean)
    draws = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)).double()
    draws -= draws.mean(0)
    covariance = draws.T @ draws / (count - 1)
    white = draws @ torch.linalg.inv(torch.linalg.cholesky(covariance)).T
    return white @ root.T + mean


def test_distance_is_that_of_gaussians_with_known_moments():
    deviations = torch.tensor([1.0, 2.0, 0.5]).double(), torch.tensor([3.0, 2.0, 0.1]).double()
    means = torch.tensor([0.0, 1.0, 2.0]).double(), torch.tensor([1.0, 1.0, 4.0]).double()
    a, b = (
        with_moments(n, m, torch.diag(d), n)
        for n, m, d in zip((400, 300), means, deviations, strict=True)
    )
    expected = 1 + 4 + (3 - 1) ** 2 + 0 + (0.5 - 0.1) ** 2
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_distance_holds_where_covariances_do_not_commute():
    first = torch.tensor([[2.0, 0.0], [1.0, 1.0]]).double()
    second = torch.tensor([[1.0, 1.5], [0.0, 0.7]]).double()
    a, b = (
        with_moments(200, torch.zeros(2).double(), first, 1),
        with_moments(200, torch.zeros(2).double(), second, 2),
    )
    one, two = first @ first.T, second @ second.T
    # For 2 x 2: tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)), and M = C1 C2 has the eigenvalues.
    product = one @ two
    shared = math.sqrt(product.trace() + 2 * math.sqrt(torch.linalg.det(product)))
    expected = float(one.trace() + two.trace()) - 2 * shared
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)


def test_distance_of_equal_sets_is_zero_even_where_features_are_dead():
    features = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * 100
    features[:, 2] = 0
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(features, features[torch.randperm(50)]) == pytest.approx(0, abs=1e-6)


# ---------------------------------------------------------------- the deviation


def test_deviation_is_of_each_pixel_within_its_class():
    images = torch.tensor([[-1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [0.5, 0.3], [0.5, 0.1], [9.0, 9.0]])
    deviation = ClassDeviation(4)
    deviation.add(images[:4, None, None], torch.tensor([0, 0, 1, 1]))
    deviation.add(images[4:, None, None], torch.tensor([1, 2]))
    each = deviation.each()
    # class 0: sqrt(2) and 0; class 1: 0 and 0.2; class 2 has one image, class 3 none
    assert each[:2].tolist() == pytest.approx([math.sqrt(2) / 2, 0.1])
    assert each[2:].isnan().all()


# ---------------------------------------------------------------- what a judge sees


def test_images_are_brought_to_what_the_judge_sees():
    grey, colour = ImageSpec(1, 4, 4), ImageSpec(3, 4, 4)
    red = torch.tensor([1.0, -1.0, -1.0])[None, :, None, None].expand(1, 3, 8, 8)
    assert as_seen(red, grey).unique().tolist() == pytest.approx([2 * 0.299 - 1])
    assert as_seen(red, colour).shape == (1, 3, 4, 4)
    assert torch.equal(as_seen(red[:, :1], colour), torch.ones(1, 3, 4, 4))
    clear = torch.cat([red, torch.full((1, 1, 8, 8), -1.0)], 1)
    assert as_seen(clear, colour).unique().tolist() == [1.0]  # on white
    fine = torch.tensor([-1.0, 1.0]).repeat(4).expand(1, 1, 8, 8)  # averaged, not skipped over
    assert as_seen(fine, grey).abs().max() < 0.3


def test_rows_are_taken_from_all_over_the_data():
    assert spread(torch.arange(10), 20).tolist() == list(range(10))
    assert spread(torch.arange(10), 4).tolist() == [0, 2, 5, 7]
    assert spread(torch.arange(0), 4).tolist() == []


def test_one_judge_serves_every_size_and_number_of_channels(tmp_path, shared):
    judges = [
        judge_of(run_of(tmp_path, *sets))
        for sets in ([], ["data.size=16"], ["data.size=24", "data.channels=3"], ["data.size=8"])
    ]
    assert {judge.spec for judge in judges} == {ImageSpec(1, 10, 10)}
    assert len({judge.identity for judge in judges}) == 1


def test_images_of_another_shape_have_a_judge_of_that_shape(tmp_path):
    data, played = data_of(run_of(tmp_path, "data.size=[8,16]"))
    assert data is played and data.spec == ImageSpec(1, 8, 16)
    data, played = data_of(run_of(tmp_path, "data.size=[96,192]"))
    assert (played.spec, data.spec) == (ImageSpec(1, 96, 192), ImageSpec(1, 32, 64))


def test_large_files_and_files_of_several_sizes_are_judged_smaller(tmp_path):
    data, _ = data_of(run_of(tmp_path, "data.pixels=200", "data.size=16"))
    assert data.spec == ImageSpec(1, 64, 64)
    data, played = data_of(run_of(tmp_path, "data.uneven=true", "data.size=16"))
    assert data.spec == played.spec == ImageSpec(1, 16, 16)


def test_images_too_small_to_be_judged_are_told(tmp_path):
    with pytest.raises(GanforgeError, match="6 x 6 px are too small to be judged"):
        data_of(run_of(tmp_path, "data.pixels=6", "data.size=16"))


def test_the_judge_knows_the_labels_that_the_run_was_not_told(tmp_path, shared):
    true = judge_of(run_of(tmp_path))
    run = run_of(tmp_path, "data.wrong_labels=0.5", "data.labelled=7")
    assert run.plan.data.options.wrong_labels == 0.5
    assert judge_of(run).identity == true.identity


def test_few_and_wrong_labels_of_mnist_do_not_weaken_its_judge(tmp_path):
    make_mnist(tmp_path / "mnist")
    text = GIVEN.replace(
        'use = "stripes"', f'use = "mnist"\nroot = "{(tmp_path / "mnist").as_posix()}"'
    )
    read = []
    for sets in ([], ["data.labelled=20"], ["data.wrong_labels=0.5"]):
        run = run_of(tmp_path, *sets, text=text)
        data, _ = data_of(run, judged_as(run, "image", judged_domains(run)))
        read.append(data.training())
    assert "labelled-image" not in data.dataset.description.domains
    assert all(torch.equal(rows.labels, torch.arange(160) % 10) for rows in read)
    few = run_of(tmp_path, "data.labelled=20", text=text)
    assert judged_as(few, "labelled-image", judged_domains(few)) == "image"
    assert judged_as(few, "noise", judged_domains(few)) is None


def test_data_without_labels_is_told_in_one_line(tmp_path):
    run = run_of(tmp_path, "data.labels=false")
    with pytest.raises(GanforgeError, match=r"stripes yields no labels here.*labels = true"):
        judge_of(run)
    with pytest.raises(GanforgeError, match="stripes yields no labels here"):
        measured(run)


def test_every_tenth_row_is_kept_from_the_judge_where_there_is_no_test_split(tmp_path):
    data, _ = data_of(run_of(tmp_path, "data.test=0"))
    training, held_out = data.training(), data.held_out()
    assert (len(training), len(held_out)) == (54, 6)
    assert held_out.labels.tolist() == [row % 3 for row in range(0, 60, 10)]
    learnt = {row.numpy().tobytes() for row in training.images}
    assert learnt.isdisjoint(row.numpy().tobytes() for row in held_out.images)
    assert not data.has_test


# ---------------------------------------------------------------- training


def test_the_judge_learns_and_knows_how_well(tmp_path, shared):
    run = run_of(tmp_path)
    judge = judge_of(run)
    assert judge.accuracy == 1.0 and judge.held_out == 12 and judge.trained == 60
    images = torch.stack([drawn(n, judge.spec) for n in range(5000, 5030)]).float() / 127.5 - 1
    assert judge.logits(images).argmax(1).tolist() == [n % 3 for n in range(5000, 5030)]
    assert judge.features(images).shape == (30, 128)


def test_training_is_repeatable_and_touches_no_other_draws():
    spec = ImageSpec(1, 8, 8)
    rows = Rows(torch.stack([drawn(n, spec) for n in range(12)]), torch.arange(12) % 3)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with torch.no_grad():  # whoever measures may have gradients off
        first = train(rows, spec, 3, CPU).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = train(rows, spec, 3, CPU).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("channels", "height", "width", "classes"),
    [(1, 8, 8, 2), (3, 9, 13, 5), (3, 15, 40, 3), (1, 28, 28, 10), (4, 64, 48, 100)],
)
def test_networks_are_made_for_any_size(channels, height, width, classes):
    built = blank(ImageSpec(channels, height, width), classes).eval()
    images = torch.zeros(2, channels, height, width)
    assert built(images).shape == (2, classes)
    assert built.features(images).shape == (2, 128)


def test_images_are_shifted_whole_and_each_by_itself():
    image = torch.arange(24.0 * 24).view(1, 1, 24, 24).repeat(40, 1, 1, 1)
    moved = shifted(image, Draws(0), 3)
    assert moved.shape == image.shape
    centres = (moved[:, 0, 12, 12] - image[0, 0, 12, 12]).tolist()
    allowed = {24.0 * down + right for down in range(-2, 3) for right in range(-2, 3)}
    assert set(centres) <= allowed and len(set(centres)) > 10
    inner = moved[:, 0, 4:20, 4:20]
    assert torch.equal(inner - inner[:, :1, :1], image[:, 0, 4:20, 4:20] - image[0, 0, 4, 4])


# ---------------------------------------------------------------- the cache


def test_a_judge_is_trained_once(tmp_path, cache, capsys, monkeypatch):
    first = judge_of(run_of(tmp_path))
    said = capsys.readouterr()
    assert said.err.count("training the judge of stripes, once: 60 images") == 1
    assert "100.00% of 12 held-out images" in said.err and said.out == ""
    kept = sorted(p.suffix for p in cache.iterdir() if p.suffix != ".lock")
    assert kept == [".json", ".safetensors"]

    def never(*arguments):
        raise AssertionError("trained again")

    monkeypatch.setattr(judging, "train", never)
    again = judge_of(run_of(tmp_path))
    assert capsys.readouterr().err == ""
    assert (again.identity, again.accuracy) == (first.identity, first.accuracy)
    images = torch.rand(3, 1, 10, 10)
    assert torch.equal(again.logits(images), first.logits(images))


@pytest.mark.parametrize("damage", ["weights", "facts", "lost", "other"])
def test_a_damaged_judge_is_trained_again_and_said_so(tmp_path, cache, capsys, damage):
    first = judge_of(run_of(tmp_path))
    (facts,), (weights,) = cache.glob("*.json"), cache.glob("*.safetensors")
    if damage == "weights":
        weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    elif damage == "facts":
        facts.write_text(facts.read_text(encoding="utf-8")[:40], encoding="utf-8")
    elif damage == "lost":
        weights.unlink()
    else:
        facts.write_text('["no", "object"]', encoding="utf-8")
    capsys.readouterr()
    again = judge_of(run_of(tmp_path))
    lines = capsys.readouterr().err.splitlines()
    assert sum("cannot be used" in line and "trained again" in line for line in lines) == 1
    assert again.identity == first.identity
    judge_of(run_of(tmp_path))
    assert capsys.readouterr().err == ""


def test_other_rows_and_other_settings_have_other_judges(tmp_path, monkeypatch):
    def name(*sets):
        data, _ = data_of(run_of(tmp_path, *sets))
        return judging._hash(data, data.training(), data.held_out())

    here = name()
    assert here == name("data.size=16") == name("train.seed=5")
    assert len({here, name("data.test=9"), name("data.pixels=12")}) == 3
    monkeypatch.setattr(judging, "SETTINGS", (network.VERSION + 1,))
    assert name() != here


def test_a_cache_that_cannot_be_written_is_said_and_no_hindrance(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "file"))
    assert judge_of(run_of(tmp_path)).accuracy == 1.0
    assert "cannot keep the judge in" in capsys.readouterr().err


def test_without_a_setting_the_cache_is_the_users(monkeypatch):
    monkeypatch.delenv("GANFORGE_CACHE")
    folder = store.cache_folder()
    assert folder.is_absolute() and folder.name == "judges" and "ganforge" in folder.parts


# ---------------------------------------------------------------- the metric


def test_a_perfect_generator_has_perfect_figures(tmp_path, shared):
    run = run_of(tmp_path, text=GIVEN)
    Drawer(run, ImageSpec(1, 10, 10))
    figures, protocol = measured(run)
    for name in NAMES:
        assert figures[f"share/{name}"] == pytest.approx(1 / 3)
        assert figures[f"agreement/{name}"] == 1
    assert figures["agreement"] == figures["smallest-agreement"] == figures["judge-accuracy"] == 1
    assert figures["smallest-share"] == figures["largest-share"] == pytest.approx(1 / 3)
    assert figures["confidence"] > 0.9
    assert figures["deviation"] == pytest.approx(figures["deviation-real"], rel=0.1)
    assert "90 samples of seeds from 0" in protocol and "not the Inception FID" in protocol
    assert "100.00% of 12 held-out" in protocol and "asked for" in protocol
    assert all(isinstance(value, float) for value in figures.values())
    assert json.loads(json.dumps(figures)) == figures


def test_wrong_classes_lower_agreement(tmp_path, shared):
    run = run_of(tmp_path, text=GIVEN)
    Drawer(run, ImageSpec(1, 10, 10), wrong=(0, 3, 6, 9, 12, 10))  # five of class 0, one of class 1
    figures, _ = measured(run)
    assert figures["agreement"] == pytest.approx(0.8)
    assert figures["agreement/across"] == figures["smallest-agreement"] == pytest.approx(0.5)
    assert figures["agreement/down"] == pytest.approx(0.9)
    assert figures["share/across"] == figures["smallest-share"] == pytest.approx(5 / 30)


def test_one_image_for_each_class_agrees_but_does_not_deviate(tmp_path, shared):
    run = run_of(tmp_path, text=GIVEN)
    Drawer(run, ImageSpec(1, 10, 10), same=True)
    figures, _ = measured(run)
    assert figures["agreement"] == 1
    assert figures["deviation"] == pytest.approx(0, abs=1e-6)
    assert figures["smallest-deviation"] == pytest.approx(0, abs=1e-6)
    assert figures["deviation-real"] > 0.05


def test_unlabelled_generators_are_judged_by_the_classes_found(tmp_path, shared):
    run = run_of(tmp_path)
    Drawer(run, ImageSpec(1, 10, 10))
    figures, protocol = measured(run)
    assert not any(name.startswith(("agreement", "smallest-agreement")) for name in figures)
    assert figures["share/plain"] == pytest.approx(1 / 3)
    assert figures["deviation"] == pytest.approx(figures["deviation-real"], rel=0.1)
    assert "within the class found" in protocol


def test_samples_and_real_images_are_resized_alike(tmp_path, shared):
    run = run_of(tmp_path, "data.size=32", "data.channels=3", text=GIVEN)
    Drawer(run, ImageSpec(3, 32, 32))
    _, protocol = measured(run)
    assert "(image 1 x 10 x 10, shown image 3 x 32 x 32 resized)" in protocol


def test_figures_do_not_depend_on_the_parts_that_samples_come_in(tmp_path, shared, monkeypatch):
    run = run_of(tmp_path, text=GIVEN)
    whole, _ = measured(run)
    assert whole["judge-distance"] > 2 * whole["judge-distance-real"]  # it is untrained
    monkeypatch.setattr("ganforge_judge.metric.AT_ONCE", 7)
    monkeypatch.setattr("ganforge_judge.judge.AT_ONCE", 5)
    parts, _ = measured(run)
    assert whole.keys() == parts.keys()
    assert list(parts.values()) == pytest.approx(list(whole.values()), rel=1e-4, abs=1e-6)


def test_each_of_several_generators_has_its_figures(tmp_path, shared):
    both = RECIPE.replace("[generator]", '[generators.one]\nto = "image"').replace(
        "[discriminator]",
        '[generators.two]\nuse = "mlp"\nhidden = [5]\nto = "image"\n'
        'from = ["noise", "label"]\n[discriminator]',
    )
    figures, protocol = measured(run_of(tmp_path, text=both), count=20)
    assert {name.partition("/")[0] for name in figures} == {"one", "two"}
    assert "two/agreement" in figures and "one/agreement" not in figures
    assert protocol.count("judge-distance") == 2  # they differ in how deviation is taken


def test_measuring_leaves_the_training_as_it_was(tmp_path):
    training = training_of(tmp_path, GIVEN, STRIPES)
    before = torch.get_rng_state()
    with training.looking() as run:
        first, _ = measured(run)  # trains the judge
    assert torch.equal(torch.get_rng_state(), before)
    assert all(network.training for network in training.game.networks.values())
    with training.looking() as run:
        assert measured(run)[0] == first


def test_samples_that_are_not_finite_are_told(tmp_path, shared):
    run = run_of(tmp_path)
    run.sample = lambda count, **how: torch.full((count, 1, 10, 10), torch.nan)
    with pytest.raises(GanforgeError, match="'main' makes images that are not finite"):
        measured(run)


def test_classes_are_named_as_parts_of_keys():
    assert class_names(LabelSpec(2, ("Polar Bear", "seal_2"))) == ["polar-bear", "seal-2"]
    assert class_names(LabelSpec(3)) == ["0", "1", "2"]
    assert class_names(LabelSpec(2, ("a b", "a_b"))) == ["0", "1"]  # no two keys alike


def test_of_many_classes_only_extremes_are_figures():
    from ganforge_judge.metric import Looked, class_figures

    probabilities = torch.eye(30).double()[torch.arange(60) % 29]
    looked = Looked(torch.zeros(60, 2), probabilities, torch.arange(60) % 30, torch.zeros(30))
    figures = class_figures(looked, LabelSpec(30), asked=True)
    assert set(figures) == {
        "smallest-share",
        "largest-share",
        "confidence",
        "agreement",
        "smallest-agreement",
    }
    assert figures["smallest-share"] == 0 and figures["largest-share"] == pytest.approx(3 / 60)


@pytest.mark.data
def test_real_digits_deviate_as_the_docs_say():
    root = Path(os.environ.get("GANFORGE_TEST_DATA", "")) / "mnist"
    if "GANFORGE_TEST_DATA" not in os.environ or not root.is_dir():
        pytest.skip("needs MNIST: GANFORGE_TEST_DATA, a folder that holds mnist")
    from ganforge_mnist.dataset import Mnist
    from ganforge_mnist.plugin import MnistOptions
    from ganforge_mnist.plugin import describe as describe_mnist

    from ganforge.plugin import ImageOptions

    chosen = MnistOptions(root=root)
    dataset = Mnist(chosen, ImageOptions(), describe_mnist(chosen, ImageOptions()))
    data = labelled.Labelled(dataset, "image", "label", "mnist", "ganforge/mnist")
    rows = data.held_out()
    deviation = ClassDeviation(10)
    deviation.add(rows.pixels(), rows.labels)
    assert float(deviation.each().mean()) == pytest.approx(0.312, abs=0.001)


# --- one class, and several processes -------------------------------------------------------------


def test_a_judge_of_one_class_is_refused(tmp_path):
    data, _ = data_of(run_of(tmp_path))
    rows = data.training()
    with pytest.raises(
        GanforgeError, match="are of one class, 'down': a judge of one class is always right"
    ):
        judging._refuse_one_class(data, Rows(rows.images, torch.ones_like(rows.labels)))


def test_of_two_processes_one_trains_the_judge_and_the_other_waits(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "new"))
    run = run_of(tmp_path)
    trained, started = [], threading.Event()
    train_ = judging.train

    def slowly(*arguments):
        trained.append(1)
        started.set()
        waiting.wait(60)
        return train_(*arguments)

    waiting = threading.Event()
    say = store.say

    def heard(text):
        say(text)
        if "waiting for it" in text:
            waiting.set()

    monkeypatch.setattr(judging, "train", slowly)
    monkeypatch.setattr(store, "say", heard)
    with ThreadPoolExecutor() as pool:  # locks of one process keep its threads apart as well
        first = pool.submit(judge_of, run)
        assert started.wait(60)
        second = pool.submit(judge_of, run)
        assert first.result().identity == second.result().identity
    assert len(trained) == 1
    assert "another process is training the judge of stripes: waiting" in capfd.readouterr().err
