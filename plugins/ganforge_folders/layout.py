"""Which files below a folder are the rows of which split. Light.

Every function raises Impossible, which names the option at fault, where the folder does not fit.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from ganforge import DataError
from ganforge.images import image_files
from ganforge.plugin import Impossible

SHOWN = 3  # files without a partner that are named


@frozen
class Rows:
    """Files in their order, and the class of each where the folder has classes."""

    files: list[Path] = field(factory=list)
    labels: list[int] = field(factory=list)


@frozen
class Layout:
    """An image folder: the rows of "train" and "test", and the names of its classes."""

    splits: dict[str, Rows]
    classes: tuple[str, ...]


def image_folder(options: Any) -> Layout:
    """The files of ImageFolderOptions."""
    train, test, train_root, test_root = parted_folder(options.root, options.holdout)
    if not options.labels:
        return Layout({"train": Rows(train), "test": Rows(test)}, ())
    places = [path.relative_to(train_root).parts for path in train]
    classes = list(dict.fromkeys(parts[0] for parts in places if len(parts) > 1))
    labelled = {
        "train": Rows(train, _labels(train, train_root, classes)),
        "test": Rows(test, _labels(test, test_root, classes)),
    }
    return Layout(labelled, tuple(classes))


def parted_folder(root: Path, holdout: float) -> tuple[list[Path], list[Path], Path, Path]:
    """Files to learn from, files held out, and the folder that each lie in."""
    train_root = root / "train" if (root / "train").is_dir() else root
    test_root = root / "test" if (root / "test").is_dir() else None
    train = _images(train_root, key="root")
    if test_root is None:
        train, test = _parted(train, train_root, holdout)
    elif holdout:
        raise Impossible(
            f"{test_root} is held out already: leave `holdout` out, or rename that folder",
            key="holdout",
        )
    else:
        train = [path for path in train if not path.is_relative_to(test_root)]
        test = _images(test_root, key="root")
    if not train:
        raise Impossible(f"all images of {root} are held out: none is left to learn from")
    return train, test, train_root, test_root or train_root


def unpaired_folders(options: Any) -> dict[str, dict[str, list[Path]]]:
    """split -> domain -> files, of UnpairedFoldersOptions."""
    root: Path = options.root
    key = "domains" if root.is_dir() else "root"
    train = {domain: _images(root / folder, key=key) for domain, folder in options.domains.items()}
    held_out = held_out_folders(options, lambda folder: (root / folder).is_dir())
    test = {domain: _images(root / folder, key="test") for domain, folder in held_out.items()}
    return {"train": train, "test": test}


def paired_folders(options: Any) -> dict[str, dict[str, list[Path]]]:
    """split -> domain -> files, of PairedFoldersOptions; row by row of equal names."""
    root: Path = options.root
    held_out = held_out_folders(options, lambda folder: (root / folder).is_dir())
    lacking = [domain for domain in options.domains if domain not in held_out]
    if held_out and lacking:
        raise Impossible(
            f"{', '.join(held_out.values())} is held out, but nothing of '{lacking[0]}': pairs are "
            "held out whole",
            key="test",
        )
    key = "domains" if root.is_dir() else "root"
    train = _pairs(root, options.domains, key)
    if held_out:
        if options.holdout:
            raise Impossible(
                f"{', '.join(held_out.values())} is held out already: leave `holdout` out",
                key="holdout",
            )
        return {"train": train, "test": _pairs(root, held_out, "test")}
    first = next(iter(options.domains))
    learnt, _ = _parted(train[first], root / options.domains[first], options.holdout)
    if not learnt:
        raise Impossible(f"all pairs of {root} are held out: none is left to learn from")
    chosen = set(learnt)
    rows = [path in chosen for path in train[first]]
    return {
        split: {
            domain: [path for path, learns in zip(files, rows, strict=True) if learns == wanted]
            for domain, files in train.items()
        }
        for split, wanted in (("train", True), ("test", False))
    }


def _pairs(root: Path, folders: Mapping[str, str], key: str) -> dict[str, list[Path]]:
    """domain -> files, row by row of equal names (endings apart), in the order of the names."""
    named = {domain: _named(root / folder, key) for domain, folder in folders.items()}
    every = list(dict.fromkeys(name for files in named.values() for name in files))
    alone = {
        name: [domain for domain, files in named.items() if name not in files] for name in every
    }
    alone = {name: lacking for name, lacking in alone.items() if lacking}
    if alone:
        shown = [
            f"{next(files[name] for files in named.values() if name in files)} has none in "
            f"{root / folders[lacking[0]]}"
            for name, lacking in list(alone.items())[:SHOWN]
        ]
        more = f"; and {len(alone) - SHOWN} more" if len(alone) > SHOWN else ""
        raise Impossible(
            f"{len(alone)} of {len(every)} names lack a partner: {'; '.join(shown)}{more}", key=key
        )
    return {domain: [files[name] for name in every] for domain, files in named.items()}


def _named(folder: Path, key: str) -> dict[str, Path]:
    """Name without its ending -> file."""
    named: dict[str, Path] = {}
    for path in _images(folder, key=key):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in named:
            raise Impossible(
                f"{named[name]} and {path.name} are both called '{name}', so it is not clear which "
                "is one of the pair: rename or remove one",
                key=key,
            )
        named[name] = path
    return named


def held_out_folders(options: Any, exists: Callable[[str], bool]) -> dict[str, str]:
    """domain -> folder that is held out: as `test` says, else `testA` beside `trainA`."""
    strange = [domain for domain in options.test if domain not in options.domains]
    if strange:
        raise Impossible(
            f"'{strange[0]}' is no domain; there are {', '.join(options.domains)}", key="test"
        )
    found = dict(options.test)
    for domain, folder in options.domains.items():
        beside = "/".join(
            "test" + part.removeprefix("train") if part.startswith("train") else part
            for part in Path(folder).as_posix().split("/")
        )
        if domain not in found and beside != folder and exists(beside):
            found[domain] = beside
    return found


def _images(folder: Path, *, key: str) -> list[Path]:
    try:
        return image_files(folder)
    except DataError as error:
        raise Impossible(str(error), key=key) from error


def _parted(files: list[Path], root: Path, share: float) -> tuple[list[Path], list[Path]]:
    """Files to learn from and files held out; each file's part stays when others join."""
    train, test = [], []
    for path in files:
        held_out = share > 0 and _place(path.relative_to(root).as_posix()) < share
        (test if held_out else train).append(path)
    return train, test


def _place(name: str) -> float:
    """A number in [0, 1) that follows from the name."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def _labels(files: list[Path], root: Path, classes: list[str]) -> list[int]:
    """The class of each file: the number of the folder below `root` that it lies in."""
    number = {name: place for place, name in enumerate(classes)}
    labels = []
    for path in files:
        name, *inside = path.relative_to(root).parts
        if not inside or name not in number:
            known = f"; the classes are {', '.join(classes[:10])}" if classes else ""
            raise Impossible(
                f"{path} lies in no folder of a class{known}; `labels` needs every image in one",
                key="labels",
            )
        labels.append(number[name])
    return labels
