"""Images in tar shards, read by byte range: in any order, without a shuffle buffer."""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from ganforge import DataError, Dataset, Names
from ganforge.images import read_image
from ganforge.plugin import DataDescription, ImageOptions, Impossible
from ganforge_shards.layout import Rows, tar_shards
from ganforge_shards.store import part


class TarShards(Dataset):
    """Domain `image`, uint8 [C, H, W], and with `labels` also `label`, int64 []."""

    def __init__(self, options: Any, image: ImageOptions, description: DataDescription) -> None:
        super().__init__(options, image, description)
        try:
            layout = tar_shards(options)
        except Impossible as error:
            raise DataError(str(error)) from error
        self._splits = {split: _Packed(rows) for split, rows in layout.splits.items()}

    def count(self, split: str, domain: str) -> int:
        return len(self._splits[split].names) if split in self._splits else 0

    def item(self, split: str, domain: str, index: int) -> Tensor:
        rows = self._splits[split]
        if domain == "label":
            return rows.labels[index]
        url, start, size = rows.place(index)
        channels, height, width = self.description.domains["image"].shape
        down, across = self.image.loaded_pixels(height, width)
        pixels = read_image(
            f"{url}: {rows.names[index]}",
            height=down,
            width=across,
            channels=channels,
            fit=self.image.fit,
            content=part(url, start, size),
            resample=self.image.resampling("image"),
        )
        return torch.from_numpy(pixels)

    def rows(self, split: str, domain: str) -> Tensor | None:
        return self._splits[split].labels if domain == "label" else None

    def fingerprint(self, split: str, domain: str) -> str:
        rows, digest = self._splits[split], hashlib.blake2b()
        for text in (*rows.urls, *rows.marks):
            digest.update(f"{text}\0".encode("utf-8", "surrogateescape"))
        for numbers in (rows.shards, rows.starts, rows.sizes):
            digest.update(numbers.numpy().tobytes())
        how = f"{self.image.fit} {self.image.resampling('image')}"
        return f"tar-shards {how} {version('pillow')} {digest.hexdigest()}"


class _Packed:
    """Rows in tensors, which worker processes share."""

    def __init__(self, rows: Rows) -> None:
        self.urls = [index.url for index in rows.indices]
        self.marks = [index.mark for index in rows.indices]
        self.names = Names(rows.names)
        self.shards = torch.from_numpy(rows.shards)
        self.starts = torch.from_numpy(rows.starts)
        self.sizes = torch.from_numpy(rows.sizes)
        self.labels = torch.from_numpy(rows.labels)

    def place(self, index: int) -> tuple[str, int, int]:
        """The shard, and where in it from, how many bytes."""
        where = self.shards[index], self.starts[index], self.sizes[index]
        shard, start, size = (int(number) for number in where)
        return self.urls[shard], start, size
