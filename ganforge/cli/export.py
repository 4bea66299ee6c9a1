"""`ganforge export [RUN] --out DIR`: generators as files that need neither ganforge nor the run."""

from __future__ import annotations

from pathlib import Path

import click

from ganforge.cli.run_options import look_options, open_folder
from ganforge.interfaces.errors import GanforgeError
from ganforge.storage.run_folder import find_run


@click.command()
@click.argument("run", required=False)
@click.option(
    "--out", metavar="DIR", required=True, type=click.Path(path_type=Path), help="where to write"
)
@click.option("--onnx", is_flag=True, help="also write NAME.onnx for each generator")
@look_options
def command(
    run: str | None,
    out: Path,
    onnx: bool,
    generator: str | None,
    step: str,
    device: str,
    data: Path | None,
    plugin_files: tuple[Path, ...],
    without: tuple[str, ...],
) -> None:
    """Write a run's generators into a folder that needs torch and safetensors, and no ganforge.

    DIR/generate.py makes what `ganforge sample` and `ganforge translate` make, bit for bit, which
    is tried before this ends, and so is each NAME.onnx; where anything differs, nothing is written.
    RUN is a run's folder or name; left out, the newest.
    """
    if out.is_file() or (
        out.is_dir() and any(out.iterdir()) and not (out / "networks.py").exists()
    ):
        raise GanforgeError(f"{out} already exists; give --out the name of a new folder")
    folder = find_run(run)
    opened = open_folder(folder, step, device, plugin_files, without, data)
    from ganforge.lab.export_folder import export

    try:
        names = export(opened, out, generator, onnx=onnx)
    except OSError as error:
        raise GanforgeError(f"cannot write {out}: {error.strerror or error}") from error
    click.echo(f"{folder.name} at step {opened.step:,}: {out} ({', '.join(names)})")
    click.echo(f"try it with `python {out / 'generate.py'} --help`")
