"""A network looked into: what its filters answer to, beside the untrained ones, as a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from attrs import frozen
from torch import Tensor

from ganforge.data.images import grid, tiled
from ganforge.data.resampling import averaged_down
from ganforge.interfaces.errors import GanforgeError
from ganforge.lab.filter_networks import IMAGES, Subject, subjects
from ganforge.lab.filter_responses import Answers, Layer, answers, layers_of, peaks, weights_of

if TYPE_CHECKING:
    from ganforge.runs.run import Run

DEEPER = 4  # layers shown where none is named
EACH = 4  # patches of a filter


@frozen(eq=False)
class Weights:
    """Weights as pictures [filters, C, h, w], trained and as the seed made them."""

    layer: Layer
    trained: Tensor
    untrained: Tensor


@frozen(eq=False)
class Compared:
    """What a layer's filters answer to, trained and as the seed made them."""

    layer: Layer
    trained: Answers
    untrained: Answers


@frozen(eq=False)
class Look:
    """A network looked into."""

    subject: Subject
    step: int
    layers: tuple[Layer, ...]
    weights: Weights | None
    compared: tuple[Compared, ...]


def look(
    run: Run,
    address: str,
    number: int | None = None,
    *,
    filters: int = 8,
    images: int = IMAGES,
    deeper: int = DEEPER,
) -> Look:
    """Look into a network: one layer, or its weights and some of the deeper layers, the last among
    them. Raises GanforgeError for a layer that is not there."""
    trained, untrained = subjects(run, address, images)
    layers = layers_of(trained)
    if not layers:
        raise GanforgeError(f"{address} has no convolution or dense layer, so no filters to show")
    if number is not None and not 1 <= number <= len(layers):
        raise GanforgeError(f"{address} has the layers 1 to {len(layers)}, not {number}")
    beside = layers_of(untrained)
    pair = [weights_of(s, own) for s, own in ((trained, layers), (untrained, beside))]
    weights = None
    if pair[0] and pair[1] and number in (None, pair[0][0].number):
        weights = Weights(pair[0][0], pair[0][1], pair[1][1])
    others = [x for x in layers if weights is None or x.number != weights.layer.number]
    wanted = [x for x in layers if x.number == number] if number else _evenly(others, deeper)
    both = [
        [
            answers(subject, layer, found, filters, EACH)
            for layer, found in zip(chosen, peaks(subject, chosen), strict=True)
        ]
        for subject, chosen in (
            (trained, wanted),
            (untrained, [beside[layer.number - 1] for layer in wanted]),
        )
    ]
    compared = [Compared(*one) for one in zip(wanted, *both, strict=True)]
    return Look(trained, run.step, tuple(layers), weights, tuple(compared))


def _evenly(layers: Sequence[Layer], count: int) -> list[Layer]:
    """So many of them, evenly spread, the last among them."""
    count = min(count, len(layers))
    return [layers[(n + 1) * len(layers) // count - 1] for n in range(count)]


_SMALL, _LARGE = 32, 64  # px that a tile's longer side has, about
_SHOWN = 64  # weights
_LETTERS = 13  # px


def sheet(found: Look) -> np.ndarray:
    """Left the trained network, right the untrained one, layer by layer, under headings.

    Weights and guided backpropagation are grey where they are 0. All weights of a network share one
    scale; each guided backpropagation has its own.
    """
    columns = []
    for trained in (True, False):
        blocks = [_heading(f"step {found.step:,}" if trained else "untrained")]
        if found.weights is not None:
            weights = found.weights.trained if trained else found.weights.untrained
            blocks += [_heading(_layer_title(found.weights.layer, "weights")), _of_weights(weights)]
        for one in found.compared:
            what = one.trained if trained else one.untrained
            height, width = what.patches.shape[3:]
            verb = "sees" if found.subject.reads else "reaches"
            blocks.append(_heading(_layer_title(one.layer, f"{verb} {width} x {height} px")))
            blocks.append(_of_answers(what))
        columns.append(blocks)
    rows = [block for pair in zip(*_even(columns), strict=True) for block in pair]
    return tiled(rows, 2, down=6, across=24)


def _layer_title(layer: Layer, what: str) -> str:
    return f"layer {layer.number}, {layer.kind}: {what}"


def _even(columns: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    """Blocks of the left column brought to one width, so that the right column is aligned."""
    width = max(block.shape[1] for block in columns[0])
    return [[_widened(block, width) for block in columns[0]], columns[1]]


def _widened(block: np.ndarray, width: int) -> np.ndarray:
    missing = ((0, 0), (0, width - block.shape[1]), *(((0, 0),) if block.ndim == 3 else ()))
    return np.pad(block, missing, constant_values=255)


def _heading(text: str) -> np.ndarray:
    from PIL import Image, ImageDraw

    width = int(ImageDraw.Draw(Image.new("L", (1, 1))).textlength(text, font_size=_LETTERS))
    picture = Image.new("L", (width + 2, _LETTERS + 4), 255)
    ImageDraw.Draw(picture).text((0, 1), text, fill=0, font_size=_LETTERS)
    return np.array(picture)


def _of_weights(weights: Tensor) -> np.ndarray:
    some = weights[:_SHOWN]
    some = _tiles(_visible(some / weights.abs().max().clamp_min(1e-12)))
    columns = max(1, 2 * EACH * _SMALL // some.shape[3])
    return grid(some, columns)


def _of_answers(what: Answers) -> np.ndarray:
    """A line a filter: the patches, then what the unit did there."""
    marks = what.marks / what.marks.abs().amax((2, 3, 4), keepdim=True).clamp_min(1e-12)
    blocks = [
        grid(_tiles(_visible(tiles.flatten(0, 1))), what.patches.shape[1])
        for tiles in (what.patches, marks)
    ]
    return tiled(blocks, 2, across=8)


def _visible(images: Tensor) -> Tensor:
    """The first channels as grey or colour; further ones are conditions or views."""
    return images[:, : 3 if images.shape[1] >= 3 else 1]


def _tiles(images: Tensor) -> Tensor:
    """Small ones enlarged by whole numbers, large ones averaged down."""
    longest = max(images.shape[2:])
    if longest > _LARGE:
        return averaged_down(images, _LARGE)
    times = max(1, round(_SMALL / longest))
    return images.repeat_interleave(times, 2).repeat_interleave(times, 3)
