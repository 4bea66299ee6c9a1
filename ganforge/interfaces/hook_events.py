"""The moments of a training that hooks may attend. `training` is the trainer's public face.

A hook defines any of these methods with any subset of the arguments, by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ganforge.interfaces.manifest import hookspec

if TYPE_CHECKING:
    from ganforge.interfaces.protocols import TrainingInProgress


class TrainingSpecs:
    """Called in the order of the recipe file."""

    @hookspec
    def run_started(self, training: TrainingInProgress) -> None:
        """Everything is built and, when resuming, loaded; no step was taken by this process."""

    @hookspec
    def step_started(self, training: TrainingInProgress, step: int) -> None:
        """Before step `step` (the first is 1)."""

    @hookspec
    def before_update(self, training: TrainingInProgress, step: int, side: str) -> None:
        """Gradients of this side are complete; its optimizers step next."""

    @hookspec
    def after_update(self, training: TrainingInProgress, step: int, side: str) -> None:
        """The optimizers of this side ("discriminator" or "generator") have stepped."""

    @hookspec
    def step_ended(self, training: TrainingInProgress, step: int) -> None:
        """After step `step`. Hooks that declare `changes_weights` may change networks here."""

    @hookspec
    def metrics_computed(
        self, training: TrainingInProgress, step: int, metrics: Mapping[str, float]
    ) -> None:
        """Metrics were computed; keys are `metric/NAME/FIGURE`."""

    @hookspec
    def run_ended(self, training: TrainingInProgress, error: BaseException | None) -> None:
        """The last step is done (error is None), or the run stops because of `error`."""
