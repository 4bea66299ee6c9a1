"""Learning rates that fall when a measure stalls (arXiv:1703.10717, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganforge import Training
from ganforge_plateau.windows import Windows


class LowerLr(Windows):
    """Multiplies every learning rate by `factor` after a window whose mean is not below `threshold`
    times the mean of the window before; of a metric, after a figure that is not below `threshold`
    times the one before. Schedules go on, and optimizers keep their moments."""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._before: float | None = None

    def _judge(self, training: Training, mean: float) -> None:
        before, self._before = self._before, mean
        if before is None or self._is_better(mean, before):
            return
        training.lr_factor *= self.options.factor
        was = f"{mean:.6g} over {self.options.window:,} steps, {before:.6g} over those before"
        if self._of_metric:
            was = f"{mean:.6g}, {before:.6g} before"
        self._warn(
            training,
            f"{self.options.watch} was {was}; learning rates are now x {training.lr_factor:g}",
        )

    def _is_better(self, mean: float, before: float) -> bool:
        if self.options.better == "lower":
            return mean < self.options.threshold * before
        return self.options.threshold * mean > before

    def save_state(self) -> dict[str, Any]:
        return {**super().save_state(), "before": self._before}

    def load_state(self, state: Mapping[str, Any]) -> None:
        super().load_state(state)
        self._before = state["before"]
