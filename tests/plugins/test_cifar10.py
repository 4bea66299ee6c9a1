"""CIFAR-10 from its binary version."""

import gzip
import hashlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from ganforge_cifar10 import binary
from ganforge_cifar10.binary import ARCHIVE, CLASSES, FILES, FOLDER
from ganforge_cifar10.dataset import Cifar10, grey
from ganforge_cifar10.plugin import Cifar10Options, describe, ganforge_components
from playing import QUIET, training_of

from ganforge import DataError, ImageOptions
from ganforge.archives import ARCHIVES, Archive, RemoteFile
from ganforge.data.download import prepare
from ganforge.plugin import ImageSpec, Impossible, LabelSpec

ROWS = {"data_batch_1.bin": 20, "test_batch.bin": 10}  # other files: 10


def row(number: int) -> bytes:
    """Class number % 10; red is its number, green 100, blue 200 but for its last pixel, 255."""
    return bytes([number % 10]) + bytes([number]) * 1024 + b"\x64" * 1024 + b"\xc8" * 1023 + b"\xff"


def files() -> dict[str, bytes]:
    """The six files; rows are numbered on and on through them."""
    made, first = {}, 0
    for name in (name for names in FILES.values() for name in names):
        count = ROWS.get(name, 10)
        made[name] = b"".join(map(row, range(first, first + count)))
        first += count
    return made


def unpacked(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files().items():
        (folder / name).write_bytes(rows)
    return folder


def packed(contents: dict[str, bytes]) -> bytes:
    """An archive like the public one, its files in another order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name in sorted(contents, reverse=True):
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size = len(contents[name])
            archive.addfile(entry, io.BytesIO(contents[name]))
    return out.getvalue()


@pytest.fixture
def tiny(monkeypatch) -> bytes:
    """The public archive is this one: six images of each class to train on, one to test with."""
    monkeypatch.setattr(binary, "ROWS_PER_CLASS", {"train": 6, "test": 1})
    content = packed(files())
    file = RemoteFile(ARCHIVE, ("https://a", "https://b"), len(content), sha256(content))
    known = Archive(
        name="cifar10", summary="s", source="s", licence="l", files=(file,), pixels=(3, 32, 32)
    )
    monkeypatch.setitem(ARCHIVES, "cifar10", known)
    return content


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def cifar10(root: Path, image=None, **options) -> Cifar10:
    options, image = Cifar10Options(root=root, **options), ImageOptions(**(image or {}))
    return Cifar10(options, image, describe(options, image))


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [".", FOLDER, "archive"])
def test_rows_are_read_from_the_files_or_straight_out_of_the_archive(tmp_path, tiny, place):
    if place == "archive":
        (tmp_path / ARCHIVE).write_bytes(tiny)
    else:
        unpacked(tmp_path / place)
    dataset = cifar10(tmp_path)
    assert dataset.description.domains == {
        "image": ImageSpec(3, 32, 32),
        "label": LabelSpec(10, CLASSES),
    }
    assert dataset.description.group("label") == ("image", "label")
    for split, first, count in (("train", 0, 60), ("test", 60, 10)):
        assert dataset.description.counts[split] == {"image": count, "label": count}
        assert dataset.count(split, "image") == dataset.count(split, "label") == count
        pictures, labels = dataset.rows(split, "image"), dataset.rows(split, "label")
        assert pictures.dtype == torch.uint8 and pictures.shape == (count, 3, 32, 32)
        assert pictures[:, 0, 0, 0].tolist() == list(range(first, first + count))
        assert (pictures[:, 1] == 100).all() and (pictures[:, 2, 31, 30] == 200).all()
        assert (pictures[:, 2, 31, 31] == 255).all()
        assert labels.dtype == torch.int64 and labels.tolist() == [n % 10 for n in range(count)]
    assert torch.equal(dataset.item("test", "image", 5), dataset.rows("test", "image")[5])
    assert dataset.item("train", "label", 13) == 3
    if place == "archive":
        assert list(tmp_path.rglob("*")) == [tmp_path / ARCHIVE], "nothing is unpacked"


def test_classes_in_their_published_order():
    assert CLASSES[0] == "airplane" and CLASSES[3:6] == ("cat", "deer", "dog")
    assert CLASSES[7] == "horse" and len(CLASSES) == 10


@pytest.mark.parametrize("place", ["folder", "archive"])
def test_chosen_classes_are_kept_and_numbered_in_their_order(tmp_path, tiny, place):
    if place == "archive":
        (tmp_path / ARCHIVE).write_bytes(tiny)
    else:
        unpacked(tmp_path)
    dataset = cifar10(tmp_path, classes=["horse", "bird"])
    assert dataset.description.domains["label"] == LabelSpec(2, ("horse", "bird"))
    assert dataset.description.counts["train"]["image"] == 12
    assert dataset.rows("train", "image")[:, 0, 0, 0].tolist()[:4] == [2, 7, 12, 17]
    assert dataset.rows("train", "label").tolist()[:4] == [1, 0, 1, 0]
    assert dataset.rows("test", "label").tolist() == [1, 0]
    assert cifar10(tmp_path, classes=["cat"]).rows("train", "label").tolist() == [0] * 6


def test_images_are_fitted_and_may_be_grey(tmp_path):
    unpacked(tmp_path)
    dataset = cifar10(tmp_path, {"size": (16, 24), "channels": 1, "fit": "stretch"})
    assert dataset.description.domains["image"] == ImageSpec(1, 16, 24)
    assert dataset.rows("train", "image").shape == (60, 1, 16, 24)
    larger = cifar10(tmp_path, {"size": 32, "load": 40})
    assert larger.rows("test", "image").shape == (10, 3, 40, 40)
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [10, 10, 10]])
    assert grey(colours.byte()[:, :, None, None]).flatten().tolist() == [76, 150, 29, 255, 10]


def test_it_feeds_a_training(tmp_path):
    unpacked(tmp_path / "cifar")
    recipe = f"""
recipe = 1
name = "horses"
[data]
use = "cifar10"
root = '{tmp_path / "cifar"}'
classes = ["horse"]
[train]
steps = 2
batch = 3
precision = "fp32"
device = "cpu"
[generator]
use = "mlp"
hidden = [8]
[discriminator]
use = "mlp"
hidden = [8]
[losses.adversarial]
use = "hinge"
"""
    training = training_of(tmp_path, recipe + QUIET)
    training.run()
    assert training.step == 2
    reds = (training.real("image", 6)[:, 0, 0, 0] + 1) * 127.5
    assert {round(red) for red in reds.tolist()} <= {7, 17, 27, 37, 47, 57}


# --- fetching -------------------------------------------------------------------------------------


def test_the_known_archive_is_the_binary_version():
    (file,) = ARCHIVES["cifar10"].files
    assert (file.name, file.bytes) == (ARCHIVE, 170_052_171)
    assert file.sha256.startswith("c4a38c50a1bc5f3a")


def test_missing_files_are_no_fault_while_they_can_be_fetched(tmp_path):
    description = describe(Cifar10Options(root=tmp_path), ImageOptions(size=64))
    assert description.domains["image"] == ImageSpec(3, 64, 64)
    assert description.counts["train"]["image"] == 50_000
    few = describe(Cifar10Options(root=tmp_path, classes=["cat", "dog"]), ImageOptions())
    assert few.counts["test"]["label"] == 2_000
    with pytest.raises(Impossible, match=r"lacks cifar-10-binary.tar.gz and .*set `root`") as told:
        describe(Cifar10Options(root=tmp_path, fetch=None), ImageOptions())
    assert told.value.key == "root"


def test_the_archive_is_fetched_verified_and_read(tmp_path, tiny, monkeypatch):
    def receive(url, part, file, report, timeout):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(tiny)

    monkeypatch.setattr("ganforge.data.download._receive", receive)
    options = Cifar10Options(root=tmp_path / "data")
    assert options.must_fetch()
    prepare(options)
    assert not options.must_fetch()
    assert cifar10(tmp_path / "data").count("train", "image") == 60
    tiny = b"another"
    with pytest.raises(DataError, match="sent a different file"):
        prepare(Cifar10Options(root=tmp_path / "else"))


def test_unpacked_files_need_no_archive(tmp_path, monkeypatch):
    unpacked(tmp_path / FOLDER)
    assert not Cifar10Options(root=tmp_path).must_fetch()
    (tmp_path / FOLDER / "data_batch_3.bin").unlink()
    assert Cifar10Options(root=tmp_path).must_fetch(), "one of six is missing"


# --- mistakes -------------------------------------------------------------------------------------


def test_mistaken_options_are_told(tmp_path):
    for classes in ([], ["cat", "dog", "cat"]):
        with pytest.raises(Impossible, match="each class that is kept once") as told:
            describe(Cifar10Options(root=tmp_path, classes=classes), ImageOptions())
        assert told.value.key == "classes"
    with pytest.raises(Impossible, match="3 channels, or 1") as told:
        describe(Cifar10Options(root=tmp_path), ImageOptions(channels=4))
    assert told.value.key == "channels"


def test_damaged_files_are_told_in_a_line(tmp_path, tiny):
    folder = unpacked(tmp_path / "cut")
    path = folder / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        Impossible, match=r"data_batch_2.bin holds 30,729 bytes, not a multiple"
    ) as e:
        cifar10(folder)
    assert e.value.key == "root"
    path.write_bytes(b"\x0b" + row(0)[1:])
    with pytest.raises(Impossible, match="has the class 11; only 0 to 9"):
        cifar10(folder)
    lacking = {name: rows for name, rows in files().items() if name != "data_batch_4.bin"}
    broken = {
        "half": tiny[: len(tiny) // 2],
        "nothing of the kind": b"no archive",
        "other content": gzip.compress(b"x" * 5000),
        "a file too few": packed(lacking),
    }
    for what, content in broken.items():
        (tmp_path / what).mkdir()
        (tmp_path / what / ARCHIVE).write_bytes(content)
        with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz is damaged \(.*delete it"):
            cifar10(tmp_path / what).rows("train", "image")


def test_another_archive_of_the_same_name_is_told(tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(binary, "ROWS_PER_CLASS", {"train": 7, "test": 1})
    (tmp_path / ARCHIVE).write_bytes(tiny)
    with pytest.raises(DataError, match="holds 60 train rows of these classes, not the 70"):
        cifar10(tmp_path).rows("train", "image")


def test_nothing_is_left_to_train_on(tmp_path):
    only_cats = {name: row(3) * 4 for name in files()}
    for name, rows in only_cats.items():
        (tmp_path / name).write_bytes(rows)
    assert describe(Cifar10Options(root=tmp_path, classes=["cat"]), ImageOptions()).counts[
        "train"
    ] == {"image": 20, "label": 20}
    with pytest.raises(Impossible, match="holds no image of these classes"):
        describe(Cifar10Options(root=tmp_path, classes=["dog"]), ImageOptions())


def test_describing_needs_no_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path; from ganforge_cifar10.plugin import *;"
        f"describe(Cifar10Options(root=Path({str(unpacked(tmp_path))!r})), ImageOptions());"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_manifest_leads_to_the_dataset():
    (component,) = ganforge_components()
    assert component.target == f"{Cifar10.__module__}:{Cifar10.__name__}"
