"""`ganforge nearest [RUN]`: training images nearest to samples, and whether these are copies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from ganforge.cli.run_options import look_options, open_folder, placed, replaced_note
from ganforge.interfaces.errors import GanforgeError
from ganforge.storage.run_folder import find_run

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ganforge.lab.features import Eye
    from ganforge.lab.nearest import Copying
    from ganforge.planning.plan import GeneratorPlan
    from ganforge.runs.run import Run

_SHOWN = 5  # nearest images beside each sample
_MOST = 20_000  # training images; of more, evenly spread ones
_TRIED = 1_000  # samples, and held-out images, that the score compares
_GAP = 12  # px between the two halves of the sheet


@click.command()
@click.argument("run", required=False)
@click.option(
    "--count", metavar="N", type=click.IntRange(min=1), default=8, help="samples shown [8]"
)
@click.option("--label", metavar="L", help="one class, by number or name; by default all in turn")
@click.option("--text", metavar="T", help="what to show; by default held-out texts in turn")
@click.option("--seed", metavar="S", type=click.IntRange(min=0), default=0, help="of the first [0]")
@click.option("--json", "as_json", is_flag=True, help="print the score as JSON")
@click.option("--out", metavar="FILE.png", type=click.Path(path_type=Path), help="where to write")
@look_options
def command(
    run: str | None,
    count: int,
    label: str | None,
    text: str | None,
    seed: int,
    as_json: bool,
    out: Path | None,
    generator: str | None,
    step: str,
    device: str,
    data: Path | None,
    plugin_files: tuple[Path, ...],
    without: tuple[str, ...],
) -> None:
    """Show the training images nearest to samples, and say whether the generator copies.

    Each line of the sheet is a sample and the five training images nearest to it, left by pixels,
    right by the discriminator's features. The score compares 1,000 samples with held-out images:
    0.5 where both are as near to training images, 1 where every sample is a copy. RUN is a run's
    folder or name; left out, the newest.
    """
    if out is not None and out.suffix.lower() != ".png":
        raise GanforgeError(f"cannot write {out.name}: --out takes FILE.png")
    folder = find_run(run)
    opened = open_folder(folder, step, device, plugin_files, without, data)
    plan = opened.generator_plan(generator)
    if opened.plan.domains[plan.target].origin not in ("data", "derived"):
        raise GanforgeError(
            f"generator '{plan.name}' makes {plan.target_spec}, of which the data has no images"
        )
    _refuse_others(plan)
    from ganforge.data.images import write_png
    from ganforge.lab import features

    samples = opened.sample(count, label=label, text=text, seed=seed, generator=plan.name)
    training = opened.training(plan.target, _MOST).cpu()
    eyes = [features.pixels()]
    own = features.discriminator(opened, plan.target)
    pixels = _sheet(samples, training, [*eyes, own] if own else eyes)
    usual = Path(f"{folder.name}-nearest.png")
    out, replaced = placed(out, usual, lambda path: write_png(path, pixels))
    copied = _score(opened, plan, training, eyes[0])
    if as_json:
        summary = {} if copied is None else attrs.asdict(copied) | {"memorised": copied.memorised}
        click.echo(json.dumps({"step": opened.step, **summary, "out": str(out)}))
        return
    where = f"{out}{replaced_note(replaced)}"
    click.echo(f"{count} samples of {folder.name} at step {opened.step:,}: {where}")
    click.echo(_conclusion(copied))


def _refuse_others(plan: GeneratorPlan) -> None:
    from ganforge.interfaces.specs import ImageSpec

    if not isinstance(plan.target_spec, ImageSpec):
        raise GanforgeError(
            f"nearest compares pictures, and generator '{plan.name}' makes none "
            f"({plan.target_spec})"
        )


def _sheet(samples: Tensor, training: Tensor, eyes: list[Eye]) -> np.ndarray:
    """For each way to look a block: a line is a sample and what is nearest to it."""
    import torch

    from ganforge.data.images import grid, tiled
    from ganforge.lab.nearest import nearest

    blocks = []
    for eye in eyes:
        _, rows = nearest(eye.see(samples), eye.see(training), _SHOWN)
        lines = torch.cat([samples[:, None], training[rows]], 1)
        blocks.append(grid(lines.flatten(0, 1), lines.shape[1]))
    return tiled(blocks, len(blocks), across=_GAP)


def _score(run: Run, plan: GeneratorPlan, training: Tensor, eye: Eye) -> Copying | None:
    """None where no images are held out to compare with."""
    from ganforge.lab.nearest import copying

    of = run.plan.domains[plan.target].of or plan.target
    if not run.dataset().count("test", of):
        return None
    held_out = run.held_out(plan.target, _TRIED).cpu()
    samples = run.sample(_TRIED, generator=plan.name)
    return copying(samples, held_out, training, eye)


def _conclusion(copied: Copying | None) -> str:
    if copied is None:
        return "no images are held out (`data.holdout`), so nothing says whether these are copies"
    return (
        f"{_decided(copied)} ({copied.samples:,} samples against {copied.held_out:,} held-out "
        f"images, {copied.training:,} training images, by {copied.seen_by})"
    )


def _decided(copied: Copying) -> str:
    """The verdict, and what decides it: copies are nearer than held-out images on the whole, and
    many of them are much nearer to a single image."""
    from ganforge.lab.nearest import COPIES

    nearer = f"score {copied.score:.2f} where 0.5 is chance, p {copied.p:.2g}"
    close = f"{copied.copies:.0%} are nearer to one image than 99% of held-out images are"
    if copied.memorised:
        return f"the generator copies: samples lie nearer to training images ({nearer}); {close}"
    if not copied.nearer:
        return (
            "no sign of copying: samples lie no nearer to training images than held-out images do "
            f"({nearer}); {close}"
        )
    return (
        f"no sign of copying: samples lie nearer to training images as a whole ({nearer}), but not "
        f"to single ones, which decides: {close}, and copying takes more than {COPIES:.0%}"
    )
