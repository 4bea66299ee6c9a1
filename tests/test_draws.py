"""Draws are functions of their address."""

import numpy as np
import pytest
import torch

from ganforge.interfaces.draws import Draw, Draws


def test_the_same_address_draws_the_same_and_another_does_not():
    draws = Draws(7)
    first = draws.generator("noise", "main", 3).standard_normal(8)
    again = draws.generator("noise", "main", 3).standard_normal(8)
    other = draws.generator("noise", "main", 4).standard_normal(8)
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_another_seed_draws_something_else():
    one = Draws(0).generator("noise").standard_normal(8)
    two = Draws(1).generator("noise").standard_normal(8)
    assert not np.allclose(one, two)


def test_seeds_that_differ_only_above_32_bits_differ():
    one = Draws(5).generator("noise").standard_normal(8)
    two = Draws(5 + 2**32).generator("noise").standard_normal(8)
    assert not np.allclose(one, two)


def test_a_draw_of_some_rows_is_the_cut_of_the_whole_batch():
    def draw(rows: slice) -> Draw:
        return Draw(Draws(0).generator("x", 1), 8, rows, torch.device("cpu"))

    whole = draw(slice(0, 8)).normal(3)
    assert torch.equal(draw(slice(0, 4)).normal(3), whole[:4])
    assert torch.equal(draw(slice(4, 8)).normal(3), whole[4:])


def test_uniform_draws_lie_between_their_bounds_and_fill_them():
    draw = Draw(Draws(0).generator("x"), 4000, slice(None), torch.device("cpu"))
    values = draw.uniform(low=-1.0, high=1.0)
    assert values.min() >= -1 and values.max() < 1
    assert values.mean().abs() < 0.05
    assert values.dtype == torch.float32


def test_integers_are_below_their_bound_and_a_coin_has_its_probability():
    draw = Draw(Draws(0).generator("x"), 4000, slice(None), torch.device("cpu"))
    numbers = draw.integers(10)
    assert numbers.min() == 0 and numbers.max() == 9 and numbers.dtype == torch.int64
    assert draw.coin(0.25).float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_dropout_follows_from_its_address_and_not_from_what_was_drawn_before():
    draws = Draws(0)
    dropout = torch.nn.Dropout(0.5)
    draws.seed_networks("network", "main", 5)
    first = dropout(torch.ones(64))
    torch.rand(100)
    draws.seed_networks("network", "main", 5)
    assert torch.equal(dropout(torch.ones(64)), first)
    draws.seed_networks("network", "main", 6)
    assert not torch.equal(dropout(torch.ones(64)), first)
