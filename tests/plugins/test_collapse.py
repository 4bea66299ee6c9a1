"""The warning that one side has won: when it comes, what it says, and that it comes once."""

from __future__ import annotations

import pytest
import torch
from playing import CYCLE, ONE_PAIR, training_of

from ganforge.storage import checkpoint

LOOKS = "collapse-alarm = { every = 1, window = 3 }\n"
PLAIN = ONE_PAIR.replace("steps = 4", "steps = 12").replace(
    "collapse-alarm = { off = true }\n", LOOKS
)
RIGHT = "discriminator 'main' tells every fake from real data, so the generator may learn little"
ALIKE = "the images of generator 'main' are nearly all alike"


def fed(training, looks):
    """What is printed while these (accuracy, spread of fakes, spread of real) are seen."""
    alarm = training.watching["collapse-alarm"]
    training.game.enter(training.plan.phase_at(1))
    for step, (accuracy, fake, real) in enumerate(looks, start=training.step + 1):
        training.step = step
        training.log("accuracy", accuracy)
        training.log("pixel_std/fake", fake)
        training.log("pixel_std/real", real)
        alarm.step_ended(training, step)


def test_d_that_is_always_right_is_warned_of_once_with_what_helps(tmp_path, capsys):
    training = training_of(tmp_path, PLAIN)
    fed(training, [(1.0, 0.5, 0.5)] * 12)
    assert capsys.readouterr().out == (
        f"warning: collapse-alarm, step 4: since step 1 {RIGHT}; what often helps: a lower "
        "`discriminators.main.optimizer.lr`, a loss `r1` or an augmentor `diff-augment`\n"
    )


def test_what_is_in_the_recipe_already_is_not_advised(tmp_path, capsys):
    text = PLAIN.replace("[noise]", "discriminator_steps = 2\n[noise]") + "[losses.r1]\n"
    fed(training_of(tmp_path, text), [(1.0, 0.5, 0.5)] * 4)
    out = capsys.readouterr().out
    assert "fewer `train.discriminator_steps` or an augmentor `diff-augment`\n" in out
    assert "`r1`" not in out


def test_fakes_that_are_all_alike_are_warned_of(tmp_path, capsys):
    fed(training_of(tmp_path, PLAIN), [(0.5, 0.04, 0.5)] * 4)
    out = capsys.readouterr().out
    assert f"step 4: since step 1 {ALIKE}; what often helps: a lower `optimizer.lr`" in out


@pytest.mark.parametrize("good", [(0.99, 0.5, 0.5), (1.0, 0.06, 0.5)])
def test_what_does_not_last_is_no_reason_to_warn(tmp_path, capsys, good):
    looks = [(1.0, 0.04, 0.5)] * 3 + [good] + [(1.0, 0.04, 0.5)] * 3
    fed(training_of(tmp_path, PLAIN), looks)
    out = capsys.readouterr().out
    assert (RIGHT in out) == (good[0] == 1) and (ALIKE in out) == (good[1] < 0.05)


def test_while_one_side_alone_learns_nobody_has_won(tmp_path, capsys):
    phases = (
        '[train.phases.one]\ntrain = ["discriminator"]\nsteps = 6\n'
        '[train.phases.two]\ntrain = ["generator", "discriminator"]\n[noise]'
    )
    training = training_of(tmp_path, PLAIN.replace("[noise]", phases))
    fed(training, [(1.0, 0.5, 0.5)] * 8)
    assert capsys.readouterr().out == ""


def test_the_alarm_ends_the_run_where_it_is_asked_to(tmp_path):
    text = PLAIN.replace("window = 3", "window = 3, stop = true")
    text = text.replace("hidden = [12]\n[discriminator]", "hidden = [12]\n[discriminator]")
    training = training_of(tmp_path, text)
    alarm = training.watching["collapse-alarm"]
    alarm._seen = lambda training: iter(["accuracy"])
    training.run()
    assert training.step == 4
    assert training.stop_reason == f"since step 1 {RIGHT}"
    assert training.folder.checkpoint_steps() == [4]


def test_a_resumed_run_goes_on_counting(tmp_path, capsys):
    whole = training_of(tmp_path, PLAIN)
    fed(whole, [(1.0, 0.5, 0.5)] * 2)
    state = whole.watching["collapse-alarm"].save_state()
    again = training_of(tmp_path, PLAIN)
    again.watching["collapse-alarm"].load_state(state)
    again.step = 2
    fed(again, [(1.0, 0.5, 0.5)] * 2)
    assert "step 4: since step 1 discriminator 'main'" in capsys.readouterr().out


def test_the_spread_is_the_deviation_of_each_pixel_over_the_batch(tmp_path):
    training = training_of(tmp_path, PLAIN)
    training.take_step(1)
    real, fake = training._shown[""]
    figures = training.gauges()
    assert figures["pixel_std/real"] == pytest.approx(real.std(0).mean().item())
    assert figures["pixel_std/fake"] == pytest.approx(fake.std(0).mean().item())
    assert torch.equal(real, training.game.feed.batch(0)["image"])
    assert float(training.gauge("pixel_std/fake")) == pytest.approx(figures["pixel_std/fake"])
    assert float(training.gauge("accuracy")) == figures["accuracy"]


def test_a_batch_of_few_images_does_not_say_how_much_they_differ(tmp_path):
    training = training_of(tmp_path, CYCLE)
    training.take_step(1)
    assert not [name for name in training.gauges() if name.startswith("spread")]


def test_early_stopping_may_watch_accuracy_and_spread_through_a_resume(tmp_path):
    text = PLAIN + 'early-stopping = { watch = "accuracy", window = 2, patience = 2 }\n'
    whole = training_of(tmp_path, text)
    for step in range(1, 5):
        whole.take_step(step)
    whole.save()
    expected = whole.watching["early-stopping"].save_state()
    assert expected["best"] is not None
    again = training_of(tmp_path, text)
    again.resume(checkpoint.load(again.folder.checkpoints, 4))
    for training in (whole, again):
        training.take_step(5)
    assert again.watching["early-stopping"].save_state() == (
        whole.watching["early-stopping"].save_state()
    )
