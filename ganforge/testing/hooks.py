"""What hooks must satisfy, in a small game."""

from __future__ import annotations

import json
from collections.abc import Callable

import torch
from torch import Tensor

from ganforge.interfaces.components import Hook
from ganforge.interfaces.errors import GanforgeError
from ganforge.testing.cases import Failed, NotTried, Subject
from ganforge.testing.playing import NAME, training
from ganforge.training.hooks import manager_of
from ganforge.training.trainer import Training


def moments(subject: Subject) -> None:
    """Its public methods are hook events, with arguments of these events."""
    manager_of({NAME: _built(subject)})


def watches(subject: Subject) -> None:
    """A game with it trains to its end; without `changes_weights`, to the same weights, bit for
    bit, as without it."""
    with training(subject.registry) as alone:
        alone.run()
        expected = _weights(alone)
    with training(subject.registry, subject) as watched:
        _run(watched)
        if watched.step != watched.steps and not watched.stop_reason:
            raise Failed(f"the game ended at step {watched.step} of {watched.steps}")
        if watched.stop_reason or subject.cls.changes_weights:  # type: ignore[attr-defined]
            return
        for name, tensor in _weights(watched).items():
            if not torch.equal(tensor, expected[name]):
                raise Failed(
                    f"'{name}' differs from the same training without this hook: a hook that "
                    "changes weights "
                    "says `changes_weights = True`; others leave torch's random state and the "
                    "networks as they are"
                )


def _run(watched: Training) -> None:
    """Play the game. A hook may say in one line that it is made for another one."""
    try:
        watched.run()
    except GanforgeError as refusal:
        raise NotTried(str(refusal)) from refusal


def _weights(done: Training) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in done.game.state()["networks"].items()}


def kept(subject: Subject) -> None:
    """Its state is JSON, and another instance that loads it has the same state."""
    try:
        with training(subject.registry, subject) as watched:
            json.dumps(watched.watching[NAME].save_state())  # as it is at first
            _run(watched)  # which saves it in a checkpoint
            text = json.dumps(watched.watching[NAME].save_state())
    except (TypeError, ValueError) as error:
        raise Failed(f"save_state() is not JSON: {error}") from error
    other = _built(subject)
    other.load_state(json.loads(text))
    if json.dumps(other.save_state()) != text:
        raise Failed("after load_state, save_state returns something other than what was loaded")


def _built(subject: Subject) -> Hook:
    hook = subject.cls(subject.options)
    assert isinstance(hook, Hook)
    return hook


def checks(kind: str) -> tuple[Callable[[Subject], None], ...]:
    """The checks of a hook."""
    return moments, watches, kept
