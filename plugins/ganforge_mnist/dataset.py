"""MNIST as a dataset: read once, resized when its rows are asked for."""

from typing import Any

import torch
from torch import Tensor

from ganforge import DataError, Dataset, Draws
from ganforge.images import fit_images
from ganforge.plugin import DataDescription, ImageOptions
from ganforge_mnist.idx import SPLITS, content, find, shape

CLASSES = 10


class Mnist(Dataset):
    """Domains `image`, uint8 [C, H, W], white on black, and `label`, int64 [].

    With `labelled = n` the labels of n training images are known, and of all test images: `image`
    holds every image, `labelled-image` and `label` those n, row by row.
    """

    def __init__(self, options: Any, image: ImageOptions, description: DataDescription) -> None:
        super().__init__(options, image, description)
        self._read: dict[str, dict[str, Tensor]] = {}  # split -> domain -> rows as in the files

    def count(self, split: str, domain: str) -> int:
        if split not in SPLITS:
            return 0
        if split == "train" and domain != "image" and self.options.labelled is not None:
            return self.options.labelled
        return shape(self._path(SPLITS[split][0]), 3)[0]

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
        fitted = fit_images(rows, *size, self.image.fit, self.image.resampling(domain))
        return fitted.expand(-1, channels, -1, -1).contiguous()

    def _split(self, split: str) -> dict[str, Tensor]:
        if split not in self._read:
            rows = self._content(split)
            known = split == "train" and self.options.labelled is not None
            chosen = labelled_rows(rows["label"], self.options) if known else slice(None)
            if split == "train":
                rows["label"] = with_wrong_labels(rows["label"], self.options)
            rows["labelled-image"] = rows["image"][chosen]
            rows["label"] = rows["label"][chosen]
            self._read[split] = rows
        return self._read[split]

    def _content(self, split: str) -> dict[str, Tensor]:
        """Images uint8 [N, 1, H, W] and labels int64 [N] of the files."""
        images, labels = (self._path(stem) for stem in SPLITS[split])
        lengths, pixels = content(images, 3)
        (count,), classes = content(labels, 1)
        if count != lengths[0]:
            raise DataError(f"{images} holds {lengths[0]} images, {labels} {count} labels")
        label = torch.frombuffer(classes, dtype=torch.uint8).long()
        if int(label.max()) >= CLASSES:
            raise DataError(f"{labels} has the label {int(label.max())}; only 0 to 9 are digits")
        image = torch.frombuffer(pixels, dtype=torch.uint8).view(-1, 1, *lengths[1:])
        return {"image": image, "label": label}

    def _path(self, stem: str) -> Any:
        path = find(self.options.root, stem)
        if path is None:
            raise DataError(f"{self.options.root} lacks {stem} (as it is, or as .gz)")
        return path


def labelled_rows(labels: Tensor, options: Any) -> Tensor:
    """Which rows keep their labels, int64 [options.labelled], as many of each class as there are.

    labels: int64 [N], the true ones. Rows are taken in a drawn order, one of each class in turn.
    """
    order = Draws(options.label_seed).permutation(len(labels), "labelled")
    place = torch.empty_like(order)  # of a row among those of its class
    for number in range(CLASSES):
        of_class = labels[order] == number
        place[of_class] = torch.arange(int(of_class.sum()))
    turns = place.argsort(stable=True)
    return order[turns[: options.labelled]]


def with_wrong_labels(labels: Tensor, options: Any) -> Tensor:
    """int64 [N], each label replaced by one of the other classes, all alike, with probability
    options.wrong_labels. A row that is wrong for one share is so for every larger one."""
    draws = Draws(options.label_seed).generator("wrong-labels")
    wrong = torch.from_numpy(draws.random(len(labels)) < options.wrong_labels)
    others = torch.from_numpy(draws.integers(1, CLASSES, len(labels)))
    return torch.where(wrong, (labels + others) % CLASSES, labels)
