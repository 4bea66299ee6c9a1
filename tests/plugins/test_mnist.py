"""MNIST from its IDX files."""

import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ganforge_mnist.dataset import Mnist, labelled_rows, with_wrong_labels
from ganforge_mnist.idx import SPLITS
from ganforge_mnist.plugin import MnistOptions, describe, ganforge_components

from ganforge import DataError, Draws, ImageOptions
from ganforge.data.feed import Feed, held_out_split
from ganforge.plugin import ImageSpec, Impossible, LabelSpec

ROWS = {"train": 30, "test": 12}


def images(count: int) -> bytes:
    """28 x 28 images; image i is i everywhere but white in its last row."""
    return b"".join(bytes([i]) * 27 * 28 + b"\xff" * 28 for i in range(count))


def idx(content: bytes, *lengths: int) -> bytes:
    return bytes((0, 0, 8, len(lengths))) + struct.pack(f">{len(lengths)}I", *lengths) + content


def write(root: Path, place: str = ".", compressed: bool = True) -> Path:
    (root / place).mkdir(parents=True, exist_ok=True)
    for split, (image_stem, label_stem) in SPLITS.items():
        count = ROWS[split]
        contents = {
            image_stem: idx(images(count), count, 28, 28),
            label_stem: idx(bytes(i % 10 for i in range(count)), count),
        }
        for stem, content in contents.items():
            path = root / place / (f"{stem}.gz" if compressed else stem)
            path.write_bytes(gzip.compress(content) if compressed else content)
    return root


def mnist(root: Path, **image) -> Mnist:
    options, image = MnistOptions(root=root), ImageOptions(**image)
    return Mnist(options, image, describe(options, image))


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("place", [".", "raw", "MNIST/raw"])
def test_files_are_found_wherever_torchvision_puts_them(tmp_path, place, compressed):
    dataset = mnist(write(tmp_path, place, compressed))
    assert dataset.description.domains == {
        "image": ImageSpec(1, 28, 28),
        "label": LabelSpec(10, tuple("0123456789")),
    }
    assert dataset.description.group("label") == ("image", "label")
    for split, rows in ROWS.items():
        assert dataset.description.counts[split] == {"image": rows, "label": rows}
        assert dataset.count(split, "image") == dataset.count(split, "label") == rows
        pictures, labels = dataset.rows(split, "image"), dataset.rows(split, "label")
        assert pictures.dtype == torch.uint8 and pictures.shape == (rows, 1, 28, 28)
        assert pictures[:, 0, 0, 0].tolist() == list(range(rows))
        assert (pictures[:, :, 27] == 255).all()
        assert labels.dtype == torch.int64 and labels.tolist() == [i % 10 for i in range(rows)]
    assert torch.equal(dataset.item("test", "image", 5), dataset.rows("test", "image")[5])


@pytest.mark.parametrize("fit", ["cover", "contain", "stretch"])
@pytest.mark.parametrize("size", [32, 14, (48, 80), (20, 9)])
def test_images_come_in_any_size_and_number_of_channels(tmp_path, size, fit):
    dataset = mnist(write(tmp_path), size=size, fit=fit, channels=3)
    height, width = (size, size) if isinstance(size, int) else size
    pictures = dataset.rows("train", "image")
    assert pictures.dtype == torch.uint8 and pictures.shape == (30, 3, height, width)
    assert torch.equal(pictures[:, 0], pictures[:, 2])


def test_images_are_loaded_larger_where_they_are_cropped(tmp_path):
    dataset = mnist(write(tmp_path), size=28, load=32)
    assert dataset.description.domains["image"] == ImageSpec(1, 28, 28)
    assert dataset.rows("train", "image").shape == (30, 1, 32, 32)


def test_it_feeds_a_training(tmp_path):
    feed = Feed(
        mnist(write(tmp_path), size=32),
        ("image", "label"),
        batch=8,
        draws=Draws(0),
        device=torch.device("cpu"),
    )
    batch = feed.batch(0)
    assert batch["image"].shape == (8, 1, 32, 32)
    row = ((batch["image"][:, 0, 0, 0] + 1) * 127.5).round().long()
    assert torch.equal(row % 10, batch["label"])
    assert held_out_split(feed.dataset) == "test"


@pytest.mark.parametrize("size", [28, 40, 17])
def test_a_size_too_large_to_keep_is_resized_row_by_row_to_the_same_values(tmp_path, size):
    write(tmp_path)
    kept, demanded = (
        Feed(
            mnist(tmp_path, size=size, flip=True),
            ("image", "label"),
            batch=8,
            draws=Draws(0),
            device=torch.device("cpu"),
            keep_bytes=keep,
        )
        for keep in (10**9, 0)
    )
    for update in range(4):
        one, other = kept.batch(update), demanded.batch(update)
        assert torch.equal(one["image"], other["image"])
        assert torch.equal(one["label"], other["label"])
    demanded.close()


def test_missing_files_are_no_fault_while_they_can_be_fetched(tmp_path):
    description = describe(MnistOptions(root=tmp_path), ImageOptions(size=64))
    assert description.domains["image"] == ImageSpec(1, 64, 64)
    assert description.counts["train"]["image"] == 60_000
    with pytest.raises(Impossible, match=r"lacks train-images-idx3-ubyte, .*set `root`") as caught:
        describe(MnistOptions(root=tmp_path, fetch=None), ImageOptions())
    assert caught.value.key == "root"


def test_a_mistaken_option_is_told():
    with pytest.raises(Impossible, match="there is no archive 'mnits': did you mean 'mnist'"):
        describe(MnistOptions(root=Path("nowhere"), fetch="mnits"), ImageOptions())
    with pytest.raises(Impossible, match="1 channel, or 3") as caught:
        describe(MnistOptions(root=Path("nowhere")), ImageOptions(channels=4))
    assert caught.value.key == "channels"


def test_damaged_files_are_named(tmp_path):
    write(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    told = {
        whole[: len(whole) // 2]: "damaged",
        b"no gzip at all": "damaged",
        gzip.compress(idx(images(29), 30, 28, 28)): "its length is not what its header says",
        gzip.compress(idx(images(31), 30, 28, 28)): "its length is not what its header says",
    }
    for content, message in told.items():
        path.write_bytes(content)
        with pytest.raises((DataError, Impossible), match=message) as caught:
            mnist(tmp_path).rows("train", "image")
        assert "train-images-idx3-ubyte.gz is damaged" in str(caught.value)
        assert "delete it and fetch it again" in str(caught.value)
    path.write_bytes(gzip.compress(b"\0\0\x0d\x03" + bytes(12)))
    with pytest.raises(Impossible, match="not an IDX file with 3 dimensions") as caught:
        mnist(tmp_path)
    assert caught.value.key == "root"


def test_images_and_labels_must_be_as_many_and_labels_digits(tmp_path):
    write(tmp_path)
    labels = tmp_path / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(idx(bytes(29), 29)))
    with pytest.raises(DataError, match=r"holds 30 images, .* 29 labels"):
        mnist(tmp_path).rows("train", "label")
    labels.write_bytes(gzip.compress(idx(bytes([10] * 30), 30)))
    with pytest.raises(DataError, match="has the label 10; only 0 to 9 are digits"):
        mnist(tmp_path).rows("train", "label")


def test_describing_needs_no_torch(tmp_path):
    code = (
        "import sys; from pathlib import Path; from ganforge_mnist.plugin import *;"
        f"describe(MnistOptions(root=Path({str(write(tmp_path))!r})), ImageOptions());"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_manifest_leads_to_the_dataset():
    (component,) = ganforge_components()
    assert component.target == f"{Mnist.__module__}:{Mnist.__name__}"


@pytest.mark.data
def test_the_real_files_are_read():
    folder = Path(os.environ.get("GANFORGE_TEST_DATA", "")) / "mnist"
    if "GANFORGE_TEST_DATA" not in os.environ or not folder.is_dir():
        pytest.skip("needs MNIST: set GANFORGE_TEST_DATA to a folder that holds mnist/")
    dataset = mnist(folder)
    labels = dataset.rows("train", "label")
    assert dataset.rows("train", "image").shape == (60_000, 1, 28, 28)
    digits = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert labels.bincount().tolist() == digits
    assert dataset.rows("test", "label").bincount()[0] == 980
    ink = dataset.rows("train", "image").float().mean() / 255
    assert abs(float(ink) - 0.1307) < 1e-4


# --- few labels, and wrong ones -------------------------------------------------------------------


def labelled(root: Path, **options) -> Mnist:
    options = MnistOptions(root=root, **options)
    return Mnist(options, ImageOptions(), describe(options, ImageOptions()))


def test_labelled_images_are_a_stream_beside_all_images(tmp_path):
    dataset = labelled(write(tmp_path), labelled=20)
    description = dataset.description
    assert description.domains["labelled-image"] == description.domains["image"]
    assert description.labelled == {"image": "labelled-image"}
    assert description.group("label") == ("labelled-image", "label")
    assert description.labels_of("image") is None
    assert description.labels_of("labelled-image") == "label"
    for split, known in (("train", 20), ("test", ROWS["test"])):
        counts = {"image": ROWS[split], "labelled-image": known, "label": known}
        assert description.counts[split] == counts
        for domain, count in counts.items():
            assert dataset.count(split, domain) == len(dataset.rows(split, domain)) == count
    numbers = dataset.rows("train", "labelled-image")[:, 0, 0, 0].long()  # image i is i
    assert torch.equal(numbers % 10, dataset.rows("train", "label")), "row by row"
    assert len(set(numbers.tolist())) == 20, "no image twice"
    assert dataset.rows("train", "image")[:, 0, 0, 0].tolist() == list(range(30))
    assert torch.equal(dataset.item("train", "label", 3), dataset.rows("train", "label")[3])


@pytest.mark.parametrize(("count", "of_each"), [(20, (2, 2)), (23, (2, 3)), (5, (0, 1))])
def test_every_class_has_as_many_labelled_images(tmp_path, count, of_each):
    labels = labelled(write(tmp_path), labelled=count).rows("train", "label")
    found = labels.bincount(minlength=10)
    assert (int(found.min()), int(found.max())) == of_each


def test_a_class_that_is_too_small_is_made_up_for_by_others():
    labels = torch.tensor([0] * 2 + [1] * 20 + [2] * 20)
    rows = labelled_rows(labels, MnistOptions(root=Path(), labelled=12))
    assert labels[rows].bincount().tolist() == [2, 5, 5]


def test_what_is_labelled_follows_from_the_seed(tmp_path):
    write(tmp_path)
    first, again, other = (
        labelled(tmp_path, labelled=10, label_seed=seed).rows("train", "labelled-image")
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_more_labels_than_images_are_refused(tmp_path):
    with pytest.raises(Impossible, match="30 training images, so no 31 of them") as caught:
        labelled(write(tmp_path), labelled=31)
    assert caught.value.key == "labelled"


def test_a_share_of_training_labels_is_wrong_and_every_other_class_alike():
    labels = torch.arange(10).repeat(6000)
    noisy = with_wrong_labels(labels, MnistOptions(root=Path(), wrong_labels=0.3))
    assert abs(float((noisy != labels).float().mean()) - 0.3) < 0.01
    table = torch.zeros(10, 10).index_put_((labels, noisy), torch.ones(1), accumulate=True) / 6000
    off_diagonal = table[~torch.eye(10, dtype=bool)]
    assert off_diagonal.min() > 0.02 and off_diagonal.max() < 0.05  # 0.3 / 9 = 0.033
    more = with_wrong_labels(labels, MnistOptions(root=Path(), wrong_labels=0.5))
    assert torch.equal(more[noisy != labels], noisy[noisy != labels])
    assert torch.equal(with_wrong_labels(labels, MnistOptions(root=Path())), labels)


def test_test_labels_are_never_wrong_and_training_ones_stay_what_they_are(tmp_path):
    write(tmp_path)
    dataset, again = (labelled(tmp_path, wrong_labels=1.0) for _ in range(2))
    assert dataset.rows("test", "label").tolist() == [i % 10 for i in range(ROWS["test"])]
    wrong = dataset.rows("train", "label")
    assert (wrong != torch.arange(30) % 10).all() and torch.equal(
        wrong, again.rows("train", "label")
    )
    both = labelled(tmp_path, wrong_labels=1.0, labelled=10)
    numbers = both.rows("train", "labelled-image")[:, 0, 0, 0].long()
    assert torch.equal(both.rows("train", "label"), wrong[numbers])


def test_both_streams_feed_a_training(tmp_path):
    feed = Feed(
        labelled(write(tmp_path), labelled=10),
        ("image", "labelled-image", "label"),
        batch=8,
        draws=Draws(0),
        device=torch.device("cpu"),
    )
    seen = set()
    for update in range(5):
        batch = feed.batch(update)
        number = ((batch["labelled-image"][:, 0, 0, 0] + 1) * 127.5).round().long()
        assert torch.equal(number % 10, batch["label"])
        seen |= set(number.tolist())
    assert len(seen) == 10
