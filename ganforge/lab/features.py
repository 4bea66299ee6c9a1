"""What two images are compared by: pixels, or the features of the run's own discriminator."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
from attrs import frozen
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge.interfaces.components import DiscriminatorOutput

if TYPE_CHECKING:
    from ganforge.runs.run import Run

_AT_ONCE = 64
_SIDE = 32  # px; larger images are averaged down before their pixels are compared
_CELLS = 4  # a side, that maps of features are averaged to


@frozen
class Eye:
    """A way to look: `see` turns images [N, C, H, W] in [-1, 1] into vectors [N, D]."""

    name: str
    see: Callable[[Tensor], Tensor]


def pixels() -> Eye:
    """Images as they are, averaged to at most 32 px a side."""

    def see(images: Tensor) -> Tensor:
        side = max(images.shape[2:])
        if side > _SIDE:
            height, width = (max(1, round(s * _SIDE / side)) for s in images.shape[2:])
            images = F.adaptive_avg_pool2d(images, (height, width))
        return images.flatten(1).float()

    return Eye("pixels", see)


def discriminator(run: Run, domain: str) -> Eye | None:
    """The features of the discriminator that judges a domain, where it offers some and needs no
    condition. It saw the training images and no others, which its features may show."""
    for plan in run.plan.discriminators.values():
        spec = run.plan.domains[plan.on].spec
        offered = plan.component.offered(plan.options)
        if plan.on == domain and not plan.given and plan.judged == spec and "features" in offered:
            see = partial(_features, run.discriminator(plan.name), run.device)
            return Eye(f"features of discriminator '{plan.name}'", see)
    return None


@torch.no_grad()
def _features(network: nn.Module, device: torch.device, images: Tensor) -> Tensor:
    parts = (part.to(device) for part in torch.split(images, _AT_ONCE))
    return torch.cat([_pooled(network(part)) for part in parts])


def _pooled(output: DiscriminatorOutput) -> Tensor:
    features = output.features
    assert features is not None, "its manifest offers them"
    features = features.float()
    if features.dim() == 4 and min(features.shape[2:]) > _CELLS:
        features = F.adaptive_avg_pool2d(features, _CELLS)
    return features.flatten(1).cpu()


def sharpest(run: Run, domain: str) -> Eye:
    """The discriminator's features where there are some, else pixels."""
    return discriminator(run, domain) or pixels()
