"""How near translated horses and zebras come to their true counterparts.

Photographs have no true counterpart; painted scenes do. So what a translation should have changed
(the coat) and what it should have left alone (the background) are measured apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from ganforge import GanforgeError, Metric
from ganforge_painted_horses.dataset import COUNTERPART, PaintedHorses
from ganforge_painted_horses.painting import Species

if TYPE_CHECKING:
    from ganforge import Run

AT_ONCE = 16  # images looked at together
LEVELS = 127.5  # grey levels of 255 in one unit of [-1, 1]

# Domain -> the animal that it shows; the truth of a horse is its zebra.
SHOWN: dict[str, Species] = {
    **{scene: scene for scene in COUNTERPART},
    **{f"{scene}-truth": shown for scene, shown in COUNTERPART.items()},
}


class TranslationTruth(Metric):
    """For each generator between horses and zebras, paired or not, over held-out scenes:

    NAME/coat                  mean absolute error on the animal, in grey levels of 255
    NAME/coat-untouched        the same if nothing were translated
    NAME/background            the error where there is no animal
    NAME/background-untouched  the same if nothing were translated
    NAME/stripes               share of the animals whose pattern is a zebra's
    """

    @staticmethod
    def closed_forms() -> Iterable[tuple[str, float, float]]:
        """Black where white is true is wrong by all 255 levels; half of it, where half is seen."""
        black, white, seen = -torch.ones(1, 3, 4, 4), torch.ones(1, 3, 4, 4), torch.ones(1, 1, 4, 4)
        yield "black for white", _error(black, white, seen), 255.0
        white[..., :2] = -1
        yield "half black for white", _error(black, white, seen), 127.5

    def measure(self, run: Run) -> Mapping[str, float]:
        dataset = run.dataset()
        if not isinstance(dataset, PaintedHorses):
            raise GanforgeError(
                "translation-truth needs the data painted-horses, whose true translations are "
                f"known, not {run.plan.data.component.name}"
            )
        figures: dict[str, float] = {}
        for name, plan in run.plan.generators.items():
            if len(plan.sources) == 1 and is_translation(plan.sources[0], plan.target):
                measured = self._generator(run, name, plan.sources[0])
                figures |= {f"{name}/{key}": value for key, value in measured.items()}
        if not figures:
            raise GanforgeError(
                "translation-truth needs a generator from horses to zebras or back (`horse`, "
                "`zebra`, `horse-truth` or `zebra-truth`); this run has "
                f"{', '.join(run.plan.generators)}"
            )
        return figures

    def _generator(self, run: Run, name: str, source: str) -> dict[str, float]:
        count = self.options.count
        scene = source.removesuffix("-truth")
        truth = scene if source != scene else f"{scene}-truth"
        images, truths, masks = (
            run.held_out(domain, count).cpu() for domain in (source, truth, f"{scene}-mask")
        )
        made = run.translate(images, name)
        return figures(SHOWN[source], images, made, truths, (masks + 1) / 2)

    def protocol(self) -> str:
        return (
            f"first {self.options.count} held-out scenes of painted-horses; mean absolute error to "
            "the true counterpart in grey levels of 255, animal and background apart, untouched = "
            "if nothing were translated; stripes = share of animals whose local spectrum is nearer "
            "to the zebra's than to the horse's of the same scene"
        )


def is_translation(source: str, target: str) -> bool:
    """Whether one of two domains shows horses and the other zebras, of the same scenes or not."""
    return source in SHOWN and target in SHOWN and SHOWN[source] != SHOWN[target]


def figures(
    source: str, images: Tensor, made: Tensor, truths: Tensor, masks: Tensor
) -> dict[str, float]:
    """The figures of one direction, from `source` ("horse" or "zebra") to the other.

    images, made, truths: [N, C, H, W] in [-1, 1]. masks: share of each pixel that shows the
    animal, [N, 1, H, W] in [0, 1].
    """
    horses, zebras = (images, truths) if source == "horse" else (truths, images)
    background = (masks == 0).to(masks.dtype)  # no pixel that shows any of the animal
    return {
        "coat": _error(made, truths, masks),
        "coat-untouched": _error(images, truths, masks),
        "background": _error(made, truths, background),
        "background-untouched": _error(images, truths, background),
        "stripes": float(striped(horses, made, zebras, masks).float().mean()),
    }


def _error(a: Tensor, b: Tensor, weight: Tensor) -> float:
    """Weighted mean absolute difference of each image, averaged over images, in grey levels; sums
    in float64."""
    difference = (a - b).abs().mean(1, keepdim=True, dtype=torch.float64) * weight
    seen = weight.sum((1, 2, 3), dtype=torch.float64).clamp_min(1e-6)
    return float((difference.sum((1, 2, 3)) / seen).mean()) * LEVELS


# ---------------------------------------------------------------- stripes

WINDOW = 1 / 4  # of the shorter side: four to six stripes
INSIDE = 0.5  # share of a window that the animal must fill
OCTAVES = (1.5, 3.0, 6.0)  # periods per window; slower is shade, faster is noise
DIRECTIONS = 4


def striped(horses: Tensor, made: Tensor, zebras: Tensor, masks: Tensor) -> Tensor:
    """Whether each animal's pattern is nearer to its zebra's than to its horse's, bool [N].

    Patterns are compared by their local spectra, so stripes need not lie exactly where the truth
    has them, but where it has stripes at all, in their directions and about as fine and strong.
    """
    parts = (tensor.split(AT_ONCE) for tensor in (horses, made, zebras, masks))
    return torch.cat([_nearer(*part) for part in zip(*parts, strict=True)])


def _nearer(horses: Tensor, made: Tensor, zebras: Tensor, masks: Tensor) -> Tensor:
    of_horses, of_made, of_zebras = (spectra(x, masks) for x in (horses, made, zebras))
    to_horses = (of_made - of_horses).square().sum((1, 2))
    to_zebras = (of_made - of_zebras).square().sum((1, 2))
    return to_zebras < to_horses


def spectra(images: Tensor, masks: Tensor) -> Tensor:
    """Amplitudes of the local spectra inside the masks, float64
    [N, windows, octaves x directions].

    images: [N, C, H, W]. masks: [N, 1, H, W] in [0, 1]. Windows with little of the animal are 0.
    """
    side = max(8, round(WINDOW * min(images.shape[2:])) // 2 * 2)
    grey, mask = (_windows(x.double().mean(1, keepdim=True), side) for x in (images, masks))
    hann = torch.hann_window(side, periodic=False, dtype=torch.float64, device=images.device)
    weight = mask * hann[:, None] * hann
    total = weight.sum((2, 3), keepdim=True)
    mean = (grey * weight).sum((2, 3), keepdim=True) / total.clamp_min(1e-6)
    power = torch.fft.rfft2((grey - mean) * weight).abs().square()
    amplitude = torch.einsum("nwyx,yxb->nwb", power, _bands(side).to(power)).sqrt()
    filled = total[..., 0, 0] / hann.sum().square() > INSIDE
    return amplitude * filled[..., None]


def _windows(planes: Tensor, side: int) -> Tensor:
    """[N, 1, H, W] -> overlapping squares [N, windows, side, side]"""
    squares = F.unfold(planes, side, stride=side // 2)
    return squares.transpose(1, 2).unflatten(2, (side, side))


def _bands(side: int) -> Tensor:
    """Which frequencies of a window belong to which octave and direction, [side, side/2+1, 8]."""
    down = torch.fft.fftfreq(side)[:, None] * side
    right = torch.fft.rfftfreq(side) * side
    periods = torch.hypot(down, right)
    direction = torch.atan2(down, right).mul(DIRECTIONS / torch.pi).round().long() % DIRECTIONS
    bands = [
        (periods >= low) & (periods < high) & (direction == number)
        for low, high in pairwise(OCTAVES)
        for number in range(DIRECTIONS)
    ]
    return torch.stack(bands, -1).float()
