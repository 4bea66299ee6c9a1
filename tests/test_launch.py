"""Starting and resuming: which folder, which data, which decisions, and what is refused."""

import errno
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from attrs import evolve
from playing import ONE_PAIR, recipe_file, registry
from small_recipes import PLAIN, draw_pictures, write_recipe

from ganforge import archives
from ganforge.archives import Archive, RemoteFile
from ganforge.hardware import machine
from ganforge.interfaces.errors import DataError, RunError, TrainingError
from ganforge.interfaces.settings import TrainSettings
from ganforge.recipes.problems import RecipeError
from ganforge.registry.registry import Registry
from ganforge.storage import checkpoint
from ganforge.storage.run_folder import RunFolder
from ganforge.training.launch import Request, launch
from ganforge.training.trainer import Training

SAVING = ONE_PAIR.replace("checkpoint = { off = true }", "checkpoint = { every = 2, keep = 9 }")


@pytest.fixture(autouse=True)
def dots_are_installed(monkeypatch, workdir):
    there = registry()
    monkeypatch.setattr(Registry, "load", classmethod(lambda cls, **_: evolve(there)))


def run(text=ONE_PAIR, *sets, said=None, **asked):
    """Launch a recipe's text, told into `said`."""
    path = text if isinstance(text, Path) else recipe_file(Path.cwd(), text)
    request = Request(recipe=path, sets=sets, **asked)
    return launch(request, (said if said is not None else []).append)


def networks(folder, step=None):
    """The bytes of the networks of a checkpoint, the newest where no step is given."""
    folder = folder if isinstance(folder, RunFolder) else RunFolder(Path(folder))
    step = folder.checkpoint_steps()[-1] if step is None else step
    name = checkpoint.folder_name(step)
    return (folder.checkpoints / name / "networks.safetensors").read_bytes()


# --- where ----------------------------------------------------------------------------------------


@pytest.fixture
def trainer_elsewhere():
    """A function that makes another process hold a run folder; it returns the process."""
    code = "import sys, time\nfrom pathlib import Path\n"
    code += "from ganforge.storage.run_folder import RunFolder\n"
    code += "with RunFolder(Path(sys.argv[1])).held(): print('held', flush=True); time.sleep(60)"
    started = []

    def hold(folder):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_folder_in_which_another_process_trains_is_refused_until_that_one_died(
    trainer_elsewhere,
):
    run(SAVING, "train.steps=2")
    other = trainer_elsewhere(Path("runs/dots"))
    with pytest.raises(RunError, match=r"another process is training in runs.dots; wait"):
        run(SAVING)
    other.kill()
    other.wait()
    assert run(SAVING).step == 4


def test_a_run_that_begins_while_another_does_is_refused(trainer_elsewhere):
    trainer_elsewhere(Path("runs/dots"))
    with pytest.raises(RunError, match="another process is training"):
        run()
    assert not Path("runs/dots/resolved.toml").exists()


def test_a_folder_that_holds_but_a_lock_is_free(trainer_elsewhere):
    trainer_elsewhere(Path("runs/dots")).kill()
    assert run().step == 4


def test_a_first_run_trains_into_a_folder_of_its_name():
    outcome = run()
    assert (outcome.trained, outcome.step, outcome.stopped, outcome.stand_in) == (True, 4, "", "")
    assert outcome.folder.path == Path("runs/dots")
    assert outcome.folder.recipe.read_text(encoding="utf-8") == Path("recipe.toml").read_text()
    assert outcome.folder.checkpoint_steps() == [4]
    assert tomllib.loads(outcome.folder.resolved.read_text())["train"]["steps"] == 4


def test_the_same_again_is_finished_and_changes_nothing():
    run()
    before = {p: p.stat().st_mtime_ns for p in Path("runs").rglob("*")}
    outcome = run()
    assert (outcome.trained, outcome.step) == (False, 4)
    assert {p: p.stat().st_mtime_ns for p in Path("runs").rglob("*")} == before


def test_a_run_killed_before_its_first_checkpoint_starts_again():
    first = run()
    expected = networks(first.folder)
    shutil.rmtree(first.folder.checkpoints)
    first.folder.metrics.write_text('{"step": 3}\n')
    again = run()
    assert again.trained and networks(again.folder) == expected
    assert list(again.folder.metric_lines()) == []


def test_more_steps_go_on_to_the_bits_of_an_uninterrupted_run():
    said = []
    run(said=said)
    outcome = run(ONE_PAIR, "train.steps=7", said=said)
    whole = run(ONE_PAIR, "train.steps=7", out=Path("runs/whole"))
    assert (outcome.trained, outcome.step, outcome.folder.path) == (True, 7, Path("runs/dots"))
    assert networks(outcome.folder) == networks(whole.folder)
    assert said == [f"resuming {Path('runs/dots')} at step 4 of 7"]
    assert outcome.folder.resolved_tables()["train"]["steps"] == 7


def test_fewer_steps_than_were_taken_are_finished():
    run()
    assert not run(ONE_PAIR, "train.steps=2").trained


def test_the_last_phase_grows_with_the_run():
    phases = """
    [train.phases.critic]
    train = ["discriminator"]
    steps = 2
    [train.phases.both]
    train = ["generator", "discriminator"]
    [noise]
    """.replace("    ", "")
    text = ONE_PAIR.replace("[noise]\n", phases)
    run(text)
    outcome = run(text, "train.steps=6")
    whole = run(text, "train.steps=6", out=Path("whole"))
    assert networks(outcome.folder) == networks(whole.folder)


def test_hooks_and_places_may_change_on_a_resumed_run():
    run()
    sets = ("train.steps=5", "train.threads=1", "hooks.metrics={off=false,every=1}", "name=other")
    outcome = run(ONE_PAIR, *sets, out=Path("runs/dots"))
    assert outcome.step == 5
    assert [line["step"] for line in outcome.folder.metric_lines()] == [5]


def test_another_game_is_refused_with_the_difference_and_three_offers():
    run()
    before = networks("runs/dots")
    with pytest.raises(RunError) as caught:
        run(ONE_PAIR, "train.batch=8", "generator.ema=0.9", "losses.adversarial.use=minimax")
    assert str(caught.value) == (
        f"{Path('runs/dots')} holds another game:\n"
        "  train.batch: 6 -> 8\n"
        "  losses.adversarial.use: 'ganforge/non-saturating' -> 'ganforge/minimax'\n"
        "  generators.main.ema: not there -> 0.9\n"
        "go on with --new (a new folder beside it), --replace (moves the old folder aside) "
        "or --out DIR"
    )
    assert networks("runs/dots") == before


def test_only_the_first_differences_are_listed():
    run()
    sets = [f"losses.l{n}.use=minimax" for n in range(10)]
    with pytest.raises(RunError, match=r"\n  and \d+ more\n"):
        run(ONE_PAIR, *sets)


def test_other_rows_in_the_same_place_are_refused():
    path = write_recipe(Path.cwd(), PLAIN)
    run(path)
    draw_pictures(Path("pictures/cats"), count=5)
    with pytest.raises(RunError, match=r"other rows than before \(train.image: 8 -> 9 rows"):
        run(path, "train.steps=6")


def test_new_takes_a_folder_beside_it():
    run()
    outcome = run(ONE_PAIR, "train.batch=8", new=True)
    assert outcome.folder.path == Path("runs/dots-2") and outcome.trained
    assert run(ONE_PAIR, new=True).folder.path == Path("runs/dots-3")


def test_replace_moves_the_old_folder_aside():
    run()
    before = networks("runs/dots")
    outcome = run(ONE_PAIR, "train.batch=8", replace=True)
    assert outcome.folder.path == Path("runs/dots") and outcome.trained
    (aside,) = [path for path in Path("runs").iterdir() if path.name != "dots"]
    assert networks(aside) == before != networks("runs/dots")


def test_previews_have_their_own_folder():
    outcome = run(ONE_PAIR + "[preview]\ntrain.steps = 2\n", preview=True)
    assert (outcome.folder.path, outcome.step) == (Path("runs/dots-preview"), 2)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_place_that_holds_something_else_is_left_alone(kind):
    place = Path("place")
    other = place if kind == "file" else place / "letter.txt"
    other.parent.mkdir(exist_ok=True)
    other.write_text("dear")
    with pytest.raises(RunError) as caught:
        run(out=place)
    assert str(caught.value) == "place holds something else; choose another place with `--out DIR`"
    assert other.read_text() == "dear" and len(list(Path.cwd().iterdir())) == 2


def test_an_empty_folder_is_a_good_place():
    Path("place").mkdir()
    assert run(out=Path("place")).folder.path == Path("place")


# --- disks ----------------------------------------------------------------------------------------


def test_a_run_whose_only_checkpoint_is_damaged_is_left_as_it_is():
    first = run()
    file = first.folder.checkpoints / checkpoint.folder_name(4) / "networks.safetensors"
    file.write_bytes(b"nonsense")
    before = first.folder.metrics.exists(), sorted(first.folder.path.rglob("*"))
    with pytest.raises(RunError, match=r"no checkpoint of .* can be read: .*--new.*--replace"):
        run()
    assert (first.folder.metrics.exists(), sorted(first.folder.path.rglob("*"))) == before


def test_a_run_that_begins_again_without_a_checkpoint_says_so():
    first = run()
    shutil.rmtree(first.folder.checkpoints)
    said = []
    run(said=said)
    assert f"{Path('runs/dots')} has no checkpoint yet; beginning at its first step" in said


def test_networks_that_do_not_fit_into_memory_are_one_line():
    with pytest.raises(TrainingError, match=r"do not fit into memory; .*`noise\.dim`"):
        run(ONE_PAIR, "noise.dim=99999999999")


def test_a_damaged_newest_checkpoint_is_told_and_an_older_one_taken():
    first = run(SAVING)
    expected = networks(first.folder)
    assert first.folder.checkpoint_steps() == [2, 4]
    file = first.folder.checkpoints / checkpoint.folder_name(4) / "networks.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x00\x01")
    said = []
    outcome = run(SAVING, said=said)
    assert said == [
        f"{file} is damaged: its checksum is not what was written; taking an older checkpoint",
        f"resuming {Path('runs/dots')} at step 2 of 4",
    ]
    assert outcome.trained and networks(outcome.folder) == expected


def _full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_line_and_the_last_good_checkpoint_stays(monkeypatch):
    run(SAVING, "train.steps=2")
    before = networks("runs/dots", 2)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", _full_disk)
        with pytest.raises(RunError) as caught:
            run(SAVING)
    target = Path("runs/dots/checkpoints") / checkpoint.folder_name(4)
    assert str(caught.value) == (
        f"cannot write the checkpoint {target}: no space left on the disk; free some and run the "
        "same command to go on; the checkpoint of step 2 is kept"
    )
    assert RunFolder(Path("runs/dots")).checkpoint_steps() == [2]
    assert networks("runs/dots", 2) == before
    assert not list(Path("runs/dots").rglob("*.partial"))
    assert run(SAVING).step == 4


def test_a_run_folder_that_cannot_be_made_is_one_line():
    Path("letter.txt").write_text("dear")
    with pytest.raises(RunError) as caught:
        run(out=Path("letter.txt/run"))
    start = f"cannot write the run folder {Path('letter.txt/run')}: "
    assert str(caught.value).startswith(start)
    assert str(caught.value).endswith("; choose another place with `--out DIR`")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOENT])
def test_a_run_folder_that_cannot_be_written_any_more_is_one_line(monkeypatch, number):
    run()
    before = networks("runs/dots")
    replace = os.replace

    def refuse(source, target):
        if Path(target).name == "resolved.toml":
            raise OSError(number, os.strerror(number), str(source))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(RunError) as caught:
        run(ONE_PAIR, "train.steps=6")
    assert str(caught.value) == (
        f"cannot write to {Path('runs/dots')}: {os.strerror(number)}; the checkpoint of "
        "step 4 is kept, and the same command goes on"
    )
    assert networks("runs/dots") == before
    assert not list(Path("runs/dots").rglob("*.partial"))


def test_a_full_disk_met_by_a_hook_is_one_line(monkeypatch):
    monkeypatch.setattr(Training, "save", _full_disk)  # as any hook may write what it likes
    with pytest.raises(RunError, match=r"^cannot write to .*dots: No space left on device; no"):
        run()


# --- stand-ins ------------------------------------------------------------------------------------

FETCHED = ONE_PAIR.replace(
    'use = "dots"',
    'use = "image-folder"\nroot = "pictures"\nfetch = "tiny"\nfallback = "dots"\nsize = 8',
)


@pytest.fixture
def unreachable(monkeypatch):
    """An archive of folders of images whose only place refuses connections."""
    file = RemoteFile("tiny.zip", ("http://127.0.0.1:9/tiny.zip",), 10_000, "0" * 64)
    tiny = Archive(
        name="tiny",
        summary="",
        source="",
        licence="",
        files=(file,),
        unpack="tiny",
        counts={"a": 8},
        pixels=(3, 8, 8),
    )
    monkeypatch.setitem(archives.ARCHIVES, "tiny", tiny)


def test_data_that_cannot_be_had_is_replaced_by_its_stand_in_and_said(unreachable):
    said = []
    outcome = run(FETCHED, said=said)
    assert outcome.stand_in.startswith("dots stands in for image-folder: ")
    assert said[-1] == outcome.stand_in
    assert outcome.plan.data.component.name == "dots"
    tables = outcome.folder.resolved_tables()
    assert tables["data"]["use"] == "tests/dots"
    assert tables["lock"]["stand_in"] == outcome.stand_in


def test_a_stand_in_is_kept_also_when_the_data_has_appeared_since(unreachable):
    first = run(FETCHED)
    draw_pictures(Path("pictures/a"), count=8)
    said = []
    outcome = run(FETCHED, "train.steps=6", said=said)
    assert outcome.plan.data.component.name == "dots"
    assert (outcome.stand_in, said[-1]) == (first.stand_in, first.stand_in)
    whole = run(
        FETCHED.replace(
            FETCHED[FETCHED.index("[data]") : FETCHED.index("[train]")],
            '[data]\nuse = "dots"\nsize = 8\n',
        ),
        "train.steps=6",
        out=Path("whole"),
    )
    assert networks(outcome.folder) == networks(whole.folder)
    assert outcome.folder.resolved_tables()["lock"]["stand_in"] == first.stand_in
    assert run(FETCHED, "train.steps=6").stand_in == first.stand_in  # finished: said again


def test_a_new_run_takes_the_data_that_has_appeared(unreachable):
    run(FETCHED)
    draw_pictures(Path("pictures/a"), count=8)
    outcome = run(FETCHED, new=True)
    assert (outcome.stand_in, outcome.plan.data.component.name) == ("", "image-folder")


def test_the_resolved_recipe_of_a_stand_in_run_goes_on_standing_in(unreachable):
    first = run(FETCHED)
    said = []
    second = run(first.folder.resolved, out=Path("again"), said=said)
    assert second.stand_in == first.stand_in
    assert networks(second.folder) == networks(first.folder)
    third = run(first.folder.resolved, "train.steps=5", out=Path("again"), said=said)
    assert (third.step, third.stand_in, said[-1]) == (5, first.stand_in, first.stand_in)


def test_without_a_stand_in_data_that_cannot_be_had_ends_the_run(unreachable):
    with pytest.raises(DataError, match=r"tiny\.zip"):
        run(FETCHED.replace('fallback = "dots"\n', ""))
    assert not Path("runs").exists()


# --- weights of other runs ------------------------------------------------------------------------

FINE = ONE_PAIR.replace('"dots"\n[data]', '"fine"\n[data]').replace(
    "[generator]\n", '[generator]\ninit = { run = "runs/dots" }\nema = 0.9\n'
)


def test_init_takes_the_weights_of_another_run_for_the_average_too():
    text = ONE_PAIR.replace("[generator]\n", "[generator]\nema = 0.9\n")
    first = checkpoint.load(run(text).folder.checkpoints, 4).networks
    slow = FINE.replace("ema", "optimizer.lr = 1e-30\nema")  # moves by less than rounding
    second = checkpoint.load(run(slow, "train.steps=1").folder.checkpoints, 1).networks
    weights = [n for n in first if n.startswith("ema.generators.main/") and "weight" in n]
    assert weights
    for name in weights:
        assert torch.equal(second[name], first[name])
        assert torch.equal(second[name.removeprefix("ema.")], first[name])
    guard = next(n for n in first if n.startswith("discriminators.main/") and "weight" in n)
    assert not torch.equal(second[guard], first[guard])  # not asked for


def test_a_resumed_run_needs_the_other_run_no_more():
    run()
    run(FINE)
    shutil.rmtree("runs/dots")
    assert run(FINE, "train.steps=5").step == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("runs/dots", "runs/gone"),
            r"`init` of generators\.main: .*gone is not a run with a check",
        ),
        (("[generator]", "[generators.other]"), r"`init` of generators\.other: .*dots has no netw"),
        (
            ("hidden = [12]\n[d", "hidden = [13]\n[d"),
            r"`init` of .* the network in .* differs: size mismatch for [\w.]*0\.weight",
        ),
    ],
)
def test_weights_that_cannot_be_taken_are_one_line_and_nothing_is_left(change, message):
    run()
    with pytest.raises(RunError, match=message) as caught:
        run(FINE.replace(*change))
    assert "\n" not in str(caught.value)
    assert not Path("runs/fine").exists()


# --- decisions ------------------------------------------------------------------------------------

CPU = torch.device("cpu")
AUTO = ONE_PAIR.replace('precision = "fp32"\ndevice = "cpu"\n', "")


def test_what_auto_chose_is_kept_when_the_machine_has_changed(monkeypatch):
    asked = []
    monkeypatch.setattr(machine, "has_native_bf16", lambda device: False)
    monkeypatch.setattr(machine, "find_device", lambda name: asked.append(name) or CPU)
    torch.set_num_threads(1)
    first = run(AUTO)
    locked = {"device": "cpu", "precision": "fp32", "threads": 1}
    assert locked.items() <= first.folder.resolved_tables()["train"].items()
    monkeypatch.setattr(machine, "has_native_bf16", lambda device: True)
    torch.set_num_threads(2)
    said = []
    second = run(AUTO, "train.steps=6", said=said)
    assert asked == ["auto", "cpu"]
    assert locked.items() <= second.folder.resolved_tables()["train"].items()
    assert torch.get_num_threads() == 1
    assert said == [f"resuming {Path('runs/dots')} at step 4 of 6"]  # bit-exact, so no more to say


def test_a_run_from_before_there_was_a_choice_of_products_goes_on_as_it_was(monkeypatch):
    monkeypatch.setattr(machine, "_products", lambda wanted, device: wanted)
    folder = run(AUTO, 'train.products="torch"').folder
    text = folder.resolved.read_text(encoding="utf-8")
    assert 'products = "torch"\n' in text
    folder.resolved.write_text(text.replace('products = "torch"\n', ""), encoding="utf-8")
    said = []
    second = run(AUTO, "train.steps=6", said=said)
    assert second.folder.resolved_tables()["train"]["products"] == "torch"
    assert said == [f"resuming {Path('runs/dots')} at step 4 of 6"]


@pytest.mark.parametrize(("told", "threads"), [("2", 1), ("0", 1), ("many", 1)])
def test_threads_of_the_recipe_go_before_those_of_the_environment(monkeypatch, told, threads):
    """Whatever a recipe's file is called: only the one that a run wrote out asks for nothing."""
    Path("zoo.toml").write_text(ONE_PAIR, encoding="utf-8")
    sets = (f"train.threads={threads}",)
    run(Path("zoo.toml"), *sets)
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    said = []
    again = run(Path("zoo.toml"), *sets, "train.steps=5", said=said)
    assert said == [f"resuming {Path('runs/dots')} at step 4 of 5"]
    assert again.folder.resolved_tables()["train"]["threads"] == threads


def test_a_number_of_threads_that_is_none_is_not_heeded(monkeypatch):
    torch.set_num_threads(1)
    run(AUTO)
    monkeypatch.setenv("OMP_NUM_THREADS", "0")
    said = []
    run(AUTO, "train.steps=5", said=said)
    assert said == [f"resuming {Path('runs/dots')} at step 4 of 5"]


def test_a_device_that_is_gone_is_told_and_the_run_goes_on(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    folder = run(AUTO).folder
    text = folder.resolved.read_text(encoding="utf-8").replace('"cpu"', '"cuda"')
    folder.resolved.write_text(text, encoding="utf-8")
    said = []
    assert run(AUTO, "train.steps=5", said=said).step == 5
    assert said[0] == (
        "device 'cuda' is not available on this machine; use `--device auto`; going on with cpu"
    )


def test_another_precision_asked_for_is_another_game():
    run()
    with pytest.raises(RunError, match=r"train\.precision: 'fp32' -> 'bf16'"):
        run(ONE_PAIR, "train.precision=bf16")


def test_another_torch_is_said_to_be_not_bit_exact():
    folder = run().folder
    state = folder.checkpoints / checkpoint.folder_name(4) / "state.json"
    content = json.loads(state.read_text(encoding="utf-8")) | {"torch": "2.0.1"}
    content["sha256"]["state"] = checkpoint._sha256_of_state(content)
    state.write_text(json.dumps(content), encoding="utf-8")
    said = []
    run(ONE_PAIR, "train.steps=5", said=said)
    changed = f"torch 2.0.1 -> {torch.__version__}"
    assert said[0] == (f"not bit-exact from here on, since sums are rounded otherwise: {changed}")
    saved = checkpoint.load(folder.checkpoints, 5)
    assert saved.state["inexact"] == [{"step": 4, "changed": [changed]}]


def test_another_processor_is_said_once_and_remembered(monkeypatch):
    said = []
    run(ONE_PAIR, said=said)
    here = machine.decide(TrainSettings(device="cpu")).facts()["cpu"]
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "SSE")
    there = machine.decide(TrainSettings(device="cpu")).facts()["cpu"]
    for steps in (5, 6):
        folder = run(ONE_PAIR, f"train.steps={steps}", said=said).folder
    assert len([line for line in said if "bit-exact" in line]) == 1
    assert f"otherwise: cpu {here} -> {there}" in said[0]
    (entry,) = checkpoint.load(folder.checkpoints, 6).state["inexact"]
    assert entry == {"step": 4, "changed": [f"cpu {here} -> {there}"]}


def test_another_number_of_threads_is_said():
    run(ONE_PAIR, "train.threads=1")
    said = []
    run(ONE_PAIR, "train.threads=2", "train.steps=5", said=said)
    assert said[0].endswith("otherwise: threads 1 -> 2")


def test_a_resume_in_the_same_place_says_nothing_of_exactness():
    run()
    said = []
    folder = run(ONE_PAIR, "train.steps=5", said=said).folder
    assert said == [f"resuming {Path('runs/dots')} at step 4 of 5"]
    assert checkpoint.load(folder.checkpoints, 5).state["inexact"] == []


def test_mistakes_in_a_recipe_leave_nothing_behind():
    with pytest.raises(RecipeError):
        run(ONE_PAIR, "train.batch=0")
    assert not Path("runs").exists()


def test_a_request_that_was_checked_is_not_read_again():
    path = recipe_file(Path.cwd(), ONE_PAIR)
    from ganforge.planning.compose import compose
    from ganforge.recipes.recipe import load

    there = registry()
    recipe = load(path)
    plan = evolve(compose(recipe, there), name="checked")
    path.unlink()
    outcome = launch(Request(recipe=path), print, (there, recipe, plan))
    assert outcome.folder.path == Path("runs/checked")
