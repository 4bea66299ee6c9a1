"""Batches of real data."""

import time

import pytest
import torch
from numbered_rows import Numbered

from ganforge import DataError, Draws
from ganforge.data.feed import Feed, held_out_rows, held_out_split

CPU = torch.device("cpu")


def feed(dataset=None, domains=("image", "label"), batch=3, seed=0, **how) -> Feed:
    return Feed(
        dataset if dataset is not None else Numbered(),
        domains,
        batch=batch,
        draws=Draws(seed),
        device=CPU,
        **how,
    )


def pixels(images):
    """The bytes that floats in [-1, 1] came from."""
    return (images.double() + 1).mul(127.5).round().long()


def row_numbers(batch, domain="image"):
    return pixels(batch[domain])[:, 0, 0, 0].tolist()


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


# ---------------------------------------------------------------- values


def test_images_are_floats_in_range_and_labels_int64():
    dataset = Numbered(count=256)
    batch = feed(dataset, ("image", "label", "vector"), batch=256).batch(0)
    assert batch["image"].dtype == torch.float32 and batch["image"].shape == (256, 3, 4, 4)
    assert batch["image"].min() == -1 and batch["image"].max() == 1
    assert batch["label"].dtype == torch.int64 and batch["label"].shape == (256,)
    assert batch["vector"].dtype == torch.float32 and batch["vector"].shape == (256, 2)
    assert sorted(row_numbers(batch)) == list(range(256))


def test_rows_of_aligned_domains_belong_together():
    batch = feed(domains=("label", "vector", "image")).batch(5)
    numbers = torch.tensor(row_numbers(batch))
    assert torch.equal(batch["label"], numbers)
    assert torch.equal(batch["vector"][:, 0].long(), numbers)


@pytest.mark.parametrize("channels_last", [False, True])
def test_layout_changes_memory_but_no_value(channels_last):
    dataset = Numbered(side=6, flip=True)
    batch = feed(dataset, channels_last=channels_last).batch(1)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    assert batch["image"].is_contiguous(memory_format=layout)
    assert same(batch, feed(dataset).batch(1))


# ---------------------------------------------------------------- order


def test_an_epoch_shows_every_row_once_without_the_incomplete_tail():
    data = feed(Numbered(count=11), batch=3)
    assert data.updates_per_epoch == 3
    epochs = [[n for u in range(3) for n in row_numbers(data.batch(3 * e + u))] for e in range(30)]
    for epoch in epochs:
        assert len(set(epoch)) == 9
    assert len({tuple(epoch) for epoch in epochs}) == 30  # shuffled anew
    assert {n for epoch in epochs for n in epoch} == set(range(11))  # the tail is another each time


def test_a_batch_depends_on_seed_and_update_alone():
    dataset = Numbered(side=6, flip=True)
    visited = feed(dataset)
    for update in (0, 9, 3, 4, 100):
        visited.batch(update)
    assert same(visited.batch(7), feed(dataset).batch(7))
    assert not same(feed(dataset, seed=1).batch(7), feed(dataset).batch(7))
    assert not same(feed(dataset).batch(8), feed(dataset).batch(7))


def test_the_domains_asked_for_change_no_order():
    alone, among = feed(domains=("image",)), feed(domains=("other", "image", "label"))
    for update in range(6):
        assert torch.equal(alone.batch(update)["image"], among.batch(update)["image"])


def test_domains_that_are_not_aligned_are_shuffled_apart():
    data = feed(Numbered(count=20, others=20), ("image", "other"), batch=20)
    batch = data.batch(0)
    assert row_numbers(batch) != row_numbers(batch, "other")


def test_a_group_smaller_than_the_batch_goes_round_evenly():
    data = feed(Numbered(count=20, others=7), ("image", "other"), batch=10)
    assert data.updates_per_epoch == 2
    assert data.count("other") == 7
    seen = [n for update in range(7) for n in row_numbers(data.batch(update), "other")]
    assert [seen.count(n) for n in range(7)] == [10] * 7
    for start in range(0, 70, 7):
        assert sorted(seen[start : start + 7]) == list(range(7))
    one = feed(Numbered(count=2), batch=5)
    assert one.updates_per_epoch == 1
    assert set(row_numbers(one.batch(0))) == {0, 1}


def test_parts_of_a_batch_are_cut_from_the_whole():
    for keep in (10**9, 0):
        data = feed(Numbered(count=40, side=8, flip=True), batch=12, keep_bytes=keep)
        for update in range(5):
            whole = data.batch(update)
            for rows in (slice(0, 4), slice(4, 12), slice(6, None)):
                part = data.batch(update, rows)
                assert same(part, {name: value[rows] for name, value in whole.items()})
        data.close()


# ---------------------------------------------------------------- flip and crop


def columns(images):
    """The columns that the second channel of `image` shows, [N, width]."""
    return pixels(images)[:, 1 if images.shape[1] > 1 else 0, 0]


def test_half_of_the_rows_are_flipped_and_each_update_draws_anew():
    dataset = Numbered(count=400)
    drawn = columns(feed(dataset, batch=400, flip=True).batch(0)["image"])
    upright, flipped = torch.arange(4), torch.arange(3, -1, -1)
    turned = (drawn == flipped).all(1)
    assert (turned | (drawn == upright).all(1)).all()
    assert 150 < int(turned.sum()) < 250
    again = columns(feed(dataset, batch=400, flip=True).batch(1)["image"])
    assert not torch.equal(turned, (again == flipped).all(1))
    assert (columns(feed(dataset, batch=400).batch(0)["image"]) == upright).all()


def test_the_dataset_says_whether_to_flip_if_nobody_else_does():
    flipped = feed(Numbered(flip=True), batch=10).batch(0)
    assert same(flipped, feed(Numbered(), batch=10, flip=True).batch(0))
    assert not same(flipped, feed(Numbered(flip=True), batch=10, flip=False).batch(0))


def test_crops_reach_every_place_and_are_shared_by_aligned_domains():
    data = feed(Numbered(count=300, side=7), ("image", "mask"), batch=300, flip=True)
    batch = data.batch(0)
    assert torch.equal(columns(batch["image"]), columns(batch["mask"]))
    assert set(columns(batch["image"]).min(1).values.tolist()) == {0, 1, 2, 3}
    width = columns(batch["image"]).max(1).values - columns(batch["image"]).min(1).values
    assert (width == 3).all()


# ---------------------------------------------------------------- keeping and decoding


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("count", [2, 10, 40])
def test_data_decoded_on_demand_has_the_values_of_data_kept(count, channels_last):
    domains = ("image", "label", "mask", "other", "vector")
    how = {"flip": True, "channels_last": channels_last, "batch": 6}
    kept = feed(Numbered(count, side=6), domains, **how)
    demanded = feed(Numbered(count, side=6), domains, keep_bytes=100, **how)
    at_once = feed(Numbered(count, side=6, at_once=True), domains, **how)
    for update in (0, 1, 2, 3, 17, 4, 5):
        batch = kept.batch(update)
        assert same(batch, demanded.batch(update))
        assert same(batch, at_once.batch(update))
    demanded.close()


def test_data_that_fits_is_read_once():
    dataset = Numbered(count=50)
    data = feed(dataset, ("image",), keep_bytes=50 * 48)
    for update in range(40):
        data.batch(update)
    assert sorted(dataset.read) == [0, *range(50)]  # the first row tells the shape
    assert not dataset.verified


def test_larger_data_is_checked_first_and_decoded_one_update_ahead():
    dataset = Numbered(count=50)
    data = feed(dataset, ("image",), keep_bytes=50 * 48 - 1)
    assert dataset.verified and dataset.read == [0]
    data.follow(0)
    data.batch(0)
    following = set(row_numbers(feed(Numbered(count=50), ("image",)).batch(1)))
    end = time.monotonic() + 120
    while not following <= set(dataset.read) and time.monotonic() < end:
        time.sleep(0.01)
    assert following <= set(dataset.read) and len(dataset.read) == 1 + 3 + 3
    data.close()


def test_progress_is_told_while_data_is_decoded():
    told = []
    feed(Numbered(count=100), ("image", "other"), on_progress=lambda *now: told.append(now))
    assert told[-1] == (107, 107)
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(told) > 2


def test_every_row_that_cannot_be_read_is_told_before_training():
    dataset = Numbered(count=100)
    dataset.bad = {3, 50, 51, 99}
    with pytest.raises(DataError, match=r"4 of 100 images cannot be used: 3\.png is cut off; 50.*"):
        feed(dataset, ("image",))
    dataset.bad = {0, 1}
    with pytest.raises(DataError, match=r"2 of 100 images cannot be used: 0\.png is cut off; 1"):
        feed(dataset, ("image",))
    dataset.bad = set(range(100))
    with pytest.raises(DataError, match=r"100 of 100 images cannot be used"):
        feed(dataset, ("image",))
    dataset.bad = {50}
    with pytest.raises(DataError, match=r"^50\.png is cut off$"):
        feed(dataset, ("image",))


def test_a_row_that_breaks_later_is_told_when_it_is_needed():
    dataset = Numbered(count=6)
    data = feed(dataset, ("image",), keep_bytes=0)
    dataset.bad = set(range(6))
    with pytest.raises(DataError, match="is cut off"):
        for update in range(3):
            data.batch(update)
    data.close()


def test_rows_of_another_shape_are_refused():
    class Uneven(Numbered):
        def item(self, split, domain, index):
            return (
                super().item(split, domain, index)[:1]
                if index == 5
                else super().item(split, domain, index)
            )

    with pytest.raises(DataError, match=r"row 5 of 'image' has the shape \(1, 4, 4\)"):
        feed(Uneven(), ("image",))
    with pytest.raises(DataError, match=r"images of 'image' are \(3, 3, 3\), not \(3, 4, 4\)"):
        feed(Numbered(side=3), ("image",))


def test_a_domain_without_rows_is_refused():
    with pytest.raises(DataError, match="no rows of 'other' in its split 'train'"):
        feed(Numbered(others=0), ("image", "other"))


# ---------------------------------------------------------------- held out


@pytest.mark.parametrize("at_once", [False, True])
def test_held_out_rows_come_in_order_whole_and_never_flipped(at_once):
    dataset = Numbered(side=6, flip=True, at_once=at_once)
    assert held_out_split(dataset) == "test"
    images = held_out_rows(dataset, "image", range(3))
    assert images.shape == (3, 3, 4, 4)
    assert pixels(images)[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert (columns(images) == torch.tensor([0, 2, 3, 5])).all()  # of 0 to 5, at 4 columns
    assert held_out_rows(dataset, "label", [0, 2, 4, 6]).tolist() == [0, 2, 0, 2]  # 4 rows


def test_where_nothing_is_held_out_training_rows_stand_in():
    dataset = Numbered(test=0)
    assert held_out_split(dataset) == "train"
    assert pixels(held_out_rows(dataset, "image", range(2)))[:, 0, 0, 0].tolist() == [0, 1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("where", ["on the device", "in host memory", "on demand"])
def test_an_accelerator_gets_the_same_batches(where, monkeypatch):
    if where == "in host memory":
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (0, 0))
    cuda = Feed(
        Numbered(count=40, side=6, flip=True),
        ("image", "label"),
        batch=8,
        draws=Draws(0),
        device=torch.device("cuda"),
        channels_last=True,
        keep_bytes=0 if where == "on demand" else 10**9,
    )
    cpu = feed(Numbered(count=40, side=6, flip=True), batch=8)
    for update in range(6):
        batch, wanted = cuda.batch(update), cpu.batch(update)
        assert batch["image"].is_cuda and batch["label"].is_cuda
        assert torch.allclose(batch["image"].cpu(), wanted["image"], atol=1e-6)
        assert torch.equal(batch["label"].cpu(), wanted["label"])
    assert cuda.held_out("image", 2).is_cuda
    cuda.close()


def test_images_that_are_not_bytes_are_refused_since_they_would_be_read_as_black():
    class Floats(Numbered):
        def item(self, split, domain, index):
            return super().item(split, domain, index).float()

    with pytest.raises(DataError, match=r"images of 'image' are float32 \[3, 4, 4\], not uint8"):
        feed(Floats(), ["image"])
