"""What components ask for by the names of parameters; a loss's are read from its source, without
importing it (which would bring torch).

As pytest matches fixtures to argument names, the parameters of a loss's methods are what it
reads. Those with a default are its own affair.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import attrs

from ganforge.interfaces.errors import PluginError
from ganforge.interfaces.manifest import Component

_SIDES = ("discriminator", "generator")
_INTERFACE = {("ganforge", "Loss"), ("ganforge.interfaces.components", "Loss")}


@attrs.frozen
class _Class:
    """A class as its source defines it."""

    module: str
    node: ast.ClassDef


def takes_labels(function: Callable[..., Any] | None) -> bool:
    """Whether a function asks for the spec of the labels, by a parameter of that name."""
    return function is not None and "labels" in inspect.signature(function).parameters


class _Unreadable(Exception):
    """Why a loss's parameters cannot be read."""


def loss_needs(component: Component, options: Any = None) -> Mapping[str, tuple[str, ...]]:
    """Side -> the names that this loss reads with these options (unset: their defaults); a side
    that it has no part in is missing.

    Raises PluginError where the source cannot be found or does not say.
    """
    if component.needs is not None:
        stated = component.needed(component.options() if options is None else options)
        return {side: tuple(names) for side, names in stated.items() if side in _SIDES}
    module, _, name = component.target.partition(":")
    who = f"loss '{component.name}' of {component.provider} {component.version}"
    try:
        bases = list(_bases(module, name, frozenset()))
        needs = {side: found for side in _SIDES if (found := _side(bases, side)) is not None}
    except _Unreadable as error:
        raise PluginError(f"{who}: {error}; its `Component` may state `needs = ...`") from error
    if not needs:
        raise PluginError(f"{who}: {name} defines neither discriminator(...) nor generator(...)")
    return needs


def _bases(module: str, name: str, seen: frozenset[tuple[str, str]]) -> Iterator[_Class]:
    """The class and the bases it inherits methods from, nearest first."""
    if (module, name) in seen or (module, name) in _INTERFACE:
        return
    tree = _tree(module)
    node = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name), None)
    if node is None:
        imported = _imported(tree, module).get(name)
        if imported is None:
            raise _Unreadable(f"there is no class {name} in {module}")
        yield from _bases(*imported, seen | {(module, name)})
        return
    yield _Class(module, node)
    for base in node.bases:
        where = _base(base, tree, module)
        if where is not None:
            yield from _bases(*where, seen | {(module, name)})


def _base(base: ast.expr, tree: ast.Module, module: str) -> tuple[str, str] | None:
    """(module, class) of a base class; None for those of other libraries, such as torch."""
    written = ast.unparse(base.value if isinstance(base, ast.Subscript) else base)
    head, _, rest = written.partition(".")
    if not rest and any(isinstance(n, ast.ClassDef) and n.name == head for n in tree.body):
        return module, head
    origin = ".".join(filter(None, _imported(tree, module).get(head, (head, ""))))
    source, _, name = ".".join(filter(None, (origin, rest))).rpartition(".")
    return (source, name) if _is_near(source, module) else None


def _is_near(base: str, module: str) -> bool:
    """Bases are followed within ganforge, its plugins and the plugin's own package."""
    root = base.partition(".")[0]
    return root == module.partition(".")[0] or root.startswith("ganforge")


def _imported(tree: ast.Module, module: str) -> dict[str, tuple[str, str]]:
    """Name in this module -> (module, name) that it was imported from; name "" is the module."""
    found: dict[str, tuple[str, str]] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                head = alias.name.partition(".")[0]
                found[alias.asname or head] = (alias.name if alias.asname else head, "")
        elif isinstance(node, ast.ImportFrom):
            source = _source(node, module)
            found |= {alias.asname or alias.name: (source, alias.name) for alias in node.names}
    return found


def _source(node: ast.ImportFrom, module: str) -> str:
    """The absolute name of the module that `from ... import` reads, seen from this one."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    up = node.level - 1 if _locate(module).name == "__init__.py" else node.level
    return ".".join(filter(None, [*parts[: len(parts) - up], node.module]))


def _side(bases: list[_Class], side: str) -> tuple[str, ...] | None:
    """The parameters of the first method of this name."""
    for cls in bases:
        for node in cls.node.body:
            if isinstance(node, ast.FunctionDef) and node.name == side:
                return _parameters(cls, node)
            targets = node.targets if isinstance(node, ast.Assign) else ()
            if any(isinstance(t, ast.Name) and t.id == side for t in targets):
                raise _Unreadable(
                    f"{cls.module}:{node.lineno} assigns {side} instead of defining it"
                )
    return None


def _parameters(cls: _Class, method: ast.FunctionDef) -> tuple[str, ...]:
    arguments = method.args
    star = arguments.vararg or arguments.kwarg
    if star:
        raise _Unreadable(f"{cls.node.name}.{method.name} takes *{star.arg}, which names nothing")
    decorators = {ast.unparse(decorator) for decorator in method.decorator_list}
    positional = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    positional = positional[: len(positional) - len(arguments.defaults)]
    keywords = [
        a.arg
        for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is None
    ]
    return (*(positional if "staticmethod" in decorators else positional[1:]), *keywords)


def _tree(module: str) -> ast.Module:
    path = _locate(module)
    try:
        return _parse(path, path.stat().st_mtime_ns)
    except (OSError, SyntaxError, ValueError) as error:
        raise _Unreadable(f"{path} cannot be read: {error}") from error


@lru_cache
def _parse(path: Path, changed: int) -> ast.Module:
    return ast.parse(path.read_bytes(), str(path))


def _locate(module: str) -> Path:
    """The file of a module. Asks the import system part by part, so no parent is imported."""
    inside = None
    spec = None
    parts = module.split(".")
    for number in range(len(parts)):
        name = ".".join(parts[: number + 1])
        loaded = getattr(sys.modules.get(name), "__spec__", None)
        spec = loaded or next(
            (
                found
                for finder in sys.meta_path
                if (found := finder.find_spec(name, inside)) is not None
            ),
            None,
        )
        if spec is None:
            raise _Unreadable(f"there is no module {name}")
        inside = spec.submodule_search_locations
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise _Unreadable(f"{module} has no Python source")
    return Path(spec.origin)
