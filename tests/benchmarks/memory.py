"""What `ganforge check --build` says of memory, beside what runs of the recipes take.

    python tests/benchmarks/memory.py [RECIPE ...] [--mnist data/mnist] [--preview] [--steps 3]

Each shipped recipe is checked, and then run at its own batch and size for a few steps, with the
sheets and the checkpoint of a run, each in a process of its own. Prints a table: the forecast, the
most memory that the run occupied, and the ratio of the two. Metrics are left out, since some train
networks first. Data sets that a person brings are pictures drawn for it; MNIST is noise in its
shape, unless its folder is given.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from making_data import FOLDERS, REGISTRY, make_mnist
from small_recipes import draw_pictures

from ganforge.planning.compose import compose
from ganforge.recipes.recipe import load

STEPS = 3
PICTURES = 400  # in each folder

# Before Python takes itself down, which brings in more of the files of PyTorch.
_RUN = """
import re, resource, sys
from pathlib import Path
from ganforge.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
status = Path("/proc/self/status")
if status.exists():  # Linux, where the other figure begins with what the parent occupied
    print(re.search("VmHWM:[^0-9]+([0-9]+)", status.read_text())[1])
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def prepared(folder: Path, mnist: Path | None) -> Path:
    """Data for every recipe that needs some."""
    if mnist is None:
        make_mnist(folder / "mnist", train=60_000, test=10_000)
    else:
        (folder / "mnist").symlink_to(mnist.absolute())
    for name in ("cats", "dogs"):
        draw_pictures(folder / "photos" / name, count=PICTURES, size=(300, 290))
    for name in ("trainA", "trainB", "testA", "testB"):
        count = PICTURES if name.startswith("train") else 40
        draw_pictures(folder / "pairs" / name, count=count, size=(300, 290))
    return folder


def settings(name: str, data: Path) -> list[str]:
    """Where a recipe's data is."""
    table = load(name, shipped=REGISTRY.recipes()).table.get("data")
    if name == "cyclegan-horse2zebra":
        return ["data.use=painted-horses"]
    use = table.get("use")
    return [f"data.root={data / FOLDERS[use]}"] if use in FOLDERS else []


def short(name: str, sets: Sequence[str], preview: bool, steps: int) -> list[str]:
    """The settings with which it runs for a few steps, and measures nothing."""
    plan = compose(
        load(name, preview=preview, sets=list(sets), shipped=REGISTRY.recipes()), REGISTRY
    )
    return [
        f"train.steps={steps * len(plan.phases)}",
        *(f"metrics.{n}.off=true" for n in plan.metrics),
    ]


def command(word: str, name: str, sets: Sequence[str], preview: bool) -> list[str]:
    words = [sys.executable, "-m", "ganforge", word, name, *(["--preview"] if preview else [])]
    return words + [argument for one in sets for argument in ("--set", one)]


def estimated(name: str, sets: Sequence[str], preview: bool) -> dict[str, int]:
    """Bytes, by what holds them."""
    words = [*command("check", name, sets, preview), "--build", "--json"]
    said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
    memory: dict[str, int] = json.loads(said)["memory"]
    return memory


def taken(name: str, sets: Sequence[str], preview: bool, folder: Path, steps: int = STEPS) -> int:
    """The most bytes that a run of so many steps a phase occupied."""
    more = short(name, sets, preview, steps)
    words = [
        *command("run", name, [*sets, *more], preview),
        "--out",
        str(folder / "run"),
        "--replace",
    ]
    done = subprocess.run([sys.executable, "-c", _RUN, *words[3:]], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stdout[-1000:]}{done.stderr[-2000:]}")
    return int(done.stdout.split()[-1]) * (1 if sys.platform == "darwin" else 1024)


def row(name: str, memory: dict[str, int], peak: int) -> str:
    parts = ", ".join(f"{part} {size / 1e6:.0f}" for part, size in memory.items() if part != "peak")
    said = memory["peak"]
    return f"| `{name}` | {said / 1e6:,.0f} | {peak / 1e6:,.0f} | {said / peak:.2f} | {parts} |"


def rows(names: Sequence[str], mnist: Path | None, preview: bool, steps: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as made:
        data = prepared(Path(made), mnist)
        for name in names or sorted(REGISTRY.recipes()):
            sets = settings(name, data)
            peak = taken(name, sets, preview, Path(made), steps)
            yield row(name, estimated(name, sets, preview), peak)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="RECIPE", help="left out: every shipped one")
    parser.add_argument("--mnist", type=Path, help="the folder of MNIST; left out: noise")
    parser.add_argument("--preview", action="store_true", help="their previews")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each phase")
    asked = parser.parse_args()
    print("| recipe | estimated, MB | used, MB | ratio | by part, MB |\n|---|---|---|---|---|")
    for line in rows(asked.names, asked.mnist, asked.preview, asked.steps):
        print(line, flush=True)


if __name__ == "__main__":
    main()
