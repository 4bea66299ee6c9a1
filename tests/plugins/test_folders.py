"""Datasets that read folders of images."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ganforge_folders.datasets import ImageFolder, PairedFolders, SideBySide, UnpairedFolders
from ganforge_folders.plugin import (
    ImageFolderOptions,
    PairedFoldersOptions,
    SideBySideOptions,
    UnpairedFoldersOptions,
    describe_image_folder,
    describe_paired,
    describe_side_by_side,
    describe_unpaired,
    ganforge_components,
)
from PIL import Image
from playing import QUIET, plan_of, training_of

from ganforge import DataError, Draws, ImageOptions
from ganforge.data.feed import Feed, held_out_rows
from ganforge.plugin import ImageSpec, Impossible, LabelSpec
from ganforge.recipes.problems import RecipeError

CPU = torch.device("cpu")
# SHA-256 of a batch of training crops, as they have been since 0.1.0.
TRAINED = "7b22e11b234c0013e302adddb12e4d6c8cb0f6b7ae47c6c4ccfca348dfa2a507"


def save(folder: Path, *names: str, size=(8, 6), mode: str = "RGB") -> None:
    """Images, each of one colour that follows from its name."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, sum(name.encode()) % 256).save(path)


def numbered(count: int) -> list[str]:
    return [f"{number}.png" for number in range(count)]


def folder(root: Path, *, image: dict | None = None, **options) -> ImageFolder:
    chosen, shared = ImageFolderOptions(root=root, **options), ImageOptions(**(image or {}))
    return ImageFolder(chosen, shared, describe_image_folder(chosen, shared))


def unpaired(root: Path, *, image: dict | None = None, **options) -> UnpairedFolders:
    options.setdefault("domains", {"horse": "trainA", "zebra": "trainB"})
    chosen, shared = UnpairedFoldersOptions(root=root, **options), ImageOptions(**(image or {}))
    return UnpairedFolders(chosen, shared, describe_unpaired(chosen, shared))


def paired(root: Path, *, image: dict | None = None, **options) -> PairedFolders:
    options.setdefault("domains", {"photo": "trainA", "edges": "trainB"})
    chosen, shared = PairedFoldersOptions(root=root, **options), ImageOptions(**(image or {}))
    return PairedFolders(chosen, shared, describe_paired(chosen, shared))


def side_by_side(root: Path, *, image: dict | None = None, **options) -> SideBySide:
    chosen, shared = SideBySideOptions(root=root, **options), ImageOptions(**(image or {}))
    return SideBySide(chosen, shared, describe_side_by_side(chosen, shared))


def names(dataset, split="train", domain="image") -> list[str]:
    return [path.name for path in dataset.files[split][domain]]


# ---------------------------------------------------------------- one folder


def test_a_flat_folder_is_one_domain_of_images(tmp_path):
    save(tmp_path, *numbered(12))
    dataset = folder(tmp_path)
    assert dataset.description.domains == {"image": ImageSpec(3, 6, 8)}
    assert dataset.description.counts == {"train": {"image": 12}}
    assert dataset.count("train", "image") == 12 and dataset.count("test", "image") == 0
    item = dataset.item("train", "image", 10)
    assert item.dtype == torch.uint8 and item.shape == (3, 6, 8)
    with Image.open(tmp_path / "10.png") as picture:
        assert np.array_equal(item.permute(1, 2, 0).numpy(), np.asarray(picture))


def test_images_are_loaded_in_the_size_that_options_ask_for(tmp_path):
    save(tmp_path, *numbered(3))
    dataset = folder(tmp_path, image={"size": (16, 20), "load": 24, "channels": 1})
    assert dataset.description.domains["image"] == ImageSpec(1, 16, 20)
    assert dataset.item("train", "image", 0).shape == (1, 24, 24)


def test_folders_are_classes_where_labels_are_asked_for(tmp_path):
    save(tmp_path, "cat/1.png", "cat/2.png", "bird/1.png", "ant10/a/1.png", "ant2/1.png")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("no class")
    dataset = folder(tmp_path, labels=True)
    classes = ("ant2", "ant10", "bird", "cat")
    assert dataset.description.domains["label"] == LabelSpec(4, classes)
    assert dataset.description.group("image") == ("image", "label")
    assert dataset.rows("train", "label").tolist() == [0, 1, 2, 3, 3]
    assert dataset.item("train", "label", 4).dtype == torch.int64
    assert dataset.description.counts["train"] == {"image": 5, "label": 5}


def test_without_labels_folders_below_are_read_as_one(tmp_path):
    save(tmp_path, "cat/1.png", "bird/1.png", "2.png")
    assert names(folder(tmp_path)) == ["2.png", "1.png", "1.png"]


def test_an_image_outside_of_classes_is_told(tmp_path):
    save(tmp_path, "cat/1.png", "2.png")
    with pytest.raises(Impossible, match=r"2\.png lies in no folder of a class.*cat") as caught:
        folder(tmp_path, labels=True)
    assert caught.value.key == "labels"
    save(tmp_path, "test/dog/1.png")
    (tmp_path / "2.png").unlink()
    with pytest.raises(Impossible, match=r"1\.png lies in no folder of a class"):
        folder(tmp_path, labels=True)


def test_a_share_is_held_out_by_name_and_stays_held_out(tmp_path):
    save(tmp_path, *(f"{number}.png" for number in range(0, 200, 2)))
    before = folder(tmp_path, holdout=0.2)
    held_out = set(names(before, "test"))
    assert 8 <= len(held_out) <= 35
    assert held_out.isdisjoint(names(before)) and len(held_out) + len(names(before)) == 100
    save(tmp_path, *(f"{number}.png" for number in range(1, 200, 2)))
    after = folder(tmp_path, holdout=0.2)
    assert held_out <= set(names(after, "test"))
    assert held_out.isdisjoint(names(after))
    assert after.description.counts["test"]["image"] == len(names(after, "test"))


def test_labels_go_with_their_images_in_both_parts(tmp_path):
    save(tmp_path, *(f"{kind}/{number}.png" for kind in ("a", "b") for number in range(40)))
    dataset = folder(tmp_path, labels=True, holdout=0.3)
    for split in ("train", "test"):
        files = dataset.files[split]["image"]
        labels = dataset.rows(split, "label").tolist()
        assert labels == ["ab".index(path.parent.name) for path in files]
        assert dataset.count(split, "label") == len(files) > 5


def test_a_folder_named_test_is_held_out(tmp_path):
    save(tmp_path, "train/1.png", "train/2.png", "test/3.png", "unused/4.png")
    dataset = folder(tmp_path)
    assert (names(dataset), names(dataset, "test")) == (["1.png", "2.png"], ["3.png"])
    save(tmp_path / "other", "1.png", "test/3.png")
    dataset = folder(tmp_path / "other")
    assert (names(dataset), names(dataset, "test")) == (["1.png"], ["3.png"])
    with pytest.raises(Impossible, match="is already held out: leave `holdout` out") as caught:
        folder(tmp_path, holdout=0.1)
    assert caught.value.key == "holdout"


def test_a_folder_without_training_images_is_told(tmp_path):
    save(tmp_path, "test/3.png")
    with pytest.raises(Impossible, match="none is left for training"):
        folder(tmp_path)
    with pytest.raises(Impossible, match=r"there is no folder .*absent") as caught:
        folder(tmp_path / "absent")
    assert caught.value.key == "root"


def test_images_of_several_sizes_need_a_size(tmp_path):
    save(tmp_path, "1.png")
    save(tmp_path, "2.png", size=(9, 9))
    with pytest.raises(Impossible, match=r"the images differ in size: .*set `size`") as caught:
        folder(tmp_path)
    assert caught.value.key == "size"
    assert folder(tmp_path, image={"size": 8}).item("train", "image", 1).shape == (3, 8, 8)


def test_grey_images_stay_grey(tmp_path):
    save(tmp_path, "1.png", "2.png", mode="L")
    assert folder(tmp_path).item("train", "image", 0).shape == (1, 6, 8)
    save(tmp_path, "3.png")
    assert folder(tmp_path).item("train", "image", 0).shape == (3, 6, 8)


def test_bad_files_are_told_before_training(tmp_path):
    save(tmp_path, *numbered(5), size=(64, 64))
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:60])
    dataset = folder(tmp_path, image={"size": 8})
    with pytest.raises(DataError, match=r"3\.png (is cut off|cannot be decoded)"):
        Feed(dataset, ["image"], batch=2, draws=Draws(0), device=CPU)
    (tmp_path / "3.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"3\.png is an empty file"):
        Feed(dataset, ["image"], batch=2, draws=Draws(0), device=CPU, keep_bytes=0)


# ---------------------------------------------------------------- unpaired folders


def test_each_named_folder_is_a_domain_of_its_own(tmp_path):
    save(tmp_path / "trainA", *numbered(5))
    save(tmp_path / "trainB", *numbered(3))
    save(tmp_path / "testA", *numbered(2))
    dataset = unpaired(tmp_path)
    assert dataset.description.domains == dict.fromkeys(("horse", "zebra"), ImageSpec(3, 6, 8))
    assert dataset.description.counts == {"train": {"horse": 5, "zebra": 3}, "test": {"horse": 2}}
    assert dataset.description.group("horse") == ("horse",)
    assert dataset.count("train", "zebra") == 3
    assert dataset.count("test", "horse") == 2 and dataset.count("test", "zebra") == 0


def test_held_out_folders_are_found_beside_or_named(tmp_path):
    save(tmp_path, "train/horse/1.png", "train/zebra/1.png", "test/horse/7.png", "extra/8.png")
    domains = {"horse": "train/horse", "zebra": "train/zebra"}
    dataset = unpaired(tmp_path, domains=domains, test={"zebra": "extra"})
    assert names(dataset, "test", "horse") == ["7.png"]
    assert names(dataset, "test", "zebra") == ["8.png"]
    with pytest.raises(Impossible, match="'cow' is not a domain; there are horse, zebra") as caught:
        unpaired(tmp_path, domains=domains, test={"cow": "extra"})
    assert caught.value.key == "test"
    with pytest.raises(Impossible, match=r"there is no folder .*absent") as caught:
        unpaired(tmp_path, domains=domains, test={"zebra": "absent"})
    assert caught.value.key == "test"


def test_a_missing_folder_is_told_with_those_that_exist(tmp_path):
    save(tmp_path / "trainA", "1.png")
    with pytest.raises(Impossible, match=r"no folder .*trainB; .* has the folders train") as caught:
        unpaired(tmp_path)
    assert caught.value.key == "domains"
    with pytest.raises(Impossible, match="there is no folder") as caught:
        unpaired(tmp_path / "absent")
    assert caught.value.key == "root"


def test_without_a_domain_there_is_nothing_to_read(tmp_path):
    with pytest.raises(Impossible, match="name a domain and its folder") as caught:
        unpaired(tmp_path, domains={})
    assert caught.value.key == "domains"


def test_all_domains_share_one_spec(tmp_path):
    save(tmp_path / "trainA", "1.png", mode="L")
    save(tmp_path / "trainB", "1.png")
    assert {spec.channels for spec in unpaired(tmp_path).description.domains.values()} == {3}
    save(tmp_path / "trainB", "2.png", size=(9, 9))
    with pytest.raises(Impossible, match="set `size`"):
        unpaired(tmp_path)


def cycle(root: Path, losses: str) -> str:
    """CycleGAN between photographs in colour and in grey."""
    return (
        f"""
    recipe = 1
    name = "colours"
    [data]
    use = "unpaired-folders"
    root = "{root.as_posix()}"
    domains = {{ colour = "trainA", grey = "trainB" }}
    grey = ["grey"]
    [train]
    steps = 2
    batch = 2
    precision = "fp32"
    [generators.fade]
    use = "resnet-translator"
    from = "colour"
    to = "grey"
    width = 4
    blocks = 1
    [generators.tint]
    like = "fade"
    from = "grey"
    to = "colour"
    [discriminators.colour]
    use = "patchgan"
    on = "colour"
    width = 4
    layers = 1
    [discriminators.grey]
    like = "colour"
    on = "grey"
    [losses.adversarial]
    use = "least-squares"
    [losses.cycle-consistency]
    {losses}
    """
        + QUIET
    )


def test_domains_may_be_grey_and_play_a_cycle_but_have_no_identity(tmp_path):
    for name in ("trainA", "trainB"):
        save(tmp_path / name, *numbered(4), size=(16, 12))
    training = training_of(tmp_path, cycle(tmp_path, ""))
    specs = {name: training.plan.domains[name].spec for name in ("colour", "grey")}
    assert specs == {"colour": ImageSpec(3, 12, 16), "grey": ImageSpec(1, 12, 16)}
    assert training.plan.losses["cycle-consistency"].on == ("fade", "tint")
    training.run()
    assert training.step == 2
    with pytest.raises(RecipeError) as raised:
        plan_of(tmp_path, cycle(tmp_path, "[losses.identity]"))
    (problem,) = raised.value.problems
    assert problem.message == (
        "loss 'identity' cannot play on 'fade': it asks for 'same', but generator 'fade' turns "
        "image 3 x 12 x 16 into image 1 x 12 x 16: only the same shape can stay the same"
    )
    with pytest.raises(Impossible, match="'cow' is not a domain; there are horse, zebra") as caught:
        unpaired(tmp_path, grey=["cow"])
    assert caught.value.key == "grey"


# ---------------------------------------------------------------- paired folders


def test_files_of_one_name_are_pairs_whatever_their_endings(tmp_path):
    save(tmp_path / "trainA", *(f"{number}.png" for number in (2, 1, 10)), "more/3.png")
    save(tmp_path / "trainB", *(f"{number}.bmp" for number in (1, 2, 10)), "more/3.bmp")
    dataset = paired(tmp_path)
    assert dataset.description.aligned == (("photo", "edges"),)
    assert dataset.description.counts == {"train": {"photo": 4, "edges": 4}}
    assert names(dataset, domain="photo") == ["1.png", "2.png", "10.png", "3.png"]
    assert names(dataset, domain="edges") == ["1.bmp", "2.bmp", "10.bmp", "3.bmp"]
    save(tmp_path / "trainA", "a.bmp", "a.q.bmp")  # which the endings put into another order
    save(tmp_path / "trainB", "a.tif", "a.q.tif")
    dataset = paired(tmp_path)
    assert names(dataset, domain="photo")[-3:] == ["a.bmp", "a.q.bmp", "3.png"]
    assert names(dataset, domain="edges")[-3:] == ["a.tif", "a.q.tif", "3.bmp"]


def test_each_domain_has_the_channels_of_its_own_files(tmp_path):
    save(tmp_path / "trainA", "1.png")
    save(tmp_path / "trainB", "1.png", mode="L")
    domains = {"photo": ImageSpec(3, 6, 8), "edges": ImageSpec(1, 6, 8)}
    assert paired(tmp_path).description.domains == domains
    assert paired(tmp_path).item("train", "edges", 0).shape == (1, 6, 8)
    grey = paired(tmp_path, grey=["photo"]).description.domains
    assert grey["photo"] == ImageSpec(1, 6, 8)
    save(tmp_path / "other", "1.png", size=(9, 9))
    domains = {"photo": "trainA", "edges": "other"}
    with pytest.raises(Impossible, match="'edges' image 3 x 9 x 9; set `size`") as caught:
        paired(tmp_path, domains=domains)
    assert caught.value.key == "size"
    assert paired(tmp_path, domains=domains, image={"size": 8}).count("train", "edges") == 1


def test_pairs_are_cropped_and_flipped_as_one(tmp_path):
    save_noise(tmp_path / "trainA", 6)
    for path in (tmp_path / "trainA").iterdir():  # the same pictures in negative
        (tmp_path / "trainB").mkdir(exist_ok=True)
        with Image.open(path) as picture:
            Image.fromarray(255 - np.asarray(picture)).save(tmp_path / "trainB" / path.name)
    dataset = paired(tmp_path, image={"load": 12, "size": 8, "flip": True})
    feed = Feed(dataset, ["photo", "edges"], batch=6, draws=Draws(0), device=CPU)
    first, second = feed.batch(0), feed.batch(1)
    for batch in (first, second):
        assert batch["photo"].shape == (6, 3, 8, 8)
        assert torch.allclose(batch["photo"], -batch["edges"], atol=0.01)
    assert not torch.equal(first["photo"].sort(0).values, second["photo"].sort(0).values)


def test_a_pair_of_two_shapes_is_refused_unless_it_is_to_be_stretched(tmp_path):
    save(tmp_path / "trainA", *numbered(3), size=(20, 10))
    save(tmp_path / "trainB", *numbered(3), size=(10, 5))
    assert paired(tmp_path, image={"size": 8}).item("train", "edges", 2).shape == (3, 8, 8)
    save(tmp_path / "trainB", "2.png", size=(10, 8))
    dataset = paired(tmp_path, image={"size": 8})
    told = (
        f"{tmp_path / 'trainB' / '2.png'} is 10 x 8 px and its partner "
        f"{tmp_path / 'trainA' / '2.png'} 20 x 10 px: a pair needs one shape"
    )
    with pytest.raises(DataError, match=re.escape(told)):
        dataset.item("train", "edges", 2)
    with pytest.raises(DataError, match=re.escape(told)):
        dataset.verify()
    stretched = paired(tmp_path, image={"size": 8, "fit": "stretch"})
    assert stretched.item("train", "edges", 2).shape == (3, 8, 8)


def save_noise(folder: Path, count: int, size=(12, 12)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    draws = np.random.default_rng(0)
    for number in range(count):
        pixels = draws.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def test_files_without_a_partner_are_named(tmp_path):
    save(tmp_path / "trainA", *numbered(8))
    save(tmp_path / "trainB", *numbered(3), "extra.png")
    with pytest.raises(Impossible) as caught:
        paired(tmp_path)
    a, b = tmp_path / "trainA", tmp_path / "trainB"
    assert str(caught.value) == (
        f"6 of 9 names lack a partner: {a / '3.png'} has none in {b}; {a / '4.png'} has none in "
        f"{b}; {a / '5.png'} has none in {b}; and 3 more"
    )
    assert caught.value.key == "domains"
    for path in a.iterdir():
        if path.stem not in "012":
            path.unlink()
    with pytest.raises(Impossible, match=r"1 of 4 names .*extra\.png has none in .*trainA$"):
        paired(tmp_path)


def test_two_files_that_could_be_one_half_are_told(tmp_path):
    save(tmp_path / "trainA", "1.png", "1.bmp")
    save(tmp_path / "trainB", "1.png")
    with pytest.raises(Impossible, match=r"1\.bmp and 1\.png are both called '1'"):
        paired(tmp_path)


def test_pairs_are_held_out_whole(tmp_path):
    for name in ("trainA", "trainB"):
        save(tmp_path / name, *(f"{number}.png" for number in range(60)))
    dataset = paired(tmp_path, holdout=0.3)
    for split in ("train", "test"):
        assert names(dataset, split, "photo") == names(dataset, split, "edges")
        assert dataset.description.counts[split]["edges"] == len(names(dataset, split, "edges")) > 5
    assert not set(names(dataset, "test", "photo")) & set(names(dataset, "train", "photo"))
    save(tmp_path / "testA", "7.png")
    with pytest.raises(Impossible, match="testA is held out, but nothing of 'edges'") as caught:
        paired(tmp_path)
    assert caught.value.key == "test"
    save(tmp_path / "testB", "7.png")
    assert names(paired(tmp_path), "test", "edges") == ["7.png"]
    with pytest.raises(Impossible, match="already held out: leave `holdout` out"):
        paired(tmp_path, holdout=0.3)
    save(tmp_path / "testB", "8.png")
    with pytest.raises(Impossible, match=r"8\.png has none in .*testA") as caught:
        paired(tmp_path)
    assert caught.value.key == "test"


def test_pairs_need_two_domains_and_a_crop_that_fits(tmp_path):
    for name in ("trainA", "trainB"):
        save(tmp_path / name, "1.png")
    for make, fault in (
        (lambda: paired(tmp_path, domains={"photo": "trainA"}), "name two or more: { photo"),
        (lambda: side_by_side(tmp_path / "trainA", domains=["a"]), 'name two or more: \\["photo"'),
        (lambda: side_by_side(tmp_path / "trainA", domains=["a", "a"]), "'a' is given twice"),
    ):
        with pytest.raises(Impossible, match=fault) as caught:
            make()
        assert caught.value.key == "domains"
    for make in (paired, side_by_side):
        with pytest.raises(Impossible, match="`load` is 8 x 8, less than the 16 x 16") as caught:
            make(tmp_path, image={"load": 8, "size": 16})
        assert caught.value.key == "load"


# ---------------------------------------------------------------- side by side


def test_the_halves_of_an_image_are_a_pair(tmp_path):
    save_noise(tmp_path, 3, size=(16, 6))
    dataset = side_by_side(tmp_path, domains=["photo", "edges"], grey=["edges"])
    domains = {"photo": ImageSpec(3, 6, 8), "edges": ImageSpec(1, 6, 8)}
    assert dataset.description.domains == domains
    assert dataset.description.aligned == (("photo", "edges"),)
    assert dataset.description.counts == {"train": {"photo": 3, "edges": 3}}
    with Image.open(tmp_path / "2.png") as picture:
        whole, grey = np.asarray(picture), np.asarray(picture.convert("L"))
    photo, edges = (dataset.item("train", domain, 2) for domain in domains)
    assert np.array_equal(photo.permute(1, 2, 0).numpy(), whole[:, :8])
    assert np.array_equal(edges[0].numpy(), grey[:, 8:])


def test_the_parts_are_sized_and_cut_by_themselves(tmp_path):
    pixels = np.zeros((10, 60, 3), np.uint8)
    pixels[:, 20:40], pixels[:, 40:] = 100, 255
    (tmp_path / "test").mkdir()
    for path in (tmp_path / "1.png", tmp_path / "test" / "2.png"):
        Image.fromarray(pixels).save(path)
    dataset = side_by_side(tmp_path, domains=["a", "b", "c"], image={"size": 8, "load": 9})
    assert dataset.description.counts["test"] == {"a": 1, "b": 1, "c": 1}
    assert dataset.description.domains["b"] == ImageSpec(3, 8, 8)
    for domain, shade in (("a", 0), ("b", 100), ("c", 255)):
        item = dataset.item("train", domain, 0)
        assert item.shape == (3, 9, 9) and item.unique().tolist() == [shade]


def test_widths_that_do_not_part_are_told(tmp_path):
    save(tmp_path, *numbered(3), size=(9, 4))
    with pytest.raises(Impossible, match="9 px wide, which 2 images of equal width do") as caught:
        side_by_side(tmp_path)
    assert caught.value.key == "domains"
    dataset = side_by_side(tmp_path, image={"size": 4})
    with pytest.raises(DataError, match=r"0\.png is 9 px wide, which 2 images of equal width do"):
        Feed(dataset, ["left", "right"], batch=2, draws=Draws(0), device=CPU)


# ---------------------------------------------------------------- archives that are still to come


def test_an_archive_to_fetch_is_described_before_it_is_there(tmp_path):
    options = UnpairedFoldersOptions(
        root=tmp_path / "h2z", domains={"horse": "trainA", "zebra": "trainB"}, fetch="horse2zebra"
    )
    description = describe_unpaired(options, ImageOptions(size=128, load=143))
    assert description.domains["zebra"] == ImageSpec(3, 128, 128)
    assert description.counts == {
        "train": {"horse": 1067, "zebra": 1334},
        "test": {"horse": 120, "zebra": 140},
    }
    assert options.must_fetch()
    flat = ImageFolderOptions(root=tmp_path / "h2z", fetch="horse2zebra")
    description = describe_image_folder(flat, ImageOptions())
    assert description.counts == {"train": {"image": 2661}}
    assert description.domains == {"image": ImageSpec(3, 256, 256)}


def test_folders_that_are_there_are_not_fetched(tmp_path):
    save(tmp_path / "trainA", "1.png")
    save(tmp_path / "mine", "1.png")
    options = UnpairedFoldersOptions(
        root=tmp_path, domains={"a": "trainA", "b": "mine"}, fetch="horse2zebra"
    )
    assert not options.must_fetch()
    assert describe_unpaired(options, ImageOptions()).counts == {"train": {"a": 1, "b": 1}}


@pytest.mark.parametrize(
    ("options", "message", "key"),
    [
        ({"fetch": "horse2zebr"}, "did you mean 'horse2zebra'", "fetch"),
        ({"fetch": "mnist"}, "'mnist' holds no folders of images", "fetch"),
        (
            {"fetch": "horse2zebra", "domains": {"a": "trainC"}},
            "'horse2zebra' holds only trainA, trainB, testA, testB",
            "domains",
        ),
    ],
)
def test_what_an_archive_cannot_give_is_told(tmp_path, options, message, key):
    options.setdefault("domains", {"a": "trainA"})
    with pytest.raises(Impossible, match=message) as caught:
        describe_unpaired(
            UnpairedFoldersOptions(root=tmp_path / "absent", **options), ImageOptions()
        )
    assert caught.value.key == key


# ---------------------------------------------------------------- the manifest


def test_describing_needs_no_torch(tmp_path):
    save(tmp_path, "trainA/1.png", "trainB/1.png")
    code = (
        "import sys; from pathlib import Path; from ganforge_folders.plugin import *;"
        "light = not {'torch', 'numpy', 'PIL'} & set(sys.modules);"
        f"root = Path({str(tmp_path)!r});"
        "describe_image_folder(ImageFolderOptions(root=root), ImageOptions());"
        "sys.exit(not (light and 'torch' not in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_manifest_leads_to_the_datasets():
    targets = {component.name: component.target for component in ganforge_components()}
    assert targets == {
        "image-folder": f"{ImageFolder.__module__}:{ImageFolder.__name__}",
        "unpaired-folders": f"{UnpairedFolders.__module__}:{UnpairedFolders.__name__}",
        "paired-folders": f"{PairedFolders.__module__}:{PairedFolders.__name__}",
        "side-by-side": f"{SideBySide.__module__}:{SideBySide.__name__}",
        "captioned-folder": "ganforge_folders.captioned:CaptionedFolder",
    }


@pytest.mark.data
def test_real_photographs_are_fed(tmp_path):
    archive = Path(os.environ.get("GANFORGE_TEST_DATA", "")) / "horse2deer.zip"
    if "GANFORGE_TEST_DATA" not in os.environ or not archive.is_file():
        pytest.skip("needs photographs: GANFORGE_TEST_DATA, a folder that holds horse2deer.zip")
    from ganforge.data.download import unpack

    unpack(archive, tmp_path)
    domains = {"horse": "trainA", "deer": "trainB"}
    dataset = unpaired(tmp_path / "horse2deer", domains=domains)
    assert dataset.description.counts["train"] == {"horse": 2500, "deer": 2500}
    feed = Feed(dataset, list(domains), batch=64, draws=Draws(0), device=CPU)
    batch = feed.batch(0)
    assert batch["horse"].shape == (64, 3, 32, 32) and batch["deer"].std() > 0.3
    assert held_out_rows(dataset, "deer", range(8)).shape == (8, 3, 32, 32)


@pytest.mark.data
def test_real_photographs_have_their_folders_as_labels(tmp_path):
    archive = Path(os.environ.get("GANFORGE_TEST_DATA", "")) / "cifar_small.zip"
    if "GANFORGE_TEST_DATA" not in os.environ or not archive.is_file():
        pytest.skip("needs photographs: GANFORGE_TEST_DATA, a folder that holds cifar_small.zip")
    from ganforge.data.download import unpack

    unpack(archive, tmp_path)
    (root,) = (path for path in tmp_path.iterdir() if path.is_dir())
    dataset = folder(root, labels=True, holdout=0.1)
    label = dataset.description.domains["label"]
    assert label.classes == 10 and label.names[0] == "airplane"
    counts = [dataset.rows(split, "label").bincount(minlength=10) for split in ("train", "test")]
    assert sum(counts).tolist() == [800] * 10
    assert counts[1].min() > 50 and counts[1].max() < 110  # held out by name, from every class


# ---------------------------------------------------------------- many files


def test_a_folder_is_listed_once_while_it_stays_as_it_is(tmp_path, monkeypatch):
    from ganforge.data import images

    save(tmp_path / "a", *numbered(3))
    save(tmp_path / "b", *numbered(2))
    long_ago = (tmp_path / "a").stat().st_mtime - 100
    for place in (tmp_path, tmp_path / "a", tmp_path / "b"):
        os.utime(place, (long_ago, long_ago))
    listed = []
    walk = images._entries
    monkeypatch.setattr(images, "_entries", lambda path: listed.append(path) or walk(path))
    assert folder(tmp_path, labels=True).count("train", "image") == 5
    assert len(listed) == 3  # each folder once, though described and then opened
    save(tmp_path / "b", "new.png")
    assert folder(tmp_path, labels=True).count("train", "image") == 6
    tick = (tmp_path / "b").stat().st_mtime_ns
    save(tmp_path / "b", "newer.png")
    os.utime(tmp_path / "b", ns=(tick, tick))  # as within the tick of a clock
    assert folder(tmp_path, labels=True).count("train", "image") == 7


def test_of_many_files_so_many_are_looked_at(tmp_path, monkeypatch):
    from ganforge.data import images

    save(tmp_path, *numbered(50))
    monkeypatch.setattr(images, "LOOKED_AT", 10)
    opened = []
    look = images.image_size
    monkeypatch.setattr(
        images, "image_size", lambda path, **how: opened.append(path.name) or look(path, **how)
    )
    dataset = folder(tmp_path)
    assert sorted(opened, key=lambda name: int(name[:-4])) == [f"{n}.png" for n in range(0, 50, 5)]
    opened.clear()
    dataset.verify()
    assert len(opened) == 10


def test_what_decides_the_pixels_is_told_apart(tmp_path):
    save(tmp_path, *numbered(3))
    told = folder(tmp_path).fingerprint("train", "image")
    assert folder(tmp_path).fingerprint("train", "image") == told
    assert folder(tmp_path, image={"fit": "contain"}).fingerprint("train", "image") != told
    save(tmp_path, "1.png", size=(8, 6), mode="L")
    assert folder(tmp_path).fingerprint("train", "image") != told


# ---------------------------------------------------------------- splits and classes


@pytest.mark.parametrize(
    ("train", "held_out"),
    [("Train", "TEST"), ("training", "testing"), ("TRAIN", "Val"), ("train", "validation")],
)
def test_folders_of_splits_are_known_in_any_case(tmp_path, train, held_out):
    save(tmp_path, f"{train}/cat/1.png", f"{train}/dog/2.png", f"{held_out}/dog/3.png")
    dataset = folder(tmp_path, labels=True)
    assert dataset.description.domains["label"].names == ("cat", "dog")
    assert (names(dataset), names(dataset, "test")) == (["1.png", "2.png"], ["3.png"])
    assert dataset.description.classes == {
        "train": {"cat": 1, "dog": 1},
        "test": {"cat": 0, "dog": 1},
    }


def test_held_out_folders_alone_are_not_learnt_from(tmp_path):
    save(tmp_path, "1.png", "cat/2.png", "Test/cat/3.png", "val/4.png", "val/notes.png")
    (tmp_path / "val" / "notes.txt").write_text("x")
    dataset = folder(tmp_path)
    assert (names(dataset), names(dataset, "test")) == (["1.png", "2.png"], ["3.png"])
    assert dataset.description.left_out == {"in val/": 2, ".txt": 1}


def test_two_folders_of_one_split_are_refused(tmp_path):
    save(tmp_path, "1.png", "val/2.png", "validation/3.png")
    with pytest.raises(Impossible, match="'val' and 'validation', which are names of the same"):
        folder(tmp_path)


def test_what_lies_beside_the_splits_is_counted(tmp_path):
    save(tmp_path, "train/1.png", "test/2.png", "extra/3.png", "extra/deep/4.png", "5.png")
    for name in ("train/a.txt", "test/b.txt", "readme.md", ".DS_Store"):
        (tmp_path / name).write_text("x")
    assert folder(tmp_path).description.left_out == {
        "in extra/": 2,
        "beside train/": 1,
        ".txt": 2,
        ".md": 1,
        "hidden": 1,
    }


def test_classes_that_are_likely_not_meant_are_told(tmp_path):
    root = tmp_path / "high"
    save(root, "data/cat/1.png", "data/dog/2.png")
    assert folder(root, labels=True).description.notes == (
        f"all pictures of {root} are of one class, 'data'",
        f"no class of {root} has pictures directly in its folder, only in folders below, such as "
        "'data/cat': is `root` one level too high?",
    )
    root = tmp_path / "few"
    save(root, "cat/1.png", "cat/2.png", "dog/1.png")
    (root / "notes").mkdir()
    assert folder(root, labels=True).description.notes == (
        f"no pictures lie in 'notes' of {root}, so they are not classes",
        "there is only one picture of the class 'dog'",
    )
    assert not folder(root).description.notes


def test_splits_within_classes_are_told(tmp_path):
    save(tmp_path, "cat/train/1.png", "cat/test/2.png", "dog/train/3.png")
    (note, *_) = folder(tmp_path, labels=True).description.notes
    assert note.startswith("'cat/test', 'cat/train', 'dog/train' of ")
    assert note.endswith("all their pictures are used for training")


def test_held_out_folders_beside_are_found_in_any_case(tmp_path):
    save(tmp_path, "TrainA/1.png", "TrainB/1.png", "TESTA/7.png", "ValB/8.png")
    dataset = unpaired(tmp_path, domains={"horse": "TrainA", "zebra": "TrainB"})
    assert names(dataset, "test", "horse") == ["7.png"]
    assert names(dataset, "test", "zebra") == ["8.png"]


def test_pairs_and_captions_need_no_endings(tmp_path):
    save(tmp_path, "trainA/a.b.png", "trainB/a.b.png")
    (tmp_path / "trainA" / "a.b.png").rename(tmp_path / "trainA" / "2021.05")
    (tmp_path / "trainB" / "a.b.png").rename(tmp_path / "trainB" / "2021.05.png")
    assert paired(tmp_path).count("train", "edges") == 1


# ---------------------------------------------------------------- whole, and in one way


def rings(width: int, height: int) -> Image.Image:
    """A picture whose edge is unlike its middle."""
    across, down = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    shade = (np.maximum(abs(across), abs(down)) * 255).astype(np.uint8)
    return Image.fromarray(np.stack([shade, 255 - shade, shade // 2], -1))


def test_held_out_images_are_whole_where_training_takes_crops(tmp_path):
    from ganforge.images import read_image

    (tmp_path / "test").mkdir()
    for path in (tmp_path / "1.png", tmp_path / "test" / "2.png"):
        rings(64, 64).save(path)
    dataset = folder(tmp_path, image={"load": 36, "size": 32})
    (seen,) = held_out_rows(dataset, "image", [0])
    wanted = read_image(tmp_path / "test" / "2.png", height=32, width=32, channels=3)
    assert torch.equal(seen, torch.from_numpy(wanted) / 127.5 - 1)
    assert seen[0, 0, 0] > 0.8  # the outermost ring is there
    assert dataset.item("test", "image", 0).shape == (3, 36, 36)  # of which training takes crops


def test_training_crops_are_what_they_were(tmp_path):
    save_noise(tmp_path, 4, size=(20, 20))
    dataset = folder(tmp_path, image={"load": 12, "size": 8, "flip": True})
    batch = Feed(dataset, ["image"], batch=4, draws=Draws(0), device=CPU).batch(0)["image"]
    found = (batch.double() * 127.5 + 127.5).round()
    digest = hashlib.sha256(found.byte().numpy().tobytes()).hexdigest()
    assert digest == TRAINED


@pytest.mark.parametrize("fit", ["cover", "contain", "stretch"])
@pytest.mark.parametrize("form", ["png", "jpg"])
def test_a_pair_has_the_same_pixels_side_by_side_and_in_two_folders(tmp_path, fit, form):
    save_noise(tmp_path / "whole", 3, size=(192, 64))
    for path in list((tmp_path / "whole").iterdir()):
        with Image.open(path) as opened:
            picture = opened.resize((24, 8)).resize((192, 64))
        path.unlink()
        for name, box in (
            ("whole", (0, 0, 192, 64)),
            ("trainA", (0, 0, 96, 64)),
            ("trainB", (96, 0, 192, 64)),
        ):
            (tmp_path / name).mkdir(exist_ok=True)
            how = {"quality": 95, "subsampling": 0} if form == "jpg" else {}
            picture.crop(box).save(tmp_path / name / f"{path.stem}.{form}", **how)
    image = {"size": (20, 30), "load": (24, 36), "fit": fit}
    domains = {"photo": "trainA", "edges": "trainB"}
    apart = paired(tmp_path, image=image, domains=domains)
    beside = side_by_side(tmp_path / "whole", image=image, domains=[*domains])
    for domain in domains:
        for row in range(3):
            assert torch.equal(apart.item("train", domain, row), beside.item("train", domain, row))


# ---------------------------------------------------------------- label masks


def test_masks_beside_photographs_keep_their_numbers_through_crops_and_flips(tmp_path):
    save_noise(tmp_path / "trainA", 6, size=(40, 30))
    (tmp_path / "trainB").mkdir()
    draws = np.random.default_rng(1)
    held = {0, 60, 120, 255}
    for number in range(6):
        numbers = draws.choice([*held], (30, 40)).astype(np.uint8)
        Image.fromarray(numbers).save(tmp_path / "trainB" / f"{number}.png")
    options = {"size": 16, "load": 18, "flip": True, "resample": {"mask": "nearest"}}
    domains = {"photo": "trainA", "mask": "trainB"}
    dataset = paired(tmp_path, image=options, domains=domains)
    feed = Feed(dataset, [*domains], batch=6, draws=Draws(0), device=CPU)
    for rows in (*(feed.batch(n)["mask"] for n in range(3)), held_out_rows(dataset, "mask", [0])):
        assert set((rows * 127.5 + 127.5).round().int().unique().tolist()) <= held
    assert len(feed.batch(0)["photo"].unique()) > 100
    blended = paired(tmp_path, image={**options, "resample": None}, domains=domains)
    assert len(blended.item("train", "mask", 0).unique()) > 20


def test_palettes_are_numbers_for_the_domains_that_are_read_by_nearest(tmp_path):
    for name in ("trainA", "trainB"):
        (tmp_path / name).mkdir()
        picture = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) % 5)
        picture.putpalette([30 * n % 256 for n in range(768)])
        picture.save(tmp_path / name / "1.png")
    image = {"resample": {"mask": "nearest"}}
    domains = {"photo": "trainA", "mask": "trainB"}
    for make in (paired, unpaired):
        dataset = make(tmp_path, image=image, domains=domains)
        specs = dataset.description.domains
        assert specs == {"photo": ImageSpec(3, 3, 4), "mask": ImageSpec(1, 3, 4)}
        assert dataset.item("train", "mask", 0).flatten().tolist() == [n % 5 for n in range(12)]
    dataset = side_by_side(tmp_path / "trainB", image={"resample": "nearest"})
    assert dataset.item("train", "right", 0)[0].tolist() == [[2, 3], [1, 2], [0, 1]]
