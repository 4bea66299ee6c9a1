"""`ganforge run`: train, resume, continue, refuse, and what is said about it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ganforge_painted_horses.dataset import PaintedHorses
from safetensors.numpy import load_file
from small_recipes import CYCLE, PLAIN, write_recipe

from ganforge.interfaces.errors import DataError
from ganforge.storage.run_folder import RunFolder
from ganforge.training.trainer import Training


@pytest.fixture
def plain(workdir: Path) -> Path:
    return write_recipe(workdir, PLAIN)


def state_of(folder: Path) -> tuple[int, dict[str, bytes]]:
    """(the newest checkpoint's step, its tensors as bytes)."""
    run = RunFolder(folder)
    step = run.checkpoint_steps()[-1]
    files = sorted((run.checkpoints / f"step-{step:08d}").glob("*.safetensors"))
    tensors = {name: t.tobytes() for file in files for name, t in load_file(file).items()}
    return step, tensors


def said_commands(out: str) -> list[list[str]]:
    """The command lines under `next`, split into words."""
    lines = out.partition("\nnext\n")[2].splitlines()
    return [shlex.split(line[line.index("ganforge ") :])[1:] for line in lines]


def test_a_run_trains_and_ends_with_what_to_look_at_and_do(ganforge_cli, plain: Path) -> None:
    answer = ganforge_cli("run", plain.name)
    assert (answer.status, answer.err) == (0, "")
    assert "\ndigits on cpu, fp32, 1 thread\n" in answer.out
    run = Path("runs", "digits")
    assert f"\n{run} is finished\n" in answer.out
    assert f"newest sheet  {run / 'samples' / 'step-000004.png'}\n" in answer.out
    for file in ("recipe.toml", "resolved.toml", "metrics.jsonl", "samples/real.png"):
        assert (run / file).is_file(), file
    assert (run / "recipe.toml").read_text() == PLAIN
    assert said_commands(answer.out) == [
        ["sample", "digits", "--count", "64"],
        ["run", "recipe.toml", "--set", "train.steps=8"],
        ["runs"],
    ]


@pytest.mark.parametrize("text", [PLAIN, CYCLE])
def test_the_commands_that_it_ends_with_work(ganforge_cli, workdir: Path, text: str) -> None:
    write_recipe(workdir, text)
    words = ["run", "recipe.toml"] + (["--preview"] if text is PLAIN else [])
    commands = said_commands(ganforge_cli(*words).out)
    assert len(commands) == 3
    assert commands[0][0] == ("sample" if text is PLAIN else "translate")
    for command in commands:
        given = [str(Path("pictures", "cats")) if w == "PICTURES" else w for w in command]
        answer = ganforge_cli(*given)
        assert (answer.status, answer.err) == (0, ""), command


def test_a_finished_run_says_so_and_how_to_go_on(ganforge_cli, plain: Path) -> None:
    ganforge_cli("run", plain)
    before = state_of(Path("runs/digits"))
    answer = ganforge_cli("run", plain)
    assert answer.status == 0
    assert answer.out.lstrip().startswith(f"{Path('runs', 'digits')} is already finished: 4 of 4")
    assert ["run", str(plain), "--set", "train.steps=8"] in said_commands(answer.out)
    assert state_of(Path("runs/digits")) == before


def test_its_newest_metrics_are_told_again(ganforge_cli, plain: Path) -> None:
    ganforge_cli("run", plain)
    with RunFolder(Path("runs/digits")).metrics.open("a", encoding="utf-8") as file:
        for value in (0.5, 0.25):
            file.write(json.dumps({"step": 4, "metric/likeness/mean": value}) + "\n")
    answer = ganforge_cli("run", plain)
    assert "likeness/mean  0.25\n" in answer.out


def test_more_steps_go_on_to_what_a_longer_run_would_be(ganforge_cli, plain: Path) -> None:
    assert ganforge_cli("run", plain, "--set", "train.steps=2").status == 0
    answer = ganforge_cli("run", plain, "--set", "train.steps=4")
    assert f"resuming {Path('runs', 'digits')} at step 2 of 4\n" in answer.out
    ganforge_cli("run", plain, "--out", "whole")
    assert state_of(Path("runs/digits")) == state_of(Path("whole"))


def test_a_run_by_epochs_goes_on_with_the_steps_it_offers(ganforge_cli, plain: Path) -> None:
    plain.write_text(PLAIN.replace("steps = 4", "epochs = 1", 1))
    answer = ganforge_cli("run", plain, "--set", "train.epochs=2")
    longer = said_commands(answer.out)[1]
    assert longer == ["run", str(plain), "--set", "train.steps=8"]
    assert "step 8/8" in ganforge_cli(*longer).out


def test_another_game_in_the_folder_is_refused_with_the_difference(
    ganforge_cli, plain: Path
) -> None:
    ganforge_cli("run", plain)
    answer = ganforge_cli("run", plain, "--set", "noise.dim=5", "--set", "hooks.samples.every=1")
    assert answer.status == 2
    assert "holds another game:\n  noise.dim: 3 -> 5\n" in answer.err
    for way in ("--new", "--replace", "--out DIR"):
        assert way in answer.err
    assert "samples" not in answer.err


def test_new_takes_a_folder_beside_it_and_goes_on_there(ganforge_cli, plain: Path) -> None:
    ganforge_cli("run", plain)
    answer = ganforge_cli("run", plain, "--new", "--set", "noise.dim=5")
    folder = Path("runs", "digits-2")
    assert f"\n{folder} is finished\n" in answer.out
    longer = said_commands(answer.out)[1]
    assert longer[:4] == ["run", str(plain), "--out", str(folder)]
    assert f"resuming {folder} at step 4 of 8" in ganforge_cli(*longer).out


def test_replace_moves_the_old_folder_aside(ganforge_cli, plain: Path) -> None:
    ganforge_cli("run", plain)
    before = state_of(Path("runs/digits"))
    assert ganforge_cli("run", plain, "--replace", "--set", "noise.dim=5").status == 0
    (aside,) = Path("runs").glob("digits.*")
    assert state_of(aside) == before
    assert state_of(Path("runs/digits"))[1] != before[1]


def test_new_and_replace_exclude_each_other(ganforge_cli, plain: Path) -> None:
    answer = ganforge_cli("run", plain, "--new", "--replace")
    assert answer.status == 2
    assert "cannot be combined" in answer.err
    assert not Path("runs").exists()


def test_device_and_precision_are_settings_like_any_other(ganforge_cli, plain: Path) -> None:
    answer = ganforge_cli("run", plain, "--device", "cpu", "--precision", "bf16")
    assert "\ndigits on cpu, bf16," in answer.out
    train = tomllib.loads(Path("runs/digits/resolved.toml").read_text())["train"]
    assert (train["device"], train["precision"]) == ("cpu", "bf16")
    answer = ganforge_cli("run", plain, "--new", "--device", "abacus")
    assert answer.status == 2
    assert "there is no device 'abacus'" in answer.err
    assert not Path("runs/digits-2").exists()


def test_mistakes_are_shown_before_torch_is_imported(ganforge_cli, plain: Path) -> None:
    plain.write_text(PLAIN.replace("batch = 4", "batch_size = 4"))
    answer = ganforge_cli("run", plain)
    assert answer.status == 2
    assert "batch_size" in answer.err
    assert "did you mean 'batch'" in answer.err
    assert not Path("runs").exists()
    assert "torch" not in ganforge_cli.imported_by("run", plain)


def test_a_folder_that_holds_something_else_is_left_alone(ganforge_cli, plain: Path) -> None:
    answer = ganforge_cli("run", plain, "--out", "pictures")
    assert answer.status == 2
    assert "pictures holds something else" in answer.err


def test_a_preview_has_a_folder_of_its_own_and_leads_to_the_whole(
    ganforge_cli, plain: Path
) -> None:
    answer = ganforge_cli("run", plain, "--preview")
    assert "\ndigits (preview) on cpu" in answer.out
    assert RunFolder(Path("runs/digits-preview")).checkpoint_steps() == [2]
    assert said_commands(answer.out)[2] == ["run", str(plain)]


def test_stand_in_data_is_told_at_the_start_at_the_end_and_when_resuming(
    ganforge_cli, workdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise DataError("cannot reach the archive of horse2zebra")

    monkeypatch.setattr("ganforge.training.launch.prepare", offline)
    painted = torch.zeros(3, 16, 16, dtype=torch.uint8)
    monkeypatch.setattr(PaintedHorses, "item", lambda *_: painted)  # painting takes a while
    text = CYCLE.replace(
        'use = "unpaired-folders"', 'use = "unpaired-folders"\nfetch = "horse2zebra"'
    )
    text = text.replace("size = 8", 'size = 16\nfallback = "painted-horses"')
    text = text.replace('cat = "cats", dog = "dogs"', 'horse = "trainA", zebra = "trainB"')
    for animal, other in (("cat", "horse"), ("dog", "zebra")):
        text = text.replace(f'"{animal}"', f'"{other}"').replace(f".{animal}]", f".{other}]")
    write_recipe(workdir, text)
    reason = "painted-horses stands in for unpaired-folders: cannot reach the archive"
    first = ganforge_cli("run", "recipe.toml")
    assert first.status == 0, first.err
    start, _, end = first.out.partition(" is finished\n")
    assert reason in start.partition("generator")[0]
    assert reason in end
    again = ganforge_cli("run", "recipe.toml", "--set", "train.steps=3")
    start, _, end = again.out.partition(" is finished\n")
    assert reason in start.partition("generator")[0]
    assert reason in end


# --- interruptions --------------------------------------------------------------------------------

POSIX = pytest.mark.skipif(os.name == "nt", reason="signals are sent as POSIX systems do")


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ganforge", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for_a_step(folder: Path) -> None:
    for _ in range(6_000):
        if (folder / "metrics.jsonl").exists():
            return
        time.sleep(0.05)
    raise AssertionError("the run does not start")


@POSIX
def test_ctrl_c_saves_and_says_how_to_go_on(ganforge_cli, plain: Path) -> None:
    words = ["run", "recipe.toml", "--set", "train.steps=100000"]
    process = start(*words)
    wait_for_a_step(Path("runs/digits"))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "stopping after this step, with a checkpoint" in err
    step, tensors = state_of(Path("runs/digits"))
    assert f"interrupted by SIGINT after step {step:,} of 100,000; saved\n" in out
    line = out.splitlines()[-1]
    assert shlex.split(line.removeprefix("resume with: ")) == ["ganforge", *words]
    whole = ganforge_cli("run", plain, "--set", f"train.steps={step}", "--out", "whole")
    assert whole.status == 0
    assert state_of(Path("whole")) == (step, tensors)


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, act: Callable[[], object]) -> None:
    """Do something in a step of the next training."""
    take = Training.take_step

    def take_and_act(training: Training, now: int) -> None:
        take(training, now)
        if now == step:
            act()

    monkeypatch.setattr(Training, "take_step", take_and_act)


@POSIX
def test_sigterm_saves_too_and_the_line_that_is_said_goes_on(
    ganforge_cli, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("runs", "digits").mkdir(parents=True)
    with monkeypatch.context() as patch:
        at_step(patch, 3, lambda: os.kill(os.getpid(), signal.SIGTERM))
        answer = ganforge_cli("run", plain, "--new", "--set", "train.seed=7")
    assert answer.status == 143
    folder = Path("runs", "digits-2")
    assert state_of(folder)[0] == 3
    words = shlex.split(answer.out.splitlines()[-1].removeprefix("resume with: "))
    assert words == f"ganforge run {plain} --out {folder} --set train.seed=7".split()
    assert f"resuming {folder} at step 3 of 4" in ganforge_cli(*words[1:]).out


def test_a_second_ctrl_c_leaves_at_once(
    ganforge_cli, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ganforge_cli("run", plain, "--set", "train.steps=2")

    def press() -> None:
        raise KeyboardInterrupt

    at_step(monkeypatch, 3, press)
    answer = ganforge_cli("run", plain)
    assert answer.status == 130
    assert "stopped at once; the checkpoint of step 2 is there\n" in answer.err
    assert f"resume with: ganforge run {plain}\n" in answer.err
    assert state_of(Path("runs/digits"))[0] == 2
