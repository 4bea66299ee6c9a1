"""What `ganforge new` writes works as it is."""

import inspect
import os
import runpy
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

import ganforge
from ganforge.plugin import KINDS
from ganforge.registry.registry import Registry
from ganforge.testing import NotTried, cases_of

ROOT = Path(ganforge.__file__).parent.parent


def installed(folder, maker):
    """The package of a folder, as if pip had installed it. Returns its distribution's name."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (package,) = (folder / "src").iterdir()
    points = project["entry-points"]["ganforge.v1"]
    maker(project["name"], version=project["version"], points=points)
    shutil.rmtree(maker.site / package.name)
    shutil.copytree(package, maker.site / package.name)
    return project["name"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_of_each_kind_passes_the_kit_and_its_recipe_runs(
    kind, workdir, ganforge_cli, make_plugin
):
    answer = ganforge_cli("new", "plugin", f"acme-{kind}", "--kind", kind)
    assert answer.status == 0, answer
    assert f"ganforge run acme-{kind}" in answer.out
    name = installed(workdir / f"acme-{kind}", make_plugin)
    run_own_tests(workdir / f"acme-{kind}")
    ran = 0
    for case in cases_of(name):
        try:
            case.run()
        except NotTried:
            continue
        ran += 1
    assert ran >= 5
    sets = ("train.steps=2", "train.device=cpu", "data.size=16", "data.count=40")
    small = [word for setting in sets for word in ("--set", setting)]
    answer = ganforge_cli("run", name, *small)
    assert answer.status == 0, answer
    assert (workdir / "runs" / name / "checkpoints").is_dir()


def run_own_tests(folder):
    """Those of the package's tests that need no fixture of pytest's."""
    (file,) = (folder / "tests").iterdir()
    tests = [
        value
        for name, value in runpy.run_path(str(file)).items()
        if name.startswith("test_") and not inspect.signature(value).parameters
    ]
    for test in tests:
        test()


def test_what_is_written_is_tidy(workdir, ganforge_cli):
    for kind in KINDS:
        ganforge_cli("new", "plugin", f"acme-{kind}", "--kind", kind)
        files = [p for p in (workdir / f"acme-{kind}").rglob("*") if p.is_file()]
        assert {p.name for p in files} >= {"pyproject.toml", "README.md", "test.yml", "plugin.py"}
        for path in files:
            text = path.read_text(encoding="utf-8")
            assert "$" not in text.replace("${{ matrix.python }}", ""), path
            assert not text or text.endswith("\n")
            assert max(map(len, text.splitlines()), default=0) <= 100, path


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("Acme Hinge", "loss", "'Acme Hinge' is not a plugin name: use lower-case words"),
        ("torch", "loss", "'torch' is the name of another package"),
        ("hinge", "loss", "there is already a loss 'hinge' (from ganforge)"),
        ("acme", "lost", "'lost' is not one of"),
    ],
)
def test_a_name_that_cannot_be_is_refused(workdir, ganforge_cli, name, kind, message):
    answer = ganforge_cli("new", "plugin", name, "--kind", kind)
    assert answer.status != 0
    assert message in answer.err
    assert not list(workdir.iterdir())


def test_nothing_is_written_over(workdir, ganforge_cli):
    (workdir / "acme").mkdir()
    (workdir / "acme" / "mine.txt").write_text("mine", encoding="utf-8")
    answer = ganforge_cli("new", "plugin", "acme", "--kind", "loss")
    assert "acme already exists; choose another place with `--out DIR`" in answer.err
    assert ganforge_cli("new", "plugin", "acme", "--kind", "loss", "--out", "there").status == 0


# --- recipes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(Registry.load(only=()).recipes()))
def test_a_recipe_from_any_shipped_one_means_the_same(workdir, ganforge_cli, name):
    answer = ganforge_cli("new", "recipe", "mine.toml", "--from", name)
    assert answer.status == 0, answer
    shown = [ganforge_cli("show", what, "--json") for what in (f"recipe/{name}", "mine.toml")]
    if shown[0].status:  # its data is not here
        assert shown[1].status == shown[0].status
        return
    before, after = (answer.out.replace(f'"{name}"', '"mine"') for answer in shown)
    assert before == after


def test_options_that_are_left_alone_are_comments(workdir, ganforge_cli):
    ganforge_cli("new", "recipe", "mine.toml", "--from", "dcgan-mnist")
    text = (workdir / "mine.toml").read_text(encoding="utf-8")
    assert 'name = "mine"' in text
    generator = text.partition("[generator]")[2].partition("\n[")[0]
    assert '# upsampling = "transposed"' in generator
    assert "# width" not in generator
    uncommented = text.replace("# upsampling", "upsampling")
    (workdir / "mine.toml").write_text(uncommented, encoding="utf-8")
    answer = ganforge_cli("check", "mine.toml", "--json")
    assert "upsampling" not in answer.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mine.txt",), "mine.txt: a recipe's file ends in .toml"),
        (("mine.toml", "--from", "dcgan-mnits"), "there is no recipe dcgan-mnits"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(workdir, ganforge_cli, arguments, message):
    answer = ganforge_cli("new", "recipe", *arguments)
    assert answer.status != 0
    assert message in answer.err


def test_a_recipe_that_is_there_stays(workdir, ganforge_cli):
    (workdir / "mine.toml").write_text("mine", encoding="utf-8")
    assert "mine.toml already exists" in ganforge_cli("new", "recipe", "mine.toml").err
    assert (workdir / "mine.toml").read_text(encoding="utf-8") == "mine"


# --- as others install it -------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs a checkout")
def test_wheels_of_all_kinds_work_in_a_clean_environment(tmp_path):
    """ganforge and a package of each kind are built, installed into one fresh environment, and
    tested there as their READMEs say."""

    def run(*command, cwd=tmp_path):
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            capture_output=True,
            text=True,
            env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    for kind in KINDS:
        run(sys.executable, "-m", "ganforge", "new", "plugin", f"acme-{kind}", "--kind", kind)
    for folder in (ROOT, *(tmp_path / f"acme-{kind}" for kind in KINDS)):
        run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path / "wheels", folder)
    venv.create(tmp_path / "clean", with_pip=True)
    binaries = tmp_path / "clean" / ("Scripts" if os.name == "nt" else "bin")
    python, command = binaries / "python", binaries / "ganforge"
    torch, torchvision = (
        subprocess.check_output(
            [sys.executable, "-c", f"import {name}; print({name}.__version__.split('+')[0])"],
            text=True,
        ).strip()
        for name in ("torch", "torchvision")
    )
    run(python, "-m", "pip", "install", f"torch=={torch}", f"torchvision=={torchvision}", "pytest")
    run(python, "-m", "pip", "install", *(tmp_path / "wheels").glob("*.whl"))
    listed = run(command, "list")
    for kind in KINDS:
        assert f"acme-{kind}" in listed
        run(python, "-m", "pytest", "-q", cwd=tmp_path / f"acme-{kind}")
        run(command, "run", f"acme-{kind}", "--set", "train.steps=5")
