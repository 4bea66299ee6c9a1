"""Rows that were decoded once are kept, whole or not at all."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from numbered_rows import Kept, Numbered

from ganforge import DataError, Draws
from ganforge.data import decoded_cache
from ganforge.data.decoded_cache import DecodedRows
from ganforge.data.feed import Feed

CPU = torch.device("cpu")
SHAPE = (3, 40, 40)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GANFORGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "decoded"


def row(number):
    return torch.randint(
        256, SHAPE, dtype=torch.uint8, generator=torch.Generator().manual_seed(number)
    )


def feed(dataset, **how):
    return Feed(dataset, ("image", "mask"), batch=8, draws=Draws(0), device=CPU, cache=True, **how)


def test_rows_are_read_as_they_were_written_and_by_others_too():
    mine, theirs = DecodedRows("a", 10, SHAPE), DecodedRows("a", 10, SHAPE)
    assert mine.read(3) is None
    mine.write(3, row(3))
    assert torch.equal(mine.read(3), row(3)) and torch.equal(theirs.read(3), row(3))
    assert mine.present() == 1 and theirs.read(4) is None
    assert DecodedRows("b", 10, SHAPE).read(3) is None


def test_a_row_that_is_not_whole_is_not_there(cache):
    rows = DecodedRows("a", 10, SHAPE)
    rows.write(3, row(3))
    with rows.path.open("r+b") as file:
        file.seek(-rows._bytes * 6 - 1, 2)  # the last byte of row 3
        file.write(bytes([int(row(3).flatten()[-1]) ^ 1]))
    assert rows.read(3) is None
    rows.write(3, row(3))
    assert torch.equal(rows.read(3), row(3))


def test_many_writers_at_once_do_no_harm():
    rows = DecodedRows("a", 50, SHAPE)

    def write(number):
        DecodedRows("a", 50, SHAPE).write(number % 50, row(number % 50))
        return rows.read(number % 50)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(write, range(400)))
    assert all(torch.equal(each, row(n % 50)) for n, each in enumerate(found) if each is not None)
    assert all(torch.equal(rows.read(n), row(n)) for n in range(50))


WRITER = """
import time
import torch
from ganforge.data.decoded_cache import DecodedRows
rows = DecodedRows("killed", 1500, (3, 40, 40))
generator = torch.Generator()
for number in range(1500):
    if number == 10:
        print("begun", flush=True)
    time.sleep(0.001 if number < 1400 else 600)  # not all of them before the kill comes
    rows.write(number, torch.randint(256, (3, 40, 40), dtype=torch.uint8,
                                     generator=generator.manual_seed(number)))
"""


def test_a_kill_in_the_middle_leaves_only_whole_rows():
    writer = subprocess.Popen([sys.executable, "-c", WRITER], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline() == "begun\n"
    time.sleep(0.1)
    writer.kill()
    writer.communicate()
    rows = DecodedRows("killed", 1500, SHAPE)
    there = [(number, rows.read(number)) for number in range(1500)]
    whole = [(number, found) for number, found in there if found is not None]
    assert 0 < len(whole) < 1500
    assert all(torch.equal(found, row(number)) for number, found in whole)


@pytest.mark.parametrize("keep_bytes", [0, 10**9])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_second_run_decodes_nothing_and_sees_the_same(keep_bytes, workers):
    plain = Feed(Numbered(16, side=6), ("image", "mask"), batch=8, draws=Draws(0), device=CPU)
    first = feed(Kept(16, side=6), keep_bytes=keep_bytes, workers=workers)
    second_data = Kept(16, side=6)
    for number, data in enumerate((first, None)):
        data = data or feed(second_data, keep_bytes=keep_bytes, workers=workers, channels_last=True)
        for update in range(6):
            data.follow(update)
            batch, wanted = data.batch(update), plain.batch(update)
            assert all(torch.equal(batch[name], wanted[name]) for name in wanted), number
        data.close()
    assert second_data.read == [0, 0]  # one of each domain, that tells the shape


def test_other_pixels_are_other_rows():
    feed(Kept(16, side=6))
    other = Kept(16, side=6)
    other.pixels = "others"
    feed(other)
    assert len(other.read) == 2 + 32


def test_too_little_room_is_told_before_anything_is_decoded(monkeypatch):
    usage = decoded_cache.shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(decoded_cache.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(DataError, match=r"decoded rows need 0\.0 GB more in .*decoded, where 0\.0"):
        feed(Kept(16, side=6))


def test_data_that_does_not_say_what_it_follows_from_is_not_kept():
    with pytest.raises(DataError, match="Numbered has no `fingerprint`"):
        feed(Numbered(16))
