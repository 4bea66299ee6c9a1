"""Sheets of what the generators make, always of the same noise or the same held-out images.

samples/real.png             real training images, before the first step
samples/step-000500.png      a sheet; the same in every run of the same length and seed
samples/progress.gif         the sheets as an animation, at the end
snapshots/step-000500.safetensors  the generators that made the sheet

Pixels are never stretched to a sheet's own extremes: -1 is black and 1 is white on all of them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from ganforge import GanforgeError, Hook, ImageSpec, LabelSpec, NoiseSpec, Run, Training
from ganforge.images import grid, tiled, write_gif, write_png

_BLOCK_GAP = 12  # between blocks
_TILE_GAP = 2  # between an input and its translation
_TRIPLE_GAP = 8  # between one input with its translations and the next
_MANY_CLASSES = 20  # above, classes do not get a column each
_FRAMES = 60  # of a GIF
_FEWEST_FRAMES = 24  # rather than fewer, the frames become smaller
_GIF_PIXELS = 12_000_000  # over all frames: a GIF of photographs takes up to a byte a pixel
_GIF_SECONDS = 6


class Samples(Hook):
    """Draws a sheet before the first step, each `every` steps and after the last one."""

    def run_started(self, training: Training) -> None:
        _forget_after(training.folder.sheets_by_step(), training.step)
        _forget_after(training.folder.snapshots_by_step(), training.step)
        if not (training.folder.samples / "real.png").exists():
            self._write_real(training)
        if self._due(training) and not _sheet(training).exists():
            self._write_sheet(training)

    def step_ended(self, training: Training, step: int) -> None:
        if self._due(training):
            self._write_sheet(training)

    def run_ended(self, training: Training, error: BaseException | None) -> None:
        if error is None and not training.interrupted:
            if not _sheet(training).exists():  # another hook ended the run between two sheets
                self._write_sheet(training)
            _write_gif(training.folder.samples / "progress.gif", training.folder.sheets())

    def _due(self, training: Training) -> bool:
        return training.step % self.options.every == 0 or training.step == training.steps

    def _write_real(self, training: Training) -> None:
        """Real images of each judged domain, as the discriminators are shown them."""
        plan = training.plan
        judged = dict.fromkeys(d.on for d in plan.discriminators.values())
        domains = [
            domain
            for domain in judged
            if isinstance(plan.domains[domain].spec, ImageSpec)
            and plan.domains[domain].origin != "made"
        ]
        blocks = []
        for domain in domains:
            count = max(1, self.options.count // len(domains))
            columns = self.options.columns or round(math.sqrt(count))
            count = max(1, count // columns) * columns  # whole lines
            blocks.append(grid(training.real(domain, count), columns))
        if blocks:
            write_png(training.folder.samples / "real.png", tiled(blocks, len(blocks)))

    @torch.no_grad()
    def _write_sheet(self, training: Training) -> None:
        with training.looking() as run:
            blocks = list(self._blocks(training, run))
        if blocks:
            _write_snapshot(training, self.options.snapshots)
            write_png(_sheet(training), tiled(blocks, 1, down=_BLOCK_GAP))

    def _blocks(self, training: Training, run: Run) -> Iterator[np.ndarray]:
        """One block a generator, as many tiles on all of them together as `count` says."""
        plan = training.plan
        drawn = [name for name in plan.generators if _is_drawn(run, name)]
        translators = [name for name in plan.generators if _is_translator(run, name)]
        blocks = len(drawn) + len(translators)
        for name in drawn:
            yield self._drawn(run, name, max(1, self.options.count // blocks))
        for name in translators:
            yield self._translated(training, run, name, blocks)

    def _drawn(self, run: Run, name: str, count: int) -> np.ndarray:
        """What a generator makes of the seeds 0, 1, ...; where it has few classes, one seed a row
        and one class a column, so that a row shows one style."""
        specs = run.generator_plan(name).source_specs
        classes = next((spec.classes for spec in specs if isinstance(spec, LabelSpec)), 0)
        columns = self.options.columns or math.ceil(math.sqrt(count))
        if 1 < classes <= _MANY_CLASSES and not self.options.columns:
            styles = run.by_class(-(-count // classes), seed=0, generator=name)
            return grid(styles.flatten(0, 1), classes)
        return grid(run.sample(count, seed=0, generator=name), columns)

    def _translated(self, training: Training, run: Run, name: str, blocks: int) -> np.ndarray:
        """Held-out inputs, each with its translation and, where a generator leads back, that
        brought back, else, where there is one, the true image. `blocks` share the sheet."""
        back = training.plan.inverse(name)
        paired = training.plan.paired(name)
        tiles = 3 if back or paired else 2
        count = max(1, self.options.count // blocks // tiles)
        columns = self.options.columns or max(1, round(math.sqrt(count * blocks / tiles)))
        count = max(1, count // columns) * columns  # whole lines
        source = run.generator_plan(name).sources[0]
        inputs = run.held_out(source, count).float().cpu()
        shown = [inputs, run.translate(inputs, name)]
        if back:
            shown.append(run.translate(shown[1], back))
        elif paired:
            shown.append(run.held_out(run.generator_plan(name).target, count).float().cpu())
        triples = [_side_by_side(images) for images in zip(*shown, strict=True)]
        return tiled(triples, columns, across=_TRIPLE_GAP)


def _is_drawn(run: Run, name: str) -> bool:
    """An image that is made from no image of the data."""
    plan = run.generator_plan(name)
    images = [spec for _, spec in run.leaves(plan) if isinstance(spec, ImageSpec)]
    return isinstance(plan.target_spec, ImageSpec) and not images


def _is_translator(run: Run, name: str) -> bool:
    """From an image of the data; anything else that it reads must be drawn."""
    plan = run.generator_plan(name)
    first, *others = plan.source_specs
    return (
        isinstance(first, ImageSpec)
        and isinstance(plan.target_spec, ImageSpec)
        and run.plan.domains.keys() >= set(plan.sources)
        and run.plan.domains[plan.sources[0]].origin in ("data", "derived")
        and all(isinstance(spec, (NoiseSpec, LabelSpec)) for spec in others)
    )


def _side_by_side(images: Sequence[Tensor]) -> np.ndarray:
    """Images [C, H, W] of several domains as a line of tiles."""
    if all(len(image) in (1, 3, 4) for image in images):
        return grid(torch.stack(_alike(images)), len(images))
    return tiled([grid(image[None], 1) for image in images], len(images), across=_TILE_GAP)


def _alike(images: Sequence[Tensor]) -> list[Tensor]:
    """Images [C, H, W] of several domains as one size and number of channels, by repeating pixels
    and grey: a sheet shows what there is, and nothing interpolated."""
    height, width = (max(image.shape[side] for image in images) for side in (1, 2))
    channels = max(len(image) for image in images)
    alike = []
    for image in images:
        image = torch.nn.functional.interpolate(image[None], (height, width), mode="nearest")[0]
        if len(image) == 1:
            image = image.expand(min(channels, 3), -1, -1)
        if len(image) < channels:  # a sheet with transparency: opaque
            image = torch.cat([image, torch.ones_like(image[:1])])
        alike.append(image)
    return alike


# --- files ----------------------------------------------------------------------------------------


def _sheet(training: Training) -> Path:
    return training.folder.sheet(training.step)


def _forget_after(written: Mapping[int, Path], step: int) -> None:
    """Remove what a killed run wrote after the checkpoint that is gone on from: those steps are
    taken again."""
    for number, path in written.items():
        if number > step:
            path.unlink(missing_ok=True)


def _write_snapshot(training: Training, count: int) -> None:
    """Keep the generators of this sheet, under the names that they have in checkpoints."""
    tensors: dict[str, Tensor] = {}
    for name, plan in training.plan.generators.items():
        network = training.generator(name)
        averaged = plan.address in training.game.ema
        prefix = f"ema.{plan.address}" if averaged else plan.address
        for parameter, tensor in network.state_dict().items():
            tensors[f"{prefix}/{parameter}"] = tensor.detach().cpu().contiguous().clone()
    path = training.folder.snapshot(training.step)
    part = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(save(tensors))  # readable as any other file, unlike what save_file writes
        os.replace(part, path)
    except Exception as error:  # safetensors raises its own kind for a full disk
        part.unlink(missing_ok=True)
        raise GanforgeError(
            f"cannot write the snapshot {path}: {error}; {training.folder.kept()}"
        ) from error
    _thin(training.folder.snapshots_by_step(), count)


def _thin(found: Mapping[int, Path], count: int) -> None:
    """Remove snapshots until `count` are left: always the one whose neighbours are closest, so
    that those that stay are spread evenly, never the first and the last."""
    steps = sorted(found)
    while len(steps) > count:
        gaps = [after - before for before, after in zip(steps, steps[2:], strict=False)]
        gone = steps.pop(1 + gaps.index(min(gaps)))
        found[gone].unlink(missing_ok=True)


def _write_gif(path: Path, sheets: Sequence[Path]) -> None:
    """The sheets that are as large as the newest one, thinned and shrunk to a moderate file."""
    sizes = {sheet: _size(sheet) for sheet in sheets}
    sheets = [sheet for sheet in sheets if sizes[sheet] == sizes[sheets[-1]]]
    if len(sheets) < 2:
        return
    width, height = sizes[sheets[-1]]
    most = max(_FEWEST_FRAMES, min(_FRAMES, _GIF_PIXELS // (width * height)))
    chosen = _spread(sheets, most)
    scale = min(1.0, math.sqrt(_GIF_PIXELS / (len(chosen) * width * height)))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    pause = [chosen[-1]] * max(1, len(chosen) // 4)  # the end stays in sight for a while
    milliseconds = max(50, min(400, 1000 * _GIF_SECONDS // len(chosen)))
    write_gif(path, (_frame(sheet, size) for sheet in [*chosen, *pause]), milliseconds)


def _size(sheet: Path) -> tuple[int, int]:
    with Image.open(sheet) as image:
        return image.size


def _spread(items: Sequence[Path], count: int) -> list[Path]:
    """At most `count` of them, the first and the last among them, evenly spread."""
    if len(items) <= count:
        return list(items)
    return [items[round(place * (len(items) - 1) / (count - 1))] for place in range(count)]


def _frame(sheet: Path, size: tuple[int, int]) -> np.ndarray:
    with Image.open(sheet) as image:
        picture = image.convert("L" if image.mode == "L" else "RGB")
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return np.asarray(picture)
