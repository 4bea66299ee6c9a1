"""Hooks that act when a number stops getting better: `lower-lr` and `early-stopping`."""

from typing import Any, Literal

from ganforge.plugin import Component, Impossible, hookimpl, option, options


@options
class LowerLrOptions:
    watch: str = option(
        help="a logged number, such as adversarial/convergence, or a metric's figure, "
        "metric/NAME/FIGURE"
    )
    window: int = option(
        10_000, at_least=1, help="steps over which its mean is taken; a figure counts as it is"
    )
    threshold: float = option(
        0.9999, above=0, help="lowered if a mean is not below this times the one before"
    )
    factor: float = option(0.5, above=0, below=1, help="factor for the learning rates")
    better: Literal["lower", "higher"] = option("lower", help="which way is better")


@options
class EarlyStoppingOptions:
    watch: str = option(help="a logged number, or a metric's figure, metric/NAME/FIGURE")
    window: int = option(
        10_000, at_least=1, help="steps over which its mean is taken; a figure counts as it is"
    )
    patience: int = option(3, at_least=1, help="windows, or figures, without a new best")
    better: Literal["lower", "higher"] = option("lower", help="which way is better")


def check(options: Any) -> None:
    """Refuse to steer by the clock: then the same recipe would give other runs."""
    if options.watch.rpartition("/")[2] == "seconds":
        raise Impossible(
            f"`{options.watch}` is wall-clock time, which must not steer a run", key="watch"
        )


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "hook",
            "lower-lr",
            "ganforge_plateau.lower_lr:LowerLr",
            LowerLrOptions,
            summary="Lowers every learning rate when a logged number or a metric gets no better",
            paper="arXiv:1703.10717",
            check=check,
        ),
        Component(
            "hook",
            "early-stopping",
            "ganforge_plateau.early_stopping:EarlyStopping",
            EarlyStoppingOptions,
            summary="Ends the run when a logged number or a metric gets no better",
            check=check,
        ),
    ]
