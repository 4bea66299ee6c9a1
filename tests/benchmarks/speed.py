"""ganforge beside plain textbook loops: the same networks and work, interleaved in one run.

    python tests/benchmarks/speed.py [vanilla] [dcgan] [cyclegan] [--rounds 5]

Prints a table: milliseconds per step (medians over the rounds), the ratio textbook over ganforge
(round by round, its median), images per second, and each loop's peak memory. Each loop has a
process of its own, since part of what makes ganforge fast holds for a whole process (denormals,
the allocator); they take turns, so only one works at any time. Digits and pictures are made for
it, since their content does not change the time.
"""

from __future__ import annotations

import argparse
import gzip
import math
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np
import torch
from attrs import frozen
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))
import textbook

from ganforge.compose import compose
from ganforge.images import write_png
from ganforge.launch import build_training
from ganforge.machine import decide, has_native_bf16
from ganforge.recipe import load
from ganforge.registry import Registry
from ganforge.runfolder import RunFolder

QUIET = """
[hooks]
progress = { off = true }
metrics = { off = true }
checkpoint = { off = true }
samples = { off = true }
collapse-alarm = { off = true }
"""


@frozen
class Work:
    """One comparison. `steps` are timed together; batch counts images per step on D's side."""

    name: str
    recipe: str
    plain: Callable[[Path], object]
    steps: int
    images: int


def make_digits(folder: Path, count: int = 60_000) -> None:
    """Files in the shape of MNIST's, holding noise."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    for stem, rows in (("train", count), ("t10k", 64)):
        images = random.integers(0, 256, (rows, 28, 28), dtype=np.uint8).tobytes()
        labels = random.integers(0, 10, rows, dtype=np.uint8).tobytes()
        heads = {
            "images-idx3": (struct.pack(">IIII", 2051, rows, 28, 28), images),
            "labels-idx1": (struct.pack(">II", 2049, rows), labels),
        }
        for name, (head, body) in heads.items():
            (raw / f"{stem}-{name}-ubyte").write_bytes(head + body)
            with gzip.open(raw / f"{stem}-{name}-ubyte.gz", "wb", compresslevel=1) as file:
                file.write(head + body)


def make_pictures(folder: Path, size: int, count: int) -> Path:
    """PNG files of smooth coloured noise."""
    folder.mkdir(parents=True)
    random = torch.Generator().manual_seed(size)
    for index in range(count):
        coarse = torch.rand(1, 3, size // 8, size // 8, generator=random)
        image = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
        write_png(folder / f"{index:04d}.png", (image[0] * 255).byte().permute(1, 2, 0).numpy())
    return folder


def works(folder: Path) -> dict[str, Work]:
    digits, faces = folder / "digits", folder / "pictures"
    vanilla = f"""
recipe = 1
name = "vanilla"
[data]
use = "mnist"
root = '{digits}'
[train]
steps = 1000000
batch = 64
discriminator_steps = 10
[generator]
use = "mlp"
[discriminator]
use = "mlp"
[losses.adversarial]
use = "non-saturating"
"""
    dcgan = f"""
recipe = 1
name = "dcgan"
[data]
use = "image-folder"
root = '{faces / "64"}'
size = 64
flip = true
[train]
steps = 1000000
batch = 64
[generator]
use = "dcgan"
[discriminator]
use = "dcgan"
[losses.adversarial]
use = "non-saturating"
"""
    cyclegan = f"""
recipe = 1
name = "cyclegan"
[data]
use = "unpaired-folders"
root = '{faces}'
domains = {{ a = "a128", b = "b128" }}
size = 128
flip = true
[train]
steps = 1000000
batch = 1
[generators.ab]
use = "resnet-translator"
from = "a"
to = "b"
blocks = 6
[generators.ba]
like = "ab"
from = "b"
to = "a"
[discriminators.a]
use = "patchgan"
on = "a"
[discriminators.b]
like = "a"
on = "b"
[losses.adversarial]
use = "least-squares"
weight = {{ discriminator = 0.5, generator = 1.0 }}
[losses.cycle-consistency]
weight = 10.0
[losses.identity]
weight = 5.0
[augmentors.image-pool]
"""
    return {
        "vanilla": Work("vanilla MNIST, k = 10, batch 64", vanilla, textbook.Vanilla, 8, 640),
        "dcgan": Work("DCGAN 64 px, batch 64", dcgan, textbook.Dcgan, 4, 64),
        "cyclegan": Work("CycleGAN 6 blocks, 128 px, batch 1", cyclegan, textbook.Cycle, 4, 1),
    }


def plain_loop(work: Work, folder: Path) -> object:
    digits, faces = folder / "digits", folder / "pictures"
    if work.plain is textbook.Vanilla:
        return textbook.Vanilla(digits)
    if work.plain is textbook.Dcgan:
        return textbook.Dcgan(faces / "64")
    return textbook.Cycle(faces / "a128", faces / "b128")


def ganforge_step(work: Work, folder: Path, precision: str) -> Callable[[], None]:
    """A function that takes one step of the recipe."""
    path = folder / f"{precision}.toml"
    path.write_text(work.recipe + QUIET, encoding="utf-8")
    registry = Registry.load(only=())
    sets = [f'train.precision="{precision}"', 'train.device="cpu"']
    plan = compose(load(path, sets=sets), registry)
    training = build_training(plan, registry, decide(plan.train), RunFolder(folder / "run"))

    def step() -> None:
        training.take_step(training.step + 1)

    return step


def worker(key: str, way: str, folder: Path) -> None:
    """Prepare one loop, then for each line on standard input take so many steps; answers with
    milliseconds per step and peak memory in bytes."""
    work = works(folder)[key]
    step = plain_loop(work, folder).step if way == "textbook" else ganforge_step(work, folder, way)
    timed(step, 2)
    for line in sys.stdin:
        print(timed(step, int(line)), peak_memory(), flush=True)


class Loop:
    """A worker process."""

    def __init__(self, key: str, way: str, folder: Path) -> None:
        command = [sys.executable, __file__, "--worker", key, way, str(folder)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def time(self, steps: int) -> tuple[float, float]:
        """(milliseconds per step, peak bytes so far)"""
        assert self._process.stdin and self._process.stdout
        print(steps, file=self._process.stdin, flush=True)
        milliseconds, peak = self._process.stdout.readline().split()
        return float(milliseconds), float(peak)

    def close(self) -> None:
        self._process.communicate()


def timed(step: Callable[[], None], steps: int) -> float:
    """Milliseconds per step."""
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps * 1e3


def compare(key: str, folder: Path, rounds: int) -> dict[str, tuple[float, float, float]]:
    """precision or "textbook" -> (median milliseconds per step, median ratio, peak bytes)."""
    ways = ["textbook", "fp32"] + ["bf16"] * has_native_bf16(torch.device("cpu"))
    steps = works(folder)[key].steps
    times: dict[str, list[float]] = {way: [] for way in ways}
    peaks: dict[str, float] = {}
    with ExitStack() as stack:
        loops = {way: Loop(key, way, folder) for way in ways}
        for loop in loops.values():
            stack.callback(loop.close)
            loop.time(1)  # waits until it is ready, so that none prepares while another is timed
        for _ in range(rounds):
            for way, loop in loops.items():
                milliseconds, peaks[way] = loop.time(steps)
                times[way].append(milliseconds)
    ratios = {
        way: median(t / own for t, own in zip(times["textbook"], values, strict=True))
        for way, values in times.items()
    }
    return {way: (median(values), ratios[way], peaks[way]) for way, values in times.items()}


def peak_memory() -> float:
    """Bytes; not a number where the system does not say."""
    try:
        import resource
    except ImportError:  # not on Windows
        return math.nan
    scale = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale)


def prepared(folder: Path) -> Path:
    make_digits(folder / "digits")
    for name, size, count in (("64", 64, 512), ("a128", 128, 64), ("b128", 128, 64)):
        make_pictures(folder / "pictures" / name, size, count)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", nargs="*", help="vanilla, dcgan, cyclegan; left out: all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        key, way, folder = asked.worker
        worker(key, way, Path(folder))
        return
    table = Table(title=f"{torch.get_num_threads()} CPU threads, torch {torch.__version__}")
    for heading in ("work", "loop", "ms per step", "images/s", "textbook / this", "peak"):
        table.add_column(heading, justify="left" if heading in ("work", "loop") else "right")
    with tempfile.TemporaryDirectory() as name:
        folder = prepared(Path(name))
        for key, work in works(folder).items():
            if asked.which and key not in asked.which:
                continue
            for way, (milliseconds, ratio, peak) in compare(key, folder, asked.rounds).items():
                speed = f"{work.images / milliseconds * 1e3:.1f}"
                loop = way if way == "textbook" else f"ganforge {way}"
                row = (f"{milliseconds:.1f}", speed, f"{ratio:.2f}", f"{peak / 1e9:.2f} GB")
                table.add_row(work.name, loop, *row)
            table.add_section()
    Console().print(table)


if __name__ == "__main__":
    main()
