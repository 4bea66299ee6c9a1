"""Weight normalisation (arXiv:1704.03971), and the same networks with BatchNorm or neither."""

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
from ganforge_weight_norm.sizes import SMALLEST_IMAGE

Norm = Literal["weight", "batch", "none"]
NORM_HELP = "strict weight norm and TPReLU, BatchNorm and PReLU, or PReLU alone"


@options
class GeneratorOptions:
    width: int = option(64, at_least=1, help="channels before the image; each stage inwards x 2")
    norm: Norm = option("weight", help=NORM_HELP)


@options
class DiscriminatorOptions:
    width: int = option(64, at_least=1, help="channels after the first stage; then x 2 each")
    norm: Norm = option("weight", help=NORM_HELP)


def check_generator(options: Any, sources: tuple[Spec, ...], target: Spec) -> None:
    _check_image(target, "makes")
    for spec in sources:
        if isinstance(spec, ImageSpec | TextSpec):
            raise Impossible(
                "weight-normalised makes images from noise, labels and vectors, not from "
                f"{spec}; resnet-translator turns images into images"
            )


def check_discriminator(options: Any, judged: Spec, given: tuple[Spec, ...]) -> None:
    _check_image(judged, "judges")
    for spec in given:
        if isinstance(spec, TextSpec):
            raise Impossible(
                f"weight-normalised cannot be given {spec}: turn text into vectors first"
            )
        if isinstance(spec, ImageSpec) and spec.shape[1:] != judged.shape[1:]:
            raise Impossible(
                f"weight-normalised is given {spec} beside {judged}: both need the same height "
                "and width"
            )


def _check_image(spec: Spec, does: str) -> None:
    if not isinstance(spec, ImageSpec):
        raise Impossible(f"weight-normalised {does} images, not {spec}")
    if min(spec.height, spec.width) < SMALLEST_IMAGE:
        raise Impossible(
            f"weight-normalised needs images of at least {SMALLEST_IMAGE} x {SMALLEST_IMAGE} px, "
            f"not {spec.height} x {spec.width}; mlp takes any size"
        )


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "generator",
            "weight-normalised",
            "ganforge_weight_norm.networks:WeightNormalisedGenerator",
            GeneratorOptions,
            summary="Strictly weight-normalised convolutions, from vectors to images of any size",
            paper="arXiv:1704.03971",
            check=check_generator,
        ),
        Component(
            "discriminator",
            "weight-normalised",
            "ganforge_weight_norm.networks:WeightNormalisedDiscriminator",
            DiscriminatorOptions,
            summary="Strictly weight-normalised convolutions over images of any size",
            paper="arXiv:1704.03971",
            check=check_discriminator,
            offers=("features",),
        ),
    ]
