"""A run that is killed again and again ends as one that nobody touched. Takes minutes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from making_data import small_settings
from test_resume import RECIPES, game, lines

from ganforge.storage.run_folder import RunFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="Windows knows no SIGKILL"),
]

# recipe -> kills, and steps enough for them
MANY = {"vanilla-mnist-averaged": (100, 3000)}
FEW = (5, 240)


def command(name, out, sets):
    words = [sys.executable, "-m", "ganforge", "run", name, "--preview", "--out", str(out)]
    return words + [word for setting in sets for word in ("--set", setting)]


def begin(words):
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def kill_at_some_step(process, folder, dice):
    """Kill a training once it has written a few more lines. Returns whether it was killed, and not
    already through; it must not have failed by itself."""
    wanted = len(read(folder.metrics)) + dice.randrange(1, 40)
    pause = dice.random() / 100
    while process.poll() is None:
        if len(read(folder.metrics)) >= wanted:
            time.sleep(pause)
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    _, errors = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), errors
    return process.returncode != 0


def read(path):
    return path.read_bytes().splitlines() if path.exists() else []


@pytest.mark.parametrize("name", RECIPES)
def test_a_run_that_is_killed_at_random_ends_as_one_that_is_not(name, data, workdir):
    """Checkpoints are written every other step, so that kills hit them too."""
    wanted, steps = MANY.get(name, FEW)
    sets = [*small_settings(name, data), f"train.steps={steps}", "hooks.metrics.every=1"]
    sets += ["hooks.checkpoint.every=2", "hooks.samples.off=true", "train.threads=1"]
    subprocess.run(command(name, "whole", sets), check=True, stdout=subprocess.DEVNULL)
    dice, folder, kills = random.Random(name), RunFolder(Path("killed")), 0
    again = command(name, "killed", sets)
    while kills < wanted:
        assert kill_at_some_step(begin(again), folder, dice), "it came to its end before"
        kills += 1
    subprocess.run(again, check=True, stdout=subprocess.DEVNULL)
    whole = RunFolder(Path("whole"))
    assert lines(folder) == lines(whole)
    assert game(folder, steps) == game(whole, steps)
    print(f"{name}: {kills} kills")
