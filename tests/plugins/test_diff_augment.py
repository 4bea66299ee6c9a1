"""Differentiable augmentation."""

import pytest
import torch
from ganforge_diff_augment.diff_augment import (
    CHANGES,
    DiffAugment,
    brightness,
    contrast,
    cutout,
    moved,
    saturation,
    translation,
    within_box,
)
from ganforge_diff_augment.plugin import DiffAugmentOptions, ganforge_components
from playing import ONE_PAIR, plan_of, training_of

from ganforge import Draw, Draws, ImageSpec, NoiseSpec
from ganforge.plugin import Impossible
from ganforge.recipes.problems import RecipeError

(COMPONENT,) = ganforge_components()
SHAPES = [(1, 16, 16), (3, 24, 17), (4, 9, 30), (3, 3, 2)]
each_shape = pytest.mark.parametrize("shape", SHAPES)
each_change = pytest.mark.parametrize(
    "change", [brightness, saturation, contrast, translation, cutout], ids=lambda c: c.__name__
)


def draw(batch, seed=0, rows=slice(None)):
    return Draw(Draws(seed).generator("test"), batch, rows, torch.device("cpu"))


def images(batch=6, shape=(3, 24, 17)):
    return torch.rand(batch, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


def augmented(data, seed=0, **options):
    spec = ImageSpec(*data.shape[1:])
    return DiffAugment(DiffAugmentOptions(**options), spec).view(data, draw(len(data), seed))


# --- formulas -------------------------------------------------------------------------------------


@each_shape
def test_brightness_adds_the_same_to_all_of_an_image(shape):
    data = images(shape=shape)
    added = draw(6).uniform(1, 1, 1) - 0.5
    torch.testing.assert_close(brightness(data, draw(6)), data + added)
    assert added.min() < 0 < added.max() and len(added.unique()) == 6


@each_shape
def test_saturation_scales_the_distance_from_grey(shape):
    data = images(shape=shape)
    seen, scale = saturation(data, draw(6)), draw(6).uniform(1, 1, 1) * 2
    grey = data.mean(1, keepdim=True)
    torch.testing.assert_close(seen, scale * data + (1 - scale) * grey)
    torch.testing.assert_close(seen.mean(1, keepdim=True), grey)
    if shape[0] == 1:
        torch.testing.assert_close(seen, data)


@each_shape
def test_contrast_scales_the_distance_from_the_images_mean(shape):
    data = images(shape=shape)
    seen, scale = contrast(data, draw(6)), draw(6).uniform(1, 1, 1) + 0.5
    mean = data.flatten(1).mean(1)[:, None, None, None]
    torch.testing.assert_close(seen, scale * data + (1 - scale) * mean)
    torch.testing.assert_close(seen.flatten(1).mean(1), data.flatten(1).mean(1))


def test_moving_by_hand():
    row = torch.tensor([[1.0, 2.0, 3.0, 4.0]])[None, None]
    data, by = row.expand(3, 1, 1, 4), torch.tensor([1, -2, 0])
    expected = [[0.0, 1.0, 2.0, 3.0], [3.0, 4.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]]
    assert moved(data, 3, by)[:, 0, 0].tolist() == expected
    assert moved(data.mT, 2, by)[:, 0, :, 0].tolist() == expected


@each_shape
def test_translation_is_a_slice_of_the_image_framed_with_0(shape):
    data, (height, width) = images(200, shape), shape[1:]
    down, right = height // 8, width // 8
    framed = torch.nn.functional.pad(data, (right, right, down, down))
    offsets = set()
    for image, seen in zip(framed, translation(data, draw(200)), strict=True):
        slices = [
            (top, left)
            for top in range(2 * down + 1)
            for left in range(2 * right + 1)
            if torch.equal(image[:, top : top + height, left : left + width], seen)
        ]
        assert len(slices) == 1
        offsets.add(slices[0])
    assert len(offsets) == (2 * down + 1) * (2 * right + 1), "each offset is drawn"


def test_box_by_hand():
    def filled(length, middle):
        return "".join("#" if b else "." for b in within_box(length, torch.tensor([middle]))[0])

    assert [filled(8, m) for m in (0, 1, 4, 8)] == ["##......", "###.....", "..####..", "......##"]
    assert [filled(6, m) for m in (0, 1, 5)] == ["##....", "###...", "....##"]


@each_shape
def test_cutout_is_a_box_of_half_the_sides_wherever_its_middle_lies(shape):
    data, (height, width) = images(400, shape).abs() + 0.1, shape[1:]
    seen = cutout(data, draw(400))
    hole = seen == 0
    assert torch.equal(seen[~hole], data[~hole])
    assert torch.equal(hole.any(1), hole.all(1)), "all channels alike"
    rows, columns = hole[:, 0].any(2), hole[:, 0].any(1)
    assert torch.equal(hole[:, 0], rows[:, :, None] & columns[:, None, :])
    for sides, length in ((rows, height), (columns, width)):
        sizes = sides.sum(1)
        assert sizes.max() == length // 2 and sizes.min() >= min(1, length // 2)
        assert sides.any(0).all() or length < 4, "every place is cut out at times"
        if length >= 4:
            assert sizes[sides[:, 0]].min() == sizes[sides[:, -1]].min(), "both ends are alike"


def test_the_policy_says_what_is_changed_and_in_which_order():
    data = images()
    for name, changes in CHANGES.items():
        expected, drawn = data, draw(6)
        for change in changes:
            expected = change(expected, drawn)
        assert torch.equal(augmented(data, policy=[name]), expected)
    assert not torch.equal(
        augmented(data, policy=["cutout", "color"]), augmented(data, policy=["color", "cutout"])
    )
    assert DiffAugmentOptions().policy == ["color", "translation", "cutout"]


def test_ranges_are_those_that_are_documented():
    extreme = images(500).sign()
    bright = brightness(extreme, draw(500))
    assert 1.4 < bright.abs().max() <= 1.5
    half = torch.ones(500, 1, 8, 8)
    half[..., :4] = -1
    assert 1.4 < contrast(half, draw(500)).abs().max() <= 1.5


# --- what every augmentor must keep ---------------------------------------------------------------


@each_shape
@each_change
def test_a_change_keeps_shape_and_type_and_leaves_its_input(change, shape):
    data = images(shape=shape)
    before = data.clone()
    seen = change(data, draw(6))
    assert seen.shape == data.shape and seen.dtype == torch.float32
    assert torch.equal(data, before)


@each_change
@pytest.mark.parametrize("size", [(9, 16), (2, 3)])
def test_derivatives_are_right(change, size):
    data = images(2, (3, *size)).double().requires_grad_()

    def changed(x):
        return change(x, draw(2))

    assert torch.autograd.gradcheck(changed, data, fast_mode=True)
    assert torch.autograd.gradgradcheck(changed, data, fast_mode=True)


def test_real_and_fake_with_the_same_draw_are_changed_alike():
    """Every change is affine, so the difference of two images is changed without the constant."""
    real, fake = images(), -images().flip(0)
    middle = augmented((real + fake) / 2, seed=3)
    torch.testing.assert_close(middle, (augmented(real, seed=3) + augmented(fake, seed=3)) / 2)
    assert not torch.equal(augmented(real, seed=3), augmented(real, seed=4))


def test_a_part_of_a_batch_is_changed_as_in_the_whole():
    data = images()
    augmentor = DiffAugment(DiffAugmentOptions(), ImageSpec(3, 24, 17))
    part = augmentor.view(data[2:4], draw(6, rows=slice(2, 4)))
    torch.testing.assert_close(part, augmentor.view(data, draw(6))[2:4])


def test_memory_layout_changes_nothing():
    data = images()
    there = augmented(data.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(there, augmented(data))


def test_g_and_d_learn_through_it(tmp_path):
    text = ONE_PAIR.replace("[hooks]", "[augmentors.diff-augment]\n[hooks]")
    training = training_of(tmp_path, text)
    before = [p.clone() for n in training.game.networks.values() for p in n.parameters()]
    training.run()
    after = [p for n in training.game.networks.values() for p in n.parameters()]
    assert all(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_views_keep_the_spec_and_refuse_what_cannot_be_changed(tmp_path):
    spec = ImageSpec(1, 8, 8)
    assert COMPONENT.views(DiffAugmentOptions(), spec) == {"plain": spec}
    with pytest.raises(Impossible, match="changes images, not normal noise"):
        COMPONENT.views(DiffAugmentOptions(), NoiseSpec(3))
    text = ONE_PAIR.replace("[hooks]", "[augmentors.diff-augment]\npolicy = []\n[hooks]")
    with pytest.raises(RecipeError, match="without a policy changes nothing"):
        plan_of(tmp_path, text)
    with pytest.raises(RecipeError, match='"color" or "translation" or "cutout"'):
        plan_of(tmp_path, text.replace("[]", '["colour"]'))
