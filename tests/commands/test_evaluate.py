"""`ganforge evaluate`: the metrics of a run, measured after it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from small_recipes import PLAIN, write_recipe

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
    *read, first, second, figure, _, protocol = answer.out.splitlines()
    assert read == [
        "data  image: 8 x image 3 x 8 x 8  (image-folder)",
        "      values, of 0 to 255: image 0 to 255 (of 8 pictures)",
    ]
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
        (
            ["--metric", "brigthness"],
            "error: there is no metric 'brigthness'\n   = similar: 'brigh",
        ),
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


# --- several runs, steps and sampling seeds -------------------------------------------------------

SEEDED = (
    METRICS
    + '''

class Seeded(Metric):
    """Something that depends on its seed"""

    class Options:
        count: int = option(3, at_least=1, help="samples")
        seed: int = option(0, at_least=0, help="seed of the first sample")

    def measure(self, run):
        return {"odd": float("nan"), "seed": float(self.options.seed // 1_000_000)}

    def protocol(self):
        return f"{self.options.count} samples; seeds from {self.options.seed}"
'''
)


@pytest.fixture
def two(evaluate, runs) -> Path:
    """A second run, `twin`, beside `lit`."""
    shutil.copytree(runs / "lit", runs / "twin")
    (runs.parent / "metrics.py").write_text(SEEDED, encoding="utf-8")
    return runs


def test_several_sampling_seeds_give_their_mean_and_a_t_interval(evaluate, two) -> None:
    answer = evaluate("lit", "--metric", "seeded", "--seeds", "1-2,6")
    assert (answer.status, answer.err) == (0, "")
    (line,) = written(two)
    assert line["figures"] == {"odd": None, "seed": 3.0}
    assert line["each"] == {"odd": [None] * 3, "seed": [1.0, 2.0, 6.0]}
    # Deviation sqrt(7), t of two degrees of freedom 4.302653.
    assert line["interval"] == {"odd": None, "seed": pytest.approx(4.302653 * (7 / 3) ** 0.5)}
    assert line["sampling_seeds"] == [1, 2, 6]
    assert line["options"] == {"count": 3, "seed": 0}
    assert line["protocol"].startswith("3 samples; seeds from 1000000; mean of 3 such, of sampling")
    assert answer.out.splitlines()[5].split() == ["seed", "3", "±", "6.572"]


def test_the_first_sampling_seed_is_what_is_measured_without_one(evaluate, two) -> None:
    evaluate("lit", "--metric", "seeded")
    evaluate("lit", "--metric", "seeded", "--seeds", "0,1")
    once, several = written(two)
    assert several["each"]["seed"][0] == once["figures"]["seed"]
    assert several["protocol"].startswith(once["protocol"])


def test_a_metric_without_a_seed_is_measured_once_and_that_is_told(evaluate, two) -> None:
    answer = evaluate("lit", "--seeds", "0-1")
    assert answer.err == (
        "warning: metric light draws no samples by an option `seed`: it is measured once\n"
    )
    assert "interval" not in written(two)[0]


def test_the_best_step_is_measured_beside_the_last_one(evaluate, runs) -> None:
    ganforge.open_run("lit").folder.write_best(2, "metric/light/mean", 0.5)
    evaluate("lit")
    assert [line["step"] for line in written(runs)] == [4]  # step 2 has no checkpoint
    folder = runs / "lit" / "checkpoints"
    shutil.copytree(folder / "step-00000004", folder / "step-00000002")
    evaluate("lit")
    assert [line["step"] for line in written(runs)[1:]] == [2, 4]


def test_several_runs_are_measured_and_set_beside_each_other(evaluate, two) -> None:
    answer = evaluate("lit", "twin")
    assert (answer.status, answer.err) == (0, "")
    mean = float(ganforge.open_run("lit").sample(5).mean())
    title, header, figure, _ = answer.out.splitlines()[-4:]
    assert title == "light compared"
    assert header.split("  ")[-2:] == ["lit at step 4", "twin at step 4"]
    assert figure.split() == ["mean", f"{mean:.3g}", f"{mean:.3g}"]
    for name in ("lit", "twin"):
        (line,) = ganforge.open_run(name).folder.evaluation_lines()
        assert line["run"] == name


def test_figures_of_different_protocols_are_compared_only_by_force(evaluate, two) -> None:
    for file in ("resolved.toml", "recipe.toml"):
        path = two / "twin" / file
        path.write_text(path.read_text("utf-8").replace("count = 5", "count = 6"), "utf-8")
    answer = evaluate("lit", "twin")
    assert answer.status == 2
    assert answer.err == (
        "error: light of lit at step 4 and of twin at step 4 cannot be compared: '5 samples' "
        "against '6 samples'; `--force` compares them anyway\n"
    )
    assert "compared" not in answer.out
    answer = evaluate("lit", "twin", "--force")
    assert answer.status == 0
    assert answer.err == (
        "warning: light compared although protocols differ: '5 samples' against '6 samples'\n"
    )
    assert "light compared" in answer.out
    assert len(written(two)) == 2, "what was measured is written down in any case"


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        ("3", "--seeds 3: an interval needs two seeds or more, such as 0-4"),
        ("4-2", "--seeds 4-2: an interval needs two seeds or more, such as 0-4"),
        ("a-b", "--seeds takes whole numbers and ranges, such as 0-4 or 0,1,2, not 'a-b'"),
    ],
)
def test_seeds_that_give_no_interval_are_refused(evaluate, runs, seeds, expected) -> None:
    answer = evaluate("lit", "--seeds", seeds)
    assert (answer.status, answer.err) == (2, f"error: {expected}\n")


@pytest.mark.parametrize("name", ["checkerboard", "fidelity", "reconstruction"])
def test_shipped_metrics_measure_a_run_from_its_folder_with_their_protocol(
    evaluate, runs, monkeypatch, name
) -> None:
    monkeypatch.setenv("GANFORGE_CACHE", str(runs.parent / "cache"))
    sets = {"reconstruction": ["--set", "metrics.reconstruction.steps=2"]}
    count = ["--set", f"metrics.{name}.count=10"]
    answer = evaluate("lit", "--metric", name, *count, *sets.get(name, []))
    assert (answer.status, answer.err) == (0, "")
    (line,) = written(runs)
    assert line["figures"] and "10 " in line["protocol"] and line["options"]["count"] == 10
