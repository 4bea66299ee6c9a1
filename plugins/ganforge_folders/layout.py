"""Which files below a folder are the rows of which split. Light.

Every function raises Impossible, which names the option at fault, where the folder does not fit.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from attrs import field, frozen

from ganforge import DataError
from ganforge.images import (
    Listing,
    folder_names,
    image_listing,
    image_names,
    natural_key,
    stem_of,
)
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
    """An image folder: the rows of "train" and "test", the names of its classes, and what a person
    should know: kind -> files left out, and whole sentences."""

    splits: dict[str, Rows]
    classes: tuple[str, ...]
    left_out: Mapping[str, int]
    notes: tuple[str, ...]

    def class_rows(self) -> dict[str, dict[str, int]]:
        """split -> class -> rows."""
        counted = {
            split: Counter(rows.labels) for split, rows in self.splits.items() if rows.labels
        }
        return {
            split: {name: rows[number] for number, name in enumerate(self.classes)}
            for split, rows in counted.items()
        }


def image_folder(options: Any) -> Layout:
    """The files of ImageFolderOptions."""
    parts = split_folder(options.root, options.holdout)
    train, test = parts.train, parts.test
    if not options.labels:
        rows = {"train": Rows(train), "test": Rows(test)}
        return Layout(rows, (), parts.left_out, parts.notes)
    known = [
        *train.names,
        *(test.names if options.holdout else ()),
    ]  # a class may be held out whole
    folders = (name.partition("/") for name in known)
    classes = list(dict.fromkeys(folder for folder, inside, _ in folders if inside))
    labelled = {
        split: Rows(files, _labels(files, classes))
        for split, files in (("train", train), ("test", test))
    }
    notes = _class_notes(train.root, classes, labelled["train"], parts.folders)
    return Layout(labelled, tuple(classes), parts.left_out, (*parts.notes, *notes))


def _class_notes(
    root: Path, classes: Sequence[str], train: Rows, folders: Iterable[str]
) -> Iterator[str]:
    """What is likely not meant with classes. folders: those directly below `root`."""
    if len(classes) == 1:
        yield f"all pictures of {root} are of one class, '{classes[0]}'"
    depths = {name.count("/") for name in train.files.names}
    if min(depths) > 1:
        within = [name.rpartition("/")[0] for name in train.files.names]
        yield (
            f"no class of {root} has pictures directly in its folder, only in folders below, such "
            f"as '{within[0]}': is `root` one level too high?"
        )
    empty = sorted(set(folders) - set(classes), key=natural_key)
    if empty:
        yield f"no pictures lie in {listed(empty)} of {root}, so they are not classes"
    counts = Counter(train.labels)
    lacking = [name for number, name in enumerate(classes) if not counts[number]]
    if lacking:
        yield f"all pictures of {listed(lacking)} are held out: the class is not trained"
    single = [name for number, name in enumerate(classes) if counts[number] == 1]
    if single:
        yield f"there is only one picture of the class {listed(single)}"


def listed(names: Sequence[str], shown: int = 5) -> str:
    """The first few names in quotes, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(f"'{name}'" for name in names[:shown]) + more


# Split -> what its folder may be called, in any case.
_CALLED = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation"),
}
_SPLIT_OF = {name: split for split, names in _CALLED.items() for name in names}
_HELD_OUT = (*_CALLED["test"], *_CALLED["val"])


@frozen
class Parted:
    """Files to learn from and files held out; what lies there beside them, kind -> how many; what a
    person should know; and the folders directly below that of the training files."""

    train: Files
    test: Files
    left_out: Mapping[str, int]
    notes: tuple[str, ...]
    folders: tuple[str, ...]


def split_folder(root: Path, holdout: float) -> Parted:
    """Folders of splits are called so in any case. Without one of training images they are what
    lies in no such folder; "val" is held out where there is no "test"."""
    outside = _listing(root, key="root", apart=_SPLIT_OF, empty=True)
    called = _splits(root, outside.folders)
    held = called.get("test") or called.get("val")
    left_out = Counter(outside.others)
    folders = tuple(name for name in outside.folders if name.lower() not in _SPLIT_OF)
    train = Files(root, outside.names)
    if "train" in called:
        left_out += _beside(outside.names, called["train"])
        below = _listing(root / called["train"], key="root")
        train, folders = Files(root / called["train"], below.names), below.folders
        left_out += Counter(below.others)
    elif not held and not train:
        _images(root, key="root")  # which tells what there is instead
    if held and holdout:
        raise Impossible(
            f"{root / held} is already held out: leave `holdout` out, or rename that folder",
            key="holdout",
        )
    train, test = _parted(train, holdout)
    if held:
        below = _listing(root / held, key="root")
        test = Files(root / held, below.names)
        left_out += Counter(below.others)
    if "test" in called and "val" in called:
        left_out += _all_of(root, called["val"])
    if not train:
        raise Impossible(f"all images of {root} are held out: none is left for training")
    return Parted(train, test, left_out, tuple(_split_notes(train)), folders)


def parted_folder(root: Path, holdout: float) -> tuple[Files, Files]:
    """Files to learn from, and files held out."""
    parts = split_folder(root, holdout)
    return parts.train, parts.test


def _splits(root: Path, folders: Iterable[str]) -> dict[str, str]:
    """Split -> the folder of it."""
    found: dict[str, str] = {}
    for name in sorted(folders):
        split = _SPLIT_OF.get(name.lower())
        if split in found:
            raise Impossible(
                f"{root} holds '{found[split]}' and '{name}', which are names of the same split: "
                "rename or remove one",
                key="root",
            )
        if split:
            found[split] = name
    return found


def _beside(names: Iterable[str], train: str) -> Counter[str]:
    """Pictures that lie beside the folder of training images, by the folder that they lie in."""
    tops = (name.partition("/") for name in names)
    return Counter(f"in {top}/" if inside else f"beside {train}/" for top, inside, _ in tops)


def _all_of(root: Path, folder: str) -> Counter[str]:
    """Everything in a folder that is not used."""
    listing = _listing(root / folder, key="root", empty=True)
    return Counter({f"in {folder}/": len(listing.names)}) + Counter(listing.others)


def _split_notes(train: Files) -> Iterator[str]:
    """Folders called as splits are, deeper than splits are looked for."""
    above = {name.rpartition("/")[0] for name in train.names}
    found = sorted(
        folder for folder in above if any(part.lower() in _SPLIT_OF for part in folder.split("/"))
    )
    if found:
        yield (
            f"{listed(found)} of {train.root} have names of splits, but only folders directly "
            "in `root` are splits: all their pictures are used for training"
        )


def unpaired_folders(options: Any) -> dict[str, dict[str, Files]]:
    """split -> domain -> files, of UnpairedFoldersOptions."""
    root: Path = options.root
    key = "domains" if root.is_dir() else "root"
    train = {domain: _images(root / folder, key=key) for domain, folder in options.domains.items()}
    held_out = held_out_of(options)
    test = {domain: _images(root / folder, key="test") for domain, folder in held_out.items()}
    return {"train": train, "test": test}


def paired_folders(options: Any) -> dict[str, dict[str, list[Path]]]:
    """split -> domain -> files, of PairedFoldersOptions; row by row of equal names."""
    root: Path = options.root
    held_out = held_out_of(options)
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
                f"{', '.join(held_out.values())} is already held out: leave `holdout` out",
                key="holdout",
            )
        return {"train": train, "test": _pairs(root, held_out, "test")}
    first = next(iter(options.domains))
    folder = root / options.domains[first]
    rows = [
        not _held_out(path.relative_to(folder).as_posix(), options.holdout) for path in train[first]
    ]
    if not any(rows):
        raise Impossible(f"all pairs of {root} are held out: none is left for training")
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
        name = stem_of(whole)
        if name in named:
            raise Impossible(
                f"{named[name]} and {path.name} are both called '{name}', so it is unclear which "
                "belongs to the pair: rename or remove one",
                key=key,
            )
        named[name] = path
    return named


def held_out_folders(options: Any, find: Callable[[str], str | None]) -> dict[str, str]:
    """domain -> folder that is held out: as `test` says, else `testA` beside `trainA`, or `valA`.

    find: what a folder is called that is called so in some case; None where there is none.
    """
    strange = [domain for domain in options.test if domain not in options.domains]
    if strange:
        raise Impossible(
            f"'{strange[0]}' is not a domain; there are {', '.join(options.domains)}", key="test"
        )
    found = dict(options.test)
    for domain, folder in options.domains.items():
        if domain not in found:
            beside = next(filter(None, map(find, _names_beside(Path(folder).as_posix()))), None)
            found |= {domain: beside} if beside else {}
    return found


def _names_beside(folder: str) -> Iterator[str]:
    """`testA`, `valA` and so on for `trainA`; nothing for what is not called so."""
    parts = folder.split("/")
    if any(part.lower().startswith("train") for part in parts):
        for word in ("test", *_CALLED["val"]):
            yield "/".join(
                word + part[len("train") :] if part.lower().startswith("train") else part
                for part in parts
            )


def _folder_in(root: Path, name: str) -> str | None:
    """What a folder below `root` is called, with `/` between parts, whatever its case."""
    if (root / name).is_dir():
        return name
    found = ""
    for part in name.split("/"):
        here = root / found
        close = [
            other
            for other in (folder_names(here) if here.is_dir() else ())
            if other.lower() == part.lower()
        ]
        if len(close) > 1:
            raise Impossible(
                f"{here} holds '{close[0]}' and '{close[1]}': name the one to hold out", key="test"
            )
        if not close:
            return None
        found = f"{found}/{close[0]}" if found else close[0]
    return found


def held_out_of(options: Any) -> dict[str, str]:
    """domain -> folder that is held out, as folders are on this machine."""
    return held_out_folders(options, partial(_folder_in, options.root))


def left_out_of(root: Path, folders: Iterable[str]) -> Counter[str]:
    """Files in some folders that are not pictures, kind -> how many."""
    found: Counter[str] = Counter()
    for folder in dict.fromkeys(folders):
        found += Counter(_listing(root / folder, key="domains").others)
    return found


def _images(folder: Path, *, key: str) -> Files:
    return Files(folder, _listing(folder, key=key).names)


def _listing(
    folder: Path, *, key: str, apart: Collection[str] = (), empty: bool = False
) -> Listing:
    """empty: whether there need not be any pictures."""
    try:
        listing = image_listing(folder, apart=apart)
        if not listing.names and not empty:
            image_names(folder)  # which tells what there is instead
        return listing
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
    """The class of each file: the number of its folder below the root."""
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
