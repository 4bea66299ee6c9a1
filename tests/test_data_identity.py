"""A run knows its data by what it is: what changed is told, and the same elsewhere is the same."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_recipes import DIGITS, PLAIN, draw_pictures, write_recipe

import ganforge
from ganforge.interfaces.errors import BrokenRows, RunError
from ganforge.plugin import DataDescription, ImageSpec
from ganforge.runs.data_identity import changes, identity_of
from ganforge.storage import checkpoint
from ganforge.storage.run_folder import RunFolder
from ganforge.training.launch import Request, launch

QUIET = "[hooks.progress]\noff = true\n[hooks.samples]\noff = true\n"
TEXT = PLAIN.replace("[hooks.samples]\nevery = 2\ncount = 4\n", QUIET)
CLASSES = DIGITS.replace("[hooks.samples]\nevery = 2\ncount = 4\n", QUIET)
PICTURES = Path("pictures")


@pytest.fixture
def recipe(workdir):
    assert TEXT != PLAIN and CLASSES != DIGITS
    return write_recipe(workdir, TEXT)


def run(recipe, steps, *sets, said=None, **asked):
    asked.setdefault("out", Path("runs/it"))
    request = Request(recipe=recipe, sets=(f"train.steps={steps}", *sets), **asked)
    return launch(request, (said if said is not None else []).append)


def state(folder="runs/it"):
    folder = RunFolder(Path(folder))
    return checkpoint.load(folder.checkpoints, folder.checkpoint_steps()[-1])


def redraw(path, seed=99):
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def same_weights(one, other):
    one, other = state(one).networks, state(other).networks
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# --- what changed ---------------------------------------------------------------------------------


def test_files_that_were_replaced_are_named_and_the_run_says_from_where_it_is_not_exact(recipe):
    run(recipe, 2)
    for name in ("cats/0.png", "dogs/3.png"):
        redraw(PICTURES / name)
    said = []
    run(recipe, 4, said=said)
    told = "train/image: 2 files replaced: cats/0.png, dogs/3.png"
    assert said[0] == f"the data has changed: {told}"
    assert said[1] == "not bit-exact from step 2 on, since other data is learned from"
    assert state().state["inexact"] == [{"step": 2, "changed": [f"data {told}"]}]
    said.clear()
    run(recipe, 5, said=said)
    assert len(said) == 1 and said[0].startswith("resuming")


def test_a_replaced_file_of_the_same_size_and_time_is_found(recipe):
    run(recipe, 2)
    file = PICTURES / "cats/0.png"
    before = file.stat()
    content = bytearray(file.read_bytes())
    new = file.with_name("new")
    content[60] ^= 1
    new.write_bytes(content)
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.replace(file)
    with pytest.raises(BrokenRows, match=r"cats/0\.png"):
        run(recipe, 4)
    kept = json.loads(Path("runs/it/data.json").read_text())["splits"]["train"]["image"]
    assert kept["names"][0] == "cats/0.png"


def test_class_folders_that_were_swapped_are_told(workdir):
    recipe = write_recipe(workdir, CLASSES)
    draw_pictures(PICTURES / "dogs", size=(9, 9))
    run(recipe, 2)
    (PICTURES / "cats").rename("aside")
    (PICTURES / "dogs").rename(PICTURES / "cats")
    Path("aside").rename(PICTURES / "dogs")
    said = []
    run(recipe, 4, said=said)
    assert "8 files replaced: cats/0.png, cats/1.png, cats/2.png and 5 more" in said[0]
    assert said[1].startswith("not bit-exact from step 2 on")


def test_a_renamed_file_is_told_and_stays_exact_where_the_order_stays(recipe):
    run(recipe, 2)
    shutil.copytree("runs/it", "runs/other")
    run(recipe, 4, out=Path("runs/other"))
    (PICTURES / "dogs/3.png").rename(PICTURES / "dogs/9.png")
    said = []
    run(recipe, 4, said=said)
    told = "train/image: 1 file renamed: dogs/3.png -> dogs/9.png"
    assert said[0] == f"the data has changed: {told}" and len(said) == 2
    assert state().state["inexact"] == [] and same_weights("runs/it", "runs/other")


class MadeUp(ganforge.Dataset):
    """Rows that are made of their numbers and a seed, and which of them were made."""

    def __init__(self, seed, costly):
        image = ImageSpec(1, 2, 2)
        counts = {"train": {"image": 200}, "test": {"image": 5}}
        description = DataDescription(domains={"image": image}, counts=counts)
        super().__init__(None, None, description)
        self.seed, self.costly, self.made = seed, costly, []

    def count(self, split, domain):
        return self.description.counts[split][domain]

    def item(self, split, domain, index):
        self.made.append((split, index))
        return torch.full((1, 2, 2), index + self.seed, dtype=torch.uint8)


@pytest.mark.parametrize(("costly", "most"), [(False, 64), (True, 8)])
def test_made_up_rows_are_known_by_some_from_all_parts_fewer_where_they_take_long(costly, most):
    data, same, other = (MadeUp(seed, costly) for seed in (0, 0, 1))
    identity = identity_of(data)
    assert changes(identity, identity_of(same)) == []
    (change,) = changes(identity, identity_of(other))
    assert change.where == "train/image" and change.other
    of_train = [index for split, index in data.made if split == "train"]
    assert len(of_train) == most and max(of_train) - min(of_train) > 160
    assert [index for split, index in data.made if split == "test"] == [0, 1, 2, 3, 4]


def test_rows_that_went_or_came_are_named_and_accepted_only_when_asked(recipe):
    run(recipe, 2)
    (PICTURES / "cats/1.png").unlink()
    (PICTURES / "dogs/new.png").write_bytes((PICTURES / "dogs/0.png").read_bytes())
    redraw(PICTURES / "dogs/another.png")
    told = (
        "train/image: 8 -> 9 rows, 1 file gone: cats/1.png, 2 files new: dogs/another.png, "
        "dogs/new.png"
    )
    with pytest.raises(RunError) as caught:
        run(recipe, 4)
    assert told in str(caught.value) and "go on with `--accept-data`" in str(caught.value)
    said = []
    assert run(recipe, 4, accept_data=True, said=said).step == 4
    assert said[0] == f"the data has changed: {told}"
    assert state().state["inexact"] == [{"step": 2, "changed": [f"data {told}"]}]
    assert run(recipe, 6).step == 6  # it is this run's data now


def test_a_run_from_before_data_json_goes_on_and_begins_to_keep_one(recipe):
    run(recipe, 2)
    Path("runs/it/data.json").unlink()
    said = []
    run(recipe, 4, said=said)
    assert len(said) == 1 and Path("runs/it/data.json").exists()


def test_a_run_from_before_data_json_may_accept_other_rows(recipe):
    run(recipe, 2)
    Path("runs/it/data.json").unlink()
    (PICTURES / "cats/1.png").unlink()
    with pytest.raises(RunError, match=r"counts\.train\.image: 8 -> 7(.|\n)*`--accept-data`"):
        run(recipe, 4)
    assert run(recipe, 4, accept_data=True).step == 4


# --- elsewhere ------------------------------------------------------------------------------------


def test_a_run_whose_data_moved_goes_on_bit_for_bit(recipe):
    run(recipe, 4, out=Path("runs/whole"))
    run(recipe, 2)
    shutil.copytree(PICTURES, "elsewhere", copy_function=shutil.copy)  # with other times
    shutil.rmtree(PICTURES)
    Path("runs/it").rename("moved")
    said = []
    run(recipe, 4, 'data.root="elsewhere"', said=said, out=Path("moved"))
    assert said == ["resuming moved at step 2 of 4"]
    assert state("moved").state["inexact"] == [] and same_weights("moved", "runs/whole")


def test_a_run_folder_is_resumed_by_its_path_with_its_data_elsewhere(recipe, ganforge_cli):
    run(recipe, 4, out=Path("runs/whole"))
    run(recipe, 2)
    PICTURES.rename("elsewhere")
    answer = ganforge_cli(
        *("run", "runs/it", "--set", "train.steps=4", "--data", "elsewhere"),
    )
    assert answer.status == 0, answer
    assert f"resuming {Path('runs/it')} at step 2 of 4" in answer.out
    assert same_weights("runs/it", "runs/whole")


def test_commands_are_told_where_the_data_is_now(recipe, ganforge_cli):
    run(recipe, 2)
    PICTURES.rename("elsewhere")
    for name in ("nearest", "filters"):
        assert ganforge_cli(name, "runs/it", "--out", "sheet.png").status != 0
        answer = ganforge_cli(name, "runs/it", "--data", "elsewhere", "--out", f"{name}.png")
        assert answer.status == 0, answer
        assert Path(f"{name}.png").exists()
    opened = ganforge.open_run("runs/it", data="elsewhere")
    assert opened.training("image", 3).shape == (3, 3, 8, 8)


# --- broken files ---------------------------------------------------------------------------------


def test_a_broken_file_is_left_out_when_asked_and_the_advice_says_so(recipe, ganforge_cli):
    broken = PICTURES / "cats/2.png"
    broken.write_bytes(broken.read_bytes()[:60])
    answer = ganforge_cli("run", recipe)
    assert answer.status == 2 and "2.png" in answer.err
    assert "`--set data.skip_broken=true`" in answer.err
    said = []
    outcome = run(recipe, 3, "data.skip_broken=true", said=said)
    assert said == ["left out of train/image, since they cannot be read: cats/2.png"]
    assert outcome.step == 3
    opened = ganforge.open_run("runs/it")
    assert opened.dataset().count("train", "image") == 7


def test_classes_stay_beside_their_pictures_where_some_are_left_out(workdir):
    recipe = write_recipe(workdir, CLASSES)
    (PICTURES / "cats/1.png").write_bytes(b"")
    run(recipe, 2, "data.skip_broken=true")
    data = ganforge.open_run("runs/it").dataset()
    assert data.count("train", "label") == data.count("train", "image") == 7
    assert [int(data.item("train", "label", n)) for n in range(7)] == [0] * 3 + [1] * 4
    assert data.rows("train", "label").tolist() == [0] * 3 + [1] * 4


def test_a_file_that_breaks_may_be_deleted_or_left_out_and_the_run_goes_on(recipe):
    run(recipe, 2)
    broken = PICTURES / "cats/2.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(BrokenRows):
        run(recipe, 4)
    said = []
    run(recipe, 4, "data.skip_broken=true", said=said)
    assert "8 -> 7 rows, 1 file gone: cats/2.png" in said[1] and said[2].startswith("not bit-exact")
    broken.unlink()
    said.clear()
    assert run(recipe, 5, said=said).step == 5
    assert len(said) == 1  # the rows are those that it has learned from


# --- how long it takes ----------------------------------------------------------------------------


@pytest.mark.slow
def test_ten_thousand_files_are_known_again_within_a_second_or_so(tmp_path):
    from ganforge_folders.datasets import ImageFolder
    from ganforge_folders.plugin import ImageFolderOptions, describe_image_folder

    from ganforge.plugin import ImageOptions
    from ganforge.runs.data_identity import changes, identity_of

    draw_pictures(tmp_path, 10_000, size=(64, 64))
    options, image = ImageFolderOptions(root=tmp_path), ImageOptions(size=64)
    data = ImageFolder(options, image, describe_image_folder(options, image))
    start = time.perf_counter()
    first = identity_of(data)
    read = time.perf_counter()
    again = identity_of(data, first)
    looked = time.perf_counter()
    print(f"read {read - start:.2f} s, looked at {looked - read:.2f} s")
    assert changes(first, again) == [] and looked - read < 5 and read - start < 20
