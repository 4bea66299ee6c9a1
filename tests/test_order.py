"""Which rows an update has."""

import numpy as np
import pytest
import torch

from ganforge import Draws
from ganforge.data.sampler import Order, Shuffled


def epoch_of(order, epoch, per_epoch):
    return torch.cat([order(epoch * per_epoch + place) for place in range(per_epoch)]).tolist()


@pytest.mark.parametrize("large", [10**9, 0], ids=["drawn", "by index"])
def test_an_epoch_has_every_row_once_in_an_order_of_its_own(large):
    order = Order(1000, 100, Draws(0), "image", large=large)
    epochs = [epoch_of(order, epoch, 10) for epoch in range(5)]
    assert all(sorted(epoch) == list(range(1000)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 5


@pytest.mark.parametrize("large", [10**9, 0], ids=["drawn", "by index"])
def test_an_update_has_its_rows_whatever_was_asked_before(large):
    visited = Order(1000, 64, Draws(0), "image", large=large)
    for update in (0, 900, 3, 17, 16):
        visited(update)
    for update in (0, 15, 16, 900):
        alone = Order(1000, 64, Draws(0), "image", large=large)
        assert torch.equal(visited(update), alone(update))
    other = Order(1000, 64, Draws(1), "image", large=large)
    assert not torch.equal(visited(3), other(3))


@pytest.mark.parametrize("large", [10**9, 0], ids=["drawn", "by index"])
def test_fewer_rows_than_a_batch_go_round(large):
    order = Order(7, 20, Draws(0), "image", large=large)
    seen = torch.cat([order(update) for update in range(7)]).tolist()
    for start in range(0, 140, 7):
        assert sorted(seen[start : start + 7]) == list(range(7))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 16, 17, 1000, 65_536, 65_537])
def test_an_order_by_index_is_a_permutation(count):
    keys = np.random.default_rng(count).integers(2**64, size=8, dtype=np.uint64)
    rows = Shuffled(count, keys)[0:count]
    assert rows.dtype == torch.int64
    assert torch.equal(rows.sort().values, torch.arange(count))


def test_an_order_by_index_is_as_random_as_a_drawn_one():
    """Correlations of neighbours, and of rows with their places, vanish as 1 / sqrt(count)."""
    count, found = 20_000, []
    for seed in range(20):
        keys = np.random.default_rng(seed).integers(2**64, size=8, dtype=np.uint64)
        rows = Shuffled(count, keys)[0:count].double()
        neighbours = torch.corrcoef(torch.stack([rows[1:], rows[:-1]]))[0, 1]
        places = torch.corrcoef(torch.stack([rows, torch.arange(count).double()]))[0, 1]
        found += [float(neighbours), float(places)]
    assert np.abs(found).max() < 4 / np.sqrt(count)
    first = torch.stack([Shuffled(10, _keys(seed))[0:1] for seed in range(2000)]).flatten()
    counts = torch.bincount(first, minlength=10)
    assert ((counts - 200) ** 2 / 200).sum() < 27.9  # chi-square of 9 degrees at 0.1 %


def _keys(seed):
    return np.random.default_rng(seed).integers(2**64, size=8, dtype=np.uint64)


def test_of_billions_of_rows_a_batch_is_a_matter_of_microseconds():
    order = Order(3_000_000_000, 64, Draws(0), "image")
    rows = order(40_000_000)
    assert len(set(rows.tolist())) == 64 and int(rows.max()) < 3_000_000_000
