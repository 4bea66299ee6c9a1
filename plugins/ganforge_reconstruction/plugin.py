"""The reconstruction loss (arXiv:1704.03971): how near a generator comes to images it never saw."""

from typing import Any, Literal

from ganforge.plugin import Component, Impossible, hookimpl, option, options


@options
class ReconstructionOptions:
    count: int = option(1000, at_least=1, help="held-out images")
    steps: int = option(320, at_least=1, help="steps of the search, each a pass through G and back")
    restarts: int = option(
        0, at_least=0, help="further searches for each image, from drawn noise; the best counts"
    )
    method: Literal["bfgs", "rmsprop"] = option(
        "bfgs", help="how to search; rmsprop is the paper's, with 50 steps"
    )
    lr: float | None = option(None, above=0, help="learning rate of rmsprop; unset: 0.01")
    batch: int = option(500, at_least=1, help="images at once; the figures hardly depend on it")


def check(options: Any) -> None:
    if options.lr is not None and options.method != "rmsprop":
        raise Impossible(f"{options.method} has no learning rate; it is rmsprop's", key="lr")


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "metric",
            "reconstruction",
            "ganforge_reconstruction.reconstruction:Reconstruction",
            ReconstructionOptions,
            summary="Squared error per pixel of the nearest image that G makes, over held-out ones",
            paper="arXiv:1704.03971",
            check=check,
        )
    ]
