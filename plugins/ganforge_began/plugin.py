"""BEGAN (arXiv:1703.10717): D is an autoencoder, and k holds the game in balance."""

from typing import Any, Literal

from ganforge.plugin import (
    Component,
    ImageSpec,
    Impossible,
    LabelSpec,
    NoiseSpec,
    Spec,
    VectorSpec,
    hookimpl,
    option,
    options,
)

VECTORS = (LabelSpec, NoiseSpec, VectorSpec)  # what can stand beside a code


@options
class BeganOptions:
    gamma: float = option(
        0.5, above=0, at_most=1, help="wanted L(G(z)) / L(x); lower: finer and less diverse images"
    )
    lambda_k: float = option(
        0.001, above=0, help="how fast k follows; runs of a few thousand steps want about 0.5"
    )


@options
class BeganGeneratorOptions:
    width: int = option(64, at_least=1, help="channels of every map (n in the paper)")
    layers: int = option(2, at_least=1, help="convolutions at each size")
    skip: bool = option(False, help="give a decoder's first maps to its larger ones too")
    output: Literal["tanh", "clamp"] = option("tanh", help="what brings images into [-1, 1]")


@options
class BeganDiscriminatorOptions:
    width: int = option(
        64, at_least=1, help="channels of the largest map; encoder: + width a halving (n)"
    )
    layers: int = option(2, at_least=1, help="convolutions at each size")
    skip: bool = option(False, help="give a decoder's first maps to its larger ones too")
    code: int = option(64, at_least=1, help="numbers in an image's code (h)")


def check_generator(options: Any, sources: tuple[Spec, ...], target: Spec) -> None:
    if not isinstance(target, ImageSpec):
        raise Impossible(f"began makes images, not {target}")
    for spec in sources:
        if not isinstance(spec, VECTORS):
            raise Impossible(f"began makes images from noise, labels and vectors, not from {spec}")


def check_discriminator(options: Any, judged: Spec, given: tuple[Spec, ...]) -> None:
    if not isinstance(judged, ImageSpec):
        raise Impossible(f"began reconstructs images, not {judged}")
    for spec in given:
        if not isinstance(spec, VECTORS):
            raise Impossible(f"began can be given labels and vectors beside its code, not {spec}")


@hookimpl
def ganforge_components() -> list[Component]:
    paper = "arXiv:1703.10717"
    return [
        Component(
            "generator",
            "began",
            "ganforge_began.autoencoder:BeganGenerator",
            BeganGeneratorOptions,
            summary="The autoencoder's decoder by itself: ELU, nearest upsampling, no norm",
            paper=paper,
            check=check_generator,
        ),
        Component(
            "discriminator",
            "began",
            "ganforge_began.autoencoder:BeganDiscriminator",
            BeganDiscriminatorOptions,
            summary="A convolutional autoencoder of images of any size; returns no scores",
            paper=paper,
            check=check_discriminator,
            offers=("reconstruction", "features"),
        ),
        Component(
            "loss",
            "began",
            "ganforge_began.losses:Began",
            BeganOptions,
            summary="D reconstructs real images well and fakes badly, as strongly as k says",
            paper=paper,
            needs={
                "discriminator": (
                    "real_seen",
                    "real_reconstruction",
                    "fake_seen",
                    "fake_reconstruction",
                ),
                "generator": ("fake_seen", "fake_reconstruction"),
            },
        ),
    ]
