"""What one step of a recipe costs: operations, bytes that processes send, and time.

    python tests/benchmarks/scaling.py dcgan-mnist --operations
    torchrun --nproc-per-node 2 tests/benchmarks/scaling.py dcgan-mnist --steps 30

Options of `ganforge run` that go along: --preview, --set KEY=VALUE. The first line is counted in
one step of one process (floating-point operations of products and convolutions, forward and
backward); the second is of each step after three that warm up. `agree` is how long processes take
to meet once. The step itself is played as `ganforge run` plays it, without hooks.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from torch.utils.flop_counter import FlopCounterMode

from ganforge.hardware.machine import decide
from ganforge.hardware.processes import Ranks, joined
from ganforge.planning.compose import compose
from ganforge.recipes.recipe import ALWAYS_ON, load
from ganforge.registry.registry import Registry
from ganforge.storage.run_folder import RunFolder
from ganforge.training.launch import build_training
from ganforge.training.trainer import Training

WARM_UP = 3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recipe")
    parser.add_argument("--preview", action="store_true")
    parser.add_argument("--set", action="append", default=[], dest="sets", metavar="KEY=VALUE")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--operations", action="store_true")
    return parser.parse_args()


def build(given: argparse.Namespace, folder: str, ranks: Ranks | None) -> Training:
    registry = Registry.load(only=())
    quiet = [f"hooks.{name}.off=true" for name in ALWAYS_ON]
    shipped = registry.recipes()
    recipe = load(given.recipe, preview=given.preview, sets=[*given.sets, *quiet], shipped=shipped)
    plan = compose(recipe, registry)
    decided = decide(plan.train, ranks)
    return build_training(plan, registry, decided, RunFolder(Path(folder)), ranks=ranks)


def operations(training: Training) -> str:
    counter = FlopCounterMode(display=False)
    with counter:
        training.take_step(1)
    rows = training.plan.train.batch
    each = counter.get_total_flops() / rows
    weights = {
        side: sum(
            p.nbytes for x in training.game.trained_modules if x.side == side for p in x.parameters
        )
        for side in ("discriminator", "generator")
    }
    megabytes = ", ".join(f"{side}s {size / 1e6:.2f} MB" for side, size in weights.items())
    return f"{each / 1e9:.2f} G operations a row of the batch; gradients: {megabytes}"


def timed(training: Training, steps: int) -> str:
    ranks = training.ranks
    seconds: list[float] = []
    sent, worked = 0, 0.0
    for step in range(1, WARM_UP + steps + 1):
        if step == WARM_UP + 1:
            sent, worked = (0 if ranks is None else ranks.sent), time.process_time()
        started = time.perf_counter()
        training.take_step(step)
        seconds.append(time.perf_counter() - started)
    measured = [second * 1000 for second in seconds[WARM_UP:]]
    worked = (time.process_time() - worked) / steps * 1000
    told = f"median {median(measured):.0f} ms, fastest {min(measured):.0f} ms a step"
    told += f", {worked:.0f} ms of a processor each"
    if ranks is None:
        return f"1 process: {told}"
    each = (ranks.sent - sent) / steps / 1e6
    started = time.perf_counter()
    for _ in range(200):
        ranks.agree()
    agree = (time.perf_counter() - started) / 200 * 1e6
    return f"{ranks.count} processes: {told}, {each:.2f} MB sent a step, agree {agree:.0f} us"


def main() -> None:
    given = arguments()
    with joined() as ranks, tempfile.TemporaryDirectory() as folder:
        training = build(given, folder, ranks)
        told = operations(training) if given.operations else timed(training, given.steps)
        if training.leads:
            print(f"{training.plan.name}, batch {training.plan.train.batch}: {told}", flush=True)


if __name__ == "__main__":
    main()
