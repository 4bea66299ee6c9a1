"""The hooks that watch a run: what is printed, measured, kept and drawn while it trains."""

from importlib.util import find_spec
from typing import Any, Literal

from ganforge.plugin import Component, Impossible, hookimpl, option, options


@options
class ProgressOptions:
    every: float = option(
        5.0, above=0, help="seconds between two lines, where the output is no terminal"
    )


@options
class MetricsOptions:
    every: int = option(50, at_least=1, help="steps between two lines of metrics.jsonl")
    evaluate: int = option(
        0, at_least=0, help="steps between two measurements of [metrics]; 0: only at the end"
    )


@options
class CheckpointOptions:
    every: int = option(1000, at_least=1, help="steps between two checkpoints")
    minutes: float = option(
        5.0, at_least=0, help="minutes after which one is saved before it is due; 0: never"
    )
    keep: int = option(3, at_least=1, help="newest checkpoints that are kept")
    keep_every: int = option(
        0, at_least=0, help="steps between two checkpoints that are kept for good; 0: none"
    )
    best: str | None = option(
        None, help="a figure, metric/NAME/FIGURE: the checkpoint that has the best is kept"
    )
    better: Literal["lower", "higher"] | None = option(
        None, help="which way the figure of `best` is better"
    )


def check_checkpoint(options: Any) -> None:
    if options.keep_every % options.every:
        raise Impossible(
            f"`keep_every` must be a multiple of `every`, {options.every:,}", key="keep_every"
        )
    if options.best is None:
        return
    kind, *rest = options.best.split("/")
    if kind != "metric" or len(rest) < 2:
        raise Impossible(
            "`best` names a figure as metrics.jsonl does: metric/NAME/FIGURE", key="best"
        )
    if rest[-1] == "seconds":
        raise Impossible(
            f"`{options.best}` is wall-clock time, which must not choose a checkpoint", key="best"
        )
    if options.better is None:
        raise Impossible(
            '`best` needs `better = "lower"` or `better = "higher"` beside it', key="best"
        )


@options
class SamplesOptions:
    every: int = option(500, at_least=1, help="steps between two sheets")
    count: int = option(64, at_least=1, help="images on a sheet")
    columns: int | None = option(
        None,
        at_least=1,
        help="tiles side by side; unset: about as many as rows, or one a class",
    )
    snapshots: int = option(
        10, at_least=2, help="sheets whose generators are kept, spread evenly over the run"
    )


@options
class CollapseOptions:
    every: int = option(50, at_least=1, help="steps between two checks")
    window: int = option(1000, at_least=1, help="steps for which it must last")
    spread: float = option(
        0.1,
        at_least=0,
        below=1,
        help="of real images' pixel deviation; below it, fakes are all alike",
    )
    stop: bool = option(False, help="end the run, with a checkpoint, besides warning")


@options
class TensorboardOptions:
    every: int = option(50, at_least=1, help="steps between two points of a curve")


def check_tensorboard(options: Any) -> None:
    if find_spec("tensorboard") is None:
        raise Impossible(
            "the hook tensorboard needs a package that is not installed: "
            'pip install "ganforge[tensorboard]"'
        )


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "hook",
            "progress",
            "ganforge_watch.progress:Progress",
            ProgressOptions,
            summary="Reports what a run costs and how far it is",
        ),
        Component(
            "hook",
            "metrics",
            "ganforge_watch.metrics:Metrics",
            MetricsOptions,
            summary="Writes losses, scores and metrics to metrics.jsonl",
        ),
        Component(
            "hook",
            "checkpoint",
            "ganforge_watch.checkpoint:Checkpoint",
            CheckpointOptions,
            summary="Saves everything a run needs to go on",
            check=check_checkpoint,
        ),
        Component(
            "hook",
            "samples",
            "ganforge_watch.samples:Samples",
            SamplesOptions,
            summary="Sheets of sample images from fixed noise or inputs, and a GIF of them",
        ),
        Component(
            "hook",
            "collapse-alarm",
            "ganforge_watch.collapse:CollapseAlarm",
            CollapseOptions,
            summary="Warns once where D is always right, or the fakes are all alike",
        ),
        Component(
            "hook",
            "tensorboard",
            "ganforge_watch.tensorboard:Tensorboard",
            TensorboardOptions,
            summary="Curves and sheets for TensorBoard, in the run folder's tensorboard/",
            check=check_tensorboard,
        ),
    ]
