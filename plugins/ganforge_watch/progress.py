"""How far a run is: a live display on a terminal, plain lines elsewhere.

Wall-clock time steers only what is shown here, never what is learned.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping

import rich
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ganforge import Hook, Training
from ganforge_watch import cost, disk

_REFRESH = 0.2  # seconds between two pictures on a terminal
_READ = 1.0  # seconds between two looks at the losses, which wait for the device
_WINDOW = 60.0  # seconds over which the speed is taken
_SIDES = (("D", "discriminator"), ("G", "generator"))


class Progress(Hook):
    """Says what the run costs, shows how far it is, and what it took in the end."""

    _display: _Live | _Lines | None = None

    def run_started(self, training: Training) -> None:
        console = rich.get_console()
        report_cost(console, training)
        self._watches = cost.Stopwatch(training), cost.Waits()
        self._speed = Speed(training)
        live = console.is_terminal and not console.is_dumb_terminal and not console.is_jupyter
        self._display = _Live(console) if live else _Lines(console, self.options.every)
        self._display.update(training, self._speed)

    def step_ended(self, training: Training, step: int) -> None:
        if self._display is None:
            return
        for watch in self._watches:
            for line in watch.step_ended(training, step):
                self._display.console.print(Text(line), soft_wrap=True)
        if isinstance(self._display, _Live) and not self._display.console.is_terminal:
            self._display.close()  # the terminal is gone, and a log takes over from it
            self._display = _Lines(self._display.console, self.options.every)
        self._display.update(training, self._speed)

    def run_ended(self, training: Training, error: BaseException | None) -> None:
        if self._display is None:
            return
        self._display.close()
        taken = training.step - training.first_step
        if error is None and taken:
            images, seconds = self._speed.whole(training)
            self._display.console.print(
                Text(
                    f"{taken:,} step{'' if taken == 1 else 's'} in {cost.duration(seconds)}, "
                    f"{cost.figure(images / seconds)} images/s"
                ),
                soft_wrap=True,
            )


def report_cost(console: Console, training: Training) -> None:
    """Print the block that says what is played, on what, and how much memory it takes."""
    console.print(Text(cost.title(training), style="bold"), soft_wrap=True)
    rows = [*cost.rows(training), ("disk", disk.row(training))]
    if console.is_terminal:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        for label, text in rows:
            table.add_row(f"  {label}", Text(text))
        console.print(table, highlight=False)
        return
    width = max(len(label) for label, _ in rows)
    for label, text in rows:
        console.print(Text(f"  {label:<{width}}  {text}"), soft_wrap=True)


class Speed:
    """Steps and images per second, over the last minute and over the whole sitting."""

    def __init__(self, training: Training) -> None:
        self._marks: deque[tuple[float, int, int]] = deque()
        self._first = self.mark(training)

    def mark(self, training: Training) -> tuple[float, int, int]:
        """Note where the run is now."""
        mark = (time.perf_counter(), training.step, training.images)
        self._marks.append(mark)
        while len(self._marks) > 2 and mark[0] - self._marks[1][0] > _WINDOW:
            self._marks.popleft()
        return mark

    def images(self) -> float | None:
        """Images per second; None before the first step."""
        (t0, s0, i0), (t1, s1, i1) = self._marks[0], self._marks[-1]
        return (i1 - i0) / (t1 - t0) if s1 > s0 else None

    def left(self, training: Training) -> float | None:
        """Seconds until the last step; None before the first step."""
        (t0, s0, _), (t1, s1, _) = self._marks[0], self._marks[-1]
        return (t1 - t0) / (s1 - s0) * (training.steps - training.step) if s1 > s0 else None

    def whole(self, training: Training) -> tuple[int, float]:
        """(images, seconds) of this sitting."""
        time_now, _, images = self.mark(training)
        return images - self._first[2], time_now - self._first[0]


class _Live:
    """A bar with the losses below it, redrawn in place and gone at the end."""

    def __init__(self, console: Console) -> None:
        self.console = console
        # No refreshing thread: it would take a core from the training ten times a second.
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()
        self._shown = self._read = -math.inf
        self._figures: dict[str, float] = {}

    def update(self, training: Training, speed: Speed) -> None:
        now = time.perf_counter()
        if now - self._shown < _REFRESH:
            return
        if now - self._read >= _READ and training.step > training.first_step:
            self._figures = training.gauges()
            self._read = time.perf_counter()
        speed.mark(training)
        self._live.update(self._picture(training, speed), refresh=True)
        self._shown = time.perf_counter()

    def close(self) -> None:
        self._live.stop()

    def _picture(self, training: Training, speed: Speed) -> RenderableType:
        rate, left = speed.images(), speed.left(training)
        head = Table.grid(padding=(0, 2), expand=True)
        head.add_column(ratio=1, min_width=10)
        for _ in range(3):
            head.add_column(no_wrap=True)
        head.add_row(
            ProgressBar(training.steps, training.step, complete_style="cyan"),
            Text(f"{training.step:,}/{training.steps:,}"),
            Text(f"{cost.figure(rate)} images/s" if rate is not None else "", style="dim"),
            Text(f"{cost.duration(left)} left" if left is not None else "", style="bold"),
        )
        return Group(head, *_figure_lines(training, self._figures))


class _Lines:
    """A line now and then: at most one each `every` seconds and each hundredth of the run."""

    def __init__(self, console: Console, every: float) -> None:
        self.console = console
        self._every = every
        self._shown = time.perf_counter()
        self._step: int | None = None

    def update(self, training: Training, speed: Speed) -> None:
        if self._step is None:
            self._step = training.step
            return
        late = time.perf_counter() - self._shown >= self._every
        far = training.step - self._step >= training.steps / 100
        if not (late and far) and training.step != training.steps:
            return
        figures = training.gauges()
        speed.mark(training)
        self.console.print(Text(self._line(training, speed, figures)), soft_wrap=True)
        self._shown, self._step = time.perf_counter(), training.step

    def close(self) -> None:
        pass

    def _line(self, training: Training, speed: Speed, figures: Mapping[str, float]) -> str:
        rate, left = speed.images(), speed.left(training)
        total = f"{training.steps:,}"
        parts = [
            f"step {training.step:>{len(total)},}/{total} {training.step / training.steps:>4.0%}"
        ]
        if rate is not None:
            parts.append(f"{cost.figure(rate)} images/s")
        if left:
            parts.append(f"{cost.duration(left)} left")
        parts += [line.plain.strip() for line in _figure_lines(training, figures)]
        return "  ".join(parts)


def _figure_lines(training: Training, figures: Mapping[str, float]) -> Iterator[Text]:
    """`D  adversarial 0.684  right 74%`, and the same for G."""
    losses = _losses(training, figures)
    right = [value for name, value in figures.items() if name.split("/")[0] == "accuracy"]
    for letter, side in _SIDES:
        line = Text()
        for name, terms in losses.get(side, {}).items():
            line.append(f"  {name}", style="dim")
            for term, values in terms.items():
                line.append(f" {term}" if term else "", style="dim")
                line.append("".join(f" {_number(value)}" for value in values))
        if side == "discriminator" and right:
            line.append("  right", style="dim")
            line.append("".join(f" {value:.0%}" for value in right))
        if line:
            yield Text.assemble(("  " + letter, "bold"), line)


def _losses(
    training: Training, figures: Mapping[str, float]
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """side -> loss -> term -> values, one per discriminator that the loss plays on.

    Keys are `loss/NAME/SIDE`, `loss/NAME/GUARD/SIDE` where there are several discriminators, and
    either with `/TERM` behind it.
    """
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for key, value in figures.items():
        kind, *parts = key.split("/")
        if kind != "loss":
            continue
        loss = training.plan.losses[parts.pop(0)]
        if loss.of_pairings and len(training.plan.discriminators) > 1:
            parts.pop(0)
        side, *term = parts
        terms = found.setdefault(side, {}).setdefault(loss.name, {})
        terms.setdefault(" ".join(term), []).append(value)
    return found


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.3g}"
