"""What generators and discriminators must satisfy, in every situation that they accept."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import torch
from safetensors.torch import load, save
from torch import Tensor

from ganforge.game.frozen import Frozen
from ganforge.game.single_row_gradients import sound_gradients
from ganforge.interfaces.specs import ImageSpec
from ganforge.registry.plugin_loader import BUILT_IN
from ganforge.testing.cases import Failed, NotTried, Subject
from ganforge.testing.freezing import play_frozen
from ganforge.testing.situations import Situation, same, situations

ROWS = 3  # of a batch; BatchNorm needs two
LARGE = (10, 1_000, 100_000)  # times as large as at first are weights that stand for trained ones
LAYOUTS_APART = 0.25  # of a gradient's length; rounding at corners of ReLU moves some by 0.03
NOTHING = 1e-4  # of the longest gradient: what is shorter is rounding


def shapes(subject: Subject) -> None:
    """Data and outputs have the shapes of their specs and are finite, in training and in eval mode
    (there also for a single item)."""
    for situation in situations(subject):
        network = situation.build()
        for training, count in ((True, ROWS), (False, ROWS), (False, 1)):
            network.train(training)
            with torch.no_grad():
                outputs = situation.outputs(network, situation.inputs(count))
            for name, value in outputs.items():
                _check_shape(situation, name, value, count)


def _check_shape(situation: Situation, name: str, value: Tensor, count: int) -> None:
    where = f"{name} for {situation}"
    expected: tuple[int, ...] | None = None
    if name == "data":
        assert situation.target is not None
        expected = situation.target.played
    elif name == "reconstruction":
        expected = situation.specs[0].played
    if len(value) != count or (expected is not None and value.shape[1:] != expected):
        raise Failed(
            f"{where}: {list(value.shape)} for {count} items"
            + (f", expected {[count, *expected]}" if expected is not None else "")
        )
    if value.is_floating_point() and not value.isfinite().all():
        raise Failed(f"{where}: not finite")
    if name == "data" and isinstance(situation.target, ImageSpec) and value.abs().max() > 1:
        raise Failed(f"{where}: reaches {value.abs().max():.2f}; images lie in [-1, 1]")


def gradients(subject: Subject) -> None:
    """Every parameter gets a finite gradient."""
    for situation in situations(subject):
        network = situation.build().train()
        outputs = situation.outputs(network, situation.inputs(ROWS))
        _loss(outputs).backward()  # type: ignore[no-untyped-call]
        for name, parameter in network.named_parameters():
            if parameter.requires_grad and parameter.grad is None:
                raise Failed(f"parameter '{name}' gets no gradient ({situation})")
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                raise Failed(f"the gradient of parameter '{name}' is not finite ({situation})")


def bounded(subject: Subject) -> None:
    """Images stay in [-1, 1] even if training makes the weights large: end with tanh or a clamp, or
    declare `keeps_range = False`."""
    if not getattr(subject.cls, "keeps_range", True):
        return
    for situation in situations(subject)[:2]:
        if not isinstance(situation.target, ImageSpec):
            continue
        for times in LARGE:
            reached = _reached(situation, times)
            if reached > 1:
                raise Failed(
                    f"with its weights {times:,} times as large it reaches {reached:.3g} "
                    f"({situation}); images lie in [-1, 1]: end with tanh or a clamp, or say "
                    "`keeps_range = False`"
                )


@torch.no_grad()
def _reached(situation: Situation, times: float) -> float:
    """The largest absolute value that it makes with its weights so many times as large, apart from
    what overflows on the way there."""
    network = situation.build().eval()
    for parameter in network.parameters():
        parameter.mul_(times)
    made = situation.outputs(network, situation.inputs(ROWS))["data"].float()
    return float(made.nan_to_num(0.0, posinf=torch.inf, neginf=-torch.inf).abs().max())


def _loss(outputs: dict[str, Tensor]) -> Tensor:
    """A number that depends on every output, unevenly, so that no gradient cancels."""
    total = torch.zeros(())
    for value in outputs.values():
        weights = torch.linspace(0.5, 1.5, value.numel()).view(value.shape)
        total = total + (value.float() * weights).sum()
    return total


def double_backward(subject: Subject) -> None:
    """Gradients with respect to what is judged can be differentiated again, as penalties need."""
    for situation in situations(subject):
        network = situation.build().train()
        judged, *given = situation.inputs(ROWS)
        if not judged.is_floating_point():
            continue
        judged.requires_grad_()
        scores = situation.outputs(network, (judged, *given)).get("scores")
        if scores is None:
            continue
        (gradient,) = torch.autograd.grad(scores.sum(), judged, create_graph=True)
        if not gradient.requires_grad:
            raise Failed(f"the gradient of the scores does not depend on the weights ({situation})")
        gradient.square().sum().backward()  # type: ignore[no-untyped-call]
        found = [p.grad for p in network.parameters() if p.grad is not None]
        if not found or not all(g.isfinite().all() for g in found):
            raise Failed(f"differentiating a gradient again gives nothing finite ({situation})")


def saved(subject: Subject) -> None:
    """Weights and buffers survive a safetensors file: an instance that loads it agrees."""
    for situation in situations(subject)[:2]:
        first, second = situation.build(0).eval(), situation.build(1).eval()
        state = {name: t.contiguous().clone() for name, t in first.state_dict().items()}
        second.load_state_dict(load(save(state)))
        _alike(situation, first, second, "loaded from a file")


def copied(subject: Subject) -> None:
    """A deep copy returns the same and shares nothing with the original."""
    for situation in situations(subject)[:2]:
        first = situation.build().eval()
        second = copy.deepcopy(first)
        _alike(situation, first, second, "copied")
        own = {tensor.data_ptr() for tensor in first.state_dict().values() if tensor.numel()}
        for name, tensor in second.state_dict().items():
            if tensor.numel() and tensor.data_ptr() in own:
                raise Failed(f"a deep copy shares '{name}' with the original")


def _alike(situation: Situation, first: torch.nn.Module, second: torch.nn.Module, how: str) -> None:
    inputs = situation.inputs(2)
    outputs = []
    for network in (first, second):
        torch.manual_seed(7)
        with torch.no_grad():
            outputs.append(situation.outputs(network, inputs))
    if not same(*outputs):
        raise Failed(f"{how}, it returns something different ({situation})")


def seeded(subject: Subject) -> None:
    """Its weights and its own draws follow from torch's seed."""
    for situation in situations(subject)[:2]:
        first, second = situation.build(5).train(), situation.build(5).train()
        if not same(first.state_dict(), second.state_dict()):
            raise Failed(f"two instances built from one seed differ ({situation})")
        _alike(situation, first, second, "run again from one seed")


def offers(subject: Subject) -> None:
    """It returns what its manifest says it offers."""
    situation = situations(subject)[0]
    with torch.no_grad():
        outputs = situation.outputs(situation.build().eval(), situation.inputs(2))
    returned = outputs.keys() - {"data", "scores"}
    declared = subject.component.offered(subject.options)
    if situation.target is None and returned != declared - {"scores"}:
        raise Failed(
            f"returns {_listed(returned)} beside scores; its manifest offers {_listed(declared)}"
        )
    if situation.target is not None and "log_probs" in returned and "log_probs" not in declared:
        raise Failed("returns log_probs, which its manifest does not offer")


def _listed(names: object) -> str:
    return ", ".join(sorted(names)) or "nothing"  # type: ignore[call-overload]


def independent_rows(subject: Subject) -> None:
    """If it declares `independent_rows`, other rows change nothing."""
    for situation in situations(subject)[:2]:
        network = situation.build().train()
        if not getattr(network, "independent_rows", False):
            continue
        inputs, others = situation.inputs(ROWS), situation.inputs(ROWS, seed=9)
        mixed = tuple(torch.cat([a[:1], b[1:]]) for a, b in zip(inputs, others, strict=True))
        # Each on a copy of its own: a forward in training mode may move buffers, as spectral norm's
        # power iteration does, and then the second would be of other weights.
        with torch.no_grad():
            twin = copy.deepcopy(network)
            torch.manual_seed(7)  # its own draws are for the whole batch, and the same for both
            one = situation.outputs(network, inputs)
            torch.manual_seed(7)
            other = situation.outputs(twin, mixed)
        for name in one:
            if not torch.allclose(one[name][0], other[name][0], rtol=1e-4, atol=1e-5):
                raise Failed(f"independent_rows is set, but {name} depend on other rows")


def frozen(subject: Subject) -> None:
    """What its constructor froze (`requires_grad_(False)`, `eval()`) is the same, bit for bit,
    after 20 updates: weights and the statistics of norms."""
    tried = False
    for situation in situations(subject)[:2]:
        network = situation.build()
        still = Frozen.of(network, situation.partners.values())
        tried = tried or bool(still.parameters or still.evaluating)
        play_frozen(network, still, partial(_objective, situation), str(situation))
    if not tried:
        raise NotTried("it freezes nothing")


def _objective(situation: Situation, network: torch.nn.Module) -> Tensor:
    return _loss(situation.outputs(network, situation.inputs(ROWS)))


def one_row(subject: Subject) -> None:
    """A batch of one row has the same gradients in both memory layouts (if it can train on one).

    Without dropout, whose masks follow the layout.
    """
    for situation in situations(subject):
        if _draws_itself(situation):
            raise NotTried("it draws random numbers of its own, which follow the layout")
        _compare_layouts(
            situation,
            _gradients_of_one_row(situation, torch.contiguous_format),
            _gradients_of_one_row(situation, torch.channels_last),
        )


def _gradients_of_one_row(situation: Situation, layout: torch.memory_format) -> dict[str, Tensor]:
    network = _without_dropout(situation)
    network.to(memory_format=layout)
    inputs = tuple(_laid_out(value, layout) for value in situation.inputs(1))
    torch.manual_seed(7)
    foreign = situation.subject.component.provider != BUILT_IN  # as a game guards it
    guard = sound_gradients(slice(0, 1), torch.device("cpu")) if foreign else nullcontext()
    try:
        with guard:
            outputs = situation.outputs(network, inputs)
    except (RuntimeError, ValueError) as error:
        raise NotTried(f"it cannot be trained by one row: {error}") from error
    _loss({name: _laid_out(value, layout) for name, value in outputs.items()}).backward()  # type: ignore[no-untyped-call]
    return {n: p.grad for n, p in network.named_parameters() if p.grad is not None}


def _without_dropout(situation: Situation) -> torch.nn.Module:
    """The network in training mode, except for its dropout."""
    network = situation.build().train()
    for layer in network.modules():
        if "dropout" in type(layer).__name__.lower():
            layer.training = False
    return network


def _draws_itself(situation: Situation) -> bool:
    outputs = []
    for seed in (7, 8):
        network = _without_dropout(situation)  # which draws its weights from a seed of its own
        torch.manual_seed(seed)
        with torch.no_grad():
            outputs.append(situation.outputs(network, situation.inputs(ROWS)))
    return not same(*outputs)


def _laid_out(value: Tensor, layout: torch.memory_format) -> Tensor:
    return value.contiguous(memory_format=layout) if value.dim() == 4 else value


def _compare_layouts(
    situation: Situation, one: dict[str, Tensor], other: dict[str, Tensor]
) -> None:
    """Raise Failed if gradients differ by more than rounding, of all of them together."""
    size = max(float(gradient.norm()) for gradient in one.values()) if one else 0.0
    for name, gradient in one.items():
        apart = float((gradient - other[name]).norm())
        if apart > max(LAYOUTS_APART * float(gradient.norm()), NOTHING * size):
            raise Failed(
                f"for one row alone, the gradient of '{name}' differs in channels_last memory: "
                f"{apart:.3g} apart, of {float(gradient.norm()):.3g} ({situation})"
            )


def checks(kind: str) -> tuple[Callable[[Subject], None], ...]:
    """The checks of a generator or a discriminator."""
    both = (shapes, gradients, saved, copied, seeded, offers, frozen, one_row)
    if kind == "generator":
        return *both, bounded
    return *both, double_backward, independent_rows
