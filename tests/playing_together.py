"""What several processes play for test_ranks.py, in each of them:

`python playing_together.py FOLDER`                          the games below
`python playing_together.py FOLDER DATA RECIPE RECIPE ...`   shipped recipes, made small

Importing torch takes longer than these games, so all of them are played by one set of processes.
Each leaves FOLDER/GAME/RANK.json; the first one also leaves the runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import torch
from making_data import REGISTRY, small_settings
from playing import CYCLE, ONE_PAIR, plan_of, registry
from torch import nn

from ganforge import Discriminator, Hook, Loss
from ganforge.hardware.machine import decide
from ganforge.hardware.processes import Ranks, joined
from ganforge.interfaces.errors import GanforgeError
from ganforge.planning.compose import compose
from ganforge.plugin import Component, option_names
from ganforge.recipes.recipe import load
from ganforge.storage import checkpoint
from ganforge.storage.run_folder import RunFolder
from ganforge.training.launch import Request, build_training, launch
from ganforge.training.trainer import Training

MLP = 'use = "mlp"\nhidden = [12]\n'  # of the generator, with BatchNorm
JUDGE = MLP + "dropout = 0.0\n"
PLAIN = ONE_PAIR.replace(MLP + "[disc", MLP + 'norm = "none"\n[disc')
AS_THE_GRADIENT = '\n[optimizer]\nuse = "sgd"\nlr = 0.1\n'  # what Adam makes of 0 is not near

# Each is played by one process too, to the same weights.
GAMES: dict[str, str] = {
    "pair": PLAIN,
    "crowd": PLAIN.replace(
        'use = "non-saturating"', 'use = "relativistic"\nagainst = "mean"'
    ).replace("[generator]\n", '[generator]\nema = 0.9\nclip = 0.05\nfrom = ["noise", "label"]\n')
    + """
[losses.feature-matching]
weight = 2.0
[losses.auxiliary-classifier]
[losses.same-label-difference]
[losses.max-magnitude]
[losses.r1]
every = 2
[losses.gradient-penalty]
weight = 3.0
[augmentors.diff-augment]
[hooks.lower-lr]
watch = "loss/adversarial/generator/fake"
window = 1
threshold = 0.001
""",
    "parts": PLAIN.replace("batch = 6", "batch = 8\naccumulate = 2\ndiscriminator_steps = 2"),
    "cycle": CYCLE.replace("batch = 2", "batch = 4"),
    "labels": PLAIN.replace('use = "dots"', 'use = "dots"\nlabelled = 7')
    .replace(JUDGE, 'use = "noisy-mlp"\nhidden = [12]\ninput_noise = 0\nnoise = 0\n')
    .replace('use = "non-saturating"', 'use = "salimans"')
    + "[losses.feature-matching]\n",
    "began": ONE_PAIR.replace(JUDGE, 'use = "began"\nwidth = 4\n')
    .replace(MLP, 'use = "began"\nwidth = 4\n')
    .replace('use = "non-saturating"', 'use = "began"\nlambda_k = 0.5'),
    "synchronised": ONE_PAIR.replace("batch = 6", "batch = 8\nsync_batch_norm = true")
    .replace(JUDGE, 'use = "dcgan"\nwidth = 4\n')
    .replace(MLP, 'use = "dcgan"\nwidth = 4\n')
    + "[losses.r1]\n",
    "shared-weights": ONE_PAIR.replace("[noise]", "[hooks.weight-sync]\nevery = 2\n[noise]")
    .replace(JUDGE, 'use = "mirrored"\nwidth = 4\nlayers = 2\nnorm = "spectral"\n')
    .replace(MLP, 'use = "weight-sharing"\nnorm = "none"\nema = 0.9\nfrom = ["noise", "label"]\n')
    .replace('use = "non-saturating"', 'use = "odena"'),
}
LOCAL_NORM = ONE_PAIR.replace("batch = 6", "batch = 8").replace("dropout = 0.0", "dropout = 0.5")


class Poison(Loss):
    """Not a number in its third update, and in the second process alone."""

    def __init__(self, options):
        super().__init__(options)
        self.register_buffer("calls", torch.zeros(()))

    def generator(self, fake_scores):
        poisoned = self.calls >= 2 and os.environ.get("RANK") == "1"
        return fake_scores * (float("nan") if poisoned else 1.0)

    def observe(self, side, values):
        self.calls += 1
        return {}


class Interrupt(Hook):
    """Somebody ends the second process after step 2."""

    changes_weights = True

    def step_ended(self, step):
        if step == 2 and os.environ.get("RANK") == "1":
            os.kill(os.getpid(), signal.SIGTERM)


class Pretrained(Discriminator):
    """Judges by frozen layers, whose norm remembers a third, and by one that learns."""

    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.seen = nn.Sequential(nn.Linear(judged.flat, 6), nn.BatchNorm1d(6))
        self.seen[1].running_mean.fill_(1 / 3)
        self.seen.requires_grad_(False).eval()
        self.head = nn.Linear(6, 1)

    def forward(self, data, given=None):
        return self.head(self.seen(data.flatten(1))).squeeze(1)


class NoiseBack(Loss):
    """Its layer learns on G's side."""

    def build(self, context):
        self.reads = nn.Linear(context.judged.flat, 5)

    def generator(self, fake, fake_latents):
        return (self.reads(fake.flatten(1)) - fake_latents).square()


def component(kind: str, name: str, cls: str) -> Component:
    return Component(kind, name, f"playing_together:{cls}", provider="tests", version="0")


POISON = component("loss", "poison", "Poison")
INTERRUPT = component("hook", "interrupt", "Interrupt")
FROZEN_PARTS = (
    component("discriminator", "pretrained", "Pretrained"),
    component("loss", "noise-back", "NoiseBack"),
)
FROZEN = PLAIN.replace(JUDGE, 'use = "pretrained"\n') + "[losses.noise-back]\n" + AS_THE_GRADIENT


def digest(training: Training) -> str:
    """Of everything that a checkpoint would hold."""
    sums = hashlib.sha256()
    for tensors in training.game.state().values():
        for name, tensor in sorted(tensors.items()):
            sums.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    return sums.hexdigest()


def note(folder: Path, ranks: Ranks, training: Training, **more: object) -> None:
    facts = {"digest": digest(training), "step": training.step, "lr_factor": training.lr_factor}
    facts |= {"sent": ranks.sent, "stopped": training.stop_reason, **more}
    (folder / f"{ranks.rank}.json").write_text(json.dumps(facts), encoding="utf-8")


def play(folder: Path, ranks: Ranks, text: str, *components: Component, sets=(), resumed=False):
    """One game to its end, or to the error that it is expected to end in."""
    if ranks.leads:
        (folder / "run").mkdir(parents=True, exist_ok=True)
    own = folder / f"process-{ranks.rank}"  # none reads a recipe while another one writes it
    own.mkdir(parents=True, exist_ok=True)
    plan = plan_of(own, text, *components, sets=sets)
    known, decided = registry(*components), decide(plan.train, ranks)
    training = build_training(plan, known, decided, RunFolder(folder / "run"), ranks=ranks)
    if resumed:
        saved, _ = checkpoint.newest_whole(training.folder.checkpoints)
        training.resume(saved)
        ranks.agree()
    error = ""
    ranks.sent = 0
    try:
        training.run()
    except GanforgeError as caught:
        error = f"{type(caught).__name__}: {caught}"
    gauges = {} if error else training.gauges()
    note(folder, ranks, training, error=error, gauges=gauges)


def small_request(name: str, data: Path, out: Path) -> Request:
    """A few steps of a shipped recipe, whose networks draw nothing by themselves where they can be
    told so; BatchNorm is that of the whole batch."""
    sets = [*small_settings(name, data), "train.batch=4", "train.sync_batch_norm=true"]
    recipe = load(name, preview=True, sets=sets, shipped=REGISTRY.recipes())
    phases = "phases" in recipe.table.get("train")
    for address, network in compose(recipe, REGISTRY).networks.items():
        known = option_names(network.component.options)
        sets += [f"{address}.{k}=0" for k in ("dropout", "noise", "input_noise") if k in known]
    sets += [f"train.steps={10 if phases else 3}", "hooks.metrics.every=1", "train.threads=1"]
    sets += ["hooks.samples.every=100", "hooks.samples.count=4"]
    return Request(recipe=name, preview=True, sets=tuple(sets), out=out)


def play_recipes(out: Path, data: Path, names: list[str]) -> None:
    with joined() as ranks:
        assert ranks is not None
        for name in names:
            outcome = launch(small_request(name, data, out / name), lambda line: None)
            assert outcome.step == outcome.plan.steps
            (out / f"{name}.{ranks.rank}.done").touch()


def main(out: Path) -> None:
    torch.set_num_threads(1)
    with joined() as ranks:
        assert ranks is not None
        for name, text in GAMES.items():
            play(out / name, ranks, text + AS_THE_GRADIENT)
        play(out / "poison", ranks, PLAIN + "[losses.poison]\n", POISON, sets=["train.steps=8"])
        play(out / "frozen", ranks, FROZEN, *FROZEN_PARTS)
        play(out / "interrupt", ranks, PLAIN + "[hooks.interrupt]\n", INTERRUPT)
        play(out / "whole", ranks, LOCAL_NORM)
        play(out / "resumed", ranks, LOCAL_NORM, sets=["train.steps=2"])
        play(out / "resumed", ranks, LOCAL_NORM, resumed=True)


if __name__ == "__main__":
    sys.modules["playing_together"] = sys.modules["__main__"]
    folder, *more = sys.argv[1:]
    if more:
        play_recipes(Path(folder), Path(more[0]), more[1:])
    else:
        main(Path(folder))
    # As the command line ends: to take down what connects processes was seen to end one by SIGABRT.
    sys.stdout.flush()
    os._exit(0)
