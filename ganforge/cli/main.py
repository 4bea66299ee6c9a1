"""The command line. A command's module is imported only when it is used, so `--help` is instant."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import click

from ganforge import __version__
from ganforge.interfaces.errors import GanforgeError

# In click 8.1 a group without arguments prints its help by itself.
_NO_ARGUMENTS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())

_Section = dict[str, tuple[str, str]]

# Section -> command -> (module:object, one line of help).
SECTIONS: dict[str, _Section] = {
    "Train": {
        "run": (
            "ganforge.cli.run:command",
            "train a recipe; the same command again resumes",
        ),
        "sweep": (
            "ganforge.cli.sweep:command",
            "recipes x values x seeds as ordinary runs, or a search",
        ),
        "check": (
            "ganforge.cli.check:command",
            "find every mistake in a recipe before anything is built",
        ),
        "bench": (
            "ganforge.cli.bench:command",
            "time a recipe's steps here, and which switches make them faster",
        ),
        "runs": ("ganforge.cli.runs:command", "runs and their progress"),
    },
    "Look": {
        "sample": ("ganforge.cli.sample:command", "images from a trained generator"),
        "translate": (
            "ganforge.cli.translate:command",
            "turn image files into another domain, such as horses into zebras",
        ),
        "walk": (
            "ganforge.cli.walk:command",
            "interpolation between samples, classes or texts, as a strip or GIF",
        ),
        "arithmetic": (
            "ganforge.cli.arithmetic:command",
            "latent arithmetic, such as mean(3,8) - mean(2,5) + mean(1,4)",
        ),
        "filters": (
            "ganforge.cli.filters:command",
            "what a network's filters respond to, beside untrained ones",
        ),
        "nearest": (
            "ganforge.cli.nearest:command",
            "training images nearest to samples, and whether these are copies",
        ),
        "export": (
            "ganforge.cli.export:command",
            "generators as a folder that needs neither ganforge nor the run",
        ),
        "evaluate": (
            "ganforge.cli.evaluate:command",
            "metrics of a run, each with the protocol that produced it",
        ),
        "replay": (
            "ganforge.cli.replay:command",
            "replay a turn that was not finite, and show where it broke",
        ),
        "graph": (
            "ganforge.cli.graph:command",
            "losses, scores and accuracy of runs against their steps",
        ),
        "report": (
            "ganforge.cli.report:command",
            "runs as one HTML page: samples, graphs, metrics, walks, recipe",
        ),
    },
    "Discover": {
        "list": (
            "ganforge.cli.list_:command",
            "generators, losses, datasets, recipes, ... that are installed",
        ),
        "show": (
            "ganforge.cli.show:command",
            "one of them with its options, or a recipe with every default",
        ),
        "doctor": ("ganforge.cli.doctor:command", "versions, and problems with plugins"),
        "new": ("ganforge.cli.new:command", "write a plugin or a recipe to start from"),
        "schema": ("ganforge.cli.schema:command", "a JSON Schema of recipes, for editors"),
    },
    "Data": {
        "data": ("ganforge.cli.data:command", "fetch, verify and time datasets"),
    },
}
COMMANDS: _Section = {name: entry for part in SECTIONS.values() for name, entry in part.items()}

EXAMPLES = (
    ("ganforge run cyclegan-horse2zebra --preview", "a first training, in minutes"),
    ("ganforge list recipes", "what else there is to train"),
    ("ganforge run my.toml --set train.batch=32", "your own, one value changed"),
    ("ganforge sample", "images from the newest run"),
)
OPTIONS = (("--version", "print the version"), ("-h, --help", "print this, or a command's help"))


class Commands(click.Group):
    """Commands are imported when they are used, and errors are one line each."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"there is no command '{args[0]}'{_meant(args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.width = min(formatter.width, 88)
        formatter.write(
            f"{_bold('ganforge')}: games between networks, composed from plugins by recipes.\n\n"
        )
        _write_rows(formatter, EXAMPLES)
        column = max(len(name) for name in (*COMMANDS, *dict(OPTIONS))) + 2
        for section, commands in SECTIONS.items():
            formatter.write(f"\n{_bold(section)}\n")
            _write_rows(formatter, [(n, help) for n, (_, help) in commands.items()], column)
        formatter.write(f"\n{_bold('Options')}\n")
        _write_rows(formatter, OPTIONS, column)
        formatter.write("\n`ganforge COMMAND --help` says more about a command.\n")

    def invoke(self, ctx: click.Context) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a plugin's words may not fit a code page
        try:
            super().invoke(ctx)  # what a command returns is no exit status
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read us has seen enough; nothing more may be written, not even at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(141)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        def run() -> int | None:
            status: int | None = super(Commands, self).main(
                args, prog_name, complete_var, standalone_mode=False, **extra
            )
            return status

        if not standalone_mode:
            return run()
        status = _run_reporting_errors(run)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            # One of torchrun's processes: to take down what connects them may fail or wait for the
            # others, and would change the status by which torchrun knows what became of the run.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
        return sys.exit(status)


def _run_reporting_errors(run: Callable[[], int | None]) -> int:
    """Run, print every error on standard error, and return the exit status."""
    try:
        return run() or 0
    except (click.Abort, KeyboardInterrupt):
        return 130
    except click.UsageError as error:
        if isinstance(error, _NO_ARGUMENTS) and error.ctx:
            click.echo(error.ctx.get_help())
            return 0
        where = error.ctx.command_path if error.ctx else "ganforge"
        _error(_lowered(error.format_message()), [f"`{where} --help` shows what it takes"])
        return error.exit_code
    except click.ClickException as error:
        _error(_lowered(error.format_message()))
        return error.exit_code
    except GanforgeError as error:
        _print_error(error)
        return error.exit_status
    except (Exception, SystemExit) as error:
        import traceback

        from ganforge.registry.plugin_loader import raised_in_plugin

        whole = os.environ.get("GANFORGE_TRACEBACK", "") not in ("", "0")
        fault = raised_in_plugin(error)
        if fault and not whole:
            _error(f"plugin {fault}", ["GANFORGE_TRACEBACK=1 shows the traceback"])
            return 2
        if isinstance(error, SystemExit):
            raise
        traceback.print_exc()
        _error(f"this is a bug in ganforge {__version__} or in a plugin, and not your mistake")
        return 1


def _print_error(error: GanforgeError) -> None:
    from ganforge.recipes.problems import RecipeError, print_problems

    if isinstance(error, RecipeError):
        print_problems(error)
    else:
        _error(str(error), getattr(error, "notes", ()))


def _error(message: str, notes: Sequence[str] = ()) -> None:
    click.secho("error", fg="red", bold=True, err=True, nl=False)
    click.echo(f": {message}", err=True)
    for note in notes:
        click.echo(f"   = {note}", err=True)


def _lowered(message: str) -> str:
    """click's sentences as the rest of our messages are written."""
    return message[:1].lower() + message[1:].rstrip(".")


def _meant(word: str) -> str:
    """The command that a stranger's word, or a misspelt one, is meant for."""
    from ganforge.recipes.suggestions import foreign, nearest

    known = foreign(word, "command")
    close = [known] if known in COMMANDS else nearest(word, COMMANDS)
    return f"; did you mean '{close[0]}'?" if close else ""


def _bold(text: str) -> str:
    return click.style(text, bold=True)


def _write_rows(
    formatter: click.HelpFormatter, rows: Sequence[tuple[str, str]], column: int = 0
) -> None:
    column = column or max(len(first) for first, _ in rows) + 2
    with formatter.indentation():
        for first, second in rows:
            formatter.write_dl([(first.ljust(column - 2), second)], col_max=column, col_spacing=2)


@click.group(
    "ganforge",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "--version", message="ganforge %(version)s")
def main() -> None:
    """Games between networks, composed from plugins by recipes."""
