"""Where the animals stand: sky, hills, trees, fences and grass, drawn alike for both species.

Lengths are in units of the picture's shorter side, x from the left, y down from the top, so a
landscape looks the same at every size and shows more where the picture is longer.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from ganforge_painted_horses.canvas import Plane, Points, blend, noise, over
from ganforge_painted_horses.dice import Colour, Dice, rgb


@frozen(eq=False)
class Palette:
    """The colours of one kind of land, and what grows there."""

    zenith: Colour
    horizon: Colour
    hills: Colour
    far: Colour  # ground at the horizon
    near: Colour  # ground at the viewer's feet
    leaf: Colour
    light: Colour  # what the animals' colours are multiplied with
    tree: str  # round, acacia, pine or bush
    grass: float  # share of the blades
    flowers: Colour | None


def _palette(codes: str, tree: str, grass: float, flowers: str = "") -> Palette:
    *colours, sunlight = (rgb(code) for code in codes.split())
    light = np.float32(0.45) + np.float32(0.55) * sunlight  # animals keep most of their colour
    return Palette(*colours, light, tree, grass, rgb(flowers) if flowers else None)


# None is much brighter or darker than the others on the whole: translators normalise each image
# (arXiv:1607.08022), so how bright a picture is they can only learn from what it shows.
PALETTES: dict[str, Palette] = {  # zenith horizon hills far near leaf light
    "meadow": _palette("68a2d8 d6e6ea 7aa070 a8c264 729848 467838 fffaf0", "round", 1, "f7f2e2"),
    "spring": _palette("78aede e6ecea 8cae84 bacd70 83aa4c 57893f fffdf6", "round", 1, "f2c744"),
    "savanna": _palette("76abd8 f0e4c4 a8a266 d2b96c ae8c44 727638 fff3d8", "acacia", 1),
    "evening": _palette("7076b4 f7b780 8c6c7c bd8a5c 8a6046 5c4a42 ffe0be", "acacia", 0.8),
    "dunes": _palette("7ab1de f0e6d0 ccb48a e0c894 c39e64 949058 fff6e2", "bush", 0.2),
    "snow": _palette("7ba3cf e4e8ea a8b6c2 eceee9 ccd2d4 54696a f6f8fa", "pine", 0.15),
    "autumn": _palette("7ca6d0 eee2cc a6805a c4a25a 927442 b5602b fff2dc", "round", 0.9, "c8582a"),
    "moor": _palette("8ca8c4 dfe0d8 82908a 9ca26e 717a52 526248 f6f5f0", "bush", 1, "987496"),
    "dawn": _palette("82a0d0 f7d6c4 939aa8 b2b888 7d8660 566f54 ffece2", "pine", 0.9),
    "shore": _palette("68a6da e4ece8 68a0b2 decb9c c0a26e 8c9260 fffaee", "bush", 0.2),
}
BLADES, FRONT_BLADES = 80, 26
WOOD, FENCE, SUN, GLOW = rgb("5a4030"), rgb("8a6f55"), rgb("fffae6"), rgb("fff0c8")


@frozen(kw_only=True, eq=False)
class Landscape:
    """One landscape as the dice made it; shares are of the picture's height or width."""

    palette: Palette
    cast: Colour  # of the whole picture
    skyline: float  # the horizon, as a share from the top
    sun: tuple[float, float] | None  # across the picture and down the sky, as shares
    from_left: float  # -1..1, where the light comes from
    ridges: Plane  # [3, 12]
    relief: float  # height of the hills
    forest: bool  # a dark wood below the hills
    clouds: Plane  # [g, h]
    ground: Plane  # [g, h]
    brush: Plane  # [g, h]
    trees: NDArray[np.float64]  # [k, 3]: across, size, variant
    fence: float  # 0 for none, else how near
    blades: NDArray[np.float64]  # [k, 5]: across, nearness, height, lean, side
    front: NDArray[np.float64]  # the same, before the animals' feet

    @classmethod
    def drawn(cls, dice: Dice) -> Landscape:
        """A random landscape."""
        return cls(
            palette=PALETTES[dice.pick(tuple(PALETTES))],
            cast=(0.97 + 0.06 * dice.many(3)).astype(np.float32),
            skyline=dice.between(0.36, 0.58),
            sun=(dice.between(0.1, 0.9), dice.between(0.15, 0.75)) if dice.coin(0.25) else None,
            from_left=dice.between(-1, 1),
            ridges=dice.many(3, 12).astype(np.float32),
            relief=dice.between(0.05, 0.20),
            forest=dice.coin(0.35),
            clouds=dice.many(6, 5).astype(np.float32),
            ground=dice.many(12, 12).astype(np.float32),
            brush=dice.many(40, 16).astype(np.float32),
            trees=dice.many(int(dice.between(0, 7)), 3),
            fence=dice.between(0.15, 0.5) if dice.coin(0.3) else 0.0,
            blades=dice.many(BLADES, 5),
            front=dice.many(FRONT_BLADES, 5),
        )

    def shapes(self, high: float, wide: float, feet: Points) -> dict[str, list[Points]]:
        """The polygons by layer, for a picture this high and wide, with animals at feet [k, 3].

        feet: for each animal its middle, the height of its feet, and how far grass hides them.
        """
        skyline = self.skyline * high
        shapes: dict[str, list[Points]] = {
            "hills": [self._ridge(0, skyline - self.relief, self.relief, 3.5, wide)],
            "near-hills": [self._ridge(1, skyline - 0.2 * self.relief, self.relief / 2, 3.5, wide)],
        }
        if self.forest:
            shapes["forest"] = [self._ridge(2, skyline - 0.035, 0.035, 24, wide)]
        for across, size, variant in self.trees:
            foot = np.array((across * wide, skyline + 0.01 + 0.03 * variant))
            for layer, points in TREES[self.palette.tree].items():
                stretch = (0.85 + 0.3 * variant, 1)
                shapes.setdefault(layer, []).extend(
                    foot + part * stretch * (0.12 + 0.16 * size) for part in points
                )
        if self.fence:
            shapes["fence"] = self._fence(skyline, high, wide)
        blades = self._blades(skyline + 0.04, high, wide)
        shapes["grass-dark"], shapes["grass-light"] = [blades[::2]], [blades[1::2]]
        if self.palette.flowers is not None:
            shapes["flowers"] = [self._flowers(skyline + 0.05, high, wide)]
        shapes["front"] = [self._front(*place) for place in feet]
        return shapes

    def _ridge(self, row: int, base: float, tall: float, rough: float, wide: float) -> Points:
        x = np.linspace(-0.02, wide + 0.02, 40 if rough < 10 else 90)
        heights = noise(self.ridges[row : row + 1], np.zeros(1), rough * x)[0]
        ridge = np.stack([x, base + (0.5 - heights) * 2.2 * tall], 1)
        return np.concatenate([ridge, [(wide + 1, 9), (-1, 9)]])

    def _fence(self, skyline: float, high: float, wide: float) -> list[Points]:
        foot = skyline + 0.6 * self.fence * (high - skyline)
        tall = 0.07 + 0.16 * self.fence
        thick = 0.055 * tall
        rails = [
            _box(-1, foot - tall * level, wide + 1, foot - tall * level + 1.3 * thick)
            for level in (0.85, 0.45)
        ]
        posts = np.arange(0.3 * tall, wide, 2.2 * tall)[:, None, None] * (1, 0)
        return [*rails, posts + _box(-thick, foot - tall, thick, foot + 0.01)]

    def _blades(self, top: float, high: float, wide: float) -> Points:
        blades = self.blades[: round(BLADES * self.palette.grass)]
        near = blades[:, 1] ** 0.7
        size = 0.25 + 0.75 * near
        foot = np.stack([blades[:, 0] * wide, top + near * (high - top)], 1)
        return _triangles(foot, size * (0.02 + 0.035 * blades[:, 2]), blades[:, 3], 0.006 * size)

    def _front(self, middle: float, feet: float, reach: float) -> Points:
        """The blades that hide an animal's feet."""
        blades = self.front[: round(FRONT_BLADES * self.palette.grass)]
        foot = np.stack(
            [middle + (2 * blades[:, 0] - 1) * reach, feet + 0.006 + 0.02 * blades[:, 1]], 1
        )
        return _triangles(
            foot, 0.025 + 0.03 * blades[:, 2], blades[:, 3], np.full(len(foot), 0.005)
        )

    def _flowers(self, top: float, high: float, wide: float) -> Points:
        draws = self.blades[::3]
        near = draws[:, 3] ** 0.7
        middle = np.stack([draws[:, 2] * wide, top + near * (high - top)], 1)
        return middle[:, None] + _CIRCLE[::2] * (0.004 + 0.006 * near)[:, None, None]

    def backdrop(self, cover: Mapping[str, Plane], height: int, width: int) -> Plane:
        """The land without what stands on it, [3, H, W] in 0..1."""
        unit = min(height, width)
        y, x = (np.arange(height) + 0.5) / unit, (np.arange(width) + 0.5) / unit
        skyline = self.skyline * height / unit
        palette = self.palette
        picture = self._sky(y, x, skyline)
        over(picture, cover["hills"], 0.5 * palette.horizon + 0.5 * palette.hills)
        over(picture, cover["near-hills"], 0.2 * palette.horizon + 0.8 * palette.hills)
        leaf = 0.2 * palette.horizon + 0.8 * palette.leaf
        if "forest" in cover:
            over(picture, cover["forest"], 0.25 * palette.hills + 0.75 * leaf)
        edge = ((y - skyline) * unit + 0.5).clip(0, 1).astype(np.float32)[:, None]
        over(picture, edge, self._ground(y, x, skyline))
        if "leaf" in cover:
            over(picture, cover["wood"], 0.5 * leaf + 0.5 * WOOD)
            over(picture, cover["leaf"], leaf)
            over(picture, cover["leaf-light"], 0.72 * leaf + 0.28 * palette.far)
        if "fence" in cover:
            over(picture, cover["fence"], 0.35 * palette.near + 0.65 * FENCE)
        over(picture, 0.6 * cover["grass-dark"], 0.62 * palette.near)
        over(picture, 0.6 * cover["grass-light"], 0.35 + 0.65 * palette.far)
        if palette.flowers is not None:
            over(picture, cover["flowers"], palette.flowers)
        return picture

    def _sky(self, y: NDArray[np.float64], x: NDArray[np.float64], skyline: float) -> Plane:
        palette = self.palette
        down = (y / skyline).clip(0, 1).astype(np.float32)[:, None]
        picture = blend(palette.zenith, palette.horizon, np.repeat(down**0.8, len(x), 1))
        clouds = noise(self.clouds, 7 * y / skyline, 1.8 * x)
        clouds = ((clouds - 0.52) * 5).clip(0, 1) * (0.65 - 0.3 * down)
        over(picture, clouds, 0.5 + 0.5 * palette.horizon)
        if self.sun:
            right, low = x - self.sun[0] * x[-1], y - self.sun[1] * skyline
            far = np.hypot(right, low[:, None]).astype(np.float32)
            over(picture, 0.55 * np.exp(-7 * far), 0.3 * palette.horizon + 0.7 * GLOW)
            over(picture, ((0.055 - far) * min(far.shape) + 0.5).clip(0, 1), SUN)
        return picture

    def _ground(self, y: NDArray[np.float64], x: NDArray[np.float64], skyline: float) -> Plane:
        depth = ((y - skyline) / (y[-1] - skyline)).clip(0, 1)
        share = np.repeat(depth.astype(np.float32)[:, None] ** 0.8, len(x), 1)
        grain = noise(self.ground, 9 * np.sqrt(depth), 6 * x)
        return blend(self.palette.far, self.palette.near, share) * (0.84 + 0.32 * grain)

    def finish(self, picture: Plane, cover: Mapping[str, Plane]) -> Plane:
        """The grass before the animals, the cast of the light, the marks of the brush."""
        palette = self.palette
        over(picture, cover["front"], 0.64 * palette.near + 0.21 * palette.far)
        height, width = picture.shape[1:]
        unit = min(height, width)
        marks = noise(self.brush, np.arange(height) * (38 / unit), np.arange(width) * (11 / unit))
        return picture * self.cast[:, None, None] * (0.95 + 0.10 * marks)


_TURN = np.linspace(0, 2 * np.pi, 12, endpoint=False)
_CIRCLE = np.stack([np.cos(_TURN), np.sin(_TURN)], 1)


def _box(left: float, top: float, right: float, bottom: float) -> Points:
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def _triangles(
    foot: Points, tall: NDArray[np.float64], lean: NDArray[np.float64], thick: NDArray[np.float64]
) -> Points:
    """Blades of grass [k, 3, 2] on feet [k, 2]; lean is 0..1, from left to right."""
    aside = np.stack([thick, 0 * thick], 1)
    tip = np.stack([0.03 * (lean - 0.5), -tall], 1)
    return np.stack([foot - aside, foot + aside, foot + tip], 1)


def _crown(blobs: list[tuple[float, float, float, float]]) -> dict[str, list[Points]]:
    """Foliage of ellipses (x, y, half width, half height), lighter towards the upper left."""
    x, y, *half = np.array(blobs).T[:, :, None]
    size = np.stack(half, -1)
    middle = np.stack([x, y], -1)
    return {
        "leaf": [middle + _CIRCLE * size],
        "leaf-light": [middle + (-0.05, -0.06) + 0.62 * _CIRCLE * size],
    }


def _pine() -> dict[str, list[Points]]:
    tiers = np.array([(0.30, -0.12), (0.23, -0.38), (0.15, -0.62)])[:, None]
    triangle = np.array([(-1, 0), (1, 0), (0, 0)])
    dark = tiers * (triangle * (1, 0) + (0, 1)) + np.array([(0, 0), (0, 0), (0, -0.42)])
    light = dark * (0.8, 1) * np.array([(1, 1), (-0.1, 1), (1, 1)]) + (-0.01, -0.02)
    return {"leaf": [dark], "leaf-light": [light]}


_STEM = np.array([(-0.05, 0), (0.05, 0), (0.025, -0.6), (-0.025, -0.6)])
_FORK = np.array(
    [(-0.03, 0), (0.03, 0), (0.02, -0.4), (0.25, -0.75), (0, -0.5), (-0.2, -0.75), (-0.02, -0.4)]
)
TREES: dict[str, dict[str, list[Points]]] = {  # layer -> polygons of a tree of height 1 at (0, 0)
    "round": {
        "wood": [_STEM],
        **_crown(
            [(0, -0.68, 0.3, 0.3), (-0.2, -0.52, 0.2, 0.2), (0.2, -0.55, 0.22, 0.22),
             (0.05, -0.85, 0.18, 0.18)]
        ),
    },
    "acacia": {
        "wood": [_FORK],
        **_crown([(0, -0.82, 0.52, 0.11), (-0.22, -0.72, 0.26, 0.08), (0.25, -0.7, 0.28, 0.08)]),
    },
    "pine": {"wood": [0.5 * _STEM], **_pine()},
    "bush": {
        "wood": [0.1 * _STEM],
        **_crown([(0, -0.14, 0.22, 0.17), (-0.2, -0.08, 0.16, 0.12), (0.22, -0.1, 0.16, 0.13)]),
    },
}  # fmt: skip
