"""Painted horses and zebras: the pictures, the dataset, and how translations are measured."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ganforge_painted_horses.animal import COATS, GAITS, Animal, outlines
from ganforge_painted_horses.canvas import closed_curve, coverage, noise, open_curve
from ganforge_painted_horses.dataset import PaintedHorses
from ganforge_painted_horses.dice import Dice
from ganforge_painted_horses.painting import Scene, paint
from ganforge_painted_horses.plugin import (
    PaintedHorsesOptions,
    TranslationTruthOptions,
    describe,
    ganforge_components,
)
from ganforge_painted_horses.truth import TranslationTruth, figures, striped
from torch import nn
from torch.nn import functional as F

from ganforge import Draws, GanforgeError, ImageOptions
from ganforge.plugin import Impossible


def dataset(size=None, count=40, held_out=24, seed=0, **image):
    options = PaintedHorsesOptions(count=count, held_out=held_out, seed=seed)
    image = ImageOptions(size=size, **image)
    return PaintedHorses(options, image, describe(options, image))


def rows(data, domain, count, split="test"):
    return torch.stack([data.item(split, domain, index) for index in range(count)])


def scene(number, seed=0):
    return Scene.drawn(Draws(seed).generator("test", number))


# Polygons to pixels


def test_coverage_is_the_share_of_each_pixel():
    box = np.array([(1.25, 0.5), (3.0, 0.5), (3.0, 2.0), (1.25, 2.0)])
    cover = coverage({"box": [box]}, 1, 3, 4)["box"]
    expected = np.zeros((3, 4))
    expected[0, 1:3], expected[1, 1:3] = (0.375, 0.5), (0.75, 1)
    np.testing.assert_allclose(cover, expected, atol=1e-6)


def test_coverage_joins_what_overlaps_however_it_turns():
    box = np.array([(0, 0), (4, 0), (4, 3), (0, 3)], float)
    layers = {"one": [box], "both": [box, box[::-1] + 1], "stacked": [np.stack([box, box])]}
    cover = coverage(layers, 1, 6, 6)
    assert cover["one"].sum() == pytest.approx(12)
    assert cover["both"].sum() == pytest.approx(12 + 12 - 6)
    assert cover["stacked"].sum() == pytest.approx(12)


def test_coverage_cuts_at_the_border_and_knows_empty_layers():
    box = np.array([(-9, -9), (2, -9), (2, 90), (-9, 90)], float)
    cover = coverage({"empty": [], "box": [box], "none": [np.zeros((0, 4, 2))]}, 1, 5, 4)
    assert cover["box"].sum() == pytest.approx(10)
    assert cover["empty"].sum() == cover["none"].sum() == 0


def test_coverage_has_the_area_of_a_circle_at_every_size():
    turn = np.linspace(0, 2 * np.pi, 90)[:-1]
    circle = 0.5 + 0.4 * np.stack([np.cos(turn), np.sin(turn)], 1)
    for size in (16, 50, 128):
        area = coverage({"circle": [circle]}, size, size, size)["circle"].mean()
        assert area == pytest.approx(0.16 * np.pi, rel=0.005)


def test_curves_pass_through_their_points():
    points = np.random.default_rng(0).random((2, 6, 2))
    np.testing.assert_allclose(closed_curve(points, 4)[:, ::4], points, atol=1e-12)
    np.testing.assert_allclose(open_curve(points, 4)[:, ::4], points, atol=1e-12)


def test_noise_repeats_and_stays_between_the_values_of_its_grid():
    grid = np.random.default_rng(0).random((5, 4)).astype(np.float32)
    at = np.linspace(0, 5, 40)
    drawn = noise(grid, at, at)
    assert grid.min() <= drawn.min() < drawn.max() <= grid.max()
    np.testing.assert_allclose(noise(grid, at + 5, at + 4), drawn, atol=1e-5)


# Pictures


def test_the_same_scene_is_the_same_picture():
    first, second = (paint(scene(3), "zebra", 64, 64) for _ in range(2))
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.mask, second.mask)


@pytest.mark.parametrize("species", ["horse", "zebra"])
def test_a_scene_looks_the_same_at_every_size(species):
    for number in range(4):
        large, small = (paint(scene(number), species, s, s) for s in (192, 64))
        shrunk = large.image.reshape(3, 64, 3, 64, 3).mean((2, 4))
        assert np.abs(shrunk - small.image).mean() < 0.012
        assert np.abs(large.mask.reshape(64, 3, 64, 3).mean((1, 3)) - small.mask).mean() < 0.01


def test_species_differ_on_the_animal_alone():
    for number in range(12):
        horse, zebra = (paint(scene(number), species, 64, 64) for species in ("horse", "zebra"))
        assert np.array_equal(horse.mask, zebra.mask)
        apart = np.abs(horse.image - zebra.image)
        assert apart[:, horse.mask == 0].max() < 1e-5
        assert apart[:, horse.mask > 0.9].mean() > 0.1


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (120, 64), (16, 16)])
def test_animals_stand_inside_the_picture(size):
    for number in range(30):
        mask = paint(scene(number), "horse", *size).mask
        assert 0.07 < mask.mean() * max(size) / min(size) < 0.45
        assert mask[0].max() < 0.5
        assert mask[:, [0, -1]].mean() < 0.25
        assert mask[: size[0] // 8].mean() < 0.2


def test_feet_stand_on_the_ground_or_leap():
    for number in range(60):
        animal = Animal.drawn(Dice(Draws(0).generator("test", number)))
        drawn = outlines(animal)
        lowest = min(toes[:, 1].min() for toes in drawn.layers["hooves"][0]) + drawn.lift
        assert -0.1 < lowest < GAITS[animal.gait].leap + 0.12


def test_the_zebra_tells_the_coat_of_its_horse():
    stripes = np.stack([coat.stripe for coat in COATS.values()])
    bodies = np.stack([coat.body for coat in COATS.values()])
    for colours in (stripes, bodies):
        apart = np.abs(colours[:, None] - colours).max(-1) + np.eye(len(colours))
        assert apart.min() > 0.06
    assert stripes.mean(1).max() < 0.35  # all of them dark


# The dataset


def test_describes_what_it_yields():
    data = dataset((48, 80), count=7, held_out=3)
    description = data.description
    assert description.domains["horse"].shape == description.domains["zebra"].shape == (3, 48, 80)
    assert description.domains["zebra-mask"].shape == (1, 48, 80)
    assert description.group("horse") == ("horse", "horse-truth", "horse-mask")
    for domain, spec in description.domains.items():
        assert description.counts["train"][domain] == data.count("train", domain) == 7
        assert description.counts["test"][domain] == data.count("test", domain) == 3
        item = data.item("test", domain, 2)
        assert item.dtype == torch.uint8
        assert item.shape == spec.shape
    assert data.count("validation", "horse") == 0


def test_sizes_are_64_px_or_as_asked_for_and_cropping_gets_its_room():
    assert dataset().item("train", "horse", 0).shape == (3, 64, 64)
    assert dataset(32, load=36).item("train", "horse-mask", 0).shape == (1, 36, 36)
    assert dataset(32, load=36).description.domains["horse"].shape == (3, 32, 32)
    assert dataset(32, channels=1).item("train", "zebra", 0).shape == (1, 32, 32)


def test_grey_is_the_brightness_of_the_colours():
    colour, grey = (dataset(32, channels=c).item("test", "zebra", 1).float() for c in (3, 1))
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    assert ((colour * weights).sum(0, keepdim=True) - grey).abs().max() <= 1.5


@pytest.mark.parametrize(
    ("image", "key", "words"),
    [
        ({"channels": 4}, "channels", "3 channels, or 1"),
        ({"size": 8}, "size", "at least 16 px"),
        ({"size": (15, 64)}, "size", "15 x 64"),
        ({"size": 64, "load": 32}, "load", "less than"),
    ],
)
def test_refuses_what_it_cannot_paint(image, key, words):
    with pytest.raises(Impossible, match=words) as refused:
        describe(PaintedHorsesOptions(), ImageOptions(**image))
    assert refused.value.key == key


def test_an_image_depends_on_seed_split_species_and_index_alone():
    data, again = dataset(32), dataset(32, count=7, held_out=9)
    first = data.item("train", "horse", 5)
    again.item("test", "zebra", 1)  # whatever was painted before
    assert torch.equal(first, again.item("train", "horse", 5))
    others = [
        data.item("train", "horse", 6),
        data.item("test", "horse", 5),
        data.item("train", "zebra", 5),
        data.item("train", "zebra-truth", 5),  # the zebras' scenes are none of the horses'
        dataset(32, seed=1).item("train", "horse", 5),
    ]
    for other in others:
        assert (first.float() - other.float()).abs().mean() > 2


def test_truth_is_the_same_scene_as_the_other_animal():
    data = dataset(64)
    for species in ("horse", "zebra"):
        image, truth, mask = (
            rows(data, species + part, 8).float() for part in ("", "-truth", "-mask")
        )
        apart = (image - truth).abs().mean(1, keepdim=True)
        assert (apart * (mask == 0)).max() <= 1  # rounding
        assert (apart * (mask > 250)).sum() / (mask > 250).sum() > 30


def test_pictures_keep_their_look():
    """Runs are resumed and compared on these pictures, so they change with intent only."""
    data = dataset(64)
    means = [data.item("test", domain, 0).float().mean((1, 2)) for domain in ("horse", "zebra")]
    expected = torch.tensor(LOOK)
    assert (torch.stack(means) - expected).abs().max() < 0.5


LOOK = [[176.75, 175.39, 174.92], [175.14, 174.01, 139.61]]  # mean red, green, blue


def test_nothing_but_the_coat_tells_the_species_apart():
    data = dataset(32, count=300)
    means, places = [], []
    for species in ("horse", "zebra"):
        image = rows(data, species, 300, "train").float()
        mask = rows(data, f"{species}-mask", 300, "train").float() / 255
        bare = mask == 0
        means.append((image * bare).sum((0, 2, 3)) / bare.sum())
        at = torch.linspace(0, 1, 32)
        weight = mask.mean(0)[0]
        across, down = (weight * at).sum() / weight.sum(), (weight.T * at).sum() / weight.sum()
        places.append(torch.stack([across, down, mask.mean()]))
    assert (means[0] - means[1]).abs().max() < 4  # of 255
    assert (places[0] - places[1]).abs().max() < 0.02


# The metric


def true(species, count=12, size=64):
    data = dataset(size)
    image, truth, mask = (
        rows(data, species + part, count).float() / 255 for part in ("", "-truth", "-mask")
    )
    return image * 2 - 1, truth * 2 - 1, mask


@pytest.mark.parametrize(("species", "size"), [("horse", 64), ("zebra", 64), ("horse", (96, 128))])
def test_doing_nothing_and_the_truth_are_the_ends_of_the_scale(species, size):
    image, truth, mask = true(species, size=size)
    nothing = figures(species, image, image, truth, mask)
    perfect = figures(species, image, truth, truth, mask)
    assert nothing["coat"] == nothing["coat-untouched"] == perfect["coat-untouched"] > 40
    assert nothing["background"] == nothing["background-untouched"] < 0.01
    assert nothing["stripes"] == (species == "zebra")
    assert perfect["coat"] == perfect["background"] == 0
    assert perfect["stripes"] == (species == "horse")


def test_errors_are_in_grey_levels_where_they_belong():
    image, truth, mask = true("horse")
    brighter = image + 10 / 127.5 * (mask == 0)
    measured = figures("horse", image, brighter, truth, mask)
    assert measured["background"] == pytest.approx(10, abs=0.01)
    assert measured["coat"] == pytest.approx(measured["coat-untouched"], abs=0.01)


def test_stripes_are_told_from_noise_blur_and_other_patterns():
    horses, zebras, masks = true("horse", 24)

    def share(made):
        return striped(horses, made, zebras, masks).float().mean().item()

    generator = torch.Generator().manual_seed(0)
    checks = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 2.0 - 1
    assert share(zebras.roll(2, 3)) > 0.9  # stripes elsewhere on the coat are stripes
    assert share(horses + 0.6 * (zebras - horses)) == 1
    assert share(horses + 0.4 * (zebras - horses)) == 0
    assert share(horses + 0.4 * torch.randn(horses.shape, generator=generator)) == 0
    assert share(horses + 0.4 * checks) == 0
    assert share(F.avg_pool2d(zebras, 7, 1, 3)) == 0


class Painter(nn.Module):
    """A translator that knows what it makes of each image."""

    def __init__(self, images, made):
        super().__init__()
        self.known = {tuple(x.flatten().tolist()): y for x, y in zip(images, made, strict=True)}

    def forward(self, images):
        return torch.stack([self.known[tuple(x.flatten().tolist())] for x in images])


def run_with(generators, data, networks=None):
    """What the metric sees of a run."""
    plans = {
        name: SimpleNamespace(sources=sources, target=target)
        for name, (sources, target) in generators.items()
    }
    component = SimpleNamespace(name=type(data).__name__)
    return SimpleNamespace(
        plan=SimpleNamespace(generators=plans, data=SimpleNamespace(component=component)),
        dataset=lambda: data,
        held_out=lambda domain, count: rows(data, domain, count).float() / 127.5 - 1,
        translate=lambda images, name: networks[name](images),
    )


def test_measures_each_generator_between_the_species():
    data = dataset(32)
    horses, zebras = (rows(data, f"horse{part}", 20).float() / 127.5 - 1 for part in ("", "-truth"))
    run = run_with(
        {
            "paint": (("horse",), "zebra"),
            "back": (("zebra",), "horse"),
            "other": (("noise",), "zebra"),
        },
        data,
        {"paint": Painter(horses, zebras), "back": nn.Identity()},
    )
    metric = TranslationTruth(TranslationTruthOptions(count=20))
    measured = metric.measure(run)
    assert {name.split("/")[0] for name in measured} == {"paint", "back"}
    assert measured["paint/coat"] == measured["paint/background"] == 0
    assert measured["paint/stripes"] == measured["back/stripes"] == 1
    assert measured["back/coat"] == measured["back/coat-untouched"] > 40
    assert all(isinstance(value, float) for value in measured.values())
    assert "20 held-out" in metric.protocol()


def test_pairs_are_measured_by_their_own_scenes_in_both_directions():
    data = dataset(32)
    horses, zebras = (rows(data, f"zebra{part}", 20).float() / 127.5 - 1 for part in ("-truth", ""))
    run = run_with(
        {
            "paint": (("zebra-truth",), "zebra"),
            "across": (("zebra-truth",), "horse-truth"),
            "back": (("zebra",), "zebra-truth"),
            "other": (("zebra",), "horse-truth"),
        },
        data,
        {
            "paint": Painter(horses, zebras),
            "across": nn.Identity(),
            "back": Painter(zebras, horses),
        },
    )
    measured = TranslationTruth(TranslationTruthOptions(count=20)).measure(run)
    assert {name.split("/")[0] for name in measured} == {"paint", "across", "back"}
    for name in ("paint", "back"):
        assert measured[f"{name}/coat"] == measured[f"{name}/background"] == 0
        assert measured[f"{name}/coat-untouched"] > 40
    assert measured["paint/stripes"] == 1 and measured["back/stripes"] == 0
    assert measured["across/coat"] == measured["across/coat-untouched"] > 40
    assert measured["across/stripes"] == 0


def test_refuses_other_data_and_other_generators():
    metric = TranslationTruth(TranslationTruthOptions())
    with pytest.raises(GanforgeError, match="needs the data painted-horses"):
        metric.measure(run_with({"g": (("horse",), "zebra")}, object()))
    with pytest.raises(GanforgeError, match="this run has g"):
        metric.measure(run_with({"g": (("noise",), "zebra")}, dataset(32)))


def test_offers_the_dataset_and_the_metric():
    components = {(c.kind, c.name): c for c in ganforge_components()}
    assert set(components) == {("dataset", "painted-horses"), ("metric", "translation-truth")}
