"""Images in tar shards."""

import gzip
import io
import json
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from ganforge_folders.datasets import ImageFolder
from ganforge_folders.plugin import ImageFolderOptions, describe_image_folder
from ganforge_shards import index
from ganforge_shards.dataset import TarShards
from ganforge_shards.layout import expanded
from ganforge_shards.plugin import TarShardsOptions, describe_tar_shards
from PIL import Image

from ganforge import DataError, Draws, ImageOptions
from ganforge.data.feed import Feed
from ganforge.planning.compose import compose
from ganforge.plugin import Impossible, LabelSpec
from ganforge.recipes.recipe import load
from ganforge.registry.registry import Registry

CPU = torch.device("cpu")
IMAGE = ImageOptions(size=8)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "_KNOWN", {})
    return tmp_path / "cache" / "shards"


def picture(number, size=(12, 10)):
    """A JPEG of its own."""
    pixels = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def write_tar(path, members):
    """members: name -> content"""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def members(rows, label="cls"):
    found = {}
    for row in rows:
        found[f"{row:06}.jpg"] = picture(row)
        content = json.dumps({"label": row % 3}) if label == "json" else str(row % 3)
        found[f"{row:06}.{label}"] = content.encode()
    return found


@pytest.fixture
def shards(tmp_path):
    """Three shards of four rows each; their folder."""
    for number, label in enumerate(("cls", "json", "txt")):
        rows = range(4 * number, 4 * number + 4)
        write_tar(tmp_path / "data" / f"train-{number:03}.tar", members(rows, label))
    return tmp_path / "data"


def opened(*urls, image=IMAGE, **options):
    chosen = TarShardsOptions(urls=[str(url) for url in urls], **options)
    return TarShards(chosen, image, describe_tar_shards(chosen, image))


def items(dataset, split="train", domain="image"):
    return [dataset.item(split, domain, n) for n in range(dataset.count(split, domain))]


def refused(*urls, image=IMAGE, **options):
    with pytest.raises((Impossible, DataError)) as caught:
        items(opened(*urls, image=image, **options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- what they hold


def test_shards_yield_what_a_folder_of_the_same_files_yields(tmp_path, shards):
    for row in range(12):
        path = tmp_path / "folder" / str(row % 3) / f"{row:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(row))
    options = ImageFolderOptions(root=tmp_path / "folder", labels=True)
    folder = ImageFolder(options, IMAGE, describe_image_folder(options, IMAGE))
    dataset = opened(shards / "train-{000..002}.tar", labels=True)
    assert dataset.description.domains == folder.description.domains
    assert dataset.description.counts == folder.description.counts
    rows = {int(path.stem): n for n, path in enumerate(folder.files["train"]["image"])}
    for row in range(12):
        for domain in ("image", "label"):
            mine = dataset.item("train", domain, row)
            assert torch.equal(mine, folder.item("train", domain, rows[row]))
    assert torch.equal(dataset.rows("train", "label"), torch.arange(12) % 3)
    assert dataset.rows("train", "image") is None


@pytest.mark.parametrize("workers", [0, 1])
def test_they_are_read_in_any_order_and_by_workers(shards, workers):
    dataset = opened(shards / "*.tar", labels=True)
    ahead = Feed(
        dataset,
        ("image", "label"),
        batch=4,
        draws=Draws(0),
        device=CPU,
        keep_bytes=0,
        workers=workers,
    )
    held = Feed(dataset, ("image", "label"), batch=4, draws=Draws(0), device=CPU)
    for update in range(7):
        ahead.follow(update)
        one, other = ahead.batch(update), held.batch(update)
        assert all(torch.equal(one[name], other[name]) for name in one)
    ahead.close()


def test_classes_may_be_names(tmp_path):
    named = {"a/1.jpg": picture(1), "a/1.cls": b"zebra\n", "a/2.jpg": picture(2), "a/2.cls": b"cat"}
    dataset = opened(write_tar(tmp_path / "s.tar", named), labels=True)
    assert dataset.description.domains["label"] == LabelSpec(2, ("cat", "zebra"))
    assert dataset.rows("train", "label").tolist() == [1, 0]


def test_some_shards_or_a_share_of_rows_are_held_out(shards):
    dataset = opened(shards / "train-{000,001}.tar", test=[str(shards / "train-002.tar")])
    assert dataset.description.counts == {"train": {"image": 8}, "test": {"image": 4}}
    share = opened(shards / "*.tar", holdout=0.5)
    counts = [share.count(split, "image") for split in ("train", "test")]
    assert sum(counts) == 12 and min(counts) > 0
    alone = opened(shards / "train-001.tar", holdout=0.5)  # each row's part stays
    kept = [
        torch.equal(row, other) for row in items(alone, "test") for other in items(share, "test")
    ]
    assert sum(kept) == alone.count("test", "image")
    assert "all images are held out" in refused(shards / "*.tar", holdout=0.9999999999)
    assert "leave `holdout` out" in refused(
        shards / "train-000.tar", test=[str(shards / "train-001.tar")], holdout=0.1
    )
    assert "both for training and held out" in refused(
        shards / "*.tar", test=[str(shards / "train-001.tar")]
    )


def test_addresses_are_expanded():
    assert list(expanded("a-{08..11}-{x,y}.tar")) == [
        f"a-{number:02}-{letter}.tar" for number in range(8, 12) for letter in "xy"
    ]
    assert list(expanded("plain.tar")) == ["plain.tar"]


# ---------------------------------------------------------------- the index


def test_a_shard_is_read_off_once_and_again_when_it_changes(shards, monkeypatch):
    read = []
    open_ = index.opened
    monkeypatch.setattr(index, "opened", lambda url: read.append(Path(url).name) or open_(url))
    opened(shards / "*.tar")
    assert sorted(read) == [f"train-{number:03}.tar" for number in range(3)]
    monkeypatch.setattr(index, "_KNOWN", {})  # as in another process
    opened(shards / "*.tar", labels=True)
    assert len(read) == 3
    write_tar(shards / "train-001.tar", members(range(20, 25)))
    assert opened(shards / "*.tar").count("train", "image") == 13
    assert read[3:] == ["train-001.tar"]


def test_a_damaged_index_is_made_anew(shards, cache, monkeypatch):
    opened(shards / "*.tar")
    for file in cache.iterdir():
        file.write_bytes(file.read_bytes()[:20])
    monkeypatch.setattr(index, "_KNOWN", {})
    assert opened(shards / "*.tar").count("train", "image") == 12


def test_describing_imports_no_torch(shards):
    code = (
        "import sys; from ganforge.plugin import ImageOptions;"
        "from ganforge_shards.plugin import *;"
        f"print(describe_tar_shards(TarShardsOptions(urls=[{str(shards / '*.tar')!r}]),"
        "ImageOptions(size=8)).counts, 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "{'train': {'image': 12}} False\n"


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("keep", [700, 3000, -1024, -600])
def test_a_shard_that_is_cut_short_is_told(shards, keep):
    path = shards / "train-001.tar"
    with tarfile.open(path) as archive:
        end = max(m.offset_data + -(-m.size // 512) * 512 for m in archive)
    whole = path.read_bytes()[: end + 1024]
    path.write_bytes(whole[:keep])
    assert refused(shards / "*.tar").endswith("train-001.tar is cut short: get it again")


def test_a_shard_that_is_gone_is_told(shards):
    assert refused(shards / "train-{000..003}.tar").startswith("there is no shard ")
    assert "there is no shard" in refused(shards / "nothing-*.tar")
    dataset = opened(shards / "*.tar")
    (shards / "train-000.tar").unlink()
    with pytest.raises(DataError, match=r"^there is no shard .*train-000\.tar$"):
        dataset.item("train", "image", 0)


def test_rows_without_image_or_class_are_told(tmp_path):
    rows = {"1.cls": b"0", "2.cls": b"1", "README.md": b"hello"}
    path = write_tar(tmp_path / "a.tar", rows)
    assert "it holds no images, only 2 .cls, 1 .md; images end in .bmp" in refused(path)
    path = write_tar(tmp_path / "b.tar", {"1.jpg": picture(1), "2.jpg": picture(2), "2.cls": b"1"})
    assert "1.jpg has no class beside it" in refused(path, labels=True)
    path = write_tar(tmp_path / "c.tar", {"1.jpg": picture(1), "1.png": picture(2)})
    assert "1.jpg and 1.png are images of one row" in refused(path)
    path = write_tar(tmp_path / "d.tar", {"1.jpg": picture(1), "1.json": b"{"})
    assert "1.json cannot be read" in refused(path)
    assert "it is empty" in refused(write_tar(tmp_path / "e.tar", {}))


def test_a_bad_image_is_told_with_its_shard(tmp_path):
    rows = {f"{n}.jpg": picture(n) for n in range(40)}
    rows["7.jpg"] = rows["7.jpg"][:300]
    path = write_tar(tmp_path / "a.tar", rows)
    assert refused(path).startswith(f"{path}: 7.jpg is cut off")


def test_a_compressed_shard_is_told(tmp_path):
    path = tmp_path / "a.tar"
    path.write_bytes(gzip.compress(write_tar(tmp_path / "b.tar", members([1])).read_bytes()))
    assert "is not a tar archive (compressed ones cannot be read at random" in refused(path)


def test_a_file_system_that_is_not_there_is_told(tmp_path):
    assert "nowhere" in refused("nowhere://a.tar")


def test_images_of_several_sizes_need_a_size(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"1.jpg": picture(1), "2.jpg": picture(2, (9, 9))})
    said = refused(path, image=ImageOptions())
    assert "differ in size" in said and "1.jpg has 12 x 10 px" in said
    path = write_tar(tmp_path / "b.tar", {"1.jpg": picture(1)})
    assert opened(path, image=ImageOptions()).description.domains["image"].shape == (3, 10, 12)


# ---------------------------------------------------------------- what is a class, and what is not


def labelled(path, labels, ending="cls"):
    """A shard of an image for each label."""
    found = {}
    for row, label in enumerate(labels):
        found[f"{row:03}.jpg"] = picture(row)
        found[f"{row:03}.{ending}"] = str(label).encode()
    return write_tar(path, found)


def test_there_are_as_many_classes_as_the_shards_name(tmp_path):
    dataset = opened(labelled(tmp_path / "a.tar", [999_999, 0, "007", 7, 0]), labels=True)
    assert dataset.description.domains["label"] == LabelSpec(3, ("0", "7", "999999"))
    assert dataset.rows("train", "label").tolist() == [2, 0, 1, 1, 0]
    assert dataset.description.classes == {"train": {"0": 2, "7": 2, "999999": 1}}
    from_1 = opened(labelled(tmp_path / "b.tar", [1, 2, 3, 1]), labels=True)
    assert from_1.description.domains["label"] == LabelSpec(3, ("1", "2", "3"))


def test_sizes_of_classes_are_known_for_each_split(tmp_path):
    learnt = labelled(tmp_path / "a.tar", ["cat", "dog", "cat"])
    held = labelled(tmp_path / "b.tar", ["dog", "fox"])
    described = opened(learnt, test=[str(held)], labels=True).description
    assert described.classes == {
        "train": {"cat": 2, "dog": 1, "fox": 0},
        "test": {"cat": 0, "dog": 1, "fox": 1},
    }


def test_a_class_below_0_is_no_class(tmp_path):
    said = refused(labelled(tmp_path / "a.tar", [0, -1, 1, -1]), labels=True)
    assert "001.jpg and 1 others have the class -1, as images without a class have" in said


@pytest.mark.parametrize("ending", ["txt", "json"])
def test_captions_are_not_taken_for_classes(tmp_path, ending):
    captions = [f"a photo of {n} cats" for n in range(16)]
    texts = [json.dumps({"label": text}) for text in captions] if ending == "json" else captions
    path = labelled(tmp_path / "a.tar", texts, ending)
    assert "16 different texts beside 16 images, such as 'a photo of 0 cats': these are" in refused(
        path, labels=True
    )
    assert opened(path).description.left_out == {f".{ending}": 16}
    few = labelled(tmp_path / "b.tar", ["golden retriever", "siamese cat"] * 4, "txt")
    assert opened(few, labels=True).description.domains["label"].classes == 2


# ---------------------------------------------------------------- what is left out


def test_what_is_left_out_is_counted_by_kind(tmp_path):
    rows = {"1.jpg": picture(1), "1.cls": b"0", "1.seg.png": b"", "1.json": b"{}", "2.cls": b"1"}
    others = {"README": b"hello", "README.md": b"hello", "._1.jpg": b"", "__MACOSX/.x": b""}
    path = write_tar(tmp_path / "a.tar", rows | others)
    dataset = opened(path, labels=True)
    assert dataset.count("train", "image") == 1
    expected = {
        ".cls": 1,
        ".seg.png": 1,
        ".json": 1,
        "without an ending": 1,
        ".md": 1,
        "hidden": 2,
    }
    assert dataset.description.left_out == expected
    assert opened(path).description.left_out == expected | {".cls": 2}


def test_links_in_a_shard_are_followed(tmp_path):
    path = write_tar(tmp_path / "a.tar", {"deep/0.jpg": picture(0), "deep/0.cls": b"3"})
    with tarfile.open(path, "a") as archive:
        for name, kind, target in (
            ("deep/1.jpg", tarfile.SYMTYPE, "0.jpg"),
            ("deep/1.cls", tarfile.LNKTYPE, "deep/0.cls"),
            ("2.jpg", tarfile.SYMTYPE, "./deep/1.jpg"),
            ("2.cls", tarfile.SYMTYPE, "deep/1.cls"),
            ("3.jpg", tarfile.SYMTYPE, "../elsewhere.jpg"),
            ("4.jpg", tarfile.SYMTYPE, "4.jpg"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    dataset = opened(path, labels=True)
    first, *others = items(dataset)
    assert len(others) == 2 and all(torch.equal(first, other) for other in others)
    assert dataset.rows("train", "label").tolist() == [0, 0, 0]
    assert dataset.description.domains["label"].names == ("3",)
    assert dataset.description.left_out == {"link that leads nowhere": 2}


def test_a_name_with_two_dots_is_told_as_what_it_is(tmp_path):
    dates = {f"22.{month:02}.png": picture(month) for month in range(1, 4)}
    said = refused(write_tar(tmp_path / "a.tar", dates))
    assert "22.01.png is not a row of its own: names in shards end at their first dot" in said
    described = opened(write_tar(tmp_path / "b.tar", {"1.jpg": picture(1)} | dates)).description
    assert described.left_out == {"with a second dot in the name": 3}
    (note,) = described.notes
    assert "so it is member '.01.png' of row '22'; write its name with one dot" in note


def test_names_that_are_not_utf_8_are_read_and_kept(tmp_path, monkeypatch):
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.size = len(picture(1))
        archive.addfile(member, io.BytesIO(picture(1)))
    first = items(opened(path))
    monkeypatch.setattr(index, "_KNOWN", {})  # as in another process
    assert torch.equal(items(opened(path))[0], first[0])
    assert index.index_of(str(path)).names == [name]


# ---------------------------------------------------------------- elsewhere


def test_shards_may_lie_where_fsspec_reaches(shards):
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in shards.glob("*.tar"):
        memory.pipe_file(f"/shards/{path.name}", path.read_bytes())
    here = items(opened(shards / "*.tar"))
    for pattern in ("memory://shards/*.tar", "memory://shards/train-{000..002}.tar"):
        assert all(map(torch.equal, items(opened(pattern)), here))
    assert refused("memory://shards/train-003.tar").startswith("there is no shard memory://")
    memory.rm("/shards", recursive=True)


class Ranged(SimpleHTTPRequestHandler):
    """Answers requests for a part of a file, which Python's own handler does not."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        wanted = self.headers.get("Range", "")
        self.asked.append(wanted)
        content = Path(self.translate_path(self.path)).read_bytes()
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        part = content[int(first or 0) : int(last) + 1 if last else None]
        self.send_response(206 if wanted else 200)
        if wanted:
            end = int(first) + len(part) - 1
            self.send_header("Content-Range", f"bytes {first}-{end}/{len(content)}")
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *words):
        pass


def test_shards_may_lie_behind_a_web_server(shards):
    pytest.importorskip("aiohttp", reason="the extra `http` is not installed")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranged, directory=str(shards)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    here = items(opened(shards / "*.tar"))
    address = f"http://127.0.0.1:{server.server_address[1]}"
    dataset = opened(address + "/train-{000..002}.tar")
    Ranged.asked.clear()
    assert all(map(torch.equal, items(dataset), here))
    assert len(Ranged.asked) == 12 and all(a.startswith("bytes=") for a in Ranged.asked)
    server.shutdown()
    server.server_close()


def test_a_recipe_names_them(tmp_path, shards, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.toml").write_text(
        """recipe = 1
[data]
use = "tar-shards"
urls = ["data/train-{000..002}.tar"]
size = 16
[train]
steps = 1
[generator]
use = "dcgan"
[discriminator]
use = "dcgan"
[losses.adversarial]
use = "non-saturating"
""",
        encoding="utf-8",
    )
    plan = compose(load("r.toml"), Registry.load(only=()))
    assert plan.data.description.counts == {"train": {"image": 12}}
