"""Batches of real data: a function of (seed, update), whichever process or part asks for them.

A dataset is read by index. Up to `keep_bytes` it is decoded once and held as uint8; a larger one
is decoded as it is needed, one update ahead, with the same values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import torch
from attrs import frozen
from torch import Tensor

from ganforge.draws import Draw, Draws
from ganforge.errors import DataError
from ganforge.images import THREADS, one_line
from ganforge.interfaces import Dataset
from ganforge.specs import ImageSpec

Progress = Callable[[int, int], None]
R = TypeVar("R")
_CPU = torch.device("cpu")


def held_out_split(dataset: Dataset) -> str:
    """The split for looking and measuring: "test", or "train" where not all domains have one."""
    held = all(dataset.count("test", name) for name in dataset.description.domains)
    return "test" if held else "train"


def held_out_rows(dataset: Dataset, domain: str, rows: Iterable[int]) -> Tensor:
    """Rows of the held-out split; numbers beyond its end begin again at its start.

    Images float32 [N, C, H, W] in [-1, 1], cropped at the centre and never flipped; other data as
    the dataset has it. Where nothing is held out they are rows of the training set.
    """
    split = held_out_split(dataset)
    count = dataset.count(split, domain)
    return read_rows(dataset, split, domain, [number % count for number in rows])


def read_rows(dataset: Dataset, split: str, domain: str, rows: Sequence[int]) -> Tensor:
    """Rows of a split as `held_out_rows` gives them."""
    with ThreadPoolExecutor(THREADS) as pool:
        items = torch.stack([*pool.map(partial(dataset.item, split, domain), rows)])
    spec = dataset.description.domains[domain]
    if not isinstance(spec, ImageSpec):
        return items
    top, left = (items.shape[2] - spec.height) // 2, (items.shape[3] - spec.width) // 2
    return _to_float(items[:, :, top : top + spec.height, left : left + spec.width])


@frozen
class _Group:
    """Domains whose rows belong together, so that they share order, crop and flip."""

    name: str  # the address of its draws; all domains of the group, asked for or not
    domains: tuple[str, ...]  # those asked for
    rows: int


class Feed:
    """The rows of one split, shuffled anew each epoch, batched, cropped and flipped.

    domains: which to deliver. batch: rows of the whole batch, over all ranks and parts.
    flip: turn each image left to right with probability 1/2; unset: as the dataset's `flip` says.
    Images that are stored larger than their spec are cropped at random. Both are drawn per row
    and shared by aligned domains.
    channels_last: memory layout of the images. keep_bytes: up to this much data is held decoded.
    on_progress: called with (decoded, to decode) while the data is decoded.
    Raises DataError for rows that cannot be read, and where a domain has none.
    """

    def __init__(
        self,
        dataset: Dataset,
        domains: Collection[str],
        *,
        batch: int,
        draws: Draws,
        device: torch.device,
        flip: bool | None = None,
        channels_last: bool = False,
        split: str = "train",
        keep_bytes: int = 1_000_000_000,
        on_progress: Progress | None = None,
    ) -> None:
        self._dataset = dataset
        self._batch = batch
        self._draws = draws
        self._device = device
        self._flip = dataset.image.flip if flip is None else flip
        self._channels_last = channels_last
        self._split = split
        self._specs = {name: dataset.description.domains[name] for name in domains}
        self._counts = {name: self._counted(name) for name in domains}
        self._groups = self._grouped()
        self._orders: dict[tuple[str, int], Tensor] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._stores = self._stored(keep_bytes, on_progress or (lambda done, total: None))

    def batch(self, update: int, rows: slice = slice(None)) -> dict[str, Tensor]:
        """The batch of an update (counted from 0), or these rows of it, on the device.

        Images float32 [N, C, H, W] in [-1, 1], labels int64 [N], other data as the dataset has it.
        """
        batch = {}
        for group in self._groups:
            index = self._order(group, update)[rows]
            for name in group.domains:
                taken = self._stores[name].take(index)
                if isinstance(self._specs[name], ImageSpec):
                    taken = self._as_images(name, group, taken, update, rows)
                batch[name] = taken.to(self._device, non_blocking=True)
                store = self._stores[name]
                if isinstance(store, _Decoded):
                    store.expect(self._order(group, update + 1)[rows])
        return batch

    def count(self, domain: str) -> int:
        """Rows of this domain in the feed's split."""
        return self._counts[domain]

    @property
    def held_bytes(self) -> int:
        """Bytes of data that are held decoded; 0 where rows are decoded as they are taken."""
        return sum(s.nbytes for s in self._stores.values() if isinstance(s, _Kept))

    @property
    def updates_per_epoch(self) -> int:
        """Updates until every row of the largest group was seen once; an incomplete tail is left
        out."""
        return max(max(1, group.rows // self._batch) for group in self._groups)

    @property
    def dataset(self) -> Dataset:
        """Where the rows come from."""
        return self._dataset

    def close(self) -> None:
        """Stop decoding ahead."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------ which rows

    def _counted(self, name: str) -> int:
        count = self._dataset.count(self._split, name)
        if count == 0:
            raise DataError(f"the dataset has no rows of '{name}' in its split '{self._split}'")
        return count

    def _grouped(self) -> list[_Group]:
        description = self._dataset.description
        members: dict[tuple[str, ...], list[str]] = {}
        for name in self._specs:
            members.setdefault(description.group(name), []).append(name)
        groups = []
        for group, names in members.items():
            counts = {name: self._counts[name] for name in names}
            if len(set(counts.values())) > 1:
                raise DataError(f"aligned domains must have equally many rows, not {counts}")
            groups.append(_Group("+".join(group), tuple(names), self._counts[names[0]]))
        return groups

    def _order(self, group: _Group, update: int) -> Tensor:
        """Row numbers of an update, int64 [batch].

        Groups smaller than the batch go round: every row comes once before any comes again.
        """
        if group.rows >= self._batch:
            epoch, place = divmod(update, group.rows // self._batch)
            return self._permutation(group, epoch)[place * self._batch :][: self._batch]
        first, end = update * self._batch, (update + 1) * self._batch
        epochs = range(first // group.rows, (end - 1) // group.rows + 1)
        orders = torch.cat([self._permutation(group, epoch) for epoch in epochs])
        return orders[first % group.rows :][: self._batch]

    def _permutation(self, group: _Group, epoch: int) -> Tensor:
        address = (group.name, epoch)
        if address not in self._orders:
            if len(self._orders) > 2 * len(self._groups):
                del self._orders[next(iter(self._orders))]  # the one made first
            self._orders[address] = self._draws.permutation(group.rows, "order", group.name, epoch)
        return self._orders[address]

    # ------------------------------------------------------------ what they become

    def _as_images(
        self, name: str, group: _Group, stored: Tensor, update: int, rows: slice
    ) -> Tensor:
        """Stored rows, uint8 [N, C, H, W] or [N, H, W, C] -> float [N, C, h, w] in [-1, 1]."""
        spec = self._specs[name]
        assert isinstance(spec, ImageSpec)
        down, across = (1, 2) if self._channels_last else (2, 3)
        extra = stored.shape[down] - spec.height, stored.shape[across] - spec.width
        if any(extra):
            drawn = self._draw("crop", group, update, rows).uniform(2)  # [N, 2] in [0, 1)
            room = torch.tensor(extra)
            place = (drawn * (room + 1)).long().minimum(room).to(stored.device)
            windows = stored.unfold(down, spec.height, 1).unfold(across, spec.width, 1)
            windows = windows.permute(
                (0, 1, 2, 4, 5, 3) if self._channels_last else (0, 2, 3, 1, 4, 5)
            )
            each = torch.arange(len(stored), device=stored.device)
            stored = windows[each, place[:, 0], place[:, 1]]
        if self._flip:
            coin = self._draw("flip", group, update, rows).coin()
            turned = coin.nonzero().squeeze(1).to(stored.device)
            stored[turned] = stored[turned].flip(across)
        if stored.device != self._device and self._device.type == "cuda":
            stored = stored.pin_memory()
        images = _to_float(stored.to(self._device, non_blocking=True))
        return images.permute(0, 3, 1, 2) if self._channels_last else images

    def _draw(self, purpose: str, group: _Group, update: int, rows: slice) -> Draw:
        generator = self._draws.generator(purpose, group.name, update)
        return Draw(generator, self._batch, rows, _CPU)

    # ------------------------------------------------------------ where they lie

    def _stored(self, keep_bytes: int, on_progress: Progress) -> dict[str, _Kept | _Decoded]:
        firsts = {name: self._first(name) for name in self._specs}
        sizes = {name: firsts[name].nbytes * self._counts[name] for name in firsts}
        if sum(sizes.values()) <= keep_bytes:
            kept = self._decoded(firsts, on_progress)
            return {name: _Kept(self._placed(rows)) for name, rows in kept.items()}
        self._dataset.verify()
        pool = self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decode")
        return {name: _Decoded(self._reader(name, first), pool) for name, first in firsts.items()}

    def _first(self, name: str) -> Tensor:
        """The first row that can be read, whose shape and type all others must have."""
        item = self._first_readable(name)
        spec = self._specs[name]
        if isinstance(spec, ImageSpec):
            if item.dtype != torch.uint8 or item.dim() != 3:
                found = f"{str(item.dtype).removeprefix('torch.')} {list(item.shape)}"
                raise DataError(
                    f"images of '{name}' are {found}, not uint8 [channels, height, width]"
                )
            channels, height, width = item.shape
            if channels != spec.channels or height < spec.height or width < spec.width:
                raise DataError(f"images of '{name}' are {tuple(item.shape)}, not {spec.shape}")
        elif item.shape != spec.shape:
            raise DataError(f"rows of '{name}' are {tuple(item.shape)}, not {spec.shape}")
        return item

    def _first_readable(self, name: str) -> Tensor:
        faults = []
        for index in range(self._counts[name]):
            try:
                return self._dataset.item(self._split, name, index)
            except DataError as error:  # told together with all others when they are decoded
                faults.append(str(error))
        raise DataError(one_line(list(dict.fromkeys(faults)), self._counts[name]))

    def _reader(self, name: str, first: Tensor) -> Callable[[int], Tensor]:
        """Reads a row as it is stored, its shape checked."""

        def read(index: int) -> Tensor:
            item = self._dataset.item(self._split, name, index)
            if item.shape != first.shape:
                shapes = f"{tuple(item.shape)}, the first {tuple(first.shape)}"
                raise DataError(f"row {index} of '{name}' has the shape {shapes}")
            return item.permute(1, 2, 0) if self._swaps(name) else item

        return read

    def _swaps(self, name: str) -> bool:
        """Whether rows are stored with channels last."""
        return self._channels_last and isinstance(self._specs[name], ImageSpec)

    def _decoded(self, firsts: dict[str, Tensor], on_progress: Progress) -> dict[str, Tensor]:
        """Every row of every domain, as it is stored. Raises one DataError for all bad rows."""
        decoded, to_read = {}, []
        for name, first in firsts.items():
            rows = self._dataset.rows(self._split, name)
            if rows is not None:
                decoded[name] = rows.permute(0, 2, 3, 1).contiguous() if self._swaps(name) else rows
                continue
            shape = first.permute(1, 2, 0).shape if self._swaps(name) else first.shape
            decoded[name] = torch.empty((self._counts[name], *shape), dtype=first.dtype)
            read = self._reader(name, first)
            to_read += [
                (read, decoded[name], range(start, min(start + 32, self._counts[name])))
                for start in range(0, self._counts[name], 32)
            ]
        total, done, faults = sum(len(part[2]) for part in to_read), 0, list[str]()
        for count, found in _in_threads(_fill, to_read):
            done += count
            faults += found
            on_progress(done, total)
        if faults:
            raise DataError(one_line(list(dict.fromkeys(faults)), total))
        return decoded

    def _placed(self, rows: Tensor) -> Tensor:
        """On the accelerator where they fill no more than a tenth of what is free there."""
        if self._device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self._device)
            return rows.to(self._device) if rows.nbytes <= free // 10 else rows
        return rows.to(self._device)


class _Kept:
    """All rows in one tensor."""

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows
        self.nbytes = rows.nbytes

    def take(self, index: Tensor) -> Tensor:
        """These rows (int64 [N]), in a tensor of their own."""
        return self._rows.index_select(0, index.to(self._rows.device, non_blocking=True))


class _Decoded:
    """Rows decoded by threads when they are taken, or ahead when they are expected."""

    def __init__(self, read: Callable[[int], Tensor], pool: ThreadPoolExecutor) -> None:
        self._read = read
        self._pool = pool
        self._coming: dict[int, Future[Tensor]] = {}

    def take(self, index: Tensor) -> Tensor:
        """These rows (int64 [N]), in a tensor of their own."""
        self.expect(index)
        numbers = index.tolist()
        rows = torch.stack([self._coming[number].result() for number in numbers])
        for number in set(numbers):
            del self._coming[number]
        return rows

    def expect(self, index: Tensor) -> None:
        """These rows will be taken soon."""
        for number in index.tolist():
            if number not in self._coming:
                self._coming[number] = self._pool.submit(self._read, number)


def _fill(read: Callable[[int], Tensor], rows: Tensor, part: range) -> tuple[int, list[str]]:
    """Read a part into `rows`; how many were tried, and what was wrong with some."""
    faults = []
    for index in part:
        try:
            rows[index] = read(index)
        except DataError as error:
            faults.append(str(error))
    return len(part), faults


def _in_threads(work: Callable[..., R], tasks: Sequence[tuple[Any, ...]]) -> Iterator[R]:
    """Results in the order of the tasks; what is not begun is dropped when the caller stops."""
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decode")
    try:
        yield from (future.result() for future in [pool.submit(work, *task) for task in tasks])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _to_float(images: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1], exactly -1 for 0 and 1 for 255."""
    return (images / 127.5).sub_(1)
