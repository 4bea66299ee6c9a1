"""Finding installed plugins and loading them one by one, so that a broken one breaks nothing else.

A plugin's manifest is read through a pluggy manager of its own: hooks are declared, a misspelt
one is refused, and nothing that one plugin does reaches another. Whatever goes wrong becomes a
`LoadFailure`; nothing is dropped in silence.
"""

from __future__ import annotations

import re
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from importlib import metadata
from inspect import isclass
from pathlib import Path
from typing import Any

import attrs
import pluggy

import ganforge
from ganforge import __version__
from ganforge.interfaces.errors import PluginError
from ganforge.interfaces.manifest import ENTRY_POINT_GROUP, KINDS, Component, ManifestSpecs
from ganforge.recipes.suggestions import nearest

FILE_MODULE = "ganforge_file_"  # what names of modules begin with that are plugin files
BUILT_IN = "ganforge"  # the distribution that the built-in plugins come with

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_VERSIONED = re.compile(r"ganforge\.v(\d+)")


@attrs.frozen
class LoadFailure:
    """A plugin, or one component of it, that could not be taken.

    error: one line. trace: the traceback, where an exception was raised.
    """

    provider: str
    version: str
    entry_point: str
    error: str
    trace: str = attrs.field(default="", repr=False)

    @property
    def plugin(self) -> str:
        """`acme-gan 0.3`, with the entry point where it has a name of its own."""
        named = "" if self.entry_point == self.provider else f" ({self.entry_point})"
        return f"{self.provider} {self.version}".strip() + named


@attrs.frozen
class LoadedPlugin:
    """An entry point whose manifest was read.

    seconds: what importing and asking it took. imports_torch: whether it was the one to bring it.
    """

    provider: str
    version: str
    entry_point: str
    module: str
    seconds: float
    components: tuple[Component, ...]
    recipes: tuple[Path, ...] = ()
    imports_torch: bool = False


@attrs.define
class Loaded:
    """What `load_installed` found."""

    plugins: list[LoadedPlugin] = attrs.field(factory=list)
    failures: list[LoadFailure] = attrs.field(factory=list)
    providers: set[str] = attrs.field(factory=set)  # installed ones, also those left out


def normalised(name: str) -> str:
    """A distribution's name as package indexes compare it: `Acme_GAN` is `acme-gan`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def load_installed(
    *, only: Collection[str] | None = None, without: Collection[str] = (), strict: bool = False
) -> Loaded:
    """Every plugin that is installed; of third parties `only` these, and none of `without`.

    Raises PluginError at the first failure if `strict`.
    """
    loaded = Loaded()
    points = sorted(_entry_points(), key=lambda found: (found[0] != BUILT_IN, found[0]))
    current = {provider for provider, _, point in points if point.group == ENTRY_POINT_GROUP}
    taken: dict[str, set[tuple[str, str]]] = {}
    for provider, version, point in points:
        loaded.providers.add(provider)
        left_out = provider in without or (only is not None and provider not in only)
        if left_out and provider != BUILT_IN:
            continue
        if point.group != ENTRY_POINT_GROUP:
            if provider not in current:  # one that also speaks this version is simply newer
                failure = LoadFailure(provider, version, point.name, _foreign(point.group))
                loaded.failures.append(failure)
                _raise_if(strict, failure)
            continue
        _load(loaded, provider, version, point, taken.setdefault(provider, set()), strict)
    return loaded


def _entry_points() -> Iterator[tuple[str, str, metadata.EntryPoint]]:
    """(provider, version, entry point) for every group of ours, whatever its version."""
    found = metadata.entry_points()
    for group in sorted(found.groups):
        if group == "ganforge" or group.startswith("ganforge."):
            for point in sorted(found.select(group=group), key=lambda point: point.name):
                try:
                    distribution = point.dist
                    name = distribution.name if distribution else ""
                    version = distribution.version if distribution else ""
                except (OSError, TypeError, KeyError):  # an installation without METADATA
                    name, version = "", ""
                yield normalised(name or point.name), version or "", point


def _foreign(group: str) -> str:
    match = _VERSIONED.fullmatch(group)
    if match:
        return (
            f"written for version {match[1]} of the plugin interface; ganforge {__version__} "
            f"understands version {ENTRY_POINT_GROUP.rpartition('v')[2]}: another release of "
            "the plugin or of ganforge fits"
        )
    return f"its entry point is in the group '{group}'; plugins belong in '{ENTRY_POINT_GROUP}'"


def _load(
    loaded: Loaded,
    provider: str,
    version: str,
    point: metadata.EntryPoint,
    taken: set[tuple[str, str]],
    strict: bool,
) -> None:
    started = time.perf_counter()
    had_torch = "torch" in sys.modules
    try:
        # A plugin that prints must not spoil what `--json` writes to standard output.
        with redirect_stdout(sys.stderr):
            offered, recipes = read_manifest(point.load)
    except (Exception, SystemExit) as error:
        failure = LoadFailure(
            provider,
            version,
            point.name,
            one_line(error),
            "".join(traceback.format_exception(error)),
        )
        loaded.failures.append(failure)
        _raise_if(strict, failure, error)
        return
    good = []
    for item in offered:
        faults = list(component_faults(item, taken))
        if faults:
            failure = LoadFailure(provider, version, point.name, "; ".join(faults))
            loaded.failures.append(failure)
            _raise_if(strict, failure)
            continue
        taken |= {(item.kind, name) for name in (item.name, *item.aliases)}
        good.append(attrs.evolve(item, provider=provider, version=version))
    plugin = LoadedPlugin(
        provider,
        version,
        point.name,
        point.value,
        time.perf_counter() - started,
        tuple(good),
        recipes,
        "torch" in sys.modules and not had_torch,
    )
    loaded.plugins.append(plugin)


def _raise_if(strict: bool, failure: LoadFailure, cause: BaseException | None = None) -> None:
    if strict:
        raise PluginError(f"plugin {failure.plugin}: {failure.error}") from cause


def read_manifest(load: Callable[[], Any]) -> tuple[list[Any], tuple[Path, ...]]:
    """What a plugin offers: items meant to be components, and its folders of recipes.

    load: imports the plugin and returns it. Raises PluginError for a manifest that cannot be
    used, and whatever the plugin itself raises.
    """
    plugin = load()
    if isclass(plugin):
        raise PluginError(f"its entry point names the class {plugin.__name__}, not a module")
    manager = pluggy.PluginManager("ganforge")
    manager.add_hookspecs(ManifestSpecs)
    try:
        manager.register(plugin)
    except pluggy.PluginValidationError as error:
        raise PluginError("; ".join(str(error).splitlines())) from error
    _refuse_unknown_hooks(plugin, manager)
    items = [item for offer in manager.hook.ganforge_components() for item in _several(offer)]
    folders = manager.hook.ganforge_recipes()
    for folder in folders:
        if not isinstance(folder, Path) or not folder.is_dir():
            raise PluginError(
                f"ganforge_recipes returned {folder!r}, which is not the Path of a folder"
            )
    return items, tuple(folders)


def _refuse_unknown_hooks(plugin: object, manager: pluggy.PluginManager) -> None:
    specs = sorted(name for name in vars(ManifestSpecs) if name.startswith("ganforge_"))
    implemented = manager.get_hookcallers(plugin) or []
    for caller in implemented:
        optional = all(implementation.optionalhook for implementation in caller.get_hookimpls())
        if not caller.has_spec() and not optional:
            close = nearest(caller.name, specs)
            hint = f"; did you mean '{close[0]}'?" if close else f"; hooks: {', '.join(specs)}"
            raise PluginError(f"there is no hook '{caller.name}'{hint}")
    unmarked = {name for name in specs if callable(getattr(plugin, name, None))}
    for name in sorted(unmarked - {caller.name for caller in implemented}):
        raise PluginError(f"its '{name}' lacks the decorator @hookimpl")
    if not implemented:
        raise PluginError(f"it offers nothing: none of the hooks {', '.join(specs)}")


def _several(offer: object) -> Iterable[Any]:
    if isinstance(offer, (Component, str, bytes)) or not isinstance(offer, Iterable):
        raise PluginError(f"ganforge_components returned {_kind_of(offer)}, not a list of them")
    return offer


def component_faults(item: Any, taken: Collection[tuple[str, str]] = ()) -> Iterator[str]:
    """What is wrong with a component record, one line each.

    taken: (kind, name) of what the same plugin already offers.
    """
    if not isinstance(item, Component):
        yield f"ganforge_components returned {_kind_of(item)} among its components"
        return
    what = f"{item.kind} {item.name!r}"
    if item.kind not in KINDS:
        yield f"{what}: there is no kind {item.kind!r}; kinds: {', '.join(KINDS)}"
        return
    for name in (item.name, *item.aliases):
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            yield f"{what}: {name!r} is not a name; names are lower-case words joined by '-'"
        elif (item.kind, name) in taken:
            yield f"{what}: it offers two components {item.kind}/{name}"
    if not isinstance(item.target, str) or not _TARGET.fullmatch(item.target):
        yield f"{what}: target {item.target!r} is not of the form 'package.module:Class'"
    yield from _fact_faults(item, what)
    if item.kind == "dataset" and item.describe is None:
        yield f"{what}: a dataset needs `describe`, which says what it yields"
    yield from _option_faults(item, what)


def _fact_faults(item: Component, what: str) -> Iterator[str]:
    """Facts that are neither functions nor what these return."""
    for name in ("check", "describe", "views"):
        if getattr(item, name) is not None and not callable(getattr(item, name)):
            yield f"{what}: `{name}` is {_kind_of(getattr(item, name))}, not a function"
    if not callable(item.offers) and not _are_names(item.offers):
        yield f"{what}: `offers` is {_kind_of(item.offers)}, not names such as ('features',)"
    sides = item.needs if isinstance(item.needs, Mapping) else None
    stated = item.needs is not None and not callable(item.needs)
    if stated and (sides is None or not all(map(_are_names, sides.values()))):
        yield f"{what}: `needs` holds no names for each side, as {{'generator': ('fake_scores',)}}"


def _are_names(value: object) -> bool:
    if isinstance(value, str) or not isinstance(value, Collection):
        return False
    return all(isinstance(name, str) for name in value)


def _option_faults(item: Component, what: str) -> Iterator[str]:
    # Imported here because recipes are only read by some of the commands that load plugins.
    from ganforge.recipes.grammar import reserved_keys

    if not isclass(item.options) or not attrs.has(item.options):
        yield f"{what}: its options {item.options!r} are not a class made with @options"
        return
    for field in attrs.fields(item.options):
        if field.name in reserved_keys(item.kind):
            yield f"{what}: the option name '{field.name}' is reserved for recipes"


def _kind_of(value: object) -> str:
    article = "an" if type(value).__name__[:1].lower() in "aeiou" else "a"
    return f"{article} {type(value).__name__}"


def one_line(error: BaseException, called: Callable[..., Any] | None = None) -> str:
    """An exception as one line: its kind, the first line of its message, and where it arose.

    called: what was called, which is the place of an exception that arose in calling it.
    """
    if isinstance(error, PluginError):
        return str(error)
    if isinstance(error, SystemExit):
        what = f"it called sys.exit({'' if error.code is None else repr(error.code)})"
    else:
        lines = str(error).strip().splitlines()
        what = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if isinstance(error, SyntaxError):  # says its own place
        return what
    place = _place(error) or _definition(called)
    return f"{what} ({place})" if place else what


def raised_in_plugin(error: BaseException) -> str:
    """Whose mistake an exception is that arose in the code of a third party's plugin, and where;
    "" where it did not."""
    packages = {
        point.module.partition(".")[0]: provider
        for provider, _, point in _entry_points()
        if provider != BUILT_IN and point.group == ENTRY_POINT_GROUP
    }
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        module = str(frame.f_globals.get("__name__", ""))
        file = frame.f_code.co_filename
        provider = packages.get(module.partition(".")[0], "")
        if module.startswith(FILE_MODULE):
            provider = Path(file).name
        if provider:
            lines = str(error).strip().splitlines() or [""]
            what = ": ".join(filter(None, (type(error).__name__, lines[0])))
            return f"{provider} raised {what} ({file}:{line}, in {frame.f_code.co_name})"
    return ""


def _definition(called: Callable[..., Any] | None) -> str:
    """`folder/file.py:12`, where a function is defined."""
    code = getattr(called, "__code__", None)
    if code is None:
        return ""
    file = Path(code.co_filename)
    return f"{file.parent.name}/{file.name}:{code.co_firstlineno}"


def _place(error: BaseException) -> str:
    """`folder/file.py:12` of the innermost frame that is neither ours nor the import system's."""
    ours = [Path(module.__file__ or "").parent for module in (ganforge, pluggy, attrs)]
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        name = frame.f_code.co_filename
        folders = Path(name).parents
        mine = any(folder in folders for folder in ours)
        if not mine and not name.startswith("<") and "importlib" not in Path(name).parts:
            return f"{Path(name).parent.name}/{Path(name).name}:{line}"
    return ""
