"""What commands say of the data that they read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_recipes import CYCLE, DIGITS, PLAIN, draw_pictures

MASKS = """
recipe = 1
name = "masks"
[data]
use = "paired-folders"
root = "pictures"
domains = { photo = "photo", mask = "mask" }
size = 8
[train]
steps = 1
batch = 2
precision = "fp32"
device = "cpu"
[generator]
use = "mlp"
from = "photo"
to = "mask"
[discriminator]
use = "mlp"
on = "mask"
[losses.adversarial]
use = "non-saturating"
"""

LINES = [
    "image: 9 x image 3 x 8 x 8, 2 held out  (image-folder)",
    "label: 9 x label of 2 classes, 2 held out  (image-folder)",
    "2 classes: 6 x cats (2 held out), 3 x dogs",
    "left out: 4 .txt, 1 .mp4, 1 hidden, 1 in old/",
]


def words(text: str) -> list[str]:
    """The lines of an answer without the labels before them."""
    return [line.strip().removeprefix("data").strip() for line in text.splitlines()]


@pytest.fixture
def photos(workdir: Path) -> Path:
    """Two classes with a held-out part, and what is no picture."""
    root = workdir / "pictures"
    draw_pictures(root / "Train" / "cats", 6)
    draw_pictures(root / "Train" / "dogs", 3)
    draw_pictures(root / "Val" / "cats", 2)
    draw_pictures(root / "old", 1)
    for name in ("Train/1.txt", "Train/2.txt", "Val/3.txt", "4.txt", "Train/cats/a.mp4", ".x"):
        (root / name).write_text("x")
    (workdir / "digits.toml").write_text(DIGITS)
    return root


def test_check_data_check_and_run_say_the_same_of_what_was_read(ganforge_cli, photos) -> None:
    for command in ("check", "data check", "run"):
        answer = ganforge_cli(*command.split(), "digits.toml")
        assert answer.status == 0, answer.err
        told = words(answer.out)
        assert [line for line in told if line in LINES] == LINES
        (values,) = (line for line in told if line.startswith("values, of 0 to 255: image "))
        assert values.endswith("(of 11 pictures)" if command == "data check" else "(of 8 pictures)")
        assert "warning" not in answer.err + answer.out


METRIC = """
from ganforge import Metric


class One(Metric):
    def measure(self, run):
        return {"one": 1.0}

    def protocol(self):
        return "none"
"""


def test_evaluate_says_the_same_of_the_data_as_it_is_now(ganforge_cli, photos) -> None:
    ganforge_cli("run", "digits.toml")
    Path("one.py").write_text(METRIC, encoding="utf-8")
    measure = ["evaluate", "digits", "--metric", "one", "--plugin-file", "one.py"]
    answer = ganforge_cli(*measure)
    assert answer.status == 0, answer.err
    assert [line for line in words(answer.out) if line in LINES] == LINES
    (photos / "Train" / "5.txt").write_text("x")
    (photos / "Train" / "emus").mkdir()
    answer = ganforge_cli(*measure, "--json")
    assert json.loads(answer.out)["metric"] == "one"
    assert "warning: no pictures lie in 'emus'" in answer.err
    assert "left out: 5 .txt" in ganforge_cli(*measure).out
    photos.rename("elsewhere")
    answer = ganforge_cli(*measure)  # a metric that reads no data needs none
    assert (answer.status, answer.err) == (0, "") and "data  " not in answer.out


def test_a_resumed_run_says_it_again(ganforge_cli, photos) -> None:
    ganforge_cli("run", "digits.toml", "--set", "train.steps=2")
    answer = ganforge_cli("run", "digits.toml")
    assert LINES[2] in words(answer.out) and "resuming" in answer.out


@pytest.mark.parametrize("command", ["check", "data check"])
def test_programs_are_told_the_same(ganforge_cli, photos, command) -> None:
    told = json.loads(ganforge_cli(*command.split(), "digits.toml", "--json").out)["data"]
    assert told["rows"]["image"] == {"train": 9, "test": 2}
    assert told["classes"] == {"train": {"cats": 6, "dogs": 3}, "test": {"cats": 2, "dogs": 0}}
    assert told["left_out"] == {".txt": 4, ".mp4": 1, "hidden": 1, "in old/": 1}
    assert told["values"]["image"]["low"] < 10 and told["values"]["image"]["high"] > 245
    assert told["warnings"] == []


def warned(ganforge_cli, command: str, *settings: str) -> str:
    """What a command warns of: on standard error, or where a run says it."""
    sets = [word for setting in settings for word in ("--set", setting)]
    answer = ganforge_cli(*command.split(), *sets)
    return "\n".join(
        line for line in (answer.err + answer.out).splitlines() if line.startswith("warning: ")
    )


@pytest.mark.parametrize("command", ["check", "data check", "run"])
def test_classes_that_are_not_meant_are_warned_of(ganforge_cli, photos, command) -> None:
    draw_pictures(photos / "Train" / "emus", 1)
    (photos / "Train" / "empty").mkdir()
    told = warned(ganforge_cli, f"{command} digits.toml")
    assert "there is only one picture of the class 'emus'" in told
    assert f"no pictures lie in 'empty' of {photos / 'Train'}, so they are not classes" in told


def test_a_root_one_level_too_high_is_warned_of(ganforge_cli, photos) -> None:
    told = warned(ganforge_cli, "check digits.toml", "data.root=.")
    assert f"all pictures of {photos.parent} are of one class, 'pictures'" in told
    assert "'pictures/Train/cats', 'pictures/Train/dogs', 'pictures/Val/cats'" in told


def test_left_out_files_of_several_folders_are_counted_together(ganforge_cli, workdir) -> None:
    for name in ("cats", "dogs"):
        draw_pictures(workdir / "pictures" / name)
        (workdir / "pictures" / name / "list.csv").write_text("x")
    (workdir / "cycle.toml").write_text(CYCLE)
    answer = ganforge_cli("check", "cycle.toml")
    assert "left out: 2 .csv" in answer.out and "cat: 4 x image 3 x 8 x 8" in answer.out


def test_many_classes_are_summed_up(ganforge_cli, workdir) -> None:
    for number in range(30):
        draw_pictures(workdir / "pictures" / f"kind{number}", 2 + number % 3)
    (workdir / "digits.toml").write_text(DIGITS)
    told = ganforge_cli("check", "digits.toml").out
    assert (
        "30 classes of 2 to 4: 2 x kind0, 3 x kind1, 4 x kind2," in told and "and 18 more" in told
    )


# --- what pictures hold ---------------------------------------------------------------------------


def pictures(folder: Path, make, count: int = 3, ending: str = "png") -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        make(number).save(folder / f"{number}.{ending}")


def numbers(size: int, most: int, scale: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, most + 1, (size, size)) * scale


def test_a_nearly_constant_set_is_warned_of(ganforge_cli, workdir) -> None:
    pictures(workdir / "pictures", lambda n: Image.new("RGB", (8, 8), (3 + n, 4, 4)))
    (workdir / "plain.toml").write_text(PLAIN)
    for command in ("check", "data check"):
        told = warned(ganforge_cli, f"{command} plain.toml")
        assert told == (
            "warning: the pictures of 'image' are nearly constant: values 3 to 5, of 0 to 255"
        )


def test_twelve_bits_in_files_of_sixteen_are_warned_of(ganforge_cli, workdir) -> None:
    pictures(workdir / "pictures", lambda n: Image.fromarray(numbers(8, 4095).astype(np.uint16)))
    (workdir / "plain.toml").write_text(PLAIN)
    told = warned(ganforge_cli, "check plain.toml")
    assert "the 16-bit pictures of 'image', such as " in told
    assert f"{workdir / 'pictures' / '0.png'}, use values up to 4,0" in told
    assert "of 65,535, so they are nearly black" in told


def test_further_pages_are_told(ganforge_cli, workdir) -> None:
    pages = [Image.fromarray(numbers(8, 255).astype(np.uint8)) for _ in range(3)]
    (workdir / "pictures").mkdir()
    pages[0].save(workdir / "pictures/scan.tif", save_all=True, append_images=pages[1:])
    pages[0].save(workdir / "pictures/one.tif")
    (workdir / "plain.toml").write_text(PLAIN)
    assert warned(ganforge_cli, "check plain.toml") == (
        "warning: 1 of 2 pictures of 'image' that were looked at hold further pages or frames, "
        f"such as {workdir / 'pictures' / 'scan.tif'}: only the first is read"
    )


@pytest.mark.parametrize("palette", [True, False])
def test_masks_are_noticed_and_the_exact_way_is_named_and_silent(
    ganforge_cli, workdir, palette
) -> None:
    def mask(_: int) -> Image.Image:
        made = Image.fromarray(numbers(20, 4, 1 if palette else 60).astype(np.uint8))
        if palette:
            made.putpalette([40 * n % 256 for n in range(768)])
        return made

    draw_pictures(workdir / "pictures" / "photo", 3, size=(20, 20))
    pictures(workdir / "pictures" / "mask", mask)
    (workdir / "masks.toml").write_text(MASKS)
    told = warned(ganforge_cli, "check masks.toml")
    how = '`resample = { mask = "nearest" }` in [data]'
    if palette:
        assert "the pictures of 'mask' have palettes of few colours, as label masks do" in told
        assert f"{how} reads their numbers" in told
    else:
        assert "the pictures of 'mask' hold at most 5 values each, as label masks do" in told
        assert f"{how} keeps them" in told
    exact = warned(ganforge_cli, "check masks.toml", 'data.resample={ mask = "nearest" }')
    assert ("nearly constant" in exact) if palette else exact == ""
    same = warned(ganforge_cli, "check masks.toml", "data.size=20")
    assert ("palettes" in same) if palette else same == ""


def test_a_domain_that_is_not_there_cannot_be_resampled(ganforge_cli, workdir) -> None:
    for name in ("photo", "mask"):
        draw_pictures(workdir / "pictures" / name)
    (workdir / "masks.toml").write_text(MASKS)
    answer = ganforge_cli("check", "masks.toml", "--set", 'data.resample={ maks = "nearest" }')
    assert answer.status == 2
    assert "'resample' names 'maks', which is not a domain of images; there are: photo, mask" in (
        answer.err
    )


def test_a_domain_made_of_a_mask_is_not_blended_either(workdir) -> None:
    from playing import training_of

    draw_pictures(workdir / "pictures" / "photo", 3, size=(20, 20))
    held = {0, 60, 120, 180, 240}
    pictures(
        workdir / "pictures" / "mask",
        lambda n: Image.fromarray(numbers(20, 4, 60).astype(np.uint8)),
    )
    text = MASKS.replace("size = 8", 'size = 16\nresample = { mask = "nearest" }')
    text = text.replace('to = "mask"', 'to = "small"').replace('on = "mask"', 'on = "small"')
    text += '[domains.small]\nof = "mask"\nsize = 7\n'
    training = training_of(workdir, text)
    training.run()
    with training.looking() as run:
        rows = run.held_out("small", 3)
    assert rows.shape[2:] == (7, 7)
    assert set((rows * 127.5 + 127.5).round().int().unique().tolist()) <= held


@pytest.mark.parametrize("command", ["nearest", "evaluate"])
def test_other_data_than_the_runs_is_warned_of(ganforge_cli, photos, command) -> None:
    ganforge_cli("run", "digits.toml")
    Path("one.py").write_text(METRIC, encoding="utf-8")
    more = ["--metric", "one", "--plugin-file", "one.py"] if command == "evaluate" else []
    photos.rename("moved")
    answer = ganforge_cli(command, "digits", "--data", "moved", *more)
    assert (answer.status, answer.err) == (0, "")
    draw_pictures(Path("moved/Train/cats"), 6, size=(9, 9))
    answer = ganforge_cli(command, "digits", "--data", "moved", *more)
    assert answer.status == 0
    assert "warning: this is not the data that digits learned from: train/image: 6 files" in (
        answer.err
    )
