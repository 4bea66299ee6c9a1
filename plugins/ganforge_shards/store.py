"""Bytes of shards, wherever they lie: local files, or whatever fsspec reaches. Light."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar

from ganforge import DataError

T = TypeVar("T")
_TRIES = 4  # of which the last comes seven seconds after the first
_MARKS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "Last-Modified")


def is_local(url: str) -> bool:
    """Whether it is the path of a file."""
    return "://" not in url


def size_and_mark(url: str) -> tuple[int, str]:
    """Bytes of a shard, and what changes with its content. Raises DataError where it is gone."""
    system, path = _system(url)
    info = _tried(url, lambda: system.info(path))
    if not isinstance(info.get("size"), int):
        raise DataError(f"{url}: its server does not report its length, so it cannot be read")
    marks = [f"{key} {info[key]}" for key in _MARKS if info.get(key)]
    return info["size"], "; ".join(marks)


def opened(url: str) -> IO[bytes]:
    """The whole shard, to read from its start on."""
    system, path = _system(url)
    file: IO[bytes] = _tried(url, lambda: system.open(path, "rb"))
    return file


def part(url: str, start: int, size: int) -> bytes:
    """So many bytes from a place on. Raises DataError where they cannot be had."""

    def read() -> bytes:
        if is_local(url):
            with Path(url).open("rb", buffering=0) as file:
                file.seek(start)
                return file.read(size)
        system, path = _system(url)
        content: bytes = system.cat_file(path, start=start, end=start + size)
        return content

    content = _tried(url, read)
    if len(content) != size:
        raise DataError(f"{url} is shorter than it was when it was indexed: get it again")
    return content


def matching(url: str) -> list[str]:
    """The shards that a pattern with `*`, `?` or `[...]` names, in any order."""
    system, path = _system(url)
    found = _tried(url, lambda: system.glob(path))
    if is_local(url):
        return [os.path.relpath(name) if not Path(url).is_absolute() else name for name in found]
    return [system.unstrip_protocol(name) for name in found]


@cache
def _system(url: str) -> tuple[Any, str]:
    """fsspec's file system, and what it calls the shard."""
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url)
    except ImportError as error:
        raise DataError(f"{url}: {error}".partition("\n")[0]) from error
    except ValueError as error:
        raise DataError(f"{url}: {error}") from error
    return system, path


def _tried(url: str, ask: Callable[[], T]) -> T:
    """What it returns, asked again where a network failed. Raises DataError in one line."""
    for pause in (*(2**n for n in range(_TRIES - 1)), None):
        try:
            return ask()
        except FileNotFoundError as error:
            raise DataError(f"there is no shard {url}") from error
        except Exception as error:  # libraries of object stores raise what they like
            if is_local(url) or pause is None or isinstance(error, PermissionError):
                why = str(error).strip().partition("\n")[0] or type(error).__name__
                raise DataError(f"cannot read {url}: {why}") from error
            time.sleep(pause)
    raise AssertionError("the last try returns or raises")
