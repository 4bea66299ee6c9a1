"""Ending a run that gets no better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganforge import Training
from ganforge_plateau.windows import Windows


class EarlyStopping(Windows):
    """Stops after `patience` windows without a new best mean; of a metric, after as many figures.

    Going on with a run that was stopped stops it again, unless `patience` was raised.
    """

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._best: float | None = None
        self._best_step = 0
        self._stale = 0  # windows or figures since the best one

    def run_started(self, training: Training) -> None:
        self._stop_if_stale(training)

    def _judge(self, training: Training, mean: float) -> None:
        if self._is_best(mean):
            self._best, self._best_step, self._stale = mean, training.step, 0
        else:
            self._stale += 1
        self._stop_if_stale(training)

    def _is_best(self, value: float) -> bool:
        if self._best is None:
            return value == value  # NaN is no best
        return value < self._best if self.options.better == "lower" else value > self._best

    def _stop_if_stale(self, training: Training) -> None:
        """Ask for the end, unless the run has come to it or somebody else asked."""
        if self._stale < self.options.patience or training.stop_reason:
            return
        if training.step < training.steps:
            training.stop(f"{self.options.watch} got no better in {self._waited()}")

    def _waited(self) -> str:
        """`3 windows of 1,000 steps; best 0.081 at step 24,000`"""
        plural = "" if self._stale == 1 else "s"
        of = f"figure{plural}"
        if not self._of_metric:
            of = f"window{plural} of {self.options.window:,} steps"
        best = "" if self._best is None else f"; best {self._best:.6g} at step {self._best_step:,}"
        return f"{self._stale:,} {of}{best}"

    def save_state(self) -> dict[str, Any]:
        return {
            **super().save_state(),
            "best": self._best,
            "best_step": self._best_step,
            "stale": self._stale,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self._best, self._best_step = state["best"], int(state["best_step"])
        self._stale = int(state["stale"])
