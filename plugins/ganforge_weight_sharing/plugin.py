"""A generator that reuses the convolutions of its discriminator, and what it takes to train it."""

from typing import Any, Literal

from ganforge.plugin import (
    Component,
    ImageSpec,
    Impossible,
    LabelSpec,
    Ref,
    Spec,
    TextSpec,
    hookimpl,
    option,
    options,
)
from ganforge_weight_sharing.sizes import SMALLEST_IMAGE, fewest


@options
class MirroredOptions:
    layers: int = option(
        4, at_least=2, at_most=10, help="convolutions; those that the size does not need keep it"
    )
    width: int = option(32, at_least=1, help="channels of the first map size; then x 2 each")
    norm: Literal["batch", "none", "spectral", "weight"] = option(
        "batch", help="BatchNorm, nothing, or convolutions with spectral or weight normalisation"
    )


@options
class WeightSharingOptions:
    discriminator: Ref = option(
        Ref("discriminators.main"), help="whose convolutions it reuses; the hook weight-sync copies"
    )
    cut: Literal["activations", "weights"] = option(
        "weights",
        help="what gets no gradient at a shared convolution: all that went into it, or its weights",
    )
    residual: bool = option(
        True, help="each block's first transposed convolution also joins the sum at its end"
    )
    even: bool = option(
        True,
        help="the 1 x 1 path begins as loud as D's convolution beside it, else much quieter",
    )
    balanced: bool = option(False, help="scale each label's row to the length that the noise has")
    norm: Literal["batch", "none"] = option("batch", help="BatchNorm of its own, or nothing")


@options
class WeightSyncOptions:
    every: int = option(10, at_least=1, help="steps from one copy to the next")


@options
class SameLabelDifferenceOptions:
    floor: float = option(
        0.1, above=0, help="added to the ratio of differences, so that no pair costs over 1 / floor"
    )


@options
class CutGradientOptions:
    count: int = option(256, at_least=2, help="samples whose gradient is measured, in one batch")
    seed: int = option(0, at_least=0, help="seed of the first sample; the others follow")


def check_mirrored(
    options: Any, judged: Spec, given: tuple[Spec, ...], labels: LabelSpec | None
) -> None:
    if not isinstance(judged, ImageSpec):
        raise Impossible(f"mirrored judges images, not {judged}")
    if given:
        raise Impossible("mirrored classifies what it sees, so it is given no condition")
    if labels is None:
        raise Impossible("mirrored is a classifier, and the data has no labels; dcgan needs none")
    if min(judged.height, judged.width) < SMALLEST_IMAGE:
        raise Impossible(
            f"mirrored needs images of at least {SMALLEST_IMAGE} x {SMALLEST_IMAGE} px, not "
            f"{judged.height} x {judged.width}"
        )
    least = fewest(judged.height, judged.width)
    if options.layers < least:
        raise Impossible(
            f"mirrored needs at least {least} layers for {judged.height} x {judged.width} px, "
            f"not {options.layers}",
            key="layers",
        )


def check_weight_sharing(options: Any, sources: tuple[Spec, ...], target: Spec) -> None:
    if not isinstance(target, ImageSpec):
        raise Impossible(f"weight-sharing makes images, not {target}")
    if sum(isinstance(spec, LabelSpec) for spec in sources) != 1:
        raise Impossible('weight-sharing needs one label (`from = ["noise", "label"]`)')
    for spec in sources:
        if isinstance(spec, ImageSpec | TextSpec):
            raise Impossible(f"weight-sharing makes images from noise and a label, not from {spec}")


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "discriminator",
            "mirrored",
            "ganforge_weight_sharing.mirrored:MirroredDiscriminator",
            MirroredOptions,
            summary="A classifier with a class for fakes, whose layers a generator can walk back",
            check=check_mirrored,
            offers=("class_scores", "features"),
        ),
        Component(
            "generator",
            "weight-sharing",
            "ganforge_weight_sharing.generator:WeightSharingGenerator",
            WeightSharingOptions,
            summary="Walks a discriminator's layers back and reuses its convolutions",
            check=check_weight_sharing,
        ),
        Component(
            "hook",
            "weight-sync",
            "ganforge_weight_sharing.weight_sync:WeightSync",
            WeightSyncOptions,
            summary="Copies discriminators' convolutions and class rows into generators",
        ),
        Component(
            "metric",
            "cut-gradient",
            "ganforge_weight_sharing.cut_gradient:CutGradient",
            CutGradientOptions,
            summary="How far the gradient of a weight-sharing generator is from an uncut one",
        ),
        Component(
            "loss",
            "same-label-difference",
            "ganforge_weight_sharing.losses:SameLabelDifference",
            SameLabelDifferenceOptions,
            summary="G is rewarded where images of one label differ as their noise does",
            paper="arXiv:1903.05628",
            needs={"generator": ("fake", "fake_labels", "fake_latents")},
        ),
    ]
