"""`ganforge sweep --search`: trials by Optuna, in a file and on one PostgreSQL for several."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from small_recipes import PLAIN, write_recipe

from ganforge import GanforgeError
from ganforge.registry.registry import Registry
from ganforge.storage.run_folder import RunFolder
from ganforge.sweeps import grid
from ganforge.sweeps.child_process import End

optuna = pytest.importorskip("optuna", reason="needs optuna (ganforge[sweep])")

from ganforge.sweeps import search  # noqa: E402

MEASURED = PLAIN.replace("[preview]", "[metrics.checkerboard]\ncount = 8\n[preview]")
FIGURE = "checkerboard/checkerboard"
STEPS = 10


@pytest.fixture
def recipe(workdir):
    return write_recipe(workdir, MEASURED)


@pytest.fixture
def searching(recipe):
    """`searching(trials)` is a search among batches 1 to 64 in the folder `s`, in its file."""
    registry = Registry.load(only=())

    def begin(trials=20, metric=FIGURE, direction="minimize", storage=None, out="s"):
        every = grid.Command(Path(out), sets=(f"train.steps={STEPS}", "hooks.metrics.evaluate=1"))
        Path(out).mkdir(exist_ok=True)
        chosen = [grid.varied("train.batch=1..64"), grid.varied("optimizer.lr=1e-3,1e-4")]
        space = search.Space.of(registry, every, [str(recipe)], chosen, None, metric)
        study = search.study_of(every.out, space, direction, storage)
        return search.Search(registry, every, space, study, trials, storage)

    return begin


def lines(values, first=1):
    return [{"step": n, f"metric/{FIGURE}": v} for n, v in enumerate(values, first)]


def written(run, values):
    """What a run measured."""
    run.folder.path.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines(values))
    run.folder.metrics.write_text(text, encoding="utf-8")


def played(source, values):
    """A trial that measured these and came to its end."""
    run = source.next()
    why = source.looked(run, lines(values))
    written(run, values)
    return source.ended(run, End("pruned" if why else "finished", why))


def states(source):
    return [trial.state.name for trial in source.study.get_trials()]


# --- trials ---------------------------------------------------------------------------------------


def test_a_trial_is_a_run_with_values_of_the_space(searching):
    run = searching().next()
    assert run.name == "digits/trial-0/seed-0"
    batch, lr, seed = run.sets
    assert 1 <= int(batch.removeprefix("train.batch=")) <= 64
    assert lr.removeprefix("optimizer.lr=") in ("1e-3", "1e-4") and seed == "train.seed=0"
    assert run.plan.train.batch == int(batch.removeprefix("train.batch="))


def test_the_last_figure_counts_and_no_more_trials_are_asked_than_wanted(searching):
    source = searching(trials=3)
    assert played(source, [5.0, 1.0, 3.0]) == End("finished", f"{FIGURE} = 3")
    played(source, [2.0])
    played(source, [4.0])
    assert source.next() is None
    assert [trial.value for trial in source.study.get_trials()] == [3.0, 2.0, 4.0]
    said = "\n".join(source.best())
    assert "3 finished" in said and f"best: trial 1, {FIGURE} = 2" in said
    assert "  train.batch = " in said and "  optimizer.lr = 1e-" in said


def test_what_falls_behind_is_stopped(searching):
    """Optuna's median pruner: after five trials, those below the median of their step end."""
    source = searching()
    for _ in range(5):
        assert played(source, [1.0] * STEPS).how == "finished"
    run = source.next()
    assert source.looked(run, lines([0.5])) == ""  # better than the others
    assert source.looked(run, lines([9.0], first=2)) == ""  # it was good once: its best counts
    source.ended(run, End("interrupted", ""))
    run = source.next()
    assert source.looked(run, lines([9.0])) == "pruned"
    assert source.ended(run, End("pruned", "pruned")).how == "pruned"
    assert states(source).count("PRUNED") == 1
    run = source.next()
    assert source.looked(run, lines([9.0], first=STEPS)) == ""  # it is at its end anyway


def test_greatest_values_are_sought_where_asked_for(searching):
    source = searching(direction="maximize")
    played(source, [1.0])
    played(source, [3.0])
    assert source.study.best_trial.number == 1


def test_a_trial_that_was_cut_off_goes_on_in_its_folder_and_is_not_counted_twice(searching):
    source = searching(trials=2)
    run = source.next()
    source.looked(run, lines([5.0]))
    source.ended(run, End("interrupted", "interrupted"))
    assert states(source) == ["RUNNING"]
    again = searching(trials=2)
    same = again.next()
    assert (same.name, same.sets) == (run.name, run.sets)
    again.looked(same, lines([5.0, 4.0]))  # the first is known
    written(same, [5.0, 4.0])
    assert again.ended(same, End("finished")).reason == f"{FIGURE} = 4"
    assert played(again, [6.0]).how == "finished"
    assert again.next() is None and states(again) == ["COMPLETE", "COMPLETE"]


def test_trials_of_another_folder_are_left_to_it(searching):
    source = searching(trials=2)
    run = source.next()
    source._running[run.name].set_user_attr("ganforge:place", "elsewhere:/s")
    assert searching(trials=2).next().name == "digits/trial-1/seed-0"


def test_a_figure_that_is_not_finite_or_not_there_fails_the_trial(searching):
    source = searching()
    run = source.next()
    written(run, [float("nan")])
    assert source.ended(run, End("finished")) == End("failed", f"it measured no finite {FIGURE}")
    run = source.next()
    assert source.ended(run, End("failed", "enough")) == End("failed", "enough")
    assert states(source) == ["FAIL", "FAIL"]
    assert list(source.best()) == ["\n2 failed"]


def test_a_figure_may_be_left_out_where_it_is_clear(searching):
    source = searching(metric="checkerboard")
    assert played(source, [2.0]) == End("finished", "checkerboard = 2")
    line = {"step": 1, "metric/checkerboard/a": 1.0, "metric/checkerboard/b": 2.0}
    with pytest.raises(GanforgeError, match=r"say which figure: checkerboard/a, checkerboard/b"):
        source.looked(source.next(), [line])
    source = searching(metric="checkerboard/c", out="t")
    with pytest.raises(GanforgeError, match="--metric checkerboard/c: say which figure"):
        source.looked(source.next(), [line])


def test_values_that_cannot_be_played_together_fail_and_others_are_tried(searching, monkeypatch):
    from ganforge.recipes.problems import Problem, RecipeError

    whole, refused = search.plan_of, []

    def plan_of(registry, command, recipe, chosen):
        if not refused:
            refused.append(chosen)
            raise RecipeError([Problem("never together")])
        return whole(registry, command, recipe, chosen)

    source = searching(trials=3)
    monkeypatch.setattr(search, "plan_of", plan_of)
    assert source.next().name == "digits/trial-1/seed-0"
    first = source.study.get_trials()[0]
    assert first.state.name == "FAIL" and "never together" in first.user_attrs["refused"]


def test_another_figure_and_another_direction_are_another_study(searching):
    searching()
    with pytest.raises(GanforgeError, match=f"study 's' minimizes {FIGURE}; name another folder"):
        searching(direction="maximize")


def test_one_of_several_recipes_is_a_choice(recipe, workdir):
    (workdir / "other.toml").write_text(MEASURED.replace('"digits"', '"other"'))
    registry, every = Registry.load(only=()), grid.Command(Path("s"))
    Path("s").mkdir()
    recipes = [str(recipe), "other.toml"]
    space = search.Space.of(registry, every, recipes, [], (3,), FIGURE)
    study = search.study_of(every.out, space, "minimize", None)
    source = search.Search(registry, every, space, study, 30, None)
    names = {run.name.split("/")[0] for run in (source.next() for _ in range(12))}
    assert names == {"digits", "other"}


# --- storage --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("rubbish", "the search's storage rubbish cannot be used: Could not parse"),
        ("postgresql://me:secret@127.0.0.1:1/x", "storage postgresql://me@127.0.0.1:1/x cannot be"),
        ("strange://x", "strange://x cannot be used"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line_without_its_password(searching, url, words):
    with pytest.raises(GanforgeError) as raised:
        searching(storage=url)
    assert words in str(raised.value) and "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_without_optuna_it_is_said_what_to_install(searching, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(GanforgeError, match=r"needs Optuna: `pip install 'ganforge\[sweep\]'`"):
        searching()


# --- from the command line ------------------------------------------------------------------------

SEARCH = ("--metric", "checkerboard", "--minimize", "--vary", "train.batch=2,4")
SEARCH = (*SEARCH, "--set", "train.steps=3", "--set", "hooks.metrics.evaluate=1")


def sweep(folder, *arguments, wait=True):
    words = [sys.executable, "-m", "ganforge", "sweep", "recipe.toml", *SEARCH, *arguments]
    process = subprocess.Popen(
        words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return ended(process) if wait else process


def ended(process):
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said
    return said


@pytest.mark.slow
def test_a_search_on_the_command_line(recipe, workdir):
    said = sweep(workdir, "--search", "2", "--out", "s")
    assert "digits/trial-0/seed-0: finished: checkerboard = " in said
    assert "2 finished" in said and "best: trial " in said
    assert RunFolder(Path("s/digits/trial-1/seed-0")).state()["state"] == "finished"
    said = sweep(workdir, "--search", "2", "--out", "s")
    assert "begins" not in said and "2 finished" in said


@pytest.fixture(scope="module")
def database():
    """The URL of an empty database on a PostgreSQL server of this test's own."""
    programs = programs_of_postgresql()
    user = someone_else() if hasattr(os, "geteuid") and os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:  # pytest's are its user's
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        run = {"check": True, "cwd": folder, "stdout": subprocess.DEVNULL}
        if user is not None:
            run |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        words = ["--username", "me", "--auth", "trust", "--no-sync", "--encoding", "UTF8"]
        subprocess.run([programs / "initdb", "-D", "data", *words], **run)
        control, port = [programs / "pg_ctl", "-D", "data", "-w", "-t", "60"], free_port()
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -F"
        subprocess.run([*control, "-l", "log", "-o", options, "start"], **run)
        yield f"postgresql://me@127.0.0.1:{port}/postgres"
        subprocess.run([*control, "-m", "immediate", "stop"], **run)


def programs_of_postgresql():
    """The folder of initdb and pg_ctl."""
    pytest.importorskip("psycopg", reason="needs psycopg (ganforge[sweep])")
    found = shutil.which("initdb") or shutil.which("pg_ctl")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    pytest.skip("needs a PostgreSQL server: initdb and pg_ctl")


def someone_else():
    """PostgreSQL refuses to run as root."""
    import pwd

    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip("PostgreSQL refuses to run as root, and there is nobody else")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.slow
def test_two_machines_share_a_search_on_one_postgresql(workdir, tmp_path, database):
    """Two folders of one name stand for two machines, each with two runs at a time."""
    folders = []
    for name in ("one", "two"):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        write_recipe(folders[-1], MEASURED)
    asked = ("--search", "6", "--jobs", "2", "--storage", database, "--out", "shared")
    both = [sweep(folder, *asked, wait=False) for folder in folders]
    said = [ended(process) for process in both]
    numbers = [re.findall(r"trial-(\d+)/seed-0: finished", text) for text in said]
    assert sorted(map(int, numbers[0] + numbers[1])) == list(range(6)), said
    assert all(numbers), "each machine played some"
    storage = optuna.storages.RDBStorage(database.replace("postgresql:", "postgresql+psycopg:"))
    trials = optuna.load_study(study_name="shared", storage=storage).get_trials()
    storage.engine.dispose()
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6
    for folder, own in zip(folders, numbers, strict=True):
        for number in own:
            run = RunFolder(folder / "shared" / "digits" / f"trial-{number}" / "seed-0")
            figures = [line.get("metric/checkerboard/checkerboard") for line in run.metric_lines()]
            assert trials[int(number)].value == [f for f in figures if f is not None][-1]
            assert trials[int(number)].intermediate_values.keys() == {1, 2, 3}
    assert "6 finished" in sweep(folders[0], *asked)  # nothing is left to do


@pytest.mark.slow
def test_a_database_that_goes_away_ends_in_one_line(searching, database, monkeypatch):
    import sqlalchemy

    source = searching(storage=database, out="gone")
    run = source.next()

    def broken(*arguments, **options):
        raise sqlalchemy.exc.OperationalError("insert", {}, OSError("gone"))

    storage = source.study._storage
    monkeypatch.setattr(storage, "set_trial_intermediate_value", broken)
    with pytest.raises(GanforgeError, match=r"the search.s storage postgresql://me@127"):
        source.looked(run, lines([1.0]))
    getattr(storage, "_backend", storage).engine.dispose()
