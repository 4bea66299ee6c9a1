"""`ganforge translate [RUN] INPUT...`: image files through an image-to-image generator."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs
import click

from ganforge.cli.run_options import look_options, open_folder, say_made
from ganforge.interfaces.errors import DataError, GanforgeError, RunError
from ganforge.runs.run_folder import RunFolder, find_run

if TYPE_CHECKING:
    from ganforge.interfaces.specs import Spec
    from ganforge.planning.plan import GeneratorPlan
    from ganforge.runs.run import Run

_BATCH = 8  # images of the run's size that are translated at once
_MULTIPLES = (1, 2, 4, 8, 16, 32, 64)  # of which networks want sides to be


# (height, width), or each file's own
Size = Literal["keep"] | tuple[int, int]


def _as_size(ctx: click.Context, param: click.Parameter, value: str | None) -> Size | None:
    """`keep`, `256`, or `320,200` (width, height)."""
    if value is None or value == "keep":
        return value  # type: ignore[return-value]
    match = re.fullmatch(r"(\d+)(?:[x,](\d+))?", value.strip())
    height, width = (int(match[2] or match[1]), int(match[1])) if match else (0, 0)
    if not height or not width:
        raise click.BadParameter(
            f"'{value}' is no size; write WIDTH,HEIGHT in pixels, or keep", ctx, param
        )
    return height, width


@click.command()
@click.argument("words", metavar="[RUN] INPUT...", nargs=-1, required=True)
@click.option("--to", metavar="DOMAIN", help="what to make, where the run makes several")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="folder for the results, PNGs of the same names",
)
@click.option(
    "--size",
    callback=_as_size,
    metavar="W,H",
    help="size to translate at, or `keep` for each file's own; otherwise the run's",
)
@look_options
def command(
    words: tuple[str, ...],
    to: str | None,
    out: Path,
    size: Size | None,
    generator: str | None,
    step: str,
    device: str,
    plugin_files: tuple[Path, ...],
    without: tuple[str, ...],
) -> None:
    """Turn pictures into another domain, such as horses into zebras.

    RUN is a run's folder or name; left out, the newest. INPUT is a picture or a folder of them.
    """
    folder, inputs = _run_and_inputs(words)
    jobs = list(_jobs(inputs, out))
    from ganforge.data.images import check_images

    check_images([job.source for job in jobs])
    opened = open_folder(folder, step, device, plugin_files, without)
    plan = _chosen(opened, to, generator)
    _translate(opened, plan, jobs, size)
    say_made(len(jobs), f"{plan.target} picture", plan, opened, out)


# --- what is asked ----------------------------------------------------------------------------


def _run_and_inputs(words: Sequence[str]) -> tuple[RunFolder, list[Path]]:
    """The first word is a run if it names one; otherwise the newest run is meant."""
    first, *others = words
    try:
        folder = find_run(first)
    except RunError as error:
        if not Path(first).exists():
            raise RunError(f"'{first}' is neither a run nor a file: {error}") from None
        return find_run(None), [Path(word) for word in words]
    if not others:
        raise GanforgeError("name the pictures to translate, or a folder of them")
    return folder, [Path(word) for word in others]


@attrs.frozen
class Job:
    """One file to translate, and where the result goes."""

    source: Path
    target: Path


def _jobs(inputs: Iterable[Path], out: Path) -> Iterator[Job]:
    """Every file, its result under the same name. Raises DataError where there are none, and
    where a result would take the place of an input."""
    found = list(dict.fromkeys(pair for path in inputs for pair in _found(path)))
    sources = {os.path.realpath(source) for source, _ in found}
    taken: set[Path] = set()
    for source, name in found:
        target = out / name.with_suffix(".png")
        number = 2
        while target in taken:  # a.jpg beside a.png, or two folders that hold the same names
            target = out / name.with_name(f"{name.stem}-{number}.png")
            number += 1
        taken.add(target)
        if os.path.realpath(target) in sources:
            raise GanforgeError(f"this would write over {target}: choose another folder for --out")
        yield Job(source, target)


def _found(path: Path) -> Iterator[tuple[Path, Path]]:
    """(file, its name below the input)."""
    from ganforge.data.images import image_files

    if path.is_dir():
        for file in image_files(path):
            yield file, file.relative_to(path)
    elif path.exists():
        yield path, Path(path.name)
    else:
        raise DataError(f"there is no file or folder {path}")


def _chosen(run: Run, to: str | None, generator: str | None) -> GeneratorPlan:
    """The generator between images that is meant."""
    from ganforge.interfaces.specs import ImageSpec

    edges = [
        plan
        for plan in run.plan.generators.values()
        if isinstance(plan.source_specs[0], ImageSpec) and isinstance(plan.target_spec, ImageSpec)
    ]
    if not edges:
        raise GanforgeError(
            f"{run.folder.name} makes images from noise and translates none: use "
            f"`ganforge sample {run.folder.name}`"
        )
    meant = [plan for plan in edges if to in (None, plan.target, plan.name)]
    meant = [plan for plan in meant if generator in (None, plan.name)]
    if len(meant) == 1:
        return meant[0]
    there = ", ".join(f"`--to {plan.target}` (from {plan.sources[0]})" for plan in edges)
    if not meant:
        asked = f"--to {to}" if to is not None else f"--generator {generator}"
        raise GanforgeError(f"no generator of {run.folder.name} fits {asked}; there are: {there}")
    if len({plan.target for plan in meant}) < len(meant):
        names = ", ".join(plan.name for plan in meant)
        raise GanforgeError(f"say which generator with --generator: {names}")
    raise GanforgeError(f"say which way: {there}")


# --- doing it ---------------------------------------------------------------------------------


def _translate(
    run: Run,
    plan: GeneratorPlan,
    jobs: Sequence[Job],
    size: Size | None,
) -> None:
    at = size or _shape(plan)[1:]
    if at != "keep":
        _check_size(plan, at)
    batch = _BATCH if size is None else 1  # other sizes may be large
    parts = [jobs[start : start + batch] for start in range(0, len(jobs), batch)]
    for part in _shown(parts, sum(len(part) for part in parts)):
        _translate_part(run, plan, part, at)


def _translate_part(run: Run, plan: GeneratorPlan, jobs: Sequence[Job], at: Size) -> None:
    import numpy as np
    import torch

    from ganforge.data.images import grid, read_image, write_png

    fit = run.plan.data.image.fit
    channels = _shape(plan)[0]
    height, width = _own_size(plan, jobs[0].source) if at == "keep" else at
    pixels = [
        read_image(job.source, height=height, width=width, channels=channels, fit=fit)
        for job in jobs
    ]
    images = torch.from_numpy(np.stack(pixels)).float() / 127.5 - 1
    try:
        made = run.translate(images, plan.name)
    except RuntimeError as error:
        raise GanforgeError(
            f"{plan.component.name} cannot translate {jobs[0].source} at {width} x {height} px "
            f"({str(error).splitlines()[0]}): leave --size out, or take a smaller one"
        ) from error
    for job, image in zip(jobs, made, strict=True):
        write_png(job.target, grid(image[None], 1))


def _shown(parts: Sequence[Sequence[Job]], total: int) -> Iterator[Sequence[Job]]:
    """The parts, with a bar on a terminal where there are more than a few."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    hidden = not console.is_terminal or total <= 2 * _BATCH
    with Progress(console=console, transient=True, disable=hidden) as progress:
        bar = progress.add_task("translating", total=total)
        for part in parts:
            yield part
            progress.advance(bar, len(part))


def _shape(plan: GeneratorPlan) -> tuple[int, int, int]:
    """(channels, height, width) of what a generator was trained to read."""
    channels, height, width = plan.source_specs[0].shape
    return channels, height, width


def _own_size(plan: GeneratorPlan, file: Path) -> tuple[int, int]:
    """A file's own (height, width), less the few pixels that the network cannot take."""
    from ganforge.data.images import image_size
    from ganforge.interfaces.manifest import Impossible

    _, height, width = image_size(file)
    for multiple in _MULTIPLES:
        fitting = (height // multiple * multiple, width // multiple * multiple)
        if min(fitting):
            try:
                _check_size(plan, fitting)
            except (Impossible, GanforgeError):
                continue
            return fitting
    raise DataError(f"{file} has {width} x {height} px, too small for {plan.component.name}")


def _check_size(plan: GeneratorPlan, size: tuple[int, int]) -> None:
    """Raises GanforgeError where a generator says that it cannot work at a size."""
    from ganforge.interfaces.manifest import Impossible

    check = plan.component.check
    if check is None:
        return
    sources = tuple(_resized(spec, size) for spec in plan.source_specs)
    try:
        check(plan.options, sources, _resized(plan.target_spec, size))
    except Impossible as error:
        raise GanforgeError(f"--size {size[1]},{size[0]}: {error}") from error


def _resized(spec: Spec, size: tuple[int, int]) -> Spec:
    from ganforge.interfaces.specs import ImageSpec

    height, width = size
    return ImageSpec(spec.channels, height, width) if isinstance(spec, ImageSpec) else spec
