"""Differentiable augmentation (arXiv:2006.10738, section 3.2): colour, translation and cutout.

Everything that D sees is changed, real images and fakes alike and in G's turn too, so that D cannot
learn few photographs by heart and G does not learn the changes. Ranges are those of the paper, for
images in [-1, 1]. Brightness and contrast lead out of that range, by at most 0.5 and by half of an
image's distance from its mean, and nothing is cut: that would stop gradients. What moves in from
outside and what is cut out is 0, a middle grey.

Differs from the authors' code: row n of real and fake data share their draws (as before every
augmentor), and distances are rounded down instead of to the nearest pixel.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ganforge import Augmentor, Draw

REACH = 8  # translations go up to this part of the height and of the width
HOLE = 2  # the cut-out part has this part of the height and of the width


class DiffAugment(Augmentor):
    """The changes of `policy`, in that order, each drawn anew for every row."""

    keeps_range = False  # brightness and contrast leave [-1, 1], as published

    def view(self, data: Tensor, draw: Draw) -> Tensor:
        """Images [N, C, H, W] -> the same shape, float32"""
        for name in self.options.policy:
            for change in CHANGES[name]:
                data = change(data, draw)
        return data


def brightness(images: Tensor, draw: Draw) -> Tensor:
    """x + b with b in [-0.5, 0.5)"""
    return images + draw.uniform(1, 1, 1, low=-0.5, high=0.5)


def saturation(images: Tensor, draw: Draw) -> Tensor:
    """Each pixel's distance from its mean over the channels, times s in [0, 2); grey stays."""
    grey = images.mean(1, keepdim=True)
    return grey + (images - grey) * draw.uniform(1, 1, 1, high=2.0)


def contrast(images: Tensor, draw: Draw) -> Tensor:
    """The distance from the image's mean, times c in [0.5, 1.5)"""
    mean = images.mean((1, 2, 3), keepdim=True)
    return mean + (images - mean) * draw.uniform(1, 1, 1, low=0.5, high=1.5)


def translation(images: Tensor, draw: Draw) -> Tensor:
    """Moved by whole pixels, at most an eighth of each side; what comes in is 0."""
    height, width = images.shape[2:]
    images = moved(images, 2, draw.integers(2 * (height // REACH) + 1) - height // REACH)
    return moved(images, 3, draw.integers(2 * (width // REACH) + 1) - width // REACH)


def moved(images: Tensor, dim: int, by: Tensor) -> Tensor:
    """Row n moved by by[n] pixels (int64 [N]) along dimension 2 or 3."""
    length = images.shape[dim]
    shape = [len(images), 1, 1, 1]
    shape[dim] = length
    origin = torch.arange(length, device=images.device) - by[:, None]  # [N, length]
    inside = (origin >= 0) & (origin < length)
    origin = origin.clamp(0, length - 1).view(shape).expand(images.shape)
    return images.gather(dim, origin) * inside.view(shape)


def cutout(images: Tensor, draw: Draw) -> Tensor:
    """0 within a box of half the height and width, whose centre is anywhere in the image."""
    height, width = images.shape[2:]
    rows = within_box(height, draw.integers(height + 1 - height // HOLE % 2))  # [N, H]
    columns = within_box(width, draw.integers(width + 1 - width // HOLE % 2))  # [N, W]
    hole = rows[:, None, :, None] & columns[:, None, None, :]  # [N, 1, H, W]
    return images * ~hole


def within_box(length: int, middle: Tensor) -> Tensor:
    """Which of `length` places lie in a box of half that length around `middle`, bool [N, length].

    A box of even length reaches as far below its middle as up to it, so it may lie at `length`.
    """
    box = length // HOLE
    first = (middle - box // 2)[:, None]
    place = torch.arange(length, device=middle.device)
    return (place >= first) & (place < first + box)


CHANGES: dict[str, tuple[Callable[[Tensor, Draw], Tensor], ...]] = {
    "color": (brightness, saturation, contrast),
    "translation": (translation,),
    "cutout": (cutout,),
}
