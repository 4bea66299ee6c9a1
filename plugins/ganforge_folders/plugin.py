"""Folders of images: one, flat or with a folder per class, or several that are not paired."""

from pathlib import Path

from ganforge.archives import Archive, FetchOptions
from ganforge.images import image_spec, spec_under
from ganforge.plugin import (
    Component,
    DataDescription,
    ImageOptions,
    ImageSpec,
    Impossible,
    LabelSpec,
    hookimpl,
    option,
    options,
)


@options
class ImageFolderOptions(FetchOptions):
    root: Path = option(
        help="folder of images; with a folder `test` (and perhaps `train`), that is held out"
    )
    labels: bool = option(False, help="whether each folder below `root` is a class")
    holdout: float = option(
        0.0, at_least=0, below=1, help="share of the images held out, chosen by their names"
    )


@options
class UnpairedFoldersOptions(FetchOptions):
    root: Path = option(help="folder that holds the domains' folders")
    domains: dict[str, str] = option(help="domain -> its folder below `root`")
    test: dict[str, str] = option(
        {}, help="domain -> folder held out; unset: `testA` for `trainA`, where there is one"
    )

    def must_fetch(self) -> bool:
        lacking = any(not (self.root / folder).is_dir() for folder in self.domains.values())
        return self.archive is not None and lacking


def describe_image_folder(options: ImageFolderOptions, image: ImageOptions) -> DataDescription:
    """From the files; while they are still to be fetched, from what is known of the archive."""
    from ganforge_folders.layout import image_folder

    if options.must_fetch():
        archive = _with_folders(options)
        if options.holdout:
            raise Impossible("fetch the archive first (`ganforge data fetch`)", key="holdout")
        classes = tuple(archive.counts)
        counts = {"train": sum(archive.counts.values())}
        spec = _archive_spec(archive, image)
    else:
        layout = image_folder(options)
        classes = layout.classes
        counts = {split: len(rows.files) for split, rows in layout.splits.items() if rows.files}
        spec = image_spec([path for rows in layout.splits.values() for path in rows.files], image)
    domains = {"image": spec}
    if options.labels:
        domains["label"] = LabelSpec(len(classes), classes)
    return DataDescription(
        domains=domains,
        aligned=(tuple(domains),) if options.labels else (),
        counts={split: dict.fromkeys(domains, rows) for split, rows in counts.items()},
    )


def describe_unpaired(options: UnpairedFoldersOptions, image: ImageOptions) -> DataDescription:
    """From the files; while they are still to be fetched, from what is known of the archive.

    All domains get the same spec, so that generators lead from each to each.
    """
    from ganforge_folders.layout import unpaired_folders

    if not options.domains:
        raise Impossible('name a domain and its folder: { horse = "trainA" }', key="domains")
    if options.must_fetch():
        archive = _with_folders(options)
        counts = _archive_counts(archive, options)
        spec = _archive_spec(archive, image)
    else:
        splits = unpaired_folders(options)
        counts = {
            split: {domain: len(files) for domain, files in domains.items() if files}
            for split, domains in splits.items()
            if any(domains.values())
        }
        spec = image_spec(
            [path for domains in splits.values() for files in domains.values() for path in files],
            image,
        )
    return DataDescription(domains=dict.fromkeys(options.domains, spec), counts=counts)


def _with_folders(options: FetchOptions) -> Archive:
    """The archive to fetch; it must be one of folders of images."""
    archive = options.archive
    if archive is None or not archive.counts:
        raise Impossible(f"the archive '{options.fetch}' holds no folders of images", key="fetch")
    return archive


def _archive_spec(archive: Archive, image: ImageOptions) -> ImageSpec:
    channels, height, width = archive.pixels
    return spec_under(image, channels=channels, height=height, width=width)


def _archive_counts(archive: Archive, options: UnpairedFoldersOptions) -> dict[str, dict[str, int]]:
    """split -> domain -> images that the archive will bring."""
    from ganforge_folders.layout import held_out_folders

    folders = {
        "train": options.domains,
        "test": held_out_folders(options, archive.counts.__contains__),
    }
    for named in folders.values():
        for folder in named.values():
            if folder not in archive.counts:
                raise Impossible(
                    f"{options.root / folder} does not exist, and '{archive.name}' holds only "
                    f"{', '.join(archive.counts)}",
                    key="domains",
                )
    return {
        split: {domain: archive.counts[folder] for domain, folder in named.items()}
        for split, named in folders.items()
    }


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "dataset",
            "image-folder",
            "ganforge_folders.datasets:ImageFolder",
            ImageFolderOptions,
            summary="A folder of images, flat or with a folder per class",
            describe=describe_image_folder,
        ),
        Component(
            "dataset",
            "unpaired-folders",
            "ganforge_folders.datasets:UnpairedFolders",
            UnpairedFoldersOptions,
            summary="Several folders of images that are not paired, each a domain",
            describe=describe_unpaired,
        ),
    ]
