"""metrics.jsonl: a line of numbers each logged step, and the recipe's metrics when they are due.

{"step": 50, "images": 3200, "seconds": 2.41, "loss/adversarial/discriminator": 0.69, ...}
{"step": 500, "images": 32000, "seconds": 24.3, "metric/fidelity/fid": 31.2, "protocols": {...}}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import rich
from rich.text import Text

from ganforge import GanforgeError, Hook, Measurement, Training


class Metrics(Hook):
    """Writes what is logged each `every` steps, measures each `evaluate` steps and at the end."""

    _measured = -1  # the step that was measured last

    def step_ended(self, training: Training, step: int) -> None:
        if step % self.options.every == 0 or step in (1, training.steps):
            figures = training.gauges()  # first, since it waits for the device
            _write(training, dict(sorted(figures.items())))
        if self.options.evaluate and step % self.options.evaluate == 0:
            self._measure(training)

    def run_ended(self, training: Training, error: BaseException | None) -> None:
        if error is None and not training.interrupted and self._measured != training.step:
            self._measure(training)

    def _measure(self, training: Training) -> None:
        """Compute every metric of the recipe; write, print and announce the figures."""
        self._measured = training.step
        figures: dict[str, float] = {}
        protocols: dict[str, str] = {}
        console = rich.get_console()
        for name, part in training.plan.metrics.items():
            try:
                metric = partial(training.registry.load_target(part.component), part.options)
                with training.looking() as run:
                    measurement = Measurement.take(name, metric, run, part.component)
            except GanforgeError as error:
                console.print(Text(f"metric {name} could not be computed: {error}"), soft_wrap=True)
                continue
            measurement.show(console)
            protocols[name] = measurement.protocol
            found = measurement.figures.items()
            figures |= {f"metric/{name}/{key}": value for key, value in found}
        if figures:
            _write(training, figures, protocols=protocols)
            training.computed(figures)


def _write(training: Training, figures: Mapping[str, float], **others: Any) -> None:
    """Append a line. Numbers that JSON does not know (NaN, infinity) become null."""
    line = {
        "step": training.step,
        "images": training.images,
        "seconds": round(training.elapsed, 3),
        **{name: value if math.isfinite(value) else None for name, value in figures.items()},
        **others,
    }
    with training.folder.metrics.open("a", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(line) + "\n")
