"""`--plugin-file my_loss.py`: one file as a plugin, the first step for an author.

Each public subclass of an interface in it is a component: `SoftHinge` is `soft-hinge`, its
options an inner `class Options`, its summary the first line of its docstring. Such a file is only
ever named on the command line; a recipe is data and runs no code.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import sys
import traceback
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import attrs

from ganforge.interfaces.errors import PluginError
from ganforge.interfaces.manifest import KINDS, Component, Kind, options
from ganforge.registry.plugin_loader import FILE_MODULE, component_faults, one_line, read_manifest

# What a class may say about itself beside its code, in the words of `Component`.
_STATED = ("paper", "aliases", "check", "offers", "needs", "describe", "views")


@attrs.frozen
class PluginFile:
    """A file that was loaded as a plugin; `text` is exactly what was run."""

    path: Path
    text: str
    sha256: str
    components: tuple[Component, ...]

    @property
    def provider(self) -> str:
        return self.path.name

    @property
    def version(self) -> str:
        return self.sha256[:12]


class _TextLoader(SourceFileLoader):
    """Runs the text that was hashed; neither reads nor writes cached bytecode beside the file."""

    def __init__(self, name: str, path: str, data: bytes) -> None:
        super().__init__(name, path)
        self.data = data

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.data, self.path)
        return code


def load_plugin_file(path: Path) -> PluginFile:
    """Run a file and take its components. Raises PluginError in one line with file and line."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise PluginError(f"plugin file {path}: {error.strerror}") from error
    module = _run(path, data)
    digest = hashlib.sha256(data).hexdigest()
    components = [_component(cls, path) for cls in _public(module, path)]
    if _has_hooks(module):
        components += _hooked(module, path)
    if not components:
        raise PluginError(
            f"plugin file {path} offers nothing: it has no public subclass of "
            f"{', '.join(kind.capitalize() for kind in KINDS)}"
        )
    taken: set[tuple[str, str]] = set()
    for component in components:
        for fault in component_faults(component, taken):
            raise PluginError(f"plugin file {path}: {fault}")
        taken |= {(component.kind, name) for name in (component.name, *component.aliases)}
    return PluginFile(
        path,
        data.decode("utf-8", "replace"),
        digest,
        tuple(attrs.evolve(c, provider=path.name, version=digest[:12]) for c in components),
    )


def _run(path: Path, data: bytes) -> ModuleType:
    name = FILE_MODULE + re.sub(r"\W", "_", path.stem)
    loader = _TextLoader(name, str(path), data)
    spec = ModuleSpec(name, loader, origin=str(path))
    spec.has_location = True
    module = module_from_spec(spec)
    sys.modules[name] = module  # so that `name:Class` is imported like any target
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PluginError(f"{_place(error, path)}: {_what(error)}") from error
    return module


def _place(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError) and error.filename == str(path) and error.lineno:
        return f"{path}:{error.lineno}"
    lines = [
        line
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename == str(path)
    ]
    return f"{path}:{lines[-1]}" if lines else str(path)


def _what(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}"
    return one_line(error.with_traceback(None))


def _public(module: ModuleType, path: Path) -> list[type]:
    """Its own public subclasses of an interface, in the order of the file."""
    own = [
        cls
        for name, cls in vars(module).items()
        if inspect.isclass(cls) and cls.__module__ == module.__name__ and not name.startswith("_")
    ]
    components = []
    for cls in own:
        if _kind(cls) is None:
            continue
        missing = sorted(getattr(cls, "__abstractmethods__", ()))
        if missing:
            raise PluginError(
                f"{path}:{_line(cls)}: {_kind(cls)} {cls.__name__} defines no {', '.join(missing)}"
                " (if it is only a base of others, start its name with '_')"
            )
        components.append(cls)
    return components


def _kind(cls: type) -> Kind | None:
    from ganforge.interfaces import components  # brings torch, as the file itself does

    return next((k for k in KINDS if issubclass(cls, getattr(components, k.capitalize()))), None)


def _line(cls: type) -> int:
    try:
        return inspect.getsourcelines(cls)[1]
    except OSError:
        return 1


def _component(cls: type, path: Path) -> Component:
    kind = _kind(cls)
    assert kind is not None
    stated: dict[str, Any] = {
        name: getattr(cls, name) for name in _STATED if name in vars(cls) and _is_stated(cls, name)
    }
    chosen = _options(cls, path)
    if chosen is not None:
        stated["options"] = chosen
    doc = (cls.__doc__ or "").strip().splitlines()
    return Component(
        kind,
        kebab(cls.__name__),
        f"{cls.__module__}:{cls.__name__}",
        summary=doc[0] if doc else "",
        **stated,
    )


def _is_stated(cls: type, name: str) -> bool:
    """Facts are plain values or static methods; a method of this name is the class's own affair."""
    value = vars(cls)[name]
    return isinstance(value, staticmethod) or not callable(value)


def _options(cls: type, path: Path) -> type | None:
    written = vars(cls).get("Options")
    if written is None:
        return None
    if not inspect.isclass(written):
        raise PluginError(f"{path}:{_line(cls)}: Options of {cls.__name__} is not a class")
    if attrs.has(written):
        return written
    try:
        made: type = options(written)
    except (TypeError, ValueError) as error:
        raise PluginError(f"{path}:{_line(cls)}: Options of {cls.__name__}: {error}") from error
    setattr(cls, "Options", made)
    return made


def kebab(name: str) -> str:
    """`SoftHinge` -> `soft-hinge`, `WGANLoss` -> `wgan-loss`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+", "-", name).lower()


def _has_hooks(module: ModuleType) -> bool:
    return any(name.startswith("ganforge_") and callable(v) for name, v in vars(module).items())


def _hooked(module: ModuleType, path: Path) -> list[Any]:
    try:
        return read_manifest(lambda: module)[0]
    except (Exception, SystemExit) as error:
        raise PluginError(f"{_place(error, path)}: {_what(error)}") from error
