"""The datasets that read folders of images."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganforge import DataError, Dataset, Names
from ganforge.images import check_images, evenly, image_size, read_image
from ganforge.plugin import DataDescription, ImageOptions, Impossible
from ganforge_folders.layout import (
    Files,
    image_folder,
    paired_folders,
    parted_folder,
    unpaired_folders,
)


class _Files(Dataset):
    """Rows that are image files: split -> domain -> files."""

    files: dict[str, dict[str, Files]]

    def hold(self, files: Mapping[str, Mapping[str, Sequence[Path]]]) -> None:
        """Take these files, packed."""
        self.files = {
            split: {name: _packed(rows) for name, rows in domains.items()}
            for split, domains in files.items()
        }

    def count(self, split: str, domain: str) -> int:
        return len(self.files.get(split, {}).get(domain, ()))

    def item(self, split: str, domain: str, index: int) -> Tensor:
        channels, height, width = self.description.domains[domain].shape
        down, across = self.image.loaded_pixels(height, width)
        path = self.files[split][domain][index]
        pixels = read_image(
            path,
            height=down,
            width=across,
            channels=channels,
            fit=self.image.fit,
            resample=self.image.resampling(domain),
            part=self.part(domain),
        )
        return torch.from_numpy(pixels)

    def part(self, domain: str) -> tuple[int, int]:
        """Which of how many pictures, side by side in each file, a domain's rows are."""
        return 0, 1

    def verify(self) -> None:
        check_images([path for files in self.files["train"].values() for path in evenly(files)])

    def sources(self, split: str, domain: str) -> Sequence[tuple[str, str]] | None:
        files = self.files.get(split, {}).get(domain)
        if files is None:
            return None
        root = f"{self.options.root}{os.sep}"
        paths = [os.path.join(files.root, name) for name in files.names]  # noqa: PTH118
        return [(path.removeprefix(root).replace(os.sep, "/"), path) for path in paths]

    def fingerprint(self, split: str, domain: str) -> str:
        files, digest = self.files[split][domain], hashlib.blake2b()
        for name, path in zip(files.names, files, strict=True):
            try:
                found = path.stat()
            except OSError as error:
                raise DataError(f"cannot read {path}: {error.strerror}") from error
            line = f"{name}\0{found.st_size}\0{found.st_mtime_ns}\0"
            digest.update(line.encode("utf-8", "surrogateescape"))
        how = [type(self).__name__, domain, self.options, self.image.fit, version("pillow")]
        if self.part(domain) != (0, 1):  # parts once came to their size another way
            how.append(self.part(domain))
        if self.image.resampling(domain) != "smooth":
            how.append(self.image.resampling(domain))
        return f"{tuple(how)} {digest.hexdigest()}"


def _packed(files: Sequence[Path]) -> Files:
    """The same files in little memory, which worker processes share."""
    if isinstance(files, Files):
        return Files(files.root, Names(files.names))
    return Files(Path(), Names(map(str, files)))


class ImageFolder(_Files):
    """Domain `image`, uint8 [C, H, W], and with `labels` also `label`, int64 []."""

    def __init__(self, options: Any, image: ImageOptions, description: DataDescription) -> None:
        super().__init__(options, image, description)
        try:
            layout = image_folder(options)
        except Impossible as error:
            raise DataError(str(error)) from error
        self.hold({split: {"image": rows.files} for split, rows in layout.splits.items()})
        self._labels = {
            split: torch.tensor(rows.labels, dtype=torch.int64)
            for split, rows in layout.splits.items()
        }

    def count(self, split: str, domain: str) -> int:
        return super().count(split, "image")  # labels are as many

    def item(self, split: str, domain: str, index: int) -> Tensor:
        return (
            self._labels[split][index] if domain == "label" else super().item(split, domain, index)
        )

    def rows(self, split: str, domain: str) -> Tensor | None:
        return self._labels[split] if domain == "label" else None


class UnpairedFolders(_Files):
    """The domains that the options name, each uint8 [C, H, W], in no relation to each other."""

    def __init__(self, options: Any, image: ImageOptions, description: DataDescription) -> None:
        super().__init__(options, image, description)
        try:
            self.hold(unpaired_folders(options))
        except Impossible as error:
            raise DataError(str(error)) from error


class PairedFolders(_Files):
    """The domains that the options name, each uint8 [C, H, W]; rows of one number are a pair."""

    def __init__(self, options: Any, image: ImageOptions, description: DataDescription) -> None:
        super().__init__(options, image, description)
        try:
            self.hold(paired_folders(options))
        except Impossible as error:
            raise DataError(str(error)) from error

    def item(self, split: str, domain: str, index: int) -> Tensor:
        self._refuse_other_shape(split, domain, index)
        return super().item(split, domain, index)

    def verify(self) -> None:
        super().verify()
        for domain, files in self.files["train"].items():
            for index in range(len(files)):
                self._refuse_other_shape("train", domain, index)

    def _refuse_other_shape(self, split: str, domain: str, index: int) -> None:
        """Cut to one shape, images of a pair would show different parts of what they show."""
        first, *_ = self.files[split]
        if domain == first or self.image.fit == "stretch":
            return
        path, partner = (self.files[split][name][index] for name in (domain, first))
        (_, height, width), (_, down, across) = image_size(path), image_size(partner)
        # As one size scaled to the other, to the pixel that rounding may take.
        if abs(height * across - width * down) > max(height, width, down, across):
            raise DataError(
                f"{path} is {width} x {height} px and its partner {partner} {across} x {down} px: "
                'a pair needs one shape; `fit = "stretch"` in [data] brings them to one'
            )


class SideBySide(_Files):
    """The parts of each image, from left to right, as domains, each uint8 [C, H, W]."""

    def __init__(self, options: Any, image: ImageOptions, description: DataDescription) -> None:
        super().__init__(options, image, description)
        try:
            train, test = parted_folder(options.root, options.holdout)
        except Impossible as error:
            raise DataError(str(error)) from error
        parts = {"train": train, "test": test}
        self.hold({split: dict.fromkeys(options.domains, files) for split, files in parts.items()})

    def part(self, domain: str) -> tuple[int, int]:
        return self.options.domains.index(domain), len(self.options.domains)
