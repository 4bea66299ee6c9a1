"""A long run of small steps: memory and open files stay as they are. Takes minutes."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from making_data import make_mnist

from ganforge.storage.run_folder import RunFolder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc"),
]

STEPS = 100_000
EVERY = 2_000  # steps between two looks
WARM = 20_000  # steps until everything that a run keeps is there
SLOPE = 1_000_000  # bytes that memory may grow in 10,000 steps

RECIPE = """
recipe = 1
name = "soak"
[data]
use = "mnist"
root = "{root}"
size = 8
[train]
steps = {steps}
batch = 4
precision = "fp32"
device = "cpu"
threads = 1
[noise]
dim = 4
[generator]
use = "mlp"
hidden = [8]
ema = 0.99
[discriminator]
use = "mlp"
hidden = [8]
[losses.adversarial]
use = "non-saturating"
[augmentors.image-pool]
size = 4
[hooks.samples]
every = 5000
count = 4
[hooks.checkpoint]
every = 1000
[hooks.metrics]
every = 10
"""

WATCH = """
import json
import os

from ganforge import Hook


class Watch(Hook):
    \"\"\"Writes resident bytes and open files.\"\"\"

    def step_ended(self, training, step):
        if step % {every}:
            return
        with open("/proc/self/statm", encoding="ascii") as file:
            resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        seen = {{"step": step, "resident": resident, "files": len(os.listdir("/proc/self/fd"))}}
        with open("watch.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(seen) + "\\n")
"""


def test_a_long_run_needs_no_more_memory_and_files_than_a_short_one(tmp_path, record_property):
    make_mnist(tmp_path / "mnist")
    recipe = RECIPE.format(root=(tmp_path / "mnist").as_posix(), steps=STEPS)
    (tmp_path / "soak.toml").write_text(recipe, encoding="utf-8")
    watch = textwrap.dedent(WATCH.format(every=EVERY))
    (tmp_path / "watch.py").write_text(watch, encoding="utf-8")
    words = [sys.executable, "-m", "ganforge", "run", "soak.toml", "--plugin-file", "watch.py"]
    words += ["--set", "hooks.watch.use=watch", "--out", "run"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL)
    folder = RunFolder(tmp_path / "run")
    read = 0
    while process.poll() is None:  # metrics can be read while they are written
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            lines = sum(1 for _ in folder.metric_lines())
            assert lines >= read
            read = lines
    assert process.returncode == 0
    steps = [line["step"] for line in folder.metric_lines()]
    assert steps == sorted(set(steps)) and steps[-1] == STEPS
    seen = [json.loads(line) for line in (tmp_path / "watch.jsonl").read_text().splitlines()]
    late = [one for one in seen if one["step"] >= WARM]
    grown = slope([one["step"] for one in late], [one["resident"] for one in late]) * 10_000
    record_property("bytes per 10,000 steps", grown)
    print(f"{grown / 1e3:.0f} kB per 10,000 steps, {late[-1]['resident'] / 1e6:.0f} MB at the end")
    assert grown < SLOPE
    assert late[-1]["files"] <= late[0]["files"]


def slope(x, y):
    """Of the least-squares line."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - mean_x) ** 2 for a in x)
