"""Captioned shapes: an embedded dataset of drawn scenes, whose captions can be checked exactly."""

from typing import Literal

from ganforge.images import spec_under
from ganforge.plugin import (
    Component,
    DataDescription,
    ImageOptions,
    Impossible,
    TextSpec,
    hookimpl,
    option,
    options,
)
from ganforge_captioned_shapes.captions import LENGTH, VOCABULARY

SIZE = 64  # pixels, where the recipe says nothing
SMALLEST = 48  # pixels of the shorter side; below, small shapes cannot be told apart
LONGEST = 2  # how many times the shorter side the longer one may be
ALIGNED = ("image", "caption", "wrong-caption")


@options
class CaptionedShapesOptions:
    count: int = option(10_000, at_least=1, help="training images")
    held_out: int = option(
        1000, at_least=1, help="held-out images, of captions that training never sees"
    )
    objects: Literal[1, 2] = option(1, help="one thing in each scene, or as often two")
    unseen: float = option(
        0.2, above=0, at_most=0.5, help="share of what captions may say that is held out"
    )
    seed: int = option(0, at_least=0, help="another seed draws other scenes")


@options
class CaptionTruthOptions:
    count: int = option(500, at_least=1, help="held-out captions to make an image of")


def describe(options: CaptionedShapesOptions, image: ImageOptions) -> DataDescription:
    spec = spec_under(image, channels=3, height=SIZE, width=SIZE)
    if spec.channels != 3:
        raise Impossible("captioned-shapes needs 3 channels, to show colours", key="channels")
    if image.flip:
        raise Impossible("captioned-shapes cannot be flipped: left would be right", key="flip")
    if image.load is not None:
        raise Impossible(
            "captioned-shapes cannot be cropped: a crop may cut off what its caption says",
            key="load",
        )
    low, high = sorted((spec.height, spec.width))
    if low < SMALLEST or high > LONGEST * low:
        raise Impossible(
            f"captioned-shapes needs sides of at least {SMALLEST} px, the longer at most "
            f"{LONGEST} times the shorter, not {spec.height} x {spec.width}",
            key="size",
        )
    text = TextSpec(VOCABULARY, LENGTH)
    domains = {"image": spec, "caption": text, "wrong-caption": text}
    counts = {"train": options.count, "test": options.held_out}
    return DataDescription(
        domains=domains,
        aligned=(ALIGNED,),
        counts={split: dict.fromkeys(domains, rows) for split, rows in counts.items()},
        mismatched={"caption": "wrong-caption"},
    )


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "dataset",
            "captioned-shapes",
            "ganforge_captioned_shapes.dataset:CaptionedShapes",
            CaptionedShapesOptions,
            summary="Coloured shapes drawn from a seed, with true and false English captions",
            describe=describe,
        ),
        Component(
            "metric",
            "caption-truth",
            "ganforge_captioned_shapes.truth:CaptionTruth",
            CaptionTruthOptions,
            summary="What held-out captions say of the images that are made from them, checked",
        ),
    ]
