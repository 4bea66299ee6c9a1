"""Batches of real data: a function of (seed, update), whichever process or part asks for them.

A dataset is read by index. Up to `keep_bytes` it is decoded once and held as uint8; a larger one
is streamed: decoded ahead of the updates that are to come, with the same values (reading.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from numbers import Integral
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from ganforge.data.dataset_checks import rows_of, wrong
from ganforge.data.decoded_cache import DecodedRows
from ganforge.data.images import THREADS, fit_images, one_line
from ganforge.data.lazy_rows import LazyRows
from ganforge.data.row_loader import Reader, Rows, Threads, Wanted, Workers, refuse
from ganforge.data.sampler import Order
from ganforge.interfaces.components import Dataset
from ganforge.interfaces.draws import Draw, Draws
from ganforge.interfaces.errors import DataError, PluginError
from ganforge.interfaces.specs import ImageSpec

Progress = Callable[[int, int], None]
_Place = tuple[int, int, int]  # an update, and which rows of it: from, up to
_SKIPPED = 8  # updates that were not asked for, up to which a stream goes on
_CPU = torch.device("cpu")


def held_out_split(dataset: Dataset) -> str:
    """The split for looking and measuring: "test", or "train" where not all domains have one."""
    held = all(dataset.count("test", name) for name in dataset.description.domains)
    return "test" if held else "train"


def held_out_rows(dataset: Dataset, domain: str, rows: Iterable[int]) -> Tensor:
    """Rows of the held-out split; numbers beyond its end begin again at its start.

    Images float32 [N, C, H, W] in [-1, 1], whole and never flipped: `load` and its crop are for
    training. Other data as the dataset has it. Where nothing is held out they are rows of the
    training set.
    """
    split = held_out_split(dataset)
    count = dataset.count(split, domain)
    return read_rows(dataset, split, domain, [number % count for number in rows])


def read_rows(dataset: Dataset, split: str, domain: str, rows: Sequence[int]) -> Tensor:
    """Rows of a split as `held_out_rows` gives them."""
    read = partial(dataset.whole().item, split, domain)
    with ThreadPoolExecutor(THREADS) as pool:
        items = torch.stack([*pool.map(read, rows)])
    spec = dataset.description.domains[domain]
    if not isinstance(spec, ImageSpec):
        return items
    # What a dataset keeps at its loading size, whatever it is asked for, is brought to `size` here.
    how = dataset.image.resampling(domain)
    return _to_float(fit_images(items, spec.height, spec.width, "cover", how))


@frozen
class _Group:
    """Domains whose rows belong together, so that they share order, crop and flip."""

    name: str  # the address of its draws; all domains of the group, asked for or not
    domains: tuple[str, ...]  # those asked for
    order: Order


class Feed:
    """The rows of one split, shuffled anew each epoch, batched, cropped and flipped.

    domains: which to deliver. batch: rows of the whole batch, over all ranks and parts.
    flip: turn each image left to right with probability 1/2; unset: as the dataset's `flip` says.
    Images that are stored larger than their spec are cropped at random. Both are drawn per row
    and shared by aligned domains.
    channels_last: memory layout of the images. keep_bytes: up to this much data is held decoded.
    workers: processes that decode what is not held; 0: threads of this one. cache: keep decoded
    images in a file (decoded.py). Neither changes a value.
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
        workers: int = 0,
        cache: bool = False,
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
        self.waited = 0.0  # seconds that `batch` waited for rows that are not held
        self._window: tuple[float, float] | None = None  # since when, and how much it was then
        self._share = 0.0
        self._held: dict[str, Tensor] = {}
        self._lazy: LazyRows | None = None
        self._source: Threads | Workers | None = None
        self._stream: Generator[Rows, None, None] | None = None
        self._due: Iterator[_Place] = iter(())  # what the stream brings, in this order
        self._next: _Place | None = None
        self._parts: tuple[_Place, ...] = ()  # of the update that is played
        self._played: dict[_Place, Rows] = {}
        self._ahead: dict[_Place, Rows] = {}  # read, and not asked for yet
        self._prepare(keep_bytes, workers, cache, on_progress or (lambda done, total: None))

    def batch(self, update: int, rows: slice = slice(None)) -> dict[str, Tensor]:
        """The batch of an update (counted from 0), or these rows of it, on the device.

        Images float32 [N, C, H, W] in [-1, 1], labels int64 [N], other data as the dataset has it.
        """
        streamed = self._streamed(self._place(update, rows)) if self._source else {}
        batch = {}
        for group in self._groups:
            index = group.order(update)[rows]
            for name in group.domains:
                taken = streamed[name] if name in streamed else self._rows_at(name, index)
                if isinstance(self._specs[name], ImageSpec):
                    taken = self._as_images(name, group, taken, update, rows)
                batch[name] = taken.to(self._device, non_blocking=True)
        return batch

    def follow(self, update: int, parts: Sequence[slice] = (slice(None),)) -> None:
        """From this update on, batches are asked for in turn, in these parts: read them ahead.

        Other batches may be asked for at any time, and are read then.
        """
        if self._source is None:
            return
        places = tuple(self._place(update, rows) for rows in parts)
        if places == self._parts:
            return
        self._parts, self._played = places, {}
        if all(place in self._ahead for place in places):
            return
        if self._next is not None and 0 <= update - self._next[0] <= _SKIPPED:
            return  # it comes already
        self._stop()
        self._due = _onwards(places)
        self._next = next(self._due)
        self._stream = self._source.ahead(self._wanted(place) for place in _onwards(places))

    def read_ahead(self, updates: Iterable[int], parts: Sequence[slice]) -> None:
        """Read what is not held of these updates, and keep it until it is asked for.

        Raises DataError for what cannot be read, before anything is played with the rest.
        """
        if self._source is None:
            return
        wanted = {u: [self._place(u, rows) for rows in parts] for u in updates}
        due = {place for places in wanted.values() for place in places}
        self._ahead = {place: rows for place, rows in self._ahead.items() if place in due}
        for update, places in wanted.items():
            self.follow(update, parts)
            for place in places:
                if place not in self._ahead:
                    self._ahead[place] = self._read(place)

    def count(self, domain: str) -> int:
        """Rows of this domain in the feed's split."""
        return self._counts[domain]

    @property
    def held_bytes(self) -> int:
        """Bytes of data that are held decoded; what is streamed is not among them."""
        return sum(rows.nbytes for rows in self._held.values())

    def settle(self) -> None:
        """Make everything that is held and not there yet, so that no batch has to wait for it."""
        if self._lazy is not None:
            self._lazy.settle()

    @property
    def absent_bytes(self) -> int:
        """Of the held bytes, those of rows that are not there yet."""
        return 0 if self._lazy is None else self._lazy.absent_bytes

    @property
    def streams(self) -> bool:
        """Whether some data is decoded as it is needed, so that a step may have to wait for it."""
        return self._source is not None

    def waiting(self) -> float:
        """Share of the last seconds, at least one, that `batch` waited for rows; 0 at first."""
        now = time.perf_counter()
        if self._window is not None and now - self._window[0] >= 1:
            self._share = (self.waited - self._window[1]) / (now - self._window[0])
            self._window = now, self.waited
        return self._share

    @property
    def updates_per_epoch(self) -> int:
        """Updates until every row of the largest group was seen once; an incomplete tail is left
        out."""
        return max(max(1, group.order.rows // self._batch) for group in self._groups)

    @property
    def dataset(self) -> Dataset:
        """Where the rows come from."""
        return self._dataset

    def close(self) -> None:
        """Read nothing ahead any more, and end the processes that did."""
        self._stop()
        if self._source is not None:
            self._source.close()

    # ------------------------------------------------------------ which rows

    def _counted(self, name: str) -> int:
        count: Any = self._dataset.count(self._split, name)
        if not isinstance(count, Integral) or count < 0:
            raise PluginError(f"the dataset counts {count!r} rows of '{name}': return how many")
        if count == 0:
            raise DataError(f"the dataset has no rows of '{name}' in its split '{self._split}'")
        return int(count)

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
            address = "+".join(group)
            order = Order(counts[names[0]], self._batch, self._draws, address)
            groups.append(_Group(address, tuple(names), order))
        return groups

    def _place(self, update: int, rows: slice) -> _Place:
        start, end, _ = rows.indices(self._batch)
        return update, start, end

    def _wanted(self, place: _Place) -> Wanted:
        """Row numbers of what is not held."""
        update, start, end = place
        wanted: dict[str, list[int]] = {}
        for group in self._groups:
            numbers = group.order(update)[start:end].tolist()
            wanted |= {name: numbers for name in group.domains if name not in self._held}
        return wanted

    # ------------------------------------------------------------ how they come

    def _rows_at(self, name: str, index: Tensor) -> Tensor:
        """Rows that are held (int64 [N]), in a tensor of their own."""
        held = self._held[name]
        if self._lazy is not None and name in self._lazy.rows:
            self._lazy.need(name, index.tolist())
        return held.index_select(0, index.to(held.device, non_blocking=True))

    def _streamed(self, place: _Place) -> Rows:
        """Rows that are not held, in tensors of their own."""
        if place in self._played:
            return {name: played.clone() for name, played in self._played[place].items()}
        rows = self._ahead.pop(place) if place in self._ahead else self._read(place)
        if place in self._parts and len(self._parts) > 1:  # asked for again, in the other's turn
            self._played[place] = {name: played.clone() for name, played in rows.items()}
        return rows

    def _read(self, place: _Place) -> Rows:
        """The same from the stream, where it brings them, else read now."""
        assert self._source is not None
        start = time.perf_counter()
        if place in self._parts and self._next is not None and self._next <= place:
            rows = self._brought(place)
        else:
            rows = self._source.read(self._wanted(place))
        self.waited += time.perf_counter() - start
        if self._window is None and place in self._parts:
            self._window = time.perf_counter(), self.waited  # the first one started processes
        return rows

    def _brought(self, place: _Place) -> Rows:
        """What the stream brings for this place. Turns that played nothing left theirs in it."""
        assert self._stream is not None
        while True:
            rows, brought = next(self._stream), self._next
            self._next = next(self._due)
            if brought == place:
                return rows

    def _stop(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = self._next = None

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

    def _prepare(self, keep_bytes: int, workers: int, cache: bool, on_progress: Progress) -> None:
        """Hold what fits; make ready to stream what does not."""
        firsts = {name: self._first(name) for name in self._specs}
        sizes = {name: firsts[name].nbytes * self._counts[name] for name in firsts}
        whole = sum(sizes.values()) <= keep_bytes
        if not whole:
            self._dataset.verify()
        kept = {name: self._kept(name) for name in firsts if whole or not self._is_image(name)}
        held = {name: rows for name, rows in kept.items() if rows is not None}
        readers = {
            name: self._reader(name, first, cache)
            for name, first in firsts.items()
            if name not in held
        }
        if whole and self._dataset.costly and self._device.type == "cpu":
            self._lazy = LazyRows(readers, self._counts)
            self._held = {**held, **self._lazy.rows}
        elif whole:
            held |= self._decoded(readers, on_progress)
            self._held = {name: self._placed(held[name]) for name in firsts}
        else:
            self._held = {name: self._placed(rows) for name, rows in held.items()}
            a_batch = sum(firsts[name].nbytes for name in readers) * self._batch
            self._source = Workers(readers, workers, a_batch) if workers else Threads(readers)

    def _is_image(self, name: str) -> bool:
        return isinstance(self._specs[name], ImageSpec)

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
                item: Any = self._dataset.item(self._split, name, index)
                if not isinstance(item, Tensor):
                    what = f"{type(item).__name__} for a row of '{name}', no tensor"
                    raise wrong(self._dataset, "item", what)
                return item
            except DataError as error:  # told together with all others when they are decoded
                faults.append(str(error))
        raise DataError(one_line(list(dict.fromkeys(faults)), self._counts[name]))

    def _reader(self, name: str, first: Tensor, cache: bool) -> Reader:
        last = self._channels_last and self._is_image(name)
        kept = self._cache(name, first) if cache and self._is_image(name) else None
        shape = tuple(first.shape)
        return Reader(self._dataset, self._split, name, shape, first.dtype, last, kept)

    def _cache(self, name: str, first: Tensor) -> DecodedRows:
        fingerprint = self._dataset.fingerprint(self._split, name)
        if fingerprint is None:
            raise DataError(
                f"{type(self._dataset).__name__} has no `fingerprint`, so its decoded images "
                "cannot be "
                "cached: leave out `train.cache`"
            )
        return DecodedRows(fingerprint, self._counts[name], tuple(first.shape))

    def _kept(self, name: str) -> Tensor | None:
        """All rows of a domain, as they are stored, where the dataset has them at once."""
        rows = rows_of(self._dataset, self._split, name, self._counts[name])
        if rows is None or not (self._channels_last and self._is_image(name)):
            return rows
        return rows.permute(0, 2, 3, 1).contiguous()

    def _decoded(self, readers: Mapping[str, Reader], on_progress: Progress) -> Rows:
        """Every row, as it is stored. Raises one DataError for all bad rows."""
        decoded = {name: reader.empty(self._counts[name]) for name, reader in readers.items()}
        parts = [
            (name, range(start, min(start + 32, self._counts[name])))
            for name in readers
            for start in range(0, self._counts[name], 32)
        ]
        total, done, faults = sum(len(part) for _, part in parts), 0, list[str]()
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decode")
        try:
            begun = [
                (part, pool.submit(readers[name].fill, decoded[name], part, part))
                for name, part in parts
            ]
            for part, future in begun:
                faults += future.result()
                done += len(part)
                on_progress(done, total)
        finally:  # what is not begun is dropped when this is interrupted
            pool.shutdown(wait=True, cancel_futures=True)
        refuse(faults, total)
        return decoded

    def _placed(self, rows: Tensor) -> Tensor:
        """On the accelerator where they fill no more than a tenth of what is free there."""
        if self._device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self._device)
            return rows.to(self._device) if rows.nbytes <= free // 10 else rows
        return rows.to(self._device)


def _onwards(places: Sequence[_Place]) -> Iterator[_Place]:
    """These parts of an update, then those of the next one, without end."""
    later = 0
    while True:
        yield from ((update + later, start, end) for update, start, end in places)
        later += 1


def _to_float(images: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1], exactly -1 for 0 and 1 for 255."""
    return (images / 127.5).sub_(1)
