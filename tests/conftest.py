"""What all tests share: the command line, made-up installed plugins, a folder to work in."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from attrs import field, frozen
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:  # and the processes that tests start
    os.environ.setdefault("OMP_NUM_THREADS", "1")


# Inputs may take as long as they take: the machine may be busy.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """This process alone for slow tests, many of which measure time or memory, and for one file,
    which is through before others have started; else as many processes as there are cores."""
    marked = config.option.markexpr
    slow = "slow" in marked and "not slow" not in marked
    one = len(config.args) == 1 and ".py" in config.args[0]
    return 0 if slow or one else None


def pytest_runtest_setup() -> None:
    """One thread wherever torch is imported: tests share the machine, and figures repeat.
    Numbers are as Python expects them, whatever test came before."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    torch.set_flush_denormal(False)  # a training leaves it on, and hypothesis refuses that


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environment variables of the person who runs the tests change nothing."""
    for name in [name for name in os.environ if name.startswith("GANFORGE_")]:
        if name != "GANFORGE_TEST_DATA":
            monkeypatch.delenv(name)


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one during the test."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `making_data`: made-up data for every shipped recipe, only to be read."""
    from making_data import make_data

    folder = tmp_path_factory.mktemp("data")
    make_data(folder)
    return folder


# --- the command line -----------------------------------------------------------------------------


@frozen
class Answer:
    """What a command said."""

    status: int
    out: str
    err: str


class Cli:
    """Runs `ganforge`; in this process, or in a fresh one to see what it imports."""

    def __init__(self) -> None:
        self.path: list[Path] = []  # where fresh processes find made-up plugins
        self.encoding = "utf-8"  # of what they write

    def __call__(self, *arguments: str | Path) -> Answer:
        from click.testing import CliRunner

        from ganforge.cli.main import main

        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        return Answer(result.exit_code, result.stdout, result.stderr)

    def fresh(self, *arguments: str | Path) -> Answer:
        return self._python("-m", "ganforge", *map(str, arguments))

    def imported_by(self, *arguments: str | Path) -> set[str]:
        """The modules that a fresh process holds after this command."""
        code = (
            "import sys\n"
            "from ganforge.cli.main import main\n"
            "try: main(sys.argv[1:])\n"
            "except SystemExit: pass\n"
            "print('\\n##', *sys.modules)"
        )
        answer = self._python("-c", code, *map(str, arguments))
        assert "\n## " in answer.out, answer
        return set(answer.out.rpartition("\n## ")[2].split())

    def _python(self, *arguments: str) -> Answer:
        path = os.pathsep.join(map(str, [*self.path, *os.environ.get("PYTHONPATH", "").split()]))
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            encoding=self.encoding,
            env={**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": self.encoding},
        )
        return Answer(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def ganforge_cli() -> Cli:
    """`ganforge_cli("list", "--json")` -> status, out, err."""
    return Cli()


# --- plugins that look installed ------------------------------------------------------------------

MANIFEST = """
from ganforge.plugin import Component, hookimpl, option, options

@options
class HingeOptions:
    margin: float = option(1.0, above=0, help="distance kept from the boundary")

@hookimpl
def ganforge_components():
    return [Component("loss", "soft-hinge", "{package}.losses:Hinge", HingeOptions,
                      summary="Hinge loss for both sides", paper="arXiv:1705.02894")]
"""

LOSSES = """
from ganforge import Loss

class Hinge(Loss):
    def discriminator(self, real_scores, fake_scores):
        return (self.options.margin - real_scores).relu() + (1 + fake_scores).relu()

    def generator(self, fake_scores):
        return -fake_scores
"""


@frozen
class PluginMaker:
    """Makes distributions that look installed: a package and its `.dist-info` on `sys.path`."""

    site: Path
    packages: list[str] = field(factory=list)

    def __call__(
        self,
        name: str = "acme-gan",
        manifest: str = MANIFEST,
        *,
        version: str = "0.3",
        group: str = "ganforge.v1",
        points: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> str:
        """Install a plugin whose module `plugin` is `manifest`; `{package}` stands for its name.

        points: entry points by name; by default one of the plugin's name for `PACKAGE.plugin`.
        files: further modules of the package. Returns the package's name.
        """
        package = name.replace("-", "_").lower()
        self.packages.append(package)
        modules = {"__init__": "", "plugin": manifest, "losses": LOSSES, **(files or {})}
        for module, text in modules.items():
            path = self.site / package / f"{module}.py"
            path.parent.mkdir(exist_ok=True)
            text = textwrap.dedent(text).replace("{package}", package)
            path.write_text(text, encoding="utf-8", newline="\n")
        info = self.site / f"{package}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
        )
        points = points or {name: f"{package}.plugin"}
        lines = [f"{point} = {target}" for point, target in points.items()]
        (info / "entry_points.txt").write_text(
            "\n".join([f"[{group}]", *lines, ""]), encoding="utf-8"
        )
        return package


@pytest.fixture
def make_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ganforge_cli: Cli
) -> Iterator[PluginMaker]:
    """`make_plugin("acme-gan", manifest)` installs a plugin for the length of the test."""
    maker = PluginMaker(tmp_path / "site")
    maker.site.mkdir()
    ganforge_cli.path.append(maker.site)
    monkeypatch.syspath_prepend(maker.site)
    yield maker
    for name in list(sys.modules):
        if name.partition(".")[0] in maker.packages:
            del sys.modules[name]
