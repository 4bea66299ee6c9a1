"""A dataset in which every row tells its number; other processes can import it."""

import os
from pathlib import Path

import torch

from ganforge import DataDescription, DataError, Dataset, ImageOptions
from ganforge.plugin import ImageSpec, LabelSpec, VectorSpec

SPECS = {
    "image": ImageSpec(3, 4, 4),
    "label": LabelSpec(10),
    "mask": ImageSpec(1, 4, 4),
    "other": ImageSpec(3, 4, 4),
    "vector": VectorSpec(2),
}


class Numbered(Dataset):
    """Images in which every pixel tells its row; `image`, `label`, `mask` and `vector` aligned.

    A pixel is its row (modulo 256) in the first channel, its column in the others and in `mask`.
    """

    def __init__(self, count=10, test=4, side=4, others=7, at_once=False, flip=False):
        aligned = (("image", "label", "mask", "vector"),)
        description = DataDescription(domains=SPECS, aligned=aligned)
        super().__init__(None, ImageOptions(flip=flip), description)
        self.counts = {"train": count, "test": test}
        self.others = others
        self.side = side
        self.at_once = at_once
        self.bad: set[int] = set()
        self.read: list[int] = []
        self.verified = False

    def count(self, split, domain):
        counted = self.counts[split]
        return self.others if domain == "other" and split == "train" else counted

    def item(self, split, domain, index):
        if index in self.bad:
            raise DataError(f"{index}.png is cut off")
        self.read.append(index)
        if domain == "label":
            return torch.tensor(index % 10)
        if domain == "vector":
            return torch.tensor([index, -index], dtype=torch.float32)
        channels = SPECS[domain].channels
        columns = torch.arange(self.side, dtype=torch.uint8).expand(channels, self.side, -1).clone()
        if domain != "mask":
            columns[0] = index % 256
        return columns

    def rows(self, split, domain):
        if not self.at_once:
            return None
        return torch.stack([self.item(split, domain, i) for i in range(self.count(split, domain))])

    def verify(self):
        self.verified = True


class Kept(Numbered):
    """The same, and it says what its pixels follow from."""

    pixels = "some"

    def fingerprint(self, split, domain):
        return f"{self.pixels} {domain}"


class Stubborn(Numbered):
    """Does something else than it should when a row but the first is read."""

    def __init__(self, what):
        super().__init__(40)
        self.what = what
        self.home = os.getpid()

    def item(self, split, domain, index):
        if os.getpid() == self.home:
            return super().item(split, domain, index)
        if self.what == "die":
            os._exit(3)
        if self.what == "mistake":
            raise RuntimeError("my own mistake")
        return super().item(split, domain, int(Path("here").read_text()))
