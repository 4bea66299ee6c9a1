"""What third parties' code returns, held against what its interface promises: PluginError in one
line where it is something else, so that it is told where it arose and not where it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from torch import Tensor

from ganforge.game.error_attribution import defined_at
from ganforge.interfaces.components import DiscriminatorOutput, GeneratorOutput
from ganforge.interfaces.errors import PluginError
from ganforge.interfaces.manifest import Component
from ganforge.interfaces.specs import Spec, TextSpec


def discriminator_output(value: object, rows: int, component: Component) -> DiscriminatorOutput:
    """What a discriminator returned for so many items, as a DiscriminatorOutput."""
    output = value if isinstance(value, DiscriminatorOutput) else DiscriminatorOutput(scores=value)  # type: ignore[arg-type]
    named = {"scores": value}
    if isinstance(value, DiscriminatorOutput):
        named = {n: v for n, v in attrs.asdict(value, recurse=False).items() if v is not None}
    for name, part in named.items():
        if not isinstance(part, Tensor):
            beside = "" if value is output else ", or a DiscriminatorOutput"
            raise _wrong(component, f"{_kind(part)} as {name}, not a tensor [N, ...]{beside}")
        if part.dim() == 0:
            raise _wrong(component, f"one number as {name} for {rows} items: one row per item")
        if len(part) != rows:
            raise _wrong(component, f"{name} of {len(part)} items for {rows}: one row per item")
        if not _is_usual(part):
            raise _wrong(component, f"{_typed(part)} as {name}, not a floating-point tensor")
    if not named:
        raise _wrong(component, "nothing")
    return output


def generator_output(
    value: object, rows: int, component: Component, spec: Spec | None = None
) -> GeneratorOutput:
    """What a generator returned for so many items, as a GeneratorOutput. spec: of its target."""
    made = value if isinstance(value, GeneratorOutput) else GeneratorOutput(value)  # type: ignore[arg-type]
    data: object = made.data
    if not isinstance(data, Tensor):
        beside = "" if value is made else ", or a GeneratorOutput"
        raise _wrong(component, f"{_kind(data)}, not a tensor [N, ...]{beside}")
    if made.data.dim() == 0 or len(made.data) != rows:
        shape = list(made.data.shape)
        raise _wrong(component, f"a tensor of shape {shape} for {rows} items: one row per item")
    if spec is not None and not isinstance(spec, TextSpec) and not _is_usual(made.data):
        raise _wrong(component, f"{_typed(made.data)} for {spec}, not a floating-point tensor")
    return made


def views_of(value: object, rows: int, component: Component) -> Mapping[str, Tensor]:
    """What an augmentor shows of so many items, by view; a bare tensor is the view "plain"."""
    shown: Mapping[str, Any] = value if isinstance(value, Mapping) else {"plain": value}
    if not shown:
        raise _wrong(component, "no view", "view")
    for name, part in shown.items():
        if not isinstance(part, Tensor):
            raise _wrong(component, f"{_kind(part)} as view '{name}', not a tensor", "view")
        if part.dim() == 0 or len(part) != rows:
            shape = list(part.shape)
            what = f"a tensor of shape {shape} as view '{name}' of {rows} items: one row per item"
            raise _wrong(component, what, "view")
        if not _is_usual(part):
            what = f"{_typed(part)} as view '{name}', not a floating-point tensor"
            raise _wrong(component, what, "view")
    return shown


def replayed_of(value: object, fakes: Tensor, component: Component) -> Tensor:
    """What an augmentor shows in the place of fakes."""
    if not isinstance(value, Tensor) or value.shape != fakes.shape:
        what = list(value.shape) if isinstance(value, Tensor) else _kind(value)
        raise _wrong(component, f"{what} in the place of {list(fakes.shape)}", "replay")
    return value


def loss_terms(
    value: object, component: Component, side: str, mixes_batch: bool
) -> Mapping[str, Tensor]:
    """What a loss returned for a side, by term; a bare tensor is the term `loss`."""
    terms: Mapping[Any, Any] = value if isinstance(value, Mapping) else {"loss": value}
    where = defined_at(component, side)
    who = f"loss '{component.name}' of {component.provider} returned"
    if not terms:
        raise PluginError(f"{who} no terms{where}: return a tensor [N, ...], or leave {side}() out")
    for name, term in terms.items():
        if not isinstance(name, str):
            raise PluginError(f"{who} a term called {name!r}{where}: names of terms are text")
        if not isinstance(term, Tensor):
            raise PluginError(
                f"{who} {_kind(term)} for '{name}'{where}: return one value per sample, a tensor "
                "[N, ...]"
            )
        if not term.is_floating_point():
            raise PluginError(
                f"{who} {term.dtype} for '{name}'{where}, which has no gradient: return "
                "floating-point values"
            )
        if term.dim() == 0 and not mixes_batch:
            raise PluginError(
                f"{who} one number for '{name}'{where}: return one per sample ([N, ...]), or "
                "declare `mixes_batch = True`"
            )
    return terms


def observed(value: object, component: Component) -> Mapping[str, Tensor]:
    """What a loss's `observe` gives to be logged."""
    where = defined_at(component, "observe")
    who = f"loss '{component.name}' of {component.provider} returned"
    if not isinstance(value, Mapping):
        raise PluginError(
            f"{who} {_kind(value)} from observe{where}, not numbers to log by name: return {{}} "
            "for none"
        )
    for name, number in value.items():
        single = number.dim() == 0 if isinstance(number, Tensor) else False
        if not isinstance(name, str) or not (single or isinstance(number, (int, float))):
            what = "a tensor of several numbers" if isinstance(number, Tensor) else _kind(number)
            raise PluginError(
                f"{who} {what} for {name!r} from observe{where}: return numbers to log by name, "
                "each a 0-d tensor"
            )
    return value


@contextmanager
def unchanged(component: Component, method: str, values: Mapping[str, object]) -> Iterator[None]:
    """While code of a component is given tensors: refuse to go on where it changed one in place,
    since others read it too."""
    given = {n: v for n, v in values.items() if isinstance(v, Tensor) and not v.is_inference()}
    before = {name: value._version for name, value in given.items()}
    yield
    changed = [name for name, value in given.items() if value._version != before[name]]
    if changed:
        raise PluginError(
            f"{component.kind} '{component.name}' of {component.provider} changes {changed[0]}, "
            f"which others read too, in place{defined_at(component, method)}: work on a copy "
            f"(`{changed[0].partition(' ')[0]}.clone()`)"
        )


def _wrong(component: Component, what: str, method: str = "forward") -> PluginError:
    who = f"{component.kind} '{component.name}' of {component.provider}"
    return PluginError(f"{who} returned {what}{defined_at(component, method)}")


def _is_usual(value: Tensor) -> bool:
    return value.is_floating_point() and value.layout is torch.strided


def _typed(value: Tensor) -> str:
    """`torch.int64`, `a sparse tensor`"""
    return str(value.dtype) if value.layout is torch.strided else "a sparse tensor"


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
