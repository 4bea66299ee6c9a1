"""What losses must satisfy, tried on made-up outputs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor

from ganforge.game.frozen import Frozen
from ganforge.interfaces.components import DiscriminatorOutput, Loss, LossContext
from ganforge.interfaces.errors import TrainingError
from ganforge.interfaces.specs import ImageSpec, NoiseSpec
from ganforge.interfaces.vocabulary import VOCABULARY, current, reads_output, split
from ganforge.planning.plan import SIDES, Side
from ganforge.registry.parameter_names import loss_needs
from ganforge.testing.cases import Failed, NotTried, Subject
from ganforge.testing.freezing import play_frozen
from ganforge.testing.playing import training
from ganforge.testing.situations import LABELS

ROWS = 6
IMAGE = ImageSpec(2, 8, 8)
WORDS = 5  # of a text
LATENTS = 7
SCORES: dict[str, tuple[int, ...]] = {"one score": (), "a map of scores": (3, 3)}
SCORES_OF_TEXTS: dict[str, tuple[int, ...]] = {"one score": (), "a score for each word": (WORDS,)}


def needs(subject: Subject) -> None:
    """Its methods read what its manifest says, all of it in the vocabulary."""
    declared = loss_needs(subject.component, subject.options)
    for side in SIDES:
        method = getattr(subject.cls, side, None)
        if (method is not None) != (side in declared):
            stated = "states" if side in declared else "does not state"
            raise Failed(f"the manifest {stated} needs of its {side} side; its class disagrees")
        if method is None:
            continue
        names = declared[side]
        for name in names:
            if current(name) not in VOCABULARY:
                raise Failed(f"{side}() asks for '{name}', which is not in the vocabulary")
        parameters = [*inspect.signature(method).parameters.values()][1:]
        takes = {p.name for p in parameters}
        required = {p.name for p in parameters if p.default is p.empty}
        if not required <= set(names) <= takes:
            raise Failed(f"needs of the {side} side are {sorted(names)}; it takes {sorted(takes)}")


def values(subject: Subject) -> None:
    """Its values are finite and [N, ...], one per sample; 0-d only with `mixes_batch`."""
    for what, side, loss, given in _plays(subject):
        for name, value in _called(loss, side, given).items():
            where = f"{side} side, term '{name}', for {what}"
            if not isinstance(value, Tensor):
                raise Failed(f"{where}: {type(value).__name__}, not a tensor")
            if not value.isfinite().all():
                raise Failed(f"{where}: not finite")
            if value.dim() == 0 and loss.mixes_batch:
                continue
            if value.dim() == 0 or len(value) != ROWS:
                raise Failed(
                    f"{where}: shape {list(value.shape)} for {ROWS} samples; return [N, ...], or "
                    "declare mixes_batch"
                )


def signs(subject: Subject) -> None:
    """Descending on it, D raises scores of real and lowers those of fakes, and G raises those of
    fakes."""
    wanted: dict[Side, dict[str, int]] = {
        "discriminator": {"real_scores": 1, "fake_scores": -1},
        "generator": {"fake_scores": 1},
    }
    for what, side, loss, given in _plays(subject):
        read = {n: given[n] for n in wanted[side] if n in given}
        zeros = {n: torch.zeros_like(v).requires_grad_() for n, v in read.items()}
        if not zeros:
            continue
        total = sum(v.float().mean() for v in _called(loss, side, {**given, **zeros}).values())
        found = torch.autograd.grad(cast(Tensor, total), [*zeros.values()], allow_unused=True)
        for name, gradient in zip(zeros, found, strict=True):
            if gradient is not None and float(gradient.sum()) * wanted[side][name] > 0:
                raise Failed(
                    f"descending on its {side} side moves {name} the wrong way at 0 ({what})"
                )


def pure(subject: Subject) -> None:
    """Both sides' methods change neither what they are given nor the loss itself, and return the
    same when they are called again."""
    for _, side, loss, given in _plays(subject):
        before = {name: _copied(value) for name, value in given.items()}
        state = {name: tensor.clone() for name, tensor in loss.state_dict().items()}
        first, second = (_called(loss, side, given) for _ in range(2))
        if any(not torch.equal(first[name], second[name]) for name in first):
            raise Failed(f"its {side} side returns a different value when it is called again")
        for name, value in loss.state_dict().items():
            if not torch.equal(value, state[name]):
                raise Failed(
                    f"its {side} side changes '{name}': state may change in observe() only"
                )
        for name, value in given.items():
            if not _equal(value, before[name]):
                raise Failed(f"its {side} side changes {name}, which others read too")


def observes(subject: Subject) -> None:
    """`observe` returns numbers, and changes buffers only, no parameters and no state outside of
    checkpoints: another instance that loads its state continues identically."""
    for _, shape, classes, turns in _games(subject):
        loss = _built(subject, shape, classes)
        for _ in range(2):
            for side, given in turns:  # as a step has them, D's turn before G's
                _observed(loss, side, given)
        other = _built(subject, shape, classes)
        other.load_state_dict({name: value.clone() for name, value in loss.state_dict().items()})
        for side, given in turns:
            logged, again = (_observed(one, side, given) for one in (loss, other))
            if logged != again:
                raise Failed(
                    f"observe() logs {logged} on the {side} side, but {again} after its state was "
                    "saved and loaded: what it keeps belongs in buffers"
                )


def _observed(loss: Loss, side: Side, given: Mapping[str, Any]) -> dict[str, float]:
    """What it logs after a turn."""
    weights = {name: p.detach().clone() for name, p in loss.named_parameters()}
    means = {n: v.detach().float().mean() for n, v in _called(loss, side, given).items()}
    with torch.no_grad():
        logged = loss.observe(side, means)
    if not isinstance(logged, Mapping):
        raise Failed(f"observe() returned {logged!r}, not a dict of numbers to log")
    for name, value in logged.items():
        if torch.as_tensor(value).numel() != 1:
            raise Failed(f"observe() logs '{name}' with {torch.as_tensor(value).numel()} values")
    for name, parameter in loss.named_parameters():
        if not torch.equal(parameter, weights[name]):
            raise Failed(f"observe() changes parameter '{name}'; optimizers do that")
    return {name: float(value) for name, value in logged.items()}


def plays(subject: Subject) -> None:
    """A small game with it trains to its end."""
    with training(subject.registry, subject) as played:
        try:
            played.run()
        except TrainingError as error:
            raise Failed(str(error)) from error


def frozen(subject: Subject) -> None:
    """What its constructor or `build` froze (`requires_grad_(False)`, `eval()`) is the same, bit
    for bit, after 20 updates: weights and the statistics of norms."""
    tried = False
    for what, side, loss, given in _plays(subject):
        still = Frozen.of(loss)
        tried = tried or bool(still.parameters or still.evaluating)
        detached = {name: _copied(value) for name, value in given.items()}
        play_frozen(loss, still, partial(_total, side=side, given=detached), f"{side}, {what}")
    if not tried:
        raise NotTried("it freezes nothing")


def _total(loss: Loss, side: Side, given: Mapping[str, Any]) -> Tensor:
    terms = [value.float().mean() for value in _called(loss, side, given).values()]
    return torch.stack(terms).sum()


# --- made-up games --------------------------------------------------------------------------------


def _plays(subject: Subject) -> Iterator[tuple[str, Side, Loss, dict[str, Any]]]:
    """(what the scores are, side, a fresh loss, what its method is given), for every side."""
    for what, shape, classes, turns in _games(subject):
        for side, given in turns:
            yield what, side, _built(subject, shape, classes), given


_Turns = list[tuple[Side, dict[str, Any]]]  # a side, and what its method is given


def _games(subject: Subject) -> Iterator[tuple[str, tuple[int, ...], int, _Turns]]:
    """(what the scores are, their shape, the number of classes, a step's turns)."""
    declared = loss_needs(subject.component, subject.options)
    of_texts = any(_reads(names, "log_probs") for names in declared.values())
    for what, shape in (SCORES_OF_TEXTS if of_texts else SCORES).items():
        for extra in (0, 1):  # class scores with and without one for fakes
            classes = LABELS.classes + extra
            told_apart = any(_reads(names, "class_scores") for names in declared.values())
            if extra and not told_apart:
                continue
            sides = (side for side in SIDES if side in declared)
            turns = [(side, _given(declared[side], shape, classes)) for side in sides]
            yield what, shape, classes, turns


def _built(subject: Subject, shape: tuple[int, ...], classes: int) -> Loss:
    loss = subject.cls(subject.options)
    assert isinstance(loss, Loss)
    torch.manual_seed(0)
    declared = loss_needs(subject.component, subject.options)
    of_pairings = any(reads_output(name) for names in declared.values() for name in names)
    output = _output(shape, classes, 0)
    loss.build(_context(output) if of_pairings else _context_without_output())
    return loss


def _reads(names: tuple[str, ...], quantity: str) -> bool:
    return any(split(name)[1] == quantity for name in names)


def _context(output: DiscriminatorOutput) -> LossContext:
    meta = DiscriminatorOutput(*(v.to("meta") for v in _fields(output)))
    return LossContext(
        discriminator="main", judged=IMAGE, output=meta, labels=LABELS, **_generators()
    )


def _context_without_output() -> LossContext:
    return LossContext(
        discriminator="",
        judged=IMAGE,
        output=DiscriminatorOutput(),
        labels=LABELS,
        **_generators(),
    )


def _generators() -> dict[str, Any]:
    return {"sources": {"main": (NoiseSpec(LATENTS),)}, "targets": {"main": IMAGE}}


def _fields(output: DiscriminatorOutput) -> list[Tensor]:
    values = (output.scores, output.class_scores, output.features, output.reconstruction)
    return [v for v in values if v is not None]


def _output(shape: tuple[int, ...], classes: int, seed: int) -> DiscriminatorOutput:
    random = torch.Generator().manual_seed(seed)

    def drawn(*size: int) -> Tensor:
        return torch.randn(ROWS, *size, generator=random)

    return DiscriminatorOutput(
        drawn(*shape), drawn(classes), drawn(5, 3, 3), drawn(*IMAGE.shape).tanh()
    )


def _given(names: tuple[str, ...], shape: tuple[int, ...], classes: int) -> dict[str, Any]:
    """Something for each name, as a turn would give it."""
    return {name: _thing(name, shape, classes) for name in names}


def _thing(name: str, shape: tuple[int, ...], classes: int) -> Any:
    if name == "turn":
        raise NotTried("it reads the whole turn, which cannot be made up; `plays` plays one")
    source, quantity = split(name)
    seed = sum(map(ord, source))
    random = torch.Generator().manual_seed(seed)
    output = _output(shape, classes, seed)
    if quantity in ("scores", "class_scores", "features", "reconstruction"):
        return getattr(output, quantity).requires_grad_()
    if quantity == "labels":
        return torch.arange(ROWS) % LABELS.classes
    if quantity == "latents":
        return torch.randn(ROWS, LATENTS, generator=random)
    if quantity == "posterior":
        mean, log_variance = torch.randn(2, ROWS, 4, generator=random)
        return mean.requires_grad_(), log_variance.requires_grad_()
    if quantity == "log_probs":
        return (-torch.rand(ROWS, WORDS, generator=random)).requires_grad_()
    if quantity == "given":
        return (torch.arange(ROWS) % LABELS.classes,)
    images = torch.rand((ROWS, *IMAGE.shape), generator=random) * 2 - 1
    return images.requires_grad_()  # data, what is seen of it, gradients with respect to it


def _called(loss: Loss, side: Side, given: Mapping[str, Any]) -> dict[str, Tensor]:
    result = getattr(loss, side)(**given)
    return dict(result) if isinstance(result, Mapping) else {"loss": result}


def _copied(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_copied(part) for part in value)
    return value.detach().clone()


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, tuple):
        return all(map(_equal, one, other))
    return torch.equal(one, other)


def checks(kind: str) -> tuple[Callable[[Subject], None], ...]:
    """The checks of a loss."""
    return needs, values, signs, pure, observes, frozen, plays
