"""Random horizontal flips of everything that a discriminator sees."""

from typing import Any

from ganforge.plugin import Component, ImageSpec, Impossible, Spec, hookimpl, option, options


@options
class FlipOptions:
    p: float = option(0.5, at_least=0, at_most=1, help="share of the images that are flipped")


def views(options: Any, spec: Spec) -> dict[str, Spec]:
    if not isinstance(spec, ImageSpec):
        raise Impossible(f"flip mirrors images, not {spec}")
    return {"plain": spec}


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "augmentor",
            "flip",
            "ganforge_flip.flip:Flip",
            FlipOptions,
            summary="Mirrors real images and fakes left to right, at random",
            views=views,
        )
    ]
