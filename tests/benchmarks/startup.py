"""How long it takes from the command to a preview's first step.

    python tests/benchmarks/startup.py [RECIPE ...] [--mnist data/mnist] [--times 5]

Runs `ganforge run RECIPE --preview` for every shipped recipe until `metrics.jsonl` holds its first
step, and ends it there. Prints a table: the median, the least and the most, in seconds. The first
start is not counted: it leaves the files of Python and PyTorch in the system's memory, and what a
data set draws once. Data sets that a person brings are pictures drawn for it; MNIST is noise in its
shape, unless its folder is given.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))
from memory import REGISTRY, command, prepared, settings

LIMIT = 1000  # seconds


def seconds(words: list[str], out: Path) -> float:
    """From the start of a run to its first line of numbers; the run is killed then."""
    line, start = out / "metrics.jsonl", time.perf_counter()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([*words, "--out", str(out)], stdout=said, stderr=said)
        while not (line.exists() and line.stat().st_size):
            took = time.perf_counter() - start
            if process.poll() is not None or took > LIMIT:
                process.kill()
                said.seek(0)
                raise SystemExit(f"{' '.join(words)}: {said.read().decode()[-2000:]}")
            time.sleep(0.005)
        took = time.perf_counter() - start
        process.kill()
        process.wait()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="RECIPE", help="left out: every shipped one")
    parser.add_argument("--mnist", type=Path, help="the folder of MNIST; left out: noise")
    parser.add_argument("--times", type=int, default=5)
    asked = parser.parse_args()
    print("| preview of | first start | median | least | most |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as made:
        data = prepared(Path(made), asked.mnist)
        for name in asked.names or sorted(REGISTRY.recipes()):
            words = command("run", name, settings(name, data), preview=True)
            first, *others = (
                seconds(words, Path(made) / f"{name}-{number}") for number in range(asked.times + 1)
            )
            figures = (first, median(others), min(others), max(others))
            print(f"| `{name}` | {' | '.join(f'{f:.1f}' for f in figures)} |", flush=True)


if __name__ == "__main__":
    main()
