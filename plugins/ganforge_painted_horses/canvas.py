"""What pictures are made of: smooth outlines, the pixels they cover, soft noise and blur.

Plain numpy, so the same scene comes out the same everywhere and at every size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # [..., n, 2]: x to the right, y down
Plane = NDArray[np.float32]  # [H, W], or [C, H, W] for colours

SUBSAMPLES = 4  # columns scanned per pixel; along a column coverage is exact


def coverage(
    layers: Mapping[str, Sequence[Points]], scale: float, height: int, width: int
) -> dict[str, Plane]:
    """The share of each pixel that each layer's polygons cover: name -> [H, W] in [0, 1].

    A polygon [n, 2] closes by itself, an array [..., n, 2] is many of them; `scale` is the pixels
    of one unit. Polygons of one layer are joined. The crossings of every edge with every scanned
    column are found at once; summed downwards they are winding numbers.
    """
    starts, ends, layer = _edges(list(layers.values()))
    starts, ends = starts * scale, ends * scale
    left, right = starts[:, 0] * SUBSAMPLES - 0.5, ends[:, 0] * SUBSAMPLES - 0.5
    rightward = right > left
    low, high = np.where(rightward, left, right), np.where(rightward, right, left)
    first = np.ceil(low).clip(0, width * SUBSAMPLES).astype(np.intp)
    count = np.ceil(high).clip(0, width * SUBSAMPLES).astype(np.intp) - first
    edge = np.repeat(np.arange(len(count)), count)
    line = np.arange(len(edge)) + np.repeat(first - np.cumsum(count) + count, count)

    slope = (ends[:, 1] - starts[:, 1]) / np.where(right == left, 1.0, right - left)
    y = ((starts[:, 1] - left * slope)[edge] + line * slope[edge]).clip(0, height)
    row = np.minimum(y.astype(np.intp), height - 1)
    above = y - row  # share of the crossed pixel that lies outside
    turn = np.where(rightward, 1.0 / SUBSAMPLES, -1.0 / SUBSAMPLES)[edge]
    stride = len(layers) * width
    cell = row * stride + layer[edge] * width + line // SUBSAMPLES
    size = height * stride
    winding = np.bincount(cell, turn * (1 - above), size + stride)
    winding += np.bincount(cell + stride, turn * above, size + stride)
    planes = winding[:size].astype(np.float32).reshape(height, stride)
    for previous, here in pairwise(planes):
        here += previous  # several times faster than cumsum down the rows
    np.minimum(np.abs(planes, out=planes), 1, out=planes)
    planes = planes.reshape(height, len(layers), width)
    return {name: planes[:, index] for index, name in enumerate(layers)}


def _edges(
    layers: Sequence[Sequence[Points]],
) -> tuple[Points, Points, NDArray[np.intp]]:
    """Starts and ends [m, 2] of all edges and their layers; all polygons turn the same way."""
    flat = [(i, points) for i, polygons in enumerate(layers) for points in polygons if points.size]
    starts = np.concatenate([points.reshape(-1, 2) for _, points in flat])
    corners = np.concatenate(
        [np.full(points.size // (2 * points.shape[-2]), points.shape[-2]) for _, points in flat]
    )
    layer = np.repeat([i for i, _ in flat], [points.size // 2 for _, points in flat])
    first = np.cumsum(corners) - corners
    following = np.arange(1, len(starts) + 1)
    following[first + corners - 1] = first
    ends = starts[following]
    cross = starts[:, 0] * ends[:, 1] - starts[:, 1] * ends[:, 0]
    turned = np.repeat(np.add.reduceat(cross, first) < 0, corners)[:, None]
    return np.where(turned, ends, starts), np.where(turned, starts, ends), layer


@lru_cache(maxsize=64)
def _spline(knots: int, parts: int, closed: bool) -> NDArray[np.float64]:
    """Catmull-Rom through `knots` points, `parts` per span: matrices [2, n, knots].

    The first gives the points of the curve, the second their derivatives.
    """
    spans = knots if closed else knots - 1
    at = np.arange(spans * parts + (not closed)) / parts
    span = np.minimum(at.astype(np.intp), spans - 1)
    t = at - span
    bases = (
        ((2 - t) * t - 1) * t, (3 * t - 5) * t * t + 2, ((4 - 3 * t) * t + 1) * t, (t - 1) * t * t
    )  # fmt: skip
    slopes = (
        (4 - 3 * t) * t - 1, (9 * t - 10) * t, (8 - 9 * t) * t + 1, (3 * t - 2) * t
    )  # fmt: skip
    matrices = np.zeros((2, len(at), knots))
    for offset in range(4):
        knot = span + offset - 1
        knot = knot % knots if closed else knot.clip(0, knots - 1)
        for matrix, weights in zip(matrices, (bases, slopes), strict=True):
            np.add.at(matrix, (np.arange(len(at)), knot), weights[offset] / 2)
    return matrices


def closed_curve(points: Points, parts: int = 5) -> Points:
    """A smooth closed curve through points [..., n, 2]: [..., n * parts, 2]."""
    return _spline(points.shape[-2], parts, True)[0] @ points


def open_curve(points: Points, parts: int = 5) -> Points:
    """A smooth curve through points [..., n, 2]: [..., (n - 1) * parts + 1, 2]."""
    return _spline(points.shape[-2], parts, False)[0] @ points


def tangents(points: Points, parts: int = 5) -> Points:
    """Unit vectors along `open_curve`, of its shape."""
    return unit(_spline(points.shape[-2], parts, False)[1] @ points)


def unit(vectors: Points) -> Points:
    """Vectors [..., 2] of length 1; those of length 0 stay."""
    return vectors / (np.sqrt((vectors * vectors).sum(-1, keepdims=True)) + 1e-9)


def turned(vectors: Points) -> Points:
    """Vectors [..., 2] turned by a quarter."""
    return vectors[..., ::-1] * (-1, 1)


def ribbon(spine: Points, half_width: NDArray[np.float64], parts: int = 5) -> Points:
    """Outlines of bands along smooth spines [..., n, 2] of half widths [..., n]."""
    line = open_curve(spine, parts)
    side = turned(tangents(spine, parts)) * open_curve(half_width[..., None], parts)
    return np.concatenate([line + side, (line - side)[..., ::-1, :]], -2)


def noise(grid: Plane, rows: NDArray[np.float64], columns: NDArray[np.float64]) -> Plane:
    """The values of a coarse grid [g, h], smoothed: [len(rows), len(columns)].

    rows, columns: where to read, in cells of the grid, which repeats beyond its end.
    """
    return _bumps(rows, grid.shape[0]) @ grid @ _bumps(columns, grid.shape[1]).T


def _bumps(at: NDArray[np.float64], cells: int) -> Plane:
    """Weights [len(at), cells] of a periodic cubic B-spline."""
    distance = np.abs((at[:, None] - np.arange(cells) + cells / 2) % cells - cells / 2)
    near, far = np.minimum(distance, 1), np.clip(2 - distance, 0, 1)
    inner = 2 / 3 - near * near * (1 - near / 2)
    return np.where(distance < 1, inner, far * far * far / 6).astype(np.float32)


class Blur:
    """Gaussian blur of planes [H, W] by sigma pixels (rows, columns), and its slopes."""

    def __init__(self, height: int, width: int, rows: float, columns: float) -> None:
        self._rows, self._rows_slope = _gaussian(height, rows)
        self._columns, self._columns_slope = _gaussian(width, columns)

    def soft(self, plane: Plane) -> Plane:
        """The blurred plane."""
        return self._rows @ plane @ self._columns

    def slopes(self, plane: Plane) -> tuple[Plane, Plane]:
        """How the blurred plane grows downwards and to the right, per sigma."""
        return (
            self._rows_slope @ (plane @ self._columns),
            (self._rows @ plane) @ self._columns_slope.T,
        )


def _gaussian(size: int, sigma: float) -> tuple[Plane, Plane]:
    """A Gaussian and its derivative as matrices [size, size]."""
    offset = np.arange(1 - size, size, dtype=np.float32) / np.float32(max(sigma, 0.3))
    kernel = np.exp(-0.5 * offset * offset)
    kernel /= kernel.sum()
    band = _band(size)
    return kernel[band], (offset * kernel)[band]


@lru_cache(maxsize=16)
def _band(size: int) -> NDArray[np.intp]:
    index = np.arange(size)
    return index[None, :] - index[:, None] + size - 1


def over(picture: Plane, cover: Plane, colour: Plane) -> None:
    """Paint onto picture [3, H, W] where cover [H, W] says so; a colour is [3] or [3, H, W]."""
    picture += cover * (_planes(colour) - picture)


def blend(first: Plane, second: Plane, share: Plane) -> Plane:
    """From the first colour to the second by share [H, W]: [3, H, W]."""
    return _planes(first) + share * _planes(second - first)


def _planes(colour: Plane) -> Plane:
    return colour.reshape(3, 1, 1) if colour.ndim == 1 else colour
