"""The layering of the code, read from its imports: who may know whom, and what stays light."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from attrs import frozen

import ganforge
from ganforge.cli.main import COMMANDS

ROOT = Path(ganforge.__file__).parent.parent
CORE = ROOT / "ganforge"
PLUGINS = ROOT / "plugins"

pytestmark = pytest.mark.skipif(not PLUGINS.is_dir(), reason="needs a checkout, not only a wheel")

# What a plugin may import of ganforge.
PUBLIC = {"ganforge"} | {f"ganforge.{n}" for n in ("plugin", "images", "archives", "testing")}
HEAVY = {"torch", "torchvision"}
# Slow enough to be felt: light modules import them inside functions.
FELT = HEAVY | {"PIL", "rich", "numpy", "tree_sitter", "tree_sitter_toml", "tomli_w"}
LIGHT_COMMANDS = ("list_", "show", "check", "doctor", "new", "schema")
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
UNSAFE_CALLS = {"torch.load", "torch.save", "numpy.load", "np.load"}
UNSAFE_NAMES = {"eval", "exec", "__import__"}


@frozen
class Imported:
    module: str
    name: str
    line: int


def sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def module_of(path: Path) -> str:
    base = PLUGINS if path.is_relative_to(PLUGINS) else ROOT
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, lazy: bool = True) -> Iterator[Imported]:
    """What a file imports; without `lazy`, only what importing the file imports."""
    for node in walk(parse(path), lazy):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Imported(alias.name, "", node.lineno)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: imports are absolute"
            for alias in node.names:
                yield Imported(node.module or "", alias.name, node.lineno)


def walk(node: ast.AST, lazy: bool) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not lazy and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from walk(child, lazy)


def reached(module: str, known: dict[str, Path]) -> dict[str, str]:
    """Every module that importing this one imports, ours followed, with who imports it."""
    found: dict[str, str] = {}
    todo = [module]
    while todo:
        current = todo.pop()
        parents = [current.rpartition(".")[0]] if "." in current else []
        for parent in parents:
            if parent in known and parent not in found:
                found[parent] = current
                todo.append(parent)
        for imported in imports(known[current], lazy=False):
            inner = f"{imported.module}.{imported.name}"
            target = inner if inner in known else imported.module
            target = home_of(imported, target)
            if target not in found:
                found[target] = current
                if target in known:
                    todo.append(target)
    return found


def home_of(imported: Imported, target: str) -> str:
    """`from ganforge import Loss` loads the module that Loss lives in."""
    if imported.module == "ganforge" and imported.name in ganforge._HOME:
        return f"ganforge.{ganforge._HOME[imported.name]}"
    return target


ALL = [*sources(CORE), *sources(PLUGINS)]
KNOWN = {module_of(path): path for path in ALL}
PACKAGES = sorted(path.name for path in PLUGINS.iterdir() if (path / "__init__.py").exists())


# --- who knows whom -------------------------------------------------------------------------------


def test_the_core_imports_no_plugin() -> None:
    for path in sources(CORE):
        for imported in imports(path):
            assert imported.module.partition(".")[0] not in PACKAGES, f"{path}:{imported.line}"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_plugin_imports_only_public_names(package: str) -> None:
    for path in sources(PLUGINS / package):
        for imported in imports(path):
            root = imported.module.partition(".")[0]
            where = f"{path}:{imported.line} imports {imported.module}"
            if root == "ganforge":
                assert imported.module in PUBLIC, where
                if imported.module == "ganforge":
                    assert imported.name in ganforge.__all__, f"{where}.{imported.name}"
                else:
                    assert not imported.name.startswith("_"), f"{where}.{imported.name}"
            else:
                assert root == package or root not in PACKAGES, where


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_plugins_package_costs_nothing(package: str) -> None:
    assert (PLUGINS / package / "__init__.py").read_bytes() == b""


# --- what stays light -----------------------------------------------------------------------------

LIGHT = [
    "ganforge",
    "ganforge.cli.main",
    "ganforge.registry.registry",
    "ganforge.recipes.recipe",
    "ganforge.planning.compose",
]
LIGHT += ["ganforge.planning.resolved_recipe", "ganforge.plugin", "ganforge.recipes.problems"]
LIGHT += [f"ganforge.cli.{name}" for name in LIGHT_COMMANDS]
LIGHT += [f"{package}.plugin" for package in PACKAGES]


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_import_nothing_heavy(module: str) -> None:
    found = reached(module, KNOWN)
    for name, importer in found.items():
        assert name.partition(".")[0] not in FELT, f"{importer} imports {name}"


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "run"])
def test_the_help_of_a_command_imports_nothing_heavy(name: str) -> None:
    module = COMMANDS[name][0].partition(":")[0]
    if module not in KNOWN:
        pytest.skip("this command is not here")
    found = reached(module, KNOWN)
    for imported, importer in found.items():
        assert imported.partition(".")[0] not in HEAVY, f"{importer} imports {imported}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["list"],
        ["list", "--json"],
        ["list", "recipes"],
        ["show", "loss/least-squares"],
        ["show", "cyclegan-horse2zebra", "--preview"],
        ["check", "cyclegan-horse2zebra", "--preview"],
        ["check", "no-such-recipe"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_light_commands_never_import_torch(ganforge_cli, arguments: list[str]) -> None:
    imported = ganforge_cli.imported_by(*arguments)
    assert not imported & HEAVY
    if arguments == ["--help"]:
        assert not imported & (FELT | {"attrs", "pluggy", "ganforge.registry.registry"})


# --- what is never written ------------------------------------------------------------------------


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_can_run_code_from_data(path: Path) -> None:
    for imported in imports(path):
        assert imported.module.partition(".")[0] not in UNSAFE_MODULES, f"{path}:{imported.line}"
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in UNSAFE_CALLS | UNSAFE_NAMES, f"{path}:{node.lineno}: {called}"


@pytest.mark.parametrize("path", ALL, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_named_after_what_they_hold(path: Path) -> None:
    words = set(path.stem.split("_"))
    assert not words & {"util", "utils", "helper", "helpers", "common", "misc"}


# --- packaging ------------------------------------------------------------------------------------

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8")) if PLUGINS.is_dir() else {}


def test_every_package_is_shipped() -> None:
    setuptools = PROJECT["tool"]["setuptools"]
    core = {module_of(path / "__init__.py") for path in {source.parent for source in sources(CORE)}}
    expected = {*core, *PACKAGES, "ganforge_recipes"}
    assert set(setuptools["packages"]) == expected
    places = {name: f"plugins/{name}" for name in PACKAGES}
    assert setuptools["package-dir"] == {
        "ganforge": "ganforge",
        "ganforge_recipes": "recipes",
        **places,
    }


def test_every_plugin_has_an_entry_point() -> None:
    points = PROJECT["project"]["entry-points"]["ganforge.v1"]
    assert sorted(points.values()) == [f"{package}.plugin" for package in PACKAGES]
    for name, target in points.items():
        assert target == f"ganforge_{name.replace('-', '_')}.plugin"


def test_every_command_has_a_help_line_and_a_module() -> None:
    for target, help_line in COMMANDS.values():
        assert target.endswith(":command")
        assert help_line and not help_line.endswith(".")


@pytest.mark.parametrize(
    ("public", "home"),
    [
        ("ganforge.plugin", "ganforge.interfaces.manifest"),
        ("ganforge.images", "ganforge.data.images"),
    ],
)
def test_a_public_module_hands_on_every_public_name_of_its_room(public: str, home: str) -> None:
    names = import_module(home).__all__
    handed_on = import_module(public)
    assert {*names} <= {*handed_on.__all__}
    assert all(getattr(handed_on, name) is getattr(import_module(home), name) for name in names)
