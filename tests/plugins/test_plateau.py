"""Hooks that act when a number gets no better: when, and that a resume changes nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from ganforge_plateau.early_stopping import EarlyStopping
from ganforge_plateau.lower_lr import LowerLr
from ganforge_plateau.plugin import EarlyStoppingOptions, LowerLrOptions, check
from playing import ONE_PAIR, training_of

from ganforge.plugin import Impossible
from ganforge.storage import checkpoint

LOSS = "loss/adversarial/generator"


class Watched:
    """What of a training these hooks may touch; `values` are logged as `number`, a step each."""

    def __init__(self, hook, steps=100, **others):
        self.watching = {"hook": hook}
        self.step, self.steps = 0, steps
        self.lr_factor = 1.0
        self.stop_reason = ""
        self.numbers = dict(others)

    def gauge(self, name):
        return self.numbers.get(name)

    def gauges(self):
        return {name: float(value) for name, value in self.numbers.items()} | {"accuracy": 1.0}

    def stop(self, reason):
        self.stop_reason = reason

    def play(self, *values):
        """Steps with these values of `number`, None for a step that logs none."""
        (hook,) = self.watching.values()
        for value in values:
            self.step += 1
            self.numbers.pop("number", None)
            if value is not None:
                self.numbers["number"] = torch.tensor(float(value))
            hook.step_ended(self, self.step)

    def measure(self, **figures):
        """Measure these figures of the metric `m`, ten steps later."""
        (hook,) = self.watching.values()
        self.step += 10
        hook.metrics_computed(self, self.step, {f"metric/m/{k}": v for k, v in figures.items()})


def lowering(**options):
    chosen = LowerLrOptions(**{"watch": "number", "window": 2, **options})
    return Watched(LowerLr(chosen))


def stopping(**options):
    chosen = EarlyStoppingOptions(**{"watch": "number", "window": 2, "patience": 2, **options})
    return Watched(EarlyStopping(chosen))


# --- lower-lr -------------------------------------------------------------------------------------


def test_learning_rates_are_halved_when_a_window_is_no_better_than_the_one_before():
    training = lowering()
    training.play(5, 3)  # 4
    training.play(4, 2)  # 3: better
    assert training.lr_factor == 1
    training.play(1, 5)  # 3: no better
    assert training.lr_factor == 0.5
    training.play(9, 9)  # 9: worse
    assert training.lr_factor == 0.25
    training.play(8, 8)  # better than the window before, though not than the best
    assert training.lr_factor == 0.25


@pytest.mark.parametrize(("second", "factor"), [(0.99985, 1.0), (0.99995, 0.5)])
def test_better_means_below_threshold_times_the_mean_before(second, factor):
    training = lowering()
    training.play(1, 1, second, second)
    assert training.lr_factor == factor


def test_a_window_of_thousands_of_steps_is_summed_finely_enough():
    training = lowering(window=20_000, threshold=1.0)
    training.play(*[0.1] * 20_000, *[0.1 - 2e-8] * 20_000)
    assert training.lr_factor == 1, "float32 sums would not have seen the difference"


def test_factor_and_what_happened_are_said(capsys):
    training = lowering(factor=0.1)
    training.play(1, 1, 2, 2)
    assert training.lr_factor == 0.1
    line = capsys.readouterr().out
    assert line == (
        "hook, step 4: number was 2 over 2 steps, 1 over those before; "
        "learning rates are now x 0.1\n"
    )


def test_steps_without_the_number_do_not_count(capsys):
    training = lowering()
    training.play(4, None)  # 4
    training.play(None, None)  # nothing to judge
    training.play(None, 3)  # 3: below 4
    assert training.lr_factor == 1


@pytest.mark.parametrize(
    ("watch", "hint"),
    [
        ("adversarial/convergance", "similar: adversarial/convergence, adversarial/k"),
        ("zzz", "there are: adversarial/convergence, adversarial/k"),
        ("accuracy", "there are: adversarial/convergence, adversarial/k"),
    ],
)
def test_a_number_that_is_never_logged_is_told_once_at_the_first_windows_end(watch, hint, capsys):
    training = lowering(watch=watch)
    training.numbers = {"adversarial/convergence": 1.0, "adversarial/k": 0.0}
    training.play(None)
    assert not capsys.readouterr().out
    training.play(*[None] * 5)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"hook, step 2: no number '{watch}' was logged in 2 steps; {hint}"]


def test_lowered_rates_reach_the_optimizers_which_keep_their_moments(tmp_path):
    text = ONE_PAIR + f'[hooks.lower-lr]\nwatch = "{LOSS}"\nwindow = 1\nthreshold = 1e-9\n'
    training = training_of(tmp_path, text, sets=["train.steps=3"])
    training.run()
    assert training.lr_factor == 0.25
    trained_module = training.game.trained_modules[0]
    assert (
        trained_module.optimizer.param_groups[0]["lr"] == trained_module.lr * 0.5
    )  # in step 3, after one halving
    assert all(state["step"] == 3 for state in trained_module.optimizer.state.values())


def test_of_a_metric_each_figure_is_set_against_the_one_before(capsys):
    training = lowering(watch="metric/m/error", window=1000)
    training.measure(error=4)
    training.measure(error=3)
    assert training.lr_factor == 1
    training.measure(error=3)
    assert training.lr_factor == 0.5
    assert capsys.readouterr().out == (
        "hook, step 30: metric/m/error was 3, 3 before; learning rates are now x 0.5\n"
    )


def test_a_figure_that_is_to_rise_lowers_rates_where_it_falls():
    training = lowering(watch="metric/m/share", better="higher")
    for share, factor in ((0.2, 1), (0.4, 1), (0.4, 0.5), (0.3, 0.25), (0.35, 0.25)):
        training.measure(share=share)
        assert training.lr_factor == factor


def test_a_figure_that_was_judged_is_not_judged_again_after_a_resume():
    training = lowering(watch="metric/m/error")
    training.measure(error=4)
    (hook,) = training.watching.values()
    resumed = lowering(watch="metric/m/error")
    resumed.watching["hook"].load_state(hook.save_state())
    resumed.measure(error=4)  # step 10 once more
    assert resumed.lr_factor == 1
    resumed.measure(error=4)
    assert resumed.lr_factor == 0.5


@pytest.mark.parametrize("options", [LowerLrOptions, EarlyStoppingOptions])
def test_no_run_is_steered_by_the_clock(options):
    with pytest.raises(Impossible, match="`metric/reconstruction/seconds` is wall-clock time"):
        check(options(watch="metric/reconstruction/seconds"))
    check(options(watch="metric/reconstruction/loss"))


# --- early-stopping -------------------------------------------------------------------------------


def test_a_run_ends_after_patience_windows_without_a_new_best():
    training = stopping()
    training.play(3, 3, 2, 2, 2, 2)  # best, best, stale
    assert not training.stop_reason
    training.play(1, 1)  # best again
    training.play(9, 9)
    assert not training.stop_reason
    training.play(1, 1)
    assert training.stop_reason == (
        "number got no better in 2 windows of 2 steps; best 1 at step 8"
    )


def test_better_may_be_higher():
    training = stopping(better="higher")
    training.play(1, 1, 2, 2, 3, 3, 4, 4)
    assert not training.stop_reason
    training.play(4, 4, 3, 3)
    assert training.stop_reason


def test_figures_of_metrics_count_one_by_one():
    training = stopping(watch="metric/m/distance")
    for distance in (9.0, 7.0, 8.0):
        training.measure(distance=distance, other=0.0)
    assert not training.stop_reason
    training.play(5, 5, 5, 5)  # steps mean nothing here
    training.measure(distance=7.0)
    assert training.stop_reason == (
        "metric/m/distance got no better in 2 figures; best 7 at step 20"
    )


def test_a_figure_that_is_not_there_is_told_once_with_the_nearest(capsys):
    training = stopping(watch="metric/m/distanse")
    for _ in range(3):
        training.measure(distance=1.0)
    (line,) = capsys.readouterr().out.splitlines()
    assert line == (
        "hook, step 10: no number 'metric/m/distanse' was measured; similar: metric/m/distance"
    )


def test_a_metric_that_is_never_measured_is_told_once(capsys):
    training = stopping(watch="metric/m/distance")
    training.play(*[None] * 6)
    (line,) = capsys.readouterr().out.splitlines()
    assert line == (
        "hook, step 2: no number 'metric/m/distance' was measured in 2 steps; "
        "hooks.metrics.evaluate says how often metrics are measured"
    )


def test_a_figure_measured_again_after_a_resume_counts_once():
    training = stopping(watch="metric/m/distance")
    (hook,) = training.watching.values()
    training.measure(distance=3.0)
    for _ in range(4):
        hook.metrics_computed(training, training.step, {"metric/m/distance": 3.0})
    assert not training.stop_reason


def test_what_is_no_number_is_never_the_best():
    training = stopping()
    training.play(float("nan"), 1, 3, 3, 4, 4)
    assert not training.stop_reason
    training.play(2, 2, 2, 2)
    assert not training.stop_reason


def test_it_asks_for_nothing_at_the_last_step_or_after_another_reason():
    training = stopping(patience=1)
    training.steps = 4
    training.play(1, 1, 2, 2)
    assert not training.stop_reason
    training.steps, training.stop_reason = 100, "interrupted"
    training.play(2, 2)
    assert training.stop_reason == "interrupted"


def test_a_run_stops_with_a_checkpoint_and_stays_stopped_until_patience_is_raised(tmp_path):
    def training(patience):
        hook = f'[hooks.early-stopping]\nwatch = "images"\nwindow = 2\npatience = {patience}\n'
        made = training_of(tmp_path, ONE_PAIR + hook, sets=["train.steps=20"])
        made.log("images", 1.0)  # a number that never changes
        return made

    first = training(1)
    first.run()
    assert (first.step, first.folder.checkpoint_steps()) == (4, [4])
    assert first.stop_reason.startswith("images got no better in 1 window of 2 steps")
    for patience, step in ((1, 4), (3, 8)):
        again = training(patience)
        again.resume(checkpoint.load(again.folder.checkpoints, 4))
        again.run()
        assert again.step == step


# --- resuming -------------------------------------------------------------------------------------

BOTH = f"""
[hooks.lower-lr]
watch = "{LOSS}"
window = 3
[hooks.early-stopping]
watch = "{LOSS}"
window = 3
patience = 2
"""


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_resumed_run_judges_the_very_same_windows(tmp_path, cut):
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = training_of(tmp_path / "whole", ONE_PAIR + BOTH, sets=["train.steps=30"])
    whole.run()
    assert whole.lr_factor < 1 and cut < whole.step < 30, "both hooks must have acted"
    first = training_of(tmp_path / "parts", ONE_PAIR + BOTH, sets=["train.steps=30"])
    for step in range(1, cut + 1):
        first.take_step(step)
    first.save()
    resumed = training_of(tmp_path / "parts", ONE_PAIR + BOTH, sets=["train.steps=30"])
    resumed.resume(checkpoint.load(resumed.folder.checkpoints, cut))
    resumed.run()
    assert (resumed.step, resumed.lr_factor) == (whole.step, whole.lr_factor)
    assert resumed.stop_reason == whole.stop_reason
    for name, hook in whole.watching.items():
        assert resumed.watching[name].save_state() == hook.save_state()
    expected = whole.game.state()
    for kind, tensors in resumed.game.state().items():
        assert all(torch.equal(value, expected[kind][name]) for name, value in tensors.items())


def test_manifest_does_not_import_torch():
    code = "import ganforge_plateau.plugin, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
