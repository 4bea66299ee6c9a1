"""Images of a domain that is derived from the data: at another size, in grey, or as a view."""

from __future__ import annotations

import torch
from torch import Tensor

from ganforge.data.resampling import resized
from ganforge.game.error_attribution import attributing_errors
from ganforge.interfaces.components import Augmentor
from ganforge.interfaces.draws import Draw
from ganforge.planning.plan import DomainPlan


def derived(domain: DomainPlan, images: Tensor, view: Augmentor | None, draw: Draw) -> Tensor:
    """What a derived domain makes of images [N, C, H, W] of the domain that it is `of`.

    view: the augmentor that the domain names, if it names one.
    """
    assert domain.resized is not None
    images = resized(images, domain.resized.shape, domain.resample)
    if domain.view is None or view is None:
        return images
    with torch.no_grad(), attributing_errors(domain.view.component):
        made = view.view(images, draw)
    return made if isinstance(made, Tensor) else next(iter(made.values()))
