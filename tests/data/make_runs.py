"""Made the run folders beside this file, with version 0.1.0 of ganforge (commit 60866d3).

    python tests/data/make_runs.py FOLDER

They are kept as they were written, so that later versions can be held to them
(tests/test_runs_of_0_1_0.py); made anew by a later version they would hold nothing. The script
stays to say how they were made, and to make folders of the next version to be held to.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np

STEPS, HALF = 8, 4  # of a run, and of its first checkpoint; both checkpoints are kept

TRAIN = """
[train]
steps = 8
batch = 4
seed = 3
precision = "fp32"
device = "cpu"
threads = 1
"""

PLACE = "/place/of/the/runs"  # stands for the folder that holds the data and the runs

HOOKS = """
[hooks.checkpoint]
every = 4
keep = 2
[hooks.metrics]
every = 1
[hooks.samples]
every = 100
count = 4
[hooks.progress]
off = true
"""

# A conditional DCGAN: averages, a schedule, a lazy penalty, a class head, an augmentor that draws.
DCGAN = (
    """recipe = 1
name = "dcgan-digits"
[data]
use = "mnist"
root = "digits"
size = 16
"""
    + TRAIN
    + """accumulate = 2
discriminator_steps = 2
[noise]
dim = 6
[optimizer]
use = "adam"
lr = 2e-2
betas = [0.5, 0.999]
schedule = { use = "cosine" }
[generator]
use = "dcgan"
from = ["noise", "label"]
width = 4
ema = 0.9
[discriminator]
use = "dcgan"
width = 4
clip = 1.0
[losses.adversarial]
use = "non-saturating"
[losses.r1]
every = 2
weight = 0.5
[losses.auxiliary-classifier]
weight = 0.5
[augmentors.diff-augment]
"""
    + HOOKS
)

# A CycleGAN: two generators, four losses, averages, and a pool of old fakes.
CYCLEGAN = (
    """recipe = 1
name = "cyclegan-horses"
[data]
use = "painted-horses"
count = 12
held_out = 4
load = 28
size = 24
flip = true
"""
    + TRAIN
    + """[optimizer]
use = "adam"
lr = 1e-3
betas = [0.5, 0.999]
schedule = { use = "constant-then-linear", constant = 0.5 }
[generators.horse2zebra]
use = "resnet-translator"
from = "horse"
to = "zebra"
width = 2
blocks = 1
dropout = 0.2
ema = 0.9
[generators.zebra2horse]
like = "horse2zebra"
from = "zebra"
to = "horse"
[discriminators.horse]
use = "patchgan"
on = "horse"
width = 4
layers = 1
[discriminators.zebra]
like = "horse"
on = "zebra"
[losses.adversarial]
use = "least-squares"
weight = { discriminator = 0.5, generator = 1.0 }
[losses.cycle-consistency]
weight = 10.0
[losses.identity]
weight = 5.0
[augmentors.image-pool]
size = 3
"""
    + HOOKS
)

# A BEGAN: a loss with a state (k), and a hook that lowers the learning rate and has one as well.
BEGAN = (
    """recipe = 1
name = "began-digits"
[data]
use = "mnist"
root = "digits"
"""
    + TRAIN
    + """[noise]
dim = 6
distribution = "uniform"
[optimizer]
use = "rmsprop"
lr = 1e-3
[generator]
use = "began"
width = 4
layers = 1
skip = true
ema = 0.9
[discriminator]
use = "began"
width = 4
layers = 1
code = 6
skip = true
[losses.adversarial]
use = "began"
gamma = 1.0
lambda_k = 0.5
[hooks.lower-lr]
watch = "adversarial/convergence"
window = 2
"""
    + HOOKS
)

# Texts: phases, discrete draws through straight-through Gumbel-softmax, dropout.
SEQUENCE = (
    """recipe = 1
name = "sequence-times"
[data]
use = "spoken-times"
held_out = 8
"""
    + TRAIN
    + """[train.phases.warm-up]
train = ["generators.main"]
losses = ["likelihood"]
share = 0.25
[train.phases.game]
train = ["generators.main", "discriminators.main"]
[noise]
dim = 3
[optimizer]
use = "adam"
lr = 3e-3
[generator]
use = "seq2seq"
from = ["time", "noise"]
to = "wording"
width = 16
dropout = 0.2
ema = 0.9
clip = 1.0
[discriminator]
use = "sequence-pairs"
given = "time"
width = 8
[losses.adversarial]
use = "matching"
[losses.likelihood]
"""
    + HOOKS
)

RECIPES = {
    "dcgan-digits": DCGAN,
    "cyclegan-horses": CYCLEGAN,
    "began-digits": BEGAN,
    "sequence-times": SEQUENCE,
}

STROKES = {  # of digits, 3 x 5 cells
    0: "111101101101111",
    1: "010110010010111",
    2: "111001111100111",
    3: "111001111001111",
    4: "101101111001001",
}


def draw_digits(root: Path) -> None:
    """The four IDX files of MNIST with 20 + 10 drawn digits, 28 x 28."""
    root.mkdir()
    draws = np.random.default_rng(0)
    for stem, count in (("train", 20), ("t10k", 10)):
        images = np.zeros((count, 28, 28), np.uint8)
        for number in range(count):
            cells = np.array([int(c) for c in STROKES[number % 5]], np.uint8).reshape(5, 3)
            down, right = draws.integers(1, 8), draws.integers(1, 12)
            ink = int(draws.integers(150, 256))
            images[number, down : down + 20, right : right + 12] = cells.repeat(4, 0).repeat(4, 1)
            images[number] *= ink
        header = struct.pack(">4BIII", 0, 0, 8, 3, count, 28, 28)
        (root / f"{stem}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = bytes(number % 5 for number in range(count))
        header = struct.pack(">4BI", 0, 0, 8, 1, count)
        (root / f"{stem}-labels-idx1-ubyte").write_bytes(header + labels)


def ganforge(folder: Path, *arguments: str) -> str:
    """What `ganforge` prints when it is run in a folder."""
    done = subprocess.run(
        [sys.executable, "-m", "ganforge", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout


def look(folder: Path, name: str) -> None:
    """Keep what the run's generators make at its end."""
    if name == "sequence-times":
        text = ganforge(folder, "sample", name, "--count", "6", "--seed", "5")
        (folder / "made" / f"{name}.txt").write_text(text, encoding="utf-8", newline="\n")
    elif name == "cyclegan-horses":
        ganforge(folder, "translate", name, "horses", "--to", "zebra", "--out", f"made/{name}")
    else:
        ganforge(folder, "sample", name, "--count", "6", "--seed", "5", "--out", f"made/{name}")


def draw_horses(folder: Path) -> None:
    """Two pictures to translate; not horses at all."""
    from PIL import Image

    folder.mkdir()
    draws = np.random.default_rng(1)
    for number in range(2):
        pixels = draws.integers(0, 256, (8, 8, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def main(folder: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    from arithmetic import arithmetic

    folder.mkdir(parents=True)
    (folder / "made").mkdir()
    draw_digits(folder / "digits")
    draw_horses(folder / "horses")
    for name, text in RECIPES.items():
        (folder / "recipe.toml").write_text(text, encoding="utf-8", newline="\n")
        ganforge(folder, "run", "recipe.toml", "--out", name)
        look(folder, name)
        shutil.rmtree(folder / name / "samples", ignore_errors=True)
        shutil.rmtree(folder / name / "snapshots", ignore_errors=True)
        (folder / name / ".lock").unlink(missing_ok=True)
        resolved = folder / name / "resolved.toml"
        text = resolved.read_text(encoding="utf-8").replace(str(folder.resolve()), PLACE)
        resolved.write_text(text, encoding="utf-8", newline="\n")
    (folder / "recipe.toml").unlink()
    made = {"ganforge": "0.1.0", "commit": "60866d3", "steps": STEPS, "from": HALF, **arithmetic()}
    text = json.dumps(made, indent=1) + "\n"
    (folder / "made.json").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
