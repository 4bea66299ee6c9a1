"""`ganforge translate [RUN] INPUT...`: image files through an image-to-image generator."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs
import click

from ganforge.cli.data_summary import say_read
from ganforge.cli.run_options import look_options, open_folder, report_output
from ganforge.data.summary import summary_of_files
from ganforge.interfaces.errors import DataError, GanforgeError, RunError
from ganforge.interfaces.manifest import Resample
from ganforge.interfaces.specs import ImageSpec
from ganforge.storage.run_folder import RunFolder, find_run

if TYPE_CHECKING:
    import numpy as np

    from ganforge.interfaces.specs import Spec
    from ganforge.planning.plan import GeneratorPlan
    from ganforge.runs.run import Run

_BATCH = 8  # images of the run's size that are translated at once
_NAMED = 3  # inputs that are named
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
            f"'{value}' is not a size; write WIDTH,HEIGHT in pixels, or keep", ctx, param
        )
    return height, width


@click.command()
@click.argument("words", metavar="[RUN] INPUT...", nargs=-1, required=True)
@click.option("--to", metavar="DOMAIN", help="what to make, if the run makes several things")
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
@click.option(
    "--label", metavar="L", help="one class, by number or name, of a generator of classes"
)
@click.option(
    "--opaque", is_flag=True, help="where alpha is read, take pictures without it as opaque"
)
@look_options
def command(
    words: tuple[str, ...],
    to: str | None,
    out: Path,
    size: Size | None,
    label: str | None,
    opaque: bool,
    generator: str | None,
    step: str,
    device: str,
    data: Path | None,
    plugin_files: tuple[Path, ...],
    without: tuple[str, ...],
) -> None:
    """Turn pictures into another domain, such as horses into zebras.

    RUN is a run's folder or name; left out, the newest. INPUT is a picture or a folder of them.
    Pictures that cannot be translated are listed at the end; the rest are translated.
    """
    folder, inputs = _run_and_inputs(words)
    found = _found(inputs)
    _refuse_writing_over(found.jobs(out))
    usable, failed = _checked(found.jobs(out))
    if not usable:
        raise DataError(_report_failures(failed, len(failed)))
    opened = open_folder(folder, step, device, plugin_files, without, data)
    plan = _chosen(opened, to, generator)
    classes = _classes(plan, label)
    if _shape(plan)[0] == 4 and not opaque:
        usable = _with_alpha(usable, plan, failed)
    _say_read(usable, found, inputs, opened, plan, size)
    replaced = sum(job.target.exists() for job in usable)
    made = _translate(opened, plan, usable, size, label, failed) if usable else 0
    if made:
        report_output(made, f"{plan.target} picture", plan, opened, out, replaced)
        _report_renames(usable, out)
        if classes is not None:
            click.echo(classes)
    if failed:
        raise GanforgeError(_report_failures(failed, made + len(failed)))


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
    """One file to translate, and where the result goes. number: its place among all, from 0."""

    source: Path
    target: Path
    number: int = 0


@attrs.define
class _Found:
    """Files with their names below the input, and what else was there: ending -> how many."""

    files: list[tuple[Path, Path]] = attrs.field(factory=list)
    left_out: Counter[str] = attrs.field(factory=Counter)

    def jobs(self, out: Path) -> list[Job]:
        """Every file once, with a result of its own."""
        names = _names([name for _, name in self.files])
        return [
            Job(source, out / name, number)
            for number, ((source, _), name) in enumerate(zip(self.files, names, strict=True))
        ]


def _found(inputs: Iterable[Path]) -> _Found:
    """What inputs name. Raises DataError where there is nothing, and no picture in a folder."""
    from ganforge.data.images import image_listing, image_names

    found = _Found()
    for path in inputs:
        if path.is_dir():
            found.files += [(path / name, Path(name)) for name in image_names(path)]
            found.left_out += Counter(image_listing(path).others)
        elif path.exists():
            found.files.append((path, Path(path.name)))
        else:
            raise DataError(f"there is no file or folder {path}")
    found.files = list(dict.fromkeys(found.files))
    return found


def _names(names: Sequence[Path]) -> Iterator[Path]:
    """A result's name for each input's, `.png`, no two of them the same on any system.

    A PNG keeps its name. Where others would be called the same, their endings stay (`a.jpg.png`);
    what is still the same, as in two folders, is counted, past the names of other inputs.
    """
    plain = [name.with_suffix(".png") for name in names]
    wanted = Counter(map(_folded, plain))
    own = {_folded(name) for name in names}
    taken: set[str] = set()
    for name, usual in zip(names, plain, strict=True):
        target = usual
        if wanted[_folded(usual)] > 1 and name.suffix.lower() != ".png":
            target = name.with_name(f"{name.name}.png")
        stem, number = target.stem, 2
        while _folded(target) in taken or (target != usual and _folded(target) in own):
            target = target.with_name(f"{stem}-{number}.png")
            number += 1
        taken.add(_folded(target))
        yield target


def _folded(name: Path) -> str:
    """The name as file systems see it that ignore case."""
    return str(name).casefold()


def _refuse_writing_over(jobs: Iterable[Job]) -> None:
    jobs = list(jobs)
    sources = {os.path.realpath(job.source) for job in jobs}
    for job in jobs:
        if os.path.realpath(job.target) in sources:
            raise GanforgeError(
                f"this would write over {job.target}: choose another folder for --out"
            )


# --- what cannot be translated ----------------------------------------------------------------


_Failed = dict[Path, str]  # file -> why


def _say_read(
    jobs: Sequence[Job],
    found: _Found,
    inputs: Sequence[Path],
    run: Run,
    plan: GeneratorPlan,
    size: Size | None,
) -> None:
    """What is read: pictures, what was left out, and the range of their values."""
    channels, height, width = _shape(plan)
    shape = None if size == "keep" else size or (height, width)
    domain, others = plan.sources[0], len(inputs) - _NAMED
    more = f" and {others:,} more" if others > 0 else ""
    own = f"image of {channels} channel{'s' if channels > 1 else ''}, each of its own size"
    say_read(
        summary_of_files(
            [job.source for job in jobs],
            found.left_out,
            ", ".join(map(str, inputs[:_NAMED])) + more,
            domain=domain,
            spec=own if shape is None else str(ImageSpec(channels, *shape)),
            shape=shape,
            resample=_resampling(run, plan),
        )
    )


def _resampling(run: Run, plan: GeneratorPlan) -> Resample:
    domain = run.plan.domains.get(plan.sources[0])
    return domain.resample if domain is not None else "smooth"


def _checked(jobs: Sequence[Job]) -> tuple[list[Job], _Failed]:
    """The jobs whose files have a header that can be read, and what is wrong with the others."""
    from concurrent.futures import ThreadPoolExecutor

    from ganforge.data.images import THREADS, image_size

    def fault(job: Job) -> str:
        try:
            image_size(job.source)
        except DataError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(THREADS) as pool:
        faults = list(pool.map(fault, jobs))
    pairs = list(zip(jobs, faults, strict=True))
    failed = {job.source: message for job, message in pairs if message}
    return [job for job, message in pairs if not message], failed


def _with_alpha(jobs: Iterable[Job], plan: GeneratorPlan, failed: _Failed) -> list[Job]:
    """The jobs whose files say how transparent they are; the others fail."""
    from PIL import Image

    usable = []
    for job in jobs:
        with Image.open(job.source) as picture:
            if picture.has_transparency_data:
                usable.append(job)
                continue
        failed[job.source] = (
            f"{job.source} has no alpha, the fourth channel that generator '{plan.name}' reads: "
            "save it as a PNG with alpha, or take all such pictures as opaque with --opaque"
        )
    return usable


def _report_failures(failed: _Failed, total: int) -> str:
    if len(failed) == total == 1:
        return next(iter(failed.values()))
    lines = "".join(f"\n  {message}" for message in failed.values())
    return f"{len(failed):,} of {total:,} pictures could not be translated:{lines}"


def _report_renames(jobs: Iterable[Job], out: Path) -> None:
    """Say which results are not called as their pictures are."""
    others = [
        f"{job.source} is {job.target.relative_to(out)}"
        for job in jobs
        if job.target.stem != job.source.stem
    ]
    if others:
        more = f" and {len(others) - 3:,} more" if len(others) > 3 else ""
        click.echo(f"renamed, since several have the same name: {', '.join(others[:3])}{more}")


def _classes(plan: GeneratorPlan, label: str | None) -> str | None:
    """Which classes pictures become, in a line; None where the generator knows none. Raises
    GanforgeError for a class that there is not."""
    from ganforge.interfaces.specs import LabelSpec
    from ganforge.runs.run import class_number

    spec = next((s for s in plan.source_specs if isinstance(s, LabelSpec)), None)
    if spec is None:
        if label is not None:
            raise GanforgeError(f"generator '{plan.name}' reads no class: leave out --label")
        return None
    number = class_number(spec, label)
    names = [*(spec.names or map(str, range(min(4, spec.classes))))]
    if number is not None:
        return f"class: {spec.names[number] if spec.names else number}"
    more = ", ..." if spec.classes > 3 else ""
    return f"classes in turn: {', '.join(names[:3])}{more}; choose one with --label"


def _chosen(run: Run, to: str | None, generator: str | None) -> GeneratorPlan:
    """The generator between images that is meant."""
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
        _refuse_channels(meant[0])
        _refuse_several(run, meant[0])
        return meant[0]
    there = ", ".join(f"`--to {plan.target}` (from {plan.sources[0]})" for plan in edges)
    if not meant:
        asked = f"--to {to}" if to is not None else f"--generator {generator}"
        raise GanforgeError(f"no generator of {run.folder.name} fits {asked}; there are: {there}")
    if len({plan.target for plan in meant}) < len(meant):
        names = ", ".join(plan.name for plan in meant)
        raise GanforgeError(f"say which generator with --generator: {names}")
    raise GanforgeError(f"say which way: {there}")


def _refuse_channels(plan: GeneratorPlan) -> None:
    if _shape(plan)[0] not in (1, 3, 4):
        raise GanforgeError(
            f"generator '{plan.name}' reads {plan.source_specs[0]}, and picture files have 1, 3 or "
            "4 channels: call `Run.translate` from Python"
        )


def _refuse_several(run: Run, plan: GeneratorPlan) -> None:
    pictures = dict.fromkeys(d for d, spec in run.leaves(plan) if isinstance(spec, ImageSpec))
    if len(pictures) > 1:
        raise GanforgeError(
            f"generator '{plan.name}' reads several pictures ({', '.join(pictures)}), and "
            "translate gives it one: call `Run.made_of` from Python"
        )


# --- doing it ---------------------------------------------------------------------------------


def _translate(
    run: Run,
    plan: GeneratorPlan,
    jobs: Sequence[Job],
    size: Size | None,
    label: str | None,
    failed: _Failed,
) -> int:
    """Translate what can be translated; how many that were."""
    at = size or _shape(plan)[1:]
    if at != "keep":
        _check_size(plan, at)
    batch = _BATCH if size is None else 1  # other sizes may be large
    parts = [jobs[start : start + batch] for start in range(0, len(jobs), batch)]
    made = 0
    for part in _shown(parts, sum(len(part) for part in parts)):
        read = _read(run, plan, part, at, failed)
        # What else is read is drawn by a picture's place, whichever others cannot be read.
        whole = [job.number for job, _ in read] == [*range(part[0].number, part[-1].number + 1)]
        for some in [read] if whole else [[one] for one in read]:
            made += _translate_part(run, plan, some, label, failed)
    return made


_Read = tuple[Job, "np.ndarray"]  # uint8 [C, H, W]


def _read(
    run: Run, plan: GeneratorPlan, jobs: Sequence[Job], at: Size, failed: _Failed
) -> list[_Read]:
    """The pictures that can be decoded, at their size."""
    from ganforge.data.images import read_image

    found = []
    for job in jobs:
        try:
            height, width = _own_size(plan, job.source) if at == "keep" else at
            pixels = read_image(
                job.source,
                height=height,
                width=width,
                channels=_shape(plan)[0],
                fit=run.plan.data.image.fit,
                resample=_resampling(run, plan),
            )
        except DataError as error:
            failed[job.source] = str(error)
            continue
        found.append((job, pixels))
    return found


def _translate_part(
    run: Run, plan: GeneratorPlan, read: Sequence[_Read], label: str | None, failed: _Failed
) -> int:
    """Translate pictures of one size and write the results; how many could be written."""
    import numpy as np
    import torch

    from ganforge.data.images import grid, write_png

    images = torch.from_numpy(np.stack([pixels for _, pixels in read])).float() / 127.5 - 1
    height, width = images.shape[2:]
    first = read[0][0]
    try:
        made = run.translate(images, plan.name, seed=first.number, label=label)
    except RuntimeError as error:
        raise GanforgeError(
            f"{plan.component.name} cannot translate {first.source} at {width} x {height} px "
            f"({str(error).splitlines()[0]}): leave --size out, or take a smaller one"
        ) from error
    written = 0
    for (job, _), image in zip(read, made, strict=True):
        try:
            write_png(job.target, grid(image[None], 1))
        except GanforgeError as error:
            failed[job.source] = str(error)
            continue
        written += 1
    return written


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
    height, width = size
    return ImageSpec(spec.channels, height, width) if isinstance(spec, ImageSpec) else spec
