"""`ganforge walk [RUN]`: images on the way between samples, classes or texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ganforge.cli.run_options import look_options, open_folder, placed, replaced_note
from ganforge.interfaces.errors import GanforgeError
from ganforge.storage.run_folder import find_run

if TYPE_CHECKING:
    from ganforge.lab.latent_points import Place
    from ganforge.lab.walk import Walk
    from ganforge.planning.plan import GeneratorPlan
    from ganforge.runs.run import Run

_FRAMES = {".png": 8, ".gif": 24}  # from stop to stop
_MILLISECONDS = 60


@click.command()
@click.argument("run", required=False)
@click.option("--seeds", metavar="S,S,...", default=None, help="samples to walk between [0,1,2,3]")
@click.option("--labels", metavar="L,L,...", help="classes to walk between, from the first seed")
@click.option("--text", "texts", metavar="T", multiple=True, help="texts to walk between; repeated")
@click.option(
    "--frames", metavar="N", type=click.IntRange(min=1), help="images per leg [8; GIF 24]"
)
@click.option("--straight", is_flag=True, help="noise on a straight line, not on an arc")
@click.option("--json", "as_json", is_flag=True, help="print what was made as JSON")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="FILE.png: a strip, a line for each leg; FILE.gif: an animation",
)
@look_options
def command(
    run: str | None,
    seeds: str | None,
    labels: str | None,
    texts: tuple[str, ...],
    frames: int | None,
    straight: bool,
    as_json: bool,
    out: Path | None,
    generator: str | None,
    step: str,
    device: str,
    data: Path | None,
    plugin_files: tuple[Path, ...],
    without: tuple[str, ...],
) -> None:
    """Walk between samples of a trained generator.

    RUN is a run's folder or name; left out, the newest. A generator that memorised its stops jumps
    from one to the next, one that learned what lies between them glides: the line printed gives the
    largest step over the mean step.
    """
    numbers = _seeds(seeds)
    if labels and texts:
        raise GanforgeError("walk between --labels or between --text, not both at once")
    if out is not None and out.suffix.lower() not in _FRAMES:
        raise GanforgeError(f"cannot write {out.name}: --out takes FILE.png or FILE.gif")
    folder = find_run(run)
    opened = open_folder(folder, step, device, plugin_files, without, data)
    plan = opened.generator_plan(generator)
    _refuse_others(plan)
    stops = _stops(opened, plan, numbers, labels, texts)
    if len(stops) < 2:
        raise GanforgeError("a walk needs two stops or more, such as --seeds 0,1")
    usual = Path(f"{folder.name}-walk.png")
    form = (out or usual).suffix.lower()
    from ganforge.lab.walk import walk

    found = walk(opened, plan, stops, frames or _FRAMES[form], straight=straight)
    out, replaced = placed(out, usual, lambda p: _write(p, found, frames or _FRAMES[form]))
    if as_json:
        summary = {"unevenness": found.unevenness, "measured": found.seen_by, "out": str(out)}
        click.echo(json.dumps({"step": opened.step, "images": len(found.images), **summary}))
    else:
        click.echo(
            f"{len(found.images)} images between {len(stops)} stops of {folder.name} at step "
            f"{opened.step:,}, largest step {found.unevenness:.1f} times the mean "
            f"(by {found.seen_by}): {out}{replaced_note(replaced)}"
        )


def _refuse_others(plan: GeneratorPlan) -> None:
    from ganforge.interfaces.specs import ImageSpec

    if not isinstance(plan.target_spec, ImageSpec):
        raise GanforgeError(
            f"a walk shows pictures, and generator '{plan.name}' makes none ({plan.target_spec})"
        )


def _seeds(text: str | None) -> list[int]:
    words = [word.strip() for word in (text or "0,1,2,3").split(",")]
    if not all(word.isdecimal() for word in words):
        raise GanforgeError(f"--seeds takes whole numbers with commas between them, not '{text}'")
    return [int(word) for word in words]


def _stops(
    run: Run, plan: GeneratorPlan, seeds: list[int], labels: str | None, texts: tuple[str, ...]
) -> list[Place]:
    from ganforge.interfaces.specs import LabelSpec
    from ganforge.lab.latent_points import place, reads_text

    if labels is not None:
        if not any(isinstance(spec, LabelSpec) for _, spec in run.leaves(plan)):
            raise GanforgeError(f"generator '{plan.name}' is given no label: walk between --seeds")
        return [place(run, plan, seeds[0], label=label.strip()) for label in labels.split(",")]
    if texts and not reads_text(run, plan):
        raise GanforgeError(f"generator '{plan.name}' is given no text: walk between --seeds")
    if len(texts) > 1:
        return [place(run, plan, seeds[0], text=text) for text in texts]
    return [place(run, plan, seed, text=texts[0] if texts else None) for seed in seeds]


def _write(out: Path, walk: Walk, frames: int) -> None:
    """A strip has a line for each leg, ending where the next begins; a GIF goes there and back."""
    import torch

    from ganforge.data.images import grid, write_gif, write_png

    if out.suffix.lower() == ".gif":
        images = [grid(image[None], 1) for image in walk.images]
        write_gif(out, [*images, *images[-2:0:-1]], _MILLISECONDS)
        return
    starts = range(0, len(walk.images) - 1, frames)
    lines = [walk.images[start : start + frames + 1] for start in starts]
    write_png(out, grid(torch.cat(lines), frames + 1))
