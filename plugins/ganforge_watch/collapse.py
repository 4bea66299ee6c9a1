"""A warning where one side has won for good: D is always right, or G makes one image only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import rich
from rich.text import Text

from ganforge import Hook, Training


class CollapseAlarm(Hook):
    """Looks at D's accuracy and at how much images differ within a batch, each `every` steps.

    Warns once of each discriminator where its accuracy was 1, or the fakes' spread below `spread`
    times that of real images, at every look of `window` steps. Steps that train one side alone do
    not count.
    """

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self._since: dict[str, int] = {}  # what lasts -> the step of the look that saw it first
        self._warned: list[str] = []

    def step_ended(self, training: Training, step: int) -> None:
        if step % self.options.every:
            return
        lasting = set(self._seen(training)) if _both_learn(training) else set()
        self._since = {what: self._since.get(what, step) for what in sorted(lasting)}
        for what, since in self._since.items():
            if step - since >= self.options.window and what not in self._warned:
                self._warned.append(what)
                self._warn(training, what, since)

    def _seen(self, training: Training) -> Iterator[str]:
        """What is the case now: `accuracy`, `spread`, with `/GUARD` where there are several."""
        figures = training.gauges()
        for name, value in figures.items():
            kind, _, rest = name.partition("/")
            if kind == "accuracy" and value >= 1:
                yield name
            if kind == "pixel_std" and rest.startswith("fake"):
                real = figures[f"pixel_std/real{rest.removeprefix('fake')}"]
                if value < self.options.spread * real:
                    yield f"spread{rest.removeprefix('fake')}"

    def _warn(self, training: Training, what: str, since: int) -> None:
        kind, _, discriminator = what.partition("/")
        discriminator = discriminator or next(iter(training.plan.discriminators))
        describe = _too_strong if kind == "accuracy" else _all_alike
        line = f"step {training.step:,}: since step {since:,} {describe(training, discriminator)}"
        name = next(name for name, hook in training.watching.items() if hook is self)
        text = Text.assemble(("warning", "bold yellow"), f": {name}, {line}")
        rich.get_console().print(text, soft_wrap=True)
        if self.options.stop and training.step < training.steps:
            training.stop(line.partition(": ")[2].partition(";")[0])

    def save_state(self) -> dict[str, Any]:
        return {"since": self._since, "told": self._warned}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self._since = {str(what): int(step) for what, step in state["since"].items()}
        self._warned = list(state["told"])


def _both_learn(training: Training) -> bool:
    sides = {
        trained_module.side
        for trained_module in training.game.trained_modules
        if trained_module.learns
    }
    return len(sides) == 2


def _too_strong(training: Training, discriminator: str) -> str:
    helps = [f"a lower `discriminators.{discriminator}.optimizer.lr`"]
    if training.game.phase and training.game.phase.discriminator_steps > 1:
        helps.append("fewer `train.discriminator_steps`")
    helps += _missing(training)
    return (
        f"discriminator '{discriminator}' tells every fake from real data, so the generator may "
        "learn "
        f"little; what often helps: {_listed(helps)}"
    )


def _all_alike(training: Training, discriminator: str) -> str:
    makers = " and ".join(f"'{name}'" for name in training.plan.pairings(discriminator))
    saved = training.folder.checkpoint_steps()
    back = f"; there are checkpoints of steps {', '.join(map(str, saved))}" if saved else ""
    helps = ["a lower `optimizer.lr`", "a larger `train.batch`", *_missing(training)]
    return (
        f"the images of generator {makers} are nearly all alike; what often helps: "
        f"{_listed(helps)}{back}"
    )


def _missing(training: Training) -> Iterator[str]:
    """What steadies a discriminator and is not in the recipe."""
    losses = {loss.component.name for loss in training.plan.losses.values()}
    if not losses & {"r1", "gradient-penalty"}:
        yield "a loss `r1`"
    if "diff-augment" not in {a.component.name for a in training.plan.augmentors.values()}:
        yield "an augmentor `diff-augment`"


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"
