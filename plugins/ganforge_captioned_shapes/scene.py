"""Scenes: what a caption names, laid out and drawn at any size.

Lengths are in units of the picture's shorter side. x grows to the right, y downwards.
"""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ganforge_captioned_shapes.captions import Chooser, Meaning, Thing

Plane = NDArray[np.float32]

PALETTE = {
    "red": (0.86, 0.16, 0.15),
    "green": (0.16, 0.64, 0.26),
    "blue": (0.15, 0.32, 0.86),
    "yellow": (0.95, 0.80, 0.10),
    "purple": (0.60, 0.22, 0.70),
    "black": (0.10, 0.10, 0.12),
}
EXTENTS = {"small": (0.115, 0.130), "large": (0.18, 0.195)}  # half of a circle's width
MARGIN = 0.03  # between things, and to the border
AROUND = 0.1  # how far from the middle a thing alone lies at most, each way
SLANT = 1.5  # things lie apart at least so many times further along their relation than across

# What a shape covers, in extents: (left, right, up, down) of its centre of mass, and its area.
REACH = {
    "circle": (1.0, 1.0, 1.0, 1.0),
    "square": (0.9, 0.9, 0.9, 0.9),
    "triangle": (1.15, 1.15, 4 / 3, 2 / 3),
    "cross": (1.05, 1.05, 1.05, 1.05),
}
ARM = 0.36  # half of the width of a cross's arms
AREA = {
    "circle": float(np.pi),
    "square": 1.8**2,
    "triangle": 2.3,
    "cross": 8 * 1.05 * ARM - 4 * ARM**2,
}


@frozen
class Placed:
    """A thing and its centre of mass."""

    thing: Thing
    x: float
    y: float
    extent: float
    rgb: tuple[float, float, float]


@frozen
class Scene:
    """All that a picture shows. background: (red, green, blue) at the top and at the bottom."""

    meaning: Meaning
    placed: tuple[Placed, ...]
    background: tuple[tuple[float, float, float], tuple[float, float, float]]

    @classmethod
    def of(cls, meaning: Meaning, width: float, height: float, draws: Chooser) -> Scene:
        """A scene of which a meaning is true, in a picture of width x height."""
        extents = [_between(*EXTENTS[thing.size], draws) for thing in meaning.things]
        boxes = [
            tuple(extent * reach for reach in REACH[thing.shape])
            for thing, extent in zip(meaning.things, extents, strict=True)
        ]
        if len(boxes) == 1:
            places = [
                (
                    width / 2 + _between(-AROUND, AROUND, draws),
                    height / 2 + _between(-AROUND, AROUND, draws),
                )
            ]
        elif meaning.relation == "left":
            places = _in_a_row(boxes[0], boxes[1], width, height, draws)
        else:
            turned = [(up, down, left, right) for left, right, up, down in boxes]
            places = [(x, y) for y, x in _in_a_row(turned[0], turned[1], height, width, draws)]
        placed = [
            Placed(thing, x, y, extent, _near(PALETTE[thing.colour], 0.04, draws))
            for thing, extent, (x, y) in zip(meaning.things, extents, places, strict=True)
        ]
        grey = _between(0.80, 0.94, draws)
        top = _near((grey, grey, grey), 0.03, draws)
        return cls(meaning, tuple(placed), (top, _near(top, 0.03, draws)))

    def draw(self, height: int, width: int) -> Plane:
        """The picture, [3, height, width] in 0..1."""
        side = min(height, width)
        down = (np.arange(height, dtype=np.float32) + 0.5) / side
        right = (np.arange(width, dtype=np.float32) + 0.5) / side
        top, bottom = (np.array(rgb, np.float32)[:, None, None] for rgb in self.background)
        share = np.linspace(0, 1, height, dtype=np.float32)[None, :, None]
        picture = np.broadcast_to(top + (bottom - top) * share, (3, height, width)).copy()
        for one in self.placed:
            across, along = right[None, :] - one.x, down[:, None] - one.y
            inside = distance(one.thing.shape, across / one.extent, along / one.extent)
            cover = (inside * (one.extent * side) + 0.5).clip(0, 1)
            picture += cover * (np.array(one.rgb, np.float32)[:, None, None] - picture)
        return picture


def distance(shape: str, x: Plane, y: Plane) -> Plane:
    """How far points lie inside a shape's nearest edge (below 0: outside), in extents.

    x, y: points from the centre of mass, in extents; they broadcast against each other.
    """
    if shape == "circle":
        return 1 - np.sqrt(x * x + y * y)
    x = np.abs(x)
    if shape == "square":
        return REACH["square"][0] - np.maximum(x, np.abs(y))
    if shape == "triangle":  # the apex is up
        half, _, up, down = REACH["triangle"]
        slope = (up + down) / half
        return np.minimum(down - y, (y + up - slope * x) / np.sqrt(1 + slope * slope))
    y, long = np.abs(y), REACH["cross"][0]
    return np.maximum(np.minimum(long - x, ARM - y), np.minimum(ARM - x, long - y))


def _in_a_row(
    first: tuple[float, ...],
    second: tuple[float, ...],
    length: float,
    breadth: float,
    draws: Chooser,
) -> list[tuple[float, float]]:
    """Where two things lie of which the first is left of the second: (along, across) each."""
    room = length - sum(first[:2]) - sum(second[:2]) - 3 * MARGIN
    start, apart = sorted(_between(0, room, draws) for _ in range(2))
    one = MARGIN + start + first[0]
    other = 2 * MARGIN + apart + sum(first[:2]) + second[0]
    across = _between(first[2] + MARGIN, breadth - first[3] - MARGIN, draws)
    slant = (other - one) / SLANT
    low = max(second[2] + MARGIN, across - slant)
    high = min(breadth - second[3] - MARGIN, across + slant)
    if low > high:  # a thing at the border beside one too large to lie as far out
        across = breadth / 2
        low = high = across
    return [(one, across), (other, _between(low, high, draws))]


def _between(low: float, high: float, draws: Chooser) -> float:
    return low + (high - low) * float(draws.random())


def _near(
    rgb: tuple[float, float, float], spread: float, draws: Chooser
) -> tuple[float, float, float]:
    red, green, blue = (min(1.0, max(0.0, v + _between(-spread, spread, draws))) for v in rgb)
    return red, green, blue
