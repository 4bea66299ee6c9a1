"""The metric that shows how far discriminators know their training images by heart."""

from ganforge.plugin import Component, hookimpl, option, options


@options
class OverfittingOptions:
    count: int = option(1000, at_least=2, help="images of each kind; all, where there are fewer")
    seed: int = option(0, at_least=0, help="seed of the samples and of the augmentors")


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "metric",
            "overfitting",
            "ganforge_overfitting.overfitting:Overfitting",
            OverfittingOptions,
            summary="Whether D takes held-out images for training images, or for fakes",
            paper="arXiv:2006.06676",
        )
    ]
