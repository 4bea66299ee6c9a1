"""What a run costs on this machine: said before it settles in, then measured on its first steps."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping

import torch

from ganforge import ImageSpec, Spec, Training

_WARM_UP = 2  # steps that are not measured: kernels are chosen, memory is reserved
_LOOKED = 10  # seconds of which the share is taken that went by waiting for data
_MUCH = 0.2  # such a share that is worth a word
_LONG = 600  # seconds after which a run is told that it has a preview

# Numbers that an optimizer keeps for each weight.
_MOMENTS = {"Adam": 2, "AdamW": 2, "RMSprop": 1, "SGD": 0}


def title(training: Training) -> str:
    """`dcgan-mnist on cpu, bf16, 2 threads`; where several processes play, how many."""
    machine = training.game.machine
    threads = f", {_counted(machine.threads, 'thread')}" if machine.device.type == "cpu" else ""
    preview = " (preview)" if training.plan.preview else ""
    together = f", {machine.processes} processes" if machine.processes > 1 else ""
    machine_text = f"{machine.device}, {machine.precision}{threads}{together}"
    return f"{training.plan.name}{preview} on {machine_text}"


def rows(training: Training) -> Iterator[tuple[str, str]]:
    """(what, how much): networks, data, length and memory."""
    yield from _networks(training)
    yield "data", _data(training)
    yield "length", _length(training)
    yield "memory", _memory(training)


def _networks(training: Training) -> Iterator[tuple[str, str]]:
    plan, game = training.plan, training.game
    for kind, networks in (
        ("generator", plan.generators),
        ("discriminator", plan.discriminators),
    ):
        for name, network in networks.items():
            counted = _parameters(*game.sizes_of(network.address))
            averaged = ", averaged" if network.address in game.ema else ""
            label = kind if len(networks) == 1 else f"{kind} {name}"
            yield label, f"{network.component.name}, {counted}{averaged}"
    for address in game.losses:
        parameters, frozen = game.sizes_of(address)
        if parameters:
            yield address.partition(".")[2], _parameters(parameters, frozen)


def _parameters(count: int, frozen: int) -> str:
    """`144,352 parameters, 11,024 of them frozen`"""
    if not frozen:
        return f"{count:,} parameters"
    return f"{count:,} parameters, {'all' if frozen == count else f'{frozen:,}'} of them frozen"


def _data(training: Training) -> str:
    plan = training.plan
    counts = plan.data.description.counts.get("train", {})
    played = plan.played_domains()
    specs = {n: s for n, s in plan.data.description.domains.items() if n in played}
    rows = [
        f"{_rows(name, counts.get(name))} of {spec.height} x {spec.width} px"
        for name, spec in specs.items()
        if isinstance(spec, ImageSpec)
    ]
    streamed = ", streamed" if training.game.feed.streams else ""
    listed = ", ".join(rows or _without_images(specs, counts))
    return f"{plan.data.component.name}: {listed}{streamed}"


def _without_images(specs: Mapping[str, Spec], counts: Mapping[str, int]) -> Iterator[str]:
    """`8,640 time and wording` where rows belong together, else each domain with its rows"""
    together: dict[int | None, list[str]] = {}
    for name in specs:
        together.setdefault(counts.get(name), []).append(name)
    for count, names in together.items():
        yield _rows(" and ".join(names), count)


def _rows(domain: str, count: int | None) -> str:
    """`60,000 images`, `1,067 horse`"""
    name = "images" if domain == "image" else domain
    return name if count is None else f"{count:,} {name}"


def _length(training: Training) -> str:
    plan = training.plan
    epochs = plan.steps * _images_per_step(training) / plan.train.batch
    epochs /= training.game.feed.updates_per_epoch
    length = f"{_counted(plan.steps, 'step')} of batch {plan.train.batch}, {_epochs(epochs)}"
    return length + (f", {training.first_step:,} done" if training.first_step else "")


def _epochs(epochs: float) -> str:
    written = f"{epochs:.3g}" if epochs < 1000 else f"{epochs:,.0f}"
    return f"{written} epoch{'' if written == '1' else 's'}"


def _memory(training: Training) -> str:
    game = training.game
    parts = {
        "weights": sum(
            bytes_of(module) for module in (*game.networks.values(), *game.losses.values())
        ),
        "gradients": sum(
            p.nbytes for trained_module in game.trained_modules for p in trained_module.parameters
        ),
        "optimizers": sum(
            moments(trained_module.optimizer) for trained_module in game.trained_modules
        ),
        "averages": sum(bytes_of(module) for module in game.ema.values()),
        "data": game.feed.held_bytes,
    }
    listed = ", ".join(f"{name} {size_of(size)}" for name, size in parts.items() if size)
    return f"{size_of(sum(parts.values()))}: {listed}; activations come on top"


def bytes_of(module: torch.nn.Module) -> int:
    """Of weights and buffers."""
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def moments(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of what an optimizer keeps for its weights, from its first step on."""
    group = optimizer.param_groups[0]
    kept = _MOMENTS.get(type(optimizer).__name__, 0) + bool(group.get("momentum"))
    return kept * sum(p.nbytes for g in optimizer.param_groups for p in g["params"])


class Waits:
    """Says once when much of a sitting goes by waiting for data."""

    def __init__(self) -> None:
        self._start: tuple[float, float] | None = None
        self._done = False

    def step_ended(self, training: Training, step: int) -> list[str]:
        """The line to print, when there is reason to."""
        feed, now = training.game.feed, time.perf_counter()
        if self._done or not feed.streams:
            return []
        if self._start is None:  # the first step starts processes, and waits for them
            self._start = now, feed.waited
        seconds = now - self._start[0]
        if seconds < _LOOKED:
            return []
        share = (feed.waited - self._start[1]) / seconds
        self._start = now, feed.waited
        if share <= _MUCH:
            return []
        self._done = True
        return [
            f"{share:.0%} of the time was spent waiting for data: more `train.workers`, "
            "`train.cache = true` or, where memory allows, a larger `train.hold` reduce that"
        ]


class Stopwatch:
    """Measures the first steps of a sitting and says once what the rest will take."""

    def __init__(self, training: Training) -> None:
        self._first = training.step + _WARM_UP
        self._start: float | None = None
        self._images = 0
        self._done = False

    def step_ended(self, training: Training, step: int) -> list[str]:
        """Lines to print, when enough was measured."""
        if self._done or step < self._first:
            return []
        if self._start is None:
            training.gauges()  # waits for the device
            self._start, self._images = time.perf_counter(), training.images
            return []
        steps, seconds = step - self._first, time.perf_counter() - self._start
        if not (steps >= 6 and seconds >= 2) and not (steps >= 2 and seconds >= 10):
            return []
        self._done = True
        training.gauges()
        seconds = time.perf_counter() - self._start
        rate = (training.images - self._images) / seconds
        return list(_measured(training, seconds / steps, rate))


def _measured(training: Training, per_step: float, rate: float) -> Iterator[str]:
    steps = training.steps - training.first_step
    rest = "all" if not training.first_step else "the other"
    peak = peak_memory(training)
    yield (
        f"{_per_step(per_step)} per step, {figure(rate)} images/s: "
        f"{rest} {steps:,} steps take about {duration(steps * per_step)}"
        + (f"; memory peak {size_of(peak)}" if peak else "")
    )
    if steps * per_step > _LONG and training.plan.has_preview and not training.plan.preview:
        yield "a small version of this game takes minutes: the same command with `--preview`"


def peak_memory(training: Training) -> int:
    """The most bytes that this process (on CUDA: its tensors) has held; 0 where nobody counts."""
    if training.game.device.type == "cuda":
        return torch.cuda.max_memory_allocated(training.game.device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _images_per_step(training: Training) -> float:
    """Real images that a discriminator sees in a step; the mean where phases differ."""
    batch, phases = training.plan.train.batch, training.plan.phases
    steps = sum(p.last - p.first + 1 for p in phases)
    return batch * sum(p.discriminator_steps * (p.last - p.first + 1) for p in phases) / steps


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _per_step(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def figure(value: float) -> str:
    """A rate for people: 2,637, 41.2, 0.83."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def size_of(count: int) -> str:
    """Bytes for people: 7 KB, 38 MB, 1.2 GB."""
    if count >= 1e9:
        return f"{count / 1e9:.1f} GB"
    if count >= 1e6:
        return f"{count / 1e6:.0f} MB"
    return f"{max(1, round(count / 1e3))} KB"


def duration(seconds: float) -> str:
    """A time for people: 0.4 s, 42 s, 3 min 50 s, 2 h 5 min, 4 days 3 h."""
    if seconds < 9.95:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole < 600 else f"{whole // 60} min"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} days {whole % 86400 // 3600} h"
