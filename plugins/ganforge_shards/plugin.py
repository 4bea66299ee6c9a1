"""Tar shards: images in tar archives, on disks or in object stores, read at random."""

from ganforge.images import image_size, spec_under
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

LOOKED_AT = 32  # images, evenly spread, whose sizes and channels are looked at


@options
class TarShardsOptions:
    urls: list[str] = option(
        help="shards: paths or addresses such as s3://, gs:// and https://, with {000..099}, {a,b} "
        "and *"
    )
    test: list[str] = option([], help="shards that are held out")
    labels: bool = option(False, help="whether each image has a class beside it: .cls, .json, .txt")
    holdout: float = option(
        0.0, at_least=0, below=1, help="share of the images held out, chosen by their names"
    )


def describe_tar_shards(options: TarShardsOptions, image: ImageOptions) -> DataDescription:
    """From the shards, each of which is read once through when it is seen for the first time."""
    from ganforge_shards.layout import tar_shards

    layout = tar_shards(options)
    domains: dict[str, ImageSpec | LabelSpec] = {"image": _spec(layout.sample(LOOKED_AT), image)}
    if options.labels:
        domains["label"] = LabelSpec(len(layout.classes), layout.classes)
    counts = {split: len(rows) for split, rows in layout.splits.items() if rows}
    return DataDescription(
        domains=domains,
        aligned=(tuple(domains),) if options.labels else (),
        counts={split: dict.fromkeys(domains, rows) for split, rows in counts.items()},
        left_out=layout.left_out,
        classes=layout.sizes(),
        notes=layout.notes,
    )


def _spec(sample: dict[str, bytes], image: ImageOptions) -> ImageSpec:
    """sample: what some images are called, and what is in them."""
    sizes = {
        name: image_size(name, content, resample=image.resampling("image"))
        for name, content in sample.items()
    }
    first, (_, height, width) = next(iter(sizes.items()))
    for name, (_, down, across) in sizes.items():
        if image.size is None and (down, across) != (height, width):
            raise Impossible(
                f"the images differ in size: {first} has {width} x {height} px, {name} "
                f"{across} x {down} px; set `size`",
                key="size",
            )
    grey = all(channels == 1 for channels, _, _ in sizes.values())
    return spec_under(image, channels=1 if grey else 3, height=height, width=width)


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "dataset",
            "tar-shards",
            "ganforge_shards.dataset:TarShards",
            TarShardsOptions,
            summary="Images in tar shards, on disks or in object stores, read in any order",
            describe=describe_tar_shards,
        )
    ]
