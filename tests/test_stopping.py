"""Errors between two steps: the steps before them are saved, and the run goes on bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from attrs import evolve
from playing import ONE_PAIR, QUIET, plan_of, recipe_file, registry, training_of
from small_recipes import DIGITS, PLAIN, write_recipe

import ganforge
from ganforge import Hook
from ganforge.hardware import resident_memory
from ganforge.hardware.machine import decide
from ganforge.interfaces.errors import BrokenRows, GanforgeError, RunError
from ganforge.plugin import Component
from ganforge.registry.registry import Registry
from ganforge.storage import checkpoint
from ganforge.storage.run_folder import RunFolder
from ganforge.training import preflight
from ganforge.training.launch import Request, launch

BARE = ONE_PAIR.replace(QUIET, "\n[hooks]\nprogress = { off = true }\n")
STREAMED = PLAIN.replace("[train]", "[train]\nhold = 0.0").replace(
    "[hooks.samples]\nevery = 2\ncount = 4\n",
    "[hooks]\nprogress = { off = true }\nsamples = { off = true }\nmetrics = { every = 1 }\n",
)

linux = pytest.mark.skipif(sys.platform != "linux", reason="this system's names are text")


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setitem(sys.modules, "test_stopping", sys.modules[__name__])


class Failing(Hook):
    """Fails in step 3, as a snapshot does on a full disk."""

    def step_ended(self, training, step):
        if step == 3:
            raise GanforgeError("cannot write the snapshot: no space left")


class Counting(Hook):
    def __init__(self, options):
        super().__init__(options)
        self.steps = 0

    def step_ended(self, training, step):
        self.steps += 1

    def save_state(self):
        return {"steps": self.steps}


HOOKS = [
    Component("hook", name, f"test_stopping:{name.capitalize()}", provider="tests", version="0")
    for name in ("failing", "counting")
]


def test_a_hook_that_fails_keeps_the_others_and_the_checkpoint_from_nothing(tmp_path):
    text = BARE + "samples = { off = true }\nfailing = {}\ncounting = {}\n"
    training = training_of(tmp_path, text, *HOOKS)
    with pytest.raises(GanforgeError, match="cannot write the snapshot"):
        training.run()
    assert training.folder.checkpoint_steps() == [3]
    state = checkpoint.load(training.folder.checkpoints, 3).state
    assert state["hooks"]["counting"] == {"steps": 3}


def rows_of(folder):
    return [
        {k: v for k, v in line.items() if k != "seconds" and k != "wait/data"}
        for line in RunFolder(Path(folder)).metric_lines()
    ]


@pytest.mark.parametrize("more", [(), ("train.accumulate=2",), ("train.discriminator_steps=3",)])
def test_a_picture_that_breaks_meanwhile_costs_no_step(workdir, monkeypatch, more):
    """Rows are read before the game is touched; repaired, the run is the uninterrupted one."""
    from ganforge_folders.datasets import ImageFolder

    recipe = write_recipe(workdir, STREAMED)
    sets = ("train.steps=12", "train.workers=0", *more)
    launch(Request(recipe=recipe, sets=sets, out=Path("whole")), print)
    item, calls = ImageFolder.item, []

    def breaking(self, split, domain, index):
        calls.append(index)
        if len(calls) > 40:
            raise ganforge.DataError("pictures/cats/0.png is cut off: delete it")
        return item(self, split, domain, index)

    monkeypatch.setattr(ImageFolder, "item", breaking)
    with pytest.raises(BrokenRows) as caught:
        launch(Request(recipe=recipe, sets=sets, out=Path("it")), print)
    monkeypatch.setattr(ImageFolder, "item", item)
    (step,) = RunFolder(Path("it")).checkpoint_steps()
    assert 0 < step < 12
    assert f"the checkpoint of step {step} is kept" in caught.value.notes
    assert any("data.skip_broken" in note for note in caught.value.notes)
    launch(Request(recipe=recipe, sets=sets, out=Path("it")), print)
    one, two = (checkpoint.load(Path(n) / "checkpoints", 12) for n in ("whole", "it"))
    assert all(torch.equal(v, two.networks[k]) for k, v in one.networks.items())
    assert rows_of("whole") == rows_of("it")


def test_what_a_run_wrote_may_be_read_by_those_who_may_read_its_other_files(workdir):
    if os.name == "nt":
        pytest.skip("Windows knows no umask")
    before = os.umask(0o022)
    try:
        recipe = write_recipe(workdir, PLAIN)
        launch(Request(recipe=recipe, out=Path("it")), print)
    finally:
        os.umask(before)
    files = [path for path in Path("it").rglob("*") if path.is_file() and path.name != ".lock"]
    assert {path.suffix for path in files} >= {".safetensors", ".json", ".png"}
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o644"}


# --- the folder of a run --------------------------------------------------------------------------


@pytest.fixture
def dots(monkeypatch, workdir):
    there = registry()
    monkeypatch.setattr(Registry, "load", classmethod(lambda cls, **_: evolve(there)))
    return workdir


def test_running_a_runs_folder_resumes_it(dots, ganforge_cli):
    recipe_file(dots, ONE_PAIR)
    whole = launch(Request(recipe="recipe.toml", sets=("train.steps=6",), out=Path("whole")), print)
    launch(Request(recipe="recipe.toml", sets=("train.batch=6",)), print)
    Path("recipe.toml").unlink()
    answer = ganforge_cli("run", "runs/dots", "--set", "train.steps=6")
    assert answer.status == 0, answer
    assert f"resuming {Path('runs/dots')} at step 4 of 6" in answer.out
    assert "ganforge run runs/dots --set train.steps=12" in answer.out
    one, two = (
        checkpoint.load(f.checkpoints, 6) for f in (whole.folder, RunFolder(Path("runs/dots")))
    )
    assert all(torch.equal(v, two.networks[k]) for k, v in one.networks.items())
    assert ganforge_cli("run", "runs/dots", "--set", "train.steps=6").out.count("already finished")
    assert "leave out --preview" in ganforge_cli("run", "runs/dots", "--preview").err


def test_a_folder_whose_device_is_gone_goes_on_elsewhere(dots, ganforge_cli):
    recipe_file(dots, ONE_PAIR.replace('device = "cpu"\n', ""))
    launch(Request(recipe="recipe.toml"), print)
    resolved = Path("runs/dots/resolved.toml")
    resolved.write_text(resolved.read_text().replace('device = "cpu"', 'device = "cuda:77"'))
    answer = ganforge_cli("run", "runs/dots", "--set", "train.steps=6")
    assert answer.status == 0 and "going on with cpu" in answer.out, answer


def test_omp_num_threads_is_heeded_on_resume_and_told(dots, monkeypatch):
    recipe_file(dots, ONE_PAIR)
    launch(Request(recipe="recipe.toml"), print)
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", str(before + 1))
    said = []
    try:
        launch(Request(recipe="recipe.toml", sets=("train.steps=6",)), said.append)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    now = f"{before + 1} threads from here on, {before} before"
    assert f"OMP_NUM_THREADS is {before + 1}: {now}" in said
    assert any(f"threads {before} -> {before + 1}" in line for line in said)


def test_a_run_in_progress_is_listed_as_training(dots, ganforge_cli):
    recipe_file(dots, ONE_PAIR)
    folder = launch(Request(recipe="recipe.toml", sets=("train.steps=2",)), print).folder
    tables = folder.resolved.read_text().replace("steps = 2", "steps = 4")
    folder.resolved.write_text(tables)

    def state():
        return json.loads(ganforge_cli("runs", "--json").out)["runs"][0]["state"]

    assert state() == "stopped"
    with folder.held():
        assert state() == "training"
    assert state() == "stopped"


# --- told before anything is built ----------------------------------------------------------------


def test_a_batch_that_no_memory_holds_is_refused_with_the_numbers(dots):
    recipe_file(dots, ONE_PAIR)
    with pytest.raises(
        GanforgeError, match=r"needs at least [\d.,]+ GB of memory.*GB are free"
    ) as it:
        launch(Request(recipe="recipe.toml", sets=("train.batch=10000000000",)), print)
    parts = str(it.value).rpartition("train.accumulate=")[2].rstrip("`")
    assert int(parts) > 1


def test_the_parts_that_are_advised_are_the_fewest_that_leave_most_of_the_memory(dots, monkeypatch):
    plan = plan_of(dots, ONE_PAIR, sets=("train.batch=4096",))
    row = 4 * (64 + 2 * 64)  # an image of 8 x 8 px, and a fake with its gradient
    for free, parts in ((4000 * row, 8), (2000 * row, 16), (900 * row, 32)):
        monkeypatch.setattr(resident_memory, "available", lambda free=free: free)
        with pytest.raises(GanforgeError, match=f"`--set train.accumulate={parts}`"):
            preflight.refuse_vast_batch(plan, decide(plan.train))


def test_free_memory_is_the_devices_own_and_unknown_of_others(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5, 9))
    monkeypatch.setattr(resident_memory, "available", lambda: 7)
    free = [preflight._free(torch.device(name)) for name in ("cuda", "cpu", "meta")]
    assert free == [5, 7, 0]


def test_one_row_for_batch_norm_is_refused_before_the_header(workdir, capsys):
    recipe = write_recipe(workdir, PLAIN)
    with pytest.raises(GanforgeError, match="a batch of 1 in 1 part"):
        launch(Request(recipe=recipe, sets=("train.batch=1",)), print)
    assert "generator" not in capsys.readouterr().out
    assert not Path("runs/digits/resolved.toml").exists()


def test_a_script_that_is_not_guarded_is_told_so_in_a_line(workdir):
    write_recipe(workdir, STREAMED)
    script = Path("script.py")
    script.write_text("import ganforge\nganforge.train('recipe.toml', set={'train.workers': 1})\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    last = done.stderr.strip().splitlines()[-1]
    assert "script.py:2 trains with worker processes" in last, done.stderr
    assert '`if __name__ == "__main__":`' in last and done.stderr.count("Traceback") == 1


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("__main__", "\ntrain()\n", True),
        ("__main__", 'if __name__ == "__main__":\n    train()\n', False),
        ("__main__", 'if __name__ == "__main__":\n    pass\ntrain()\n', True),
        ("job", "train()\n", False),  # a module that a script imports
    ],
)
def test_only_the_script_itself_has_to_be_guarded(tmp_path, name, text, told):
    script = tmp_path / "script.py"
    script.write_text(text)
    code = compile(text, str(script), "exec")
    start = {"__name__": name, "train": preflight.refuse_unguarded_script}
    if not told:
        exec(code, start)
        return
    line = 1 + text[: text.index("train()")].count("\n")
    with pytest.raises(RunError, match=f"script.py:{line} trains with worker processes"):
        exec(code, start)


def test_a_script_without_workers_needs_no_guard(dots):
    recipe_file(dots, ONE_PAIR)
    script = dots / "script.py"
    script.write_text("launch(request, said.append)\n")
    code = compile(script.read_text(), str(script), "exec")
    start = {"__name__": "__main__", "launch": launch, "said": []}
    with pytest.raises(RunError, match=r"script\.py:1 trains with worker processes"):
        exec(code, start | {"request": Request(recipe="recipe.toml", sets=("train.workers=1",))})
    exec(code, start | {"request": Request(recipe="recipe.toml", sets=("train.workers=0",))})
    (folder,) = (dots / "runs").iterdir()
    assert RunFolder(folder).state()["state"] == "finished"


def test_what_is_typed_in_has_no_file_to_guard():
    code = compile("train()", "<stdin>", "exec")
    exec(code, {"__name__": "__main__", "train": preflight.refuse_unguarded_script})


def test_a_busy_port_is_told_in_a_line(workdir, ganforge_cli):
    import socket

    recipe = write_recipe(workdir, PLAIN)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "ganforge", "run", str(recipe)],
            capture_output=True,
            text=True,
            env={
                **os.environ,
                "WORLD_SIZE": "2",
                "RANK": "0",
                "LOCAL_RANK": "0",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            },
        )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert f"another program uses port {port} of this machine" in done.stderr


# --- machines without names -----------------------------------------------------------------------


def test_without_a_home_the_cache_is_among_temporary_files(monkeypatch, tmp_path):
    from pathlib import Path as AnyPath

    from ganforge.plugin import cache_folder

    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert cache_folder("decoded").is_relative_to(tmp_path)
    assert cache_folder("decoded").name == "decoded"
    monkeypatch.setenv("GANFORGE_CACHE", "mine")
    assert cache_folder("judges") == AnyPath("mine/judges").absolute()


@linux
def test_a_class_whose_name_is_not_utf8_is_trained_and_sampled(workdir, ganforge_cli):
    recipe = write_recipe(workdir, DIGITS)
    os.rename(b"pictures/cats", b"pictures/caf\xe9")  # noqa: PTH104 (no text)
    answer = ganforge_cli("run", recipe)
    assert answer.status == 0, answer
    assert "caf\\\\xe9" in Path("runs/digits/resolved.toml").read_text(encoding="utf-8")
    assert ganforge_cli("sample", "--label", "caf\\xe9", "--count", "1").status == 0


@linux
def test_a_root_whose_name_is_not_utf8_is_told_in_a_line(workdir, ganforge_cli):
    recipe = write_recipe(workdir, PLAIN)
    os.mkdir(b"caf\xe9")  # noqa: PTH102 (no text)
    os.rename(b"pictures", b"caf\xe9/pictures")  # noqa: PTH104
    os.chdir(b"caf\xe9")
    recipe = recipe.rename("recipe.toml")
    answer = ganforge_cli("run", recipe)
    assert answer.status in (0, 2) and "bug in ganforge" not in answer.err, answer
    assert answer.status == 0 or "is not UTF-8" in answer.err


@linux
def test_names_that_are_not_utf8_are_read_kept_and_told(workdir):
    recipe = write_recipe(workdir, PLAIN)
    strange = os.fsencode("pictures/cats/") + b"\xe4\xff.png"
    os.rename(b"pictures/cats/3.png", strange)  # noqa: PTH104 (no text)
    outcome = launch(Request(recipe=recipe, sets=("train.steps=2",)), print)
    assert outcome.step == 2
    os.rename(strange, b"pictures/cats/3.png")  # noqa: PTH104
    said = []
    launch(Request(recipe=recipe, sets=("train.steps=4",)), said.append)
    assert "1 file renamed" in said[0]
