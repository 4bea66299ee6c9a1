"""`ganforge evaluate`: the metrics of a run, measured after it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from small_runs import PLAIN, write_recipe

import ganforge

METRICS = '''
from ganforge import GanforgeError, Metric
from ganforge.plugin import Impossible, option


class Brightness(Metric):
    """Mean brightness of samples"""

    class Options:
        count: int = option(3, at_least=1, help="images")

    @staticmethod
    def check(options):
        if options.count == 13:
            raise Impossible("13 images bring bad luck", key="count")

    def measure(self, run):
        return {"mean": float(run.sample(self.options.count).mean()), "none": float("nan")}

    def protocol(self):
        return f"{self.options.count} samples"


class HeldOut(Metric):
    """Mean brightness of the data"""

    def measure(self, run):
        if run.step == 2:
            raise GanforgeError("nothing is known of step 2")
        return {"mean": float(run.held_out("image", 2).mean())}

    def protocol(self):
        return "2 held-out images"
'''
RECIPE = PLAIN.replace("[preview]", "[metrics.light]\nuse = 'brightness'\ncount = 5\n[preview]")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `metrics.py` and one run, `lit`, with steps 0, 2 and 4."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "metrics.py").write_text(METRICS, encoding="utf-8")
    write_recipe(folder, RECIPE.replace('"pictures"', f'"{(folder / "pictures").as_posix()}"'))
    ganforge.train(
        folder / "recipe.toml", out=folder / "runs" / "lit", plugin_files=[folder / "metrics.py"]
    )
    return folder


@pytest.fixture
def runs(trained: Path, workdir: Path) -> Path:
    shutil.copytree(trained / "runs", workdir / "runs")
    shutil.copy(trained / "metrics.py", workdir)
    return workdir / "runs"


@pytest.fixture
def evaluate(ganforge_cli, runs):
    return lambda *arguments: ganforge_cli("evaluate", *arguments, "--plugin-file", "metrics.py")


def written(runs: Path) -> list[dict]:
    text = (runs / "lit" / "evaluations.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_metrics_of_the_recipe_are_measured_printed_and_written(evaluate, runs) -> None:
    answer = evaluate("lit")
    assert (answer.status, answer.err) == (0, "")
    mean = float(ganforge.open_run("lit").sample(5).mean())
    first, second, figure, _, protocol = answer.out.splitlines()
    assert (first, second, protocol) == ("lit at step 4", "light", "5 samples")
    assert figure.split() == ["mean", f"{mean:.3g}"]
    (line,) = written(runs)
    assert line["figures"] == {"mean": pytest.approx(mean), "none": None}
    assert (line["step"], line["metric"], line["protocol"]) == (4, "light", "5 samples")
    assert line["component"] == "metrics.py/brightness"
    assert line["options"] == {"count": 5}
    assert line["versions"]["ganforge"] == ganforge.__version__
    assert line["versions"]["torch"] == torch.__version__
    assert "metrics.py" in line["versions"]
    assert line["seconds"] >= 0


def test_json_is_the_lines_that_are_written_and_nothing_else(evaluate, runs) -> None:
    answer = evaluate("lit", "--json", "--step", "all", "--metric", "light", "--metric", "held-out")
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert lines == written(runs)
    told = [(line["step"], line["metric"]) for line in lines]
    assert told == [(0, "light"), (0, "held-out"), (2, "light"), (4, "light"), (4, "held-out")]
    assert answer.status == 2
    assert answer.err.splitlines() == [
        "warning: metric held-out at step 2 could not be computed: nothing is known of step 2",
        "error: 1 of 6 measurements could not be made",
    ]


def test_lines_are_added_to_those_of_before(evaluate, runs) -> None:
    evaluate("lit")
    evaluate("lit", "--step", "2")
    assert [line["step"] for line in written(runs)] == [4, 2]


def test_several_steps_are_measured_in_their_order_each_once(evaluate, runs) -> None:
    evaluate("lit", "--step", "4", "--step", "last", "--step", "2")
    first, second = written(runs)
    assert (first["step"], second["step"]) == (2, 4)
    for line in (first, second):
        mean = float(ganforge.open_run("lit", step=line["step"]).sample(5).mean())
        assert line["figures"]["mean"] == pytest.approx(mean)
    assert first["figures"]["mean"] != second["figures"]["mean"]


def test_any_metric_can_be_named_and_its_options_set(evaluate, runs) -> None:
    answer = evaluate("--metric", "held-out", "--set", "metrics.light.count=7")
    assert answer.status == 0
    assert [line["metric"] for line in written(runs)] == ["held-out"]
    evaluate("--metric", "light", "--set", "metrics.light.count=7")
    assert written(runs)[1]["protocol"] == "7 samples"
    evaluate("--set", "metrics.held-out={}")
    assert [line["metric"] for line in written(runs)[2:]] == ["light", "held-out"]


@pytest.mark.parametrize("name", ["brightness", "metrics.py/brightness"])
def test_a_component_is_the_metric_of_the_recipe_that_uses_it(evaluate, runs, name) -> None:
    evaluate("--metric", name)
    (line,) = written(runs)
    assert (line["metric"], line["options"]) == ("light", {"count": 5})


def test_data_that_lies_elsewhere_is_pointed_to(evaluate, runs, trained, monkeypatch) -> None:
    (trained / "pictures").rename(trained / "moved")
    try:
        answer = evaluate("--metric", "held-out")
        assert answer.status == 2
        assert answer.err.startswith("error: ") and answer.err.count("\n") == 1
        answer = evaluate("--metric", "held-out", "--set", f"data.root={trained / 'moved'}")
        assert (answer.status, answer.err) == (0, "")
    finally:
        (trained / "moved").rename(trained / "pictures")


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--metric", "brigthness"], "error: there is no metric 'brigthness'\n   = close: 'brigh"),
        (["--set", "train.batch=3"], "error: --set train.batch: here it changes options of metri"),
        (["--set", "data.size=3"], "error: --set data.size: here it changes options of metrics"),
        (["--set", "metrics.light.cuont=3"], "error: metric 'metrics.py/brightness' has no option"),
        (["--set", "metrics.light.count=0"], "error: metric 'metrics.py/brightness': 'count' must"),
        (["--set", "metrics.light.count=13"], "error: 13 images bring bad luck\n  --> --set\n"),
        (["--set", "metrics.light.off=true"], "error: lit has no metrics in its recipe that coul"),
        (["--step", "3"], f"error: {Path('runs', 'lit')} has no checkpoint of step 3; there are:"),
        (["--metric", "held-out", "--step", "2"], "error: nothing is known of step 2\n"),
        (["nobody"], "error: there is no run 'nobody'"),
    ],
)
def test_a_mistake_is_told_in_a_line_and_nothing_is_written(
    evaluate, runs, arguments, expected
) -> None:
    answer = evaluate(*arguments)
    assert answer.status == 2
    assert answer.err.startswith(expected)
    assert not (runs / "lit" / "evaluations.jsonl").exists()


def test_a_metric_of_the_recipe_that_is_not_here_is_told(ganforge_cli, runs) -> None:
    shutil.copy("metrics.py", "others.py")
    answer = ganforge_cli("evaluate", "--plugin-file", "others.py", "--set", "metrics.held-out={}")
    assert answer.status == 0
    assert answer.err.startswith("warning: metric light of the recipe is left out: there is no met")
    assert [line["metric"] for line in written(runs)] == ["held-out"]
    answer = ganforge_cli("evaluate", "--metric", "light")
    assert answer.status == 2
    assert "add `--plugin-file metrics.py`" in answer.err
