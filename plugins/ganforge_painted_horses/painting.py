"""Scenes and their pictures: a scene can be painted with a horse or with that horse's zebra."""

from __future__ import annotations

from typing import Literal

import numpy as np
from attrs import frozen

from ganforge_painted_horses.animal import COATS, Animal, Outlines, outlines
from ganforge_painted_horses.canvas import Blur, Plane, Points, coverage, over
from ganforge_painted_horses.dice import Dice, rgb
from ganforge_painted_horses.landscape import Landscape

Species = Literal["horse", "zebra"]

WHITE, HOOF, EYE = rgb("f4efe3"), rgb("38302b"), rgb("100d0d")


@frozen(eq=False)
class Scene:
    """An animal in a landscape, without a size and without a species."""

    animal: Animal
    landscape: Landscape

    @classmethod
    def drawn(cls, generator: np.random.Generator) -> Scene:
        """A random scene; the generator alone decides what it is."""
        dice = Dice(generator)
        return cls(Animal.drawn(dice), Landscape.drawn(dice))


@frozen(eq=False)
class Picture:
    """image: [3, H, W] in 0..1. mask: share of each pixel that shows the animal, [H, W]."""

    image: Plane
    mask: Plane


def paint(scene: Scene, species: Species, height: int, width: int) -> Picture:
    """The picture of a scene; for both species the same but for the animal's colours."""
    unit = min(height, width)
    shape = outlines(scene.animal)
    stand = _Stand(scene.animal, shape, height / unit, width / unit)
    feet = np.array([(stand.middle, stand.feet, 0.75 * stand.scale)])
    layers = scene.landscape.shapes(height / unit, width / unit, feet)
    layers["shadow"] = [stand.shadow()]
    for name, polygons in shape.layers.items():
        layers[name] = [stand.put(points) for points in polygons]
    cover = coverage(layers, unit, height, width)

    picture = scene.landscape.backdrop(cover, height, width)
    size = stand.scale * unit
    picture *= 1 - 0.42 * Blur(height, width, 0.02 * size, 0.06 * size).soft(cover["shadow"])
    brush = _Brush(scene, cover, size)
    mask = brush.paint(picture, species)
    image = scene.landscape.finish(picture, cover)
    return Picture(image.clip(0, 1), mask * (1 - cover["front"]))


class _Stand:
    """Where in a picture an animal stands: inside the borders, feet on the ground."""

    def __init__(self, animal: Animal, shape: Outlines, high: float, wide: float) -> None:
        left, right, top = shape.bounds()
        if animal.left:
            left, right = -right, -left
        self.scale = min(animal.scale, 0.97 * wide / (right - left), 0.93 * high / top)
        room = wide - (right - left) * self.scale
        self.middle = room * (0.04 + 0.92 * animal.across) - left * self.scale
        highest, lowest = max(0.80 * high, top * self.scale + 0.02), 0.965 * high
        self.feet = highest + max(0.0, lowest - highest) * animal.depth
        self._axes = np.array((-self.scale if animal.left else self.scale, -self.scale))
        self._origin = np.array((self.middle, self.feet - shape.lift * self.scale))

    def put(self, points: Points) -> Points:
        """An animal's points in the picture."""
        return points * self._axes + self._origin

    def shadow(self) -> Points:
        """The shadow on the ground."""
        turn = np.linspace(0, 2 * np.pi, 20, endpoint=False)
        circle = np.stack([0.62 * np.cos(turn), 0.06 * np.sin(turn)], 1)
        return circle * self.scale + (self.middle, self.feet + 0.005)


class _Brush:
    """Paints one animal.

    The shade depends on outlines and light only, never on the paint below it.
    """

    def __init__(self, scene: Scene, cover: dict[str, Plane], size: float) -> None:
        animal, land = scene.animal, scene.landscape
        self._cover = cover
        self._animal = animal
        self._coat = COATS[animal.coat]
        self._tone = np.float32(1 + 0.10 * animal.tone)
        self._size = size
        self._light = land.palette.light[:, None, None]
        self._from_left = land.from_left

    def paint(self, picture: Plane, species: Species) -> Plane:
        """Paint the animal onto picture [3, H, W]. Returns its coverage [H, W]."""
        cover = self._cover
        paint = self._zebra if species == "zebra" else self._horse
        coat, far, hair, tail = paint(picture.shape)
        for legs in (coat, far):
            over(legs, cover["socks"], WHITE)
            over(legs, cover["hooves"], HOOF)
        over(picture, cover["tail"], 0.92 * self._light * tail)
        over(picture, cover["far"], 0.68 * self._light * far)
        if self._animal.blaze:
            over(coat, cover["blaze"], WHITE)
        over(coat, cover["eye"], EYE)
        shade, sheen = self._shade()
        over(picture, cover["body"], coat * shade + sheen)
        over(picture, cover["mane"], hair * shade + sheen)
        bare = [1 - cover[name] for name in ("tail", "far", "body", "mane")]
        return 1 - bare[0] * bare[1] * bare[2] * bare[3]

    def _horse(self, shape: tuple[int, ...]) -> tuple[Plane, Plane, Plane, Plane]:
        """Colours of a horse's near and far coat, mane and tail, [3, H, W] or [3, 1, 1] each."""
        _, height, width = shape
        colours, tone, size = self._coat, self._tone, self._size
        coat = np.empty(shape, np.float32)
        coat[:] = (tone * colours.body)[:, None, None]
        legs = Blur(height, width, 0.05 * size, 0.03 * size).soft(self._cover["lower-legs"])
        over(coat, 0.85 * legs, tone * colours.points)
        nose = Blur(height, width, 0.025 * size, 0.025 * size).soft(self._cover["muzzle"])
        over(coat, 0.8 * nose, tone * colours.muzzle)
        hair = (tone * colours.hair)[:, None, None]
        return coat, coat.copy(), hair, hair

    def _zebra(self, shape: tuple[int, ...]) -> tuple[Plane, Plane, Plane, Plane]:
        """The same of its zebra: the pattern is a matter of outlines, its colour of the coat."""
        cover = self._cover
        dark = self._tone * self._coat.stripe
        coat = np.empty(shape, np.float32)
        coat[:] = WHITE[:, None, None]
        far, tail = coat.copy(), coat.copy()
        over(tail, cover["tail-dark"], dark)
        over(far, cover["far-rings"], dark)
        legs = cover["near-legs"] * cover["lower-legs"]
        over(coat, cover["stripes"] * (1 - legs), dark)
        over(coat, cover["near-rings"] * cover["near-legs"], dark)
        over(coat, cover["muzzle"], dark)
        return coat, far, dark[:, None, None], tail

    def _shade(self) -> tuple[Plane, Plane]:
        """What the coat's colours are multiplied with [3, H, W], and what shines on it [H, W]."""
        body = np.maximum(self._cover["body"], self._cover["mane"])
        height, width = body.shape
        round_ = Blur(height, width, 0.085 * self._size, 0.085 * self._size)
        down, right = round_.slopes(body)
        legs, _ = Blur(height, width, 0.05 * self._size, 0.05 * self._size).slopes(
            self._cover["near-legs"]
        )
        lit = 1 + 0.34 * down + 0.16 * self._from_left * right + 0.10 * legs
        return lit * self._light, 0.09 * down.clip(0, None)
