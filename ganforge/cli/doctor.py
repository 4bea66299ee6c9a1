"""`ganforge doctor [NAME]`: versions, and what is wrong with plugins."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from ganforge import __version__
from ganforge.cli.options import plugin_options, print_warnings
from ganforge.cli.tables import Row, print_tables
from ganforge.interfaces.errors import GanforgeError, PluginError
from ganforge.interfaces.manifest import KINDS, Component
from ganforge.recipes.suggestions import nearest
from ganforge.registry.plugin_loader import BUILT_IN, LoadedPlugin, normalised
from ganforge.registry.registry import NotFound, Registry

_SLOW = 0.05  # seconds; a manifest that takes longer is felt in every command


@click.command()
@click.argument("plugin", required=False)
@plugin_options
@click.pass_context
def command(
    ctx: click.Context, plugin: str | None, plugin_files: tuple[Path, ...], without: tuple[str, ...]
) -> None:
    """Show versions, plugins and what is wrong with them; for one PLUGIN, everything.

    Exit status 1 if a plugin failed to load.
    """
    registry = Registry.load(plugin_files=plugin_files, without=without)
    if plugin is not None:
        registry = _only(registry, normalised(plugin))
    else:
        print_tables([("versions", list(_versions()))])
        click.echo()
    print_tables([("plugins", list(_plugins(registry)))])
    troubles = list(_troubles(registry))
    if troubles:
        click.echo("\n" + click.style("troubles", bold=True))
    for trouble in troubles:
        click.echo(f"  {trouble}")
    if plugin is not None:
        _print_whole(registry)
    print_warnings(registry)
    if not troubles:
        click.echo("\nno troubles")
    ctx.exit(1 if registry.failures else 0)


def _versions() -> Iterator[Row]:
    yield "ganforge", __version__, str(Path(__file__).parent.parent)
    yield "python", platform.python_version(), sys.executable
    for name in ("torch", "torchvision", "numpy", "pluggy"):
        try:
            yield name, version(name), ""
        except PackageNotFoundError:
            yield name, "not installed", ""


def _plugins(registry: Registry) -> Iterator[Row]:
    for plugin in registry.plugins:
        who = f"{plugin.provider} {plugin.version}"
        took = f"{plugin.seconds * 1000:.0f} ms"
        yield plugin.entry_point, who, plugin.module, took, _offered(plugin.components)
    for file in registry.plugin_files:
        yield file.provider, f"sha256 {file.version}", str(file.path), "", _offered(file.components)
    for failure in registry.failures:
        yield failure.entry_point, f"{failure.provider} {failure.version}", "failed"
    for name, how in sorted(registry.switched_off.items()):
        yield name, "", f"switched off by {how}"


def _offered(components: Sequence[Component]) -> str:
    return f"{len(components)} component{'' if len(components) == 1 else 's'}"


def _troubles(registry: Registry) -> Iterator[str]:
    for failure in registry.failures:
        yield f"{failure.plugin}: {failure.error}"
    for plugin in registry.plugins:
        yield from _slow(plugin)
    yield from _options(registry)
    yield from _names(registry)


def _slow(plugin: LoadedPlugin) -> Iterator[str]:
    if plugin.imports_torch:
        yield (
            f"{plugin.provider} ({plugin.entry_point}) imports torch in its manifest, which makes "
            "every command slow: import it in the modules that the components name"
        )
    elif plugin.seconds > _SLOW:
        took = f"{plugin.seconds * 1000:.0f} ms"
        yield f"{plugin.provider} ({plugin.entry_point}) takes {took} to load"


def _options(registry: Registry) -> Iterator[str]:
    """Options that no recipe could hold are only found when somebody looks at them."""
    from ganforge.recipes.typed_options import option_rows

    for component in registry.components:
        try:
            option_rows(component.options)
        except GanforgeError as error:
            yield f"{component.kind} {component.id}: {error}"


def _names(registry: Registry) -> Iterator[str]:
    """Names that several plugins offer."""
    for kind in KINDS:
        for name in dict.fromkeys(c.name for c in registry.of(kind)):
            ids = [c.id for c in registry.of(kind) if c.name == name]
            if len(ids) == 1:
                continue
            try:
                meant = registry.find(kind, name).id
            except NotFound:
                yield f"{kind} '{name}' is offered by {', '.join(ids)}: recipes must say which"
            else:
                others = ", ".join(i for i in ids if i != meant)
                yield f"{kind} '{name}' means {meant}; {others} only by its whole name"


def _only(registry: Registry, name: str) -> Registry:
    """The part of the registry that is about one plugin: a distribution or an entry point."""
    plugins = [p for p in registry.plugins if name in (normalised(p.provider), p.entry_point)]
    failures = [f for f in registry.failures if name in (normalised(f.provider), f.entry_point)]
    files = [f for f in registry.plugin_files if normalised(f.provider) == name]
    if not (plugins or failures or files):
        known = {p.provider for p in registry.plugins} | {f.provider for f in registry.failures}
        points = {p.entry_point for p in registry.plugins if p.provider == BUILT_IN}
        close = nearest(name, known | points)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        if name in registry.switched_off:
            raise PluginError(f"'{name}' is switched off by {registry.switched_off[name]}")
        raise PluginError(f"no plugin '{name}' is installed{hint}")
    components = [c for plugin in plugins for c in plugin.components]
    components += [c for file in files for c in file.components]
    return Registry(
        tuple(components), tuple(failures), tuple(plugins), tuple(files), {}, registry.warnings
    )


def _print_whole(registry: Registry) -> None:
    for failure in registry.failures:
        if failure.trace:
            click.echo(f"\n{failure.plugin}\n{failure.trace.rstrip()}")
    rows = [(c.kind, c.name, c.target, c.summary) for c in registry.components]
    if rows:
        click.echo()
        print_tables([("components", rows)])
