"""A turn that was not finite, kept whole so that it can be played again.

failed/step-00000812/
    networks.safetensors    weights and buffers of everything that plays, as before the turn
    optimizers.safetensors  the optimizers' moments, as before the turn
    inputs.safetensors      the batch of real data, and what encoders had made of it
    state.json              which turn of which step, learning rates, what was found, SHA-256

Noise, labels, augmentations and dropout masks follow from the recipe's seed and the turn's place.
BatchNorm's running statistics, which no forward that trains reads, are as they were found; on an
accelerator, where what is not finite is noticed later, all buffers are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import attrs
import torch
from attrs import frozen
from torch import Tensor

from ganforge.game.batch import Batch
from ganforge.game.game import Game
from ganforge.game.nan_examination import Findings, examine
from ganforge.game.nan_guard import Broken, Guard, TurnPosition, called
from ganforge.hardware import machine
from ganforge.interfaces.components import GeneratorOutput
from ganforge.interfaces.errors import GanforgeError, RunError, TrainingError
from ganforge.interfaces.manifest import with_options
from ganforge.planning.plan import SIDES, PhasePlan, Plan
from ganforge.registry.registry import Registry
from ganforge.storage import checkpoint
from ganforge.storage.run_folder import RunFolder
from ganforge.storage.step_names import folder_name

_FILES = ("networks.safetensors", "optimizers.safetensors", "inputs.safetensors")
_ENCODED = "encoded/"  # in inputs.safetensors, before NETWORK/PURPOSE


# --- keeping --------------------------------------------------------------------------------------


def keep(
    game: Game,
    run: RunFolder,
    guard: Guard,
    broken: Broken,
    batches: Sequence[Batch],
    *,
    steps_done: int,
) -> TrainingError:
    """Write the snapshot of a broken turn into the run folder. Returns the error to show.

    batches: those of the turn, where it is the one that is being played.
    """
    at = broken.at
    guard.restore()
    shared = batches and at.side == "generator" and game.ranks is None  # else made anew
    encoded = batches[0].encoded if shared else {}
    state = {
        files: {name: value.detach().clone() for name, value in tensors.items()}
        for files, tensors in game.state().items()
    }
    findings = examine(game, at, encoded)
    if broken.kind == "weight" and broken.exact:
        findings = attrs.evolve(findings, updated=broken.names)
    folder = run.failed / folder_name(at.step)
    inputs = dict(game.batches.batch(at.update))
    beside = {f"{_ENCODED}{name}/{purpose}": made.data for (name, purpose), made in encoded.items()}
    try:
        checkpoint.write(
            folder,
            dict(
                zip(_FILES, (state["networks"], state["optimizers"], inputs | beside), strict=True)
            ),
            _state(game, broken, findings, inputs),
            "snapshot",
        )
        shown = f"`ganforge replay {folder.as_posix()}` shows it again"
    except RunError as error:
        shown = str(error)
    moved = bool(steps_done) or guard.stepped or bool(findings.weights)
    return TrainingError(_message(game, run, broken, findings, moved=moved) + f"; {shown}")


def _state(
    game: Game, broken: Broken, findings: Findings, inputs: Mapping[str, Tensor]
) -> dict[str, Any]:
    assert game.phase is not None
    return {
        **attrs.asdict(broken.at),
        "steps": game.plan.steps,
        "seed": game.plan.train.seed,
        "phase": attrs.asdict(game.phase),
        "rates": {p.address: p.optimizer.param_groups[0]["lr"] for p in game.trained_modules},
        "layouts": {name: "channels_last" for name, value in inputs.items() if _is_last(value)},
        "kind": broken.kind,
        "names": broken.names,
        "exact": broken.exact,
        "findings": findings.for_json(),
        "machine": game.machine.facts(),
        "torch": str(torch.__version__),
    }


def _is_last(value: Tensor) -> bool:
    last = value.dim() == 4 and value.is_contiguous(memory_format=torch.channels_last)
    return last and not value.is_contiguous()


def _message(game: Game, run: RunFolder, broken: Broken, findings: Findings, *, moved: bool) -> str:
    """`step 3: not finite: ...`, what that means for the run, and what often helps. moved: whether
    any update was made before, without which no learning rate can have done it."""
    at = broken.at
    helps = "a smaller `optimizer.lr` or `clip = 1.0` on the network often helps"
    if game.machine.precision != "fp32":
        helps = helps.replace(" or", ",").replace(" often", ' or `train.precision = "fp32"` often')
    what = f"step {at.step}: not finite: {_what(broken, findings)}"
    kept = run.kept()
    if not moved and broken.kind != "weight":
        return f"{what}. {_from_the_first_weights_on(game, broken, findings)}; {kept}"
    if not findings.weights:
        return f"{what}. The update was not made, so weights are as before it; {kept}; {helps}"
    return (
        f"{what}. An update before this turn did it unseen; {kept}; the same command again "
        f"continues from there and looks at every gradient; {helps}"
    )


def _from_the_first_weights_on(game: Game, broken: Broken, findings: Findings) -> str:
    """What to do where nothing had been learned yet."""
    at = broken.at
    asked = game.wants(game.active(at.side, at.step, at.count), at.side)
    helps = "look for a division by 0, a logarithm or an exponential there"
    if any(name.endswith("_gradient") for name in asked):
        helps = (
            "a loss there reads a gradient, and a square root or a norm of 0 has no first or "
            "second derivative: add a small number under the root, in the loss or in the network, "
            "or leave that loss out"
        )
    elif not findings.broken_terms:
        helps = "a square root or a norm of 0 has no derivative: add a small number under the root"
    if game.machine.precision != "fp32":
        helps += '; or it overflows in bf16: `train.precision = "fp32"`'
    return (
        "The update was not made, and none was before it, so no smaller learning rate helps; "
        f"{helps}"
    )


def _what(broken: Broken, findings: Findings) -> str:
    """What is not finite, by its names: loss term, layer or parameter, network, turn."""
    turn = f"({broken.at.side} turn)"
    if findings.weights:
        return f"weights of {_parameters(findings.weights)} {turn}"
    if broken.kind == "weight":
        return f"weights of {_parameters(broken.names)} after the update {turn}"
    if broken.kind == "gradient":
        names = findings.gradients or broken.names
        losses = ", ".join(findings.broken_gradients)
        return f"gradient of {_parameters(names)} {turn}" + (f", by {losses}" if losses else "")
    where = f", first in {findings.layer}" if findings.layer else ", not in any layer"
    return f"{'; '.join(findings.broken_terms or broken.names)} {turn}{where}"


def _parameters(names: Sequence[str]) -> str:
    """`generator 'main', parameter 'body.0.weight' and 3 more`"""
    address, _, parameter = names[-1].partition("/")  # the last is the nearest to the loss
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return called(address) + (f", parameter '{parameter}'{more}" if parameter else "")


# --- taking it up again ---------------------------------------------------------------------------


@frozen
class Failure:
    """A snapshot that was read."""

    folder: Path
    at: TurnPosition
    state: Mapping[str, Any]
    networks: Mapping[str, Tensor]
    optimizers: Mapping[str, Tensor]
    inputs: Mapping[str, Tensor]

    @property
    def run(self) -> RunFolder:
        """The run that it stopped."""
        return RunFolder(self.folder.absolute().parent.parent)

    @property
    def found(self) -> Mapping[str, Any]:
        """What was found when it happened, as `Findings.for_json` gives it."""
        return cast(Mapping[str, Any], self.state["findings"])


def read(folder: Path) -> Failure:
    """Read a snapshot. Raises RunError where there is none, or it is damaged."""
    if not (folder / "state.json").is_file():
        raise RunError(
            f"{folder} is no snapshot of a failed step, such as RUN/failed/step-00000812"
        )
    (networks, optimizers, inputs), state = checkpoint.read(folder, _FILES, "snapshot")
    try:
        at = TurnPosition(*(state[name] for name in ("side", "step", "count", "update")))
        whole = [at.step, at.count, at.update, state["steps"]]
        findings = state["findings"]
        good = at.side in SIDES and all(type(n) is int and 0 <= n < 2**62 for n in whole)
        good = good and all(isinstance(findings[k], dict) for k in ("values", "norms"))
        good = good and all(isinstance(state[k], dict) for k in ("phase", "rates", "machine"))
        good = good and state["machine"].get("processes", 1) in range(1, 2**16)
    except (KeyError, TypeError):
        good = False
    if not good or not state["steps"]:
        raise RunError(f"{folder / 'state.json'} is not what ganforge writes of a failed step")
    return Failure(folder, at, state, networks, optimizers, inputs)


def build(failure: Failure, plan: Plan, registry: Registry, device: str | None) -> Game:
    """The game as it was before the turn. Raises GanforgeError where it is another game's.

    plan: the run's. device: instead of the run's own, which may not be there.
    """
    state = failure.state
    plan = attrs.evolve(plan, steps=state["steps"])
    train = plan.train if device is None else with_options(plan.train, device=device)
    decided = machine.decide(train)
    decided.processes = state["machine"].get("processes", 1)  # whose shares are played in turn
    inputs, _ = _inputs(failure, decided.device)
    game = Game(plan, registry, decided, _KeptBatch(inputs))
    game.enter(_phase(failure, plan))
    try:
        game.load(failure.networks, failure.optimizers)
    except (GanforgeError, KeyError, RuntimeError) as error:
        raise RunError(f"{failure.folder} does not fit {failure.run.resolved}: {error}") from error
    return game


def replay(failure: Failure, game: Game) -> Findings:
    """Play the turn again."""
    _, encoded = _inputs(failure, game.device)
    rates = failure.state["rates"] if failure.state["kind"] == "weight" else None
    return examine(game, failure.at, encoded, rates)


def _phase(failure: Failure, plan: Plan) -> PhasePlan:
    phase = failure.state["phase"]
    try:
        known = all(name in plan.losses for name in phase["losses"])
        made = PhasePlan(**{**phase, **{k: tuple(phase[k]) for k in ("train", "losses")}})
    except (KeyError, TypeError):
        known = False
    if not known:
        raise RunError(
            f"{failure.folder} does not fit {failure.run.resolved}: its phase is another"
        )
    return made


def _inputs(
    failure: Failure, device: torch.device
) -> tuple[dict[str, Tensor], dict[tuple[str, str], GeneratorOutput]]:
    """(real data by domain, what encoders had made), on the device, laid out as they were."""
    layouts = failure.state.get("layouts", {})
    data: dict[str, Tensor] = {}
    encoded: dict[tuple[str, str], GeneratorOutput] = {}
    for key, value in failure.inputs.items():
        value = value.to(device)
        if key.startswith(_ENCODED):
            name, _, purpose = key.removeprefix(_ENCODED).partition("/")
            encoded[name, purpose] = GeneratorOutput(value)
        else:
            last = key in layouts and value.dim() == 4
            data[key] = value.contiguous(memory_format=torch.channels_last) if last else value
    return data, encoded


class _KeptBatch:
    """The batch that was kept, whichever is asked for."""

    def __init__(self, data: Mapping[str, Tensor]) -> None:
        self._data = data

    def batch(self, update: int, rows: slice = slice(None)) -> dict[str, Tensor]:
        return {name: value[rows] for name, value in self._data.items()}


def difference(failure: Failure, findings: Findings) -> str:
    """How what a replay showed differs from what happened: "" where not by a bit, "numbers" where
    the same things are not finite, else "all"."""
    now, was = findings.for_json(), failure.found
    if now == was:
        return ""
    return "numbers" if findings.what() == {k: was.get(k) for k in findings.what()} else "all"


def elsewhere(failure: Failure, game: Game) -> list[str]:
    """In what the place of the replay differs: `torch 2.13.0 -> 2.14.1`."""
    was = {**failure.state["machine"], "torch": failure.state.get("torch")}
    now = {**game.machine.facts(), "torch": str(torch.__version__)}
    return [f"{key} {was[key]} -> {now[key]}" for key in now if was.get(key, now[key]) != now[key]]
