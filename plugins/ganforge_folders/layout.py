"""Which files below a folder are the rows of which split. Light.

Every function raises Impossible, which names the option at fault, where the folder does not fit.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen

from ganforge import DataError
from ganforge.images import image_names
from ganforge.plugin import Impossible

SHOWN = 3  # files without a partner that are named


class Texts(Protocol):
    """A sequence of strings, as far as it is needed."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> str: ...
    def __iter__(self) -> Iterator[str]: ...


class Files(Sequence[Path]):
    """Files by their names below a folder, with `/` between parts. A path is made when it is asked
    for, since millions of them would take long and much memory."""

    def __init__(self, root: Path, names: Texts) -> None:
        self.root = root
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Path:  # type: ignore[override]
        return Path(self.root, self.names[index])

    def __iter__(self) -> Iterator[Path]:
        return (Path(self.root, name) for name in self.names)


@frozen
class Rows:
    """Files in their order, and the class of each where the folder has classes."""

    files: Files
    labels: list[int] = field(factory=list)


@frozen
class Layout:
    """An image folder: the rows of "train" and "test", and the names of its classes."""

    splits: dict[str, Rows]
    classes: tuple[str, ...]


def image_folder(options: Any) -> Layout:
    """The files of ImageFolderOptions."""
    train, test = parted_folder(options.root, options.holdout)
    if not options.labels:
        return Layout({"train": Rows(train), "test": Rows(test)}, ())
    folders = (name.partition("/") for name in train.names)
    classes = list(dict.fromkeys(folder for folder, inside, _ in folders if inside))
    labelled = {
        split: Rows(files, _labels(files, classes))
        for split, files in (("train", train), ("test", test))
    }
    return Layout(labelled, tuple(classes))


def parted_folder(root: Path, holdout: float) -> tuple[Files, Files]:
    """Files to learn from, and files held out."""
    train_root = root / "train" if (root / "train").is_dir() else root
    train = _images(train_root, key="root")
    if not (root / "test").is_dir():
        train, test = _parted(train, holdout)
    elif holdout:
        raise Impossible(
            f"{root / 'test'} is held out already: leave `holdout` out, or rename that folder",
            key="holdout",
        )
    else:
        if train_root == root:
            train = Files(root, [name for name in train.names if not name.startswith("test/")])
        test = _images(root / "test", key="root")
    if not train:
        raise Impossible(f"all images of {root} are held out: none is left to learn from")
    return train, test


def unpaired_folders(options: Any) -> dict[str, dict[str, Files]]:
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
    folder = root / options.domains[first]
    rows = [
        not _held_out(path.relative_to(folder).as_posix(), options.holdout) for path in train[first]
    ]
    if not any(rows):
        raise Impossible(f"all pairs of {root} are held out: none is left to learn from")
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
    files = _images(folder, key=key)
    for path, whole in zip(files, files.names, strict=True):
        name = whole.rpartition(".")[0]
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


def _images(folder: Path, *, key: str) -> Files:
    try:
        return Files(folder, image_names(folder))
    except DataError as error:
        raise Impossible(str(error), key=key) from error


def _parted(files: Files, share: float) -> tuple[Files, Files]:
    """Files to learn from and files held out; each file's part stays when others join."""
    if not share:
        return files, Files(files.root, [])
    train, test = list[str](), list[str]()
    for name in files.names:
        (test if _held_out(name, share) else train).append(name)
    return Files(files.root, train), Files(files.root, test)


def _held_out(name: str, share: float) -> bool:
    """Whether a number in [0, 1) that follows from the name is below the share."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48 < share


def _labels(files: Files, classes: Iterable[str]) -> list[int]:
    """The class of each file: the number of the folder below the root that it lies in."""
    number = {name: place for place, name in enumerate(classes)}
    labels = []
    for name in files.names:
        folder, inside, _ = name.partition("/")
        if not inside or folder not in number:
            known = f"; the classes are {', '.join([*number][:10])}" if number else ""
            raise Impossible(
                f"{files.root / name} lies in no folder of a class{known}; `labels` needs every "
                "image in one",
                key="labels",
            )
        labels.append(number[folder])
    return labels
