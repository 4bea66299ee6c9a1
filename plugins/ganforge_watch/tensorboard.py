"""Curves and sheets for TensorBoard: `tensorboard --logdir runs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from ganforge import GanforgeError, Hook, Training


class Tensorboard(Hook):
    """Writes what metrics.jsonl and samples/ hold into RUN/tensorboard as well."""

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._writer: Any = None
        self._sheet = -1  # the step of the newest sheet that was written

    def run_started(self, training: Training) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise GanforgeError(
                f"the hook tensorboard cannot load its package ({error}): "
                'pip install "ganforge[tensorboard]"'
            ) from error
        # Steps after the checkpoint that a resumed run goes on from are taken again.
        self._writer = SummaryWriter(
            str(training.folder.path / "tensorboard"), purge_step=training.step + 1
        )
        self._sheet = training.step if training.step else -1
        self._write_sheets(training)

    def step_ended(self, training: Training, step: int) -> None:
        if step % self.options.every == 0 or step in (1, training.steps):
            for name, value in training.gauges().items():
                self._writer.add_scalar(name, value, step)
        self._write_sheets(training)

    def metrics_computed(self, training: Training, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def run_ended(self, training: Training, error: BaseException | None) -> None:
        if self._writer is not None:
            self._write_sheets(training)
            self._writer.close()

    def _write_sheets(self, training: Training) -> None:
        """Add the sheets that are new; the hook that draws them may come after this one."""
        for step, path in training.folder.sheets_by_step().items():
            if step > self._sheet:
                self._sheet = step
                with Image.open(path) as image:
                    pixels = np.asarray(image)
                layout = "HW" if pixels.ndim == 2 else "HWC"
                self._writer.add_image("samples", pixels, step, dataformats=layout)
