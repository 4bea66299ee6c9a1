"""What metrics must satisfy, measuring a small game that was just played."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import torch

from ganforge.interfaces.components import Metric
from ganforge.interfaces.errors import GanforgeError, PluginError
from ganforge.runs.measurement import Measurement
from ganforge.testing.cases import Failed, NotTried, Subject
from ganforge.testing.playing import NAME, training

_KEY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*(/[a-z0-9]+(-[a-z0-9]+)*)*")


def measures(subject: Subject) -> None:
    """It returns the same finite figures each time (except `seconds`), named as words
    joined by `-`, or says in one line (GanforgeError) why it cannot measure this run."""
    first, second = (_measured(subject) for _ in range(2))
    for name, value in first.items():
        if not _KEY.fullmatch(name):
            raise Failed(f"figure '{name}': lower-case words joined by `-`, parts joined by `/`")
        if not math.isfinite(value):
            raise Failed(f"figure '{name}' is {value}")
        if value != second.get(name) and name.rpartition("/")[2] != "seconds":
            raise Failed(f"figure '{name}' is {value}, and {second.get(name)} when measured again")


def _measured(subject: Subject) -> Mapping[str, float]:
    with training(subject.registry) as played:
        played.run()
        with played.looking() as run:
            try:
                return Measurement.take(NAME, _built(subject), run).figures
            except PluginError as error:
                raise Failed(str(error)) from error
            except GanforgeError as refusal:
                if "\n" in str(refusal):
                    raise Failed(f"refuses in several lines: {refusal}") from refusal
                raise NotTried(str(refusal)) from refusal


def leaves_alone(subject: Subject) -> None:
    """Measuring during training does not change how training continues."""
    weights = []
    for measured in (False, True):
        with training(subject.registry) as played:
            played.steps = 2
            played.run()
            if measured:
                before = torch.get_rng_state()
                with played.looking() as run:
                    try:
                        _built(subject).measure(run)
                    except GanforgeError as refusal:
                        raise NotTried(str(refusal)) from refusal
                if not torch.equal(before, torch.get_rng_state()):
                    raise Failed("draws from torch's global generator; use ganforge.Draws")
            played.steps, played.stop_reason = 4, ""
            played.run()
            weights.append({k: v.clone() for k, v in played.game.state()["networks"].items()})
    for name, tensor in weights[0].items():
        if not torch.equal(tensor, weights[1][name]):
            raise Failed(f"'{name}' trains differently after a measurement")


def closed_forms(subject: Subject) -> None:
    """The cases with a known answer that its class lists agree to a millionth."""
    listed = list(_built(subject).closed_forms())
    if not listed:
        raise NotTried("its class lists no cases with a known answer (`closed_forms`)")
    for what, found, expected in listed:
        if not math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-6):
            raise Failed(f"{what}: {found!r}, but it must be {expected!r}")


def protocol(subject: Subject) -> None:
    """Its protocol is one line."""
    text = _built(subject).protocol()
    if not isinstance(text, str) or not text.strip() or "\n" in text:
        raise Failed(f"protocol() returns {text!r}: one line on what data, how many, how computed")


def _built(subject: Subject) -> Metric:
    metric = subject.cls(subject.options)
    assert isinstance(metric, Metric)
    return metric


def checks(kind: str) -> tuple[Callable[[Subject], None], ...]:
    """The checks of a metric."""
    return measures, leaves_alone, closed_forms, protocol
