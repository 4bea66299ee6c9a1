"""The judge's network and its training: small, seeded, and apart from every other draw."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge import Draws
from ganforge.plugin import ImageSpec
from ganforge_judge.labelled import Rows

VERSION = 1  # of this code: other judges, other figures
WIDTHS = (32, 64, 96, 128)  # channels; the last are the features
BATCH = 128
SHOWN = 300_000  # images, over all epochs
MOST_EPOCHS = 40
RATE = 4e-3  # highest learning rate
WARM_UP = 0.2  # share of the training until it is reached
DECAY = 0.05  # of weights, per unit of learning rate
SHIFT = 12  # images move by up to a twelfth of their shorter side
SETTINGS = (VERSION, WIDTHS, BATCH, SHOWN, MOST_EPOCHS, RATE, WARM_UP, DECAY, SHIFT)


class JudgeNetwork(nn.Module):
    """Images [N, C, H, W] in [-1, 1], no side below 8 px, to class logits [N, classes]."""

    def __init__(self, spec: ImageSpec, classes: int) -> None:
        super().__init__()
        shorter = min(spec.height, spec.width)
        stride = 1 if shorter < 16 else 2 if shorter < 40 else 4
        layers = _convolution(spec.channels, WIDTHS[0], 2 * stride + 1, stride)
        shorter = -(-shorter // stride)
        for before, after in pairwise(WIDTHS):
            layers += _convolution(before, after, 3, 1)
            if shorter >= 4 and after != WIDTHS[-1]:
                layers.append(nn.MaxPool2d(2))
                shorter //= 2
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(WIDTHS[-1], classes)

    def features(self, images: Tensor) -> Tensor:
        """What the last layer reads, [N, 128]."""
        return self.body(images)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))


def _convolution(before: int, after: int, kernel: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(after), nn.ReLU()]


def blank(spec: ImageSpec, classes: int) -> JudgeNetwork:
    """An untrained network, the same each time; torch's own random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        Draws(0).seed_networks("judge")
        network = JudgeNetwork(spec, classes)
    return network.to(memory_format=torch.channels_last)


@torch.enable_grad()
def train(rows: Rows, spec: ImageSpec, classes: int, device: torch.device) -> JudgeNetwork:
    """A network that has learnt the labels, in eval mode. On the CPU the same rows always give
    the same weights."""
    network = blank(spec, classes).to(device).train()
    batch = max(2, min(BATCH, len(rows) // 4))
    epochs = max(1, min(MOST_EPOCHS, SHOWN // len(rows)))
    per_epoch = max(1, len(rows) // batch)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    draws = Draws(0)
    for epoch in range(epochs):
        order = draws.permutation(len(rows), "judge", "order", epoch)
        for place in range(per_epoch):
            step = epoch * per_epoch + place
            part = rows[order[place * batch :][:batch]]
            images = shifted(part.pixels(), draws, step).to(device)
            for group in optimizer.param_groups:
                group["lr"] = RATE * one_cycle(step / (epochs * per_epoch))
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(network(images), part.labels.to(device)).backward()
            optimizer.step()
    return network.eval().requires_grad_(False)


def one_cycle(progress: float) -> float:
    """Share of the highest learning rate: linear up, then half a cosine down (arXiv:1708.07120)."""
    if progress < WARM_UP:
        return (progress + 0.01) / (WARM_UP + 0.01)
    return 0.5 + 0.5 * math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP))


def shifted(images: Tensor, draws: Draws, step: int) -> Tensor:
    """Each image [N, C, H, W] moved by a few pixels; the edge fills what comes in."""
    count, _, height, width = images.shape
    most = max(1, min(height, width) // SHIFT)
    windows = F.pad(images, (most,) * 4, mode="replicate")
    windows = windows.unfold(2, height, 1).unfold(3, width, 1)  # [N, C, down, right, H, W]
    generator = draws.generator("judge", "shift", step)
    down, right = torch.from_numpy(generator.integers(2 * most + 1, size=(2, count)))
    moved = windows[torch.arange(count), :, down, right]
    return moved.contiguous(memory_format=torch.channels_last)
