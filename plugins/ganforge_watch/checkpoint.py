"""Checkpoints while the run goes on; the trainer itself writes one whenever a run ends."""

from __future__ import annotations

from ganforge import Hook, Training


class Checkpoint(Hook):
    """Saves every `every` steps and keeps the newest `keep`."""

    def step_ended(self, training: Training, step: int) -> None:
        if step % self.options.every == 0 and step < training.steps:
            training.save()
            training.keep_checkpoints(self.options.keep)

    def run_ended(self, training: Training, error: BaseException | None) -> None:
        training.keep_checkpoints(self.options.keep)
