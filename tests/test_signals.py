"""Runs that are ended by every signal that a terminal, a scheduler or a container sends, and by
closing their output: no finished step is lost, and the resumed run is the uninterrupted one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_recipes import CYCLE, DIGITS, PLAIN, write_recipe
from test_resume import game, lines

from ganforge.storage.run_folder import RunFolder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows knows few signals")

FAMILIES = {
    "plain": PLAIN,
    "labelled": DIGITS.replace("[train]", "[train]\ndiscriminator_steps = 2\nhold = 0.0"),
    "cycle": CYCLE + "[augmentors.image-pool]\nsize = 3\n",
}
ENDINGS = ("INT", "TERM", "QUIT", "USR1", "USR2", "XCPU", "HUP", "KILL", "output")
SETS = ("train.threads=1", "hooks.metrics.every=1", "hooks.samples.off=true")


def command(recipe, out, steps):
    words = [sys.executable, "-m", "ganforge", "run", str(recipe), "--out", out]
    rare = "hooks.checkpoint={every=1000000,minutes=0}"
    sets = [*SETS, f"train.steps={steps}", rare]
    return words + [word for setting in sets for word in ("--set", setting)]


def begin(words):
    """Without a terminal, as in a container: there, SIGHUP asks to stop."""
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def written(folder):
    return len(folder.metrics.read_bytes().splitlines()) if folder.metrics.exists() else 0


def wait_for_lines(process, folder, more):
    wanted = written(folder) + more
    while process.poll() is None and written(folder) < wanted:
        time.sleep(0.002)


def end(process, folder, how, dice):
    """End a training some steps on. Returns the steps that were finished when it was told."""
    wait_for_lines(process, folder, dice.randrange(1, 12))
    if how == "output":
        process.stdout.close()
        wait_for_lines(process, folder, 3)
    time.sleep(dice.random() / 100)
    finished = written(folder)
    name = "TERM" if how == "output" else how
    process.send_signal(getattr(signal, f"SIG{name}"))
    errors = process.stderr.read()
    number = getattr(signal, f"SIG{name}")
    assert process.wait(120) == (-number if how == "KILL" else 128 + number), errors
    assert "Traceback" not in errors
    for stream in (process.stdout, process.stderr):
        stream.close()
    return finished


def without_waits(line):
    """What a clock gave, where rows are streamed."""
    return {key: value for key, value in line.items() if key != "wait/data"}


def ended_and_whole(folder, text, endings, steps):
    dice, recipe = random.Random(text), write_recipe(folder, text)
    subprocess.run(command(recipe, "whole", steps), check=True, stdout=subprocess.DEVNULL)
    again, run = command(recipe, "ended", steps), RunFolder(Path("ended"))
    for how in endings:
        finished = end(begin(again), run, how, dice)
        if how != "KILL":
            assert run.checkpoint_steps()[-1] >= finished > 0, how
    subprocess.run(again, check=True, stdout=subprocess.DEVNULL)
    whole = RunFolder(Path("whole"))
    assert [without_waits(line) for line in lines(run)] == [*map(without_waits, lines(whole))]
    (state, files), (expected, others) = game(run, steps), game(whole, steps)
    assert files == others
    for figures in (state["gauges"], expected["gauges"]):
        figures.pop("wait/data", None)
    assert state == expected


def test_a_run_that_is_told_to_stop_and_loses_its_output_ends_as_one_that_is_not(workdir):
    ended_and_whole(workdir, FAMILIES["plain"], ("USR1", "output"), 150)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_runs_ended_in_every_way_end_as_one_that_is_not(name, workdir):
    """Each way once, in random order; 9 a family."""
    endings = random.Random(name).sample(ENDINGS, len(ENDINGS))
    ended_and_whole(workdir, FAMILIES[name], endings, 250 if name == "cycle" else 700)
