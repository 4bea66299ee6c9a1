"""What becomes of a run whose output nobody can take any more."""

import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from playing import ONE_PAIR, training_of
from small_recipes import PLAIN, write_recipe

from ganforge.storage.run_folder import RunFolder
from ganforge.training import terminal, trainer
from ganforge.training.terminal import lasting

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX descriptors and signals")

TEXT = PLAIN.replace("every = 2\ncount = 4", "off = true").replace(
    "[train]", "[hooks.progress]\nevery = 0.01\n[train]\nthreads = 1"
)


def test_what_cannot_be_written_any_more_goes_on_in_the_log(tmp_path):
    """A pipe whose reader has gone, as `head` goes."""
    log = tmp_path / "run" / "log.txt"
    code = (
        "import sys\nfrom pathlib import Path\nfrom ganforge.training.terminal import lasting\n"
        "with lasting(Path(sys.argv[1])):\n"
        "    print('first'); sys.stdin.readline()\n"
        "    for number in range(3): print('later', number)\n"
        "print('after')\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, log],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "first\n"
    process.stdout.close()
    process.stdin.write("on\n")
    process.stdin.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(600) == 0
    assert errors == f"\nthe output is lost and goes on in {log}\n"
    assert log.read_text() == "later 0\nlater 1\nlater 2\nafter\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no device that is always full")
def test_a_full_disk_under_the_output_ends_nothing(tmp_path):
    log = tmp_path / "log.txt"
    code = (
        "import sys\nfrom pathlib import Path\nfrom ganforge.training.terminal import lasting\n"
        "with lasting(Path(sys.argv[1])): print('one')\n"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", code, log], stdout=full, stderr=full)
        nowhere = subprocess.run(
            [sys.executable, "-c", code, "/dev/full/x"], stdout=full, stderr=full
        )
    assert (done.returncode, nowhere.returncode) == (0, 0)
    assert log.read_text() == "one\n"


def test_streams_that_are_no_files_stay_as_they_are(tmp_path, monkeypatch):
    import io

    mine = io.StringIO()
    monkeypatch.setattr(sys, "stdout", mine)
    with lasting(tmp_path / "log.txt"):
        assert sys.stdout is mine


def test_a_training_outlives_its_terminal(workdir):
    """As when a window is closed or ssh drops: SIGHUP comes, and writing fails."""
    recipe = write_recipe(workdir, TEXT)
    master, slave = os.openpty()
    code = (
        "import fcntl, sys, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "from ganforge.cli.main import main\nmain(sys.argv[1:])"
    )
    words = ["run", str(recipe), "--out", "run", "--set", "train.steps=60"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    said = b""
    while b"generator" not in said:  # the header
        said += os.read(master, 4096)
    os.close(master)
    assert process.wait(600) == 0
    folder = RunFolder(Path("run"))
    assert folder.checkpoint_steps()[-1] == 60
    log = folder.log.read_text()
    assert "run is finished" in log and "step 60/60" in log and "\x1b[2K" not in log


# --- signals --------------------------------------------------------------------------------------

STOPPING = [
    *("SIGINT", "SIGTERM", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGXCPU"),
    *(["SIGPWR"] if hasattr(signal, "SIGPWR") else []),
    "SIGHUP",
]


def interrupted(folder, monkeypatch, *names, terminal_there=False):
    """A training of 50 steps that is sent these signals after its third one."""
    monkeypatch.setattr("ganforge.training.trainer.has_terminal", lambda: terminal_there)
    training = training_of(folder, ONE_PAIR, sets=["train.steps=50"])
    take = training.take_step

    def take_and_interrupt(step):
        take(step)
        if step == 3:
            for name in names:
                os.kill(os.getpid(), getattr(signal, name))

    training.take_step = take_and_interrupt
    training.run()
    return training


@pytest.mark.parametrize("name", STOPPING)
def test_every_signal_that_asks_to_stop_saves_the_step(tmp_path, monkeypatch, name):
    training = interrupted(tmp_path, monkeypatch, name)
    assert training.folder.checkpoint_steps() == [3]
    assert training.stop_reason == f"interrupted by {name}"


def test_signals_that_come_together_stop_once_and_lose_nothing(tmp_path, monkeypatch):
    """As a terminal and a parent both tell, or a scheduler warns and then ends."""
    monkeypatch.setattr(trainer, "_BOUNCE", math.inf)  # however busy the machine is
    training = interrupted(tmp_path, monkeypatch, "SIGINT", "SIGINT", "SIGUSR1", "SIGTERM")
    assert training.folder.checkpoint_steps() == [3]


def test_a_second_ctrl_c_ends_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "_BOUNCE", -1.0)
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path, monkeypatch, "SIGINT", "SIGINT")


def test_a_lost_terminal_is_no_reason_to_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(terminal, "has_terminal", lambda: True)
    with lasting(tmp_path / "log.txt"):
        training = interrupted(tmp_path, monkeypatch, "SIGHUP", terminal_there=True)
    assert training.step == 50 and not training.interrupted


def test_nohup_is_heeded(tmp_path, monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert interrupted(tmp_path, monkeypatch, "SIGHUP").step == 50
    finally:
        signal.signal(signal.SIGHUP, before)


def test_outside_the_main_thread_signals_are_left_alone(tmp_path):
    before = signal.getsignal(signal.SIGHUP)
    seen = []

    def work():
        with lasting(tmp_path / "log.txt"):
            seen.append(signal.getsignal(signal.SIGHUP))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
