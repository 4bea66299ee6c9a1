"""`ganforge sample`: grids, folders and tensors of a trained generator."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from small_recipes import CYCLE, DIGITS, PLAIN, pixels_of, write_recipe

import ganforge
from ganforge.images import grid


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run that knows classes, `digits`, and one that does not, `plain`."""
    folder = tmp_path_factory.mktemp("trained")
    for name, text in (("plain", PLAIN), ("digits", DIGITS)):
        write_recipe(folder, text.replace('root = "pictures"', f'root = "{folder}/pictures"'))
        ganforge.train(folder / "recipe.toml", out=folder / "runs" / name)
    return folder


@pytest.fixture
def runs(trained: Path, workdir: Path) -> Path:
    shutil.copytree(trained / "runs", workdir / "runs")
    return workdir / "runs"


def samples(name: str, count: int, **options: object) -> torch.Tensor:
    return ganforge.open_run(name).sample(count, **options)


def test_a_grid_goes_into_the_current_folder_named_by_run_and_seed(ganforge_cli, runs) -> None:
    answer = ganforge_cli("sample", "plain", "--seed", "5")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out == "64 images of plain at step 4: plain-seed5.png\n"
    assert np.array_equal(pixels_of(Path("plain-seed5.png")), grid(samples("plain", 64, seed=5), 8))


def test_image_i_of_a_seed_is_image_0_of_that_seed_plus_i(ganforge_cli, runs) -> None:
    ganforge_cli("sample", "digits", "--seed", "3", "--count", "4", "--out", "a.safetensors")
    together = load_file("a.safetensors")
    for number in range(4):
        ganforge_cli("sample", "digits", f"--seed={3 + number}", "--count=1", "--out=b.safetensors")
        alone = load_file("b.safetensors")
        assert torch.equal(alone["labels"][0], together["labels"][number])
        assert torch.allclose(alone["images"][0], together["images"][number], atol=1e-6)


def test_a_name_without_ending_is_a_folder_of_pictures(ganforge_cli, runs, monkeypatch) -> None:
    monkeypatch.setattr("ganforge.cli.sample._CHUNK", 2)
    answer = ganforge_cli("sample", "plain", "--count", "5", "--out", "made/here")
    assert answer.out == f"5 images of plain at step 4: {Path('made', 'here')}\n"
    names = sorted(path.name for path in Path("made/here").iterdir())
    assert names == [f"00000{number}.png" for number in range(5)]
    last = samples("plain", 5)[4:]
    assert np.array_equal(pixels_of(Path("made/here/000004.png")), grid(last, 1))
    Path("dotted.folder").mkdir()
    assert ganforge_cli("sample", "plain", "--count", "1", "--out", "dotted.folder").status == 0
    assert Path("dotted.folder/000000.png").exists()


def test_a_tensor_holds_images_labels_and_where_they_came_from(ganforge_cli, runs) -> None:
    answer = ganforge_cli(
        "sample", "digits", "--count", "5", "--seed", "1", "--out", "t.safetensors"
    )
    assert answer.status == 0
    tensors = load_file("t.safetensors")
    assert tensors["images"].dtype == torch.float32
    assert tensors["images"].shape == (5, 3, 8, 8)
    assert tensors["images"].abs().max() <= 1
    assert torch.equal(tensors["images"], samples("digits", 5, seed=1))
    assert tensors["labels"].tolist() == [1, 0, 1, 0, 1]
    with safe_open("t.safetensors", "pt") as file:
        assert file.metadata() == {"run": "digits", "step": "4", "seed": "1"}
    ganforge_cli("sample", "plain", "--out", "u.safetensors")
    assert list(load_file("u.safetensors")) == ["images"]


@pytest.mark.parametrize("label", ["1", "dogs"])
def test_a_label_is_a_number_or_a_name(ganforge_cli, runs, label: str) -> None:
    answer = ganforge_cli("sample", "digits", "--label", label, "--count", "4")
    assert answer.out.endswith(f": digits-label-{label}-seed0.png\n")
    sheet = pixels_of(Path(f"digits-label-{label}-seed0.png"))
    assert np.array_equal(sheet, grid(samples("digits", 4, label=1), 2))


def test_classes_by_turns_get_a_column_each(ganforge_cli, runs) -> None:
    answer = ganforge_cli("sample", "digits", "--count", "6")
    assert pixels_of(Path("digits-seed0.png")).shape == (3 * 10 - 2, 2 * 10 - 2, 3)
    assert answer.out.startswith("6 images of digits")


def test_numbers_are_legible_and_nothing_else_changes(ganforge_cli, runs) -> None:
    ganforge_cli("sample", "plain", "--count", "4", "--out", "bare.png")
    answer = ganforge_cli("sample", "plain", "--count", "4", "--numbered", "--out", "numbered.png")
    assert answer.status == 0
    bare, numbered = pixels_of(Path("bare.png")), pixels_of(Path("numbered.png"))
    assert numbered.shape == (130, 130, 3)  # 8 px tiles are shown 8 times as large
    for y in range(2):
        for x in range(2):
            tile = bare[10 * y :, 10 * x :][:8, :8].repeat(8, 0).repeat(8, 1)
            written = numbered[66 * y :, 66 * x :][:64, :64]
            assert np.array_equal(tile[20:], written[20:])
            assert (written[:20] > 200).all(2).any()
    tiles = [numbered[66 * y :, 66 * x :][:20, :20] > 200 for y in range(2) for x in range(2)]
    assert len({tile.tobytes() for tile in tiles}) == 4


def test_a_step_is_one_that_was_kept_as_checkpoint_or_snapshot(ganforge_cli, runs) -> None:
    answer = ganforge_cli("sample", "plain", "--step", "2", "--count", "4")
    assert answer.out == "4 images of plain at step 2: plain-step2-seed0.png\n"
    sheet = pixels_of(runs / "plain" / "samples" / "step-000002.png")
    assert np.array_equal(pixels_of(Path("plain-step2-seed0.png")), sheet)
    answer = ganforge_cli("sample", "plain", "--step", "3")
    assert answer.status == 2
    assert "no checkpoint of step 3; there are: 0, 2, 4, last" in answer.err


def test_a_run_is_a_name_a_folder_or_the_newest(ganforge_cli, runs) -> None:
    (runs / "digits" / "resolved.toml").touch()
    (runs / "digits" / "metrics.jsonl").touch()
    for words in (["digits"], ["runs/digits"], []):
        answer = ganforge_cli("sample", *words, "--count", "2")
        assert answer.out == "2 images of digits at step 4: digits-seed0.png\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["digit"], "there is no run 'digit'; did you mean 'digits'?"),
        (["plain", "--label", "1"], "plain was trained without labels"),
        (["digits", "--label", "birds"], "there is no label 'birds'; there are: cats, dogs"),
        (["plain", "--out", "a.gif"], "--out takes FILE.png"),
        (["plain", "--out", "runs/plain/recipe.toml"], "--out takes FILE.png"),
        (["plain", "--out", "made", "--numbered"], "--numbered writes on a grid"),
        (["plain", "--generator", "other"], "there is no generator 'other'; there are: main"),
        (["plain", "--device", "abacus"], "there is no device 'abacus'"),
        (["plain", "--count", "0"], "0 is not in the range"),
    ],
)
def test_mistakes_are_told_in_a_line(ganforge_cli, runs, words: list[str], message: str) -> None:
    answer = ganforge_cli("sample", *words)
    assert answer.status == 2
    assert message in answer.err
    assert answer.err.count("\n") <= 2


def test_a_translator_is_not_sampled(ganforge_cli, workdir: Path) -> None:
    write_recipe(workdir, CYCLE)
    ganforge_cli("run", "recipe.toml")
    answer = ganforge_cli("sample", "--generator", "cat2dog")
    assert answer.status == 2
    assert "`ganforge translate cats-and-dogs INPUT... --out DIR`" in answer.err


def test_the_form_of_the_line_is_checked_before_torch_is_imported(ganforge_cli, runs) -> None:
    assert "torch" not in ganforge_cli.imported_by("sample", "plain", "--out", "a.gif")
    assert "torch" not in ganforge_cli.imported_by("sample", "unknown")


def test_pictures_of_a_preview_open_everywhere(ganforge_cli, runs) -> None:
    ganforge_cli("sample", "plain", "--out", "deep/er/grid.PNG")
    with Image.open("deep/er/grid.PNG") as image:
        assert image.format == "PNG"


@pytest.mark.parametrize("command", ["sample", "walk", "filters", "nearest"])
def test_an_earlier_sheet_is_never_lost_without_a_word(ganforge_cli, runs: Path, command) -> None:
    """The usual name is not used twice, unless for the same; a name that was asked for is."""
    name = {"sample": "plain-seed0"}.get(command, f"plain-{command}")
    usual = Path(f"{name}.png")
    usual.write_bytes(b"an earlier sheet")
    words = [command, "plain"]
    for _ in range(2):
        answer = ganforge_cli(*words)
        assert answer.status == 0, answer.err
        assert f": {name}-2.png\n" in answer.out
    assert usual.read_bytes() == b"an earlier sheet"
    assert sorted(path.name for path in Path().glob("*.png")) == [f"{name}-2.png", usual.name]
    answer = ganforge_cli(*words, "--out", usual.name)
    assert f": {usual.name} (replaced 1 file there)\n" in answer.out
    assert usual.read_bytes() != b"an earlier sheet"


def test_replaced_pictures_of_a_folder_are_counted(ganforge_cli, runs: Path) -> None:
    ganforge_cli("sample", "plain", "--count", "3", "--out", "made")
    answer = ganforge_cli("sample", "plain", "--count", "5", "--out", "made")
    assert answer.out.endswith(": made (replaced 3 files there)\n")
