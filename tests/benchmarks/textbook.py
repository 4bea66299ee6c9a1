"""Plain training loops as a tutorial writes them: what ganforge's speed is compared with.

float32, contiguous memory, a DataLoader that decodes every item each time, unfused Adam, one
forward per use. Each class prepares in its constructor and makes one step in `step()`; `networks`
are those that it plays.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import MNIST

CLASSES = 10


def adam(*networks: nn.Module) -> torch.optim.Optimizer:
    parameters = itertools.chain(*(network.parameters() for network in networks))
    return torch.optim.Adam(parameters, lr=2e-4, betas=(0.5, 0.999), foreach=False)


def endless(loader: DataLoader) -> Iterator:
    while True:
        yield from loader


class Vanilla:
    """Two multilayer perceptrons on MNIST, k = 10, batch 64 (arXiv:1406.2661)."""

    def __init__(self, root: Path, batch: int = 64, k: int = 10) -> None:
        to_tensor = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))]
        )
        data = MNIST(root, transform=to_tensor)
        self.batches = endless(DataLoader(data, batch, shuffle=True, drop_last=True))
        self.batch, self.k = batch, k
        layers: list[nn.Module] = []
        for before, width in itertools.pairwise((100, 256, 512, 1024)):
            layers += [nn.Linear(before, width), nn.BatchNorm1d(width), nn.LeakyReLU(0.01)]
        self.g = nn.Sequential(*layers, nn.Linear(1024, 784), nn.Tanh())
        self.d = nn.Sequential(
            *(nn.Linear(784, 512), nn.LeakyReLU(0.01), nn.Dropout(0.5)),
            *(nn.Linear(512, 256), nn.LeakyReLU(0.01), nn.Dropout(0.5)),
            nn.Linear(256, 1),
        )
        self.networks = (self.g, self.d)
        self.g_optimizer, self.d_optimizer = adam(self.g), adam(self.d)
        self.bce = nn.BCEWithLogitsLoss()

    def step(self) -> None:
        ones, zeros = torch.ones(self.batch, 1), torch.zeros(self.batch, 1)
        for _ in range(self.k):
            real = next(self.batches)[0].flatten(1)
            fake = self.g(torch.randn(self.batch, 100)).detach()
            loss = self.bce(self.d(real), ones) + self.bce(self.d(fake), zeros)
            self.d_optimizer.zero_grad()
            loss.backward()
            self.d_optimizer.step()
        loss = self.bce(self.d(self.g(torch.randn(self.batch, 100))), ones)
        self.g_optimizer.zero_grad()
        loss.backward()
        self.g_optimizer.step()


class Pictures(Dataset):
    """A folder of PNG files, decoded each time they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.png"))
        self.to_tensor = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return self.to_tensor(Image.open(self.files[index]).convert("RGB"))


def upwards(code: int, width: int) -> nn.Module:
    up: list[nn.Module] = [nn.ConvTranspose2d(code, width * 8, 4, 1, 0, bias=False)]
    for into in (4, 2, 1):
        up += [nn.BatchNorm2d(width * into * 2), nn.ReLU(True)]
        up += [nn.ConvTranspose2d(width * into * 2, width * into, 4, 2, 1, bias=False)]
    up += [nn.BatchNorm2d(width), nn.ReLU(True)]
    return nn.Sequential(*up, nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh())


class Dcgan:
    """PyTorch's DCGAN example at 64 px, batch 64 (arXiv:1511.06434)."""

    def __init__(self, folder: Path, batch: int = 64, width: int = 64) -> None:
        self.batches = endless(DataLoader(Pictures(folder), batch, shuffle=True, drop_last=True))
        self.batch = batch
        self.g = upwards(100, width)
        down: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1, bias=False), nn.LeakyReLU(0.2, True)]
        for into in (2, 4, 8):
            down += [nn.Conv2d(width * into // 2, width * into, 4, 2, 1, bias=False)]
            down += [nn.BatchNorm2d(width * into), nn.LeakyReLU(0.2, True)]
        self.d = nn.Sequential(*down, nn.Conv2d(width * 8, 1, 4, 1, 0, bias=False), nn.Flatten())
        self.networks = (self.g, self.d)
        self.g_optimizer, self.d_optimizer = adam(self.g), adam(self.d)
        self.bce = nn.BCEWithLogitsLoss()

    def step(self) -> None:
        ones, zeros = torch.ones(self.batch, 1), torch.zeros(self.batch, 1)
        real = next(self.batches)
        self.d_optimizer.zero_grad()
        self.bce(self.d(real), ones).backward()
        fake = self.g(torch.randn(self.batch, 100, 1, 1))
        self.bce(self.d(fake.detach()), zeros).backward()
        self.d_optimizer.step()
        self.g_optimizer.zero_grad()
        self.bce(self.d(fake), ones).backward()
        self.g_optimizer.step()


class Labelled(Pictures):
    """The same with a class for each file, by its number."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return super().__getitem__(index), index % CLASSES


class Judge(nn.Module):
    """A DCGAN discriminator without BatchNorm, its features, and a class head on them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        down: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
        for into in (2, 4, 8):
            down += [nn.Conv2d(width * into // 2, width * into, 4, 2, 1), nn.LeakyReLU(0.2, True)]
        self.body = nn.Sequential(*down)
        self.score = nn.Conv2d(width * 8, 1, 4)
        self.head = nn.Linear(width * 8 * 16, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        features = self.body(images)
        return self.score(features).flatten(), self.head(features.flatten(1)), features


class Combined:
    """Adversarial, R1, class head and feature matching, each written as its paper has it, with
    forwards of its own (arXiv:1801.04406, 1610.09585, 1606.03498)."""

    def __init__(self, folder: Path, batch: int = 32, width: int = 64) -> None:
        self.batches = endless(DataLoader(Labelled(folder), batch, shuffle=True, drop_last=True))
        self.batch = batch
        self.g, self.d = upwards(100 + CLASSES, width), Judge(width)
        self.networks = (self.g, self.d)
        self.g_optimizer, self.d_optimizer = adam(self.g), adam(self.d)
        self.bce, self.ce = nn.BCEWithLogitsLoss(), nn.CrossEntropyLoss()

    def step(self) -> None:
        ones, zeros = torch.ones(self.batch), torch.zeros(self.batch)
        real, labels = next(self.batches)
        asked = torch.randint(CLASSES, (self.batch,))
        code = torch.cat([torch.randn(self.batch, 100), F.one_hot(asked, CLASSES)], 1)
        fake = self.g(code[:, :, None, None])

        self.d_optimizer.zero_grad()
        loss = self.bce(self.d(real)[0], ones) + self.bce(self.d(fake.detach())[0], zeros)
        loss = loss + self.ce(self.d(real)[1], labels) + self.ce(self.d(fake.detach())[1], asked)
        shown = real.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(self.d(shown)[0].sum(), shown, create_graph=True)
        loss = loss + 2.5 * gradient.flatten(1).square().sum(1).mean()
        loss.backward()
        self.d_optimizer.step()

        self.g_optimizer.zero_grad()
        loss = self.bce(self.d(fake)[0], ones) + self.ce(self.d(fake)[1], asked)
        means = self.d(real)[2].mean(0), self.d(fake)[2].mean(0)
        (loss + F.mse_loss(*means)).backward()
        self.g_optimizer.step()


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width)),
            *(nn.ReLU(True), nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3)),
            nn.InstanceNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def translator(width: int, blocks: int) -> nn.Module:
    layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7)]
    layers += [nn.InstanceNorm2d(width), nn.ReLU(True)]
    for into in (2, 4):
        layers += [nn.Conv2d(width * into // 2, width * into, 3, 2, 1)]
        layers += [nn.InstanceNorm2d(width * into), nn.ReLU(True)]
    layers += [Residual(width * 4) for _ in range(blocks)]
    for into in (2, 1):
        layers += [nn.ConvTranspose2d(width * into * 2, width * into, 3, 2, 1, output_padding=1)]
        layers += [nn.InstanceNorm2d(width * into), nn.ReLU(True)]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())


def patches(width: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for into, stride in ((2, 2), (4, 2), (8, 1)):
        layers += [nn.Conv2d(width * into // 2, width * into, 4, stride, 1)]
        layers += [nn.InstanceNorm2d(width * into), nn.LeakyReLU(0.2, True)]
    return nn.Sequential(*layers, nn.Conv2d(width * 8, 1, 4, 1, 1))


class Pool:
    """The last 50 fakes; half of the time an old one is shown (arXiv:1612.07828)."""

    def __init__(self, size: int = 50) -> None:
        self.size, self.images = size, []

    def __call__(self, fakes: Tensor) -> Tensor:
        shown = []
        for fake in fakes.detach():
            if len(self.images) < self.size:
                self.images.append(fake)
            elif random.random() < 0.5:
                place = random.randrange(self.size)
                fake, self.images[place] = self.images[place], fake
            shown.append(fake)
        return torch.stack(shown)


class Cycle:
    """CycleGAN with 6 blocks at 128 px, batch 1 (arXiv:1703.10593)."""

    def __init__(self, a: Path, b: Path, width: int = 64, blocks: int = 6) -> None:
        loaders = (DataLoader(Pictures(folder), 1, shuffle=True) for folder in (a, b))
        self.a, self.b = (endless(loader) for loader in loaders)
        self.ab, self.ba = translator(width, blocks), translator(width, blocks)
        self.da, self.db = patches(width), patches(width)
        self.networks = (self.ab, self.ba, self.da, self.db)
        self.g_optimizer, self.d_optimizer = adam(self.ab, self.ba), adam(self.da, self.db)
        self.pool_a, self.pool_b = Pool(), Pool()

    def step(self) -> None:
        a, b = next(self.a), next(self.b)
        fake_b, fake_a = self.ab(a), self.ba(b)
        judged = (self.db(fake_b), self.da(fake_a))
        loss = sum(F.mse_loss(scores, torch.ones_like(scores)) for scores in judged)
        loss = loss + 10 * F.l1_loss(self.ba(fake_b), a) + 10 * F.l1_loss(self.ab(fake_a), b)
        loss = loss + 5 * F.l1_loss(self.ab(b), b) + 5 * F.l1_loss(self.ba(a), a)
        self.g_optimizer.zero_grad()
        loss.backward()
        self.g_optimizer.step()
        self.d_optimizer.zero_grad()
        for d, real, fake in (
            (self.db, b, self.pool_b(fake_b)),
            (self.da, a, self.pool_a(fake_a)),
        ):
            good, bad = d(real), d(fake)
            loss = F.mse_loss(good, torch.ones_like(good)) + F.mse_loss(bad, torch.zeros_like(bad))
            (0.5 * loss).backward()
        self.d_optimizer.step()
