"""Random horizontal flips."""

import pytest
import torch
from ganforge_flip.flip import Flip
from ganforge_flip.plugin import FlipOptions, ganforge_components

from ganforge import Draw, Draws, ImageSpec, NoiseSpec
from ganforge.plugin import Impossible

(COMPONENT,) = ganforge_components()
SPEC = ImageSpec(2, 3, 5)


def draw(batch, seed=0, rows=slice(None)):
    return Draw(Draws(seed).generator("test"), batch, rows, torch.device("cpu"))


def flip(images, *, p=0.5, seed=0):
    return Flip(FlipOptions(p=p), SPEC).view(images, draw(len(images), seed))


def test_each_image_is_whole_or_mirrored_left_to_right():
    images = torch.randn(64, *SPEC.shape)
    before = images.clone()
    mirrored = 0
    for image, seen in zip(images, flip(images), strict=True):
        assert torch.equal(seen, image) or torch.equal(seen, image.flip(-1))
        mirrored += not torch.equal(seen, image)
    assert 16 < mirrored < 48
    assert torch.equal(images, before)


def test_share_of_flips_is_p():
    images = torch.arange(5.0).expand(4000, 2, 3, 5)
    share = (flip(images, p=0.2)[:, 0, 0, 0] == 4).float().mean()
    assert share == pytest.approx(0.2, abs=0.03)
    assert torch.equal(flip(images, p=0.0), images)
    assert torch.equal(flip(images, p=1.0), images.flip(-1))


def test_real_and_fake_with_the_same_draw_are_flipped_alike():
    images = torch.arange(5.0).expand(32, 2, 3, 5)
    assert torch.equal(flip(images, seed=3) + 10, flip(images + 10, seed=3))
    assert not torch.equal(flip(images, seed=3), flip(images, seed=4))


def test_gradient_goes_back_to_the_pixel_it_came_from():
    images = torch.randn(8, *SPEC.shape, requires_grad=True)
    seen = flip(images)
    weights = torch.randn_like(seen)
    (seen * weights).sum().backward()
    mirrored = (seen != images).flatten(1).any(1)
    expected = torch.where(mirrored[:, None, None, None], weights.flip(-1), weights)
    assert torch.equal(images.grad, expected)


def test_views_keep_the_spec_and_refuse_what_is_no_image():
    assert COMPONENT.views(FlipOptions(), SPEC) == {"plain": SPEC}
    with pytest.raises(Impossible, match="mirrors images, not normal noise"):
        COMPONENT.views(FlipOptions(), NoiseSpec(3))
