"""Which checkpoints are kept, which one is best, and what a run needs on the disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
from ganforge_watch import disk
from playing import ONE_PAIR, QUIET, plan_of, training_of
from recipe_text import RecipeText
from small_recipes import PLAIN, write_recipe

from ganforge import GanforgeError, Metric, Run
from ganforge.interfaces.errors import RunError
from ganforge.plugin import Component
from ganforge.recipes.problems import RecipeError
from ganforge.storage import checkpoint

FIGURES = {2: 3.0, 4: 1.0, 6: float("nan"), 8: 2.0, 10: 5.0, 11: 4.0}  # by step
BARE = ONE_PAIR.replace(QUIET, "\n[hooks]\nprogress = { off = true }\nsamples = { off = true }\n")
TEXT = BARE.replace("steps = 4", "steps = 11") + "metrics = { evaluate = 2 }\n[metrics.odds]\n"


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "test_checkpoint_hook", sys.modules[__name__])


class Odds(Metric):
    def measure(self, run: Run):
        return {"figure": FIGURES[run.step], "other": 0.0}

    def protocol(self) -> str:
        return "made up"


ODDS = Component("metric", "odds", "test_checkpoint_hook:Odds", provider="tests", version="0")
BEST = RecipeText('hooks.checkpoint={every=3,keep=1,best="metric/odds/figure",better="%s"}')


def begun(folder: Path, *sets: str):
    return training_of(folder, TEXT, ODDS, sets=sets)


def best(training) -> dict:
    return json.loads((training.folder.path / "best.json").read_text(encoding="utf-8"))


# --- which are kept -------------------------------------------------------------------------------


def test_the_newest_and_every_mth_are_kept(tmp_path):
    training = begun(tmp_path, "hooks.checkpoint={every=2,keep=2,keep_every=4}")
    training.run()
    assert training.folder.checkpoint_steps() == [4, 8, 10, 11]


def test_a_checkpoint_is_written_after_some_minutes_and_changes_nothing(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    for name in ("timed", "plain"):
        (tmp_path / name).mkdir()
    timed, plain = (
        begun(tmp_path / name, f"hooks.checkpoint={{every=4,keep=2,minutes={minutes}}}")
        for name, minutes in (("timed", 2), ("plain", 0))
    )
    seen = []
    for training in (timed, plain):
        take, average = training.take_step, training.game.update_ema

        def average_slowly(step, average=average):
            now[0] += 61.0
            average(step)

        def take_and_look(step, training=training, take=take):
            take(step)
            seen.append(training.folder.checkpoint_steps())

        training.game.update_ema, training.take_step = average_slowly, take_and_look
        training.run()
    timely = [[], [2], [2], [2, 4], [2, 4], [4, 6], [4, 6], [4, 8], [4, 8], [8, 10], [8, 10]]
    planned = [[]] * 3 + [[4]] * 4 + [[4, 8]] * 4
    assert seen == [*timely, *planned]
    assert timed.folder.checkpoint_steps() == plain.folder.checkpoint_steps() == [8, 11]
    kept = [checkpoint.load(run.folder.checkpoints, 11) for run in (timed, plain)]
    assert kept[0].networks.keys() == kept[1].networks.keys()
    assert all(value.equal(kept[1].networks[name]) for name, value in kept[0].networks.items())


def test_a_slow_disk_is_not_written_to_most_of_the_time(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    training = begun(tmp_path, "hooks.checkpoint={minutes=1}")
    saves, take, save = [], training.take_step, checkpoint.save

    def save_slowly(*arguments):
        now[0] += 30.0
        saves.append(training.step)
        return save(*arguments)

    def take_long(step):
        now[0] += 61.0
        take(step)

    monkeypatch.setattr(checkpoint, "save", save_slowly)
    training.take_step = take_long
    training.run()
    assert saves == [1, 11]  # not before 20 times 30 seconds are over


@pytest.mark.parametrize(
    ("better", "step", "kept"), [("lower", 4, [4, 11]), ("higher", 10, [10, 11])]
)
def test_the_best_is_kept_and_opened_by_its_name(tmp_path, better, step, kept):
    training = begun(tmp_path, BEST % better)
    training.run()
    assert training.folder.checkpoint_steps() == kept
    assert best(training) == {
        "step": step,
        "figure": "metric/odds/figure",
        "value": FIGURES[step],
    }
    assert Run(training.folder, step="best", registry=training.registry).step == step


def test_the_best_may_be_the_last(tmp_path, monkeypatch):
    monkeypatch.setitem(FIGURES, 11, 0.5)
    training = begun(tmp_path, BEST % "lower")
    training.run()
    assert training.folder.checkpoint_steps() == [11]
    assert best(training)["step"] == 11
    assert checkpoint.load(training.folder.checkpoints, 11).state["hooks"]["checkpoint"] == {
        "best": 0.5,
        "best_step": 11,
    }


def test_a_resumed_run_knows_the_best_even_where_it_was_killed_before_it_was_noted(tmp_path):
    whole = begun(tmp_path, BEST % "lower")
    whole.run()
    (whole.folder.path / "best.json").unlink()
    shutil.rmtree(whole.folder.checkpoints / checkpoint.folder_name(11))
    again = begun(tmp_path, BEST % "lower")
    again.resume(checkpoint.newest_whole(again.folder.checkpoints)[0])
    assert again.step == 4
    again.watching["checkpoint"].run_started(again)
    assert best(again)["step"] == 4
    again.run()
    assert best(again)["step"] == 4 and again.folder.checkpoint_steps() == [4, 11]


def test_a_best_that_is_gone_is_chosen_anew(tmp_path):
    training = begun(tmp_path, BEST % "lower")
    training.watching["checkpoint"].load_state({"best": 0.1, "best_step": 2})
    training.run()
    assert best(training)["step"] == 4


def test_a_best_step_without_a_checkpoint_is_refused(tmp_path):
    training = begun(tmp_path, BEST % "lower")
    training.run()
    shutil.rmtree(training.folder.checkpoints / checkpoint.folder_name(4))
    with pytest.raises(RunError, match="best step, 4, is gone; use `--step last`"):
        Run(training.folder, step="best", registry=training.registry)


@pytest.mark.parametrize("text", ["", "[]", '{"step": "4"}', '{"step": true}', '{"step": 99}'])
def test_a_spoilt_best_json_is_one_line(tmp_path, text):
    training = begun(tmp_path, "hooks.checkpoint.every=3")
    training.run()
    (training.folder.path / "best.json").write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match="use `--step last`"):
        Run(training.folder, step="best", registry=training.registry)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("every=2,keep_every=3", "`keep_every` must be a multiple of `every`, 2"),
        ('best="odds",better="lower"', "metric/NAME/FIGURE"),
        ('best="metric/odds/figure"', '`best` needs `better = "lower"`'),
        ('best="metric/odds/seconds",better="lower"', "wall-clock time"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_built(tmp_path, options, words):
    with pytest.raises(RecipeError) as caught:
        plan_of(tmp_path, TEXT, ODDS, sets=[f"hooks.checkpoint={{{options}}}"])
    assert words in str(caught.value)


def test_a_metric_that_the_recipe_has_not_is_refused_before_the_first_step(tmp_path):
    training = begun(tmp_path, (BEST % "lower").replace("odds", "evens"))
    with pytest.raises(GanforgeError, match="the recipe has no metric 'evens'; there are: odds"):
        training.run()
    assert training.step == 0


def test_a_figure_that_is_never_measured_is_told(tmp_path, capsys):
    training = begun(tmp_path, (BEST % "lower").replace("figure", "number"), "train.steps=2")
    training.run()
    out = capsys.readouterr().out
    assert (
        "hooks.checkpoint.best: no figure metric/odds/number was measured; metric/odds/figure, "
        "metric/odds/other\n"
    ) in out


def test_measuring_at_the_end_only_is_told(tmp_path, capsys):
    training = begun(tmp_path, BEST % "lower", "hooks.metrics.evaluate=0")
    training.run()
    assert "metrics are measured at the end only; hooks.metrics.evaluate" in capsys.readouterr().out
    assert best(training)["step"] == 11


# --- the disk -------------------------------------------------------------------------------------

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ("every=2,keep=2", 3),  # and one that is being written
        ("every=2,keep=2,keep_every=4", 5),
        ("every=2,keep=99,minutes=0", 6),  # of 2, 4, ..., 10 and 11
        ("every=100,minutes=0", 1),
        ("every=100", 4),  # some more by time, should steps take long
        ('every=2,keep=1,best="metric/odds/figure",better="lower"', 3),
        ("off=true", 1),
    ],
)
def test_the_most_checkpoints_that_are_there_at_once_are_counted(tmp_path, options, count):
    training = begun(tmp_path, f"hooks.checkpoint={{{options}}}")
    assert disk._checkpoints(training) == count


def test_the_size_of_a_checkpoint_is_known_before_the_first_one(tmp_path):
    training = begun(tmp_path, "generator.ema=0.9")
    told = disk._checkpoint_bytes(training)
    training.run()
    folder = training.folder.checkpoints / checkpoint.folder_name(11)
    written = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    headers = 12_000  # names and shapes, which weigh nothing beside real networks
    assert told <= written <= told + headers


def test_a_run_that_does_not_fit_on_the_disk_is_refused_with_the_numbers(tmp_path, monkeypatch):
    training = begun(tmp_path, "hooks.checkpoint={every=2,keep=2}")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 1000))
    with pytest.raises(GanforgeError) as caught:
        training.run()
    size = disk.cost.size_of(disk._checkpoint_bytes(training))
    assert f"(3 checkpoints of {size}), but 1 KB are free: lower" in str(caught.value)
    assert training.step == 0 and training.folder.checkpoint_steps() == []


def test_checkpoints_that_are_there_count_as_room_for_newer_ones(tmp_path, monkeypatch):
    sets = "hooks.checkpoint={every=2,keep=4}"
    begun(tmp_path, sets).run()
    again = begun(tmp_path, sets, "train.steps=99")
    size = disk._checkpoint_bytes(again)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(0, 0, 2 * size))
    disk.refuse_if_full(again)


def test_the_need_is_told_with_the_cost(tmp_path, capsys):
    text = BARE.replace("progress = { off = true }\nsamples = { off = true }\n", "")
    training_of(tmp_path, text).run()
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("  disk")]
    assert "4 checkpoints of " in line and "10 snapshots of " in line and line.endswith(" are free")


@pytest.mark.skipif(os.name == "nt", reason="Windows limits no file sizes")
@pytest.mark.parametrize("kilobytes", [1, 8])
def test_a_run_whose_files_cannot_grow_ends_in_one_line(workdir, kilobytes):
    """As on a full disk: the system refuses to write on, wherever that is met."""
    recipe = write_recipe(
        workdir, PLAIN.replace("[hooks.samples]", "[hooks.checkpoint]\n[hooks.samples]")
    )
    code = (
        "import resource, sys; from ganforge.cli.main import main\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({kilobytes * 1024},) * 2)\n"
        "main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "run", recipe.name, "--set", "hooks.samples.off=true"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write") and done.stderr.count("\n") == 1
    assert "File too large" in done.stderr
