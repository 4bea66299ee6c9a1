"""Gradient magnitude images: sqrt(gx^2 + gy^2) of each channel, scaled into [-1, 1].

Made of slices and sums, so it stays float32 under autocast and its gradient is the same on
every device. The border is replicated, so nothing but the image makes edges.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ganforge import Augmentor, Draw

# sqrt has an infinite slope at 0, so this is added inside, and taken off outside: the magnitude of
# a flat area stays exactly 0 with gradient 0, and steps far above it are off by at most this.
SOFTENING = 1e-3


class GradientImage(Augmentor):
    """Each image with its gradient image: as a second view, as more channels, or alone."""

    def view(self, data: Tensor, draw: Draw) -> Tensor | Mapping[str, Tensor]:
        """Images [N, C, H, W] in [-1, 1] -> views of the same height and width in [-1, 1]"""
        magnitude = MAGNITUDES[self.options.operator](data)
        if self.options.mode == "view":
            return {"plain": data, "gradient": magnitude}
        return torch.cat([data, magnitude], 1) if self.options.mode == "stack" else magnitude


def finite_differences(images: Tensor) -> Tensor:
    """[N, C, H, W] in [-1, 1] -> magnitude / sqrt(2) - 1; each difference is in [-2, 2]."""
    across = torch.diff(images, dim=-1, append=images[..., -1:])
    down = torch.diff(images, dim=-2, append=images[..., -1:, :])
    return magnitude(across, down) / 2**0.5 - 1


def sobel(images: Tensor) -> Tensor:
    """[N, C, H, W] in [-1, 1] -> magnitude / 4 - 1: a straight edge from -1 to 1 gives 1.

    Corners alone reach more (at most sqrt(80) / 4 - 1 = 1.24), and are cut to 1.
    """
    rows = torch.cat([images[..., :1, :], images, images[..., -1:, :]], -2)  # [N, C, H + 2, W]
    framed = torch.cat([rows[..., :1], rows, rows[..., -1:]], -1)  # [N, C, H + 2, W + 2]
    across = framed[..., 2:] - framed[..., :-2]  # [N, C, H + 2, W]
    down = framed[..., 2:, :] - framed[..., :-2, :]  # [N, C, H, W + 2]
    across = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    down = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    return (magnitude(across, down) / 4 - 1).clamp(max=1)


def magnitude(across: Tensor, down: Tensor) -> Tensor:
    """sqrt(across^2 + down^2), differentiable also where both are 0, where it is exactly 0."""
    return (across.square() + down.square() + SOFTENING**2).sqrt() - SOFTENING


MAGNITUDES = {"finite": finite_differences, "sobel": sobel}
