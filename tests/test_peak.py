"""What a run will need of memory, estimated from a small part of its batch."""

from __future__ import annotations

import json

import pytest
import torch
from memory import estimated, taken
from playing import ONE_PAIR, training_of
from recipe_text import RecipeText
from small_recipes import DIGITS, draw_pictures, write_recipe

from ganforge.hardware import resident_memory
from ganforge.training.memory_estimate import Forecast, Growth, _fullest_step, held, in_words

MB = 10**6


def test_each_moment_grows_along_a_line_and_the_largest_counts():
    """With few rows the fixed part is the peak, with many another moment."""
    growth = Growth.of((4, [100, 20, 0]), (8, [100, 40, 0]))
    assert [growth.peak(rows) for rows in (4, 8, 16, 64)] == [100, 100, 100, 320]


def test_work_that_went_another_way_grows_from_peak_to_peak():
    growth = Growth.of((4, [10, 50]), (8, [10, 60, 90, 30]))
    assert growth.peak(16) == 170


def test_what_is_played_whole_does_not_grow():
    assert Growth.of((1, [5, 7]), (1, [5, 7])).peak(1) == 7


def test_tensors_are_seen_while_they_are_there():
    def work() -> None:
        one = torch.empty(1000)
        two = one + 1  # 8,000 bytes
        del one
        (two * 2).sum()

    moments = held(work, torch.device("cpu"))
    assert 8000 <= max(moments) < 9000
    assert moments[-1] == 0


def forecast(**changes) -> Forecast:
    facts = {
        "interpreter": 500 * MB,
        "data": 100 * MB,
        "networks": 60 * MB,
        "gradients": 20 * MB,
        "copied": 40 * MB,
        "steps": {"main": Growth.of((4, [30 * MB]), (8, [50 * MB]))},
        "looks": [],
        "rows": 64,
        "parts": 1,
        "lost": 0.5,
    }
    return Forecast(**{**facts, **changes})


def test_the_peak_is_that_of_the_largest_work_beside_what_stays():
    found = forecast()  # 10 MB + 5 MB a row: 330 MB, and half of it lost
    assert found.work() == {"step": 495 * MB, "sheet": 30 * MB, "checkpoint": 60 * MB}
    assert found.peak == sum(found.by_part().values()) == (500 + 100 + 60 + 495) * MB
    assert str(found) == (
        "memory: about 1.2 GB at its peak, in a step (data 100 MB, networks, averages and moments "
        "60 MB, a step's activations and gradients 495 MB, Python and PyTorch 500 MB)"
    )


def test_a_sheet_or_a_checkpoint_may_be_the_peak():
    sheet = Growth.of((1, [5 * MB]), (2, [10 * MB]))
    assert "in a sheet" in str(forecast(looks=[(sheet, 64)]))
    assert "in a checkpoint" in str(forecast(copied=900 * MB))


def test_parts_of_the_batch_or_a_smaller_one_are_advised_that_fit():
    found = forecast()
    assert found.at(4) == 795 * MB and found.at(8) == 735 * MB
    advice = found.advice(800 * MB)
    assert "`--set train.accumulate=4`, or `--set train.batch=16`" in advice
    assert "`data.size`" in found.advice(600 * MB)


@pytest.mark.parametrize(("size", "words"), [(38_400_000, "38 MB"), (1_230_000_000, "1.2 GB")])
def test_bytes_for_people(size, words):
    assert in_words(size) == words


# --- the system -----------------------------------------------------------------------------------


def test_memory_that_is_used_is_occupied():
    before = resident_memory.resident()
    if not before:
        pytest.skip("this system does not say")
    kept = torch.ones(20_000_000)
    assert resident_memory.resident() - before > 70 * MB
    assert kept.sum() and resident_memory.available() > 100 * MB


@pytest.mark.parametrize(("limit", "left"), [("1000\n", [700]), ("max\n", [])])
def test_limits_of_containers_count(tmp_path, limit, left):
    files = {"max": limit, "current": "500\n", "stat": "anon 300\ninactive_file 200\n"}
    for name, text in files.items():
        (tmp_path / f"memory.{name}").write_text(text, encoding="ascii")
    assert list(resident_memory._left_to_groups(tmp_path)) == left


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def digits(workdir):
    return write_recipe(workdir, DIGITS)


def test_check_builds_and_says_how_much_memory_a_run_takes(ganforge_cli, digits, workdir):
    answer = ganforge_cli("check", digits, "--build")
    assert answer.status == 0, answer.err
    assert "no mistakes" in answer.out
    assert answer.out.splitlines()[-1].startswith("memory: about ")
    assert not (workdir / "runs").exists()


def test_check_warns_where_there_is_less(ganforge_cli, digits, monkeypatch):
    monkeypatch.setattr("ganforge.training.memory_estimate.room", lambda device: 30 * MB)
    answer = ganforge_cli("check", digits, "--build")
    assert answer.status == 0
    assert answer.err.startswith("warning: 30 MB of memory are free, less than that: ")


def test_what_a_run_could_not_play_is_told_in_one_line(ganforge_cli, digits):
    sets = ["--set", "train.batch=1", "--set", "generator.norm=batch"]
    answer = ganforge_cli("check", digits, "--build", *sets)
    assert answer.status == 1
    assert "gives BatchNorm one item at a time, and it needs two" in answer.err


def test_memory_that_runs_out_meanwhile_is_told_in_one_line(ganforge_cli, digits, monkeypatch):
    def out_of_memory(work, device):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr("ganforge.training.memory_estimate.held", out_of_memory)
    answer = ganforge_cli("check", digits, "--build")
    assert answer.status == 1
    assert "4 rows of the batch do not fit into memory" in answer.err


def test_check_without_build_builds_nothing(ganforge_cli, digits):
    assert "memory" not in ganforge_cli("check", digits).out
    assert "memory" not in json.loads(ganforge_cli("check", digits, "--json").out)


# --- beside runs ----------------------------------------------------------------------------------

LARGE = RecipeText("""
recipe = 1
name = "large"
[data]
use = "image-folder"
root = "pictures"
size = 32
[train]
steps = 20
batch = BATCH
precision = "fp32"
device = "cpu"
threads = 1
[generator]
GENERATOR
[discriminator]
DISCRIMINATOR
[losses.adversarial]
use = "non-saturating"
""")


@pytest.mark.parametrize(
    ("batch", "generator", "discriminator"),
    [
        (256, 'use = "dcgan"\nwidth = 40', 'use = "dcgan"\nwidth = 40'),
        (8, 'use = "mlp"\nhidden = [2500, 2500, 2500]', 'use = "mlp"\nhidden = [2500, 2500]'),
    ],
    ids=["activations", "weights"],
)
def test_runs_take_what_was_estimated(batch, generator, discriminator, workdir):
    draw_pictures(workdir / "pictures", count=300, size=(32, 32))
    text = LARGE.replace("BATCH", str(batch)).replace("GENERATOR", generator)
    text = text.replace("DISCRIMINATOR", discriminator)
    recipe = workdir / "recipe.toml"
    recipe.write_text(text, encoding="utf-8")
    said = estimated(str(recipe), [], False)
    peak = taken(str(recipe), [], False, workdir)
    assert said["peak"] - said["interpreter"] > 150 * MB  # it is about more than Python
    assert 0.7 < said["peak"] / peak < 1.3
    assert 0.6 < (said["peak"] - said["interpreter"]) / (peak - said["interpreter"]) < 1.5


def test_the_step_that_is_looked_at_is_one_in_which_most_losses_play(tmp_path):
    """A loss of G's that begins in the middle and plays every third step, and one of D's that plays
    every second one: both do in step 7 for the first time."""
    extra = """
[losses.of-g]
use = "feature-matching"
start = 0.5
every = 3
[losses.of-d]
use = "r1"
every = 2
"""
    training = training_of(tmp_path, ONE_PAIR + extra, sets=("train.steps=12",))
    (phase,) = training.plan.phases
    assert _fullest_step(training, phase) == 7
