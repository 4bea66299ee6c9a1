"""Downloads of known archives: verified, resumed, limited in size, unpacked safely.

A download that breaks off leaves a `.part` file, which the next attempt continues. Nothing is used
before its SHA-256 is right, and a dataset's folder appears whole or not at all. Without a network
the attempt fails within seconds. Every failure is one DataError that says what to do by hand.

(Neither pooch nor urlretrieve resumes, limits the size, or gives up a server that stalls.)
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import queue
import shutil
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from stat import S_IFMT, S_IFREG
from typing import IO, Any
from urllib.parse import urlsplit

from ganforge.data.archives import Archive, FetchOptions, RemoteFile, known
from ganforge.interfaces.errors import DataError

Progress = Callable[[int, int], None]  # bytes that are there, bytes in all

_CHUNK = 1 << 16
_ATTEMPTS = 5  # per mirror, as long as each brings something
_SLOWEST = 1024  # bytes per second; less counts as a stall
_CONNECT_SECONDS = 4.0  # for finding and reaching a host
_MOST_FILES = 1_000_000
_MOST_GROWTH = 20  # unpacked bytes per byte of the archive


def prepare(options: Any, *, on_progress: Progress | None = None) -> None:
    """Fetch the archive that a dataset's options name, where its files are missing.

    Does nothing for datasets without `FetchOptions`. Raises DataError when fetching fails.
    """
    if isinstance(options, FetchOptions) and options.fetch is not None and options.must_fetch():
        fetch(options.fetch, options.root, on_progress=on_progress)


def fetch(
    name: str, folder: Path, *, on_progress: Progress | None = None, timeout: float = 10.0
) -> Path:
    """Bring a known archive into `folder` and return it; at once where it is there already.

    timeout: seconds without a byte, or with hardly any, after which a mirror is given up.
    """
    archive = known(name)
    folder = Path(folder)
    if not archive.missing(folder):
        return folder
    report = _Report(archive, on_progress or (lambda done, total: None))
    try:
        if archive.unpack is not None:
            _fetch_zip(archive, folder, report, timeout)
        else:
            _fetch_files(archive, folder, report, timeout)
    except OSError as error:  # of the disk: the network's own are caught where they arise
        raise DataError(f"cannot write {error.filename or folder}: {error.strerror}") from error
    return folder


def _fetch_files(archive: Archive, folder: Path, report: _Report, timeout: float) -> None:
    into = folder / archive.places[-1]
    by_hand = f"put {', '.join(file.name for file in archive.files)} into {folder}"
    for file in archive.files:
        if archive.find(folder, file.name) is None:
            _need_space(into, file.bytes)
            _download(file, into / file.name, report, timeout, by_hand)
        report.finished(file)


def _fetch_zip(archive: Archive, folder: Path, report: _Report, timeout: float) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise DataError(
            f"{folder} is not empty but lacks {', '.join(archive.missing(folder))}: move it away, "
            f"or give another folder for {archive.name}"
        )
    (file,) = archive.files
    zipped = folder.parent / file.name
    brought = zipped.exists()  # put there by hand: used, and not deleted
    if brought and not _is_genuine(zipped, file):
        raise DataError(f"{zipped} is damaged or not the {file.name} that is known: delete it")
    if not brought:
        _need_space(folder.parent, 2 * file.bytes)
        by_hand = f"download {file.urls[0]} to {zipped} and do the same again"
        _download(file, zipped, report, timeout, by_hand)
    report.finished(file)
    _unpack_as(zipped, archive.unpack or ".", folder)
    if not brought:
        zipped.unlink()


def _need_space(folder: Path, size: int) -> None:
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DataError(f"{folder} has {free >> 20} MB free, {(size >> 20) + 1} MB are needed")


class _Report:
    """Adds up the bytes of an archive's files."""

    def __init__(self, archive: Archive, on_progress: Progress) -> None:
        self._total = archive.bytes
        self._before = 0  # bytes of finished files
        self._on_progress = on_progress

    def there(self, size: int) -> None:
        """`size` bytes of the current file are there."""
        self._on_progress(self._before + size, self._total)

    def finished(self, file: RemoteFile) -> None:
        """The current file is complete."""
        self._before += file.bytes
        self.there(0)


# ---------------------------------------------------------------- downloading


class _Refused(Exception):
    """This mirror does not serve the file; the message says why."""


class _BrokeOff(_Refused):
    """The connection ended or stalled; another attempt may go on from there."""


def _download(
    file: RemoteFile, target: Path, report: _Report, timeout: float, by_hand: str
) -> None:
    """The verified file at `target`, from the first mirror that gives it."""
    part = target.with_name(target.name + ".part")
    faults = []
    for url in file.urls:
        resumed = True
        while resumed:  # a part from an earlier attempt may be what is wrong: then once more
            resumed = part.exists()
            try:
                _receive(url, part, file, report, timeout)
            except _Refused as error:
                faults.append(f"{urlsplit(url).hostname} {error}")
                break
            if _is_genuine(part, file):
                part.replace(target)
                return
            faults.append(f"{urlsplit(url).hostname} sent a different file (its SHA-256 is wrong)")
            part.unlink()
    raise DataError(f"cannot fetch {file.name}: {'; '.join(faults)}; by hand: {by_hand}")


def _is_genuine(path: Path, file: RemoteFile) -> bool:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256


def _receive(url: str, part: Path, file: RemoteFile, report: _Report, timeout: float) -> None:
    """Bring `part` to its full size, continuing what is there and what breaks off."""
    _refuse_unsafe(url)
    _reach(url, min(timeout, _CONNECT_SECONDS))
    part.parent.mkdir(parents=True, exist_ok=True)
    trouble = _BrokeOff("cannot resume")
    for _ in range(_ATTEMPTS):
        before = _size(part)
        if before == file.bytes:
            return
        if before > file.bytes:
            part.unlink()
        try:
            _receive_more(url, part, file, report, timeout)
        except _BrokeOff as error:
            trouble = error
            if _size(part) <= before:
                raise
    if _size(part) != file.bytes:
        raise trouble


def _receive_more(url: str, part: Path, file: RemoteFile, report: _Report, timeout: float) -> None:
    """One request: append to `part`, or write it anew where the server knows no ranges.

    A part that the server cannot continue is deleted, for the next attempt to begin at 0.
    """
    have = _size(part)
    with _requested(url, have, timeout) as response:
        resumes = response.status == 206
        if have and not resumes and response.status != 200:
            part.unlink()
            return
        if resumes and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink()
            return
        start = have if resumes else 0
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and start + int(length) != file.bytes:
            raise _Refused(f"offers {start + int(length):,} bytes instead of {file.bytes:,}")
        with part.open("ab" if start else "wb") as out:
            for chunk in _chunks(response, timeout):
                start += len(chunk)
                if start > file.bytes:
                    raise _Refused(f"sends more than {file.bytes:,} bytes")
                out.write(chunk)
                report.there(start)
    if start < file.bytes:
        raise _BrokeOff(f"broke off after {start:,} of {file.bytes:,} bytes")


def _requested(url: str, have: int, timeout: float) -> Any:
    """The server's response, from byte `have` on if it can; also its answer to a bad range."""
    headers = {"User-Agent": "ganforge", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        return _OPENER.open(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # range not satisfiable
            return error
        error.close()
        raise _Refused(f"answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokeOff(_reason(error)) from error


def _chunks(response: Any, timeout: float) -> Iterator[bytes]:
    """What arrives. _BrokeOff when it ends or stops for `timeout` seconds; _Refused when it is next
    to nothing, for such a server is not worth another attempt."""
    since, arrived = time.monotonic(), 0
    while True:
        try:
            chunk = response.read1(_CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _BrokeOff(_reason(error)) from error
        if not chunk:
            return
        arrived += len(chunk)
        yield chunk
        seconds = time.monotonic() - since
        if seconds > timeout:
            if arrived < _SLOWEST * seconds:
                raise _Refused(f"stalls: {arrived:,} bytes in {seconds:.0f} s")
            since, arrived = time.monotonic(), 0


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to safe addresses only."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Called with each redirect."""
        _refuse_unsafe(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_SafeRedirects)


def _refuse_unsafe(url: str) -> None:
    """Only https, and http within this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        return
    raise _Refused(f"leads to {url}, which is not an https address")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reach(url: str, seconds: float) -> None:
    """Find and reach the host, or raise within `seconds`.

    Looking up a name can block for half a minute where the network is down, so it happens in a
    thread that is left behind. Where there is a proxy, that looks names up.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return
    outcome: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            socket.create_connection((host, port), timeout=seconds).close()
            outcome.put(None)
        except OSError as error:
            outcome.put(error)

    threading.Thread(target=attempt, daemon=True).start()
    try:
        error = outcome.get(timeout=seconds)
    except queue.Empty:
        raise _Refused(f"does not answer within {seconds:g} s") from None
    if error is not None:
        raise _Refused(_reason(error)) from error


def _reason(error: BaseException) -> str:
    """A network error in a few words that follow the host's name."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        return _reason(error.reason)
    if isinstance(error, socket.gaierror):
        return "is not found (is there a network?)"
    if isinstance(error, TimeoutError):
        return "stalls"
    return f"fails ({getattr(error, 'strerror', None) or error or type(error).__name__})"


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


# ---------------------------------------------------------------- unpacking


def _unpack_as(zipped: Path, inside: str, folder: Path) -> None:
    """The folder `inside` of a zip file becomes `folder`, whole or not at all."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        unpack(zipped, temporary)
        if not (temporary / inside).is_dir():
            raise DataError(f"{zipped} holds no folder '{inside}'")
        if folder.exists():
            folder.rmdir()  # it is empty; Windows does not rename onto folders
        (temporary / inside).replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def unpack(zipped: Path, folder: Path) -> None:
    """Unpack a zip file below `folder`.

    Raises DataError, before anything is written, for names that lead out of the folder, links and
    other special files, names that collide, and more than the archive's size can honestly hold.
    """
    try:
        with zipfile.ZipFile(zipped) as archive:
            entries = archive.infolist()
            _refuse_bombs(zipped, entries)
            names = {entry.filename: _safe_name(zipped, entry) for entry in entries}
            _refuse_collisions(zipped, names)
            for entry in entries:
                target = folder / names[entry.filename]
                if entry.is_dir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                # Never yields more than the entry declares, and checks its CRC.
                with archive.open(entry) as content, target.open("wb") as out:
                    shutil.copyfileobj(content, out, _CHUNK)
    except (zipfile.BadZipFile, EOFError, RuntimeError, zlib.error) as error:
        raise DataError(f"{zipped} cannot be unpacked ({error}): delete it") from error


def _refuse_bombs(zipped: Path, entries: list[zipfile.ZipInfo]) -> None:
    size = sum(entry.file_size for entry in entries)
    if len(entries) > _MOST_FILES or size > _MOST_GROWTH * zipped.stat().st_size + (1 << 20):
        raise DataError(
            f"{zipped} would unpack to {len(entries):,} files of {size >> 20:,} MB, more than a "
            "dataset of its size can hold: delete it"
        )


def _safe_name(zipped: Path, entry: zipfile.ZipInfo) -> PurePosixPath:
    name = entry.filename
    path = PurePosixPath(name)
    kind = S_IFMT(entry.external_attr >> 16)
    special = kind not in (0, S_IFREG) and not entry.is_dir()
    # A colon is a drive or a stream on Windows, a backslash a separator.
    if special or path.is_absolute() or ".." in path.parts or set(name) & set('\\:\0"<>|?*'):
        raise DataError(f"{zipped} holds the unsafe entry {name!r}: nothing was unpacked")
    return path


def _refuse_collisions(zipped: Path, names: Mapping[str, PurePosixPath]) -> None:
    seen: dict[str, str] = {}
    for name, path in names.items():
        other = seen.setdefault(str(path).casefold(), name)
        if other != name:
            raise DataError(f"{zipped} holds both {other!r} and {name!r}: nothing was unpacked")
