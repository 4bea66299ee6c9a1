"""The networks in whose features images are compared, and what a protocol must say of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from attrs import frozen
from torch import Tensor

from ganforge import GanforgeError
from ganforge_fidelity.figures import Seen
from ganforge_fidelity.inception import inception
from ganforge_fidelity.untrained import LARGEST, LEAST, Untrained

if TYPE_CHECKING:
    from ganforge import Run

LENDER = "ganforge/class-accuracy"  # the metric that lends its judges
DIGITS = 16  # of checksums, in protocols


@frozen(eq=False)
class Extractor:
    """A network that turns images uint8 [N, C, H, W] into features, on the CPU.

    name: stands in the figures' names. about: a clause of the protocol: which network with which
    weights, and how images are brought to its size.
    """

    name: str
    about: str
    look: Callable[[Tensor], Seen]

    @torch.no_grad()
    def see(self, parts: Iterable[Tensor]) -> Seen:
        """What it finds in images that come in parts."""
        found = [self.look(part) for part in parts]
        logits = [seen.logits for seen in found if seen.logits is not None]
        features = torch.cat([seen.features for seen in found])
        return Seen(features, torch.cat(logits) if logits else None)


def extractor(run: Run, target: str, options: Any) -> Extractor:
    """The network that the options ask for, for images of a domain of the run.

    Raises GanforgeError where weights cannot be read or a judge has no labels to learn from.
    """
    if options.weights is not None:
        return _inception(run, options.weights)
    judge = None if options.extractor == "untrained" else _judge(run, target)
    if judge is not None:
        return judge
    if options.extractor == "judge":
        raise GanforgeError(
            f'extractor = "judge" needs labels of {target} (a folder of images has labels with '
            "`labels = true` in [data]) and the metric class-accuracy, which trains judges"
        )
    return _untrained(run, target)


def _inception(run: Run, path: Any) -> Extractor:
    network, checksum = inception(path)
    network.to(run.device)

    def look(images: Tensor) -> Seen:
        features, logits = network(in_colour(images).to(run.device))
        return Seen(features.cpu(), logits.cpu())

    about = f"Inception of FID {checksum[:DIGITS]}, resized to 299 x 299 px as TensorFlow 1 does"
    return Extractor("inception", about, look)


def _judge(run: Run, target: str) -> Extractor | None:
    component = next((c for c in run.registry.of("metric") if c.id == LENDER), None)
    if component is None:
        return None
    judge = run.registry.load_target(component).judge(run, target)
    if judge is None:
        return None

    def look(images: Tensor) -> Seen:
        return Seen(*judge.look(as_float(images)))

    about = (
        f"judge {judge.identity}, trained on {judge.trained:,} images, resized to {judge.spec} "
        "(bilinear, antialiased)"
    )
    return Extractor("judge", about, look)


def _untrained(run: Run, target: str) -> Extractor:
    spec = run.plan.domains[target].spec
    if min(spec.shape[1:]) < LEAST:
        raise GanforgeError(
            f"fidelity needs images of at least {LEAST} px a side; these are {spec}"
        )
    network = Untrained(spec.shape[0])
    checksum = network.fingerprint()
    network.to(run.device)

    def look(images: Tensor) -> Seen:
        return Seen(network(as_float(images).to(run.device)).cpu())

    about = f"untrained network {checksum[:DIGITS]}, larger images averaged to {LARGEST} px"
    return Extractor("untrained", about, look)


def as_bytes(images: Tensor) -> Tensor:
    """Images in [-1, 1] as files would hold them, uint8, on the CPU."""
    return ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).cpu()


def as_float(images: Tensor) -> Tensor:
    """The images of `as_bytes` in [-1, 1]."""
    return images.float() / 127.5 - 1


def in_colour(images: Tensor) -> Tensor:
    """Images uint8 [N, C, H, W] as [N, 3, H, W]: grey ones three times, transparency on white."""
    colours = images[:, :3] if images.shape[1] >= 3 else images[:, :1].expand(-1, 3, -1, -1)
    if images.shape[1] not in (2, 4):
        return colours.contiguous()
    opaque = images[:, -1:].float() / 255
    return (colours * opaque + 255 * (1 - opaque)).round().to(torch.uint8)
