"""What a picture shows, read off its pixels, and what of a caption is true of it.

`look` finds the things in any image: the background is the colour of the border, things are what
differs from it and hangs together, and each takes the colour that it is nearest to and the shape
that covers it best. It knows nothing of how the image came to be, so it serves for drawn and for
generated images alike. Where the border is not of one colour it sees nothing, as in noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import torch
from attrs import frozen
from torch import Tensor
from torch.nn import functional as F

from ganforge_captioned_shapes.captions import CANONICAL, Meaning, Thing
from ganforge_captioned_shapes.scene import AREA, EXTENTS, PALETTE, Scene, distance

RING = 2  # pixels of the border that the background is read from
CALM = 0.10  # largest mean deviation from the background along the border, of 0..1
APART = 0.25  # least distance from the background of a pixel that belongs to a thing, in RGB
NEAR = 0.30  # largest distance of a thing's colour from its name's, in RGB
COVERED = 0.75  # least overlap of a thing with the shape that it is taken for
SMALLEST = 0.35  # least area of a thing, in those of the smallest circle that is drawn
AT_MOST = 4  # things looked at, the largest first
BETWEEN = (EXTENTS["small"][1] * EXTENTS["large"][0]) ** 0.5  # extent that parts small from large


@frozen
class Seen:
    """Something in a picture; what it is none of is None."""

    size: str
    colour: str | None
    shape: str | None
    x: float  # of the centre of mass, in units of the shorter side
    y: float


@frozen
class Claims:
    """Which claims of a caption are true; relation is None where it makes none."""

    colour: bool
    shape: bool
    size: bool
    relation: bool | None
    count: bool

    @property
    def all(self) -> bool:
        """Whether the caption is true."""
        return (
            self.colour and self.shape and self.size and self.count and self.relation is not False
        )


def shown(scene: Scene) -> list[Seen]:
    """What a scene shows, known from how it was drawn."""
    return [Seen(p.thing.size, p.thing.colour, p.thing.shape, p.x, p.y) for p in scene.placed]


def check(meaning: Meaning, seen: Sequence[Seen]) -> Claims:
    """What of a caption is true of a picture.

    The things that it names are looked for among those seen so that as much as possible is true;
    a thing that is not there makes its colour, shape and size wrong.
    """
    slots = [*seen, *[None] * len(meaning.things)]
    pairings = permutations(slots, len(meaning.things))
    found = (_claims(meaning, pairing, len(seen)) for pairing in pairings)
    return max(found, key=_merit)  # one of equally many true claims, whatever the order of `seen`


def _merit(claims: Claims) -> tuple[int, ...]:
    each = (claims.colour, claims.shape, claims.size, bool(claims.relation))
    return (sum(each), *each)


def _claims(meaning: Meaning, pairing: Sequence[Seen | None], seen: int) -> Claims:
    pairs = list(zip(meaning.things, pairing, strict=True))
    relation = None
    if meaning.relation is not None:
        relation = _lies(meaning.relation, *pairing)
    return Claims(
        *(_agrees(pairs, what) for what in ("colour", "shape", "size")),
        relation=relation,
        count=seen == len(meaning.things),
    )


def _agrees(pairs: Sequence[tuple[Thing, Seen | None]], what: str) -> bool:
    return all(
        one is not None and getattr(one, what) == getattr(thing, what) for thing, one in pairs
    )


def _lies(relation: str, first: Seen | None, second: Seen | None) -> bool:
    """Whether the first has this position relative to the second: further along than across."""
    if relation not in CANONICAL:
        raise ValueError(f"relations are {CANONICAL}, not {relation}")
    if first is None or second is None:
        return False
    right, down = second.x - first.x, second.y - first.y
    return right > abs(down) if relation == "left" else down > abs(right)


def look(images: Tensor) -> list[list[Seen]]:
    """The things in each image, the largest first. images: float [N, 3, H, W] in [-1, 1]."""
    images = (images.float() + 1) / 2
    background, calm = _border(images)
    smooth = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)  # against noise
    apart = (smooth - background).square().sum(1, keepdim=True).sqrt()
    labels = connected((apart > APART) & calm)
    return [_things(*one) for one in zip(images, background, labels[:, 0], strict=True)]


def _border(images: Tensor) -> tuple[Tensor, Tensor]:
    """The background's colour [N, 3, 1, 1], and whether the border has hardly any other,
    bool [N, 1, 1, 1]. images: [N, 3, H, W] in 0..1."""
    inner = torch.zeros(images.shape[2:], dtype=torch.bool)
    inner[RING:-RING, RING:-RING] = True
    ring = images[:, :, ~inner.to(images.device)]  # [N, 3, pixels]
    colour = ring.median(2, keepdim=True).values
    calm = (ring - colour).abs().mean((1, 2)) < CALM
    return colour[..., None], calm[:, None, None, None]


def connected(mask: Tensor) -> Tensor:
    """Numbers of what hangs together, sides and corners, bool [N, 1, H, W] -> float of that shape.

    Every pixel takes the highest number around it, and then what the pixel of that number has
    taken, which goes far at once, until none changes. What is not in the mask is 0.
    """
    inside = mask.float()
    count = mask[0].numel()
    labels = inside * torch.arange(1, count + 1, device=mask.device).view(1, 1, *mask.shape[2:])
    while True:
        spread = F.max_pool2d(labels, 3, 1, 1) * inside
        if torch.equal(spread, labels):
            return labels
        there = (spread.flatten(1) - 1).clamp_min(0).long()
        labels = spread.flatten(1).gather(1, there).view_as(mask) * inside


def _things(image: Tensor, background: Tensor, labels: Tensor) -> list[Seen]:
    """What is seen in one image [3, H, W] with numbered things [H, W]."""
    side = min(labels.shape)
    numbers, areas = labels[labels > 0].unique(return_counts=True)
    least = SMALLEST * AREA["circle"] * (EXTENTS["small"][0] * side) ** 2
    order = areas.argsort(descending=True)[:AT_MOST]
    found = []
    for number, area in zip(numbers[order], areas[order], strict=True):
        if area >= least:
            found.append(_seen(image, background, labels == number))
    return found


def _seen(image: Tensor, background: Tensor, inside: Tensor) -> Seen:
    """One thing, whose pixels are given, bool [H, W]."""
    side = min(inside.shape)
    colour = image[:, inside].median(1).values  # [3]
    rows, columns = _around(inside)
    cover = _cover(image[:, rows, columns], background, colour, inside[rows, columns])
    total = cover.sum()
    down, right = ((torch.arange(n, device=cover.device) + 0.5) / side for n in inside.shape)
    down, right = down[rows], right[columns]
    x, y = (cover.sum(0) * right).sum() / total, (cover.sum(1) * down).sum() / total
    area = float(total) / side**2
    overlaps = {}
    for shape in AREA:
        extent = (area / AREA[shape]) ** 0.5
        across, along = (right - x) / extent, (down - y) / extent
        overlaps[shape] = overlap(cover, shape, across, along, extent * side)
    best = max(overlaps, key=overlaps.__getitem__)
    return Seen(
        size="small" if (area / AREA[best]) ** 0.5 < BETWEEN else "large",
        colour=_named(colour),
        shape=best if overlaps[best] >= COVERED else None,
        x=float(x),
        y=float(y),
    )


def _around(inside: Tensor) -> tuple[slice, slice]:
    """The rows and columns of a thing, bool [H, W], and half as many again on either side."""
    found = []
    for sums in (inside.any(1), inside.any(0)):
        places = sums.nonzero()
        first, last = int(places[0]), int(places[-1])
        beside = (last - first) // 2 + 2
        found.append(slice(max(0, first - beside), last + beside + 1))
    return found[0], found[1]


def _cover(image: Tensor, background: Tensor, colour: Tensor, inside: Tensor) -> Tensor:
    """How much of each pixel a thing of one colour covers, [H, W] in 0..1: at its edge, where
    pixels are mixed, by how far they are from the background on the way to its colour."""
    way = colour[:, None, None] - background
    share = ((image - background) * way).sum(0) / way.square().sum().clamp_min(1e-6)
    near = F.max_pool2d(inside[None, None].float(), 3, 1, 1)[0, 0]
    return share.clamp(0, 1) * near


def overlap(cover: Tensor, shape: str, x: Tensor, y: Tensor, pixels: float) -> float:
    """What a thing [H, W] and a drawn shape have in common, over what either covers, in 0..1.

    x [W], y [H]: pixels from the shape's centre of mass, in extents. pixels: one extent in pixels.
    """
    inside = distance(shape, x.cpu().numpy()[None, :], y.cpu().numpy()[:, None])
    drawn = (torch.from_numpy(inside) * pixels + 0.5).clamp(0, 1).to(cover)
    return float(torch.minimum(cover, drawn).sum() / torch.maximum(cover, drawn).sum())


def _named(colour: Tensor) -> str | None:
    """The name of a colour [3] in 0..1, or None where it is near none."""
    apart = {
        name: float((colour.cpu() - torch.tensor(rgb)).norm()) for name, rgb in PALETTE.items()
    }
    best = min(apart, key=apart.__getitem__)
    return best if apart[best] <= NEAR else None
