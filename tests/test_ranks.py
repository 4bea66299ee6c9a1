"""Several processes play the game of one: the same draws, gradients, states and files."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from making_data import REGISTRY, make_data
from playing import plan_of, registry, training_of
from playing_together import (
    AS_THE_GRADIENT,
    FROZEN,
    FROZEN_PARTS,
    GAMES,
    PLAIN,
    small_request,
)
from small_recipes import PLAIN as PICTURES
from small_recipes import draw_pictures, write_recipe

from ganforge.hardware.processes import Ranks, refuse_uneven, shares
from ganforge.interfaces.errors import DataError, Elsewhere, GanforgeError
from ganforge.runs.data_identity import Identity, Listing, refuse_unlike
from ganforge.storage import checkpoint
from ganforge.storage.run_folder import RunFolder
from ganforge.training.failed_turn import build, read, replay
from ganforge.training.launch import launch

TESTS = Path(__file__).parent
STEPS = 4  # of each game


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def together(script, *arguments, count=2, limit=300):
    """Run a script of the tests in several processes that know of each other."""
    where = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "OMP_NUM_THREADS": "1"}
    processes = []
    for rank in range(count):
        who = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(count)}
        command = [sys.executable, str(TESTS / script), *map(str, arguments)]
        processes.append(
            subprocess.Popen(
                command,
                env={**os.environ, **where, **who},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    said = [process.communicate(timeout=limit)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(said)


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """The folder in which two processes have played everything that playing_together.py holds."""
    folder = tmp_path_factory.mktemp("together")
    together("playing_together.py", folder)
    return folder


def notes(folder):
    """What each of the two processes noted of a game."""
    return [json.loads((folder / f"{rank}.json").read_text("utf-8")) for rank in (0, 1)]


def near(one, other, name, within=1e-5):
    """Whether two tensors differ only as sums do that are made in another order."""
    size = max(1e-3, float(one.float().abs().max()))
    worst = float((one.float() - other.float()).abs().max())
    assert worst <= within * size, f"{name}: {worst:.1e} of {size:.1e}"


@pytest.mark.parametrize("name", GAMES)
def test_two_processes_play_the_game_of_one(name, played, tmp_path):
    alone = training_of(tmp_path, GAMES[name] + AS_THE_GRADIENT)
    alone.run()
    one = checkpoint.load(alone.folder.checkpoints, STEPS)
    two = checkpoint.load(played / name / "run" / "checkpoints", STEPS)
    assert one.networks.keys() == two.networks.keys()
    for key, value in one.networks.items():
        near(value, two.networks[key], key)
    first, second = notes(played / name)
    assert first["error"] == second["error"] == ""
    figures = alone.gauges()
    for key, value in first["gauges"].items():
        if not key.startswith("pixel_std/"):  # which is within the rows of each
            assert figures[key] == pytest.approx(value, rel=1e-4, abs=1e-6), key


def test_two_processes_leave_frozen_parts_alone_and_train_losses_of_gs_side(played, tmp_path):
    alone = training_of(tmp_path, FROZEN, *FROZEN_PARTS)
    before = {k: v.clone() for k, v in alone.game.state()["networks"].items()}
    alone.run()
    one = alone.game.state()["networks"]
    two = checkpoint.load(played / "frozen" / "run" / "checkpoints", STEPS).networks
    learns = "losses.noise-back/reads.weight"
    for key, value in one.items():
        near(value, two[key], key)
        if key.startswith("discriminators.main/seen."):
            assert torch.equal(two[key], before[key]), key
    assert not torch.equal(two[learns], before[learns])


@pytest.mark.parametrize("name", [*GAMES, "frozen", "whole"])
def test_all_processes_hold_the_same_to_the_bit(name, played):
    first, second = notes(played / name)
    assert first["digest"] == second["digest"]


def test_a_hook_of_the_first_process_lowers_the_rates_of_all(played):
    assert all(note["lr_factor"] < 1 for note in notes(played / "crowd"))


def test_what_is_sent_is_each_gradient_once_and_few_numbers(played, tmp_path):
    alone = training_of(tmp_path, GAMES["pair"] + AS_THE_GRADIENT)
    weights = sum(
        p.nbytes for trained_module in alone.game.trained_modules for p in trained_module.parameters
    )
    (first, second) = notes(played / "pair")
    assert first["sent"] == second["sent"]
    assert STEPS * weights < first["sent"] < STEPS * (weights + 100)


def test_what_is_not_finite_in_one_process_stops_all_before_the_update(played):
    first, second = notes(played / "poison")
    assert first["error"].startswith("TrainingError: step 3: not finite: loss 'poison'")
    assert second["error"].startswith("Elsewhere: ")
    assert first["digest"] == second["digest"]
    assert [first["step"], second["step"]] == [2, 2]


def test_what_stopped_several_processes_is_played_again_by_one(played, monkeypatch):
    import playing_together

    monkeypatch.setitem(sys.modules, "playing_together", playing_together)
    failure = read(played / "poison" / "run" / "failed" / "step-00000003")
    plan = plan_of(played / "poison", PLAIN + "[losses.poison]\n", playing_together.POISON)
    game = build(failure, plan, registry(playing_together.POISON), None)
    assert game.machine.processes == 2
    findings = replay(failure, game)
    assert set(findings.terms) == {
        *("loss 'adversarial' on discriminator 'main'", "loss 'poison' on discriminator 'main'")
    }


def test_a_signal_to_one_process_ends_all_after_the_same_step_with_one_checkpoint(played):
    first, second = notes(played / "interrupt")
    assert [first["step"], second["step"]] == [2, 2]
    assert first["stopped"] == second["stopped"] == "interrupted by SIGTERM"
    assert RunFolder(played / "interrupt" / "run").checkpoint_steps() == [2]


def test_a_resumed_run_of_two_processes_is_the_uninterrupted_one(played):
    """With BatchNorm over each process's own rows, and dropout."""
    assert notes(played / "resumed")[0]["digest"] == notes(played / "whole")[0]["digest"]


def test_one_process_goes_on_with_what_two_have_played_and_their_pool(played, tmp_path):
    (tmp_path / "on").mkdir()
    (tmp_path / "alone").mkdir()
    text, sets = GAMES["cycle"] + AS_THE_GRADIENT, [f"train.steps={STEPS + 2}"]
    on, alone = (training_of(tmp_path / name, text, sets=sets) for name in ("on", "alone"))
    on.resume(checkpoint.load(played / "cycle" / "run" / "checkpoints", STEPS))
    on.run()
    alone.run()
    one, other = alone.game.state()["networks"], on.game.state()["networks"]
    assert any("image-pool" in key for key in one)
    for key, value in one.items():
        near(value, other[key], key, within=1e-4)


# --- alone ----------------------------------------------------------------------------------------


def test_a_batch_that_does_not_divide_is_refused_in_one_line(tmp_path):
    with pytest.raises(GanforgeError) as caught:
        refuse_uneven(plan_of(tmp_path, PLAIN), Ranks(0, 4, 0))
    assert str(caught.value) == (
        "train.batch = 6 does not divide among 4 processes: `--set train.batch=8` does "
        "(multiples of 4: 4 or 8)"
    )
    refuse_uneven(plan_of(tmp_path, PLAIN, sets=["train.accumulate=3"]), Ranks(0, 2, 0))
    with pytest.raises(GanforgeError, match="among 2 processes in 2 parts each"):
        refuse_uneven(plan_of(tmp_path, PLAIN, sets=["train.accumulate=2"]), Ranks(0, 2, 0))


def test_shares_are_equal_and_in_order():
    assert shares(slice(4, 10), 3) == [slice(4, 6), slice(6, 8), slice(8, 10)]


def test_one_process_makes_no_ranks(tmp_path):
    training = training_of(tmp_path, PLAIN, sets=["train.sync_batch_norm=true"])
    assert training.ranks is None and training.game.ranks is None
    assert not torch.distributed.is_initialized()


# --- every shipped recipe -------------------------------------------------------------------------

RECIPES = sorted(REGISTRY.recipes())
BY_FOUR = ("cyclegan-folders", "semi-supervised-mnist", "stackgan-shapes")
DRAWN = "sequence-times"  # whose words the generator draws, others in each process


@pytest.fixture(scope="module")
def recipes_played(tmp_path_factory):
    """The folders in which two and four processes have played the recipes, and the data."""
    data, two, four = (tmp_path_factory.mktemp(name) for name in ("data", "two", "four"))
    make_data(data)
    together("playing_together.py", two, data, *RECIPES, limit=3000)
    together("playing_together.py", four, data, *BY_FOUR, count=4, limit=3000)
    return {2: two, 4: four, "data": data}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count"), [*((name, 2) for name in RECIPES), *((name, 4) for name in BY_FOUR)]
)
def test_shipped_recipes_are_played_by_several_processes_as_by_one(
    name, count, recipes_played, workdir
):
    """Their losses are near; weights need not be, as Adam makes much of gradients near 0."""
    folder = RunFolder(recipes_played[count] / name)
    lines = list(folder.metric_lines())
    assert all((folder.path.parent / f"{name}.{rank}.done").exists() for rank in range(count))
    alone = launch(small_request(name, recipes_played["data"], Path("alone")), print).folder
    if name.startswith(DRAWN):
        assert [line["step"] for line in lines] == [line["step"] for line in alone.metric_lines()]
        return
    for line, expected in zip(lines, alone.metric_lines(), strict=True):
        for key in (k for k in expected if k.startswith("loss/")):
            assert line[key] == pytest.approx(expected[key], rel=1e-3, abs=1e-4), (line, key)


# --- torchrun -------------------------------------------------------------------------------------


def torchrun(*words, count=2, port="", options=()):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count)]
    command += ["--master-port", port or free_port(), *options, "-m", "ganforge"]
    return subprocess.Popen(
        [*command, *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


SMALL = """
recipe = 1
name = "small"
[data]
use = "captioned-shapes"
count = 12
held_out = 4
size = 48
[train]
steps = 6
batch = 4
precision = "fp32"
device = "cpu"
[generator]
use = "mlp"
hidden = [8]
[discriminator]
use = "mlp"
hidden = [8]
[losses.adversarial]
use = "non-saturating"
[hooks.metrics]
every = 1
[hooks.checkpoint]
every = 1
"""


def small(folder, **changes):
    text = SMALL
    for key, value in changes.items():
        text = text.replace(f"{key} = 6" if key == "steps" else f"{key} = 4", f"{key} = {value}")
    path = folder / "small.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_torchrun_plays_and_writes_once_and_one_process_goes_on(workdir, ganforge_cli):
    recipe = small(workdir)
    process = torchrun("run", recipe, "--out", "run", "--set", "train.steps=2")
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert out.count("run is finished") == 1
    folder = RunFolder(Path("run"))
    assert [line["step"] for line in folder.metric_lines()] == [1, 2]
    state = checkpoint.load(folder.checkpoints, 2).state
    assert state["machine"]["processes"] == 2
    again = ganforge_cli("run", recipe, "--out", "run", "--set", "train.steps=3")
    assert again.status == 0, again.err
    told = "not bit-exact from here on, since sums are rounded otherwise: processes 2 -> 1"
    assert again.out.count(told) == 1
    changed = checkpoint.load(folder.checkpoints, 3).state["inexact"]
    assert changed == [{"step": 2, "changed": ["processes 2 -> 1"]}]


@pytest.mark.slow
def test_mistakes_are_told_once(workdir):
    for words, told in (
        (["--set", "train.batch=5"], "train.batch = 5 does not divide among 2 processes"),
        (["--set", "losses.adversarial.use=no-such"], "there is no loss 'no-such'"),
    ):
        process = torchrun("run", small(workdir), "--out", "run", *words)
        _, errors = process.communicate(timeout=300)
        assert process.returncode != 0
        assert errors.count(told) == 1, errors
        assert "Traceback" not in errors.partition(told)[0]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows knows no SIGKILL")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_is_started_again_and_the_run_goes_on(victim, workdir):
    """And ends as one that nobody touched."""
    recipe = small(workdir, steps=150)
    whole = torchrun("run", recipe, "--out", "whole")
    assert whole.communicate(timeout=600) and whole.returncode == 0
    process = torchrun("run", recipe, "--out", "run", options=["--max-restarts", "1"])
    folder = RunFolder(Path("run"))
    wait_for(lambda: max(folder.checkpoint_steps(), default=0) >= 20, process)
    os.kill(child_of(process.pid, victim), signal.SIGKILL)
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "resuming run at step" in out
    one, two = (checkpoint.load(Path(n) / "checkpoints", 150) for n in ("whole", "run"))
    assert all(torch.equal(v, two.networks[k]) for k, v in one.networks.items())
    assert all(torch.equal(v, two.optimizers[k]) for k, v in one.optimizers.items())
    steps = [line["step"] for line in folder.metric_lines()]
    assert steps == list(range(1, 151))


@pytest.mark.slow
def test_two_machines_play_and_one_of_them_speaks(workdir):
    """As far as one machine can stand for two: with a torchrun for each."""
    recipe, port = small(workdir), free_port()
    machines = [
        torchrun(
            *("run", recipe, "--out", "run"),
            count=1,
            port=port,
            options=["--nnodes", "2", "--node-rank", str(number), "--master-addr", "127.0.0.1"],
        )
        for number in (0, 1)
    ]
    said = [machine.communicate(timeout=300) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    assert ["run is finished" in out for out, _ in said] == [True, False]
    assert RunFolder(Path("run")).checkpoint_steps()[-1] == 6


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows knows no SIGTERM")
def test_ending_torchrun_ends_all_with_a_checkpoint(workdir):
    recipe = small(workdir, steps=100_000)
    process = torchrun("run", recipe, "--out", "run", "--set", "hooks.checkpoint.every=100000")
    folder = RunFolder(Path("run"))
    wait_for(lambda: len(list(folder.metric_lines())) >= 20, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    (step,) = folder.checkpoint_steps()
    assert 20 <= step < 100_000
    lines = [line["step"] for line in folder.metric_lines()]
    assert lines == list(range(1, step + 1))


def wait_for(condition, process, limit=300):
    until = time.monotonic() + limit
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def child_of(pid, number):
    """The process that torchrun started for a rank."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if f"RANK={number}".encode() in variables:
            return int(child)
    raise AssertionError(f"torchrun started nobody of rank {number}")


# --- data -----------------------------------------------------------------------------------------


class Told:
    """Stands for the other processes of a run: what they say is known beforehand."""

    rank, count = 1, 2

    def __init__(self, said, heard=None):
        self.leads = heard is None
        self._said, self._heard, self.told = list(said), heard, []

    def collect(self, text):
        self.told.append(text)
        other = self._said.pop(0)
        return [text, other] if self.leads else [other, text]

    def broadcast(self, words):
        self.told.append(words)

    def receive(self):
        return self._heard


def identity(*names, content="a"):
    hashes = tuple(f"{content}{name}" for name in names)
    listing = Listing(len(names), names, tuple((1, 2, 3) for _ in names), hashes)
    return Identity({("train", "image"): listing})


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (identity("a.png"), "2 -> 1 rows, 1 file gone: b.png"),
        (identity("a.png", "b.png", content="z"), "2 files replaced: a.png, b.png"),
        (identity("a.png", "c.png"), "1 file gone: b.png, 1 file new: c.png"),
    ],
)
def test_a_process_with_other_data_says_what_differs_and_the_first_one_ends_the_run(other, what):
    own = identity("a.png", "b.png")
    first, second = (json.dumps(it.digests(), sort_keys=True) for it in (own, other))
    follower = Told([first, ""], {"host": "one", **json.loads(json.dumps(own.as_json()))})
    with pytest.raises(Elsewhere):
        refuse_unlike(follower, other)
    said = follower.told[-1]
    assert said.startswith("process 1 (on ") and f"(on one): train/image: {what}" in said
    with pytest.raises(DataError) as caught:
        refuse_unlike(Told([second, said]), own)
    assert str(caught.value) == f"{said}: all processes of a run need the same data"


def test_processes_with_the_same_data_play():
    own = identity("a.png", "b.png")
    refuse_unlike(Told([json.dumps(own.digests(), sort_keys=True)]), own)
    refuse_unlike(None, own)


UNLIKE = """
import os, sys
from ganforge.cli.main import main
os.chdir(f"rank{os.environ['RANK']}")
main(["run", "recipe.toml", "--out", "../run"])
"""


@pytest.mark.slow
def test_processes_with_different_pictures_of_the_same_names_are_ended_in_one_line(workdir):
    for rank in (0, 1):
        folder = workdir / f"rank{rank}"
        folder.mkdir()
        write_recipe(folder, PICTURES)
    draw_pictures(workdir / "rank1/pictures/cats", size=(9, 9))
    (workdir / "unlike.py").write_text(UNLIKE)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, "--master-port", free_port(), "unlike.py"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0
    told = "train/image: 4 files replaced: cats/0.png, cats/1.png, cats/2.png and 1 more"
    assert done.stderr.count(told) == 1, done.stderr
    assert not Path("run/resolved.toml").exists()
