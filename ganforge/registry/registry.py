"""The registry: every component that installed plugins offer, found by kind and name.

`name` alone means the built-in if there is one, else the only provider, else it is an error that
lists the candidates; `distribution/name` is always exact. So installing a package never silently
changes what a recipe builds.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import attrs

from ganforge.interfaces.errors import PluginError
from ganforge.interfaces.manifest import KINDS, Component
from ganforge.recipes.suggestions import nearest
from ganforge.registry.plugin_file import PluginFile, load_plugin_file
from ganforge.registry.plugin_loader import (
    BUILT_IN,
    LoadedPlugin,
    LoadFailure,
    load_installed,
    normalised,
    one_line,
)

__all__ = ["LoadFailure", "LoadedPlugin", "NotFound", "Registry", "ShippedRecipe"]


class NotFound(PluginError):
    """No component of this name, or several. `notes` are lines that help to find the right one."""

    def __init__(self, message: str, notes: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.notes = list(notes)


@attrs.frozen
class ShippedRecipe:
    """A recipe that comes with ganforge or a plugin."""

    name: str  # the file's, with `-` for `_`
    path: Path
    provider: str


@attrs.define
class Registry:
    """What there is to play with.

    switched_off: distribution -> what left it out. warnings: lines that `find` adds to, such as
    a retired name that was used; whoever talks to the person prints them.
    """

    components: tuple[Component, ...] = ()
    failures: tuple[LoadFailure, ...] = ()
    plugins: tuple[LoadedPlugin, ...] = ()
    plugin_files: tuple[PluginFile, ...] = ()
    switched_off: Mapping[str, str] = attrs.field(factory=dict)
    warnings: list[str] = attrs.field(factory=list)

    @classmethod
    def load(
        cls,
        *,
        plugin_files: Sequence[Path] = (),
        only: Collection[str] | None = None,
        without: Collection[str] = (),
    ) -> Registry:
        """The built-ins, the installed plugins, and the given files.

        only: third-party distributions to load; by default those in GANFORGE_PLUGINS (`a,b`;
        empty: none), or all where that is unset. without: distributions to leave out.
        Raises PluginError for a faulty plugin file, and for any faulty plugin where
        GANFORGE_STRICT_PLUGINS is 1.
        """
        if only is None and "GANFORGE_PLUGINS" in os.environ:
            only = os.environ["GANFORGE_PLUGINS"].split(",")
        asked = None if only is None else _names(only)
        left_out = _names(without)
        if BUILT_IN in left_out:
            raise PluginError("the built-in plugins cannot be left out")
        strict = os.environ.get("GANFORGE_STRICT_PLUGINS", "") not in ("", "0")
        loaded = load_installed(only=asked, without=left_out, strict=strict)
        files = _load_files(plugin_files)
        components = [c for plugin in loaded.plugins for c in plugin.components]
        components += [c for file in files for c in file.components]
        unasked = loaded.providers - asked - {BUILT_IN} if asked is not None else set()
        absent = sorted((left_out | (asked or set())) - loaded.providers)
        return cls(
            tuple(sorted(components, key=_order)),
            tuple(loaded.failures),
            tuple(loaded.plugins),
            tuple(files),
            dict.fromkeys(unasked, "GANFORGE_PLUGINS") | dict.fromkeys(left_out, "--no-plugin"),
            [f"no plugin '{n}' is installed{_meant(n, loaded.providers)}" for n in absent],
        )

    # --- by name --------------------------------------------------------------------------------

    def of(self, kind: str) -> tuple[Component, ...]:
        """All components of a kind: built-ins first, then by provider and name."""
        return tuple(c for c in self.components if c.kind == kind)

    def find(self, kind: str, name: str) -> Component:
        """The component that `name` or `distribution/name` means. Raises NotFound."""
        provider, _, short = name.rpartition("/")
        named = [c for c in self.of(kind) if short == c.name or short in c.aliases]
        if provider:
            named = [c for c in named if _same(c.provider, provider)]
        else:
            named = [c for c in named if c.provider == BUILT_IN] or named
        if len(named) > 1:
            raise NotFound(
                f"{kind} '{name}' is offered by {len(named)} plugins",
                [f"write one of: {', '.join(c.id for c in named)}"],
            )
        if not named:
            raise NotFound(*self._missing(kind, name))
        if short != named[0].name:
            warning = f"{kind} '{short}' is now called '{named[0].name}'"
            self.warnings += [] if warning in self.warnings else [warning]
        return named[0]

    def short_name(self, component: Component) -> str:
        """What to write in a recipe: the name where that is enough, else the exact id."""
        same = [c for c in self.of(component.kind) if component.name in (c.name, *c.aliases)]
        chosen = [c for c in same if c.provider == BUILT_IN] or same
        return component.name if chosen == [component] else component.id

    def _missing(self, kind: str, name: str) -> tuple[str, list[str]]:
        """The message and the notes for a name that nothing has."""
        provider, _, short = name.rpartition("/")
        there = [self.short_name(c) for c in self.of(kind)]
        notes = []
        close = nearest(name, [c.id for c in self.of(kind)] if provider else there)
        if close:
            notes.append(f"similar: {', '.join(repr(c) for c in close)}")
        for other in self.components:
            if other.kind != kind and short in (other.name, *other.aliases):
                notes.append(f"there is a {other.kind} of this name (from {other.provider})")
        for plugin in self.plugins:
            if plugin.entry_point == short:
                offered = (f"{c.kind}/{self.short_name(c)}" for c in plugin.components)
                notes.append(f"the plugin '{short}' offers: {', '.join(offered)}")
        notes += self._absent(provider)
        notes.append(f"there are: {', '.join(there) or 'none'}")
        return f"there is no {kind} '{name}'", notes

    def _absent(self, provider: str) -> list[str]:
        """Plugins that may hold what was not found: broken, switched off, not here."""
        notes = [
            f"{failure.plugin} failed to load and may provide it; "
            f"see `ganforge doctor {failure.provider}`"
            for failure in self.failures
            if not provider or _same(failure.provider, provider)
        ]
        notes += [
            f"{name} is switched off by {how} and may provide it"
            for name, how in sorted(self.switched_off.items())
            if not provider or _same(name, provider)
        ]
        here = any(_same(component.provider, provider) for component in self.components)
        if provider.endswith(".py") and not here:
            notes.append(f"it came from a plugin file; add `--plugin-file {provider}`")
        elif provider and not here and not notes:
            notes.append(f"no plugin '{provider}' is installed")
        return list(dict.fromkeys(notes))

    # --- recipes --------------------------------------------------------------------------------

    def shipped(self) -> tuple[ShippedRecipe, ...]:
        """Every recipe that comes with ganforge or a plugin, built-ins first."""
        spec = find_spec("ganforge_recipes")
        folders = [(BUILT_IN, Path(p)) for p in (spec and spec.submodule_search_locations) or ()]
        folders += [(p.provider, folder) for p in self.plugins for folder in p.recipes]
        return tuple(
            ShippedRecipe(path.stem.replace("_", "-"), path, provider)
            for provider, folder in folders
            for path in sorted(folder.glob("*.toml"))
        )

    def recipes(self) -> dict[str, Path]:
        """Shipped recipes by name, found as components are: a name that a built-in or nobody
        else has stands alone, and `distribution/name` is always exact for a plugin's."""
        by_name: dict[str, list[ShippedRecipe]] = {}
        for recipe in self.shipped():
            by_name.setdefault(recipe.name, []).append(recipe)
        found: dict[str, Path] = {}
        for name, several in by_name.items():
            alone = [r for r in several if r.provider == BUILT_IN] or several
            if len(alone) == 1:
                found[name] = alone[0].path
            found |= {f"{r.provider}/{name}": r.path for r in several if r.provider != BUILT_IN}
        return found

    # --- code -----------------------------------------------------------------------------------

    def load_target(self, component: Component) -> type:
        """Import the class behind a component. Raises PluginError in one line."""
        from ganforge.interfaces import components

        who = f"{component.kind} '{component.name}' of {component.provider} {component.version}"
        module, _, name = component.target.partition(":")
        try:
            cls = getattr(import_module(module), name)
        except (Exception, SystemExit) as error:
            raise PluginError(f"{who} cannot be loaded: {one_line(error)}") from error
        interface: type = getattr(components, component.kind.capitalize())
        if not isinstance(cls, type) or not issubclass(cls, interface):
            raise PluginError(f"{who}: {component.target} is not a ganforge.{interface.__name__}")
        missing = sorted(getattr(cls, "__abstractmethods__", ()))
        if missing:
            raise PluginError(f"{who}: {component.target} defines no {', '.join(missing)}")
        return cls


def _order(component: Component) -> tuple[bool, str, int, str]:
    built_in = component.provider == BUILT_IN
    return (not built_in, component.provider, KINDS.index(component.kind), component.name)


def _names(names: Iterable[str]) -> set[str]:
    return {normalised(name.strip()) for name in names if name.strip()}


def _same(provider: str, name: str) -> bool:
    """Files are named as they are written, distributions as package indexes compare them."""
    return provider == name or normalised(provider) == normalised(name)


def _meant(name: str, known: Iterable[str]) -> str:
    close = nearest(name, known)
    return f"; did you mean '{close[0]}'?" if close else ""


def _load_files(paths: Sequence[Path]) -> list[PluginFile]:
    files: dict[str, PluginFile] = {}
    for path in dict.fromkeys(path.resolve() for path in paths):
        if path.name in files:
            raise PluginError(
                f"plugin files {files[path.name].path} and {path} have the same name; rename one"
            )
        files[path.name] = load_plugin_file(path)
    return list(files.values())
