"""How rows get from a dataset into memory: read now, or ahead of their turn, by threads of this
process or by processes of their own. The same rows, whoever reads them."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import parent_process
from multiprocessing.util import Finalize
from pathlib import Path
from threading import Thread
from typing import Any
from weakref import WeakSet

import torch
from attrs import frozen
from torch import Tensor

from ganforge.data.decoded_cache import DecodedRows
from ganforge.data.images import THREADS, one_line
from ganforge.data.worker_signals import heed_nothing
from ganforge.interfaces.components import Dataset
from ganforge.interfaces.errors import BrokenRows, DataError

Wanted = Mapping[str, Sequence[int]]  # domain -> row numbers
Rows = dict[str, Tensor]  # domain -> rows as they are stored, [N, ...]

# How worker processes start. A server that was started clean forks them: quick, and without the
# locks and threads of a process that trains. Elsewhere each starts anew.
START = "forkserver" if sys.platform == "linux" else "spawn"

_MOST = 8  # worker processes that are started unasked
_AHEAD = 2  # batches that each worker process is ahead, where memory allows
_AHEAD_BYTES = 1_000_000_000


def workers_here(device: torch.device) -> int:
    """Worker processes that suit this machine: one for each core that this process has to itself
    but one, where an accelerator computes; none where the cores compute themselves."""
    if device.type == "cpu":
        return 0
    beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # processes on this machine
    return max(1, min(_MOST, _cores() // beside - 1))


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def shared_room() -> int:
    """Bytes that batches under way may take of the memory that processes share: 1 GB, but no more
    than half of what is free, since containers often have little of it."""
    shared = Path("/dev/shm")
    free = shutil.disk_usage(shared).free if shared.is_dir() else 2 * _AHEAD_BYTES
    return min(_AHEAD_BYTES, free // 2)


@frozen(eq=False)
class Reader:
    """Rows of one domain of a split, as they are stored.

    shape, dtype: what the dataset's items must be. last: whether images are stored with channels
    last. cache: where decoded rows are looked for first, and kept.
    """

    dataset: Dataset
    split: str
    domain: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    last: bool = False
    cache: DecodedRows | None = None

    def read(self, index: int) -> Tensor:
        """A row. Raises DataError where it cannot be read or has another shape."""
        item = self.cache.read(index) if self.cache is not None else None
        if item is None:
            item = self.dataset.item(self.split, self.domain, index)
            if item.shape != self.shape:
                shapes = f"{tuple(item.shape)}, the first {self.shape}"
                raise DataError(f"row {index} of '{self.domain}' has the shape {shapes}")
            if self.cache is not None:
                self.cache.write(index, item)
        return item.permute(1, 2, 0) if self.last else item

    def empty(self, rows: int) -> Tensor:
        """Room for so many rows."""
        shape = (*self.shape[1:], self.shape[0]) if self.last else self.shape
        return torch.empty((rows, *shape), dtype=self.dtype)

    def fill(self, rows: Tensor, places: Sequence[int], numbers: Sequence[int]) -> list[str]:
        """Read rows of these numbers into these places. Returns what was wrong with some."""
        faults = []
        for place, number in zip(places, numbers, strict=True):
            try:
                rows[place] = self.read(number)
            except DataError as error:
                faults.append(str(error))
        return faults


def refuse(faults: Sequence[str], total: int) -> None:
    """Raises one DataError for all faults, if there are some."""
    if faults:
        raise BrokenRows(one_line(list(dict.fromkeys(faults)), total))


class Threads:
    """Rows read by threads of this process."""

    def __init__(self, readers: Mapping[str, Reader]) -> None:
        self._readers = readers
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decode")

    def read(self, wanted: Wanted) -> Rows:
        """These rows, now."""
        return self._finished(*self._begun(wanted))

    def ahead(self, batches: Iterator[Wanted]) -> Generator[Rows, None, None]:
        """The batches, each read while the one before it is used."""
        begun = self._begun(next(batches))
        while True:
            due, begun = begun, self._begun(next(batches))
            yield self._finished(*due)

    def close(self) -> None:
        """Read no further."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _begun(self, wanted: Wanted) -> tuple[Rows, list[Future[list[str]]]]:
        rows = {name: self._readers[name].empty(len(numbers)) for name, numbers in wanted.items()}
        futures = [
            self._pool.submit(self._readers[name].fill, rows[name], [place], [number])
            for name, numbers in wanted.items()
            for place, number in enumerate(numbers)
        ]
        return rows, futures

    def _finished(self, rows: Rows, futures: Sequence[Future[list[str]]]) -> Rows:
        refuse([fault for future in futures for fault in future.result()], len(futures))
        return rows


class Workers:
    """Rows read by processes of their own, which torch.utils.data.DataLoader keeps.

    They draw nothing, compute with one thread, and end with this process, however it ends.
    """

    def __init__(self, readers: Mapping[str, Reader], count: int, batch_bytes: int) -> None:
        self._readers = readers
        batches = shared_room() // max(1, batch_bytes)  # that may be under way at once
        self._count = max(1, min(count, batches))
        self._ahead = max(1, min(_AHEAD, batches // self._count))
        self._threads = Threads(readers)

    def read(self, wanted: Wanted) -> Rows:
        """These rows, now, by threads of this process."""
        return self._threads.read(wanted)

    def ahead(self, batches: Iterator[Wanted]) -> Generator[Rows, None, None]:
        """The batches, a few of them under way at any time, in each process one."""
        from torch.utils.data import DataLoader

        context = torch.multiprocessing.get_context(START)
        if START == "forkserver":
            context.set_forkserver_preload([__name__, "ganforge.data.worker_signals"])
        loader: DataLoader[Any] = DataLoader(
            _Batches(self._readers),  # type: ignore[arg-type]
            batch_sampler=batches,  # type: ignore[arg-type]
            num_workers=self._count,
            collate_fn=_as_it_is,  # type: ignore[arg-type]
            worker_init_fn=_settle,
            multiprocessing_context=context,
            prefetch_factor=self._ahead,
            generator=torch.Generator(),  # else it would draw its seed from what networks draw from
        )
        try:
            yield from _read(loader)
        except (RuntimeError, EOFError, ConnectionError) as error:
            if isinstance(error, RuntimeError) and not is_worker_trouble(error):
                raise  # a mistake in the dataset's own code
            raise worker_trouble(error) from error

    def close(self) -> None:
        """Read no further."""
        self._threads.close()


def _started(loader: Iterable[tuple[Rows, list[str]]]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what the error says
            iterator = iter(loader)
    except Exception as error:  # whatever the dataset's parts raise
        if "pickle" not in str(error).lower():
            raise
        raise DataError(
            f"the dataset cannot be handed to worker processes ({error}): set `train.workers = 0`"
        ) from error
    if not _STARTED:
        atexit.register(_kill_started)
    _STARTED.update(getattr(iterator, "_workers", ()))
    return iterator


_STARTED: WeakSet[Any] = WeakSet()  # worker processes


def _kill_started() -> None:
    """End the workers that are left when this process ends in the middle of a batch. They ignore
    SIGTERM, by which multiprocessing ends its processes, and it would wait for them for ever."""
    for worker in list(_STARTED):
        if worker.is_alive():
            worker.kill()


def _read(loader: Iterable[tuple[Rows, list[str]]]) -> Iterator[Rows]:
    batches = _started(loader)
    # They heed no SIGTERM, by which Python ends them when it exits, and then waits for them.
    end = Finalize(None, batches._shutdown_workers, exitpriority=10)
    try:
        for rows, faults in batches:
            refuse(faults, sum(map(len, rows.values())))
            yield rows
    finally:
        end()


class _Batches:
    """What a worker process reads from: asked for the rows of a batch, it gives them."""

    def __init__(self, readers: Mapping[str, Reader]) -> None:
        self._readers = readers

    def __getitems__(self, wanted: Wanted) -> tuple[Rows, list[str]]:
        rows, faults = {}, []
        for name, numbers in wanted.items():
            rows[name] = self._readers[name].empty(len(numbers))
            faults += self._readers[name].fill(rows[name], range(len(numbers)), numbers)
        return rows, faults

    def __reduce__(self) -> tuple[Any, ...]:
        # Arguments are restored from left to right: the file first, since it defines the dataset.
        files = {_plugin_file(reader.dataset) for reader in self._readers.values()} - {None}
        return _restored, (tuple(_Run(file) for file in files if file), dict(self._readers))


class _Run:
    """Stands for a plugin file; where it is restored, the file is run."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return _run_plugin_file, (self._path,)


def _restored(files: object, readers: Mapping[str, Reader]) -> _Batches:
    return _Batches(readers)


def _plugin_file(dataset: Dataset) -> str | None:
    """The file of `--plugin-file` that defines the dataset, which no import would find."""
    module = sys.modules[type(getattr(dataset, "all_rows", dataset)).__module__]
    named = module.__name__.startswith("ganforge_file_")
    return str(Path(module.__file__ or "").absolute()) if named else None


def _run_plugin_file(path: str) -> None:
    from ganforge.registry.plugin_file import load_plugin_file

    load_plugin_file(Path(path))


def _as_it_is(rows: tuple[Rows, list[str]]) -> tuple[Rows, list[str]]:
    return rows


def _settle(number: int) -> None:
    """Make a worker process deaf to what stops a run, and let it end with the run.

    Ctrl-C and SIGTERM may go to all processes of a group; the one that trains finishes its step
    and then ends the others. PyTorch lets a worker end when its parent has changed, but the parent
    is the server that forked it, which lives as long as a worker does; so the run is watched.
    """
    Thread(target=_end_with, args=(parent_process(),), daemon=True).start()
    heed_nothing()


def _end_with(run: Any) -> None:
    run.join()
    os._exit(0)


def is_worker_trouble(error: BaseException) -> bool:
    """Whether an error means that a worker process died. PyTorch may raise it anywhere."""
    return str(error).startswith("DataLoader worker (pid")


def worker_trouble(error: BaseException) -> DataError:
    """What to report of it."""
    what = " ".join(str(error).split()).partition(" Details are lost")[0].rstrip(". ")
    room = "; more shared memory (/dev/shm) may help" if "bus error" in what.lower() else ""
    return DataError(
        f"a process that decodes data ended ({what or type(error).__name__}){room}; fewer "
        "`train.workers` take less memory, and 0 decodes in the run's own process"
    )
