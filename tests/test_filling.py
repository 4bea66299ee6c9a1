"""Rows that take long to make: training begins before all are there."""

from __future__ import annotations

import pytest
import torch
from numbered_rows import Numbered

from ganforge import DataError, Draws
from ganforge.data.feed import Feed


class Painted(Numbered):
    costly = True


def feed(dataset, batch=3):
    domains = ("image", "label")
    return Feed(dataset, domains, batch=batch, draws=Draws(0), device=torch.device("cpu"))


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_batch_needs_no_other_rows_and_is_what_it_would_be_were_all_there():
    painted = Painted()
    some, whole = feed(painted), feed(Numbered())
    assert same(some.batch(0), whole.batch(0))
    assert len(painted.read) <= 2 * 4  # three rows, and the first, whose shape all others have
    assert some.held_bytes == whole.held_bytes > some.absent_bytes > 0
    assert all(same(some.batch(update), whole.batch(update)) for update in range(7))


def test_each_row_is_made_once():
    painted = Painted()
    some = feed(painted)
    some.settle()
    assert some.absent_bytes == 0
    made = len(painted.read)
    assert made == 2 * painted.count("train", "image") + 2
    for update in range(7):
        some.batch(update)
    assert len(painted.read) == made


def test_what_cannot_be_read_is_told_when_it_is_needed():
    painted = Painted()
    painted.bad = {7}
    some = feed(painted)
    with pytest.raises(DataError, match=r"7\.png is cut off"):
        for update in range(4):
            some.batch(update)
