"""Hooks: built from a plan, refused where a method or an argument is misspelt, called in order."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

import pluggy

from ganforge.game.error_attribution import attributing_errors, defined_at
from ganforge.interfaces.components import Hook
from ganforge.interfaces.errors import PluginError
from ganforge.interfaces.hook_events import TrainingSpecs
from ganforge.interfaces.manifest import Component
from ganforge.planning.plan import Plan
from ganforge.recipes.suggestions import nearest
from ganforge.registry.registry import Registry


def build_hooks(plan: Plan, registry: Registry, *, all_: bool = True) -> dict[str, Hook]:
    """The hooks of a plan, by name; or only those that may change weights, which every one of
    several processes needs, while the first one alone looks on and writes."""
    hooks: dict[str, Hook] = {}
    for name, part in plan.hooks.items():
        cls = registry.load_target(part.component)
        with attributing_errors(part.component):
            hooks[name] = cls(part.options)
    return {name: hook for name, hook in hooks.items() if all_ or hook.changes_weights}


def kept_state(hook: Hook, component: Component) -> dict[str, Any]:
    """What a hook keeps in a checkpoint. Raises PluginError where JSON cannot hold it."""
    with attributing_errors(component):
        state = hook.save_state()
    fault = "" if isinstance(state, dict) else f"it is a {type(state).__name__}, not a dict"
    try:
        json.dumps(state)
    except (TypeError, ValueError, RecursionError) as error:
        fault = str(error)
    if fault:
        raise PluginError(
            f"hook '{component.name}' of {component.provider} keeps what JSON cannot hold"
            f"{defined_at(component, 'save_state')}: {fault}"
        )
    return state


class _Hooks(pluggy.PluginManager):
    """Takes every public method of a hook for an implementation, so authors need no marker."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        return {"optionalhook": False} if _is_event(type(plugin), name) else None


def _is_event(cls: type, name: str) -> bool:
    """Whether an attribute of a hook is a method that is called at some event. A class is none:
    in a plugin file, a hook's options are its inner `class Options`."""
    value = getattr(cls, name, None)
    own = not name.startswith("_") and not hasattr(Hook, name)
    return own and callable(value) and not isinstance(value, type)


def manager_of(hooks: Mapping[str, Hook]) -> pluggy.PluginManager:
    """A fresh manager. pluggy calls the last registered first, so hooks go in backwards."""
    manager = _Hooks("ganforge")
    manager.add_hookspecs(TrainingSpecs)
    events = [name for name in vars(TrainingSpecs) if not name.startswith("_")]
    for name, hook in reversed(list(hooks.items())):
        for method in dir(type(hook)):
            if _is_event(type(hook), method) and method not in events:
                close = nearest(method, events)
                hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(events)}"
                raise PluginError(f"hook '{name}' has an unknown method '{method}'; {hint}")
            if method in events:
                _refuse_unknown_arguments(name, hook, method)
        manager.register(hook, name)
    return manager


def _refuse_unknown_arguments(name: str, hook: Hook, event: str) -> None:
    known = list(inspect.signature(getattr(TrainingSpecs, event)).parameters)[1:]
    for argument in inspect.signature(getattr(hook, event)).parameters:
        if argument not in known:
            raise PluginError(
                f"hook '{name}': {event}() asks for '{argument}', which is not known at that "
                f"moment; known: {', '.join(known)}"
            )
