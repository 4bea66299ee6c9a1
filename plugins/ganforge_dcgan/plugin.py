"""DCGAN (arXiv:1511.06434): convolutional networks for images of any size."""

from typing import Any, Literal

from ganforge.plugin import (
    Component,
    ImageSpec,
    Impossible,
    LabelSpec,
    Spec,
    TextSpec,
    hookimpl,
    option,
    options,
)
from ganforge_dcgan.sizes import smallest_image

Norm = Literal["batch", "none", "weight", "spectral"]
NORM_HELP = "BatchNorm, nothing, or convolutions with weight or spectral normalisation"


@options
class DcganGeneratorOptions:
    width: int = option(64, at_least=1, help="channels before the image; each stage inwards x 2")
    output: Literal["tanh", "clamp"] = option("tanh", help="what brings images into [-1, 1]")
    upsampling: Literal["transposed", "resize"] = option(
        "transposed", help="transposed convolutions, or nearest neighbour and a convolution"
    )
    kernel: Literal[3, 4, 5] | None = option(
        None, help="pixels a side of a kernel; unset: 4 for transposed, 3 for resize"
    )
    stride: Literal[2, 3] = option(2, help="how much each stage enlarges")
    norm: Norm = option("batch", help=NORM_HELP)


@options
class DcganDiscriminatorOptions:
    width: int = option(64, at_least=1, help="channels after the first stage; then x 2 each")
    kernel: Literal[3, 4, 5] = option(4, help="pixels a side of a kernel")
    stride: Literal[2, 3] = option(2, help="how much each stage shrinks")
    norm: Norm = option("batch", help=NORM_HELP)
    head: Literal["score", "classes", "classes-and-fake"] = option(
        "score", help="what it returns: one score, or a logit for each class, and perhaps for fakes"
    )


def check_generator(options: Any, sources: tuple[Spec, ...], target: Spec) -> None:
    _check_image(options, target, "makes")
    for spec in sources:
        if isinstance(spec, ImageSpec | TextSpec):
            raise Impossible(
                f"dcgan makes images from noise, labels and vectors, not from {spec}; "
                "resnet-translator turns images into images"
            )


def check_discriminator(
    options: Any, judged: Spec, given: tuple[Spec, ...], labels: LabelSpec | None = None
) -> None:
    _check_image(options, judged, "judges")
    if options.head != "score" and labels is None:
        raise Impossible(f'head = "{options.head}" needs data with labels', key="head")
    for spec in given:
        if isinstance(spec, TextSpec):
            raise Impossible(f"dcgan cannot be given {spec}: turn text into vectors first")
        if isinstance(spec, ImageSpec) and spec.shape[1:] != judged.shape[1:]:
            raise Impossible(
                f"dcgan is given {spec} beside {judged}: both need the same height and width"
            )


def _check_image(options: Any, spec: Spec, does: str) -> None:
    if not isinstance(spec, ImageSpec):
        raise Impossible(f"dcgan {does} images, not {spec}")
    least = smallest_image(options.stride)
    if min(spec.height, spec.width) < least:
        raise Impossible(
            f"dcgan with stride {options.stride} needs images of at least {least} x {least} px, "
            f"not {spec.height} x {spec.width}; mlp takes any size",
            key="stride" if options.stride > 2 else None,
        )


def discriminator_offers(options: Any) -> tuple[str, ...]:
    return ("features",) if options.head == "score" else ("features", "class_scores")


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "generator",
            "dcgan",
            "ganforge_dcgan.networks:DcganGenerator",
            DcganGeneratorOptions,
            summary="Upsampling convolutions from vectors to images of any size",
            paper="arXiv:1511.06434",
            check=check_generator,
        ),
        Component(
            "discriminator",
            "dcgan",
            "ganforge_dcgan.networks:DcganDiscriminator",
            DcganDiscriminatorOptions,
            summary="Strided convolutions over images of any size, down to one score",
            paper="arXiv:1511.06434",
            check=check_discriminator,
            offers=discriminator_offers,
        ),
    ]
