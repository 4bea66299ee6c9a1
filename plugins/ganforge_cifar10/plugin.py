"""CIFAR-10 (Krizhevsky 2009): 60,000 small photographs in ten classes, from its binary version."""

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
from ganforge_cifar10 import binary


@options
class Cifar10Options(FetchOptions):
    root: Path = option(
        Path("data/cifar10"),
        help="folder with the archive, or with the .bin files in it or in cifar-10-batches-bin",
    )
    fetch: str | None = option(
        "cifar10", help="known archive to download when files are missing (`ganforge data list`)"
    )
    classes: list[binary.Class] | None = option(
        None, help="classes that are kept, numbered in this order; unset: all ten"
    )

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the classes that are kept, in the order of their numbers."""
        return binary.CLASSES if self.classes is None else tuple(self.classes)

    def must_fetch(self) -> bool:
        """Whether the archive is wanted: not where its files lie unpacked."""
        return super().must_fetch() and binary.source(self.root) is None


def describe(options: Cifar10Options, image: ImageOptions) -> DataDescription:
    """Rows from the files; the public archive's while it is still to be fetched or unread."""
    chosen = options.chosen
    if not chosen or len(set(chosen)) < len(chosen):
        raise Impossible(
            "`classes` names each class that is kept once; leave it out to keep all ten",
            key="classes",
        )
    spec = spec_under(image, channels=3, height=32, width=32)
    if spec.channels not in (1, 3):
        raise Impossible("colour images can have 3 channels, or 1 for grey", key="channels")
    place = binary.source(options.root)
    if place is None and not options.must_fetch():
        raise Impossible(
            f"{options.root} lacks {binary.ARCHIVE} and the .bin files of CIFAR-10: set `root` to "
            'their folder, or `fetch = "cifar10"` to download them',
            key="root",
        )
    counts = {split: len(chosen) * rows for split, rows in binary.ROWS_PER_CLASS.items()}
    if place is not None and place.is_dir():
        counts = {split: _count(place, split, chosen) for split in counts}
    return DataDescription(
        domains={"image": spec, "label": LabelSpec(len(chosen), chosen)},
        aligned=(("image", "label"),),
        counts={split: {"image": rows, "label": rows} for split, rows in counts.items()},
    )


def _count(folder: Path, split: str, chosen: tuple[str, ...]) -> int:
    """Rows of the chosen classes in the files of a folder."""
    try:
        labels = binary.content(folder, split)[:: binary.ROW]
    except DataError as error:
        raise Impossible(str(error), key="root") from error
    rows = sum(labels.count(binary.CLASSES.index(name)) for name in chosen)
    if split == "train" and not rows:
        raise Impossible(f"{folder} holds no image of these classes", key="classes")
    return rows


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "dataset",
            "cifar10",
            "ganforge_cifar10.dataset:Cifar10",
            Cifar10Options,
            summary="CIFAR-10's photographs, 32 px, of all ten classes or of some",
            describe=describe,
        )
    ]
