"""MNIST as a dataset: read once, resized when its rows are asked for."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ganforge import DataError, Dataset
from ganforge.plugin import DataDescription, ImageOptions
from ganforge_mnist.idx import SPLITS, content, find, shape

_AT_ONCE = 2048  # images that are resized together


class Mnist(Dataset):
    """Domains `image`, uint8 [C, H, W], white on black, and `label`, int64 []."""

    def __init__(self, options: Any, image: ImageOptions, description: DataDescription) -> None:
        super().__init__(options, image, description)
        self._read: dict[str, dict[str, Tensor]] = {}  # split -> domain -> rows as in the files

    def count(self, split: str, domain: str) -> int:
        return shape(self._path(SPLITS[split][0]), 3)[0] if split in SPLITS else 0

    def item(self, split: str, domain: str, index: int) -> Tensor:
        return self._sized(domain, self._split(split)[domain][index : index + 1])[0]

    def rows(self, split: str, domain: str) -> Tensor:
        return self._sized(domain, self._split(split)[domain])

    def _sized(self, domain: str, rows: Tensor) -> Tensor:
        """Images at their loading size and with their channels; labels as they are."""
        if domain == "label":
            return rows
        channels = self.description.domains["image"].shape[0]
        size = self.image.loaded_pixels(*rows.shape[2:])
        return fitted(rows, *size, self.image.fit).expand(-1, channels, -1, -1).contiguous()

    def _split(self, split: str) -> dict[str, Tensor]:
        if split not in self._read:
            self._read[split] = self._content(split)
        return self._read[split]

    def _content(self, split: str) -> dict[str, Tensor]:
        """Images uint8 [N, 1, H, W] and labels int64 [N] of the files."""
        images, labels = (self._path(stem) for stem in SPLITS[split])
        lengths, pixels = content(images, 3)
        (count,), classes = content(labels, 1)
        if count != lengths[0]:
            raise DataError(f"{images} holds {lengths[0]} images, {labels} {count} labels")
        label = torch.frombuffer(classes, dtype=torch.uint8).long()
        if int(label.max()) > 9:
            raise DataError(f"{labels} has the label {int(label.max())}; only 0 to 9 are digits")
        image = torch.frombuffer(pixels, dtype=torch.uint8).view(-1, 1, *lengths[1:])
        return {"image": image, "label": label}

    def _path(self, stem: str) -> Any:
        path = find(self.options.root, stem)
        if path is None:
            raise DataError(f"{self.options.root} lacks {stem} (as it is, or as .gz)")
        return path


def fitted(images: Tensor, height: int, width: int, fit: str) -> Tensor:
    """uint8 [N, C, h, w] -> uint8 [N, C, height, width], antialiased; `contain` pads with black."""
    down, across = images.shape[2:]
    size = height, width
    if fit == "cover":
        scale = max(height / down, width / across)
        rows, columns = round(height / scale), round(width / scale)
        top, left = (down - rows) // 2, (across - columns) // 2
        images = images[:, :, top : top + rows, left : left + columns]
    elif fit == "contain":
        scale = min(height / down, width / across)
        size = max(1, round(down * scale)), max(1, round(across * scale))
    if images.shape[2:] != size:
        images = torch.cat([_resized(part, size) for part in images.split(_AT_ONCE)])
    above, before = (height - size[0]) // 2, (width - size[1]) // 2
    sides = before, width - size[1] - before, above, height - size[0] - above
    return F.pad(images, sides) if any(sides) else images


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    sized = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
    return sized.round_().clamp_(0, 255).byte()
