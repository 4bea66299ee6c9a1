"""Cases: one check of one component each, made from what a plugin registers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from importlib import import_module
from typing import Any

import attrs

from ganforge.interfaces.errors import GanforgeError
from ganforge.interfaces.manifest import Component
from ganforge.registry.registry import Registry

# kind -> the module of its checks; "" holds those of every kind.
_CHECKS = {
    "": "manifests",
    "generator": "networks",
    "discriminator": "networks",
    "loss": "losses",
    "augmentor": "augmentors",
    "hook": "hooks",
    "dataset": "datasets",
    "metric": "metrics",
}


class Failed(AssertionError):
    """A check that a component does not pass: what is wrong and what is expected, in one line."""


class NotTried(Exception):
    """A check that cannot be made here, such as of a component that needs another game."""


@attrs.frozen
class Case:
    """One check. `run` raises Failed, NotTried, or whatever the component itself raises."""

    component: Component
    check: str
    promise: str  # what it holds, in a line
    run: Callable[[], None]

    def __str__(self) -> str:
        return f"{self.component.kind}/{self.component.name}: {self.check}"


@attrs.define(slots=False)
class Subject:
    """A component under test, with the options that it is tried with."""

    component: Component
    registry: Registry
    example: Mapping[str, Any]

    @cached_property
    def options(self) -> Any:
        """Its options: the defaults, and the example's values."""
        needed = [
            field.name
            for field in attrs.fields(self.component.options)
            if field.default is attrs.NOTHING and field.name not in self.example
        ]
        if needed:
            raise NotTried(
                f"needs values for {', '.join(needed)} to be tried: "
                f'conformance(..., examples={{"{self.component.kind}/{self.component.name}": '
                f"{{{', '.join(f'{name!r}: ...' for name in needed)}}}}})"
            )
        return self.component.options(**self.example)

    @cached_property
    def cls(self) -> type:
        """The class behind it."""
        return self.registry.load_target(self.component)


def cases_of(
    provider: str,
    examples: Mapping[str, Mapping[str, Any]] | None = None,
    registry: Registry | None = None,
) -> list[Case]:
    """Every check of every component of a plugin.

    Raises GanforgeError where no such plugin is installed, where it failed to load, and for an
    example of a component that it does not have.
    """
    registry = registry or Registry.load(only=(provider,))
    found = [c for c in registry.components if c.provider == provider]
    if not found:
        failures = [f.error for f in registry.failures if f.provider == provider]
        raise GanforgeError(
            f"plugin '{provider}' failed to load: {failures[0]}"
            if failures
            else f"no plugin '{provider}' with components is installed; `ganforge doctor` lists "
            "those that are"
        )
    names = {f"{c.kind}/{c.name}" for c in found}
    for name in examples or {}:
        if name not in names:
            raise GanforgeError(f"an example is for {name}; there are: {', '.join(sorted(names))}")
    return [case for component in found for case in _of(component, registry, examples or {})]


def _of(
    component: Component, registry: Registry, examples: Mapping[str, Mapping[str, Any]]
) -> Iterator[Case]:
    example = examples.get(f"{component.kind}/{component.name}", {})
    subject = Subject(component, registry, example)
    for kind in ("", component.kind):
        for check in import_module(f"ganforge.testing.{_CHECKS[kind]}").checks(kind):
            yield Case(component, _name(check), _promise(check), partial(check, subject))


def promises() -> dict[str, dict[str, str]]:
    """Kind -> check -> what it holds; "" are the checks of every kind."""
    found: dict[str, dict[str, str]] = {}
    for kind, module in _CHECKS.items():
        checks = import_module(f"ganforge.testing.{module}").checks
        found[kind] = {_name(check): _promise(check) for check in checks(kind)}
    return found


def _name(check: Callable[[Subject], None]) -> str:
    return check.__name__.replace("_", "-")


def _promise(check: Callable[[Subject], None]) -> str:
    """The first paragraph of its docstring, in a line."""
    return " ".join((check.__doc__ or "").split("\n\n")[0].split())
