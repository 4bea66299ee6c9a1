"""pix2pix (arXiv:1611.07004): translation that is learnt from pairs."""

from typing import Any, Literal

from ganforge.plugin import (
    Component,
    ImageSpec,
    Impossible,
    Spec,
    TextSpec,
    hookimpl,
    option,
    options,
)


@options
class UnetTranslatorOptions:
    width: int = option(64, at_least=1, help="channels after the first convolution")
    halvings: int | None = option(
        None, at_least=1, help="how often the image is halved; unset: until a side is one pixel"
    )
    dropout: float = option(
        0.5,
        at_least=0,
        below=1,
        help="share dropped in the innermost wide decoder layers, also when it is sampled",
    )
    norm: Literal["instance", "batch", "none"] = option(
        "instance", help="what follows each inner convolution, with a scale and a shift"
    )


@options
class PairedDistanceOptions:
    norm: Literal["l1", "l2"] = option("l1", help="absolute or squared difference")


@options
class PairedErrorOptions:
    count: int = option(64, at_least=1, help="held-out pairs that are translated")


def halvings(options: Any, image: ImageSpec) -> int:
    """How often a unet-translator for images of this size halves them."""
    most = min(image.height, image.width).bit_length() - 1
    return most if options.halvings is None else int(options.halvings)


def check_unet(options: Any, sources: tuple[Spec, ...], target: Spec) -> None:
    first = sources[0]
    if not isinstance(first, ImageSpec) or not isinstance(target, ImageSpec):
        raise Impossible(
            f"unet-translator turns an image (its first source) into an image, not {first} "
            f"into {target}"
        )
    for spec in (*sources, target):
        if isinstance(spec, TextSpec):
            raise Impossible(
                f"unet-translator cannot be given {spec}: turn text into vectors first"
            )
        if isinstance(spec, ImageSpec) and spec.shape[1:] != first.shape[1:]:
            raise Impossible(f"unet-translator needs images of one size, not {first} and {spec}")
    shorter = min(target.height, target.width)
    asked = options.halvings or 1
    if shorter < 2**asked:
        most = shorter.bit_length() - 1
        raise Impossible(
            f"unet-translator with halvings = {asked} needs sides of at least {2**asked} px, not "
            f"{target.height} x {target.width}: " + (f"take {most}" if most else "larger images"),
            key="halvings",
        )


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "generator",
            "unet-translator",
            "ganforge_pix2pix.unet_translator:UnetTranslator",
            UnetTranslatorOptions,
            summary="Encoder and decoder with skips, from image to image, of any size",
            paper="arXiv:1611.07004",
            check=check_unet,
        ),
        Component(
            "loss",
            "paired-distance",
            "ganforge_pix2pix.losses:PairedDistance",
            PairedDistanceOptions,
            summary="What is made of an image must be the one that it is paired with",
            paper="arXiv:1611.07004",
            needs={"generator": ("made", "truth")},
        ),
        Component(
            "metric",
            "paired-error",
            "ganforge_pix2pix.paired_error:PairedError",
            PairedErrorOptions,
            summary="How near translations come to the held-out images they are paired with",
        ),
    ]
