"""Trees of folders against an oracle that knows what should be read (folder_trees.py)."""

from __future__ import annotations

import random
import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
from folder_trees import EMPTY, Expected, Tree, expected_of, tree_of
from ganforge_folders.datasets import ImageFolder, UnpairedFolders
from ganforge_folders.plugin import (
    ImageFolderOptions,
    UnpairedFoldersOptions,
    describe_image_folder,
    describe_unpaired,
)

from ganforge import DataError, ImageOptions
from ganforge.images import image_listing
from ganforge.plugin import Impossible

few_or_many = pytest.mark.parametrize(
    "count", [300, pytest.param(6_000, marks=pytest.mark.slow)], ids=["few", "many"]
)
SIZE = ImageOptions(size=4)


def cases(kind: str, count: int):
    """(seed, dice) of each case."""
    return ((seed, random.Random(f"{kind} {seed}")) for seed in range(count))


def opened(root: Path, **options) -> ImageFolder:
    chosen = ImageFolderOptions(root=root, **options)
    return ImageFolder(chosen, SIZE, describe_image_folder(chosen, SIZE))


def rows_of(dataset, root: Path, split: str, domain: str = "image") -> list[str]:
    return [path.relative_to(root).as_posix() for path in dataset.files[split][domain]]


def check_rows(dataset: ImageFolder, tree: Tree, root: Path, wanted: Expected) -> None:
    """The rows are these, and each is what its file shows, or a clear error."""
    held = {"train": wanted.train, "test": wanted.test}
    grey = all(
        file.picture.grey
        for name, file in tree.files.items()
        if file.picture is not None and name in wanted.train | wanted.test
    )
    channels = dataset.description.domains["image"].shape[0]
    assert channels == (1 if grey else 3)
    for split, names in held.items():
        found = rows_of(dataset, root, split)
        assert sorted(found) == sorted(names)
        assert dataset.description.counts.get(split, {}).get("image", 0) == len(names)
        for index, name in enumerate(found):
            check_row(dataset, split, index, tree.files[name])


def check_row(dataset, split: str, index: int, file, domain: str = "image") -> None:
    try:
        item = dataset.item(split, domain, index)
    except DataError as error:
        assert file.broken, f"{file.path}: {error}"
        assert file.path.rpartition("/")[2] in str(error) and "\n" not in str(error)
        return
    assert file.picture is not None, f"{file.path} was read"
    far = (item.int() - file.picture.shade).abs().max()
    assert far <= file.picture.within, f"{file.path}: {item.unique()}, not {file.picture.shade}"


def check_labels(dataset: ImageFolder, root: Path, wanted: Expected) -> None:
    label = dataset.description.domains["label"]
    counted = {"train": Counter(), "test": Counter()}
    for split in counted:
        numbers = dataset.rows(split, "label").tolist()
        classes = [wanted.label(name) for name in rows_of(dataset, root, split)]
        assert [label.names[number] for number in numbers] == classes
        counted[split].update(classes)
    assert set(label.names) == set(counted["train"]) and len(label.names) == label.classes
    told = dataset.description.classes
    assert {name: rows for name, rows in told["train"].items() if rows} == counted["train"]
    notes = " ".join(dataset.description.notes)
    assert ("are of one class" in notes) == (label.classes == 1)
    single = [name for name, rows in counted["train"].items() if rows == 1]
    assert ("only one picture" in notes) == bool(single)


@few_or_many
def test_an_image_folder_is_read_as_the_oracle_says(tmp_path, count, record_property):
    ends: Counter[str] = Counter()
    for seed, dice in cases("trees", count):
        root, tree, labels = tmp_path / "tree", tree_of(dice), dice.random() < 0.5
        tree.write(root)
        wanted = expected_of(tree, labels=labels)
        try:
            ends[one_tree(root, tree, labels, wanted)] += 1
        except BaseException as error:
            shown = "\n".join([*sorted(tree.folders), *sorted(tree.files)])
            raise AssertionError(f"case {seed}, labels {labels}: {error}\n{shown}") from error
        shutil.rmtree(root)
    assert ends["read"] > count // 3 and ends["refused"] > count // 20
    record_property("cases", dict(ends))


def one_tree(root: Path, tree: Tree, labels: bool, wanted: Expected) -> str:
    try:
        dataset = opened(root, labels=labels)
    except (Impossible, DataError) as error:
        assert wanted.errors, f"refused: {error}"
        assert any(re.search(told, str(error)) for told in wanted.errors), str(error)
        assert "\n" not in str(error)
        return "refused"
    assert not wanted.errors, f"not refused, though {wanted.errors}"
    check_rows(dataset, tree, root, wanted)
    assert dataset.description.left_out == wanted.left_out
    if labels:
        check_labels(dataset, root, wanted)
    return "read"


@few_or_many
def test_a_share_that_is_held_out_parts_the_same_rows(tmp_path, count):
    for seed, dice in cases("shares", count // 5):
        root, tree = tmp_path / "tree", tree_of(dice)
        tree.write(root)
        wanted = expected_of(tree, labels=False)
        try:
            dataset = opened(root, holdout=0.3)
            train, test = (set(rows_of(dataset, root, split)) for split in ("train", "test"))
            assert not wanted.errors and not wanted.test, "not refused"
            assert train | test == wanted.train and not train & test
        except (Impossible, DataError) as error:
            told = {*wanted.errors, "is already held out"} if wanted.held else wanted.errors
            told = told or {"none is left for training"}
            assert any(re.search(one, str(error)) for one in told), f"case {seed}: {error}"
        shutil.rmtree(root)


@few_or_many
def test_unpaired_folders_are_read_as_the_oracle_says(tmp_path, count):
    for seed, dice in cases("unpaired", count // 3):
        root, tree = tmp_path / "tree", tree_of(dice)
        names = {"a": dice.choice(("trainA", "Cat", "TRAIN_a")), "b": "trainB"}
        held = {}
        for domain, folder in names.items():
            part = Tree()
            while not any(f.is_row for f in part.files.values()):
                part = tree_of(dice)
            graft(tree, folder, part)
            if dice.random() < 0.5 and folder.lower().startswith("train"):
                held[domain] = dice.choice(("test", "Test", "VAL")) + folder[5:]
                graft(tree, held[domain], part)
        tree.write(root)
        try:
            check_unpaired(root, tree, names, held)
        except BaseException as error:
            raise AssertionError(f"case {seed}: {names} {held}: {error}") from error
        shutil.rmtree(root)


def graft(tree: Tree, folder: str, part: Tree) -> None:
    """Put one tree into a folder of another."""
    from attrs import evolve

    tree.folders |= {folder} | {f"{folder}/{name}" for name in part.folders}
    for name, file in part.files.items():
        tree.files[f"{folder}/{name}"] = evolve(file, path=f"{folder}/{name}")


def visible_rows(tree: Tree, folder: str) -> list[str]:
    parts = ((name, name.removeprefix(f"{folder}/").split("/")) for name in tree.files)
    return sorted(
        name
        for name, below in parts
        if name.startswith(f"{folder}/") and tree.files[name].is_row
        if not any(part.startswith((".", "__MACOSX")) for part in below)
    )


def check_unpaired(root: Path, tree: Tree, names: dict[str, str], held: dict[str, str]) -> None:
    options = UnpairedFoldersOptions(root=root, domains=names)
    wanted = {
        "train": {domain: visible_rows(tree, folder) for domain, folder in names.items()},
        "test": {domain: visible_rows(tree, folder) for domain, folder in held.items()},
    }
    lacking = any(not rows for domains in wanted.values() for rows in domains.values())
    try:
        dataset = UnpairedFolders(options, SIZE, describe_unpaired(options, SIZE))
    except Impossible as error:
        assert lacking and re.search(EMPTY, str(error)), str(error)
        return
    assert not lacking
    for split, domains in wanted.items():
        for domain in names:
            found = rows_of(dataset, root, split, domain) if domain in dataset.files[split] else []
            assert sorted(found) == domains.get(domain, [])
            for index, name in enumerate(found):
                check_row(dataset, split, index, tree.files[name], domain)
    counted = sum(dataset.description.left_out.values())
    folders = {*names.values(), *held.values()}
    assert counted == sum(sum(image_listing(root / folder).others.values()) for folder in folders)
