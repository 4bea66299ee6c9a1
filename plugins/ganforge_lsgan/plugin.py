"""Least squares instead of cross-entropy (arXiv:1611.04076)."""

from typing import Any

from ganforge.plugin import Component, Impossible, hookimpl, option, options

BOUNDS = {"at_least": -100, "at_most": 100}  # of scores


@options
class LeastSquaresOptions:
    real: float = option(1.0, **BOUNDS, help="score that D gives to real data (b in the paper)")
    fake: float = option(0.0, **BOUNDS, help="score that D gives to fakes (a in the paper)")
    wanted: float = option(1.0, **BOUNDS, help="score that G wants for its fakes (c in the paper)")


def check(options: Any) -> None:
    if options.real <= options.fake:
        raise Impossible(
            f"least-squares needs real above fake, not real = {options.real:g} and "
            f"fake = {options.fake:g}",
            key="real",
        )


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "loss",
            "least-squares",
            "ganforge_lsgan.losses:LeastSquares",
            LeastSquaresOptions,
            summary="Mean squared error of raw scores to a target for each side",
            paper="arXiv:1611.04076",
            check=check,
            needs={"discriminator": ("real_scores", "fake_scores"), "generator": ("fake_scores",)},
        )
    ]
