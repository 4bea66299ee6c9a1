"""The checkerboard metric: whether a generator's grid of strides shows in its images."""

from ganforge.plugin import Component, hookimpl, option, options


@options
class CheckerboardOptions:
    stride: int = option(
        2, at_least=2, help="period in pixels: the stride of the generator's last stage"
    )
    count: int = option(1000, at_least=1, help="samples, and held-out images beside them")
    seed: int = option(0, at_least=0, help="seed of the first sample; the others follow")


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "metric",
            "checkerboard",
            "ganforge_checkerboard.checkerboard:Checkerboard",
            CheckerboardOptions,
            summary="How unevenly fine detail lies on the grid of a generator's strides",
        )
    ]
