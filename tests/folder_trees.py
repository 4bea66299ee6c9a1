"""Trees of folders as people keep pictures in, and what should be read of them.

The oracle knows what it wrote where and never looks at a file. It shares no code with what it
judges.
"""

from __future__ import annotations

import io
import random
from collections import Counter
from functools import cache
from pathlib import Path, PurePosixPath

from attrs import define, field, frozen
from PIL import Image

GREYS = ("1", "L", "LA", "I;16")
# Format -> (endings, modes that it holds, by how much a shade may come back changed).
FORMATS: dict[str, tuple[tuple[str, ...], tuple[str, ...], int]] = {
    "PNG": ((".png", ".apng"), ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), 0),
    "JPEG": ((".jpg", ".jpeg", ".jfif", ".jpe"), ("L", "RGB", "CMYK"), 3),
    "TIFF": ((".tif", ".tiff"), ("1", "L", "P", "PA", "RGB", "RGBA", "CMYK", "I;16"), 0),
    "BMP": ((".bmp", ".dib"), ("1", "L", "P", "RGB"), 0),
    "GIF": ((".gif",), ("P",), 0),
    "WEBP": ((".webp",), ("RGB", "RGBA"), 3),
    "TGA": ((".tga", ".vda"), ("L", "RGB", "RGBA"), 0),
    "PPM": ((".ppm", ".pgm", ".pnm"), ("L", "RGB"), 0),
    "PCX": ((".pcx",), ("L", "RGB"), 0),
    "QOI": ((".qoi",), ("RGB", "RGBA"), 0),
    "JPEG2000": ((".jp2", ".j2k"), ("L", "RGB"), 3),
    "AVIF": ((".avif",), ("RGB",), 6),
}
MARKED = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "QOI", "JPEG2000", "AVIF")
OTHERS = (".txt", ".json", ".mp4", ".pdf", ".eps", ".mpg", ".h5", ".db", ".zip", ".part", ".npy")
CLASSES = ("cat", "dog", "1", "2", "11", "a b", "Zoë", "trainer", "testimony", "x.y", "valley")
SPLITS = {
    "train": ("train", "Train", "TRAIN", "training", "Training"),
    "test": ("test", "Test", "TEST", "testing", "tEsT"),
    "val": ("val", "Val", "VALID", "validation", "Validation"),
}
HIDDEN = (".git", ".thumbs", "__MACOSX")


@frozen
class Content:
    """A picture of one shade, as bytes."""

    data: bytes
    grey: bool
    shade: int
    within: int  # how far what is read may be from the shade


@cache
def content(form: str, mode: str, shade: int) -> Content:
    """A picture of 6 x 5 px, of one shade of grey."""
    grey = Image.new("L", (6, 5), shade)
    if mode == "1":
        grey, shade = Image.new("1", (6, 5), shade > 127), 255 * (shade > 127)
    elif mode == "I;16":
        grey = Image.new("I;16", (6, 5), shade * 257)
    elif mode == "P":
        grey = Image.new("P", (6, 5), 1)
        grey.putpalette([0, 0, 0, shade, shade, shade])
    elif mode == "CMYK":
        grey = Image.new("CMYK", (6, 5), (0, 0, 0, 255 - shade))
    elif mode == "PA":
        grey = Image.new("PA", (6, 5), (1, 255))
        grey.putpalette([0, 0, 0, shade, shade, shade])
    elif mode != "L":
        grey = grey.convert(mode)
    file = io.BytesIO()
    grey.save(file, form, **({"quality": 95} if form in ("JPEG", "WEBP", "AVIF") else {}))
    return Content(file.getvalue(), mode in GREYS, shade, FORMATS[form][2])


@frozen
class File:
    """What lies at a place: a picture, a broken one, or something else of a kind."""

    path: str
    data: bytes | None  # None: a link to nothing
    picture: Content | None = None
    broken: bool = False
    kind: str = ""

    @property
    def is_row(self) -> bool:
        return not self.kind


@define
class Tree:
    """Everything below a folder."""

    files: dict[str, File] = field(factory=dict)
    folders: set[str] = field(factory=set)  # also the empty ones

    def write(self, root: Path) -> None:
        root.mkdir(parents=True)
        for name in sorted(self.folders):
            (root / name).mkdir(parents=True, exist_ok=True)
        for file in self.files.values():
            if file.data is None:
                (root / file.path).symlink_to(root / "nowhere" / "at-all")
            else:
                (root / file.path).write_bytes(file.data)


# --- making trees ---------------------------------------------------------------------------------


def tree_of(dice: random.Random) -> Tree:
    """A tree as somebody may have it, often with something odd in it."""
    tree = Tree()
    tops = _tops(dice)
    for top in tops:
        _fill(tree, top, dice, inside=top.lower() in _split_names())
    for _ in range(dice.choice((0, 0, 0, 1, 4))):
        _put(tree, "", dice)
    return tree


def _split_names() -> dict[str, str]:
    return {name.lower(): split for split, names in SPLITS.items() for name in names}


def _tops(dice: random.Random) -> list[str]:
    how = dice.random()
    tops = list(dice.sample(CLASSES, dice.randint(0, 4))) if how < 0.6 else []
    if how > 0.4:
        splits = dice.sample([*SPLITS], dice.randint(1, 3))
        tops += [dice.choice(SPLITS[split]) for split in splits]
        if dice.random() < 0.05:
            tops.append(dice.choice(SPLITS[splits[0]]))
    if dice.random() < 0.15:
        tops.append(dice.choice(HIDDEN))
    return list(dict.fromkeys(tops))


def _fill(tree: Tree, folder: str, dice: random.Random, *, inside: bool) -> None:
    """A class, or a split with classes in it."""
    tree.folders.add(folder)
    classes = inside and dice.random() < 0.8
    if classes:
        for name in dice.sample(CLASSES[:5], dice.randint(1, 3)):
            _fill(tree, f"{folder}/{name}", dice, inside=False)
    elif dice.random() > 0.08:  # else it stays empty
        for _ in range(dice.randint(1, 4)):
            _put(tree, folder, dice)
        if dice.random() < 0.2:
            below = f"{folder}/{dice.choice(('deep', 'more', 'Train', '.cache'))}"
            tree.folders.add(below)
            for _ in range(dice.randint(0, 2)):
                _put(tree, below, dice)


def _put(tree: Tree, folder: str, dice: random.Random) -> None:
    number = len(tree.files)
    chance = dice.random()
    if chance < 0.68:
        file = _picture(f"p{number}", dice)
    elif chance < 0.76:
        file = _broken(f"b{number}", dice)
    elif chance < 0.88:
        ending = dice.choice(OTHERS)
        shown = ending.upper() if dice.random() < 0.3 else ending
        file = File(f"o{number}{shown}", b"no picture", kind=ending)
    elif chance < 0.92:
        text = dice.choice((b"", b"Python", b"P5 is no picture", b"BM", b"GIF", bytes(40)))
        file = File(dice.choice((f"README{number}", f"n.{number}")), text, kind="without an ending")
    elif chance < 0.98:
        file = File(f".h{number}.png", content("PNG", "L", 9).data, kind="hidden")
    else:
        file = File(f"l{number}.png", None, kind="broken link")
    place = f"{folder}/{file.path}" if folder else file.path
    tree.files[place] = File(place, file.data, file.picture, file.broken, file.kind)


def _picture(name: str, dice: random.Random) -> File:
    unnamed = dice.random() < 0.15
    form = dice.choice(MARKED if unnamed else [*FORMATS])
    endings, modes, _ = FORMATS[form]
    mode, shade = dice.choice(modes), dice.randrange(0, 256, 15)
    made = content(form, mode, shade)
    if (form, mode, shade) == ("BMP", "P", 255):  # which Pillow reads wrongly
        return File(f"{name}.bmp", made.data, broken=True)
    if unnamed:
        return File(dice.choice((name, f"{name}.2021.05")), made.data, made)
    ending = dice.choice(endings)
    return File(name + (ending.upper() if dice.random() < 0.3 else ending), made.data, made)


def _broken(name: str, dice: random.Random) -> File:
    """What is called a picture and can be read by nobody."""
    text = dice.choice((b"", b"this is no picture", content("PNG", "RGB", 90).data[:20]))
    return File(name + dice.choice((".png", ".jpg", ".webp", ".GIF")), text, broken=True)


# --- what should be read --------------------------------------------------------------------------


@frozen
class Expected:
    """errors: of which one is told, if there are any. The rest counts where there is none."""

    errors: frozenset[str] = frozenset()
    train: frozenset[str] = frozenset()
    test: frozenset[str] = frozenset()
    left_out: Counter[str] = field(factory=Counter)
    below: str = ""  # what the names of training files begin with
    held: str = ""

    def label(self, name: str) -> str:
        """The class of a row."""
        above = self.below if name in self.train else self.held
        return name.removeprefix(above).split("/")[0]


EMPTY = "holds no images|is empty"


def expected_of(tree: Tree, *, labels: bool) -> Expected:
    """What an image folder without a share held out is read as."""
    left_out: Counter[str] = Counter()
    seen: set[str] = set()  # hidden things, each of which is one however much is in it
    rows: list[str] = []
    for name, file in tree.files.items():
        hidden = _hidden_part(name)
        if hidden:
            seen.add(hidden)
        elif file.is_row:
            rows.append(name)
        else:
            left_out[file.kind] += 1
    seen |= {hidden for folder in tree.folders if (hidden := _hidden_part(folder))}
    left_out["hidden"] += len(seen)
    tops = {name.split("/")[0] for name in tree.folders if not _hidden_part(name)}
    called: dict[str, list[str]] = {}
    for top in tops:
        if top.lower() in _split_names():
            called.setdefault(_split_names()[top.lower()], []).append(top)
    if any(len(names) > 1 for names in called.values()):
        return Expected(frozenset({"names of the same split"}))
    split = {name: tops[0] for name, tops in called.items()}
    return _parted(rows, split, +left_out, labels)


def _hidden_part(name: str) -> str:
    """The path of the topmost part that is hidden."""
    parts = PurePosixPath(name).parts
    for number, part in enumerate(parts):
        if part.startswith((".", "__MACOSX")):
            return "/".join(parts[: number + 1])
    return ""


def _parted(rows: list[str], split: dict[str, str], left_out: Counter[str], labels: bool):
    held = split.get("test") or split.get("val") or ""
    aside = split["val"] if "test" in split and "val" in split else ""
    train, test = [], []
    for name in rows:
        top = name.split("/")[0] if "/" in name else ""
        if held and top == held:
            test.append(name)
        elif top == split.get("train", "") or ("train" not in split and top != (aside or None)):
            train.append(name)
        else:
            left_out[f"in {top}/" if top else f"beside {split['train']}/"] += 1
    errors = set()
    if held and not test:
        errors.add(EMPTY)
    if not train:
        errors.add("none is left for training" if held and "train" not in split else EMPTY)
    below = f"{split['train']}/" if "train" in split else ""
    found = Expected(
        frozenset(errors),
        frozenset(train),
        frozenset(test),
        left_out,
        below,
        f"{held}/" if held else "",
    )
    return _labelled(found) if labels and not errors else found


def _labelled(found: Expected) -> Expected:
    """With labels each row lies in a folder, and what is held out is of a class that is learnt."""
    loose = [n for n in found.train if "/" not in n.removeprefix(found.below)]
    loose += [n for n in found.test if "/" not in n.removeprefix(found.held)]
    learnt = {found.label(name) for name in found.train}
    strange = [name for name in found.test if found.label(name) not in learnt]
    if loose or strange:
        return Expected(frozenset({"lies in no folder of a class"}))
    return found
