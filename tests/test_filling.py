"""Rows that take long to make: training begins before all are there."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from numbered_rows import Numbered

from ganforge import DataError, Draws
from ganforge.feed import Feed


class Painted(Numbered):
    """Rows that the thread in the background makes when it is let to."""

    costly = True

    def __init__(self, *arguments, **named):
        super().__init__(*arguments, **named)
        self.let = threading.Event()
        self.made: list[int] = []

    def item(self, split, domain, index):
        if threading.current_thread().name == "fill":
            assert self.let.wait(60)
        if domain == "image":
            self.made.append(index)
        return super().item(split, domain, index)


def feed(dataset, batch=3):
    domains = ("image", "label")
    return Feed(dataset, domains, batch=batch, draws=Draws(0), device=torch.device("cpu"))


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_batch_needs_no_other_rows_and_is_what_it_would_be_were_all_there():
    painted = Painted()
    some, whole = feed(painted), feed(Numbered())
    assert same(some.batch(0), whole.batch(0))
    assert 0 < len(set(painted.made)) <= 4 < painted.count("train", "image")
    assert some.held_bytes == whole.held_bytes > some.absent_bytes > 0
    painted.let.set()
    some.settle()
    assert some.absent_bytes == 0
    made = len(painted.made)
    assert all(same(some.batch(update), whole.batch(update)) for update in range(5))
    assert len(painted.made) == made


def test_closing_ends_the_thread():
    painted = Painted()
    some = feed(painted)
    some.close()
    painted.let.set()
    some.settle()
    assert some.absent_bytes > 0


def test_what_cannot_be_read_is_told_when_it_is_needed():
    class Torn(Painted):
        def item(self, split, domain, index):
            if index == 2 and domain == "image":
                raise DataError("row 2 is torn")
            return super().item(split, domain, index)

    painted = Torn()
    some = feed(painted)
    painted.let.set()
    with pytest.raises(DataError, match="row 2 is torn"):
        for update in range(painted.count("train", "image") // 3 + 1):
            some.batch(update)


def test_a_feed_that_nobody_holds_stops_reading():
    painted = Painted()
    some = feed(painted)
    stopped = some._filling._stopped
    del some
    deadline = time.monotonic() + 10
    while not stopped.is_set() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stopped.is_set()
    painted.let.set()
