"""A folder of images with a caption, or a vector, of each."""

from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ganforge import DataError
from ganforge.plugin import DataDescription, ImageOptions, Impossible
from ganforge_folders.captions import captions, name_of
from ganforge_folders.datasets import _Files
from ganforge_folders.layout import parted_folder


class CaptionedFolder(_Files):
    """Domain `image`, uint8 [C, H, W], and `caption`, int64 [length], or with `embeddings`
    `embedding`, float32 [dim]."""

    def __init__(self, options: Any, image: ImageOptions, description: DataDescription) -> None:
        super().__init__(options, image, description)
        try:
            train, test = parted_folder(options.root, options.holdout)
            self.hold({"train": {"image": train}, "test": {"image": test}})
            if options.embeddings is None:
                texts = captions([*train, *test], options.unit).texts
                encode = description.domains["caption"].encode
                beside = torch.tensor([encode(text) for text in texts])
            else:
                vectors = load_file(options.embeddings)
                names = [*map(name_of, train.names), *map(name_of, test.names)]
                beside = torch.stack([vectors[name] for name in names]).float()
        except Impossible as error:
            raise DataError(str(error)) from error
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise DataError(
                f"{options.embeddings} has changed since it was checked: {error}"
            ) from error
        if beside.is_floating_point() and not beside.isfinite().all():
            raise DataError(f"{options.embeddings} holds numbers that are not finite")
        self._beside = dict(
            zip(("train", "test"), beside.split([len(train), len(test)]), strict=True)
        )

    def count(self, split: str, domain: str) -> int:
        return super().count(split, "image")  # captions are as many

    def item(self, split: str, domain: str, index: int) -> Tensor:
        if domain == "image":
            return super().item(split, domain, index)
        return self._beside[split][index]

    def rows(self, split: str, domain: str) -> Tensor | None:
        return None if domain == "image" else self._beside[split]
