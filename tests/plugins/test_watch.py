"""The hooks that watch a run: what they write, say and draw, and that they change nothing."""

from __future__ import annotations

import io
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ganforge_watch import cost, samples
from ganforge_watch.plugin import check_tensorboard
from PIL import Image
from playing import CYCLE, ONE_PAIR, QUIET, training_of
from rich.console import Console

from ganforge import DataError, Hook, Metric, Run, Training
from ganforge.data.feed import Feed
from ganforge.images import grid, tiled
from ganforge.plugin import Component, Impossible, option, options
from ganforge.storage import checkpoint
from ganforge.storage.run_folder import RunFolder

BARE = ONE_PAIR.replace(QUIET, "")
ALL_OFF = ["hooks.progress.off=true", "hooks.metrics.off=true", "hooks.samples.off=true"]
LABELLED = BARE.replace("[generator]", '[generator]\nfrom = ["noise", "label"]')


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "test_watch", sys.modules[__name__])


def weights(training) -> dict[str, torch.Tensor]:
    return training.game.state()["networks"] | training.game.state()["optimizers"]


def lines_of(training) -> list[dict]:
    text = training.folder.metrics.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


# --- nothing is changed ---------------------------------------------------------------------------


def test_watching_changes_no_bit_of_what_is_learned(tmp_path):
    text = BARE.replace("dropout = 0.0", "dropout = 0.3") + "\n[metrics.brightness]\n"
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    sets = ["hooks.samples.every=1", "hooks.metrics.every=1", "hooks.metrics.evaluate=2"]
    watched = training_of(tmp_path / "a", text, BRIGHTNESS, sets=[*sets, "train.steps=6"])
    alone = training_of(tmp_path / "b", text, BRIGHTNESS, sets=[*ALL_OFF, "train.steps=6"])
    for training in (watched, alone):
        training.run()
    expected = weights(alone)
    for name, tensor in weights(watched).items():
        assert torch.equal(tensor, expected[name]), name


def test_looking_leaves_every_network_in_its_mode(tmp_path):
    training = training_of(tmp_path, ONE_PAIR)
    training.game.enter(training.plan.phases[0])
    with training.looking() as run:
        run.sample(2)
        assert not training.game.networks["generators.main"].training
    assert all(module.training for module in training.game.networks["generators.main"].modules())


# --- metrics --------------------------------------------------------------------------------------


@options
class BrightnessOptions:
    broken: bool = option(False, help="whether it cannot be computed")


class Brightness(Metric):
    def measure(self, run: Run):
        if self.options.broken:
            raise DataError("the pictures are gone")
        return {"mean": run.sample(4).mean().item(), "deviation": 0.25}

    def protocol(self) -> str:
        return "4 samples"


class Listener(Hook):
    heard: tuple = ()

    def metrics_computed(self, step, metrics):
        self.heard = (*self.heard, (step, sorted(metrics)))


BRIGHTNESS = Component(
    "metric", "brightness", "test_watch:Brightness", BrightnessOptions, provider="t", version="0"
)
LISTENER = Component("hook", "listener", "test_watch:Listener", provider="t", version="0")
FIGURES = ["metric/brightness/deviation", "metric/brightness/mean"]


def test_lines_are_written_at_the_first_each_nth_and_the_last_step(tmp_path):
    training = training_of(tmp_path, BARE, sets=["train.steps=7", "hooks.metrics.every=3"])
    training.run()
    lines = lines_of(training)
    assert [line["step"] for line in lines] == [1, 3, 6, 7]
    assert [line["images"] for line in lines] == [6, 18, 36, 42]
    first, *others = lines
    assert list(first)[:3] == ["step", "images", "seconds"]
    assert list(first)[3:] == sorted(list(first)[3:])
    assert {"loss/adversarial/generator", "accuracy", "lr/generators.main"} < first.keys()
    assert all(line.keys() == first.keys() for line in others)


def test_what_is_no_number_is_written_as_null(tmp_path):
    training = training_of(tmp_path, BARE)
    training.log("odd", torch.tensor(float("nan")))
    training.log("large", float("inf"))
    training.run()
    assert lines_of(training)[0]["odd"] is None
    assert lines_of(training)[0]["large"] is None


def test_metrics_are_measured_at_the_end_written_told_and_printed(tmp_path, capsys):
    text = BARE + "\n[hooks.listener]\n[metrics.brightness]\n"
    training = training_of(tmp_path, text, BRIGHTNESS, LISTENER)
    training.run()
    *_, line = lines_of(training)
    assert line["step"] == 4
    assert sorted(key for key in line if key.startswith("metric/")) == FIGURES
    assert line["metric/brightness/deviation"] == 0.25
    assert training.watching["listener"].heard == ((4, FIGURES),)
    printed = capsys.readouterr().out
    assert "brightness\n" in printed and "4 samples\n" in printed
    assert "deviation" in printed and "0.250\n" in printed


def test_metrics_are_measured_each_nth_step_and_the_last_only_once(tmp_path):
    text = BARE + "\n[hooks.listener]\n[metrics.brightness]\n"
    sets = ["hooks.metrics.evaluate=2"]
    training = training_of(tmp_path, text, BRIGHTNESS, LISTENER, sets=sets)
    training.run()
    assert [step for step, _ in training.watching["listener"].heard] == [2, 4]


def test_a_metric_that_cannot_be_computed_is_told_and_does_not_end_the_run(tmp_path, capsys):
    text = BARE + "\n[metrics.brightness]\nbroken = true\n"
    training = training_of(tmp_path, text, BRIGHTNESS)
    training.run()
    assert (
        "metric brightness could not be computed: the pictures are gone" in capsys.readouterr().out
    )
    assert (training.folder.samples / "progress.gif").exists()


class Interrupt(Hook):
    """Does what Ctrl-C does, at step 2."""

    def step_ended(self, training, step):
        if step == 2:
            training.interrupted = True
            training.stop("interrupted by SIGINT")


INTERRUPT = Component("hook", "interrupt", "test_watch:Interrupt", provider="t", version="0")


def test_an_interrupted_run_ends_without_metrics_and_animation(tmp_path):
    text = BARE + "\n[hooks.interrupt]\n[metrics.brightness]\n"
    training = training_of(tmp_path, text, BRIGHTNESS, INTERRUPT, sets=["hooks.samples.every=1"])
    training.run()
    assert [line["step"] for line in lines_of(training)] == [1]
    assert not (training.folder.samples / "progress.gif").exists()


def test_an_interruption_in_the_last_step_cuts_nothing_short(tmp_path):
    text = BARE + "\n[hooks.interrupt]\n[metrics.brightness]\n"
    training = training_of(tmp_path, text, BRIGHTNESS, INTERRUPT, sets=["train.steps=2"])
    training.run()
    assert training.stop_reason == ""
    assert "metric/brightness/mean" in lines_of(training)[-1]


# --- checkpoints ----------------------------------------------------------------------------------


def test_the_newest_checkpoints_are_kept(tmp_path):
    sets = ["train.steps=7", "hooks.checkpoint={every=2,keep=2}"]
    training = training_of(tmp_path, BARE, sets=sets)
    training.run()
    assert training.folder.checkpoint_steps() == [6, 7]


# --- samples --------------------------------------------------------------------------------------


def test_sheets_are_drawn_before_the_first_each_nth_and_after_the_last_step(tmp_path):
    training = training_of(tmp_path, BARE, sets=["train.steps=5", "hooks.samples.every=2"])
    training.run()
    names = [path.stem for path in training.folder.sheets()]
    assert names == ["step-000000", "step-000002", "step-000004", "step-000005"]
    with Image.open(training.folder.samples / "progress.gif") as animation:
        assert animation.n_frames == 4
    assert not list(training.folder.path.rglob("*.part*"))


def test_a_sheet_shows_what_sampling_its_seeds_gives(tmp_path):
    training = training_of(tmp_path, BARE, sets=["hooks.samples.count=9", "generator.ema=0.5"])
    training.run()
    run = Run(training.folder, registry=training.registry)
    run.__dict__["plan"] = training.plan
    expected = grid(run.sample(9, seed=0), 3)
    assert np.array_equal(pixels(training.folder.sheets()[-1]), expected)


def test_every_sheet_can_be_made_again_from_its_snapshot(tmp_path):
    sets = ["hooks.samples={every=1,count=4}", "hooks.checkpoint.every=100"]
    training = training_of(tmp_path, BARE, sets=sets)
    training.run()
    run = Run(training.folder, step="2", registry=training.registry)
    run.__dict__["plan"] = training.plan
    sheet = pixels(training.folder.samples / "step-000002.png")
    assert np.array_equal(sheet, grid(run.sample(4), 2))


def test_labelled_sheets_show_one_seed_a_row_and_one_class_a_column(tmp_path):
    training = training_of(tmp_path, LABELLED, sets=["train.steps=1", "hooks.samples.count=7"])
    training.run()
    with training.looking() as run:
        rows = [run.sample(1, label=label, seed=1) for label in range(3)]
    sheet = pixels(training.folder.sheets()[-1])
    assert sheet.shape == (28, 28)  # 3 x 3 tiles of 8 px, 2 px apart
    assert np.array_equal(sheet[10:18], grid(torch.cat(rows), 3))


def test_translators_are_shown_with_input_translation_and_the_way_back(tmp_path):
    text = CYCLE.replace(QUIET, "")
    training = training_of(tmp_path, text, sets=["train.steps=1", "hooks.samples.count=12"])
    training.run()
    sheet = pixels(training.folder.sheets()[-1])
    assert sheet.shape == (8 + 2 + 8 + 12 + 8 + 2 + 8, 28)  # 2 inputs a direction, 3 tiles each
    with training.looking() as run:
        inputs, darks = run.held_out("light", 2), run.held_out("dark", 1)
        made = run.translate(inputs, "l2d")
        back = run.translate(made, "d2l")
    second = grid(torch.stack([inputs[1].cpu(), made[1], back[1]]), 3)
    assert np.array_equal(sheet[10:18], second)
    assert np.array_equal(sheet[30:38, :8], grid(darks, 1))


def test_real_images_are_shown_as_discriminators_see_them(tmp_path):
    training = training_of(tmp_path, BARE, sets=["train.steps=1", "hooks.samples.count=17"])
    training.run()
    sheet = pixels(training.folder.samples / "real.png")
    assert sheet.shape == (38, 38)  # whole lines of 4
    shown = {
        sheet[y : y + 8, x : x + 8].tobytes() for y in (0, 10, 20, 30) for x in (0, 10, 20, 30)
    }
    batches = torch.cat([training.game.feed.batch(update)["image"] for update in range(3)])
    expected = {grid(image[None], 1).tobytes() for image in batches[:16]}
    assert shown == expected


def test_a_resumed_run_has_the_sheets_of_an_uninterrupted_one(tmp_path):
    sets = ["train.steps=6", "hooks.samples.every=1", "hooks.checkpoint.every=3"]
    whole = training_of(tmp_path, BARE, sets=sets)
    whole.run()
    kept = {path.name: path.read_bytes() for path in whole.folder.path.glob("s*/step-*")}
    (whole.folder.samples / "step-000003.png").unlink()  # killed before it was drawn
    (whole.folder.samples / "step-000099.png").write_bytes(b"of another future")
    resumed = training_of(tmp_path, BARE, sets=sets)
    resumed.resume(checkpoint.load(resumed.folder.checkpoints, 3))
    resumed.watching["samples"].run_started(resumed)
    assert [path.stem[-1] for path in resumed.folder.sheets()] == ["0", "1", "2", "3"]
    resumed.run()
    assert {p.name: p.read_bytes() for p in resumed.folder.path.glob("s*/step-*")} == kept


def test_snapshots_stay_evenly_spread(tmp_path):
    for step in range(0, 10_001, 100):
        (tmp_path / f"step-{step:06d}.safetensors").write_bytes(b"")
        samples._thin(tmp_path, 6)
    steps = sorted(int(path.stem[5:]) for path in tmp_path.iterdir())
    assert len(steps) == 6
    assert (steps[0], steps[-1]) == (0, 10_000)
    gaps = np.diff(steps)
    assert gaps.max() <= 2 * gaps.min()


def test_sheets_of_several_kinds_stand_together():
    grey = np.zeros((4, 4), np.uint8)
    colour = np.full((2, 6, 3), 7, np.uint8)
    clear = np.full((2, 2, 4), 9, np.uint8)
    assert tiled([grey, grey], 1, down=2).shape == (10, 4)
    both = tiled([grey, colour], 2, across=1)
    assert both.shape == (4, 11, 3)
    assert (both[:, 4] == 255).all() and (both[2:, 5:] == 255).all()
    assert tiled([colour, clear], 1).shape == (2 + 2 + 2, 6, 4)


def test_an_animation_has_a_moderate_number_of_frames_and_pixels(tmp_path):
    sheets = []
    for number in range(100):
        sheets.append(tmp_path / f"step-{number:06d}.png")
        Image.new("RGB", (1000, 800), (2 * number, 0, 0)).save(sheets[-1], compress_level=1)
    samples._write_gif(tmp_path / "progress.gif", sheets)
    with Image.open(tmp_path / "progress.gif") as animation:
        assert animation.n_frames == 24
        assert animation.width * animation.height * 24 <= 12_100_000
        assert animation.convert("RGB").getpixel((0, 0)) == (0, 0, 0)
        animation.seek(23)
        assert animation.convert("RGB").getpixel((0, 0)) == (198, 0, 0)


# --- progress -------------------------------------------------------------------------------------


def test_away_from_a_terminal_plain_lines_tell_cost_and_progress(tmp_path, capsys):
    training = training_of(tmp_path, BARE, sets=["generator.ema=0.9"])
    training.run()
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\r" not in out
    lines = out.splitlines()
    assert lines[0] == "dots on cpu, fp32, 1 thread"
    parameters = sum(p.numel() for p in training.game.networks["generators.main"].parameters())
    assert lines[1].split() == ["generator", "mlp,", f"{parameters:,}", "parameters,", "averaged"]
    assert lines[3].split(maxsplit=1) == ["data", "dots: 48 images of 8 x 8 px"]
    assert lines[4].split(maxsplit=1) == ["length", "4 steps of batch 6, 0.5 epochs"]
    assert lines[5].startswith("  memory") and "optimizers" in lines[5] and "data 3 KB" in lines[5]
    assert lines[6].startswith("  disk")
    assert lines[7].startswith("step 4/4 100%") and "D  adversarial" in lines[7]
    assert "right" in lines[7] and "G  adversarial" in lines[7]
    assert lines[8].startswith("4 steps in ")
    assert len(lines) == 9


def test_a_run_that_waits_for_data_says_so_once(tmp_path, capsys, monkeypatch):
    """By a clock of its own: each step takes a second, and then waiting for its rows three more."""
    sets = ["train.steps=40", "train.hold=0", "train.workers=0"]
    now, waits, batch, step = [0.0], [0.0], Feed.batch, Training.take_step
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def waiting(feed, *place):
        now[0] += waits[0]
        feed.waited += waits[0]
        return batch(feed, *place)

    def taking(training, number):
        now[0] += 1
        return step(training, number)

    monkeypatch.setattr(Feed, "batch", waiting)
    monkeypatch.setattr(Training, "take_step", taking)
    training_of(tmp_path, BARE, sets=sets).run()
    out = capsys.readouterr().out
    assert "8 x 8 px, streamed" in out and "waiting for data" not in out
    waits[0] = 3.0
    training_of(tmp_path, BARE, sets=sets).run()
    lines = [line for line in capsys.readouterr().out.splitlines() if "waiting for data" in line]
    assert len(lines) == 1 and "% of the time was spent waiting for data: more `train.w" in lines[0]


def test_lines_come_seldom(tmp_path, capsys, monkeypatch):
    clock = iter(range(1_000_000))
    monkeypatch.setattr("ganforge_watch.progress.time.perf_counter", lambda: next(clock))
    training = training_of(tmp_path, BARE, sets=["train.steps=40", "hooks.progress.every=20"])
    training.run()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert 2 <= len(lines) <= 8
    assert lines[-1].startswith("step 40/40")


def test_on_a_terminal_the_losses_stand_below_a_bar(tmp_path, monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr("rich.get_console", lambda: console)
    monkeypatch.setattr("ganforge_watch.progress._REFRESH", 0.0)
    monkeypatch.setattr("ganforge_watch.progress._READ", 0.0)
    text = CYCLE.replace(QUIET, "")
    training_of(tmp_path, text).run()
    out = screen.getvalue()
    assert "2/4" in out and "images/s" in out and "left" in out
    line = next(line for line in out.splitlines() if "D  adversarial" in line)
    assert "real" in line and "fake" in line and line.count("%") == 2  # of both discriminators
    line = next(line for line in out.splitlines() if "G  adversarial" in line)
    assert "cycle-consistency" in line and "identity" in line
    assert out.endswith("images/s\n")
    assert out.count("\x1b[?25l") == out.count("\x1b[?25h")  # the cursor is shown again


def test_the_display_is_put_away_when_the_run_breaks(tmp_path, monkeypatch):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr("rich.get_console", lambda: console)
    training = training_of(tmp_path, BARE)
    monkeypatch.setattr(training.game, "update_ema", lambda step: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        training.run()
    assert screen.getvalue().count("\x1b[?25l") == screen.getvalue().count("\x1b[?25h")
    assert "steps in" not in screen.getvalue()


@pytest.mark.parametrize(("seconds", "hint"), [(1.0, False), (100.0, True)])
def test_the_first_steps_tell_what_the_rest_takes(tmp_path, monkeypatch, seconds, hint):
    text = BARE + "\n[preview]\ntrain.steps = 2\n"
    training = training_of(tmp_path, text, sets=["train.steps=30"])
    now = 0.0
    monkeypatch.setattr("ganforge_watch.cost.time.perf_counter", lambda: now)
    watch = cost.Stopwatch(training)
    said = []
    for step in range(1, 12):
        training.step = step
        now += seconds
        said += [(step, line) for line in watch.step_ended(training, step)]
    steps = {step for step, _ in said}
    assert steps == {8} if not hint else {4}
    line = said[0][1]
    written = f"{seconds:.3g} s per step, {cost.figure(6 / seconds)} images/s: all 30 steps"
    assert line.startswith(f"{written} take about {cost.duration(30 * seconds)}")
    assert ("--preview" in said[-1][1]) is hint


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.24, "0.2 s"),
        (59.4, "59 s"),
        (61, "1 min 1 s"),
        (1800, "30 min"),
        (7500, "2 h 5 min"),
        (400_000, "4 days 15 h"),
    ],
)
def test_times_are_written_for_people(seconds, words):
    assert cost.duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(700, "1 KB"), (7_200, "7 KB"), (38_400_000, "38 MB"), (1.23e9, "1.2 GB")]
)
def test_sizes_are_written_for_people(count, words):
    assert cost.size_of(count) == words


# --- tensorboard ----------------------------------------------------------------------------------


def test_without_its_package_tensorboard_is_refused_in_a_line(monkeypatch):
    monkeypatch.setattr("ganforge_watch.plugin.find_spec", lambda name: None)
    with pytest.raises(Impossible, match=r'pip install "ganforge\[tensorboard\]"'):
        check_tensorboard(None)


def test_curves_and_sheets_reach_tensorboard(tmp_path):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    text = BARE + "\n[hooks.tensorboard]\nevery = 2\n[metrics.brightness]\n"
    training = training_of(tmp_path, text, BRIGHTNESS, sets=["hooks.samples.every=2"])
    training.run()
    events = EventAccumulator(str(training.folder.path / "tensorboard"))
    events.Reload()
    scalars = [event.step for event in events.Scalars("loss/adversarial/generator")]
    assert scalars == [1, 2, 4]
    assert [event.step for event in events.Scalars("metric/brightness/mean")] == [4]
    assert [event.step for event in events.Images("samples")] == [0, 2, 4]


def test_run_folders_list_sheets_by_their_step(tmp_path):
    folder = RunFolder(tmp_path)
    folder.samples.mkdir()
    for step in (999_500, 1_000_000, 500):
        (folder.samples / f"step-{step:06d}.png").touch()
    assert [path.stem for path in folder.sheets()] == ["step-000500", "step-999500", "step-1000000"]
