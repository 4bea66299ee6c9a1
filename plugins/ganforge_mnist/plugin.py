"""MNIST, and every data set that comes in its IDX files, such as Fashion-MNIST."""

from pathlib import Path

from ganforge import DataError
from ganforge.archives import FetchOptions
from ganforge.images import spec_under
from ganforge.plugin import (
    Component,
    DataDescription,
    ImageOptions,
    Impossible,
    LabelSpec,
    hookimpl,
    option,
    options,
)


@options
class MnistOptions(FetchOptions):
    root: Path = option(
        Path("data/mnist"), help="folder with the IDX files, in it or in raw or MNIST/raw below it"
    )
    fetch: str | None = option(
        "mnist", help="known archive to download when files are missing (`ganforge data list`)"
    )


def describe(options: MnistOptions, image: ImageOptions) -> DataDescription:
    """Sizes from the headers of the files; MNIST's own while they are still to be fetched."""
    from ganforge_mnist.idx import SPLITS, find

    height, width, counts = 28, 28, {"train": 60_000, "test": 10_000}
    missing = [
        stem for pair in SPLITS.values() for stem in pair if find(options.root, stem) is None
    ]
    if not missing:
        for split, (images, _) in SPLITS.items():
            counts[split], height, width = _shape(options.root, images)
    elif not options.must_fetch():
        raise Impossible(
            f"{options.root} lacks {', '.join(missing)} (as they are, or as .gz): set `root` to "
            'their folder, or `fetch = "mnist"` to download them',
            key="root",
        )
    spec = spec_under(image, channels=1, height=height, width=width)
    if spec.channels not in (1, 3):
        raise Impossible("grey images can have 1 channel, or 3 equal ones", key="channels")
    return DataDescription(
        domains={"image": spec, "label": LabelSpec(10, tuple("0123456789"))},
        aligned=(("image", "label"),),
        counts={split: {"image": rows, "label": rows} for split, rows in counts.items()},
    )


def _shape(root: Path, stem: str) -> tuple[int, ...]:
    """Images, height and width, from the header of a file that is there."""
    from ganforge_mnist.idx import find, shape

    try:
        return shape(find(root, stem), 3)
    except DataError as error:
        raise Impossible(str(error), key="root") from error


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "dataset",
            "mnist",
            "ganforge_mnist.dataset:Mnist",
            MnistOptions,
            summary="MNIST's handwritten digits and their labels, from torchvision's files",
            describe=describe,
        )
    ]
