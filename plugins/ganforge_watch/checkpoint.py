"""Checkpoints during a run; the trainer itself writes one whenever a run ends."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import rich
from rich.text import Text

from ganforge import GanforgeError, Hook, Training
from ganforge_watch import disk

_SHARE = 20  # times as long as a checkpoint took are the least between two that are due by time


class Checkpoint(Hook):
    """Saves every `every` steps, and where these take longer than `minutes`, in between. Keeps the
    newest `keep`, those at multiples of `keep_every`, and the one with the best figure `best`,
    whose step best.json names. One that was due by time alone goes when newer ones are there.

    A measurement that finds a new best saves as well. What the run will take on the disk is looked
    at before its first step. The clock decides when is saved, and never what is learned.
    """

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._best: float | None = None
        self._best_step = 0
        self._saved = time.monotonic()  # when it was asked for last
        self._asked = False  # in the step before
        self._took = 0.0  # seconds, the last time

    def run_started(self, training: Training) -> None:
        disk.refuse_if_full(training)
        if self.options.best:
            self._check_figure(training)
        if self._best_step not in training.folder.checkpoint_steps():
            self._best, self._best_step = None, 0  # what it was of is gone
        self._write_best(training)

    def step_started(self, training: Training) -> None:
        if self._asked:
            self._took, self._asked = time.monotonic() - self._saved, False
        self._write_best(training)  # now that the checkpoint that it names is there

    def step_ended(self, training: Training, step: int) -> None:
        due = step % self.options.every == 0 or self._is_late()
        if due and step < training.steps:
            self._save(training)

    def _is_late(self) -> bool:
        """Whether the last checkpoint was too long ago, and does not take too much of the time."""
        since = time.monotonic() - self._saved
        minutes = self.options.minutes
        return bool(minutes) and since >= max(60 * minutes, _SHARE * self._took)

    def _save(self, training: Training) -> None:
        self._saved, self._asked = time.monotonic(), True
        training.save()
        self._keep(training)

    def metrics_computed(self, training: Training, step: int, metrics: Mapping[str, float]) -> None:
        if not self.options.best:
            return
        if self.options.best not in metrics:
            name = self.options.best.rpartition("/")[0]
            there = [key for key in metrics if key.startswith(f"{name}/")]
            self._warn(f"no figure {self.options.best} was measured", ", ".join(there or metrics))
        elif self._is_better(metrics[self.options.best]):
            self._best, self._best_step = metrics[self.options.best], step
            self._save(training)
            self._write_best(training)

    def run_ended(self, training: Training, error: BaseException | None) -> None:
        self._asked = False
        self._keep(training)
        self._write_best(training)

    def _is_better(self, value: float) -> bool:
        if value != value:  # NaN is no best
            return False
        if self._best is None:
            return True
        return value < self._best if self.options.better == "lower" else value > self._best

    def _keep(self, training: Training) -> None:
        every = self.options.keep_every
        steps = training.folder.checkpoint_steps()
        for_good = [step for step in steps if every and step % every == 0]
        coming = {training.step} if self._asked else set[int]()
        newest, *older = sorted({*steps, *coming}, reverse=True) or [0]
        planned = [step for step in older if self._is_planned(training, step)]
        kept = dict.fromkeys((newest, *planned, *older))  # those by time alone go first
        also = [*for_good, *list(kept)[: self.options.keep], self._best_step]
        training.keep_checkpoints(1, also=also)

    def _is_planned(self, training: Training, step: int) -> bool:
        return step % self.options.every == 0 or step == training.steps

    def _write_best(self, training: Training) -> None:
        """Say in best.json which step is best, once its checkpoint is there."""
        folder = training.folder
        if self._best is None or folder.best() == self._best_step:
            return
        if self._best_step in folder.checkpoint_steps():
            folder.write_best(self._best_step, self.options.best, self._best)

    def _check_figure(self, training: Training) -> None:
        _, name, *_ = self.options.best.split("/")
        if name not in training.plan.metrics:
            there = ", ".join(training.plan.metrics) or "none"
            raise GanforgeError(
                f"hooks.checkpoint.best: the recipe has no metric '{name}'; there are: {there}"
            )
        measuring = [
            part.options
            for part in training.plan.hooks.values()
            if part.component.id == "ganforge/metrics"
        ]
        if not any(options.evaluate for options in measuring):
            hint = "hooks.metrics.evaluate says how often, and every measurement may be the best"
            self._warn("metrics are measured at the end only", hint)

    def _warn(self, what: str, hint: str) -> None:
        line = Text(f"hooks.checkpoint.best: {what}; {hint}")
        rich.get_console().print(line, soft_wrap=True)

    def save_state(self) -> dict[str, Any]:
        return {} if self._best is None else {"best": self._best, "best_step": self._best_step}

    def load_state(self, state: Mapping[str, Any]) -> None:
        if "best" in state:
            self._best, self._best_step = float(state["best"]), int(state["best_step"])
