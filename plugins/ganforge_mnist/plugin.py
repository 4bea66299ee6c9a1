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
    labelled: int | None = option(
        None,
        at_least=1,
        help="training images whose labels are known, as many of each class; unset: all",
    )
    wrong_labels: float = option(
        0.0,
        at_least=0,
        at_most=1,
        help="share of training images whose label is another class, drawn once",
    )
    label_seed: int = option(
        0, at_least=0, help="what is labelled, and what wrongly, follows from it"
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
    label = LabelSpec(10, tuple("0123456789"))
    if options.labelled is None:
        return DataDescription(
            domains={"image": spec, "label": label},
            aligned=(("image", "label"),),
            counts={split: {"image": rows, "label": rows} for split, rows in counts.items()},
        )
    if options.labelled > counts["train"]:
        raise Impossible(
            f"there are {counts['train']:,} training images, so no {options.labelled:,} of them "
            "can be labelled",
            key="labelled",
        )
    known = {"train": options.labelled, "test": counts["test"]}
    return DataDescription(
        domains={"image": spec, "labelled-image": spec, "label": label},
        aligned=(("labelled-image", "label"),),
        counts={
            split: {"image": rows, "labelled-image": known[split], "label": known[split]}
            for split, rows in counts.items()
        },
        labelled={"image": "labelled-image"},
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
