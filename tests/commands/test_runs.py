"""`ganforge runs`: every run, and how far it is."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from small_recipes import PLAIN, write_recipe


@pytest.fixture
def runs(ganforge_cli, workdir: Path) -> Path:
    """A finished and a stopped run, the stopped one newer."""
    write_recipe(workdir, PLAIN)
    ganforge_cli("run", "recipe.toml")
    ganforge_cli("run", "recipe.toml", "--out", "runs/half", "--set", "train.steps=2")
    resolved = workdir / "runs/half/resolved.toml"
    resolved.write_text(resolved.read_text().replace("steps = 2\n", "steps = 1_000\n", 1))
    for number, name in enumerate(("digits", "half")):
        for file in ("resolved.toml", "metrics.jsonl"):
            os.utime(workdir / "runs" / name / file, (1e9 + number, 1e9 + number))
    return workdir / "runs"


def test_a_run_is_a_line_the_newest_last(ganforge_cli, runs: Path) -> None:
    header, first, second = ganforge_cli("runs").out.splitlines()
    assert header.split() == ["run", "recipe", "steps", "state", "changed", "newest", "sheet"]
    digits, half = first.split(), second.split()
    assert digits[:4] == ["digits", "digits", "4/4", "finished"]
    assert half[:4] == ["half", "digits", "2/1,000", "stopped"]
    assert digits[-1] == str(Path("runs/digits/samples/step-000004.png"))


def test_json_holds_the_same(ganforge_cli, runs: Path) -> None:
    listed = json.loads(ganforge_cli("runs", "--json").out)["runs"]
    assert [run["name"] for run in listed] == ["digits", "half"]
    assert listed[1] == {
        "name": "half",
        "recipe": "digits",
        "step": 2,
        "steps": 1000,
        "state": "stopped",
        "changed": listed[1]["changed"],
        "folder": str(Path("runs/half")),
        "sheet": str(Path("runs/half/samples/step-000002.png")),
    }


def test_a_run_that_cannot_be_read_hides_no_other(ganforge_cli, runs: Path) -> None:
    (runs / "half" / "resolved.toml").write_text("steps = = 3")
    answer = ganforge_cli("runs")
    assert answer.status == 0
    assert "broken" in answer.out and "finished" in answer.out
    broken = next(
        run
        for run in json.loads(ganforge_cli("runs", "--json").out)["runs"]
        if run["state"] == "broken"
    )
    assert "cannot read" in broken["error"]


def test_another_folder_is_named_with_root(ganforge_cli, runs: Path) -> None:
    runs.rename(runs.with_name("elsewhere"))
    assert "digits" in ganforge_cli("runs", "--root", "elsewhere").out
    answer = ganforge_cli("runs")
    assert answer.out == "no runs in runs; start one with `ganforge run RECIPE`\n"
    assert json.loads(ganforge_cli("runs", "--json").out) == {"runs": []}


def test_torch_is_not_imported(ganforge_cli, runs: Path) -> None:
    assert "torch" not in ganforge_cli.imported_by("runs")
