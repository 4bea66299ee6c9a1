"""CycleGAN (arXiv:1703.10593): translation between two domains without pairs."""

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
class ResnetTranslatorOptions:
    width: int = option(64, at_least=1, help="channels at full size; each downsampling x 2")
    blocks: int = option(9, at_least=0, help="residual blocks (the paper: 9, and 6 at 128 px)")
    downsamplings: int = option(2, at_least=0, help="how often the image is halved and doubled")
    dropout: float = option(
        0.0, at_least=0, below=1, help="share dropped inside each residual block"
    )
    output: Literal["image", "difference"] = option(
        "image", help="whether the layers make the image or what is added to the source"
    )


@options
class PatchganOptions:
    width: int = option(64, at_least=1, help="channels after the first convolution")
    layers: int = option(
        3, at_least=1, help="convolutions that halve; 3 judge 70 x 70 px patches, 2 34, 1 16"
    )
    norm: Literal["instance", "batch", "none", "weight", "spectral"] = option(
        "instance",
        help="what follows each inner convolution, or weight or spectral normalisation of all",
    )


@options
class DistanceOptions:
    norm: Literal["l1", "l2"] = option("l1", help="absolute or squared difference")


@options
class ImagePoolOptions:
    size: int = option(50, at_least=1, help="fakes kept for each discriminator")


def check_translator(options: Any, sources: tuple[Spec, ...], target: Spec) -> None:
    first = sources[0]
    if not isinstance(first, ImageSpec) or not isinstance(target, ImageSpec):
        raise Impossible(
            f"resnet-translator turns an image (its first source) into an image, not {first} "
            f"into {target}"
        )
    _check_conditions("resnet-translator", (*sources, target), first)
    if options.output == "difference" and sources[0] != target:
        raise Impossible(
            f"a difference is added to the source, so {sources[0]} cannot become {target}; "
            'write `output = "image"`',
            key="output",
        )
    multiple = 2**options.downsamplings
    least = max(2 * multiple, 4)  # reflection needs 2 px inside and 4 px outside
    for side, length in (("height", first.height), ("width", first.width)):
        if length % multiple or length < least:
            below, above = length // multiple * multiple, -(-length // multiple) * multiple
            fitting = sorted({max(below, least), max(above, least)})
            raise Impossible(
                f"resnet-translator with {options.downsamplings} downsamplings needs sides "
                f"divisible by {multiple} and of at least {least} px; {side} {length} is not: "
                f"take {' or '.join(map(str, fitting))}"
            )


def check_patchgan(options: Any, judged: Spec, given: tuple[Spec, ...]) -> None:
    if not isinstance(judged, ImageSpec):
        raise Impossible(f"patchgan judges images, not {judged}")
    _check_conditions("patchgan", given, judged)
    shorter = min(judged.height, judged.width)
    if shorter < smallest_patch_image(options.layers):
        fewer = [n for n in range(1, options.layers) if smallest_patch_image(n) <= shorter]
        remedy = f"take layers = {fewer[-1]}, or " if fewer else ""
        raise Impossible(
            f"patchgan with layers = {options.layers} needs sides of at least "
            f"{smallest_patch_image(options.layers)} px, not {judged.height} x {judged.width}: "
            f"{remedy}larger images",
            key="layers",
        )


def smallest_patch_image(layers: int) -> int:
    """Pixels a side that leave one score: halved `layers` times, then twice a pixel less."""
    return 3 * 2**layers


def _check_conditions(name: str, specs: tuple[Spec, ...], image: ImageSpec) -> None:
    for spec in specs:
        if isinstance(spec, TextSpec):
            raise Impossible(f"{name} cannot be given {spec}: turn text into vectors first")
        if isinstance(spec, ImageSpec) and spec.shape[1:] != image.shape[1:]:
            raise Impossible(f"{name} needs images of one size, not {image} and {spec}")


def pool_views(options: Any, spec: Spec) -> dict[str, Spec]:
    if isinstance(spec, TextSpec):
        raise Impossible(f"image-pool keeps images, not {spec}")
    return {"plain": spec}


def check_pool(options: Any, judged: Spec, given: tuple[Spec, ...]) -> None:
    if given:
        raise Impossible(
            f"image-pool keeps fakes without their conditions, and a discriminator is given "
            f"{', '.join(map(str, given))}: leave it out, or put it `on` others"
        )


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "generator",
            "resnet-translator",
            "ganforge_cyclegan.resnet_translator:ResnetTranslator",
            ResnetTranslatorOptions,
            summary="Residual blocks between down- and upsampling, from image to image",
            paper="arXiv:1703.10593",
            check=check_translator,
        ),
        Component(
            "discriminator",
            "patchgan",
            "ganforge_cyclegan.patchgan:Patchgan",
            PatchganOptions,
            summary="A score for every patch of the image",
            paper="arXiv:1611.07004",
            check=check_patchgan,
            offers=("features",),
        ),
        Component(
            "loss",
            "cycle-consistency",
            "ganforge_cyclegan.losses:CycleConsistency",
            DistanceOptions,
            summary="Translating there and back must give the original image",
            paper="arXiv:1703.10593",
            needs={"generator": ("source", "cycled")},
        ),
        Component(
            "loss",
            "identity",
            "ganforge_cyclegan.losses:Identity",
            DistanceOptions,
            summary="A generator leaves images of its own target domain as they are",
            paper="arXiv:1703.10593",
            needs={"generator": ("real", "same")},
        ),
        Component(
            "augmentor",
            "image-pool",
            "ganforge_cyclegan.image_pool:ImagePool",
            ImagePoolOptions,
            summary="Shows D half of its fakes from a pool of earlier ones, without conditions",
            paper="arXiv:1612.07828",
            check=check_pool,
            views=pool_views,
        ),
    ]
