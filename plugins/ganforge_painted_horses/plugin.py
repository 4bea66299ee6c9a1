"""Painted horses and zebras: an embedded dataset that knows each picture's true counterpart."""

from ganforge.images import spec_under
from ganforge.plugin import (
    Component,
    DataDescription,
    ImageOptions,
    ImageSpec,
    Impossible,
    hookimpl,
    option,
    options,
)

SIZE = 64  # pixels, where the recipe says nothing
SMALLEST = 16  # pixels of the shorter side; below, no animal can be made out
ALIGNED = (("horse", "horse-truth", "horse-mask"), ("zebra", "zebra-truth", "zebra-mask"))


@options
class PaintedHorsesOptions:
    count: int = option(1000, at_least=1, help="training images of each species")
    held_out: int = option(100, at_least=1, help="held-out images of each species")
    seed: int = option(0, at_least=0, help="another seed paints other pictures")


@options
class TranslationTruthOptions:
    count: int = option(64, at_least=1, help="held-out images of each species to translate")


def describe(options: PaintedHorsesOptions, image: ImageOptions) -> DataDescription:
    spec = spec_under(image, channels=3, height=SIZE, width=SIZE)
    if spec.channels not in (1, 3):
        raise Impossible("painted-horses has 3 channels, or 1 for grey", key="channels")
    for key, (height, width) in (
        ("size", (spec.height, spec.width)),
        ("load", image.loaded_pixels(SIZE, SIZE)),
    ):
        if min(height, width) < SMALLEST:
            raise Impossible(
                f"painted-horses needs sides of at least {SMALLEST} px to show an animal, not "
                f"{height} x {width}",
                key=key,
            )
    mask = ImageSpec(1, spec.height, spec.width)
    domains = {
        domain: mask if domain.endswith("mask") else spec for group in ALIGNED for domain in group
    }
    counts = {"train": options.count, "test": options.held_out}
    return DataDescription(
        domains=domains,
        aligned=ALIGNED,
        counts={split: dict.fromkeys(domains, rows) for split, rows in counts.items()},
    )


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "dataset",
            "painted-horses",
            "ganforge_painted_horses.dataset:PaintedHorses",
            PaintedHorsesOptions,
            summary="Horses and zebras painted from a seed, unpaired, with their true counterparts",
            describe=describe,
        ),
        Component(
            "metric",
            "translation-truth",
            "ganforge_painted_horses.truth:TranslationTruth",
            TranslationTruthOptions,
            summary="How near translated painted-horses come to their true counterparts",
        ),
    ]
