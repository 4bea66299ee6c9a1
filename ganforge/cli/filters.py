"""`ganforge filters [RUN]`: what the filters of a network answer to, beside the untrained ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ganforge.cli.options import data_option, plugin_options
from ganforge.cli.run_options import open_folder, placed, replaced_note
from ganforge.interfaces.errors import GanforgeError
from ganforge.storage.run_folder import find_run

if TYPE_CHECKING:
    from ganforge.lab.filter_responses import Answers
    from ganforge.lab.filters import Look

_OVERVIEW, _ALONE = 8, 16  # filters shown of each layer, and of one that was named


@click.command()
@click.argument("run", required=False)
@click.option(
    "--network",
    metavar="NAME",
    help="discriminator, generator, or a name such as generators.main [the first discriminator]",
)
@click.option("--layer", metavar="N", type=click.IntRange(min=1), help="one layer, 1 is the first")
@click.option(
    "--filters", metavar="N", type=click.IntRange(min=1), help="filters of a layer [8; of one 16]"
)
@click.option("--json", "as_json", is_flag=True, help="print layers and patches as JSON")
@click.option("--out", metavar="FILE.png", type=click.Path(path_type=Path), help="where to write")
@click.option(
    "--step", metavar="N", default="last", help="a step that was kept, `last` (the default), `best`"
)
@click.option("--device", metavar="D", default="auto", help="auto, cpu, cuda or mps")
@data_option
@plugin_options
def command(
    run: str | None,
    network: str | None,
    layer: int | None,
    filters: int | None,
    as_json: bool,
    out: Path | None,
    step: str,
    device: str,
    data: Path | None,
    plugin_files: tuple[Path, ...],
    without: tuple[str, ...],
) -> None:
    """Show what a network's filters respond to, trained on the left, untrained on the right.

    First the weights that meet pixels. Then, for deeper layers, a line for each filter: the patches
    of training images that excite it most, and its guided backpropagation on them. For a generator
    that reads no image: patches of what it made, and what the filter adds there. RUN is a run's
    folder or name; left out, the newest.
    """
    if out is not None and out.suffix.lower() != ".png":
        raise GanforgeError(f"cannot write {out.name}: --out takes FILE.png")
    folder = find_run(run)
    opened = open_folder(folder, step, device, plugin_files, without, data)
    from ganforge.data.images import write_png
    from ganforge.lab.filter_networks import address_of
    from ganforge.lab.filters import look, sheet

    address = address_of(opened, network)
    shown = filters or (_OVERVIEW if layer is None else _ALONE)
    found = look(opened, address, layer, filters=shown)
    usual = Path(f"{folder.name}-filters.png")
    out, replaced = placed(out, usual, lambda path: write_png(path, sheet(found)))
    if as_json:
        click.echo(json.dumps({**_described(found), "out": str(out)}))
        return
    for one in found.layers:
        click.echo(f"{one.number:3}  {one.name:24} {one.kind:16} {' x '.join(map(str, one.shape))}")
    where = f"{out}{replaced_note(replaced)}"
    click.echo(f"{address} of {folder.name} at step {opened.step:,}: {where}")


def _described(found: Look) -> dict[str, Any]:
    return {
        "step": found.step,
        "network": found.subject.address,
        "images": len(found.subject.images),
        "layers": [
            {"number": one.number, "name": one.name, "kind": one.kind, "shape": list(one.shape)}
            for one in found.layers
        ],
        "shown": [
            {
                "layer": one.layer.number,
                "trained": _answered(one.trained),
                "untrained": _answered(one.untrained),
            }
            for one in found.compared
        ],
    }


def _answered(what: Answers) -> list[list[dict[str, Any]]]:
    """Of each filter its patches, the strongest first; boxes are top, left, bottom, right."""
    return [
        [
            {"image": row, "box": list(box), "strength": strength}
            for row, box, strength in zip(*line, strict=True)
        ]
        for line in zip(what.rows.tolist(), what.boxes, what.strength.tolist(), strict=True)
    ]
