"""Folders of images: one, flat or with a folder per class; several, paired or not; or images that
hold several side by side."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from ganforge.archives import Archive, FetchOptions
from ganforge.images import evenly, image_spec, spec_under
from ganforge.plugin import (
    Component,
    DataDescription,
    ImageOptions,
    ImageSpec,
    Impossible,
    LabelSpec,
    Resample,
    Spec,
    hookimpl,
    option,
    options,
    with_options,
)

SHOWN = 8  # pictures of a domain whose values are looked at to describe it


@options
class ImageFolderOptions(FetchOptions):
    root: Path = option(
        help="folder of images; a folder `test` in it, else `val`, is held out, beside `train` or "
        "all the rest"
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
    grey: list[str] = option([], help="domains that are read as grey, with 1 channel")

    def must_fetch(self) -> bool:
        lacking = any(not (self.root / folder).is_dir() for folder in self.domains.values())
        return self.archive is not None and lacking


@options
class PairedFoldersOptions:
    root: Path = option(help="folder that holds the domains' folders")
    domains: dict[str, str] = option(
        help="domain -> its folder below `root`; files of one name, endings apart, are a pair"
    )
    test: dict[str, str] = option(
        {}, help="domain -> folder held out; unset: `testA` for `trainA`, where there is one"
    )
    holdout: float = option(
        0.0, at_least=0, below=1, help="share of the pairs held out, chosen by their names"
    )
    grey: list[str] = option([], help="domains that are read as grey, with 1 channel")


@options
class SideBySideOptions:
    root: Path = option(
        help="folder of images; a folder `test` in it, else `val`, is held out, beside `train` or "
        "all the rest"
    )
    domains: list[str] = option(
        ["left", "right"], help="the parts of each image, equally wide, from left to right"
    )
    holdout: float = option(
        0.0, at_least=0, below=1, help="share of the images held out, chosen by their names"
    )
    grey: list[str] = option([], help="domains that are read as grey, with 1 channel")


@options
class CaptionedFolderOptions:
    root: Path = option(
        help="folder of images, each with a .txt file of the same name that holds its caption; "
        "a folder `test` in it, else `val`, is held out, beside `train` or all the rest"
    )
    unit: Literal["word", "character"] = option("word", help="what captions are made of")
    embeddings: Path | None = option(
        None, help="safetensors file with a vector for each image, by its name; then no captions"
    )
    holdout: float = option(
        0.0, at_least=0, below=1, help="share of the images held out, chosen by their names"
    )


def describe_image_folder(options: ImageFolderOptions, image: ImageOptions) -> DataDescription:
    """From the files; while they are still to be fetched, from what is known of the archive."""
    from ganforge_folders.layout import image_folder

    if options.must_fetch():
        archive = _with_folders(options)
        if options.holdout:
            raise Impossible("fetch the archive first (`ganforge data fetch`)", key="holdout")
        classes = tuple(archive.counts)
        counts = {"train": sum(archive.counts.values())}
        spec, shown = _archive_spec(archive, image), {}
    else:
        layout = image_folder(options)
        classes = layout.classes
        counts = {split: len(rows.files) for split, rows in layout.splits.items() if rows.files}
        spec = _spec(
            [rows.files for rows in layout.splits.values()], image, image.resampling("image")
        )
        shown = {
            "left_out": layout.left_out,
            "classes": layout.class_rows(),
            "notes": layout.notes,
            "pictures": {"image": _some(layout.splits["train"].files)},
        }
    domains: dict[str, Spec] = {"image": spec}
    if options.labels:
        domains["label"] = LabelSpec(len(classes), classes)
    return DataDescription(
        domains=domains,
        aligned=(tuple(domains),) if options.labels else (),
        counts={split: dict.fromkeys(domains, rows) for split, rows in counts.items()},
        **shown,
    )


def describe_unpaired(options: UnpairedFoldersOptions, image: ImageOptions) -> DataDescription:
    """From the files; while they are still to be fetched, from what is known of the archive.

    All domains that are read alike get the same spec, so that generators lead from each to each,
    but for those that are to be grey.
    """
    from ganforge_folders.layout import held_out_of, left_out_of, unpaired_folders

    if not options.domains:
        raise Impossible('name a domain and its folder: { horse = "trainA" }', key="domains")
    if options.must_fetch():
        archive = _with_folders(options)
        counts = _archive_counts(archive, options)
        specs = dict.fromkeys(options.domains, _archive_spec(archive, image))
        shown = {}
    else:
        splits = unpaired_folders(options)
        counts = {
            split: {domain: len(files) for domain, files in domains.items() if files}
            for split, domains in splits.items()
            if any(domains.values())
        }
        specs = {}
        for how, alike in _by_resampling(options.domains, image).items():
            lists = [files[d] for files in splits.values() for d in alike if d in files]
            specs |= dict.fromkeys(alike, _spec(lists, image, how))
        folders = [*options.domains.values(), *held_out_of(options).values()]
        shown = {
            "left_out": left_out_of(options.root, folders),
            "pictures": {domain: _some(files) for domain, files in splits["train"].items()},
        }
    specs = _greyed({domain: specs[domain] for domain in options.domains}, options.grey)
    return DataDescription(domains=specs, counts=counts, **shown)


def describe_paired(options: PairedFoldersOptions, image: ImageOptions) -> DataDescription:
    """From the files: each domain has the channels of its own, and all have one size."""
    from ganforge_folders.layout import held_out_of, left_out_of, paired_folders

    _refuse_fewer(options.domains, '{ photo = "trainA", edges = "trainB" }')
    splits = paired_folders(options)
    specs = {
        domain: _spec([files, splits["test"][domain]], image, image.resampling(domain))
        for domain, files in splits["train"].items()
    }
    first = next(iter(specs))
    for domain, spec in specs.items():
        if spec.shape[1:] != specs[first].shape[1:]:
            raise Impossible(
                f"the images differ in size: '{first}' has {specs[first]}, '{domain}' {spec}; set "
                "`size`",
                key="size",
            )
    counts = {split: len(domains[first]) for split, domains in splits.items()}
    folders = [*options.domains.values(), *held_out_of(options).values()]
    return with_options(
        _of_pairs(_greyed(specs, options.grey), counts),
        left_out=left_out_of(options.root, folders),
        pictures={domain: _some(files) for domain, files in splits["train"].items()},
    )


def describe_side_by_side(options: SideBySideOptions, image: ImageOptions) -> DataDescription:
    """From the files: each holds as many images, equally wide, as there are domains."""
    from ganforge_folders.layout import split_folder

    _refuse_fewer(options.domains, '["photo", "edges"]')
    found = split_folder(options.root, options.holdout)
    lists, uncropped = [found.train, found.test], with_options(image, load=None)
    specs = {}
    for how, alike in _by_resampling(options.domains, image).items():
        whole = _spec(lists, uncropped, how)
        specs |= dict.fromkeys(alike, _part_of(whole, len(options.domains), image))
    return with_options(
        _of_pairs(
            _greyed(specs, options.grey), {"train": len(found.train), "test": len(found.test)}
        ),
        left_out=found.left_out,
        notes=found.notes,
        pictures=dict.fromkeys(options.domains, _some(found.train)),
    )


def _part_of(whole: ImageSpec, parts: int, image: ImageOptions) -> ImageSpec:
    """The spec of one of several images side by side in one file."""
    if image.size is None and whole.width % parts:
        raise Impossible(
            f"the images are {whole.width} px wide, which {parts} images of equal width do not "
            "fill",
            key="domains",
        )
    width = whole.width // parts
    return spec_under(image, channels=whole.channels, height=whole.height, width=width)


def describe_captioned(options: CaptionedFolderOptions, image: ImageOptions) -> DataDescription:
    """From the files: images and their captions."""
    from ganforge_folders.captions import captions, name_of, vector_spec
    from ganforge_folders.layout import split_folder

    parts = split_folder(options.root, options.holdout)
    train, test, left_out = parts.train, parts.test, Counter(parts.left_out)
    spec = _spec([train, test], image, image.resampling("image"))
    domains: dict[str, Spec] = {"image": spec}
    if options.embeddings is None:
        domains["caption"] = captions([*train, *test], options.unit).spec
        left_out[".txt"] -= sum(len({*map(name_of, files.names)}) for files in (train, test))
    else:
        names = [*map(name_of, train.names), *map(name_of, test.names)]
        domains["embedding"] = vector_spec(options.embeddings, names)
    counts = {"train": len(train), "test": len(test)}
    return DataDescription(
        domains=domains,
        aligned=(tuple(domains),),
        counts={split: dict.fromkeys(domains, rows) for split, rows in counts.items() if rows},
        left_out=+left_out,
        notes=parts.notes,
        pictures={"image": _some(train)},
    )


def _spec(lists: Iterable[Sequence[Path]], image: ImageOptions, how: Resample) -> ImageSpec:
    """The spec of the files of several lists."""
    return image_spec([path for files in lists for path in evenly(files)], image, resample=how)


def _by_resampling(domains: Iterable[str], image: ImageOptions) -> dict[Resample, list[str]]:
    """The domains that are read alike."""
    found: dict[Resample, list[str]] = {}
    for domain in domains:
        found.setdefault(image.resampling(domain), []).append(domain)
    return found


def _some(files: Sequence[Path]) -> tuple[Path, ...]:
    """A few files, evenly spread, as a sample."""
    count = min(SHOWN, len(files))
    return tuple(files[number * len(files) // count] for number in range(count))


def _refuse_fewer(domains: Iterable[str], example: str) -> None:
    """Pairs are made of two domains, or more."""
    names = list(domains)
    twice = [name for name in names if names.count(name) > 1]
    if len(names) < 2 or twice:
        fault = f"'{twice[0]}' is given twice" if twice else "name two or more"
        raise Impossible(f"{fault}: {example}", key="domains")


def _of_pairs(specs: dict[str, ImageSpec], counts: dict[str, int]) -> DataDescription:
    """counts: split -> rows, of every domain."""
    return DataDescription(
        domains=specs,
        aligned=(tuple(specs),),
        counts={split: dict.fromkeys(specs, rows) for split, rows in counts.items() if rows},
    )


def _greyed(specs: dict[str, ImageSpec], grey: list[str]) -> dict[str, ImageSpec]:
    """The specs, those of these domains with one channel."""
    for domain in grey:
        if domain not in specs:
            raise Impossible(
                f"'{domain}' is not a domain; there are {', '.join(specs)}", key="grey"
            )
    return {
        domain: ImageSpec(1, *spec.shape[1:]) if domain in grey else spec
        for domain, spec in specs.items()
    }


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
        "test": held_out_folders(options, lambda name: name if name in archive.counts else None),
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
        Component(
            "dataset",
            "paired-folders",
            "ganforge_folders.datasets:PairedFolders",
            PairedFoldersOptions,
            summary="Several folders of images that are paired by their names, each a domain",
            describe=describe_paired,
        ),
        Component(
            "dataset",
            "side-by-side",
            "ganforge_folders.datasets:SideBySide",
            SideBySideOptions,
            summary="A folder of images, each of which holds a pair side by side",
            describe=describe_side_by_side,
        ),
        Component(
            "dataset",
            "captioned-folder",
            "ganforge_folders.captioned:CaptionedFolder",
            CaptionedFolderOptions,
            summary="A folder of images with captions in text files, or with vectors from a file",
            describe=describe_captioned,
        ),
    ]
