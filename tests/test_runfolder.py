"""The run folder's small files: states, metrics cut off by a kill, files written whole."""

import os
from pathlib import Path

import pytest

from ganforge.interfaces.errors import RunError
from ganforge.storage.run_folder import RunFolder, find_run, find_runs, write_whole


def make_run(path, *, steps=10, saved=(), age=0):
    """A run folder without tensors. age: seconds since it changed."""
    folder = RunFolder(path)
    folder.create("recipe = 1\n", f'name = "made"\n[train]\nsteps = {steps}\n')
    for step in saved:
        checkpoint = folder.checkpoints / f"step-{step:08d}"
        checkpoint.mkdir(parents=True)
        (checkpoint / "state.json").write_text("{}", encoding="utf-8")
    changed = 1_700_000_000 - age
    os.utime(folder.resolved, (changed, changed))
    return folder


# --- states ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("saved", "step", "state"),
    [((), 0, "started"), ((4,), 4, "stopped"), ((4, 10), 10, "finished"), ((12,), 12, "finished")],
)
def test_a_run_is_started_stopped_or_finished(tmp_path, saved, step, state):
    told = make_run(tmp_path / "faces", saved=saved).state()
    assert (told["step"], told["steps"], told["state"]) == (step, 10, state)
    assert (told["name"], told["recipe"]) == ("faces", "made")
    assert told["folder"] == str(tmp_path / "faces")
    assert told["changed"].startswith("2023-11-1")


def test_checkpoints_that_are_not_whole_do_not_count(tmp_path):
    folder = make_run(tmp_path / "faces", saved=(20, 3, 100))
    (folder.checkpoints / "step-00000200.partial").mkdir()
    (folder.checkpoints / "step-00000300").mkdir()  # no state.json
    (folder.checkpoints / "notes").mkdir()
    assert folder.checkpoint_steps() == [3, 20, 100]


def test_sheets_are_in_the_order_of_their_steps(tmp_path):
    folder = make_run(tmp_path / "faces")
    folder.samples.mkdir()
    for step in (1_000_000, 500, 999_999, 0):
        (folder.samples / f"step-{step:06d}.png").touch()
    (folder.samples / "real.png").touch()
    names = [path.name for path in folder.sheets()]
    assert names == ["step-000000.png", "step-000500.png", "step-999999.png", "step-1000000.png"]


def test_a_folder_without_a_resolved_recipe_is_no_run(tmp_path):
    folder = RunFolder(tmp_path)
    assert not folder.exists()
    with pytest.raises(RunError) as caught:
        folder.resolved_tables()
    assert str(caught.value) == f"{tmp_path} is no run folder: it has no resolved.toml"


def test_a_damaged_resolved_recipe_is_one_line(tmp_path):
    (tmp_path / "resolved.toml").write_text("name = ", encoding="utf-8")
    with pytest.raises(RunError, match=r"cannot read .*resolved\.toml: Invalid value"):
        RunFolder(tmp_path).resolved_tables()


def test_the_recipe_is_kept_as_it_was_at_the_first_start(tmp_path):
    folder = RunFolder(tmp_path / "faces")
    folder.create("first", "a = 1", {"losses.py": "x = 1\n"})
    folder.create("second", "a = 2")
    assert folder.recipe.read_text(encoding="utf-8") == "first"
    assert folder.resolved_tables() == {"a": 2}
    assert (folder.path / "plugin-files" / "losses.py").read_text(encoding="utf-8") == "x = 1\n"


# --- finding --------------------------------------------------------------------------------------


def test_runs_are_found_the_newest_last(tmp_path):
    for age, name in enumerate(["c", "a", "b"]):
        make_run(tmp_path / name, age=100 * age)
    (tmp_path / "notes").mkdir()
    (tmp_path / "letter.txt").touch()
    assert [folder.name for folder in find_runs(tmp_path)] == ["b", "a", "c"]
    assert find_run(None, tmp_path).name == "c"


def test_the_metrics_of_a_run_make_it_newer(tmp_path):
    old = make_run(tmp_path / "old", age=900)
    make_run(tmp_path / "new")
    old.metrics.write_text("", encoding="utf-8")
    assert [folder.name for folder in find_runs(tmp_path)] == ["new", "old"]


def test_no_folder_holds_no_runs(tmp_path):
    assert find_runs(tmp_path / "runs") == []
    with pytest.raises(RunError) as caught:
        find_run(None, tmp_path / "runs")
    assert str(caught.value) == (
        f"there is no run in {tmp_path / 'runs'}; start one with `ganforge run RECIPE`"
    )


def test_a_run_is_found_by_name_or_folder_wherever_that_is(tmp_path):
    make_run(tmp_path / "runs" / "faces")
    elsewhere = make_run(tmp_path / "elsewhere")
    assert find_run("faces", tmp_path / "runs").path == tmp_path / "runs" / "faces"
    assert find_run(elsewhere.path, tmp_path / "runs") == elsewhere
    assert find_run(str(elsewhere.path), tmp_path / "runs") == elsewhere


def test_a_name_that_no_run_has_is_told_with_the_nearest(tmp_path):
    make_run(tmp_path / "faces")
    with pytest.raises(RunError) as caught:
        find_run("faecs", tmp_path)
    assert str(caught.value) == "there is no run 'faecs'; did you mean 'faces'?"
    with pytest.raises(RunError) as caught:
        find_run("zzz", tmp_path)
    assert str(caught.value) == "there is no run 'zzz'; `ganforge runs` lists what there is"


# --- metrics --------------------------------------------------------------------------------------


def test_a_line_that_a_kill_cut_off_is_left_out(tmp_path):
    folder = RunFolder(tmp_path)
    assert list(folder.metric_lines()) == []
    folder.metrics.write_bytes(
        b'{"step": 1, "loss/a": 0.5}\n[1]\n{"loss/a": 2}\n{"step": "3"}\n\xff\xfe\n'
        b'{"step": 2, "loss/a": null}\n{"step": 3, "lo'
    )
    assert list(folder.metric_lines()) == [
        {"step": 1, "loss/a": 0.5},
        {"step": 2, "loss/a": None},
    ]


def test_lines_after_a_step_are_cut_and_those_before_stay(tmp_path):
    folder = RunFolder(tmp_path)
    folder.cut_metrics(3)
    assert not folder.metrics.exists()
    lines = [f'{{"step": {step}, "loss/a": 0.1}}\n' for step in (1, 2, 3, 3, 4, 5)]
    folder.metrics.write_text("".join(lines) + '{"step": 6', encoding="utf-8")
    folder.cut_metrics(3)
    assert folder.metrics.read_bytes() == "".join(lines[:4]).encode()


# --- writing --------------------------------------------------------------------------------------


def test_a_file_is_written_whole_with_plain_line_ends(tmp_path):
    path = tmp_path / "notes.txt"
    write_whole(path, "é\nß\n")
    assert path.read_bytes() == "é\nß\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "notes.txt"
    write_whole(path, "before")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "after")
    assert path.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_folder_below_a_file_is_refused_in_one_line(tmp_path):
    (tmp_path / "letter").write_text("dear", encoding="utf-8")
    with pytest.raises(RunError, match=r"^cannot write the run folder .*--out DIR`$"):
        RunFolder(tmp_path / "letter" / Path("run")).create("", "")


def test_what_lies_in_a_run_is_found_by_its_step_and_nothing_half_written_is(tmp_path):
    folder = RunFolder(tmp_path)
    for path in (folder.samples, folder.snapshots):
        path.mkdir()
    for path in (folder.sheet(500), folder.sheet(2_000_000), folder.snapshot(20)):
        path.touch()
    for name in ("real.png", "step-000900.png.partial", "progress.gif"):
        (folder.samples / name).touch()
    (folder.snapshots / ".step-000030.safetensors.partial").touch()
    assert list(folder.sheets_by_step()) == [500, 2_000_000]
    assert folder.snapshots_by_step() == {20: folder.snapshot(20)}


def test_numbers_that_were_logged_under_a_former_name_are_read_under_the_one_of_today(tmp_path):
    folder = RunFolder(tmp_path)
    folder.metrics.write_text('{"step": 3, "spread/fake": 0.5, "accuracy": 1.0}\n')
    assert list(folder.metric_lines()) == [{"step": 3, "pixel_std/fake": 0.5, "accuracy": 1.0}]
