"""The mean of a logged number, a window of steps at a time, or a metric's figures one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

import rich
import torch
from rich.text import Text
from torch import Tensor

from ganforge import Hook, Training


class Windows(Hook):
    """Calls `_judge` with the mean of the number `watch` over each `window` steps, or, where it is
    a metric's figure, with each measurement of it.

    Windows end at multiples of their length. A step in which there is no such number does not
    count; the device is waited for only at a window's end and at checkpoints.
    """

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._sum: Tensor | float = 0.0
        self._count = 0
        self._told = False  # that there is nothing to watch
        self._measured_step = 0  # the last step whose figure was judged

    @property
    def _of_metric(self) -> bool:
        return self.options.watch.startswith("metric/")

    def step_ended(self, training: Training, step: int) -> None:
        if not self._of_metric:
            self._add(training, step)
        elif step % self.options.window == 0 and not self._measured_step:
            hint = "hooks.metrics.evaluate says how often metrics are measured"
            self._warn_missing(training, f"was measured in {step:,} steps", hint)

    def metrics_computed(self, training: Training, step: int, metrics: Mapping[str, float]) -> None:
        if not self._of_metric or step <= self._measured_step:  # measured again after a resume
            return
        if self.options.watch in metrics:
            self._measured_step = step
            self._judge(training, metrics[self.options.watch])
        else:
            self._warn_missing(training, "was measured", nearest(self.options.watch, metrics))

    def _add(self, training: Training, step: int) -> None:
        """Count the number of this step; judge the mean where a window ends."""
        value = training.gauge(self.options.watch)
        if value is not None:
            self._sum = self._sum + in_double(value)
            self._count += 1
        if step % self.options.window:
            return
        if self._count:
            self._judge(training, float(self._sum) / self._count)
        else:
            names = [name for name in training.gauges() if training.gauge(name) is not None]
            self._warn_missing(
                training, f"was logged in {step:,} steps", nearest(self.options.watch, names)
            )
        self._sum, self._count = 0.0, 0

    def _judge(self, training: Training, mean: float) -> None:
        raise NotImplementedError

    def _warn_missing(self, training: Training, where: str, hint: str) -> None:
        """Say once that there is nothing to watch."""
        if not self._told:
            self._told = True
            self._warn(training, f"no number '{self.options.watch}' {where}; {hint}")

    def _warn(self, training: Training, text: str) -> None:
        name = next(name for name, hook in training.watching.items() if hook is self)
        line = Text(f"{name}, step {training.step:,}: {text}")
        rich.get_console().print(line, soft_wrap=True)

    def save_state(self) -> dict[str, Any]:
        return {
            "sum": float(self._sum),
            "count": self._count,
            "told": self._told,
            "measured_step": self._measured_step,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._sum, self._count = float(state["sum"]), int(state["count"])
        self._told = bool(state["told"])
        self._measured_step = int(state["measured_step"])


def in_double(value: Tensor | float) -> Tensor | float:
    """Wide enough that sums over thousands of steps tell windows apart that differ by 1 in 10,000;
    Apple's GPUs have nothing wider than float32."""
    if not isinstance(value, Tensor) or value.device.type == "mps":
        return value
    return value.to(torch.float64)


def nearest(name: str, known: Iterable[str]) -> str:
    """Which names are near, or else all there are, in words."""
    names = sorted(known)
    close = get_close_matches(name, names, n=3, cutoff=0.6)
    return f"similar: {', '.join(close)}" if close else f"there are: {', '.join(names) or 'none'}"
