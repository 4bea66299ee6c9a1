"""Shows discriminators the gradient magnitude of each image, beside it or instead of it."""

from typing import Any, Literal

from ganforge.plugin import Component, ImageSpec, Impossible, Spec, hookimpl, option, options


@options
class GradientImageOptions:
    operator: Literal["finite", "sobel"] = option(
        "finite", help="differences of neighbouring pixels, or the Sobel operator"
    )
    mode: Literal["view", "stack", "only"] = option(
        "view",
        help="a second view beside the image, whose losses are added; more channels; or alone",
    )


def views(options: Any, spec: Spec) -> dict[str, Spec]:
    if not isinstance(spec, ImageSpec):
        raise Impossible(f"gradient-image is made from images, not from {spec}")
    if options.mode == "view":
        return {"plain": spec, "gradient": spec}
    if options.mode == "stack":
        return {"plain": ImageSpec(2 * spec.channels, spec.height, spec.width)}
    return {"plain": spec}


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "augmentor",
            "gradient-image",
            "ganforge_gradient_image.gradient_image:GradientImage",
            GradientImageOptions,
            summary="D also judges the gradient magnitude of each image",
            views=views,
        )
    ]
