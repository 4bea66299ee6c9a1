"""How far it is from `ganforge run` to a loss's maths, and from there to a discriminator's forward:
what a person reads, or steps through with a debugger, on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ganforge

LONGEST_TO_A_LOSS = 9  # from the command on
LONGEST_TO_A_SCORE = 5  # from what reads it on
CALLER = "_call"  # what reads the arguments of a loss, and calls it
CORE = Path(ganforge.__file__).parent
PLUGIN = """
import json
import traceback
from pathlib import Path

import torch
from torch import nn
from ganforge import Discriminator, Loss


def note(what):
    with Path("frames.jsonl").open("a") as file:
        frames = [(frame.filename, frame.name) for frame in traceback.extract_stack()]
        file.write(json.dumps([what, frames]) + "\\n")


class Looking(Loss):
    def discriminator(self, real_scores, fake_scores):
        note("discriminator's loss")
        return fake_scores - real_scores

    def generator(self, fake_scores):
        note("generator's loss")
        return -fake_scores


class Asking(Loss):
    \"\"\"Reads a score by itself, in the middle of its maths.\"\"\"

    def discriminator(self, turn):
        return turn.pairing("main", "main", "plain", "real_scores")

    def generator(self, turn):
        return turn.pairing("main", "main", "plain", "fake_scores")


class Seen(Discriminator):
    INDEPENDENT

    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.head = nn.Linear(judged.flat, 1)

    def forward(self, data):
        note("forward")
        return self.head(data.flatten(1))[:, 0]
"""
RECIPE = """
recipe = 1
name = "frames"
[data]
use = "captioned-shapes"
count = 12
held_out = 4
size = 48
[train]
steps = 1
batch = 4
device = "cpu"
[noise]
dim = 4
[generator]
use = "mlp"
hidden = [4]
[discriminator]
use = "seen"
[losses.main]
use = "LOSS"
"""


def frames_of(cli, workdir: Path, loss: str, *, together: bool) -> list[tuple[str, list[str]]]:
    """(what was running, the functions of ganforge that led there from the command on, outermost
    first; what is not ganforge's own is `...`) for each note that the plugin took."""
    line = "independent_rows = True" if together else "pass"
    (workdir / "frames.py").write_text(PLUGIN.replace("INDEPENDENT", line))
    (workdir / "recipe.toml").write_text(RECIPE.replace("LOSS", loss))
    answer = cli("run", "recipe.toml", "--plugin-file", "frames.py")
    assert answer.status == 0, answer.err
    notes = map(json.loads, (workdir / "frames.jsonl").read_text().splitlines())
    return [(what, from_the_command_on(frames)) for what, frames in notes]


def from_the_command_on(frames: list[tuple[str, str]]) -> list[str]:
    command = next(
        number
        for number, (file, name) in enumerate(frames)
        if (Path(file), name) == (CORE / "cli" / "run.py", "command")
    )
    return [name if Path(file).is_relative_to(CORE) else "..." for file, name in frames[command:]]


def of_ganforge(names: list[str]) -> list[str]:
    return [name for name in names if name != "..."]


def test_few_frames_lie_between_the_command_and_a_loss(workdir, ganforge_cli):
    notes = frames_of(ganforge_cli, workdir, "looking", together=False)
    ways = {what: of_ganforge(names) for what, names in notes if what.endswith("loss")}
    assert set(ways) == {"discriminator's loss", "generator's loss"}
    for names in ways.values():
        assert len(names) <= LONGEST_TO_A_LOSS, " > ".join(names)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("loss", ["looking", "asking"])
def test_few_frames_lie_between_a_loss_and_the_forward_that_it_reads(
    workdir, ganforge_cli, loss, together
):
    """Those of ganforge from the loss's call on, whether it asks for a score by the name of a
    parameter, or while it computes."""
    notes = frames_of(ganforge_cli, workdir, loss, together=together)
    ways = [names for what, names in notes if what == "forward"]
    at_once = together and loss == "looking"  # of what reads the turn, nobody knows what it reads
    assert len(ways) == (2 if at_once else 3 if loss == "looking" else 2)
    for names in ways:
        caller = max(n for n, name in enumerate(names) if name == CALLER)
        below = of_ganforge(names[caller:])
        assert len(below) <= LONGEST_TO_A_SCORE, " > ".join(below)
