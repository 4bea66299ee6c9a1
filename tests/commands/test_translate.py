"""`ganforge translate`: files and folders through an image-to-image generator."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import CYCLE, PLAIN, draw_pictures, pixels_of, write_recipe

import ganforge
from ganforge.images import grid, read_image

MLP = """
[generators.cat2dog]
use = "mlp"
from = "cat"
to = "dog"
hidden = [4]
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    write_recipe(folder, CYCLE)
    ganforge.train(folder / "recipe.toml", out=folder / "runs" / "pets")
    return folder / "runs"


@pytest.fixture
def pets(trained: Path, workdir: Path) -> Path:
    """The folder of a run `pets`, and `photos` with a few pictures beside `runs`."""
    shutil.copytree(trained, workdir / "runs")
    draw_pictures(workdir / "photos" / "album", 2, size=(20, 12))
    Image.new("L", (9, 30), 99).save(workdir / "photos" / "grey.jpg")
    return workdir / "runs" / "pets"


def expected(name: str, file: Path, height: int = 8, width: int = 8) -> np.ndarray:
    image = read_image(file, height=height, width=width, channels=3)
    batch = torch.from_numpy(image)[None].float() / 127.5 - 1
    return grid(ganforge.open_run("pets").translate(batch, name), 1)


def test_folders_and_files_come_out_under_their_names(ganforge_cli, pets: Path) -> None:
    draw_pictures(Path("more"), 1, size=(8, 8))
    answer = ganforge_cli(
        "translate", "pets", "--to", "dog", "photos", "more/0.png", "--out", "made"
    )
    assert (answer.status, answer.err) == (0, "")
    assert answer.out == "4 dog pictures of pets at step 2: made\n"
    made = sorted(p.relative_to("made").as_posix() for p in Path("made").rglob("*.*"))
    assert made == ["0.png", "album/0.png", "album/1.png", "grey.png"]
    for name in ("album/0.png", "album/1.png"):
        assert np.array_equal(
            pixels_of(Path("made", name)), expected("cat2dog", Path("photos", name))
        )
    assert np.array_equal(pixels_of(Path("made/0.png")), expected("cat2dog", Path("more/0.png")))


def test_the_newest_run_is_meant_where_none_is_named(ganforge_cli, pets: Path) -> None:
    answer = ganforge_cli("translate", "photos/grey.jpg", "--to", "cat", "--out", "made")
    assert answer.out == "1 cat picture of pets at step 2: made\n"
    assert np.array_equal(
        pixels_of(Path("made/grey.png")), expected("dog2cat", Path("photos/grey.jpg"))
    )


def test_sizes_that_the_network_takes(ganforge_cli, pets: Path) -> None:
    words = ["translate", "pets", "--to", "dog", "photos/album/0.png", "--out", "made"]
    assert ganforge_cli(*words, "--size", "16,12").status == 0
    made = pixels_of(Path("made/0.png"))
    assert made.shape == (12, 16, 3)
    assert np.array_equal(made, expected("cat2dog", Path("photos/album/0.png"), 12, 16))
    assert ganforge_cli(*words, "--size", "12").status == 0
    assert pixels_of(Path("made/0.png")).shape == (12, 12, 3)
    answer = ganforge_cli(*words, "--size", "13x12")
    assert answer.status == 2
    assert (
        "--size 13,12: resnet-translator with 2 downsamplings needs sides divisible" in answer.err
    )
    for size in ("large", "0", "0,4", "-3"):
        answer = ganforge_cli(*words, f"--size={size}")
        assert answer.status == 2
        assert f"'{size}' is no size; write WIDTH,HEIGHT in pixels, or keep" in answer.err


def test_each_file_keeps_its_own_size_but_for_what_the_network_cannot_take(
    ganforge_cli, pets: Path
) -> None:
    answer = ganforge_cli(
        "translate", "pets", "--to", "dog", "photos", "--out", "made", "--size", "keep"
    )
    assert answer.status == 0, answer.err
    assert pixels_of(Path("made/album/0.png")).shape == (12, 20, 3)
    assert pixels_of(Path("made/grey.png")).shape == (28, 8, 3)


def test_a_network_of_one_size_says_so(ganforge_cli, workdir: Path) -> None:
    one_way = CYCLE[: CYCLE.index("[generators.cat2dog]")] + MLP
    one_way += CYCLE[CYCLE.index("[discriminators.dog]") : CYCLE.index("[losses.cycle")].replace(
        'like = "cat"', 'use = "patchgan"\nlayers = 1'
    )
    write_recipe(workdir, one_way)
    assert ganforge_cli("run", "recipe.toml", "--set", "hooks.samples.off=true").status == 0
    words = ["translate", "pictures/cats", "--out", "made"]
    answer = ganforge_cli(*words, "--size", "16")
    assert answer.status == 2
    assert answer.err.startswith("error: mlp cannot translate pictures")
    assert "leave --size out" in answer.err
    assert ganforge_cli(*words).out == "4 dog pictures of cats-and-dogs at step 2: made\n"


def test_the_way_must_be_said_where_there_are_several(ganforge_cli, pets: Path) -> None:
    answer = ganforge_cli("translate", "pets", "photos", "--out", "made")
    assert answer.status == 2
    assert "say which way: `--to dog` (from cat), `--to cat` (from dog)" in answer.err
    answer = ganforge_cli("translate", "pets", "photos", "--out", "made", "--to", "bird")
    assert answer.status == 2
    assert "no generator of pets fits --to bird; there are: `--to dog` (from cat)" in answer.err
    assert not Path("made").exists()
    answer = ganforge_cli("translate", "photos", "--out", "made", "--generator", "dog2cat")
    assert answer.out.startswith("3 cat pictures")


def test_no_input_is_written_over(ganforge_cli, pets: Path) -> None:
    before = {path: path.read_bytes() for path in Path("photos").rglob("*.*")}
    answer = ganforge_cli("translate", "--to", "dog", "photos", "--out", "photos")
    assert answer.status == 2
    assert f"this would write over {Path('photos', 'album', '0.png')}" in answer.err
    assert {path: path.read_bytes() for path in Path("photos").rglob("*.*")} == before


def test_equal_names_are_kept_apart(ganforge_cli, pets: Path) -> None:
    shutil.copy("photos/grey.jpg", "photos/grey.jpeg")
    answer = ganforge_cli(
        "translate", "--to", "dog", "photos", "photos/album/0.png", "--out", "made"
    )
    assert answer.out.startswith("5 dog pictures")
    made = sorted(p.relative_to("made").as_posix() for p in Path("made").rglob("*.*"))
    assert made == ["0.png", "album/0.png", "album/1.png", "grey-2.png", "grey.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pets"], "name the pictures to translate, or a folder of them"),
        (["pats", "photos"], "'pats' is neither a run nor a file"),
        (["pets", "nowhere"], "there is no file or folder nowhere"),
        (["pets", "photos", "broken.png"], "broken.png is no image that can be read"),
        (["pets", "notes"], "notes holds no images, only 1 .txt"),
    ],
)
def test_mistakes_are_told_in_a_line_and_nothing_is_written(
    ganforge_cli, pets: Path, words: list[str], message: str
) -> None:
    Path("broken.png").write_text("not a picture")
    Path("notes").mkdir()
    Path("notes/a.txt").write_text("neither")
    answer = ganforge_cli("translate", *words, "--to", "dog", "--out", "made")
    assert answer.status == 2
    assert message in answer.err
    assert answer.err.count("\n") <= 2
    assert not Path("made").exists()


def test_a_generator_of_noise_translates_nothing(ganforge_cli, workdir: Path) -> None:
    write_recipe(workdir, PLAIN)
    ganforge_cli("run", "recipe.toml")
    answer = ganforge_cli("translate", "pictures", "--out", "made")
    assert answer.status == 2
    assert "digits makes images from noise and translates none: use `ganforge sample digits`" in (
        answer.err
    )


def test_inputs_are_looked_at_before_torch_is_imported(ganforge_cli, pets: Path) -> None:
    Path("broken.png").write_text("not a picture")
    assert "torch" not in ganforge_cli.imported_by("translate", "pets", "broken.png", "--out", "m")
