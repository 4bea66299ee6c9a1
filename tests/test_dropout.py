import pytest
import torch

from ganforge import Dropout


@pytest.mark.parametrize("share", [0.25, 0.3])  # 8 bits will do for one, 16 for the other
def test_in_training_a_share_is_dropped_and_the_rest_scaled_up(share):
    torch.manual_seed(0)
    out = Dropout(share)(torch.ones(1000, 1001))
    kept = out != 0
    assert out[kept].unique().tolist() == [pytest.approx(1 / (1 - share), rel=1e-4)]
    assert kept.float().mean().item() == pytest.approx(1 - share, abs=0.002)
    for part in range(8):  # each part of a random word
        mean = kept.flatten()[part::8].float().mean().item()
        assert mean == pytest.approx(1 - share, abs=0.006)


def test_elements_are_dropped_independently_of_their_neighbours():
    torch.manual_seed(1)
    kept = (Dropout(0.5)(torch.ones(1_000_000)) != 0).double()
    for lag in range(1, 9):
        together = (kept[lag:] * kept[:-lag]).mean().item()
        assert together == pytest.approx(0.25, abs=0.003)


def test_the_gradient_is_that_of_the_mask():
    torch.manual_seed(2)
    data = torch.randn(7, 13, dtype=torch.float64, requires_grad=True)
    out = Dropout(0.5)(data)
    (gradient,) = torch.autograd.grad(out.sum(), data)
    assert torch.equal(gradient, torch.where(out.detach() != 0, 2.0, 0.0).double())


def test_the_same_seed_drops_the_same_elements():
    draws = []
    for _ in range(2):
        torch.manual_seed(3)
        draws.append(Dropout()(torch.ones(3, 5, 7)))
    assert torch.equal(*draws)


def test_outside_training_and_without_a_share_nothing_happens():
    data = torch.randn(4, 4)
    assert Dropout(0.5).eval()(data) is data
    assert Dropout(0.0)(data) is data


def test_the_layout_and_the_precision_of_the_data_stay():
    data = torch.ones(2, 3, 4, 5, dtype=torch.bfloat16).contiguous(
        memory_format=torch.channels_last
    )
    out = Dropout(0.5)(data)
    assert out.dtype == torch.bfloat16
    assert set(out.unique().tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_outside_zero_and_one_is_refused(share):
    with pytest.raises(ValueError, match="share"):
        Dropout(share)


def test_no_more_bits_are_drawn_than_there_are_elements_to_drop():
    """A byte for each element, since half of them is a whole number of 256ths."""
    torch.manual_seed(0)
    Dropout(0.5)(torch.ones(64))
    after = torch.rand(1)
    torch.manual_seed(0)
    torch.empty(8, dtype=torch.int64).random_(-(2**63), None)
    assert torch.equal(torch.rand(1), after)
