"""What third parties' code returns, held against what its interface promises: PluginError in one
line where it is something else, so that it is told where it arose and not where it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from torch import Tensor

from ganforge.game.error_attribution import defined_at
from ganforge.interfaces.components import DiscriminatorOutput, GeneratorOutput
from ganforge.interfaces.errors import PluginError
from ganforge.interfaces.manifest import Component


def discriminator_output(value: object, rows: int, component: Component) -> DiscriminatorOutput:
    """What a discriminator returned for so many items, as a DiscriminatorOutput."""
    output = value if isinstance(value, DiscriminatorOutput) else DiscriminatorOutput(scores=value)  # type: ignore[arg-type]
    named = {"scores": value}
    if isinstance(value, DiscriminatorOutput):
        named = {n: v for n, v in attrs.asdict(value, recurse=False).items() if v is not None}
    for name, part in named.items():
        if not isinstance(part, Tensor):
            beside = "" if value is output else ", or a Verdict"
            raise _wrong(component, f"{_kind(part)} as {name}, not a tensor [N, ...]{beside}")
        if part.dim() and len(part) != rows:
            raise _wrong(component, f"{name} of {len(part)} items for {rows}: one row per item")
    return output


def generator_output(value: object, rows: int, component: Component) -> GeneratorOutput:
    """What a generator returned for so many items, as a GeneratorOutput."""
    made = value if isinstance(value, GeneratorOutput) else GeneratorOutput(value)  # type: ignore[arg-type]
    data: object = made.data
    if not isinstance(data, Tensor):
        beside = "" if value is made else ", or a Made"
        raise _wrong(component, f"{_kind(data)}, not a tensor [N, ...]{beside}")
    if made.data.dim() == 0 or len(made.data) != rows:
        shape = list(made.data.shape)
        raise _wrong(component, f"a tensor of shape {shape} for {rows} items: one row per item")
    return made


def views_of(value: object, component: Component) -> Mapping[str, Tensor]:
    """What an augmentor shows, by view; a bare tensor is the view "plain"."""
    shown: Mapping[str, Any] = value if isinstance(value, Mapping) else {"plain": value}
    if not shown:
        raise _wrong(component, "no view", "view")
    for name, part in shown.items():
        if not isinstance(part, Tensor):
            raise _wrong(component, f"{_kind(part)} as view '{name}', not a tensor", "view")
    return shown


def replayed_of(value: object, fakes: Tensor, component: Component) -> Tensor:
    """What an augmentor shows in the place of fakes."""
    if not isinstance(value, Tensor) or value.shape != fakes.shape:
        what = list(value.shape) if isinstance(value, Tensor) else _kind(value)
        raise _wrong(component, f"{what} in the place of {list(fakes.shape)}", "replay")
    return value


def _wrong(component: Component, what: str, method: str = "forward") -> PluginError:
    who = f"{component.kind} '{component.name}' of {component.provider}"
    return PluginError(f"{who} returned {what}{defined_at(component, method)}")


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
