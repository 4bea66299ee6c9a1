"""Rows that are read ahead, by threads or by processes: always the same."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from numbered_rows import Numbered, Stubborn

from ganforge import DataError, Draws
from ganforge.data import row_loader
from ganforge.data.feed import Feed

CPU = torch.device("cpu")
HERE = Path(__file__).parent
ALL = ("image", "label", "mask", "other", "vector")


def feed(dataset, domains=ALL, batch=6, **how) -> Feed:
    return Feed(dataset, domains, batch=batch, draws=Draws(0), device=CPU, flip=True, **how)


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def rows_of(batch):
    return (batch["image"].double() + 1).mul(127.5).round().long()[:, 0, 0, 0].tolist()


def reads(dataset, asked):
    """How often a row was read, once threads had the time to read so many and more."""
    end = time.monotonic() + 120
    while len(dataset.read) < asked and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.05)
    return len(dataset.read)


@pytest.fixture
def streamed():
    feeds = []

    def make(dataset, workers, **how):
        feeds.append(feed(dataset, keep_bytes=0, workers=workers, **how))
        return feeds[-1]

    yield make
    for each in feeds:
        each.close()


# ---------------------------------------------------------------- the same rows


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_rows_are_those_of_data_that_is_held(streamed, workers):
    held = feed(Numbered(40, side=6))
    ahead = streamed(Numbered(40, side=6), workers, channels_last=True)
    for update in range(12):
        ahead.follow(update)
        assert same(ahead.batch(update), held.batch(update))
    assert ahead.streams and ahead.waited > 0 and not held.streams


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_goes_on_at_any_update_with_the_same_rows(streamed, workers):
    held, ahead = feed(Numbered(40, side=6)), streamed(Numbered(40, side=6), workers)
    for first in (0, 7, 23, 22, 24):
        for update in range(first, first + 2):
            ahead.follow(update)
            assert same(ahead.batch(update), held.batch(update))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_shares_of_several_processes_are_the_rows_of_one(streamed, workers, ranks):
    held = feed(Numbered(40, side=6), batch=8)
    shares = [slice(8 * n // ranks, 8 * (n + 1) // ranks) for n in range(ranks)]
    data = [Numbered(40, side=6) for _ in shares]
    feeds = [streamed(each, workers, batch=8) for each in data]
    for update in range(5):
        parts = []
        for one, rows in zip(feeds, shares, strict=True):
            one.follow(update, [rows])
            parts.append(one.batch(update, rows))
        whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        assert same(whole, held.batch(update))
    asked = len(ALL) * (1 + 6 * 8 // ranks)  # a first row, then those of 5 updates and one ahead
    assert workers or all(reads(each, asked) == asked for each in data)


@pytest.mark.parametrize("workers", [0, 1])
def test_parts_of_a_batch_are_decoded_once_and_given_twice(streamed, workers):
    held, dataset = feed(Numbered(40, side=6), batch=8), Numbered(40, side=6)
    ahead = streamed(dataset, workers, batch=8)
    parts = [slice(0, 3), slice(3, 8)]
    for update in range(4):
        ahead.follow(update, parts)
        for rows in (*parts, *parts):  # D's turn, then G's
            assert same(ahead.batch(update, rows), held.batch(update, rows))
    if not workers:
        assert len(dataset.read) <= len(ALL) * (1 + 4 * 8 + 5)  # and at most one part ahead


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_repeats_no_row(streamed, workers):
    ahead = streamed(Numbered(40), workers, batch=7)
    for epoch in range(3):
        seen = []
        for update in range(epoch * 5, epoch * 5 + 5):
            ahead.follow(update)
            seen += rows_of(ahead.batch(update))
        assert len(seen) == len(set(seen)) == 35


def test_what_is_asked_beside_the_run_does_not_disturb_it(streamed):
    held, dataset = feed(Numbered(60, side=6)), Numbered(60, side=6)
    ahead = streamed(dataset, 0)
    for update in range(6):
        ahead.follow(update)
        assert same(ahead.batch(update), held.batch(update))
        assert same(ahead.batch(9), held.batch(9))
    asked = len(ALL) * (1 + 7 * 6 + 6 * 6)
    assert reads(dataset, asked) == asked


def test_turns_that_read_nothing_do_not_start_anew(streamed, monkeypatch):
    held, ahead = feed(Numbered(60, side=6)), streamed(Numbered(60, side=6), 0)
    begun = []
    start = row_loader.Threads.ahead
    monkeypatch.setattr(
        row_loader.Threads, "ahead", lambda self, batches: begun.append(1) or start(self, batches)
    )
    for update in range(20):
        ahead.follow(update)
        if update % 3 == 0:
            assert same(ahead.batch(update), held.batch(update))
    assert len(begun) == 1


@pytest.mark.skipif(os.name == "nt", reason="spawn is the only way there, and tried above")
def test_processes_that_start_anew_give_the_same(streamed, monkeypatch):
    monkeypatch.setattr(row_loader, "START", "spawn")
    held, ahead = feed(Numbered(40, side=6)), streamed(Numbered(40, side=6), 1)
    for update in range(3):
        ahead.follow(update)
        assert same(ahead.batch(update), held.batch(update))


@pytest.mark.parametrize(
    ("room", "processes", "ahead"), [(10**9, 4, 2), (600, 4, 1), (300, 3, 1), (10, 1, 1)]
)
def test_little_shared_memory_means_fewer_workers_and_batches(monkeypatch, room, processes, ahead):
    monkeypatch.setattr(row_loader, "shared_room", lambda: room)
    workers = row_loader.Workers({}, 4, 100)
    assert (workers._count, workers._ahead) == (processes, ahead)
    workers.close()


def test_workers_draw_from_nothing_that_networks_draw_from(streamed):
    before = torch.get_rng_state()
    ahead = streamed(Numbered(40), 1)
    ahead.follow(0)
    ahead.batch(0)
    assert torch.equal(torch.get_rng_state(), before)


def test_paths_are_meant_from_where_the_run_is(streamed, tmp_path, monkeypatch):
    (tmp_path / "here").write_text("7")
    monkeypatch.chdir(tmp_path)
    ahead = streamed(Stubborn("read"), 1, domains=("image",))
    ahead.follow(0)
    assert rows_of(ahead.batch(0)) == [7] * 6


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("workers", [0, 1])
def test_rows_that_cannot_be_read_are_one_line(streamed, workers):
    dataset = Numbered(6)
    dataset.bad = {1, 2, 3, 4, 5}
    ahead = streamed(dataset, workers, domains=("image",))
    ahead.follow(0)
    with pytest.raises(
        DataError, match=r"^5 of 6 images cannot be used: \d\.png is cut off; "
    ) as e:
        ahead.batch(0)
    assert "\n" not in str(e.value)


def test_a_worker_that_dies_is_one_line(streamed):
    ahead = streamed(Stubborn("die"), 1, domains=("image",))
    ahead.follow(0)
    with pytest.raises(
        DataError, match=r"^a process that decodes data ended \(DataLoader wor"
    ) as e:
        ahead.batch(0)
    assert "\n" not in str(e.value) and "`train.workers`" in str(e.value)


def test_data_that_cannot_be_handed_over_is_one_line(streamed):
    dataset = Numbered(40)
    dataset.local = lambda: None
    ahead = streamed(dataset, 1)
    ahead.follow(0)
    with pytest.raises(DataError, match=r"cannot be handed to worker processes \(.*workers = 0`"):
        ahead.batch(0)


def test_a_mistake_in_the_dataset_keeps_its_traceback(streamed):
    ahead = streamed(Stubborn("mistake"), 1, domains=("image",))
    ahead.follow(0)
    with pytest.raises(RuntimeError, match=r"(?s)Traceback.*my own mistake"):
        ahead.batch(0)


# ---------------------------------------------------------------- ends


PARENT = """
import sys, time
import torch
from numbered_rows import Numbered
from ganforge import Draws
from ganforge.data.feed import Feed

if __name__ == "__main__":
    feed = Feed(Numbered(200), ("image",), batch=8, draws=Draws(0), device=torch.device("cpu"),
                keep_bytes=0, workers=2)
    for update in range(10):
        feed.follow(update)
        feed.batch(update)
    print("reading", flush=True)
    if sys.argv[1] == "on":
        for update in range(10, 10_000):
            feed.follow(update)
            feed.batch(update)
            time.sleep(0.01)
"""


def processes_of(session):
    """Processes of a session that have not ended."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(stat.parent.name))
    return found


def parent(tmp_path, how):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    return subprocess.Popen(
        [sys.executable, str(script), how],
        env={**os.environ, "PYTHONPATH": str(HERE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Where these tests run in a shell's background, SIGINT is ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def gone(session, seconds):
    end = time.monotonic() + seconds
    while processes_of(session) and time.monotonic() < end:
        time.sleep(0.05)
    return not processes_of(session)


linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@linux
@pytest.mark.parametrize("how", ["killed", "ended", "interrupted"])
def test_no_worker_outlives_the_run(tmp_path, how):
    process = parent(tmp_path, "end" if how == "ended" else "on")
    assert process.stdout.readline() == "reading\n"
    if how == "killed":
        others = set(processes_of(process.pid)) - {process.pid}
        assert len(others) >= 3  # two workers and the server that forked them
        for pid in others:  # as Ctrl-C and SIGTERM may go to all processes of a group
            os.kill(pid, signal.SIGINT)
        time.sleep(0.5)
        assert others <= set(processes_of(process.pid)) and process.poll() is None
        process.kill()
    elif how == "interrupted":
        process.send_signal(signal.SIGINT)
    try:
        process.wait(120)
        assert gone(process.pid, 120)
    finally:
        for pid in processes_of(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


def test_a_feed_that_is_closed_has_no_workers(streamed):
    import multiprocessing

    ahead = streamed(Numbered(40), 2)
    ahead.follow(0)
    ahead.batch(0)
    assert len(multiprocessing.active_children()) == 2
    ahead.close()
    assert not multiprocessing.active_children()


def test_left_out_workers_are_the_cores_that_a_process_has_to_itself_less_one(monkeypatch):
    monkeypatch.setattr(row_loader, "_cores", lambda: 64)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert row_loader.workers_here(torch.device("cpu")) == 0
    assert row_loader.workers_here(torch.device("cuda", 0)) == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "16")
    assert row_loader.workers_here(torch.device("cuda", 3)) == 3
    monkeypatch.setattr(row_loader, "_cores", lambda: 1)
    assert row_loader.workers_here(torch.device("cuda")) == 1
