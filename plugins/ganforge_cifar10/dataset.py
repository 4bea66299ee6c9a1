"""CIFAR-10 as a dataset: read once, fitted when its rows are asked for."""

from typing import Any

import torch
from torch import Tensor

from ganforge import DataError, Dataset
from ganforge.images import fit_images
from ganforge.plugin import DataDescription, ImageOptions
from ganforge_cifar10.binary import CLASSES, FILES, ROW, content, source


class Cifar10(Dataset):
    """Domains `image`, uint8 [C, H, W], and `label`, int64 []: a place in the list of classes."""

    def __init__(self, options: Any, image: ImageOptions, description: DataDescription) -> None:
        super().__init__(options, image, description)
        self._read: dict[str, dict[str, Tensor]] = {}  # split -> domain -> rows as in the files

    def count(self, split: str, domain: str) -> int:
        return len(self._split(split)["label"]) if split in FILES else 0

    def item(self, split: str, domain: str, index: int) -> Tensor:
        return self._sized(domain, self._split(split)[domain][index : index + 1])[0]

    def rows(self, split: str, domain: str) -> Tensor:
        return self._sized(domain, self._split(split)[domain])

    def _sized(self, domain: str, rows: Tensor) -> Tensor:
        """Images at their loading size and with their channels; labels as they are."""
        if domain == "label":
            return rows
        how = self.image.resampling(domain)
        fitted = fit_images(rows, *self.image.loaded_pixels(32, 32), self.image.fit, how)
        return grey(fitted) if self.description.domains["image"].shape[0] == 1 else fitted

    def _split(self, split: str) -> dict[str, Tensor]:
        if split not in self._read:
            self._read[split] = self._content(split)
        return self._read[split]

    def _content(self, split: str) -> dict[str, Tensor]:
        """Images uint8 [N, 3, 32, 32] and labels int64 [N] of the chosen classes."""
        place = source(self.options.root)
        if place is None:
            raise DataError(f"{self.options.root} no longer holds CIFAR-10's binary version")
        rows = torch.frombuffer(content(place, split), dtype=torch.uint8).view(-1, ROW)
        number = torch.full((len(CLASSES),), -1)  # of each class in the files, among the chosen
        chosen = [CLASSES.index(name) for name in self.options.chosen]
        number[chosen] = torch.arange(len(chosen))
        label = number[rows[:, 0].long()]
        kept = label >= 0
        if kept.sum() != self.description.counts[split]["label"]:
            raise DataError(
                f"{place} holds {int(kept.sum()):,} {split} rows of these classes, not the "
                f"{self.description.counts[split]['label']:,} of the public archive"
            )
        return {"image": rows[kept, 1:].view(-1, 3, 32, 32), "label": label[kept]}


def grey(images: Tensor) -> Tensor:
    """uint8 [N, 3, H, W] -> uint8 [N, 1, H, W], weighted as the eye does (ITU-R BT.601)."""
    red, green, blue = images.int().split(1, dim=1)
    return ((299 * red + 587 * green + 114 * blue + 500) // 1000).byte()
