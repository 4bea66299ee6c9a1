"""The loop: what a step is, what stops it, and that a resumed run is the uninterrupted one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from playing import CYCLE, ONE_PAIR, training_of

from ganforge import Hook, Loss
from ganforge.interfaces.errors import PluginError, TrainingError
from ganforge.plugin import Component
from ganforge.storage import checkpoint
from ganforge.training.trainer import updates_before


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setitem(sys.modules, "test_trainer", sys.modules[__name__])


class Poison(Loss):
    """Turns into what is not a number in its third update."""

    def __init__(self, options):
        super().__init__(options)
        self.register_buffer("calls", torch.zeros(()))

    def generator(self, fake_scores):
        return fake_scores * (float("nan") if self.calls >= 2 else 1.0)

    def observe(self, side, values):
        self.calls += 1
        return {"calls": self.calls}


class Diary(Hook):
    """Writes down what it was called with."""

    def __init__(self, options):
        super().__init__(options)
        self.lines = []

    def run_started(self, training):
        self.lines.append("started")

    def before_update(self, step, side):
        self.lines.append(f"{step} {side}")

    def step_ended(self, step):
        self.lines.append(f"{step} ended")

    def run_ended(self, error):
        self.lines.append("ended" if error is None else type(error).__name__)

    def save_state(self):
        return {"lines": self.lines}

    def load_state(self, state):
        self.lines = list(state["lines"])


class Misspelt(Hook):
    def step_endet(self, step):
        """Never called, and refused for that."""


class WrongArgument(Hook):
    def step_ended(self, setp):
        """pluggy would not know what to pass."""


def _component(kind, name, cls):
    return Component(kind, name, f"test_trainer:{cls}", provider="tests", version="0")


POISON = _component("loss", "poison", "Poison")
DIARY = _component("hook", "diary", "Diary")


def test_the_notes_of_a_hook_show_the_course_of_a_run(tmp_path):
    text = ONE_PAIR + "[hooks.diary]\n"
    sets = ["train.steps=2", "train.discriminator_steps=2"]
    training = training_of(tmp_path, text, DIARY, sets=sets)
    training.run()
    assert training.watching["diary"].lines == [
        "started",
        "1 discriminator",
        "1 discriminator",
        "1 generator",
        "1 ended",
        "2 discriminator",
        "2 discriminator",
        "2 generator",
        "2 ended",
        "ended",
    ]


def test_a_loss_that_is_not_finite_never_reaches_the_weights(tmp_path):
    text = ONE_PAIR + '[hooks.diary]\n[losses.extra]\nuse = "poison"\n'
    training = training_of(tmp_path, text, POISON, DIARY)
    with pytest.raises(TrainingError) as caught:
        training.run()
    message = str(caught.value)
    assert "step 3: not finite: loss 'extra' on discriminator 'main' (generator turn), " in message
    assert training.step == 2
    assert training.watching["diary"].lines[-1] == "TrainingError"
    for network in training.game.networks.values():
        assert all(p.isfinite().all() for p in network.parameters())
    assert training.folder.checkpoint_steps() == []  # nothing was saved of the broken step


def test_losses_that_keep_a_state_observe_and_it_is_saved(tmp_path):
    text = ONE_PAIR + '[losses.extra]\nuse = "poison"\n'
    training = training_of(tmp_path, text, POISON, sets=["train.steps=2"])
    training.run()
    assert training.gauges()["extra/calls"] == 2
    saved = checkpoint.load(training.folder.checkpoints, 2)
    assert saved.networks["losses.extra@main/calls"] == 2


@pytest.mark.parametrize(
    ("cls", "words"),
    [("Misspelt", "did you mean 'step_ended'"), ("WrongArgument", "setp")],
)
def test_a_hook_with_a_misspelt_method_or_argument_is_refused(tmp_path, cls, words):
    hook = _component("hook", "odd", cls)
    with pytest.raises(PluginError, match=words):
        training_of(tmp_path, ONE_PAIR + "[hooks.odd]\n", hook)


def test_hooks_are_called_in_the_order_of_the_file(tmp_path):
    text = ONE_PAIR + '[hooks.b]\nuse = "diary"\n[hooks.a]\nuse = "diary"\n'
    training = training_of(tmp_path, text, DIARY)
    order = []
    for name, hook in training.watching.items():
        hook.lines = type(
            "Shared", (list,), {"append": lambda self, line, n=name: order.append(n)}
        )()
    training._hooks.hook.run_started(training=training)
    assert order == ["b", "a"]


def test_interrupted_runs_end_after_the_step_with_a_checkpoint(tmp_path):
    training = training_of(tmp_path, ONE_PAIR, sets=["train.steps=50"])
    take = training.take_step

    def take_and_interrupt(step):
        take(step)
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)

    training.take_step = take_and_interrupt
    training.run()
    assert training.step == 3
    assert "SIGINT" in training.stop_reason
    assert training.folder.checkpoint_steps() == [3]


def test_the_learning_rate_follows_its_schedule(tmp_path):
    sets = [
        "train.steps=4",
        "optimizer.lr=0.1",
        'optimizer.schedule={use="constant-then-linear",constant=0.5}',
    ]
    training = training_of(tmp_path, ONE_PAIR, sets=sets)
    rates = []
    for step in (1, 2, 3, 4):
        training.take_step(step)
        rates.append(training.gauges()["lr/generators.main"])
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.05])


def test_clipping_bounds_the_norm_of_the_gradient(tmp_path):
    training = training_of(tmp_path, ONE_PAIR, sets=["discriminator.clip=1e-3"])
    training.take_step(1)
    parameters = training.game.networks["discriminators.main"].parameters()
    norm = torch.stack([p.grad.norm() for p in parameters]).norm()
    assert norm <= 1e-3 * 1.001


def test_parts_of_a_batch_give_the_gradients_of_the_whole(tmp_path):
    sets = ["train.steps=1", 'generator.norm="none"', "optimizer.use='sgd'"]
    whole = training_of(tmp_path, ONE_PAIR, sets=sets)
    parts = training_of(tmp_path, ONE_PAIR, sets=[*sets, "train.accumulate=3"])
    for training in (whole, parts):
        training.take_step(1)
    for address, network in whole.game.networks.items():
        other = parts.game.networks[address]
        for one, two in zip(network.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)


def test_numbers_of_seldom_losses_are_kept_through_a_checkpoint(tmp_path):
    sets = ["train.steps=4", "losses.identity.every=3"]
    training = training_of(tmp_path, CYCLE, sets=sets)
    for step in (1, 2):
        training.take_step(step)
    training.save()
    seldom = training.gauges()["loss/identity/generator"]
    again = training_of(tmp_path, CYCLE, sets=sets)
    again.resume(checkpoint.newest_whole(again.folder.checkpoints)[0])
    again.take_step(3)
    assert again.gauges()["loss/identity/generator"] == seldom


def test_updates_are_counted_across_phases(tmp_path):
    text = ONE_PAIR + (
        '[train.phases.one]\ntrain = ["discriminator"]\nsteps = 2\ndiscriminator_steps = 5\n'
        '[train.phases.two]\ntrain = ["generator", "discriminator"]\nsteps = 2\n'
    )
    plan = training_of(tmp_path, text).plan
    assert [updates_before(plan, step) for step in (1, 2, 3, 4, 5)] == [0, 5, 10, 11, 12]


RESUME = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from playing import training_of
from ganforge.storage import checkpoint
text = Path({text!r}).read_text(encoding="utf-8")
folder = Path({folder!r})
training = training_of(folder, text, sets=["train.steps={steps}"])
saved, _ = checkpoint.newest_whole(training.folder.checkpoints)
if saved is not None:
    training.resume(saved)
training.steps = {steps}
{kill}
training.run()
"""

KILL = """
import os, signal
take = training.take_step
def last(step):
    take(step)
    if step == {at}:
        training.save()
    if step == {at} + 1:
        os.kill(os.getpid(), signal.SIGKILL)
training.take_step = last
"""


def _train(folder: Path, text: str, steps: int, kill_after: int | None = None) -> int:
    folder.mkdir(exist_ok=True)
    source = folder.parent / "text.toml"
    source.write_text(text, encoding="utf-8")
    code = RESUME.format(
        tests=str(Path(__file__).parent),
        text=str(source),
        folder=str(folder),
        steps=steps,
        kill=KILL.format(at=kill_after) if kill_after else "",
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert kill_after or done.returncode == 0, done.stderr
    return done.returncode


FAMILIES = {
    "fused adam on channels_last, averaged, flipped": ONE_PAIR.replace(
        'use = "mlp"\nhidden = [12]\n', 'use = "dcgan"\nwidth = 4\n'
    )
    .replace("dropout = 0.0\n", "")
    .replace("[generator]\n", "[generator]\nema = 0.9\n")
    + "[augmentors.flip]\n",
    "dropout, several critic steps": ONE_PAIR.replace("dropout = 0.0", "dropout = 0.5").replace(
        "[noise]", "discriminator_steps = 3\n[noise]"
    ),
    "cycle with a pool": CYCLE,
    "bf16, rmsprop, clipped": ONE_PAIR.replace('"fp32"', '"bf16"')
    + '[optimizer]\nuse = "rmsprop"\n',
}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_run_killed_and_resumed_in_fresh_processes_equals_one_that_was_not(tmp_path, family):
    text = FAMILIES[family].replace("steps = 4", "steps = 12")
    _train(tmp_path / "whole", text, 12)
    assert _train(tmp_path / "killed", text, 12, kill_after=5) == -signal.SIGKILL
    _train(tmp_path / "killed", text, 12)
    whole, killed = (
        checkpoint.load(tmp_path / name / "run" / "checkpoints", 12) for name in ("whole", "killed")
    )
    assert whole.networks.keys() == killed.networks.keys()
    for name, value in whole.networks.items():
        assert torch.equal(value, killed.networks[name]), name
    assert whole.optimizers.keys() == killed.optimizers.keys() and whole.optimizers
    for name, value in whole.optimizers.items():
        assert torch.equal(value, killed.optimizers[name]), name
    drop = ("seconds", "sha256")
    states = [{k: v for k, v in c.state.items() if k not in drop} for c in (whole, killed)]
    assert json.dumps(states[0]) == json.dumps(states[1])


def test_without_waiting_the_first_broken_loss_is_kept_with_its_step(tmp_path):
    text = ONE_PAIR + '[losses.extra]\nuse = "poison"\n'
    training = training_of(tmp_path, text, POISON, sets=["train.steps=9"])
    training._guard._waits = False  # as on an accelerator
    generator = training.game.networks["generators.main"]
    for step in (1, 2):
        training.take_step(step)
    training.gauges()
    good = {name: value.clone() for name, value in generator.named_parameters()}
    for step in (3, 4, 5):
        training.take_step(step)
    assert all(torch.equal(value, good[name]) for name, value in generator.named_parameters())
    with pytest.raises(TrainingError, match="step 3: not finite: loss 'extra' on discriminator"):
        training.gauges()


def test_a_checkpoint_asked_for_by_the_first_hook_holds_what_later_hooks_do(tmp_path):
    text = ONE_PAIR.replace("checkpoint = { off = true }", "checkpoint = { every = 2 }")
    training = training_of(tmp_path, text + "[hooks.diary]\n", DIARY, sets=["train.steps=3"])
    training.run()
    saved = checkpoint.load(training.folder.checkpoints, 2)
    assert saved.state["hooks"]["diary"]["lines"][-1] == "2 ended"


def test_a_number_is_found_by_its_former_name(tmp_path):
    training = training_of(tmp_path, ONE_PAIR)
    training.take_step(1)
    std = training.gauge("pixel_std/fake")
    assert std is not None and std > 0
    assert training.gauge("spread/fake") == std
    assert "spread/fake" not in training.gauges()
