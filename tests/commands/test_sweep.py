"""`ganforge sweep`: what it plays and where, what it skips and goes on with, and its mistakes."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_recipes import PLAIN, write_recipe

from ganforge import GanforgeError
from ganforge.cli import results_table
from ganforge.cli import sweep as command
from ganforge.storage.run_folder import RunFolder
from ganforge.sweeps import child_process, grid
from ganforge.sweeps.child_process import End, Tail
from ganforge.sweeps.folder import is_sweep, open_folder, runs_below
from ganforge.sweeps.pool import Listed, Pool

MEASURED = PLAIN.replace("[preview]", "[metrics.checkerboard]\ncount = 8\n[preview]")
FIGURE = "checkerboard/checkerboard"


@pytest.fixture
def recipe(workdir):
    """A recipe that trains in a moment and measures something."""
    return write_recipe(workdir, MEASURED)


# --- what is asked for ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("a.b=1,5,10", ("1", "5", "10")),
        ("a.b = 1e-4 , 2", ("1e-4", "2")),
        ("a.b=[1,2],[3]", ("[1,2]", "[3]")),
        ("a.b={x=1,y=2},{x=2}", ("{x=1,y=2}", "{x=2}")),
        ("a.b='x,y',\"z\"", ("'x,y'", '"z"')),
        ("a.b=hinge,non-saturating", ("hinge", "non-saturating")),
        ("a.b=../data,..", ("../data", "..")),
    ],
)
def test_values_stand_between_commas_outside_of_brackets_and_quotes(argument, values):
    found = grid.varied(argument)
    assert (found.key, found.values, found.range) == ("a.b", values, None)


@pytest.mark.parametrize(
    ("argument", "low", "high", "log", "whole"),
    [
        ("k=1..9", 1, 9, False, True),
        ("k=0.5..1", 0.5, 1, False, False),
        ("k=1e-5..1e-2:log", 1e-5, 1e-2, True, False),
        ("k=-1 .. 2.5", -1, 2.5, False, False),
    ],
)
def test_two_numbers_with_two_dots_are_a_range(argument, low, high, log, whole):
    span = grid.varied(argument).range
    assert (span.low, span.high, span.log, span.whole) == (low, high, log, whole)


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("a.b", "it takes KEY=VALUE"),
        ("=1,2", "it takes KEY=VALUE"),
        ("a.b=", "it takes KEY=VALUE"),
        ("a.b=1,,2", "a value is missing between two commas"),
        ("a.b=1,2,1.0", "1 is given twice"),
        ("train.seed=1,2", "--seeds 0-4"),
        ("a.b=3..1", "begins with its smaller end"),
        ("a.b=0..1:log", "lies above 0"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(argument, words):
    with pytest.raises(GanforgeError, match=re.escape(words)):
        grid.varied(argument)


def test_seeds_are_numbers_and_spans():
    assert grid.seeds_of("0-4") == (0, 1, 2, 3, 4)
    assert grid.seeds_of("7") == (7,)
    assert grid.seeds_of("9, 2-3") == (9, 2, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("4-0", "the smaller one comes first: 0-4"),
        ("a", "it takes 0-4"),
        ("", "it takes 0-4"),
        ("-1", "it takes 0-4"),
        ("1,1", "given twice"),
        ("0-99999", "at most 10,000"),
    ],
)
def test_seeds_that_cannot_be_meant_are_refused(text, words):
    with pytest.raises(GanforgeError, match=re.escape(words)):
        grid.seeds_of(text)


# --- where runs lie -------------------------------------------------------------------------------


def test_folders_are_named_by_keys_and_values():
    assert grid.combination({"losses.cycle.weight": "10"}) == "losses.cycle.weight=10"
    assert grid.combination({"a": "1E-4", "b": "true", "c": '"hinge"'}) == "a=0.0001,b=true,c=hinge"
    assert grid.combination({}) == ""


@pytest.mark.parametrize(
    "text", ["a/b", "..", "", "x" * 300, "C:\\con", "nul", "a b", "x.", 'a"*?<>|:', "ä", "Hinge"]
)
def test_names_are_safe_on_every_system(text):
    name = grid.safe(text)
    assert re.fullmatch(r"[A-Za-z0-9._+=-]{1,80}", name) and name[-1] not in ". "
    assert name not in grid._RESERVED and name != ".."


def test_names_that_were_alike_stay_apart_also_where_capitals_are_not_told_apart():
    texts = ["a/b", "a-b", "a:b", "A-b", "a-B", "hinge", "Hinge", "x" * 100, "x" * 101]
    assert len({grid.safe(text).lower() for text in texts}) == len(texts)


def planned(recipe, *variations, seeds=(0, 1), **options):
    from ganforge.registry.registry import Registry

    every = grid.Command(Path("s"), **options)
    chosen = [grid.varied(v) for v in variations]
    return grid.grid(Registry.load(only=()), every, [str(recipe)], chosen, seeds), every


def test_every_value_is_played_with_every_seed(recipe):
    runs, _ = planned(recipe, "train.batch=2,4", "optimizer.lr=1e-3,1e-4", seeds=(3, 5))
    assert [run.name for run in runs][:3] == [
        "digits/train.batch=2,optimizer.lr=0.001/seed-3",
        "digits/train.batch=2,optimizer.lr=0.001/seed-5",
        "digits/train.batch=2,optimizer.lr=0.0001/seed-3",
    ]
    assert len(runs) == 8
    last = runs[-1]
    assert (last.plan.train.batch, last.plan.train.seed) == (4, 5)
    assert last.sets == ("train.batch=4", "optimizer.lr=1e-4", "train.seed=5")
    assert last.folder.path == Path("s/digits/train.batch=4,optimizer.lr=0.0001/seed-5")


def test_without_values_and_seeds_a_recipe_plays_its_own_seed(recipe):
    (run,), every = planned(recipe, seeds=None, preview=True, sets=("train.seed=7",))
    assert run.name == "digits-preview/seed-7" and run.plan.steps == 2
    assert every.arguments(run) == [
        *("run", str(recipe), "--out", str(Path("s/digits-preview/seed-7")), "--preview"),
        *("--set", "train.seed=7", "--set", "train.seed=7"),
    ]


def test_two_recipes_of_one_name_are_refused(ganforge_cli, recipe, workdir):
    (workdir / "other.toml").write_text(MEASURED)
    answer = ganforge_cli("sweep", "recipe.toml", "other.toml", "--out", "s")
    assert answer.status == 2 and "two recipes are named digits" in answer.err
    assert not Path("s").exists()


# --- mistakes -------------------------------------------------------------------------------------

SEARCH = ("--search", "3", "--metric", FIGURE, "--minimize")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--vary", "nonsense.key=1,2"], "a recipe has no table [nonsense]"),
        (["--vary", "train.batch=2,many"], "'batch' must be a whole number"),
        (["--vary", "train.batch=2,0"], "batch"),
        (["--vary", "train.batch=2", "--vary", "train.batch=4"], "is given twice"),
        (["--vary", "train.batch=2", "--set", "train.batch=4"], "cannot be combined"),
        (["--seeds", "0-1", "--set", "train.seed=4"], "cannot be combined"),
        (["--seeds", "4-0"], "the smaller one comes first"),
        (["--vary", "optimizer.lr=1..2"], "is for `--search`"),
        (["--metric", "fid"], "--metric is for a search"),
        (["--storage", "sqlite:///x"], "--storage is for a search"),
        (["--search", "3"], "needs --metric"),
        (["--search", "3", "--metric", FIGURE], "one of --minimize and --maximize"),
        ([*SEARCH, "--maximize"], "one of --minimize and --maximize"),
        ([*SEARCH], "something to choose"),
        ([*SEARCH, "--vary", "train.batch=2,4", "--seeds", "0-1"], "a search plays one seed"),
        ([*SEARCH, "--vary", "train.batch=0..4"], "batch"),
        (
            ["--search", "3", "--metric", "fid/x", "--minimize", "--vary", "train.batch=2,4"],
            "digits has no metric 'fid'; there are: checkerboard",
        ),
    ],
)
def test_a_mistake_is_told_before_anything_begins(ganforge_cli, recipe, arguments, words):
    answer = ganforge_cli("sweep", "recipe.toml", "--out", "s", *arguments)
    assert answer.status == 2 and words in answer.err and "Traceback" not in answer.err
    assert not Path("s").exists()


def test_a_folder_that_holds_something_else_is_refused(ganforge_cli, recipe, workdir):
    answer = ganforge_cli("sweep", "recipe.toml", "--out", "pictures")
    assert answer.status == 2 and "pictures holds something else" in answer.err
    answer = ganforge_cli("sweep", "recipe.toml", "--out", "recipe.toml")
    assert answer.status == 2 and "holds something else" in answer.err


def test_a_sweep_and_a_search_share_no_folder(tmp_path):
    open_folder(tmp_path / "s", None)
    open_folder(tmp_path / "s", None)
    with pytest.raises(GanforgeError, match="holds a sweep without a search, not a search that"):
        open_folder(tmp_path / "s", {"metric": "x", "direction": "minimize", "trials": "file"})


def test_planning_does_not_import_torch(ganforge_cli, recipe):
    arguments = ("sweep", "recipe.toml", "--out", "pictures", "--vary", "train.batch=2,4")
    assert not {"torch", "optuna", "scipy"} & ganforge_cli.imported_by(*arguments)


# --- playing --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of two values and two seeds: its folder, and what was said."""
    folder = tmp_path_factory.mktemp("swept")
    write_recipe(folder, MEASURED)
    said = sweep(folder, "--vary", "train.batch=2,4", "--seeds", "0-1", "--jobs", "2")
    return folder, said


def sweep(folder, *arguments, status=0):
    words = [sys.executable, "-m", "ganforge", "sweep", "recipe.toml", "--out", "s", *arguments]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == status, done.stderr + done.stdout
    return done.stdout + done.stderr


RUNS = [f"digits/train.batch={batch}/seed-{seed}" for batch in (2, 4) for seed in (0, 1)]


def test_a_sweep_plays_ordinary_runs_and_shows_their_figures(swept):
    folder, said = swept
    assert [r.path.relative_to(folder / "s").as_posix() for r in runs_below(folder / "s")] == RUNS
    for name in RUNS:
        run = RunFolder(folder / "s" / name)
        assert run.state()["state"] == "finished"
        assert run.resolved_tables()["train"]["seed"] == int(name[-1])
        assert f"{name}: finished" in said
    assert "4 runs; 16 steps to go, 2 at a time" in said and "4 finished" in said
    assert re.search(r"  train.batch=4 +[\d.]+ +[\d.]+ +2", said)
    assert "ganforge runs s --baseline digits/train.batch=2" in said


def test_runs_of_one_seed_begin_with_the_same_draws(swept):
    """What the first sheet shows: generators of the same weights, given the same noise."""
    folder, _ = swept
    real = [(folder / "s" / name / "samples" / "real.png").read_bytes() for name in RUNS]
    assert real[0] == real[2] and real[1] == real[3] != real[0]


def test_the_same_command_again_plays_nothing(swept, ganforge_cli, monkeypatch):
    folder, _ = swept
    monkeypatch.chdir(folder)
    times = [(folder / "s" / name / "metrics.jsonl").stat().st_mtime_ns for name in RUNS]
    words = ("--vary", "train.batch=2,4", "--seeds", "0-1")
    said = ganforge_cli("sweep", "recipe.toml", "--out", "s", *words).out
    assert "4 runs, 4 of them already finished; 0 steps to go" in said
    assert said.count("it was already finished") == 4
    assert times == [(folder / "s" / n / "metrics.jsonl").stat().st_mtime_ns for n in RUNS]


def test_runs_that_are_another_game_are_refused_at_once(swept, ganforge_cli, monkeypatch):
    folder, _ = swept
    monkeypatch.chdir(folder)
    arguments = ("--vary", "train.batch=2", "--seeds", "0", "--set", "optimizer.lr=0.5")
    answer = ganforge_cli("sweep", "recipe.toml", "--out", "s", *arguments)
    assert answer.status == 2
    assert "seed-0 holds another game (generators.main.optimizer.lr: 0.0002 -> 0.5)" in answer.err


def test_runs_shows_the_figures_against_a_baseline(swept, ganforge_cli, monkeypatch):
    folder, _ = swept
    monkeypatch.chdir(folder)
    answer = ganforge_cli("runs", "s", "--baseline", "train.batch=2")
    assert answer.status == 0 and all(name in answer.out for name in RUNS)
    assert "differences are to train.batch=2, run by run of the same seed" in answer.out
    figure = {name: value_of(folder / "s" / name) for name in RUNS}
    pairs = [figure[RUNS[2]] - figure[RUNS[0]], figure[RUNS[3]] - figure[RUNS[1]]]
    mean, half = sum(pairs) / 2, abs(pairs[0] - pairs[1]) / 2
    low, high = mean - 12.7062047 * half, mean + 12.7062047 * half  # t(1 degree, 97.5 %)
    shown = re.search(r"train.batch=4 .*?(\S+) +(\S+) to (\S+) +2\n", answer.out)
    assert [float(x) for x in shown.groups()] == pytest.approx([mean, low, high], rel=0.01)
    assert "torch" not in ganforge_cli.imported_by("runs", "s", "--baseline", "train.batch=2")
    answer = ganforge_cli("runs", "s", "--baseline", "train.batch=9")
    assert answer.status == 2 and "--baseline train.batch=9 is none of: digits/" in answer.err
    for option in ("--baseline", "--value"):
        answer = ganforge_cli("runs", "pictures", option, "x")
        assert answer.status == 2 and f"{option} is for the runs of a sweep" in answer.err


def test_runs_shows_the_figures_that_are_asked_for(swept, ganforge_cli, monkeypatch):
    folder, _ = swept
    monkeypatch.chdir(folder)
    said = ganforge_cli("runs", "s", "--value", "*-real").out
    assert "checkerboard/checkerboard-real\n" in said
    assert "checkerboard/checkerboard\n" not in said
    answer = ganforge_cli("runs", "s", "--value", "fid*")
    assert answer.status == 2 and "fid*: no figure is named so; there are: checker" in answer.err


def value_of(folder):
    lines = list(RunFolder(folder).metric_lines())
    return next(x[f"metric/{FIGURE}"] for x in reversed(lines) if f"metric/{FIGURE}" in x)


def test_a_report_of_a_sweep_groups_its_seeds(swept, ganforge_cli, monkeypatch):
    folder, _ = swept
    monkeypatch.chdir(folder)
    words = ("report", "s", "--no-walks", "--baseline", "train.batch=2", "--csv", "figures.csv")
    answer = ganforge_cli(*words, "--out", "r.html")
    assert answer.status == 0, answer.err
    lines = Path("figures.csv").read_text(encoding="utf-8").splitlines()
    group = next(line for line in lines if line.startswith("group,s/digits/train.batch=4"))
    assert ",2," in group and "s/digits/train.batch=2" in group
    assert "digits/train.batch=4 (2 seeds)" in Path("r.html").read_text(encoding="utf-8")


def test_a_run_that_fails_stops_no_other_and_is_told_at_the_end(recipe, workdir):
    (workdir / "breaks.py").write_text(BREAKS)
    words = ("--plugin-file", "breaks.py", "--vary", "hooks.breaks.at=1,9", "--set")
    said = sweep(workdir, *words, "hooks.breaks.use=breaks", "--seeds", "0", status=1)
    assert "digits/hooks.breaks.at=1/seed-0: failed: " in said
    assert "digits/hooks.breaks.at=9/seed-0: finished" in said
    assert "1 failed, 1 finished" in said
    log = Path("s/digits/hooks.breaks.at=1/seed-0.log")
    assert f"failed: digits/hooks.breaks.at=1/seed-0: enough ({log})" in said
    assert "$ ganforge run recipe.toml --out" in log.read_text(encoding="utf-8")


BREAKS = """
from ganforge import GanforgeError, Hook
from ganforge.plugin import option

class Breaks(Hook):
    class Options:
        at: int = option(1, help="step")

    def step_ended(self, training, step):
        if step == self.options.at:
            raise GanforgeError("enough")
"""


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_saves_what_plays_and_the_same_command_goes_on(recipe, workdir):
    quiet = ("--set", "hooks.samples.every=100_000", "--set", "hooks.metrics.every=1")
    command = [sys.executable, "-m", "ganforge", "sweep", "recipe.toml", "--out", "s", *quiet]
    command += ["--seeds", "0-2", "--jobs", "2", "--set", "train.steps=100_000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        folders = [RunFolder(Path(f"s/digits/seed-{seed}")) for seed in (0, 1)]
        until(lambda: all(len(list(f.metric_lines())) > 3 for f in folders))
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=600)[0].decode()
    assert process.returncode == 130, said
    assert "2 interrupted, 1 waiting" in said and "the same command again continues" in said
    saved = [folder.checkpoint_steps()[-1] for folder in folders]
    assert all(0 < step < 100_000 for step in saved)
    more = ("--set", f"train.steps={max(saved) + 1}")
    said = sweep(workdir, "--seeds", "0-1", *quiet, *more)
    assert f"digits/seed-0: goes on at step {saved[0]:,}" in said and "2 finished" in said
    steps = [line["step"] for line in folders[0].metric_lines() if "accuracy" in line]
    assert steps == list(range(1, max(saved) + 2))  # none twice, none missing


def until(condition, seconds=600):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.1)


class Pruning(Listed):
    """Stops its runs as soon as they have logged something."""

    def looked(self, run, lines):
        return "pruned" if lines else ""


def test_a_run_that_is_stopped_early_keeps_its_checkpoint(recipe):
    sets = ("train.steps=100_000", "hooks.metrics.every=1", "hooks.samples.every=100_000")
    (run, _), every = planned(recipe, sets=sets)
    pool = Pool(every, Pruning([run]), Said(), 1)
    pool.play()
    saved = run.folder.checkpoint_steps()[-1]
    assert 0 < saved < 100_000
    assert pool.ends == {run.name: End("pruned", f"saved at step {saved:,}")}


def test_a_run_that_another_process_trains_is_left_to_it(recipe):
    (run, _), every = planned(recipe)
    shown = Said()
    with run.folder.held():
        pool = Pool(every, Listed([run]), shown, 1)
        pool.play()
    assert pool.ends == {run.name: End("elsewhere", "another process is training it")}


def test_a_run_that_ended_by_itself_is_not_begun_again(recipe):
    (run, _), every = planned(recipe)
    saved = run.folder.checkpoints / "step-00000002"
    saved.mkdir(parents=True)
    (saved / "state.json").write_text("{}")
    run.log.write_text(f"x\n$ ganforge run\n{run.folder.path} stopped after step 2: no progress\n")
    pool = Pool(every, Listed([run]), Said(), 1)
    pool.play()
    assert pool.ends == {run.name: End("stopped", "no progress")}
    run.log.write_text(run.log.read_text() + "\n$ ganforge run\nresuming\n")
    assert not child_process.stopped_before(run)
    run.log.write_text("x\n$ ganforge run\nx stopped after step 2: interrupted by SIGBREAK\n")
    assert not child_process.stopped_before(run)


class Said:
    """Shows nothing."""

    def began(self, child):
        pass

    def ended(self, run, end):
        pass

    def went_on(self, children):
        pass


def test_cores_are_split_among_runs_unless_somebody_said_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(child_process, "cores", lambda: 8)
    assert child_process.environment(3)["OMP_NUM_THREADS"] == "2"
    assert child_process.environment(99)["OMP_NUM_THREADS"] == "1"
    assert "OMP_NUM_THREADS" not in child_process.environment(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert child_process.environment(3)["OMP_NUM_THREADS"] == "5"


def test_metrics_are_read_as_they_are_written_and_again_when_they_were_cut(tmp_path):
    tail = Tail(RunFolder(tmp_path))
    assert list(tail.read()) == []
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert [line["step"] for line in tail.read()] == [1, 2]
    with file.open("a") as more:
        more.write('ep": 3}\n')
    assert [line["step"] for line in tail.read()] == [3] and tail.step == 3
    RunFolder(tmp_path).cut_metrics(1)
    assert [line["step"] for line in tail.read()] == [1] and tail.step == 1


def test_the_live_table_shows_what_plays_and_how_others_ended(recipe):
    from rich.console import Console

    (run, other), _ = planned(recipe)
    screen = command.Screen(5)
    screen.ended(other, End("failed", "enough"))
    child = child_process.Child(run, None, None, Tail(run.folder, step=3), first_step=1)
    child.first_seen = time.monotonic() - 60
    console = Console(width=100, file=io.StringIO())
    console.print(screen._table([child]))
    text = console.file.getvalue()
    assert re.search(r"digits/seed-1 +failed +enough", text)
    assert re.search(r"digits/seed-0 +training +3/4 +0:30", text)
    assert "3 waiting" in text


def test_a_baseline_may_be_named_by_its_folder_or_its_end(tmp_path, capsys):
    from fake_run_folders import make_run

    for value, seed in ((1, 0), (1, 1), (2, 0), (2, 1)):
        path = tmp_path / "s" / "cycle" / f"w={value}" / f"seed-{seed}"
        make_run(path, seed=seed, lr=value, figures={"fid": value + seed / 10})
    runs = runs_below(tmp_path / "s")
    for name in ("cycle/w=2", "w=2", str(tmp_path / "s" / "cycle" / "w=2")):
        results_table.print_results(tmp_path / "s", runs, name)
        assert "differences are to w=2" in capsys.readouterr().out
    with pytest.raises(GanforgeError, match="is none of: cycle/w=1, cycle/w=2"):
        results_table.print_results(tmp_path / "s", runs, "w=3")
    assert not is_sweep(tmp_path / "s")


def test_runs_stand_in_the_order_of_their_numbers(tmp_path):
    for name in ("w=10/seed-1", "w=2/seed-10", "w=2/seed-9", "w=0.5/seed-0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "resolved.toml").write_text("")
        (tmp_path / name / "failed").mkdir()
        (tmp_path / name / "failed" / "resolved.toml").write_text("")  # of no run
    found = [run.path.relative_to(tmp_path).as_posix() for run in runs_below(tmp_path)]
    assert found == ["w=0.5/seed-0", "w=2/seed-9", "w=2/seed-10", "w=10/seed-1"]
