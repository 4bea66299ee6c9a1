"""Captioned shapes: captions, pictures, the dataset, the checker, and what is measured with it."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ganforge_captioned_shapes.captions import (
    COLOURS,
    LENGTH,
    SHAPES,
    SIZES,
    VOCABULARY,
    Meaning,
    Thing,
    drawn,
    near_miss,
    parse,
    wording,
)
from ganforge_captioned_shapes.checker import Claims, Seen, check, connected, look, shown
from ganforge_captioned_shapes.dataset import CaptionedShapes
from ganforge_captioned_shapes.plugin import (
    CaptionedShapesOptions,
    CaptionTruthOptions,
    describe,
)
from ganforge_captioned_shapes.scene import AREA, MARGIN, REACH, Scene, distance
from ganforge_captioned_shapes.truth import CaptionTruth, energy, enlarged, shares
from torch.nn import functional as F

from ganforge import GanforgeError, ImageOptions, ImageSpec, TextSpec
from ganforge.plugin import Impossible

TEXT = TextSpec(VOCABULARY, LENGTH)
RED = Thing("small", "red", "circle")
BLUE = Thing("large", "blue", "square")


def dataset(size=None, count=300, held_out=100, **options):
    image = ImageOptions(size=size)
    options = CaptionedShapesOptions(count=count, held_out=held_out, **options)
    return CaptionedShapes(options, image, describe(options, image))


def images(data, count, split="test"):
    return torch.stack([data.item(split, "image", i) for i in range(count)]) / 127.5 - 1


def meanings(data, split, count, wrong=False):
    return [parse(data.caption(split, i, wrong=wrong)) for i in range(count)]


# Captions


def test_every_wording_is_understood_and_fits():
    draws = np.random.default_rng(0)
    said = set()
    for _ in range(2000):
        meaning = drawn(2, draws)
        caption = wording(meaning, draws)
        said.add(caption)
        assert parse(caption) == meaning
        assert TEXT.decode(TEXT.encode(caption)) == caption
    words = {word for caption in said for word in caption.split()}
    assert words == set(VOCABULARY[1:])


def test_the_converse_says_the_same():
    one = parse("a small red circle to the left of a big blue square")
    other = parse("there is a large blue square right of a little red circle")
    assert one == other == Meaning((RED, BLUE), "left")
    assert parse("a large blue square under a small red circle") == Meaning((RED, BLUE), "above")


@pytest.mark.parametrize(
    "caption",
    [
        "a red circle",
        "a small red circle a large blue square",
        "a small red circle left of a large square",
        "a small red circle left of",
        "there is a picture",
    ],
)
def test_what_is_no_caption_is_refused(caption):
    with pytest.raises(GanforgeError, match="is not a caption of captioned-shapes"):
        parse(caption)


def test_near_misses_differ_in_one_word():
    draws = np.random.default_rng(1)
    for _ in range(300):
        meaning = drawn(2, draws)
        other = near_miss(meaning, draws)
        pairs = list(zip(meaning.things, other.things, strict=True))
        parts = ("size", "colour", "shape")
        differ = sum(getattr(a, k) != getattr(b, k) for a, b in pairs for k in parts)
        if differ != 1:  # then the relation, which may swap what comes first
            assert set(meaning.things) == set(other.things)
            assert meaning != other


# Pictures


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_has_its_area_reach_and_centre_of_mass(shape):
    at = (np.arange(1200, dtype=np.float32) + 0.5) / 400 - 1.5
    x, y = at[None, :], at[:, None]
    cover = distance(shape, x, y) > 0
    assert cover.mean() * 9 == pytest.approx(AREA[shape], rel=0.01)
    assert (cover * x).sum() / cover.sum() == pytest.approx(0, abs=0.005)
    assert (cover * y).sum() / cover.sum() == pytest.approx(0, abs=0.005)
    columns, rows = at[cover.any(0)], at[cover.any(1)]
    reach = (-columns[0], columns[-1], -rows[0], rows[-1])
    assert reach == pytest.approx(REACH[shape], abs=0.01)


@pytest.mark.parametrize(("width", "height"), [(1.0, 1.0), (1.5, 1.0), (1.0, 2.0)])
def test_things_lie_inside_the_picture_and_apart(width, height):
    draws = np.random.default_rng(2)
    for _ in range(300):
        boxes = []
        for one in Scene.of(drawn(2, draws), width, height, draws).placed:
            left, right, up, down = (one.extent * reach for reach in REACH[one.thing.shape])
            boxes.append((one.x - left, one.x + right, one.y - up, one.y + down))
        for left, right, up, down in boxes:
            assert min(left, up) > MARGIN - 1e-6
            assert right < width - MARGIN + 1e-6
            assert down < height - MARGIN + 1e-6
        if len(boxes) == 2:
            (_, right, _, down), (left, _, up, _) = boxes
            assert max(left - right, up - down) > MARGIN - 1e-6


def test_a_scene_looks_the_same_at_every_size():
    draws = np.random.default_rng(3)
    for _ in range(4):
        scene = Scene.of(drawn(2, draws), 1.0, 1.0, draws)
        shrunk = scene.draw(192, 192).reshape(3, 64, 3, 64, 3).mean((2, 4))
        assert np.abs(shrunk - scene.draw(64, 64)).mean() < 0.002


def test_pictures_keep_their_look():
    """Runs are resumed and compared on these pictures, so they change with intent only."""
    data = dataset(64)
    means = torch.stack([data.item("test", "image", i).float().mean((1, 2)) for i in (0, 1)])
    assert (means - torch.tensor(LOOK)).abs().max() < 0.5
    assert [data.caption("test", i) for i in (0, 1)] == SAID


LOOK = [[210.52, 213.22, 204.09], [225.02, 215.6, 212.33]]  # mean red, green, blue
SAID = ["a picture of a little yellow circle", "a picture of a little yellow circle"]


# The dataset


def test_describes_what_it_yields():
    data = dataset((48, 80), count=7, held_out=3)
    description = data.description
    assert description.domains["image"].shape == (3, 48, 80)
    assert description.mismatched == {"caption": "wrong-caption"}
    assert description.group("caption") == ("image", "caption", "wrong-caption")
    for domain, spec in description.domains.items():
        assert data.count("train", domain) == description.counts["train"][domain] == 7
        assert data.count("test", domain) == description.counts["test"][domain] == 3
        item = data.item("test", domain, 2)
        assert item.shape == spec.shape
        assert item.dtype == (torch.uint8 if domain == "image" else torch.int64)
    assert data.count("validation", "image") == 0


@pytest.mark.parametrize(
    ("image", "key", "words"),
    [
        ({"channels": 1}, "channels", "3 channels"),
        ({"size": 40}, "size", "at least 48 px"),
        ({"size": (48, 128)}, "size", "48 x 128"),
        ({"flip": True}, "flip", "left would be right"),
        ({"size": 64, "load": 72}, "load", "cut off"),
    ],
)
def test_refuses_what_it_cannot_draw(image, key, words):
    with pytest.raises(Impossible, match=words) as refused:
        describe(CaptionedShapesOptions(), ImageOptions(**image))
    assert refused.value.key == key


def test_a_row_depends_on_seed_split_and_index_alone():
    data, again = dataset(48), dataset(48, count=7, held_out=9)
    for domain in ("image", "caption", "wrong-caption"):
        first = data.item("train", domain, 5)
        again.item("test", "image", 1)  # whatever was drawn before
        assert torch.equal(first, again.item("train", domain, 5))
    others = [data.item("train", "image", 6), data.item("test", "image", 5)]
    others.append(dataset(48, seed=1).item("train", "image", 5))
    for other in others:
        assert (data.item("train", "image", 5).float() - other.float()).abs().mean() > 2


@pytest.mark.parametrize("objects", [1, 2])
def test_held_out_captions_never_occur_in_training(objects):
    data = dataset(count=3000, held_out=500, objects=objects)
    learnt = {m for wrong in (False, True) for m in meanings(data, "train", 3000, wrong)}
    asked = set(meanings(data, "test", 500))
    assert not learnt & asked
    assert all(data.held_out(meaning) for meaning in asked)
    assert not any(data.held_out(meaning) for meaning in learnt)
    for part, values in (("colour", COLOURS), ("shape", SHAPES), ("size", SIZES)):
        for group in (learnt, asked):  # but every word of them does
            assert {getattr(t, part) for m in group for t in m.things} == set(values)


def test_the_share_of_held_out_meanings_is_the_one_asked_for():
    every = [Meaning((Thing(s, c, f),)) for s in SIZES for c in COLOURS for f in SHAPES]
    for share, count in ((0.001, 1), (0.2, 10), (0.5, 24)):
        data = dataset(unseen=share)
        assert sum(map(data.held_out, every)) == count
    draws = np.random.default_rng(0)
    two = [m for m in (drawn(2, draws) for _ in range(4000)) if m.relation]
    assert sum(map(dataset(objects=2).held_out, two)) / len(two) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize("objects", [1, 2])
def test_captions_are_true_and_wrong_ones_false_and_often_nearly_true(objects):
    data = dataset(objects=objects)
    wrong = Counter()
    for split, count in (("train", 300), ("test", 100)):
        for i in range(count):
            seen = shown(data.scene(split, i))
            assert check(parse(data.caption(split, i)), seen).all
            claims = check(parse(data.caption(split, i, wrong=True)), seen)
            assert not claims.all
            values = (claims.colour, claims.shape, claims.size, claims.relation, claims.count)
            wrong[sum(value is False for value in values)] += 1
    assert wrong[1] > 0.5 * sum(wrong.values())


# The checker


def seen(thing, x, y):
    return Seen(thing.size, thing.colour, thing.shape, x, y)


def test_claims_are_checked_one_by_one():
    left = Meaning((RED, BLUE), "left")
    right = [seen(BLUE, 0.7, 0.5), seen(RED, 0.2, 0.4)]
    assert check(left, right) == Claims(True, True, True, True, True)
    assert check(left, right[::-1]) == check(left, right)
    swapped = [seen(RED, 0.7, 0.5), seen(BLUE, 0.2, 0.4)]
    assert check(left, swapped) == Claims(True, True, True, False, True)
    slanting = [seen(RED, 0.4, 0.2), seen(BLUE, 0.6, 0.5)]
    assert check(left, slanting).relation is False
    assert check(Meaning((RED, BLUE), "above"), slanting).all
    green = [seen(Thing("small", "green", "circle"), 0.2, 0.4), seen(BLUE, 0.7, 0.5)]
    assert check(left, green) == Claims(False, True, True, True, True)


def test_a_caption_names_all_that_is_to_be_seen():
    both = [seen(RED, 0.2, 0.4), seen(BLUE, 0.7, 0.5)]
    assert check(Meaning((RED,)), both) == Claims(True, True, True, None, False)
    assert check(Meaning((RED, BLUE), "left"), both[:1]) == Claims(
        False, False, False, False, False
    )
    assert not check(Meaning((RED,)), []).all


def test_connected_tells_apart_what_does_not_touch():
    mask = torch.zeros(1, 1, 6, 7, dtype=torch.bool)
    mask[..., 0, :] = mask[..., 1:3, 0] = mask[..., 4:, 2:5] = True
    mask[..., 3, 5] = True  # touches the block below by its corner
    labels = connected(mask)
    assert (labels > 0).equal(mask)
    assert len(labels.unique()) == 3
    assert labels[0, 0, 3, 5] == labels[0, 0, 5, 2]
    winding = torch.tensor([[1, 1, 1, 1], [0, 0, 0, 1], [1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 1]])
    assert len(connected(winding[None, None] > 0).unique()) == 2


@pytest.mark.parametrize("size", [64, 128, (64, 96)])
def test_pixels_agree_with_the_scene(size):
    data = dataset(size, objects=2)
    count = 100
    drawings = images(data, count)
    noise = torch.randn(drawings.shape, generator=torch.Generator().manual_seed(0))
    for made in (drawings, drawings + 0.1 * noise):
        agreed = 0
        for wrong in (False, True):
            claimed = meanings(data, "test", count, wrong)
            for i, (meaning, things) in enumerate(zip(claimed, look(made), strict=True)):
                agreed += check(meaning, things) == check(meaning, shown(data.scene("test", i)))
        assert agreed >= 0.99 * 2 * count


def test_nothing_is_true_of_noise_and_of_empty_pictures():
    draws = torch.Generator().manual_seed(0)
    noise = torch.randn(40, 3, 64, 64, generator=draws).clamp(-1, 1)
    soft = F.interpolate(torch.rand(40, 3, 6, 6, generator=draws) * 2 - 1, 64, mode="bilinear")
    for made in (noise, soft, torch.full((2, 3, 64, 64), 0.8), torch.full((2, 3, 64, 64), -1.0)):
        for things in look(made):
            claims = check(Meaning((RED,)), things)
            assert not claims.all


def test_blobs_of_no_shape_and_colours_of_no_name_are_none():
    picture = torch.full((1, 3, 64, 64), 0.8)
    picture[..., 5:10, 8:56] = torch.tensor([-0.7, -0.4, 0.7]).view(3, 1, 1)  # a bar
    picture[..., 30:50, 30:50] = torch.tensor([-0.6, 0.8, 0.9]).view(3, 1, 1)  # cyan
    bar, square = sorted(look(picture)[0], key=lambda one: one.y)
    assert (bar.shape, bar.colour) == (None, "blue")
    assert (square.shape, square.colour, square.size) == ("square", None, "large")


# The metric


def run_of(data, made, generators):
    """What the metric sees of a run."""
    return SimpleNamespace(
        plan=SimpleNamespace(
            generators=generators,
            data=SimpleNamespace(component=SimpleNamespace(name="captioned-shapes")),
        ),
        dataset=lambda: data,
        leaves=lambda plan: plan.leaves,
        generator_plan=lambda name: generators[name],
        sample=lambda count, generator: made[generator][:count],
        held_out=lambda domain, count: (
            images(data, count)
            if domain == "image"
            else torch.stack([data.item("test", domain, i) for i in range(count)])
        ),
    )


def edge(sources=(), specs=(), target="image", leaf="caption"):
    return SimpleNamespace(
        sources=sources,
        source_specs=specs,
        target=target,
        target_spec=ImageSpec(3, 64, 64),
        leaves=[(leaf, TEXT)],
    )


def test_measures_generators_of_images_from_captions():
    data = dataset(64)
    real = images(data, 20)
    half = real.clone()
    half[:10] = real[0]  # one picture for ten captions
    small = F.interpolate(real, 32, mode="area")
    generators = {
        "small": edge(),
        "large": edge(("caption", "generators.small"), (TEXT, ImageSpec(3, 32, 32))),
        "other": edge(leaf="noise"),
    }
    run = run_of(data, {"small": real, "large": half}, generators)
    run.sample = lambda count, generator: {"small": small, "large": half}[generator]
    figures = CaptionTruth(CaptionTruthOptions(count=20)).measure(run)
    assert not any(key.startswith("other") for key in figures)
    assert figures["large/all-real"] == figures["small/all-real"] == 1
    assert 0.5 <= figures["large/all"] < 0.75
    assert "large/relation" not in figures  # one thing each
    assert figures["large/energy-enlarged"] == energy(enlarged(small, (64, 64)))
    assert figures["large/energy-enlarged"] < 0.7 * figures["large/energy-real"]
    assert "small/energy-enlarged" not in figures


def test_says_what_it_needs():
    metric = CaptionTruth(CaptionTruthOptions(count=2))
    data = dataset(64)
    with pytest.raises(GanforgeError, match="generator of images that reads `caption`; this run"):
        metric.measure(run_of(data, {}, {"other": edge(leaf="noise")}))
    run = run_of(data, {}, {})
    run.dataset = lambda: None
    with pytest.raises(GanforgeError, match="needs the data captioned-shapes"):
        metric.measure(run)
    assert "first 2 held-out captions" in metric.protocol()


def test_shares_count_only_claims_that_are_made():
    one = Claims(True, True, False, None, True)
    two = Claims(True, False, True, True, True)
    found = shares([one, two])
    assert found == {
        "colour": 1.0,
        "shape": 0.5,
        "size": 0.5,
        "relation": 1.0,
        "count": 1.0,
        "all": 0.0,
    }
