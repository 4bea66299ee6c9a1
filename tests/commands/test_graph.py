"""`ganforge graph`: what runs logged, drawn against their steps."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ganforge.lab.charts import (
    BLUE,
    COLOURS,
    VERMILION,
    Line,
    Log,
    Panel,
    _figure,
    chosen_panels,
    extremes,
    read_log,
    running_median,
    smoothed,
    usual_panels,
)
from ganforge.lab.report import contents
from ganforge.storage.run_folder import RunFolder


def make_run(name: str, *, lines: int = 90, level: float = 1.0, **others: float) -> RunFolder:
    """A run folder that has logged a falling D and a rising G, without any training."""
    folder = RunFolder(Path("runs") / name)
    folder.path.mkdir(parents=True)
    folder.resolved.write_text('name = "made-up"\n', encoding="utf-8")
    draws = np.random.default_rng(0)
    with folder.metrics.open("w", encoding="utf-8") as file:
        for step in range(1, 50 * lines, 50):
            entry = {"step": step, "images": 8 * step, "seconds": 0.1 * step}
            entry["loss/adversarial/discriminator/real"] = level * draws.uniform(0.2, 0.4)
            entry["loss/adversarial/discriminator/fake"] = level * 0.1
            entry["loss/adversarial/generator"] = level * (1 + step / 1000 + draws.normal() / 5)
            entry["score/real"], entry["score/fake"] = 2.0, -2.0
            entry["accuracy"] = float(draws.uniform(0.7, 1))
            entry["lr/generators.main"] = 2e-4
            file.write(json.dumps(entry | others) + "\n")
    return folder


def log_of(*names: str, value: float = 0.5) -> Log:
    steps = np.arange(1.0, 4.0)
    return Log("a", {name: (steps, np.full(3, value)) for name in names})


def labels(panel: Panel) -> dict[str, tuple[str, ...]]:
    return {line.label: line.keys for line in panel.lines}


# --- the command ----------------------------------------------------------------------------------


def test_the_graph_of_a_run_lies_in_its_folder(ganforge_cli, workdir) -> None:
    make_run("one")
    answer = ganforge_cli("graph", "one")
    place = Path("runs", "one", "losses.png")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out == f"one up to step 4,451: {place}\n"
    with Image.open(place) as image:
        assert image.width == 1800  # shown at 900
        assert image.convert("RGB").getpixel((2, 2)) == (255, 255, 255)
    assert place.stat().st_size < 150_000
    assert [path.name for path in place.parent.glob(".*")] == []


def test_the_newest_run_is_meant_where_none_is_named(ganforge_cli, workdir) -> None:
    make_run("one")
    assert ganforge_cli("graph").out.startswith("one up to step")


@pytest.mark.parametrize(
    ("ending", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("PNG", b"\x89PN")]
)
def test_the_ending_says_what_is_written_and_the_same_run_gives_the_same_file(
    ganforge_cli, workdir, ending: str, start: bytes
) -> None:
    make_run("one")
    written = []
    for name in ("a", "b"):
        assert ganforge_cli("graph", "one", "--out", f"deep/{name}.{ending}").status == 0
        written.append(Path(f"deep/{name}.{ending}").read_bytes())
    assert written[0].startswith(start)
    assert written[0] == written[1]


def test_several_runs_are_drawn_into_the_current_folder(ganforge_cli, workdir) -> None:
    for name in ("four", "ten"):
        make_run(name)
    answer = ganforge_cli("graph", "four", "ten", "--smooth", "9")
    assert answer.out == "four, ten up to step 4,451: four-ten-losses.png\n"
    answer = ganforge_cli("graph", "four", "ten", "--value", "loss/*/generator")
    assert answer.out == "four, ten up to step 4,451: four-ten-graph.png\n"


def test_torch_is_not_imported_and_matplotlib_only_to_draw(ganforge_cli, workdir) -> None:
    make_run("one")
    drawn = ganforge_cli.imported_by("graph", "one")
    assert "matplotlib.figure" in drawn
    assert not drawn & {"torch", "matplotlib.pyplot"}
    assert "matplotlib" not in ganforge_cli.imported_by("graph", "--help")
    assert "matplotlib" not in ganforge_cli.imported_by("graph", "one", "--value", "nothing")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["ones"], "there is no run 'ones'; did you mean 'one'?"),
        (
            ["one", "--value", "loss/adversarial/generater"],
            "one logged nothing called 'loss/adversarial/generater'; nearest: "
            "loss/adversarial/generator",
        ),
        (
            ["one", "--value", "*/fakes"],
            "one logged nothing called '*/fakes'; nearest: score/fake",
        ),
        (
            ["one", "--out", "a.gif"],
            "cannot write a.gif: --out takes FILE.png, FILE.svg or FILE.pdf",
        ),
        (["one", "--out", "taken.png"], "taken.png is a folder; give --out another name"),
        (["empty"], f"{Path('runs', 'empty')} has logged nothing yet"),
        (
            ["odd"],
            "odd logged no losses, scores or accuracy; name what to draw with `--value`: lr/g",
        ),
        (["one"] * 8, "at most 7 runs can be told apart in one graph"),
    ],
)
def test_a_mistake_is_told_in_a_line(ganforge_cli, workdir, arguments, expected: str) -> None:
    make_run("one")
    make_run("empty").metrics.unlink()
    odd = make_run("odd").metrics
    odd.write_text('{"step": 1, "lr/generators.main": 0.1}\n', encoding="utf-8")
    Path("taken.png").mkdir()
    answer = ganforge_cli("graph", *arguments)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith(f"error: {expected}")
    assert answer.err.count("\n") == 1


# --- what was logged ------------------------------------------------------------------------------


def test_lines_cut_off_and_numbers_that_are_none_are_borne(workdir) -> None:
    folder = make_run("one", lines=0)
    folder.metrics.write_bytes(
        b'{"step": 1, "x": 1.0, "word": "a", "flag": true}\n'
        b'{"step": 2, "x": null}\n\n{"step": 3, "x": 3}\n{"step": 4, "x": 2.\xff'
    )
    log = read_log(folder)
    assert set(log.series) == {"x"}
    steps, values = log.series["x"]
    assert steps.tolist() == [1, 2, 3]
    assert values[[0, 2]].tolist() == [1, 3]
    assert math.isnan(values[1])


def test_a_total_is_taken_where_all_of_its_terms_are_known() -> None:
    log = Log(
        "a",
        {
            "real": (np.array([1.0, 2, 3]), np.array([1.0, 2, 3])),
            "fake": (np.array([2.0, 3, 4]), np.array([10.0, 20, 30])),
        },
    )
    steps, values = log.line(("real", "fake"))
    assert (steps.tolist(), values.tolist()) == ([2, 3], [12, 23])
    assert log.line(("real", "other")) is None


def test_the_running_median_ignores_what_is_missing_and_is_shorter_at_the_ends() -> None:
    values = np.array([1.0, 9.0, 2.0, np.nan, 4.0, 100.0, 5.0])
    assert running_median(values, 3).tolist() == [5, 2, 5.5, 3, 52, 5, 52.5]
    assert running_median(values, 1) is values
    assert np.isnan(running_median(np.full(4, np.nan), 3)).all()


def test_two_lines_of_a_step_count_once_and_steps_ascend(workdir) -> None:
    folder = RunFolder(Path("runs") / "twice")
    folder.path.mkdir(parents=True)
    lines = [{"step": 2, "x": 1.0}, {"step": 1, "x": 3}, {"step": 2, "y": 0.0, "x": 5.0}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    folder.metrics.write_text(text, encoding="utf-8")
    steps, values = read_log(folder).series["x"]
    assert (steps.tolist(), values.tolist()) == ([1, 2], [3, 5])


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes that were held at once."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_long_line_is_smoothed_in_little_memory_and_looks_the_same() -> None:
    steps = np.arange(1.0, 100_001)
    values = np.sin(steps / 9000) + np.random.default_rng(0).normal(size=len(steps))
    values[500], values[40_000:40_010] = 90.0, np.nan
    found: list[np.ndarray] = []
    peak = peak_of(lambda: found.extend(smoothed(steps, values, 2501)))
    assert peak < 120e6  # where all places are taken together it is 250 million values
    at, smooth = found
    for number in (0, 17, len(at) // 2, len(at) - 1):
        place = int(at[number]) - 1
        around = values[max(0, place - 1250) : place + 1251]
        assert smooth[number] == np.nanmedian(around)
    assert 1000 < len(at) < 10_000
    shown = extremes(values, 4000)
    assert len(shown) <= 4000 and values[shown].max() == 90
    stretches = shown // 100
    assert np.array_equal(np.unique(stretches), np.arange(1000))


def test_a_long_log_is_read_in_a_few_bytes_a_number(workdir) -> None:
    folder = make_run("long", lines=10_000)
    assert peak_of(lambda: read_log(folder)) < 5e6
    assert peak_of(lambda: contents.read(folder, "long")) < 5e6
    assert len(contents.read(folder, "long").log.series["accuracy"][0]) == 10_000


# --- what is drawn --------------------------------------------------------------------------------


def test_losses_are_totals_of_both_sides_with_the_adversarial_ones_first() -> None:
    log = log_of(
        "loss/cycle-consistency/generator",
        "loss/adversarial/generator",
        "loss/adversarial/discriminator/real",
        "loss/adversarial/discriminator/fake",
    )
    losses, others = usual_panels([log])
    assert labels(losses) == {
        "discriminator": (
            "loss/adversarial/discriminator/real",
            "loss/adversarial/discriminator/fake",
        ),
        "generator": ("loss/adversarial/generator",),
    }
    assert [line.colour for line in losses.lines] == [BLUE, VERMILION]
    assert labels(others) == {"cycle-consistency (G)": ("loss/cycle-consistency/generator",)}


def test_losses_of_several_discriminators_are_told_apart_by_dashes() -> None:
    log = log_of(
        *(
            f"loss/adversarial/{d}/{s}"
            for d in ("cat", "dog")
            for s in ("discriminator", "generator")
        )
    )
    (losses,) = usual_panels([log])
    assert list(labels(losses)) == [
        "discriminator cat",
        "discriminator dog",
        "generator cat",
        "generator dog",
    ]
    cat, dog = losses.lines[:2]
    assert cat.colour == dog.colour and cat.dash != dog.dash


def test_scores_and_what_goes_from_0_to_1_have_panels_of_their_own() -> None:
    log = log_of("score/fake", "score/real", "accuracy", "began/k", "lr/generators.main")
    high = Log("b", {"began/measure": (np.array([1.0]), np.array([1.5]))})
    scores, shares = usual_panels([log, high])
    assert list(labels(scores)) == ["real", "fake"]
    assert list(labels(shares)) == ["accuracy", "began/k"]
    assert shares.share and not scores.share
    assert shares.title == "Accuracy of D, and others from 0 to 1"
    (accuracy,) = usual_panels([log_of("accuracy/cat", "accuracy/dog")])
    assert accuracy.title == "Accuracy of D" and list(labels(accuracy)) == ["cat", "dog"]


def test_each_pattern_is_a_panel_whose_lines_are_named_by_what_differs() -> None:
    log = log_of("loss/a/generator", "loss/b/generator", "accuracy")
    first, second = chosen_panels([log], ["loss/*/generator", "accuracy"])
    assert first.title == "loss/*/generator" and list(labels(first)) == ["a", "b"]
    assert second.title == "accuracy"
    assert first.lines[0].colour != first.lines[1].colour


def axes_of(logs: list[Log], panels: list[Panel]) -> list:
    return _figure(logs, panels, 1).axes


def run_of(name: str, low: float, high: float) -> Log:
    steps = np.array([1.0, 100.0])
    return Log(name, {key: (steps, np.array([low, high])) for key in ("x", "y")})


def test_runs_side_by_side_have_the_same_axes() -> None:
    panel = Panel("both", (Line("x", ("x",)), Line("y", ("y",))))
    left, right = axes_of([run_of("a", 0, 1), run_of("b", -5, 50)], [panel])
    assert left.get_ylim() == right.get_ylim()
    assert left.get_ylim()[0] < -5 and left.get_ylim()[1] > 50
    assert left.get_xlim() == right.get_xlim()
    assert len(left.lines) == len(right.lines) == 2


def test_one_number_of_each_run_is_drawn_over_each_other_in_other_colours() -> None:
    panel = Panel("x", (Line("x", ("x",)),))
    (axes,) = axes_of([run_of("a", 0, 1), run_of("b", 2, 3)], [panel])
    assert [line.get_color() for line in axes.lines] == list(COLOURS[:2])


def test_many_runs_are_drawn_over_each_other_with_a_panel_a_line() -> None:
    panel = Panel("both", (Line("x", ("x",)), Line("y", ("y",))))
    panels = axes_of([run_of(str(number), 0, number) for number in range(5)], [panel])
    assert len(panels) == 2
    assert all(len(axes.lines) == 5 for axes in panels)


def test_runs_whose_only_line_has_other_names_still_share_a_panel() -> None:
    panel = Panel("*", (Line("x", ("x",)), Line("z", ("z",))))
    first = Log("a", {"x": (np.array([1.0]), np.array([2.0]))})
    second = Log("b", {"z": (np.array([1.0]), np.array([3.0]))})
    (axes,) = axes_of([first, second], [panel])
    assert len(axes.lines) == 2


def test_what_a_run_did_not_log_is_said_in_its_place() -> None:
    panel = Panel("both", (Line("x", ("x",)), Line("y", ("y",))))
    other = Log("b", {"z": (np.array([1.0]), np.array([2.0]))})
    first, second = axes_of([run_of("a", 0, 1), other], [panel])
    assert not first.texts and second.texts[0].get_text() == "not logged"


def test_the_logged_line_stands_faint_behind_the_smooth_one() -> None:
    log = Log("a", {"x": (np.arange(1.0, 101), np.tile([0.0, 1.0], 50))})
    (axes,) = _figure([log], [Panel("x", (Line("x", ("x",)),))], 11).axes
    raw, smooth = axes.lines
    assert raw.get_alpha() < 0.5 < (smooth.get_alpha() or 1)
    assert np.ptp(raw.get_ydata()) == 1
    assert not np.array_equal(raw.get_ydata(), smooth.get_ydata())


def test_a_graph_may_have_a_name_as_long_as_names_can_be(ganforge_cli, workdir) -> None:
    make_run("one")
    name = f"{'n' * 251}.png"
    answer = ganforge_cli("graph", "runs/one", "--out", name)
    assert answer.status == 0, answer.err
    assert Path(name).is_file()


def test_lines_that_are_no_json_are_left_out_wherever_they_are(workdir) -> None:
    folder = make_run("one", lines=20)
    kept = folder.metrics.read_text(encoding="utf-8").splitlines()
    broken = [*kept[:7], '{"step": 3, "lo', "[1]", "", *kept[7:], '{"step": 99']
    folder.metrics.write_text("\n".join(broken), encoding="utf-8")
    assert [*map(json.dumps, folder.metric_lines())] == [json.dumps(json.loads(x)) for x in kept]
