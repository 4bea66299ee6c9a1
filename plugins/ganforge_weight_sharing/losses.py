"""The counter-measure against collapse within a class."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ganforge import Loss


class SameLabelDifference(Loss):
    """G ascends the difference of images of one label, measured by that of their noise.

    L = 1 / (mean |x - x'| / mean |z - z'| + floor), as mode seeking does (arXiv:1903.05628,
    equation 4), bounded by 1 / floor. Pairs are taken from the batch: a twin from other noise would
    cost a second forward of G, and a batch of 64 has about six images of each of ten classes.
    """

    mixes_batch = True

    def generator(self, fake: Tensor, fake_labels: Tensor, fake_latents: Tensor) -> Tensor:
        """Images [N, ...], int64 [N], noise [N, ...] -> one value an image, [N].

        Each image is paired with the next one of its label, the last with the first. One whose
        label is alone in the batch has none, and costs nothing.
        """
        order, after = pairs(fake_labels)
        images, latents = fake.float()[order], fake_latents.float()[order]
        image = (images - images[after]).abs().flatten(1).mean(1)
        latent = (latents - latents[after]).abs().flatten(1).mean(1)
        alone = after == torch.arange(len(after), device=after.device)
        ratio = image / latent.masked_fill(alone, 1.0)
        return (1 / (ratio + self.options.floor)).masked_fill(alone, 0.0)


def pairs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """(rows sorted by label, for each of those the next of its label), int64 [N] both.

    The last of a label is followed by its first; one that is alone by itself.
    """
    ordered, order = labels.sort(stable=True)
    first = torch.searchsorted(ordered, ordered)
    here = torch.arange(len(labels), device=labels.device)
    followed = F.pad(ordered[1:] == ordered[:-1], (0, 1))
    return order, torch.where(followed, here + 1, first)
