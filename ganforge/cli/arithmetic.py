"""`ganforge arithmetic [RUN] FORMULA`: sums of samples, and the neighbours of the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganforge.cli.run_options import look_options, open_folder
from ganforge.interfaces.errors import GanforgeError
from ganforge.lab.sample_formula import parsed
from ganforge.storage.run_folder import find_run

if TYPE_CHECKING:
    import numpy as np

    from ganforge.lab.latent_arithmetic import Sum


_GAP = 8  # px between groups


@click.command()
@click.argument("words", metavar="[RUN] FORMULA", nargs=-1, required=True)
@click.option("--label", metavar="L", help="the class of all of them, by number or name")
@click.option("--text", metavar="T", help="the text of all of them")
@click.option(
    "--spread",
    metavar="X",
    type=click.FloatRange(min=0),
    default=0.25,
    help="how far the noise of the result's neighbours is from it [0.25]",
)
@click.option("--out", metavar="FILE.png", type=click.Path(path_type=Path), help="where to write")
@look_options
def command(
    words: tuple[str, ...],
    label: str | None,
    text: str | None,
    spread: float,
    out: Path | None,
    generator: str | None,
    step: str,
    device: str,
    data: Path | None,
    plugin_files: tuple[Path, ...],
    without: tuple[str, ...],
) -> None:
    """Add and subtract samples, as in "mean(3,8,11) - mean(2,5,9) + mean(1,4,7)".

    Numbers are seeds: `ganforge sample RUN --numbered` shows which are which. A row of the sheet
    holds the samples of one group and what their mean gives; below is the result, its neighbours
    around it. RUN is a run's folder or name; left out, the newest.
    """
    if len(words) > 2:
        raise GanforgeError('write the formula as one word: "mean(1,2) - 3 + 4"')
    groups = parsed(words[-1])
    if out is not None and out.suffix.lower() != ".png":
        raise GanforgeError(f"cannot write {out.name}: --out takes FILE.png")
    folder = find_run(words[0] if len(words) == 2 else None)
    opened = open_folder(folder, step, device, plugin_files, without, data)
    plan = opened.generator_plan(generator)
    from ganforge.data.images import write_png
    from ganforge.lab.latent_arithmetic import summed

    found = summed(opened, plan, groups, label=label, text=text, spread=spread)
    out = out or Path(f"{folder.name}-arithmetic.png")
    write_png(out, _sheet(found))
    click.echo(f"{words[-1]} of {folder.name} at step {opened.step:,}: {out}")


def _sheet(found: Sum) -> np.ndarray:
    """Samples and their mean, a row a group; below, the result amidst its neighbours."""
    import torch

    from ganforge.data.images import grid, tiled

    rows = [
        tiled([grid(samples, len(samples)), grid(mean, 1)], 2)
        for samples, mean in zip(found.samples, found.means, strict=True)
    ]
    around = torch.cat([found.neighbours[:4], found.result, found.neighbours[4:]])
    return tiled([*rows, grid(around, 3)], 1, down=_GAP)
