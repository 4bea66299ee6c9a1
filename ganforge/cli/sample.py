"""`ganforge sample [RUN]`: images of drawn noise, or of a text; texts of a generator of text."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganforge.cli.run_options import look_options, open_folder, placed, report_output
from ganforge.interfaces.errors import GanforgeError
from ganforge.storage.part_files import beside
from ganforge.storage.run_folder import find_run

if TYPE_CHECKING:
    from torch import Tensor

    from ganforge.planning.plan import GeneratorPlan
    from ganforge.runs.run import Run

_COUNT = 64
_LINES = 20  # of text
_LONGEST = 60  # characters of a text in the name of a file
_CHUNK = 256  # images that are made before they are written to a folder
_LEGIBLE = 64  # pixels that a tile with a number has at least
_INKS = {  # of the numbers and of their edge, by an image's mode
    "L": (255, 0),
    "RGB": ((255, 255, 255), (0, 0, 0)),
    "RGBA": ((255, 255, 255, 255), (0, 0, 0, 255)),
}


@click.command()
@click.argument("run", required=False)
@click.option("--count", metavar="N", type=click.IntRange(min=1), help="how many images [64]")
@click.option("--label", metavar="L", help="one class, by number or name; by default all in turn")
@click.option("--text", metavar="T", help="what to show; by default held-out texts in turn")
@click.option(
    "--seed", metavar="S", type=click.IntRange(min=0), default=0, help="of the first image [0]"
)
@click.option("--numbered", is_flag=True, help="write each image's seed on it (in a grid)")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="FILE.png: a grid; FILE.safetensors: a tensor; otherwise a folder of PNGs",
)
@look_options
def command(
    run: str | None,
    count: int | None,
    label: str | None,
    text: str | None,
    seed: int,
    numbered: bool,
    out: Path | None,
    generator: str | None,
    step: str,
    device: str,
    data: Path | None,
    plugin_files: tuple[Path, ...],
    without: tuple[str, ...],
) -> None:
    """Make images with a trained generator; one of text prints what it writes.

    RUN is a run's folder or name; left out, the newest. Image i of seed S is image 0 of seed S + i.
    """
    folder = find_run(run)
    kind = _kind(out)
    if numbered and kind != "grid":
        raise GanforgeError("--numbered writes on a grid: give --out a name that ends in .png")
    opened = open_folder(folder, step, device, plugin_files, without, data)
    plan = opened.generator_plan(generator)
    if label is not None and not _classes(plan):
        raise GanforgeError(f"{folder.name} was trained without labels: leave --label out")
    if _writes(plan):
        if out is not None or numbered:
            raise GanforgeError(f"generator '{plan.name}' writes text: leave out --out, --numbered")
        _print(opened, plan, count or _LINES, text, seed)
        return
    if kind != "tensor" and not _pictures(plan):
        raise GanforgeError(
            f"generator '{plan.name}' makes no pictures ({plan.target_spec}): write what it makes "
            "as a tensor with `--out FILE.safetensors`"
        )
    count = count or _usual_count(plan, label)
    made = _Request(opened, plan, count, label, text, seed)
    usual = Path(_usual_name(opened, seed, label, text, step, generator))
    if kind == "folder":
        assert out is not None  # without it a grid is made
        replaced = _write_folder(out, made)
    elif kind == "tensor":
        out, replaced = placed(out, usual, lambda path: _write_tensor(path, made))
    else:
        out, replaced = placed(out, usual, lambda path: _write_grid(path, made, numbered))
    report_output(count, "image" if _pictures(plan) else "item", plan, opened, out, replaced)


def _kind(out: Path | None) -> str:
    """What to write, by the ending."""
    if out is None or out.suffix.lower() == ".png":
        if out is not None and out.is_dir():
            raise GanforgeError(f"{out} is a folder; give --out another name")
        return "grid"
    if out.suffix.lower() == ".safetensors":
        return "tensor"
    if out.suffix and not out.is_dir():
        raise GanforgeError(
            f"cannot write {out.name}: --out takes FILE.png (a grid), FILE.safetensors, or a name "
            "without an ending (a folder of PNGs)"
        )
    if out.is_file():
        raise GanforgeError(f"{out} is a file; give --out the name of a folder, or an ending")
    return "folder"


def _classes(plan: GeneratorPlan) -> int:
    """Classes that a generator is asked for; 0 where it knows none."""
    from ganforge.interfaces.specs import LabelSpec

    specs = plan.source_specs
    return next((spec.classes for spec in specs if isinstance(spec, LabelSpec)), 0)


def _writes(plan: GeneratorPlan) -> bool:
    from ganforge.interfaces.specs import TextSpec

    return isinstance(plan.target_spec, TextSpec)


def _pictures(plan: GeneratorPlan) -> bool:
    from ganforge.interfaces.specs import ImageSpec

    return isinstance(plan.target_spec, ImageSpec)


def _print(run: Run, plan: GeneratorPlan, count: int, text: str | None, seed: int) -> None:
    """One text a line; where held-out texts take turns, each beside what was made of it."""
    written = run.write(count, text=text, seed=seed, generator=plan.name)
    read = run.texts_read(plan, range(seed, seed + count)) if text is None else None
    for number, line in enumerate(written):
        click.echo(f"{read[number]}\t{line}" if read else line)


def _columns(plan: GeneratorPlan, label: str | None, count: int) -> int:
    """Classes by turns get a column each, unless that is a mere strip."""
    classes = _classes(plan)
    if label is None and 1 < classes <= min(count, 20):
        return classes
    return math.ceil(math.sqrt(count))


def _usual_count(plan: GeneratorPlan, label: str | None) -> int:
    classes = _classes(plan)
    whole_rows = label is None and 1 < classes <= 20
    return -(-_COUNT // classes) * classes if whole_rows else _COUNT


def _usual_name(
    run: Run, seed: int, label: str | None, text: str | None, step: str, generator: str | None
) -> str:
    """`dcgan-mnist-seed0.png` in the current folder."""
    parts = [run.folder.name]
    parts += [generator] if generator else []
    parts += [f"step{run.step}"] if step != "last" else []
    parts += [f"label-{label}"] if label is not None else []
    parts += [text[:_LONGEST]] if text is not None else []
    name = "-".join([*parts, f"seed{seed}"])
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name) + ".png"


class _Request:
    """What is asked of a run, made in one go or in parts."""

    def __init__(
        self,
        run: Run,
        plan: GeneratorPlan,
        count: int,
        label: str | None,
        text: str | None,
        seed: int,
    ) -> None:
        self.run = run
        self.plan = plan
        self.count = count
        self.label = label
        self.text = text
        self.seed = seed

    def images(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Images start .. stop - 1, float32 [N, C, H, W] in [-1, 1]."""
        count = (self.count if stop is None else stop) - start
        return self.run.sample(
            count,
            label=self.label,
            text=self.text,
            seed=self.seed + start,
            generator=self.plan.name,
        )

    def labels(self) -> Tensor | None:
        """The classes that were asked for, int64 [N]."""
        from ganforge.interfaces.specs import LabelSpec

        seeds = range(self.seed, self.seed + self.count)
        sources = self.run.sources(self.plan, seeds, self.label)
        pairs = zip(sources, self.plan.source_specs, strict=True)
        return next((value for value, spec in pairs if isinstance(spec, LabelSpec)), None)


def _write_grid(out: Path, made: _Request, numbered: bool) -> None:
    from ganforge.data.images import grid, write_png

    images = made.images()
    if numbered:
        images = _with_numbers(images, made.seed)
    write_png(out, grid(images, _columns(made.plan, made.label, made.count)))


def _write_folder(out: Path, made: _Request) -> int:
    """How many files were there before and are replaced."""
    from ganforge.data.images import grid, write_png

    width = max(6, len(str(made.count - 1)))
    replaced = sum((out / f"{number:0{width}}.png").exists() for number in range(made.count))
    for start in range(0, made.count, _CHUNK):
        for number, image in enumerate(made.images(start, min(start + _CHUNK, made.count)), start):
            write_png(out / f"{number:0{width}}.png", grid(image[None], 1))
    return replaced


def _write_tensor(out: Path, made: _Request) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save

    name = "images" if _pictures(made.plan) else "items"
    tensors = {name: made.images().contiguous()}
    labels = made.labels()
    if labels is not None:
        tensors["labels"] = labels
    metadata: dict[str, Any] = {
        "run": made.run.folder.name,
        "step": made.run.step,
        "seed": made.seed,
    }
    part = beside(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(save(tensors, {key: str(value) for key, value in metadata.items()}))
            os.replace(part, out)
        finally:
            part.unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        raise GanforgeError(f"cannot write {out}: {error}") from error


def _with_numbers(images: Tensor, seed: int) -> Tensor:
    """Each image with its seed in a corner; small ones are enlarged, so that it can be read."""
    import numpy as np
    import torch
    from PIL import Image, ImageDraw

    from ganforge.data.images import grid

    times = max(1, -(-_LEGIBLE // min(images.shape[2:])))
    large = images.repeat_interleave(times, 2).repeat_interleave(times, 3)
    tiles = []
    for number, image in enumerate(large, seed):
        picture = Image.fromarray(grid(image[None], 1))
        ink: Any = _INKS[picture.mode]
        draw = ImageDraw.Draw(picture)
        size = max(10, min(picture.size) // 10)
        text = str(number)
        draw.text((3, 1), text, fill=ink[0], stroke_width=1, stroke_fill=ink[1], font_size=size)
        pixels = np.array(picture)
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        tiles.append(torch.from_numpy(pixels.copy()))
    return torch.stack(tiles).float() / 127.5 - 1
