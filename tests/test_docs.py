"""The documentation says what the code does: its recipes compose, its plugins load, its links lead
somewhere, and its tables and error messages are those of the code."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import click
import pytest
from PIL import Image
from public_surface import remembered

import ganforge
from ganforge.cli.main import COMMANDS, main
from ganforge.interfaces.settings import (
    OPTIMIZERS,
    SCHEDULES,
    NoiseSettings,
    PhaseSettings,
    TrainSettings,
)
from ganforge.interfaces.vocabulary import VOCABULARY
from ganforge.planning.compose import compose
from ganforge.plugin import ImageOptions
from ganforge.recipes.grammar import RESERVED
from ganforge.recipes.recipe import load
from ganforge.recipes.suggestions import foreign
from ganforge.registry.plugin_file import kebab, load_plugin_file
from ganforge.registry.registry import Registry
from ganforge.testing import NotTried, cases_of

ROOT = Path(ganforge.__file__).parent.parent
DOCS = ROOT / "docs"
RECIPES, FIRST_PLUGIN, PYTHON = (DOCS / f"{x}.md" for x in ("recipes", "first-plugin", "python"))

pytestmark = [
    pytest.mark.skipif(not DOCS.is_dir(), reason="needs a checkout, not only a wheel"),
    pytest.mark.usefixtures("workdir"),  # nothing is written into the checkout
]

PAGES = [page for page in (ROOT / "README.md", *sorted(DOCS.glob("*.md"))) if page.is_file()]
LINKED = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]


@attrs.frozen
class Fence:
    """A fenced block. mark: the HTML comment on the line above it, such as `file: blur.py`."""

    page: Path
    line: int
    language: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def fences(page: Path) -> Iterator[Fence]:
    lines = page.read_text(encoding="utf-8").splitlines()
    start: int | None = None
    for number, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if start is None:
            start = number
            continue
        above = re.fullmatch(r"<!-- (.+) -->", lines[start - 1]) if start else None
        text = "\n".join(lines[start + 1 : number]) + "\n"
        yield Fence(page, start + 1, lines[start][3:], above[1] if above else "", text)
        start = None
    assert start is None, f"{page.name}:{(start or 0) + 1} is never closed"


FENCES = [fence for page in PAGES for fence in fences(page)]
TOML = [f for f in FENCES if f.language == "toml" and not f.mark.startswith("package:")]
WHOLE = [fence for fence in TOML if "recipe" in tomllib.loads(fence.text)]
PARTS = [fence for fence in TOML if fence not in WHOLE]
PLUGIN_FILES = [f for f in FENCES if f.language == "python" and f.mark.startswith("file:")]
PACKAGE = {f.mark.removeprefix("package: "): f.text for f in FENCES if f.mark[:8] == "package:"}
SHELL = [fence for fence in FENCES if fence.language == "sh"]


# --- recipes --------------------------------------------------------------------------------------


def with_photographs(folder: Path, data: Mapping[str, Any]) -> None:
    """Make up what a recipe's `[data]` reads below its root."""
    if data.get("use") not in ("image-folder", "unpaired-folders"):
        return
    for name in data.get("domains", {"image": "."}).values():
        place = folder / data["root"] / name
        place.mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (80, 80), (number, 0, 0)).save(place / f"{number}.png")


def registry_of(fence: Fence, folder: Path) -> Registry:
    """The built-ins and, on the page about plugins, the files that it shows."""
    files = {f.mark.removeprefix("file: "): f.text for f in PLUGIN_FILES if f.page == fence.page}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return Registry.load(plugin_files=[folder / name for name in files], only=())


@pytest.mark.parametrize("fence", WHOLE, ids=str)
def test_every_recipe_shown_composes(fence, workdir):
    with_photographs(workdir, tomllib.loads(fence.text).get("data", {}))
    file = workdir / "recipe.toml"
    file.write_text(fence.text, encoding="utf-8")
    registry = registry_of(fence, workdir)
    loaded = load(file, shipped=registry.recipes())
    assert compose(loaded, registry).name == tomllib.loads(fence.text)["name"]


@pytest.mark.parametrize("fence", PARTS, ids=str)
def test_every_part_of_a_recipe_shown_fits_into_the_first_recipe(fence, workdir):
    first = next(f for f in WHOLE if f.page == RECIPES)
    (workdir / "first.toml").write_text(first.text, encoding="utf-8")
    file = workdir / "part.toml"
    file.write_text('recipe = 1\nextends = "first.toml"\n' + fence.text, encoding="utf-8")
    parts = tomllib.loads(fence.text)
    loaded = load(file, preview="preview" in parts)
    assert not loaded.problems
    if "data" not in parts:  # other data has other domains than the first recipe's
        compose(loaded, Registry.load(only=()))


# --- plugins --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fence", PLUGIN_FILES, ids=str)
def test_every_plugin_file_shown_loads_and_is_listed(fence, ganforge_cli, workdir):
    file = workdir / fence.mark.removeprefix("file: ")
    file.write_text(fence.text, encoding="utf-8")
    classes = re.findall(r"^class (\w+)\((\w+)\):$", fence.text, re.MULTILINE)
    expected = {(kind.lower(), kebab(name)) for name, kind in classes}
    assert {(c.kind, c.name) for c in load_plugin_file(file).components} == expected != set()
    for kind, name in expected:
        answer = ganforge_cli("show", f"{kind}/{name}", "--plugin-file", file)
        assert (answer.status, answer.err) == (0, "")
        assert answer.out.startswith(f"{kind}/{name}  from {file.name}")
    listed = ganforge_cli("list", "--plugin-file", file).out
    assert all(re.search(rf"^  {name} .* from {file.name} ", listed, re.M) for _, name in expected)


@pytest.mark.parametrize("fence", PLUGIN_FILES, ids=str)
def test_every_plugin_file_shown_passes_the_conformance_kit(fence, workdir):
    file = workdir / fence.mark.removeprefix("file: ")
    file.write_text(fence.text, encoding="utf-8")
    for case in cases_of(file.name, registry=Registry.load(plugin_files=[file], only=())):
        with suppress(NotTried):
            case.run()


def test_the_recipe_of_all_plugin_files_trains(workdir):
    """Also what only a run notices: methods of hooks, shapes, what a metric returns."""
    from ganforge.training.launch import Request, launch

    fence = next(f for f in WHOLE if f.page == FIRST_PLUGIN)
    registry_of(fence, workdir)
    (workdir / "discs.toml").write_text(fence.text, encoding="utf-8")
    sets = ("train.steps=11", "train.batch=4", "data.count=16", "metrics.brightness.count=4")
    request = Request(
        recipe="discs.toml", sets=sets, plugin_files=tuple(sorted(workdir.glob("*.py")))
    )
    outcome = launch(request, lambda line: None)
    assert outcome.step == 11
    measured = [key for line in outcome.folder.metric_lines() for key in line if "metric" in key]
    assert measured == ["metric/brightness/made", "metric/brightness/real"]


def test_the_package_shown_is_found_by_its_entry_point_and_loads(make_plugin):
    project = tomllib.loads(PACKAGE["pyproject.toml"])["project"]
    modules = {
        Path(name).stem: text
        for name, text in PACKAGE.items()
        if name.startswith("src/") and not name.endswith("/plugin.py")
    }
    make_plugin(
        project["name"],
        PACKAGE["src/acme_gan/plugin.py"],
        version=project["version"],
        points=project["entry-points"]["ganforge.v1"],
        files=modules,
    )
    registry = Registry.load()
    assert not registry.failures
    offered = [c for c in registry.components if c.provider == project["name"]]
    assert {(c.kind, c.name) for c in offered} == {("loss", "soft-hinge"), ("generator", "sines")}
    assert all(registry.load_target(component) for component in offered)
    assert not any(plugin.imports_torch for plugin in registry.plugins)
    recipe = re.search(r'RECIPE = """\n(.+?)"""', PACKAGE["tests/test_training.py"], re.DOTALL)
    assert recipe
    Path("tiny.toml").write_text(recipe[1], encoding="utf-8")
    assert compose(load("tiny.toml"), registry).steps == 2


def test_the_vocabulary_table_is_the_vocabulary():
    text = FIRST_PLUGIN.read_text(encoding="utf-8")
    table = text.partition("<!-- vocabulary: begin")[2].partition("<!-- vocabulary: end -->")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE)
    generated = "\n".join(f"| `{name}` | {what} |" for name, what in VOCABULARY.items())
    assert rows == list(VOCABULARY.items()), f"the table should be\n{generated}"


# --- tables of recipes.md -------------------------------------------------------------------------


def rows_below(heading: str) -> dict[str, list[str]]:
    """The table rows of a section, first cell (without quotes) -> the other cells."""
    text = RECIPES.read_text(encoding="utf-8")
    section = re.search(rf"^##+ {heading}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    assert section, f"there is no section '{heading}'"
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section[1].splitlines()
        if line.startswith("| `")
    ]
    return {cells[0].split("`")[1]: cells[1:] for cells in lines}


@pytest.mark.parametrize(
    ("heading", "settings", "before"),
    [
        ("Data", ImageOptions, {"use"}),
        ("Noise and domains", NoiseSettings, set()),
        ("Training", TrainSettings, set()),
        ("Phases", PhaseSettings, set()),
    ],
)
def test_tables_of_settings_hold_every_key_with_its_default(heading, settings, before):
    rows = rows_below(heading)
    fields = {field.name: field for field in attrs.fields(settings)}
    assert set(rows) - before == set(fields)
    for name, field in fields.items():
        default = rows[name][1]
        if default.startswith("`") and default.count("`") == 2:
            (value,) = tomllib.loads(f"v = {default.strip('`')}").values()
            assert value == field.default, name


def test_tables_of_reserved_keys_are_complete():
    assert set(rows_below("Networks")) == set(RESERVED["generators"])
    assert set(rows_below("Losses")) == set(RESERVED["losses"])
    assert set(rows_below("Augmentors")) == set(RESERVED["augmentors"])


def test_optimizers_and_schedules_are_listed_with_all_defaults():
    rows = {key.strip('"'): cells for key, cells in rows_below("Optimizers and schedules").items()}
    del rows["use"]  # the heading of a table
    choices = OPTIMIZERS | SCHEDULES
    assert set(rows) == set(choices)
    for name, cells in rows.items():
        shown = tomllib.loads("\n".join(re.findall(r"`(\w+ = .+?)`", cells[0])))
        defaults = {f.name: f.default for f in attrs.fields(choices[name])}
        assert {key: _plain(value) for key, value in shown.items()} == {
            key: _plain(value) for key, value in defaults.items()
        }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


TABLES = ("", "train", "data", "noise", "optimizer", "generators", "losses", "augmentors", "hooks")


def test_words_of_other_tools_lead_where_the_table_says():
    rows = rows_below("Coming from other tools")
    text = RECIPES.read_text(encoding="utf-8").partition("## Coming from other tools")[2]
    assert len(rows) > 20
    for line in text.splitlines():
        if not line.startswith("| `") or "command" in line:
            continue
        words, ours = line.strip("|").split("|")
        key = re.findall(r"`([\w.]+)", ours)[0].rpartition(".")[2]
        for word in re.findall(r"`(\w+)`", words):
            answers = [foreign(word, table) or "" for table in TABLES]
            assert key in [answer.rpartition(".")[2] for answer in answers], (word, answers)


# --- messages -------------------------------------------------------------------------------------

FACES = """\
recipe = 1
name = "faces"

[data]
use = "painted-horses"
size = 64

[train]
steps = 1000
batch = 64
n_critic = 5

[generator]
use = "dcgan"
to = "horse"
lr = 1e-4

[discriminator]
use = "dcgan"

[losses.adversarial]
use = "non-saturating"

[optimizer]
use = "adamm"
"""


def test_the_error_shown_in_recipes_is_what_check_says(ganforge_cli, workdir):
    (workdir / "faces.toml").write_text(FACES, encoding="utf-8")
    shown = next(f.text for f in FENCES if f.page == RECIPES and "faces.toml" in f.text)
    answer = ganforge_cli("check", "faces.toml")
    assert answer.status == 2
    assert answer.err.strip() == shown.strip()


def test_the_refused_option_shown_is_what_check_says(ganforge_cli, workdir):
    first = next(f for f in WHOLE if f.page == RECIPES)
    (workdir / "first.toml").write_text(first.text, encoding="utf-8")
    registry_of(next(f for f in FENCES if f.page == FIRST_PLUGIN), workdir)
    command = next(
        line for f in SHELL for line in f.text.splitlines() if "margin=-1" in line
    ).split()[1:]
    answer = ganforge_cli(*command)
    shown = next(f.text for f in FENCES if f.page == FIRST_PLUGIN and "not -1" in f.text)
    assert answer.err.strip() == shown.strip()


# --- links and commands ---------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """What headings of a page can be linked by."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)|<img [^>]*src=\"([^\"]+)\"", text):
        target = "".join(target)
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), f"{page.name} links to {target}, which is not there"
        assert not anchor or anchor in anchors(linked), f"{page.name}: no heading for {target}"


def written_commands(page: Path) -> Iterator[list[str]]:
    """The words behind `ganforge` wherever a command line stands in code."""
    text = page.read_text(encoding="utf-8")
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    lines = [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", outside)]
    lines += [line for f in fences(page) if f.language == "sh" for line in f.text.splitlines()]
    for line in lines:
        for part in line.split(" && "):
            words = shlex.split(part, comments=True)
            if words[:1] == ["ganforge"] and len(words) > 1:
                yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_is_written_exists_with_its_options(page):
    for name, *arguments in written_commands(page):
        if not name.islower() or name.startswith("-"):  # `ganforge COMMAND`, `ganforge --help`
            continue
        assert name in COMMANDS, f"{page.name}: there is no command 'ganforge {name}'"
        command: click.Command | None = main.get_command(click.Context(main), name)
        if isinstance(command, click.Group) and arguments:
            command = command.get_command(click.Context(command), arguments[0])
        assert command is not None, f"{page.name}: no 'ganforge {name} {arguments[0]}'"
        known = {flag for parameter in command.params for flag in parameter.opts} | {"--help"}
        flags = {word.partition("=")[0] for word in arguments if word.startswith("--")}
        assert flags <= known, f"{page.name}: 'ganforge {name}' has no {flags - known}"


def test_the_page_of_components_is_the_one_that_the_command_prints():
    from ganforge.cli.components_page import page

    registry = Registry.load(only=())
    head, _, listed = (DOCS / "components.md").read_text("utf-8").partition("\n## ")
    assert "ganforge list --markdown --plugin ganforge" in head
    assert "## " + listed == page(registry.components, registry)


# --- that the commands run ------------------------------------------------------------------------

# What makes a training a matter of a second, whatever the recipe.
SHORT = ["train.steps=2", "train.batch=4", "train.device=cpu", "hooks.metrics.every=1"]
READ_THROUGH = (RECIPES, FIRST_PLUGIN, DOCS / "metrics.md", ROOT / "README.md")


def small(words: list[str]) -> list[str]:
    """A command, its training cut short and its figures of few samples."""
    if words[0] == "run":
        sets = [*SHORT, *(["data.count=24"] if ".toml" in words[1] else [])]
    elif words[0] == "evaluate":
        named = [words[n + 1] for n, word in enumerate(words) if word == "--metric"]
        sets = [f"metrics.{name}.count=20" for name in named]
    else:
        sets = []
    return words + [word for setting in sets for word in ("--set", setting)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Where the judge of digits lies that several pages measure with, trained once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def ready(workdir, cache, make_plugin, monkeypatch):
    """A folder in which everything that a page speaks of is there before it is read."""
    from making_data import make_mnist

    monkeypatch.setenv("GANFORGE_CACHE", str(cache))
    make_mnist(workdir / "data" / "mnist")
    shutil.copytree(ROOT / "recipes", workdir / "recipes")
    for fence in (f for f in WHOLE if f.page in (RECIPES, FIRST_PLUGIN)):
        name = tomllib.loads(fence.text)["name"]
        (workdir / f"{name}.toml").write_text(fence.text, encoding="utf-8")
    for fence in PLUGIN_FILES:
        (workdir / fence.mark.removeprefix("file: ")).write_text(fence.text, encoding="utf-8")
    return workdir


@pytest.mark.parametrize("page", READ_THROUGH, ids=lambda page: page.name)
def test_the_commands_of_a_page_run_one_after_the_other(page, ready, ganforge_cli):
    if page.name == "metrics.md":  # speaks of runs that were made
        for name in ("dcgan-mnist", "lsgan-mnist", "sequence-times-likelihood"):
            assert ganforge_cli(*small(["run", name])).status == 0
    ran = 0
    for line in (line for f in fences(page) if f.language == "sh" for line in f.text.splitlines()):
        words = shlex.split(line, comments=True)
        told = "acme" in line and page == FIRST_PLUGIN and "--plugin-file" not in line
        foreign = any(word in line for word in ("pip install", "--step 2000", "horse2zebra"))
        if words[:1] != ["ganforge"] or foreign or told:
            continue
        if words[2:3] == ["recipes/dcgan_mnist.toml"]:  # a copy is not the shipped one
            words[2] = "dcgan-mnist"
        answer = ganforge_cli(*small(words[1:]))
        assert answer.status == (2 if "margin=-1" in line else 0), f"{line}\n{answer.err}"
        ran += 1
    assert ran >= 4


# --- the page of Python ---------------------------------------------------------------------------


def test_the_examples_of_the_page_of_python_run_one_after_the_other(ready):
    known: dict[str, Any] = {}
    examples = [f for f in FENCES if f.page == PYTHON and f.mark == "run"]
    assert len(examples) > 8
    for fence in examples:
        exec(compile(fence.text, str(fence), "exec"), known)


def test_every_public_name_has_a_place_on_the_page_of_python():
    outside = re.sub(r"^```.*?^```$", "", PYTHON.read_text("utf-8"), flags=re.M | re.DOTALL)
    shown = {word for code in re.findall(r"`([^`]+)`", outside) for word in code_words(code)}
    missing = [name for name in public_names() if not {name, f"ganforge.{name}"} & shown]
    assert not missing, f"docs/python.md says nothing of {missing}"


def code_words(code: str) -> set[str]:
    """`ganforge.train(recipe)` as `ganforge.train` and `recipe`."""
    return set(re.findall(r"[\w.]+", code))


def public_names() -> Iterator[str]:
    """Classes, functions, values, hook events, and what runs and trainings can do; as the page has
    them: `Component` of ganforge.plugin, `Run.sample` of a class."""
    _, surface = remembered()
    for line in surface:
        kind, _, rest = line.partition(" ")
        name = rest.partition("(")[0].removeprefix("ganforge.")
        if kind == "member" and name.startswith(("Run.", "Training.")):
            yield name
        elif kind in ("class", "function", "value", "moment"):
            yield re.sub(r"^(plugin|images|archives|testing)\.", "", name)


# --- README, pictures and the first hour ----------------------------------------------------------


def test_the_readme_is_read_in_one_go():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150


@pytest.mark.parametrize("picture", sorted((DOCS / "pictures").glob("*")), ids=lambda p: p.name)
def test_pictures_are_light_and_shown_somewhere(picture):
    most = 150_000 if picture.name.startswith("first-hour") else 300_000
    assert picture.stat().st_size < most
    assert any(f"pictures/{picture.name}" in page.read_text("utf-8") for page in PAGES)


def test_what_made_the_pictures_of_the_first_hour_still_composes(ready, ganforge_cli):
    for number in range(4):
        file = ready / "PATH" / "TO" / "PHOTOS" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (number, 0, 0)).save(file)
    runs = [
        shlex.split(line)[2:]
        for fence in FENCES
        if fence.page.name == "first-hour.md" and fence.language == "sh"
        for line in fence.text.splitlines()
        if line.startswith("ganforge run") and "--new" not in line
    ]
    assert len(runs) >= 6
    for words in runs:
        if "--out" in words:  # which `check` has no use for
            del words[words.index("--out") : words.index("--out") + 2]
        answer = ganforge_cli("check", *words)
        assert answer.status == 0, answer.err
