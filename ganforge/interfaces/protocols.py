"""What metrics and hooks see of a run and of a training, named here so that this room, which comes
first, needs nothing of the rooms that build them (`runs/run.py`, `training/trainer.py`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from torch import Tensor, nn


class OpenedRun(Protocol):
    """A run that is looked at: `ganforge.Run`, of a folder or of a training in progress."""

    step: int

    @property
    def plan(self) -> Any:
        """What was played, a `Plan`."""

    def dataset(self) -> Any:
        """The run's `Dataset`."""

    def held_out(self, domain: str, count: int) -> Tensor:
        """The first held-out rows of a domain, images float32 [N, C, H, W] in [-1, 1]."""

    def training(self, domain: str, count: int) -> Tensor:
        """Rows of the training split, evenly spread."""

    def real_parts(
        self, domain: str, most: int, *, split: Literal["held-out", "training"] = "held-out"
    ) -> Iterator[Tensor]:
        """Rows of a domain, some at a time."""

    def generator(self, name: str | None = None) -> nn.Module:
        """A generator in eval mode, averaged where the recipe averages."""

    def discriminator(self, name: str | None = None) -> nn.Module:
        """A discriminator in eval mode."""

    def class_scores(self, images: Tensor, discriminator: str | None = None) -> Tensor:
        """Logits [N, classes] of what classifies images in this game."""

    def sample(
        self,
        count: int = 16,
        *,
        label: int | str | None = None,
        text: str | None = None,
        seed: int = 0,
        generator: str | None = None,
    ) -> Tensor:
        """What a generator makes of drawn noise, float32 [count, C, H, W] in [-1, 1]."""

    def made_of(self, rows: Mapping[str, Tensor], generator: str | None = None) -> Tensor:
        """What a generator makes of rows of its source domains."""

    def translate(self, images: Tensor, generator: str | None = None, *, seed: int = 0) -> Tensor:
        """What a translator makes of images, float32 [N, C, H, W] in [-1, 1]."""


class TrainingInProgress(Protocol):
    """A run while it trains, as hooks see it: `ganforge.Training`."""

    step: int
    steps: int
    seconds: float
    lr_factor: float
    stop_reason: str

    @property
    def leads(self) -> bool:
        """Whether this process writes and shows: the only one, or the first of several."""

    @property
    def elapsed(self) -> float:
        """Seconds of training up to now."""

    @property
    def images(self) -> int:
        """Real images that each discriminator has seen."""

    def log(self, name: str, value: Tensor | float) -> None:
        """Note a number; it is read when the next line of metrics is written."""

    def gauge(self, name: str) -> Tensor | float | None:
        """The newest value of a number that was logged."""

    def gauges(self) -> dict[str, float]:
        """The newest value of every number."""

    def generator(self, name: str) -> nn.Module:
        """The generator to sample from: averaged where the recipe averages; in eval mode."""

    def looking(self) -> AbstractContextManager[OpenedRun]:
        """The run as it is now, to sample from and to measure."""

    def real(self, domain: str, count: int) -> Tensor:
        """The first real items of a domain as discriminators are shown them."""

    def stop(self, reason: str) -> None:
        """End the run after this step, with a checkpoint."""

    def save(self) -> None:
        """Write a checkpoint of this step."""
