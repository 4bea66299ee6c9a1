"""One animal: its build, pose and coat, and the outlines that follow from them.

Lengths are in withers' heights, x forward, y up, the ground at 0; angles in radians. A horse and
its zebra are the same animal, with the same outlines, shade and white markings. Only the paint
differs, and the zebra's dark colour follows from the horse's coat, so that each can be told from
the other.
"""

from __future__ import annotations

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ganforge_painted_horses.canvas import (
    Points,
    closed_curve,
    open_curve,
    ribbon,
    tangents,
    turned,
    unit,
)
from ganforge_painted_horses.dice import Colour, Dice, rgb


@frozen(eq=False)
class Coat:
    """What a horse is painted with, and the dark colour of its zebra."""

    body: Colour
    hair: Colour  # mane and tail
    points: Colour  # lower legs
    muzzle: Colour
    stripe: Colour


COATS: dict[str, Coat] = {
    name: Coat(*(rgb(code) for code in codes.split()))
    for name, codes in {
        "bay": "96532a 2a1c18 3a261d 4a2c20 33201a",
        "chestnut": "b9642f 9a4a20 a85528 8f4a2a 5a2a18",
        "black": "403b46 211f27 332f39 302d31 15151c",
        "grey": "a09fa4 787a82 77787f 626366 454b58",
        "palomino": "d39b4a f0dfb6 d3a156 a87848 6e4f22",
        "dun": "bb9263 4a3526 5a4230 66483a 4d3a2c",
    }.items()
}
COAT_SHARES = ("bay", "bay", "chestnut", "chestnut", "dun", "dun", "palomino", "grey", "black")

# The trunk, from the withers backwards, down and forward along the belly.
TRUNK = np.array(
    [
        (0.26, 1.00), (0.06, 0.945), (-0.16, 0.95), (-0.34, 0.985), (-0.49, 0.92), (-0.55, 0.79),
        (-0.51, 0.66), (-0.32, 0.575), (-0.14, 0.525), (0.06, 0.485), (0.24, 0.485), (0.38, 0.54),
        (0.485, 0.65), (0.515, 0.77), (0.45, 0.93),
    ]
)  # fmt: skip
# The head, from the poll along the nose to the muzzle and back along the jaw: (along, across
# towards the forehead) in lengths of the head.
HEAD = np.array(
    [
        (-0.02, 0.19), (0.20, 0.215), (0.55, 0.14), (0.84, 0.145), (0.985, 0.08), (1.0, -0.08),
        (0.93, -0.175), (0.78, -0.165), (0.56, -0.18), (0.30, -0.30), (0.08, -0.27),
    ]
)  # fmt: skip
HEAD_LENGTH = 0.47
NECK_ROOT, NECK_LENGTH = np.array((0.35, 0.83)), 0.62

# The legs: near front, near hind, far front, far hind. Lengths of their four parts, from elbow or
# hip down to the toe, and half widths at their six joints.
LEG_ROOTS = np.array([(0.36, 0.74), (-0.37, 0.78), (0.39, 0.74), (-0.34, 0.78)])
LEG_LENGTHS = np.array([(0.20, 0.24, 0.22, 0.105), (0.22, 0.27, 0.25, 0.105)] * 2)
LEG_WIDTHS = np.array(
    [(0.12, 0.10, 0.062, 0.050, 0.048, 0.062), (0.15, 0.13, 0.064, 0.050, 0.048, 0.062)] * 2
)


@frozen
class Gait:
    """How an animal moves."""

    steps: tuple[float, float, float, float]  # when each leg swings, as shares of a stride
    swing: float  # of the legs, forwards and backwards
    flex: float  # of knee and hock while a leg is brought forward
    leap: float  # height of the lowest foot
    flow: float  # of the tail, 0 hanging to 1 flying
    neck: tuple[float, float]  # above the horizontal
    head: tuple[float, float]  # of the nose below the line of the neck


GAITS: dict[str, Gait] = {
    "stand": Gait((0.0, 0.0, 0.0, 0.0), 0.0, 0.0, 0.0, 0.0, (0.75, 1.05), (1.45, 1.75)),
    "graze": Gait((0.10, 0.35, 0.55, 0.15), 0.20, 0.0, 0.0, 0.05, (-0.80, -0.68), (0.40, 0.60)),
    "walk": Gait((0.0, 0.75, 0.5, 0.25), 0.38, 0.7, 0.0, 0.18, (0.55, 0.95), (1.35, 1.65)),
    "trot": Gait((0.0, 0.5, 0.5, 0.0), 0.50, 1.15, 0.03, 0.5, (0.75, 1.05), (1.50, 1.80)),
    "gallop": Gait((0.0, 0.5, 0.12, 0.62), 0.70, 1.2, 0.05, 0.85, (0.45, 0.75), (1.0, 1.3)),
}
GAIT_SHARES = ("stand", "stand", "graze", "walk", "walk", "trot", "gallop")


@frozen(kw_only=True)
class Animal:
    """One animal as the dice made it."""

    coat: str
    tone: float  # -1..1, darker to lighter than the coat's colour
    socks: tuple[float, ...]  # share of each lower leg that is white
    blaze: bool
    gait: str
    phase: float  # 0..1, moment of the stride
    neck: float
    head: float
    ears: float
    tail: float  # -1..1, lower to higher
    build: float  # width of trunk and legs
    legs: float  # length of the legs
    left: bool  # faces left
    scale: float  # withers' height in units of the picture's shorter side
    across: float  # 0..1, where between the borders
    depth: float  # 0..1, how near to the lower border
    wave: tuple[float, ...]  # ten numbers in -1..1 for stance and locks

    @classmethod
    def drawn(cls, dice: Dice) -> Animal:
        """A random animal."""
        gait = dice.pick(GAIT_SHARES)
        return cls(
            coat=dice.pick(COAT_SHARES),
            tone=dice.between(-1, 1),
            socks=tuple(dice.between(0.2, 0.7) * dice.coin(0.25) for _ in range(4)),
            blaze=dice.coin(0.35),
            gait=gait,
            phase=dice.between(0, 1),
            neck=dice.between(*GAITS[gait].neck),
            head=dice.between(*GAITS[gait].head),
            ears=dice.between(-0.3, 0.3),
            tail=dice.between(-1, 1),
            build=dice.between(0.94, 1.08),
            legs=dice.between(0.93, 1.03),
            left=dice.coin(0.5),
            scale=dice.between(0.45, 0.55),
            across=dice.between(0, 1),
            depth=dice.between(0, 1),
            wave=tuple((2 * dice.many(10) - 1).tolist()),
        )


@frozen(kw_only=True, eq=False)
class Outlines:
    """The polygons of one animal by layer, before its feet are put on the ground.

    tail, far, body, mane are what it is made of, from back to front; the others are painted
    inside these.
    """

    layers: dict[str, list[Points]]
    lift: float  # to be added to every y

    def bounds(self) -> tuple[float, float, float]:
        """Left, right and top, feet on the ground."""
        parts = [p.reshape(-1, 2) for name in ("tail", "far", "body") for p in self.layers[name]]
        points = np.concatenate(parts)
        left, right = points[:, 0].min(), points[:, 0].max()
        return float(left), float(right), float(points[:, 1].max() + self.lift)


def outlines(animal: Animal) -> Outlines:
    """The polygons of an animal."""
    spines = _leg_spines(animal)
    widths = LEG_WIDTHS * animal.build
    trunk = TRUNK * (1, animal.build) + (0, 0.74 * (1 - animal.build))
    neck = _Neck(animal)
    head = _Head(animal, neck)
    tail = _tail_spine(animal)
    legs, rings = (
        ribbon(spines, widths),
        _rings(spines, (0.33, 0.43, 0.53, 0.62, 0.71), 0.017, 0.16),
    )
    ears = _ears(animal, head)
    silhouette = np.concatenate([neck.crest[:4], head.at(HEAD), neck.throat[3::-1]])
    layers = {
        "tail": [ribbon(tail, np.array([0.030, 0.045, 0.068, 0.072, 0.012]))],
        "far": [legs[2:], ears[1]],
        "body": [closed_curve(trunk), closed_curve(silhouette), legs[:2], ears[0]],
        "mane": _mane(animal, neck, head),
        "near-legs": [legs[:2]],
        "lower-legs": [ribbon(spines[:, 2:], 1.3 * widths[:, 2:])],
        "socks": [_socks(animal, spines, widths)],
        "hooves": [_hooves(spines)],
        "muzzle": [head.at(((0.80, 0.3), (1.1, 0.3), (1.1, -0.3), (0.74, -0.3)))],
        "blaze": [head.at(((0.12, 0.25), (0.80, 0.25), (0.86, 0.07), (0.2, 0.11)))],
        "eye": [
            head.at(_ellipse(0.30, 0.075, 0.052, 0.05)),
            head.at(_ellipse(0.9, 0.05, 0.026, 0.03)),
        ],
        "stripes": _stripes(trunk, neck, head),
        "near-rings": [rings[:2]],
        "far-rings": [rings[2:]],
        "tail-dark": [
            _rings(tail, (0.20, 0.33, 0.46), 0.018, 0.09),
            ribbon(tail[2:], np.array([0.09, 0.09, 0.03])),
        ],
    }
    lowest = float(spines[:, -1, 1].min())
    gait = GAITS[animal.gait]
    lift = gait.leap - (min(lowest, 0.0) if gait.leap else lowest)
    return Outlines(layers=layers, lift=lift)


def _leg_spines(animal: Animal) -> Points:
    """Joints of the legs [4, 6, 2]: inside the trunk, elbow or stifle, knee or hock, fetlock,
    pastern, toe."""
    gait = GAITS[animal.gait]
    turn = 2 * np.pi * (np.array(gait.steps) + animal.phase)
    swing = gait.swing * np.cos(turn) if gait.swing else 0.12 * np.array(animal.wave[:4])
    swing = np.where(swing * (1, -1, 1, -1) < 0, 0.6 * swing, swing)  # less under the trunk
    bent = gait.flex * np.maximum(0, -np.sin(turn)) ** 1.5  # while the leg is brought forward
    front = (
        -0.10 + 0.5 * swing + 0.1 * bent,
        0.02 + swing + 0.45 * bent,
        swing - 0.85 * bent,
        0.38 + 0.8 * swing - 1.4 * bent,
    )
    hind = (
        0.42 + 0.5 * swing + 0.4 * bent,
        -0.55 + swing + 0.05 * bent,
        0.06 + 0.9 * swing - 0.35 * bent,
        0.42 + 0.8 * swing - 1.0 * bent,
    )
    angles = np.where((np.arange(4) % 2)[:, None], np.stack(hind, 1), np.stack(front, 1))
    lengths = LEG_LENGTHS * (1, animal.legs, animal.legs, 1)
    parts = np.stack([np.sin(angles), -np.cos(angles)], -1) * lengths[..., None]
    roots = LEG_ROOTS[:, None]
    joints = np.concatenate([roots, roots + np.cumsum(parts, 1)], 1)
    pastern = 0.45 * joints[:, 3:4] + 0.55 * joints[:, 4:]
    return np.concatenate([joints[:, :4], pastern, joints[:, 4:]], 1)


class _Neck:
    """Five points each, from the trunk to the head: the middle, the crest, the throat."""

    def __init__(self, animal: Animal) -> None:
        first, last = animal.neck + 0.22, animal.neck
        bend = NECK_ROOT + 0.30 * np.array((np.cos(first), np.sin(first)))
        self.end = NECK_ROOT + NECK_LENGTH * np.array((np.cos(last), np.sin(last)))
        t = np.linspace(0, 1, 5)[:, None]
        self.middle = (1 - t) ** 2 * NECK_ROOT + 2 * t * (1 - t) * bend + t**2 * self.end
        self.upward = turned(unit((1 - t) * (bend - NECK_ROOT) + t * (self.end - bend)))
        above = np.array([(0.19,), (0.165,), (0.135,), (0.11,), (0.095,)])
        below = np.array([(0.16,), (0.135,), (0.12,), (0.105,), (0.10,)])
        self.crest = self.middle + self.upward * above
        self.throat = self.middle - self.upward * below


class _Head:
    """The head's own directions: along the nose, and across towards the forehead."""

    def __init__(self, animal: Animal, neck: _Neck) -> None:
        self.angle = animal.neck - animal.head
        along = np.array((np.cos(self.angle), np.sin(self.angle)))
        self._axes = HEAD_LENGTH * np.stack([along, turned(along)])
        self._origin = neck.end

    def at(self, points: object) -> Points:
        """Points (along, across) [..., 2] in lengths of the head."""
        return self._origin + np.asarray(points) @ self._axes


def _ellipse(x: float, y: float, wide: float, high: float) -> Points:
    turn = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    return np.stack([x + wide * np.cos(turn), y + high * np.sin(turn)], -1)


EAR = np.array([(0, 0.035), (0.09, 0.048), (0.185, 0.0), (0.09, -0.045), (0, -0.035)])


def _ears(animal: Animal, head: _Head) -> Points:
    """Near and far ear, [2, n, 2]."""
    angle = head.angle + np.pi / 2 + 0.42 + animal.ears + np.array((0.0, -0.2))
    up = np.stack([np.cos(angle), np.sin(angle)], -1)
    foot = head.at(((0.04, 0.13), (0.10, 0.13)))
    return closed_curve(foot[:, None] + EAR @ np.stack([up, turned(up)], 1), 4)


def _mane(animal: Animal, neck: _Neck, head: _Head) -> list[Points]:
    """A mane that stands a little above the crest and falls on the neck in locks; a forelock."""
    crest = open_curve(np.concatenate([neck.crest, head.at(((0.05, 0.2),))]), 4)[2:]
    upward = open_curve(np.concatenate([neck.upward, neck.upward[-1:]]), 4)[2:]
    ramp = np.linspace(0.1, 3.5, len(crest)).clip(0, 1)[:, None]
    locks = np.resize((0.055, 0.09, 0.12), len(crest)) + 0.02 * np.resize(animal.wave, len(crest))
    locks[-2:] = 0.02
    fall = upward * locks[:, None] + (0.035, 0.02)  # a little backwards, as hair hangs
    rows = [crest + 0.042 * ramp * upward, crest - ramp * fall]
    forelock = (
        (-0.10, 0.18), (0.0, 0.31), (0.12, 0.30), (0.36, 0.22 + 0.04 * animal.wave[4]),
        (0.20, 0.16), (0.04, 0.12),
    )  # fmt: skip
    return [np.concatenate([rows[0], rows[1][::-1]]), closed_curve(head.at(forelock), 3)]


def _tail_spine(animal: Animal) -> Points:
    flow = GAITS[animal.gait].flow + 0.08 * (animal.tail + 1)
    sway = 0.04 * animal.wave[5]
    return np.array(
        [
            (-0.47, 0.90),
            (-0.57, 0.87 + 0.06 * flow),
            (-0.63 - 0.10 * flow, 0.68 + 0.20 * flow),
            (-0.65 - 0.24 * flow, 0.45 + 0.33 * flow + sway),
            (-0.62 - 0.38 * flow, 0.20 + 0.48 * flow + 2 * sway),
        ]
    )


def _rings(spines: Points, where: tuple[float, ...], thick: float, wide: float) -> Points:
    """Bands across spines [..., n, 2], at shares of their length: [..., k, 4, 2]."""
    parts = 8
    index = np.round(np.array(where) * (spines.shape[-2] - 1) * parts).astype(np.intp)
    centre = open_curve(spines, parts)[..., index, :]
    along = tangents(spines, parts)[..., index, :]
    side = turned(along) * wide
    along = along * thick
    corners = (
        centre + along + side,
        centre + along - side,
        centre - along - side,
        centre - along + side,
    )
    return np.stack(corners, -2)


def _hooves(spines: Points) -> Points:
    pastern, toe = spines[:, 4], spines[:, 5]
    down = unit(toe - pastern)
    side = turned(down) * 0.06
    top = 0.35 * pastern + 0.65 * toe
    toe = toe + 0.03 * down
    return np.stack([top + side, top - side, toe - 1.3 * side, toe + 1.3 * side], 1)


def _socks(animal: Animal, spines: Points, widths: NDArray[np.float64]) -> Points:
    """The white parts of the legs; no wider than a line where there are none."""
    share = np.array(animal.socks)[:, None]
    start = share * spines[:, 2] + (1 - share) * spines[:, 3]
    spine = np.concatenate([start[:, None], spines[:, 3:]], 1)
    return ribbon(spine, 1.3 * widths[:, 2:] * (share > 0), 3)


STRIPES = 9  # from the rump to the head


def _stripes(trunk: Points, neck: _Neck, head: _Head) -> list[Points]:
    """Stripes across trunk and neck, which taper towards the belly, and on the face."""
    above = np.concatenate([trunk[[4, 3, 2, 1, 0]], neck.crest[1:]])
    below = np.concatenate([RUMP, trunk[[8, 9, 10]], BREAST, neck.throat[2:]])
    middle = (above + below) / 2
    steps = middle[1:] - middle[:-1]
    length = np.concatenate([[0], np.cumsum(np.sqrt((steps * steps).sum(-1)))])
    period = length[-1] / STRIPES
    at = (np.arange(STRIPES) + 0.6) * period
    v = np.linspace(0, 1, 9)  # from the belly to the back
    half = 0.27 * period * (v / 0.25).clip(0, 1) ** 0.7 * (1 - 0.15 * v)
    bow = 0.1 * period * np.sin(np.pi * v)
    u = at[:, None] + np.concatenate([bow + half, (bow - half)[::-1]])
    w = (0.06 + 1.06 * np.concatenate([v, v[::-1]]))[:, None]
    top, bottom = (
        np.stack([np.interp(u, length, line[:, axis]) for axis in (0, 1)], -1)
        for line in (above, below)
    )
    return [bottom + w * (top - bottom), head.at(FACE_STRIPES)]


RUMP, BREAST = np.array([(-0.56, 0.66), (-0.36, 0.54)]), np.array([(0.52, 0.62)])
FACE_STRIPES = np.array(
    [((a, 0.3), (a + 0.085, 0.3), (a + 0.03, -0.18), (a, -0.22)) for a in (0.14, 0.33, 0.52, 0.68)]
)
