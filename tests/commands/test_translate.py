"""`ganforge translate`: files and folders through an image-to-image generator."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_recipes import CYCLE, DIGITS, PLAIN, draw_pictures, pixels_of, write_recipe

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


def test_pictures_of_a_folder_that_are_left_out_are_counted(ganforge_cli, pets: Path) -> None:
    for name in ("photos/notes.txt", "photos/album/clip.mp4", "photos/album/more.txt"):
        Path(name).write_text("x")
    Image.new("RGB", (9, 9)).save("photos/photo.jfif")
    answer = ganforge_cli("translate", "pets", "--to", "dog", "photos", "--out", "made")
    assert answer.out == (
        "4 dog pictures of pets at step 2: made\n"
        "left out because they are not pictures: 2 .txt, 1 .mp4\n"
    )
    assert Path("made/photo.png").is_file()


def test_held_out_pictures_and_pictures_that_are_translated_are_the_same(
    ganforge_cli, workdir: Path
) -> None:
    write_recipe(workdir, CYCLE.replace("size = 8", "size = 8\nload = 12"))
    draw_pictures(workdir / "pictures" / "testA", 3, size=(40, 40))
    sets = ["--set", 'data.test={ cat = "testA", dog = "testA" }']
    assert ganforge_cli("run", "recipe.toml", *sets).status == 0
    words = ["translate", "pictures/testA", "--to", "dog", "--out", "made"]
    assert ganforge_cli(*words).status == 0
    run = ganforge.open_run("cats-and-dogs")
    looked_at = run.translate(run.held_out("cat", 3), "cat2dog")
    for number, image in enumerate(looked_at):
        made = pixels_of(Path(f"made/{number}.png"))
        assert np.array_equal(made, grid(image[None], 1))


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
        assert f"'{size}' is not a size; write WIDTH,HEIGHT in pixels, or keep" in answer.err


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
    assert (
        f"several have the same name: {Path('photos/grey.jpeg')} is grey.jpeg.png, "
        f"{Path('photos/grey.jpg')} is grey.jpg.png\n"
    ) in answer.out
    assert made_in("made") == [
        *("0.png", "album/0.png", "album/1.png", "grey.jpeg.png", "grey.jpg.png")
    ]
    for name in ("grey.jpeg", "grey.jpg"):
        assert np.array_equal(
            pixels_of(Path("made", f"{name}.png")), expected("cat2dog", Path("photos", name))
        )


def made_in(folder: str) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file())


def test_each_result_is_of_the_picture_whose_name_it_has(ganforge_cli, pets: Path) -> None:
    draw_pictures(Path("in"), 3)
    for number, name in enumerate(("a.png", "a-2.png")):
        Path(f"in/{number}.png").rename(f"in/{name}")
    Image.open("in/2.png").save("in/a.bmp")
    Path("in/2.png").unlink()
    draw_pictures(Path("more"), 1, size=(9, 9))
    Path("more/0.png").rename("more/a.png")
    answer = ganforge_cli("translate", "--to", "dog", "in", "more", "--out", "made")
    assert answer.status == 0, answer.err
    assert made_in("made") == ["a-2.png", "a-3.png", "a.bmp.png", "a.png"]
    pairs = {"a.png": "in/a.png", "a-2.png": "in/a-2.png", "a-3.png": "more/a.png"}
    for name, source in (pairs | {"a.bmp.png": "in/a.bmp"}).items():
        assert np.array_equal(pixels_of(Path("made", name)), expected("cat2dog", Path(source)))


def test_a_job_goes_on_past_what_it_cannot_translate_and_lists_it(ganforge_cli, pets: Path) -> None:
    draw_pictures(Path("in"), 3, size=(12, 12))
    Path("in/1.png").write_bytes(Path("in/1.png").read_bytes()[:300])  # cut off behind its header
    Path("in/broken.jpg").write_text("not a picture")
    Image.new("RGB", (30, 2)).save("in/flat.png")
    long = "x" * 245 + ".png"
    Image.new("RGB", (8, 8)).save(Path("in", long))
    answer = ganforge_cli("translate", "--to", "dog", "in", "--out", "made", "--size", "keep")
    assert answer.status == 2
    assert answer.out.startswith("3 dog pictures")
    assert "3 of 6 pictures could not be translated:\n" in answer.err
    for name in (
        "1.png is cut off",
        "broken.jpg is not a readable image",
        "flat.png has 30 x 2 px, too small",
    ):
        assert name in answer.err
    assert made_in("made") == ["0.png", "2.png", long]


def test_pictures_of_any_ending_are_taken_and_other_files_counted(ganforge_cli, pets: Path) -> None:
    draw_pictures(Path("in"), 2)
    Path("in/0.png").rename("in/photo")
    Image.open("in/1.png").save("in/scan.tga")
    for name in ("read.txt", "also.txt", "LICENCE"):
        Path("in", name).write_text("no picture")
    answer = ganforge_cli("translate", "--to", "dog", "in", "--out", "made")
    assert answer.status == 0, answer.err
    assert made_in("made") == ["1.png", "photo.png", "scan.png"]
    assert "left out because they are not pictures: 2 .txt, 1 without an ending\n" in answer.out


def test_results_of_an_earlier_job_are_replaced_and_that_is_said(ganforge_cli, pets: Path) -> None:
    words = ["translate", "--to", "dog", "photos", "--out", "made"]
    assert "replaced" not in ganforge_cli(*words).out
    assert ganforge_cli(*words).out.endswith("made (replaced 3 files there)\n")


# --- alpha and classes ----------------------------------------------------------------------------


def test_a_missing_alpha_is_not_taken_as_opaque_unless_that_is_asked(ganforge_cli, workdir) -> None:
    write_recipe(workdir, CYCLE.replace("size = 8", "size = 8\nchannels = 4"))
    assert ganforge_cli("run", "recipe.toml").status == 0
    Path("in").mkdir()
    Image.new("RGB", (8, 8), (9, 99, 0)).save("in/plain.png")
    hole = Image.new("RGBA", (8, 8), (9, 99, 0, 255))
    hole.putpixel((3, 3), (0, 0, 0, 0))
    hole.save("in/hole.png")
    words = ["translate", "--to", "dog", "in", "--out", "made"]
    answer = ganforge_cli(*words)
    assert answer.status == 2
    assert "plain.png has no alpha, the fourth channel that generator 'cat2dog' reads" in answer.err
    assert "--opaque" in answer.err
    assert made_in("made") == ["hole.png"]
    answer = ganforge_cli(*words, "--opaque")
    assert answer.status == 0, answer.err
    assert made_in("made") == ["hole.png", "plain.png"]


LABELLED = DIGITS.replace('from = ["noise", "label"]', 'from = ["image", "label"]\nto = "image"')


def test_which_class_pictures_become_is_said_and_can_be_asked_for(ganforge_cli, workdir) -> None:
    write_recipe(workdir, LABELLED)
    answer = ganforge_cli("run", "recipe.toml")
    assert answer.status == 0, answer.err
    Path("in").mkdir()
    for number in range(20):
        shutil.copy("pictures/cats/0.png", f"in/{number}.png")
    answer = ganforge_cli("translate", "in", "--out", "turns")
    assert "classes in turn: cats, dogs; choose one with --label\n" in answer.out
    answer = ganforge_cli("translate", "in", "--out", "dogs", "--label", "dogs")
    assert answer.out.endswith("class: dogs\n")
    turns = [pixels_of(Path(f"turns/{number}.png")) for number in range(20)]
    dogs = [pixels_of(Path(f"dogs/{number}.png")) for number in range(20)]
    assert np.abs(np.int16(turns[0]) - turns[1]).max() > 0
    for number in range(20):  # numbered through, not anew in each batch
        assert np.abs(np.int16(turns[number]) - turns[number % 2]).max() <= 1
        assert np.abs(np.int16(dogs[number]) - turns[1]).max() <= 1
    answer = ganforge_cli("translate", "in", "--out", "birds", "--label", "birds")
    assert answer.status == 2 and "there is no label 'birds'; there are: cats, dogs" in answer.err


def test_a_label_for_a_generator_without_classes_is_refused(ganforge_cli, pets: Path) -> None:
    answer = ganforge_cli("translate", "--to", "dog", "photos", "--out", "m", "--label", "0")
    assert answer.status == 2
    assert "generator 'cat2dog' reads no class: leave out --label" in answer.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pets"], "name the pictures to translate, or a folder of them"),
        (["pats", "photos"], "'pats' is neither a run nor a file"),
        (["pets", "nowhere"], "there is no file or folder nowhere"),
        (["pets", "broken.png"], "broken.png is not a readable image"),
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
