"""What is not finite stops a run before the update, is told with its place, and plays again."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from playing import CYCLE, ONE_PAIR, plan_of, registry, training_of
from torch import nn

from ganforge import Discriminator, Loss
from ganforge.game.nan_examination import examine
from ganforge.game.nan_guard import Broken, TurnPosition
from ganforge.interfaces.errors import RunError, TrainingError
from ganforge.planning.resolved_recipe import resolved_tables, to_toml
from ganforge.plugin import Component
from ganforge.storage import checkpoint
from ganforge.training import failed_turn


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setitem(sys.modules, "test_failure", sys.modules[__name__])


class Trouble(Loss):
    """Fine until its third observation; then what `how` does of each score."""

    def __init__(self, options):
        super().__init__(options)
        self.register_buffer("calls", torch.zeros(()))

    def how(self, scores):
        return scores / (self.calls - 2)

    def generator(self, fake_scores):
        return self.how(fake_scores) if self.calls >= 2 else fake_scores * 0.1

    def observe(self, side, values):
        self.calls += 1
        return {}


class Slope(Trouble):
    """Finite, with a gradient that is not."""

    def how(self, scores):
        return (scores - scores.detach()).sqrt()


class SlopeOfSlope(Loss):
    """Reads gradients; those of the weights break, and no bias's does."""

    def discriminator(self, real_gradient):
        return (real_gradient - real_gradient.detach()).flatten(1).square().sum(1).sqrt()


class Halver(nn.Module):
    def forward(self, x):
        return x / (x > 0)  # infinite, and not a number, below 0


class Odd(Discriminator):
    """Its second layer breaks."""

    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.body = nn.Sequential(nn.Linear(judged.flat, 4), Halver(), nn.Linear(4, 1))

    def forward(self, data, given=()):
        return self.body(data.flatten(1))


def _component(kind, name, cls):
    return Component(kind, name, f"test_failure:{cls}", provider="tests", version="0")


PARTS = (
    _component("loss", "trouble", "Trouble"),
    _component("loss", "slope", "Slope"),
    _component("loss", "slope-of-slope", "SlopeOfSlope"),
    _component("discriminator", "odd", "Odd"),
)
EXTRA = '\n[losses.extra]\nuse = "{}"\n'


def begun(folder, text, *sets):
    """A training whose run folder says what it plays."""
    folder.mkdir(exist_ok=True)
    training = training_of(folder, text, *PARTS, sets=sets)
    locked = training.game.machine.locked()
    training.folder.create(text, to_toml(resolved_tables(training.plan, locked), "made"))
    return training


def stopped(training):
    """(what the run said when it stopped, the weights and moments before its last step)."""
    take, before = training.take_step, {}

    def kept(step):
        before.clear()
        before.update(copied(training))
        take(step)

    training.take_step = kept
    with pytest.raises(TrainingError) as caught:
        training.run()
    return str(caught.value), before


def copied(training):
    """Everything but what BatchNorm counts, which no forward that trains reads."""
    state = training.game.state()
    everything = {k: v.clone() for tensors in state.values() for k, v in tensors.items()}
    return {k: v for k, v in everything.items() if not _counted(k)}


def _counted(name):
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def snapshot(training):
    (folder,) = training.folder.failed.iterdir()
    return folder


def replayed(training):
    """(how the replay differs from what happened, what it shows)."""
    read = failed_turn.read(snapshot(training))
    game = failed_turn.build(read, training.plan, registry(*PARTS), None)
    findings = failed_turn.replay(read, game)
    return failed_turn.difference(read, findings), findings


def test_a_loss_that_is_not_finite_is_told_with_term_turn_and_step_and_plays_again(tmp_path):
    training = begun(tmp_path, ONE_PAIR + EXTRA.format("trouble"))
    message, before = stopped(training)
    assert message.startswith(
        "step 3: not finite: loss 'extra' on discriminator 'main' (generator turn), not in any "
        "layer. The update was not made, so weights are as before it; no checkpoint was due; "
    )
    assert message.endswith(f"`ganforge replay {snapshot(training).as_posix()}` shows it again")
    assert "\n" not in message
    for name, value in copied(training).items():
        if name.startswith("generators."):
            assert torch.equal(value, before[name]), name
    assert training.folder.checkpoint_steps() == []
    difference, findings = replayed(training)
    assert difference == ""
    assert findings.broken_terms == ["loss 'extra' on discriminator 'main'"]
    assert findings.terms["loss 'adversarial' on discriminator 'main'"] > 0


def test_a_snapshot_holds_tensors_and_json_only_and_the_state_before_the_turn(tmp_path):
    training = begun(tmp_path, ONE_PAIR + EXTRA.format("trouble"))
    _, before = stopped(training)
    folder = snapshot(training)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "inputs.safetensors",
        "networks.safetensors",
        "optimizers.safetensors",
        "state.json",
    ]
    read = failed_turn.read(folder)
    for name, value in (read.networks | read.optimizers).items():
        if name.startswith("generators.") and not _counted(name):
            assert torch.equal(value, before[name]), name
    assert torch.equal(read.inputs["image"], training.game.feed.batch(2)["image"])
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    assert (state["side"], state["step"], state["update"], state["seed"]) == ("generator", 3, 2, 0)


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(tmp_path):
    training = begun(tmp_path, ONE_PAIR + EXTRA.format("slope"))
    message, before = stopped(training)
    assert "step 3: not finite: gradient of generator 'main', parameter '" in message
    assert "(generator turn), by loss 'extra' on discriminator 'main'. The update" in message
    for name, value in copied(training).items():
        if name.startswith("generators."):
            assert torch.equal(value, before[name]), name
    difference, findings = replayed(training)
    assert difference == "" and not findings.broken_terms and not findings.layer


def test_without_waiting_a_gradient_is_found_later_and_the_weights_stay(tmp_path):
    training = begun(tmp_path, ONE_PAIR + EXTRA.format("slope"), "train.steps=9")
    training._guard._waits = False  # as on an accelerator
    for step in (1, 2):
        training.take_step(step)
    generator = training.game.networks["generators.main"]
    good = [p.detach().clone() for p in generator.parameters()]
    for step in (3, 4, 5):
        training.take_step(step)
    with pytest.raises(TrainingError) as caught:
        training.gauges()
    assert "step 3: not finite: gradient of generator 'main', parameter '" in str(caught.value)
    assert all(map(torch.equal, generator.parameters(), good))
    assert failed_turn.read(snapshot(training)).at.step == 3
    difference, findings = replayed(training)
    assert difference == "" and findings.gradients


@pytest.mark.parametrize(
    ("broke", "told"),
    [
        ([("discriminator", "gradient"), ("generator", "loss")], ("discriminator", "gradient")),
        ([("discriminator", "loss"), ("discriminator", "gradient")], ("discriminator", "loss")),
        ([("generator", "loss"), ("generator", "gradient")], ("generator", "loss")),
    ],
)
def test_of_what_broke_without_waiting_the_first_is_told(tmp_path, broke, told):
    training = begun(tmp_path, ONE_PAIR)
    guard, nan = training._guard, torch.tensor(float("nan"))
    guard._waits = False
    for side, kind in broke:
        guard.open(TurnPosition(side, 2, 1, 1))
        if kind == "loss":
            guard.watch(nan, {"losses.adversarial@main": {"loss": nan}}, closely=False)
            continue
        modules = [module for module in training.game.trained_modules if module.side == side]
        for parameter in (p for module in modules for p in module.parameters):
            parameter.grad = torch.full_like(parameter, float("nan"))
        guard.gradients(modules)
    with pytest.raises(Broken) as caught:
        guard.raise_if_broken()
    assert (caught.value.at.side, caught.value.kind) == told


def test_gradients_of_the_parts_of_a_batch_are_shown_as_those_of_the_whole(tmp_path):
    norms = []
    for sets in ((), ("train.accumulate=2",)):
        training = begun(tmp_path, ONE_PAIR, 'generator.norm="none"', *sets)
        training.game.enter(training.plan.phases[0])
        found = examine(training.game, TurnPosition("discriminator", 1, 0, 0), {}).norms
        norms.append(found["discriminators.main"])
    assert len(norms[0]) > 1 and norms[0] == pytest.approx(norms[1], rel=1e-4)


def test_where_a_loss_reads_gradients_those_of_all_weights_are_looked_at(tmp_path):
    training = begun(tmp_path, ONE_PAIR + EXTRA.format("slope-of-slope"))
    message, before = stopped(training)
    assert "step 1: not finite: gradient of discriminator 'main', parameter '" in message
    assert "weight'" in message and "bias" not in message
    after = copied(training)
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_the_first_layer_that_is_not_finite_is_named(tmp_path):
    text = ONE_PAIR.replace('use = "mlp"\nhidden = [12]\ndropout = 0.0', 'use = "odd"')
    training = begun(tmp_path, text)
    message, _ = stopped(training)
    assert (
        "(discriminator turn), first in the output of layer 'body.1' (Halver) of discriminator "
        "'main'. The update was not made"
    ) in message


GAMES = {
    "dropout and spectral norm": ONE_PAIR.replace("dropout = 0.0", 'dropout = 0.5\nnorm="spectral"')
    + EXTRA.format("trouble"),
    "parts of a batch": ONE_PAIR.replace("[noise]", "accumulate = 2\n[noise]")
    + EXTRA.format("trouble"),
    "several updates of D": ONE_PAIR.replace("[noise]", "discriminator_steps = 3\n[noise]")
    + EXTRA.format("slope-of-slope")
    + "start = 0.5\n",
    "a pool, channels_last": CYCLE + EXTRA.format("trouble"),
    "bf16 and averaged": ONE_PAIR.replace('"fp32"', '"bf16"').replace(
        "[generator]", "[generator]\nema = 0.9"
    )
    + EXTRA.format("slope"),
    "phases": ONE_PAIR.replace(
        "[noise]",
        '[train.phases.first]\ntrain = ["discriminator"]\nsteps = 1\n'
        '[train.phases.second]\ntrain = ["generator", "discriminator"]\n[noise]',
    )
    + EXTRA.format("slope-of-slope")
    + "start = 0.5\n",
}


@pytest.mark.parametrize("name", GAMES)
def test_what_happened_happens_again_to_the_bit(tmp_path, name):
    training = begun(tmp_path, GAMES[name])
    stopped(training)
    difference, findings = replayed(training)
    assert difference == ""
    assert findings.broken_terms or findings.gradients


def test_what_an_encoder_had_made_before_it_was_moved_is_kept(tmp_path):
    from test_conditions import COMPONENTS, PAINTING

    training = training_of(tmp_path, PAINTING + EXTRA.format("trouble"), *COMPONENTS, *PARTS)
    stopped(training)
    read = failed_turn.read(snapshot(training))
    assert "encoded/text/made" in read.inputs
    game = failed_turn.build(read, training.plan, registry(*COMPONENTS, *PARTS), None)
    assert failed_turn.difference(read, failed_turn.replay(read, game)) == ""


HUGE = ONE_PAIR + '\n[optimizer]\nuse = "sgd"\nlr = 1e30\n'


def test_an_update_that_overflows_is_told_and_undone_when_the_run_is_taken_up_again(tmp_path):
    message, _ = stopped(begun(tmp_path, HUGE))
    assert "An update before this turn did it unseen" in message
    assert "the same command again continues from there and looks at every gradient" in message
    again = begun(tmp_path, HUGE)
    message, before = stopped(again)
    assert "step 1: not finite: weights of discriminator 'main'" in message
    assert "after the update (discriminator turn). The update was not made" in message
    after = copied(again)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    difference, findings = replayed(again)
    assert difference == "" and findings.updated


def test_weights_that_a_hook_spoils_are_never_saved(tmp_path):
    training = begun(tmp_path, ONE_PAIR)
    training.take_step(1)
    with torch.no_grad():
        next(training.game.networks["generators.main"].parameters()).fill_(float("nan"))
    for ask in (training.save, training.gauges):
        with pytest.raises(TrainingError, match="step 1: not finite: weights of generator 'main'"):
            ask()
    assert training.folder.checkpoint_steps() == []


def test_an_average_that_is_no_number_is_never_saved(tmp_path):
    training = begun(tmp_path, ONE_PAIR, "generator.ema=0.9")
    training.take_step(1)
    next(training.game.ema["generators.main"].parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"step 1: not finite: ema\.generators\.main/"):
        training.save()


def test_of_many_tensors_that_are_no_numbers_three_are_named(tmp_path):
    training = begun(tmp_path, ONE_PAIR, "generator.ema=0.9")
    training.take_step(1)
    averages = list(training.game.ema["generators.main"].parameters())
    assert len(averages) > 3
    for parameter in averages:
        parameter.fill_(float("nan"))
    with pytest.raises(TrainingError) as caught:
        training.save()
    assert str(caught.value).count("ema.generators.main/") == 3


def test_where_no_snapshot_can_be_written_the_place_is_told_all_the_same(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    message, _ = stopped(begun(tmp_path, ONE_PAIR + EXTRA.format("trouble")))
    assert "step 3: not finite: loss 'extra'" in message
    assert "cannot write the snapshot" in message and "no space left" in message


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def failed(tmp_path, monkeypatch, workdir):
    """The snapshot of a run in runs/dots, whose components the command finds."""
    from ganforge.registry.registry import Registry

    training = begun(tmp_path, ONE_PAIR + EXTRA.format("trouble"))
    stopped(training)
    shutil.copytree(training.folder.path, "runs/dots")
    there = registry(*PARTS)
    monkeypatch.setattr(Registry, "load", classmethod(lambda cls, **_: there))
    return Path("runs/dots/failed/step-00000003")


def test_the_command_shows_terms_norms_and_what_broke(failed, ganforge_cli):
    answer = ganforge_cli("replay", failed)
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith("dots, step 3: generator turn, batch 2\n")
    assert "loss 'extra' on discriminator 'main'        inf\n" in answer.out.replace("-inf", "inf")
    assert "every layer's output is finite; the loss's own maths is not\n" in answer.out
    assert answer.out.endswith("\nreproduced, bit for bit\n")


def test_another_torch_is_said_where_numbers_differ(failed, ganforge_cli):
    _edit(failed, lambda state: state["findings"]["values"].update(other=1.0) or {"torch": "1.0"})
    answer = ganforge_cli("replay", failed)
    assert answer.status == 0
    now = torch.__version__
    assert f"but the numbers differ (torch 1.0 -> {now})\n" in answer.out


def test_what_does_not_come_again_is_an_error(failed, ganforge_cli):
    _edit(failed, lambda state: state["findings"].update(layer="the moon") or {})
    answer = ganforge_cli("replay", failed)
    assert answer.status == 1
    assert "error: not reproduced: in the run it was the moon (" in answer.err


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: shutil.rmtree(folder), "is no snapshot of a failed step"),
        (lambda folder: (folder / "state.json").write_text("[1]"), "cannot read the snapshot"),
        (lambda folder: (folder / "inputs.safetensors").write_bytes(b"x"), "is damaged"),
        (lambda folder: _edit(folder, lambda s: {"side": "umpire"}), "is not what ganforge writes"),
        (lambda folder: _edit(folder, lambda s: {"step": True}), "is not what ganforge writes"),
        (lambda folder: _edit(folder, lambda s: {"step": -1}), "is not what ganforge writes"),
        (lambda folder: _edit(folder, lambda s: {"step": 2**62}), "is not what ganforge writes"),
        (lambda folder: _edit(folder, lambda s: {"steps": 0}), "is not what ganforge writes"),
        (lambda folder: _edit(folder, lambda s: s.pop("rates") and {}), "is not what ganforge wr"),
        (lambda folder: _edit(folder, lambda s: {"rates": []}), "is not what ganforge writes"),
        (lambda folder: _edit_machine(folder, processes=0), "is not what ganforge writes"),
        (lambda folder: _edit_machine(folder, processes=2**16), "is not what ganforge writes"),
        (lambda folder: _edit(folder, lambda s: {"phase": {}}), "its phase is another"),
        (lambda folder: (folder / "../../resolved.toml").unlink(), "it has no resolved.toml"),
    ],
)
def test_a_bad_snapshot_is_one_line(failed, ganforge_cli, spoil, words):
    spoil(failed)
    answer = ganforge_cli("replay", failed)
    assert answer.status == 2
    assert words in answer.err and answer.err.count("\n") == 1


def test_a_snapshot_of_another_game_is_refused(failed, ganforge_cli, tmp_path):
    plan = plan_of(tmp_path, ONE_PAIR + EXTRA.format("trouble"), *PARTS, sets=["noise.dim=9"])
    tables = to_toml(resolved_tables(plan, {"device": "cpu"}), "other")
    (failed / "../../resolved.toml").write_text(tables, encoding="utf-8")
    answer = ganforge_cli("replay", failed)
    assert answer.status == 2
    assert "does not fit" in answer.err and answer.err.startswith("error: ")


def _edit(folder, change):
    """Change the state of a snapshot; what is returned replaces keys of it."""
    path = folder / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    state |= change(state)
    state["sha256"]["state"] = checkpoint._sha256_of_state(state)
    path.write_text(json.dumps(state), encoding="utf-8")


def _edit_machine(folder, **facts):
    _edit(folder, lambda state: {"machine": state["machine"] | facts})


def test_a_snapshot_of_many_processes_is_read(failed):
    _edit_machine(failed, processes=1000)
    assert failed_turn.read(failed).state["machine"]["processes"] == 1000


def test_a_folder_that_is_no_snapshot_is_refused(tmp_path):
    with pytest.raises(RunError, match="such as RUN/failed/step-00000812"):
        failed_turn.read(tmp_path)
