"""A backward pass that PyTorch refuses: which line of which plugin's forward it is about.

PyTorch notices only in the backward pass that a tensor that it needs there was changed in place,
and says nothing of where. The turn is played once more, remembering where each operation was
called.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch

from ganforge.game.batch import Batch
from ganforge.game.error_attribution import defined_at, own_code
from ganforge.game.game import Game
from ganforge.game.turn import Turn
from ganforge.interfaces.errors import PluginError
from ganforge.interfaces.manifest import Component
from ganforge.planning.plan import LossPlan, Plan, Side
from ganforge.registry.plugin_loader import BUILT_IN

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')
_IN_PLACE = "modified by an inplace operation"
_TWICE = "backward through the graph a second time"
_ADVICE = "what is needed for its gradient is changed in place later: use `x = x + 1`, not `x += 1`"


def blamed(
    game: Game, turn: Turn, losses: list[LossPlan], error: RuntimeError
) -> PluginError | None:
    """The error to show where a backward pass failed in what a third party's code computed; None
    where it did not. The game cannot go on after it."""
    theirs = [c for c in differentiated(game.plan) if c.provider != BUILT_IN]
    if not theirs or game.ranks is not None:  # other processes would not play it again
        return None
    for file, line, function in _places(game, turn, losses):
        for component in theirs:
            own = own_code(component)
            if own is not None and (file == own or own in file.parents):
                why = _ADVICE if _IN_PLACE in str(error) else str(error).splitlines()[0]
                return PluginError(
                    f"{component.kind} '{component.name}' of {component.provider} computes what "
                    f"has no gradient ({file}:{line}, in {function}): {why}"
                )
    if _TWICE in str(error):
        return PluginError(
            "something differentiates the losses before the trainer does, and drops their graph: "
            f"give torch.autograd.grad `create_graph=True`{detaching(game.plan, turn.side)}"
        )
    return None


def detaching(plan: Plan, side: Side) -> str:
    """Whose code may have cut a gradient off, and where it is: `; look into ...`."""
    theirs = [c for c in differentiated(plan) if c.provider != BUILT_IN]
    method = {"loss": side, "augmentor": "view"}
    places = [
        f"{c.kind} '{c.name}' of {c.provider}{defined_at(c, method.get(c.kind, 'forward'))}"
        for c in theirs
    ]
    return f"; look into {', '.join(places)}" if places else ""


def differentiated(plan: Plan) -> list[Component]:
    """The components whose code a gradient passes through."""
    views = (domain.view for domain in plan.domains.values() if domain.view is not None)
    parts = (*plan.losses.values(), *plan.networks.values(), *plan.augmentors.values(), *views)
    return [part.component for part in parts]


def _places(game: Game, turn: Turn, losses: list[LossPlan]) -> Iterable[tuple[Path, int, str]]:
    """Where the operation was called whose gradient fails, the innermost frame first."""
    batch = turn.batch
    again = Batch(game, batch.update, batch.rows, graph=turn.side == "generator")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with torch.autograd.detect_anomaly(check_nan=False):
                played = Turn(again, turn.side, turn.step, game.wants(losses, turn.side))
                total = game.total(played, losses, {})
                if total is not None:
                    total.backward()  # type: ignore[no-untyped-call]
        except Exception:  # what failed before fails again
            pass
    told = [str(warning.message) for warning in caught]
    said = next((text for text in told if "Traceback of forward call" in text), "")
    for found in reversed(list(_FRAME.finditer(said))):
        yield Path(found["file"]), int(found["line"]), found["function"]
