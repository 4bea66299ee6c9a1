"""Pictures of a report that need the run's weights: walks, filters, pairs for blind comparisons."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from attrs import frozen
from PIL import Image
from torch import Tensor

from ganforge.data.images import grid
from ganforge.interfaces.errors import GanforgeError
from ganforge.interfaces.specs import ImageSpec, LabelSpec
from ganforge.lab import filters
from ganforge.lab.latent_points import Place, place, reads_text
from ganforge.lab.report.blind_choices import Question
from ganforge.lab.report.sheets import Picture, address, webp
from ganforge.lab.walk import walk

if TYPE_CHECKING:
    from ganforge.planning.plan import GeneratorPlan
    from ganforge.runs.run import Run

STOPS, FRAMES = 4, 8  # of a walk, and from stop to stop
PAIRS = 20  # of a blind comparison

# What is tried in turn until a strip or a sheet fits: (width in px, quality as WebP; 0 is PNG).
_SIZES = ((1240, 0), (1240, 85), (800, 80), (500, 70), (500, 40), (360, 40), (250, 40))

# What is tried in turn until the pairs fit: (longest side in px, quality as WebP; 0 is PNG).
_LEVELS = ((128, 0), (128, 90), (96, 85), (64, 80), (48, 60))


@frozen
class WalkShown:
    """A walk of one generator: a line for each leg. between: what its stops are."""

    generator: str
    picture: Picture
    between: str
    unevenness: float
    seen_by: str


@frozen
class FiltersShown:
    """Filters of one network, trained beside untrained. reads: whether it reads images."""

    network: str
    picture: Picture
    reads: bool


@frozen
class Pairs:
    """A question with its pictures: of each pair the first is what is real, or of the first run."""

    question: Question
    pairs: tuple[tuple[str, str], ...]


# --- walks ----------------------------------------------------------------------------------------


def opens(run: Run) -> None:
    """Build the generators that are shown. Raises GanforgeError where their weights do not fit."""
    for plan in _ends(run):
        run.generator(plan.name)


def walks_of(run: Run, name: str, room: int) -> Iterator[WalkShown | str]:
    """A walk for each generator of a run that can be walked, in so many bytes; a line where one
    should be and could not be made. `name` is the run's."""
    ends = _ends(run)
    for plan in ends:
        if any(isinstance(spec, ImageSpec) for _, spec in run.leaves(plan)):
            continue  # it translates: there is nothing between two photographs
        try:
            stops, between = _stops(run, plan)
            found = walk(run, plan, stops, FRAMES)
        except (GanforgeError, RuntimeError) as error:
            yield f"{name}: no walk of generator '{plan.name}': {str(error).splitlines()[0]}"
            continue
        picture = _strip(found.images, room // len(ends))
        yield WalkShown(plan.name, picture, between, found.unevenness, found.seen_by)


def _ends(run: Run) -> list[GeneratorPlan]:
    """The generators of images whose output no other reads."""
    plans = run.plan.generators
    read = {source for plan in plans.values() for source in plan.sources}
    return [
        plan
        for plan in plans.values()
        if plan.address not in read and isinstance(plan.target_spec, ImageSpec)
    ]


def _stops(run: Run, plan: GeneratorPlan) -> tuple[list[Place], str]:
    """Through classes or texts at fixed noise where a generator knows any, else between seeds."""
    labels = [spec for _, spec in run.leaves(plan) if isinstance(spec, LabelSpec)]
    if labels and labels[0].classes > 1:
        count = min(STOPS, labels[0].classes)
        names = labels[0].names or tuple(map(str, range(count)))
        stops = [place(run, plan, 0, label=name) for name in names[:count]]
        return stops, f"the classes {', '.join(names[:count])} with the noise of seed 0"
    if reads_text(run, plan):
        texts = run.texts_read(plan, range(STOPS)) or []
        stops = [place(run, plan, 0, text=text) for text in texts]
        return stops, "; ".join(f"“{text}”" for text in texts) + ", with the noise of seed 0"
    return [
        place(run, plan, seed) for seed in range(STOPS)
    ], f"the samples of seeds 0 to {STOPS - 1}"


def _strip(images: Tensor, room: int) -> Picture:
    starts = range(0, len(images) - 1, FRAMES)
    lines = [images[start : start + FRAMES + 1] for start in starts]
    return _fitted(grid(torch.cat(lines), FRAMES + 1), room)


def _fitted(pixels: np.ndarray, room: int) -> Picture:
    """A picture in about so many bytes, as PNG where that is enough."""
    sheet = Image.fromarray(pixels)
    if sheet.mode not in ("L", "RGB"):
        sheet = sheet.convert("RGB")
    for width, quality in _SIZES:
        sheet.thumbnail((width, sheet.height), Image.Resampling.LANCZOS)
        data = webp(sheet, quality) if quality else _png(sheet)
        if len(data) <= room:
            break
    return Picture(address(data, "webp" if quality else "png"), *sheet.size)


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "png", optimize=True)
    return file.getvalue()


# --- filters --------------------------------------------------------------------------------------

TRIED, FILTERS, LAYERS = 128, 6, 3  # images; of each layer; besides the weights


def filters_of(run: Run, name: str, room: int) -> Iterator[FiltersShown | str]:
    """Filters of a run's first discriminator and generator of images in so many bytes; a line where
    one should be and could not be made. `name` is the run's."""
    discriminators = [
        p for p in run.plan.discriminators.values() if isinstance(p.judged, ImageSpec)
    ]
    networks = [p.address for p in discriminators[:1]] + [p.address for p in _ends(run)[:1]]
    for network in networks:
        try:
            found = filters.look(run, network, filters=FILTERS, images=TRIED, deeper=LAYERS)
        except (GanforgeError, RuntimeError) as error:
            yield f"{name}: no filters of {network}: {str(error).splitlines()[0]}"
            continue
        picture = _fitted(filters.sheet(found), room // 2)
        yield FiltersShown(network, picture, found.subject.reads)


# --- blind comparisons ----------------------------------------------------------------------------


def pairs_of(runs: Sequence[tuple[str, Run]], room: int) -> tuple[list[Pairs], list[str]]:
    """Questions about runs, named; their pictures take about so many bytes. With them a line for
    each run or generator about which nothing can be asked.

    Of each generator of each run: real or fake. Of each run after the first: it or the first one,
    from the same noise.
    """
    asked: list[tuple[Question, Tensor, Tensor]] = []
    notes: list[str] = []
    made: dict[str, tuple[str, Run, Tensor]] = {}
    for name, run in runs:
        for plan in _ends(run):
            try:
                fakes = _fakes(run, plan)
                reals = _reals(run, plan)
            except GanforgeError as error:
                notes.append(f"{name}, generator '{plan.name}': {str(error).splitlines()[0]}")
                continue
            count = min(len(fakes), len(reals))
            question = Question("real-or-fake", plan.name, (name,), (run.step,))
            asked.append((question, reals[:count], fakes[:count]))
            first = made.setdefault(plan.name, (name, run, fakes))
            if first[1] is not run and first[2].shape[1:] == fakes.shape[1:]:
                names, steps = (first[0], name), (first[1].step, run.step)
                asked.append((Question("run-or-run", plan.name, names, steps), first[2], fakes))
    return _encoded(asked, room), notes


def _fakes(run: Run, plan: GeneratorPlan) -> Tensor:
    if isinstance(plan.source_specs[0], ImageSpec):
        return run.translate(run.held_out(plan.sources[0], PAIRS).float().cpu(), plan.name)
    return run.sample(PAIRS, seed=0, generator=plan.name)


def _reals(run: Run, plan: GeneratorPlan) -> Tensor:
    """Held-out images, else the training images that the run's folder shows."""
    with suppress(GanforgeError):  # the data is on another machine
        rows = run.held_out(plan.target, PAIRS).float().cpu()
        if len(rows):
            return rows
    assert isinstance(plan.target_spec, ImageSpec)
    tiles = cut(run.folder.samples / "real.png", plan.target_spec)
    if tiles is None:
        raise GanforgeError("its data is not on this machine, so there are no real images to show")
    return tiles[:PAIRS]


def cut(file: Path, spec: ImageSpec) -> Tensor | None:
    """The images of a sheet, float32 [N, C, H, W] in [-1, 1]; None if it is not a plain grid."""
    try:
        with Image.open(file) as image:
            pixels = np.array(image.convert("L" if spec.channels == 1 else "RGB"))
    except OSError:
        return None
    gap = 2
    down, across = (spec.height + gap), (spec.width + gap)
    if (pixels.shape[0] + gap) % down or (pixels.shape[1] + gap) % across:
        return None
    tiles = [
        pixels[top : top + spec.height, left : left + spec.width]
        for top in range(0, pixels.shape[0], down)
        for left in range(0, pixels.shape[1], across)
    ]
    found = torch.from_numpy(np.stack(tiles)).float() / 127.5 - 1
    return found[:, None] if found.dim() == 3 else found.permute(0, 3, 1, 2)


def _encoded(asked: Sequence[tuple[Question, Tensor, Tensor]], room: int) -> list[Pairs]:
    """Both of a pair in the same way, so that no artefact tells them apart. A run's fakes stand in
    several questions and are written each time."""
    for side, quality in _LEVELS:
        found = [
            Pairs(
                question,
                tuple(
                    (_tile(one, side, quality), _tile(other, side, quality))
                    for one, other in zip(first, second, strict=False)
                ),
            )
            for question, first, second in asked
        ]
        if sum(len(text) for one in found for pair in one.pairs for text in pair) * 3 // 4 <= room:
            return found
    return found if asked else []


def _tile(image: Tensor, side: int, quality: int) -> str:
    picture = Image.fromarray(grid(image[None], 1)).convert("RGB")
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return address(webp(picture, quality), "webp") if quality else address(_png(picture), "png")
