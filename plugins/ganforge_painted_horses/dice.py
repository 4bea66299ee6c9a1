"""Choices of one scene, and the colours they choose from.

All draws are uniform numbers, whose stream numpy keeps the same in every version.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Colour = NDArray[np.float32]  # red, green, blue in 0..1, [3]
T = TypeVar("T")


def rgb(code: str) -> Colour:
    """The colour of a hexadecimal code such as "8b5a2b"."""
    return np.array([int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)], np.float32)


class Dice:
    """Draws of one scene, in the order asked for; independent of the picture's size."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def between(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * float(self._generator.random())

    def coin(self, share: float) -> bool:
        """True with probability `share`."""
        return bool(self._generator.random() < share)

    def pick(self, choices: Sequence[T]) -> T:
        """One of the choices, each as likely as the others."""
        return choices[int(self._generator.random() * len(choices))]

    def many(self, *shape: int) -> NDArray[np.float64]:
        """Numbers in [0, 1), an array of this shape."""
        return self._generator.random(shape)
