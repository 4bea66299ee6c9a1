"""ganforge beside plain textbook loops: the same networks and work, interleaved in one run.

    python tests/benchmarks/speed.py [vanilla] [dcgan] [cyclegan] [combined] [--rounds 5]

Prints a table: milliseconds per step (medians over the rounds), the ratio textbook over ganforge
(round by round, its median), images per second, forwards of networks per step, what the step's
matrix products and convolutions come to as a share of what this machine multiplies in that time in
the loop's precision, and each loop's peak memory. Each loop has a process of its own, since part of
what makes ganforge fast holds for a whole process (denormals, the allocator); they take turns, so
only one works at any time. Digits and pictures are made for it, since their content does not change
the time.
"""

from __future__ import annotations

import argparse
import gzip
import math
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from attrs import frozen
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

sys.path.insert(0, str(Path(__file__).parent))
import textbook

from ganforge.hardware.machine import decide, has_native_bf16
from ganforge.images import write_png
from ganforge.planning.compose import compose
from ganforge.recipes.recipe import load
from ganforge.registry.registry import Registry
from ganforge.storage.run_folder import RunFolder
from ganforge.training.launch import build_training

WARM_UP = 8  # steps before a loop is timed, in which kernels are chosen and memory is reserved

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
    plain: Any
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
    combined = f"""
recipe = 1
name = "combined"
[data]
use = "image-folder"
root = '{faces / "classes"}'
labels = true
size = 64
flip = true
[train]
steps = 1000000
batch = 32
[generator]
use = "dcgan"
from = ["noise", "label"]
[discriminator]
use = "dcgan"
norm = "none"
[losses.adversarial]
use = "non-saturating"
[losses.r1]
weight = 5.0
[losses.auxiliary-classifier]
pool = false
[losses.feature-matching]
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
        "combined": Work(
            "adversarial + R1 + classes + feature matching, 64 px, batch 32",
            combined,
            textbook.Combined,
            4,
            32,
        ),
    }


@frozen
class Prepared:
    """A loop that is ready: its step, and the networks that it plays."""

    step: Callable[[], None]
    networks: Iterable[nn.Module]


def plain_loop(work: Work, folder: Path) -> Prepared:
    digits, faces = folder / "digits", folder / "pictures"
    where = {
        textbook.Vanilla: (digits,),
        textbook.Dcgan: (faces / "64",),
        textbook.Combined: (faces / "64",),
        textbook.Cycle: (faces / "a128", faces / "b128"),
    }
    loop = work.plain(*where[work.plain])
    return Prepared(loop.step, loop.networks)


def ganforge_loop(work: Work, folder: Path, precision: str) -> Prepared:
    path = folder / f"{precision}.toml"
    path.write_text(work.recipe + QUIET, encoding="utf-8")
    registry = Registry.load(only=())
    sets = [f'train.precision="{precision}"', 'train.device="cpu"']
    plan = compose(load(path, sets=sets), registry)
    training = build_training(plan, registry, decide(plan.train), RunFolder(folder / "run"))

    def step() -> None:
        training.take_step(training.step + 1)

    return Prepared(step, training.game.networks.values())


def worker(key: str, way: str, folder: Path) -> None:
    """Prepare one loop and warm it up, then for each line on standard input take so many steps;
    answers with milliseconds per step and peak memory in bytes, at the end with what is counted of
    a step: forwards, and floating-point operations."""
    work = works(folder)[key]
    loop = plain_loop(work, folder) if way == "textbook" else ganforge_loop(work, folder, way)
    timed(loop.step, WARM_UP)
    for line in sys.stdin:
        if line.strip() == "count":
            print(*counted(loop), flush=True)
        else:
            print(timed(loop.step, int(line)), peak_memory(), flush=True)


def counted(loop: Prepared) -> tuple[int, int]:
    """(forwards of networks, operations of matrix products and convolutions) in a step."""
    forwards = 0

    def count(*_: object) -> None:
        nonlocal forwards
        forwards += 1

    hooks = [network.register_forward_pre_hook(count) for network in loop.networks]
    with Operations() as operations:
        loop.step()
    for hook in hooks:
        hook.remove()
    return forwards, operations.count


class Operations(TorchDispatchMode):
    """Counts the floating-point operations of matrix products and convolutions."""

    count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.mkldnn._linear_pointwise.default:
            self.count += 2 * result.numel() * args[0].shape[1]
        elif func._overloadpacket in flop_registry:
            formula = flop_registry[func._overloadpacket]
            self.count += formula(*args, **(kwargs or {}), out_val=result)
        return result


def multiplied(precision: torch.dtype, size: int = 2048) -> float:
    """Operations per second that this machine multiplies large matrices with, by the fastest of
    the libraries that PyTorch has for it."""
    a, b = (torch.randn(size, size, dtype=precision) for _ in range(2))
    maps = torch.randn(1, size, 32, size // 32, dtype=precision)
    maps = maps.contiguous(memory_format=torch.channels_last)
    ways: list[Callable[[], object]] = [
        lambda: a @ b,
        lambda: F.conv2d(maps, b[:, :, None, None]),
        lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""),
    ]
    with torch.no_grad():
        seconds = min(timed(way, 3) for way in ways for _ in range(7)) / 1e3
    return 2 * size**3 / seconds


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

    def count(self) -> tuple[int, int]:
        """(forwards, operations) of a step"""
        assert self._process.stdin and self._process.stdout
        print("count", file=self._process.stdin, flush=True)
        forwards, operations = self._process.stdout.readline().split()
        return int(forwards), int(operations)

    def close(self) -> None:
        self._process.communicate()


def timed(step: Callable[[], None], steps: int) -> float:
    """Milliseconds per step."""
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps * 1e3


@frozen
class Measured:
    """One loop. milliseconds: per step. ratio: the textbook's time over this. peak: bytes."""

    milliseconds: float
    ratio: float
    peak: float
    forwards: int
    operations: int  # of a step


def compare(key: str, folder: Path, rounds: int) -> dict[str, Measured]:
    """By the loop: "textbook", or ganforge's precision."""
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
        counts = {way: loop.count() for way, loop in loops.items()}
    ratios = {
        way: median(t / own for t, own in zip(times["textbook"], values, strict=True))
        for way, values in times.items()
    }
    return {
        way: Measured(median(values), ratios[way], peaks[way], *counts[way])
        for way, values in times.items()
    }


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
    for index, path in enumerate(sorted((folder / "pictures" / "64").iterdir())):
        place = folder / "pictures" / "classes" / str(index % textbook.CLASSES)
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("which", nargs="*", help="vanilla, dcgan, cyclegan, combined; or all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        key, way, folder = asked.worker
        worker(key, way, Path(folder))
        return
    rates = {"fp32": multiplied(torch.float32), "bf16": multiplied(torch.bfloat16)}
    rates["textbook"] = rates["fp32"]
    told = ", ".join(f"{rates[name] / 1e9:.0f} GFLOP/s in {name}" for name in ("fp32", "bf16"))
    title = f"{torch.get_num_threads()} CPU threads that multiply {told}; torch {torch.__version__}"
    table = Table(title=title)
    for heading in ("work", "loop"):
        table.add_column(heading)
    for heading in ("ms per step", "images/s", "textbook / this", "forwards", "share", "peak"):
        table.add_column(heading, justify="right")
    with tempfile.TemporaryDirectory() as name:
        folder = prepared(Path(name))
        for key, work in works(folder).items():
            if asked.which and key not in asked.which:
                continue
            for way, found in compare(key, folder, asked.rounds).items():
                seconds = found.milliseconds / 1e3
                table.add_row(
                    work.name,
                    way if way == "textbook" else f"ganforge {way}",
                    f"{found.milliseconds:.1f}",
                    f"{work.images / seconds:.1f}",
                    f"{found.ratio:.2f}",
                    str(found.forwards),
                    f"{found.operations / seconds / rates[way]:.0%}",
                    f"{found.peak / 1e9:.2f} GB",
                )
            table.add_section()
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
