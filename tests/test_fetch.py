"""Downloads from a server that is not always helpful."""

import gzip
import hashlib
import http.server
import io
import socket
import stat
import threading
import time
import zipfile
from pathlib import Path

import pytest

import ganforge.data.download
from ganforge import DataError
from ganforge.archives import ARCHIVES, Archive, FetchOptions, RemoteFile
from ganforge.data.download import fetch, prepare, unpack
from ganforge.plugin import Impossible

PICTURE = bytes(range(256)) * 700  # more than one read of the network


def zipped(entries: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


CONTENT = zipped({"tiny/trainA/1.png": PICTURE, "tiny/trainB/2.png": PICTURE[::-1]})


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT; the first part of a path says how."""

    daemon_threads = True
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []  # path and Range of each request
        self.released = threading.Event()

    def url(self, how: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{how}"

    def handle_error(self, request, client_address):
        pass  # clients that hang up are what is tested


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        pass

    def do_GET(self):
        asked = self.headers["Range"]
        self.server.asked.append((self.path, asked))
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        getattr(self, self.path.strip("/").split("/")[0])(start)

    def answer(self, start, *, content=CONTENT, ranges=True, length=None, to=None):
        if start and ranges:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
            start = 0
        if length is not False:
            self.send_header("Content-Length", str(length or len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:to])
        self.wfile.flush()

    def good(self, start):
        self.answer(start)

    def without_ranges(self, start):
        self.answer(start, ranges=False)

    def breaks_off(self, start):
        self.answer(start, to=start + len(CONTENT) // 3)

    def breaks_off_at_once(self, start):
        self.answer(start, to=start)

    def breaks_off_without_ranges(self, start):
        self.answer(start, ranges=False, to=len(CONTENT) // 3)

    def stalls(self, start):
        self.answer(start, to=1000)
        self.server.released.wait(20)

    def trickles(self, start):
        self.answer(start, to=1)
        while not self.server.released.wait(0.05):
            self.wfile.write(b"x")

    def lies(self, start):
        self.answer(start, content=bytes(len(CONTENT)))

    def is_longer(self, start):
        self.answer(start, content=CONTENT * 3)

    def is_endless(self, start):
        self.answer(start, content=CONTENT * 3, length=False)

    def is_short(self, start):
        self.answer(start, content=CONTENT[:-1], length=False)

    def sends_another_range(self, start):
        if start:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")
            self.end_headers()
        else:
            self.answer(0)

    def refuses_ranges(self, start):
        if start:
            self.send_error(416)
        else:
            self.answer(0)

    def is_absent(self, start):
        self.send_error(404)

    def leads_on(self, start):
        self.redirect(self.server.url("good"))

    def leads_astray(self, start):
        self.redirect("http://example.com/file.zip")

    def redirect(self, url):
        self.send_response(302)
        self.send_header("Location", url)
        self.end_headers()


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


def known_as_tiny(monkeypatch, urls, content=CONTENT, **how) -> Archive:
    """Make an archive of one zip file known, at these addresses."""
    file = RemoteFile("tiny.zip", tuple(urls), len(content), hashlib.sha256(content).hexdigest())
    settings = {"unpack": "tiny", "counts": {"trainA": 1, "trainB": 1}, **how}
    archive = Archive(
        name="tiny",
        summary="two pictures",
        source="here",
        licence="free",
        files=(file,),
        pixels=(3, 8, 8),
        **settings,
    )
    monkeypatch.setitem(ARCHIVES, "tiny", archive)
    return archive


@pytest.fixture
def tiny(server, monkeypatch):
    """Fetch the archive as the server gives it under these names."""

    def bring(folder: Path, *hows: str, timeout: float = 0.5, **how) -> Path:
        known_as_tiny(monkeypatch, [server.url(name) for name in hows])
        return fetch("tiny", folder, timeout=timeout, **how)

    return bring


def there(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


WHOLE = {"trainA/1.png": PICTURE, "trainB/2.png": PICTURE[::-1]}


# ---------------------------------------------------------------- when all is well


def test_an_archive_is_brought_verified_and_unpacked(tmp_path, tiny, server):
    told = []
    folder = tiny(tmp_path / "deep" / "data", "good", on_progress=lambda *now: told.append(now))
    assert folder == tmp_path / "deep" / "data"
    assert there(tmp_path / "deep") == {f"data/{name}": content for name, content in WHOLE.items()}
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_what_is_there_is_not_asked_for_again(tmp_path, tiny, server):
    tiny(tmp_path / "data", "good")
    tiny(tmp_path / "data", "good")
    assert len(server.asked) == 1


def test_an_empty_folder_is_filled(tmp_path, tiny):
    (tmp_path / "data").mkdir()
    assert there(tiny(tmp_path / "data", "good")) == WHOLE


def test_a_file_put_there_by_hand_is_used_and_kept(tmp_path, tiny, server):
    (tmp_path / "tiny.zip").write_bytes(CONTENT)
    assert there(tiny(tmp_path / "data", "good")) == WHOLE
    assert server.asked == []
    assert (tmp_path / "tiny.zip").exists()


def test_redirects_are_followed(tmp_path, tiny):
    assert there(tiny(tmp_path / "data", "leads_on")) == WHOLE


# ---------------------------------------------------------------- resuming


def test_a_download_goes_on_where_an_earlier_one_stopped(tmp_path, tiny, server):
    (tmp_path / "tiny.zip.part").write_bytes(CONTENT[:1234])
    assert there(tiny(tmp_path / "data", "good")) == WHOLE
    assert server.asked == [("/good", "bytes=1234-")]
    assert not (tmp_path / "tiny.zip.part").exists()


def test_a_connection_that_breaks_off_is_taken_up_again(tmp_path, tiny, server):
    assert there(tiny(tmp_path / "data", "breaks_off")) == WHOLE
    assert server.asked[0] == ("/breaks_off", None)
    assert len(server.asked) == 4  # three thirds, and the bytes that they leave


@pytest.mark.parametrize("how", ["without_ranges", "sends_another_range", "refuses_ranges"])
def test_a_server_that_cannot_resume_is_asked_from_the_beginning(tmp_path, tiny, how):
    (tmp_path / "tiny.zip.part").write_bytes(CONTENT[:1234])
    assert there(tiny(tmp_path / "data", how)) == WHOLE


@pytest.mark.parametrize("part", [b"?" * 999, b"?" * len(CONTENT), b"?" * (len(CONTENT) + 5)])
def test_a_part_with_wrong_bytes_is_thrown_away(tmp_path, tiny, part):
    (tmp_path / "tiny.zip.part").write_bytes(part)
    assert there(tiny(tmp_path / "data", "good")) == WHOLE


def test_what_arrived_is_kept_for_the_next_attempt(tmp_path, tiny, server):
    with pytest.raises(DataError):
        tiny(tmp_path / "data", "stalls")
    kept = (tmp_path / "tiny.zip.part").read_bytes()
    assert kept and CONTENT.startswith(kept)
    assert there(tiny(tmp_path / "data", "good")) == WHOLE
    assert server.asked[-1] == ("/good", f"bytes={len(kept)}-")


# ---------------------------------------------------------------- bad servers

REASONS = {
    "is_absent": "answers 404 Not Found",
    "lies": "sent a different file (its SHA-256 is wrong)",
    "is_longer": f"offers {3 * len(CONTENT):,} bytes instead of {len(CONTENT):,}",
    "is_endless": f"sends more than {len(CONTENT):,} bytes",
    "is_short": f"broke off after {len(CONTENT) - 1:,} of {len(CONTENT):,} bytes",
    "breaks_off_at_once": f"broke off after 0 of {len(CONTENT):,} bytes",
    "breaks_off_without_ranges": f"broke off after {len(CONTENT) // 3:,} of {len(CONTENT):,} bytes",
    "stalls": "stalls",
    "trickles": "stalls",
    "leads_astray": "leads to http://example.com/file.zip, which is not an https address",
}


@pytest.mark.parametrize("how", REASONS)
def test_a_failure_is_one_line_with_the_reason_and_what_to_do_by_hand(tmp_path, tiny, how, server):
    started = time.monotonic()
    with pytest.raises(DataError) as caught:
        tiny(tmp_path / "data", how)
    assert time.monotonic() - started < 30  # and not the minutes of a timeout of the system
    message = str(caught.value)
    assert f"127.0.0.1 {REASONS[how]}" in message
    assert f"by hand: download {server.url(how)} to {tmp_path / 'tiny.zip'}" in message
    assert "\n" not in message
    assert {path.name for path in tmp_path.iterdir()} <= {"tiny.zip.part"}


@pytest.mark.parametrize("how", REASONS)
def test_the_next_mirror_is_tried(tmp_path, tiny, how):
    assert there(tiny(tmp_path / "data", how, "good")) == WHOLE


def test_a_host_that_is_not_there_is_told_apart(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    known_as_tiny(monkeypatch, [f"http://127.0.0.1:{port}/x"])
    with pytest.raises(DataError, match=r"127\.0\.0\.1 fails \("):
        fetch("tiny", tmp_path / "data")


def test_without_a_network_it_fails_within_seconds(tmp_path, monkeypatch):
    known_as_tiny(monkeypatch, ["https://one.example/x", "https://two.example/x"])
    monkeypatch.delenv("https_proxy", raising=False)
    monkeypatch.delenv("HTTPS_PROXY", raising=False)
    monkeypatch.setattr(ganforge.data.download, "_CONNECT_SECONDS", 0.2)

    released = threading.Event()

    def blocks(*address, **how):
        released.wait(60)
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", blocks)
    started = time.monotonic()
    with pytest.raises(DataError, match=r"one\.example does not answer within 0\.2 s; two"):
        fetch("tiny", tmp_path / "data")
    assert time.monotonic() - started < 30
    released.set()

    def fails(*address, **how):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", fails)
    with pytest.raises(DataError, match=r"one\.example is not found \(is there a network\?\)"):
        fetch("tiny", tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_only_https_leaves_this_machine(tmp_path, monkeypatch):
    for url in ("http://example.com/x", "ftp://example.com/x", f"file://{tmp_path}/x"):
        known_as_tiny(monkeypatch, [url])
        with pytest.raises(DataError, match="not an https address"):
            fetch("tiny", tmp_path / "data")


def test_unknown_names_lead_to_known_ones(tmp_path):
    with pytest.raises(DataError, match=r"there is no archive 'horse2zebr'.*'horse2zebra'.*mnist"):
        fetch("horse2zebr", tmp_path / "data")


# ---------------------------------------------------------------- the disk


def test_a_folder_with_other_things_is_left_alone(tmp_path, tiny, server):
    (tmp_path / "data" / "trainA").mkdir(parents=True)
    (tmp_path / "data" / "trainA" / "mine.png").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"data is not empty but lacks trainB: move it away"):
        tiny(tmp_path / "data", "good")
    assert there(tmp_path) == {"data/trainA/mine.png": b"mine"}
    assert server.asked == []


def test_another_file_put_there_by_hand_is_refused(tmp_path, tiny):
    (tmp_path / "tiny.zip").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"tiny\.zip is damaged or not the tiny\.zip that is known"):
        tiny(tmp_path / "data", "good")
    assert there(tmp_path) == {"tiny.zip": b"something else"}


def test_too_little_space_is_told_before_anything_is_asked_for(tmp_path, tiny, server, monkeypatch):
    class Usage:
        free = 1000

    monkeypatch.setattr(ganforge.data.download.shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(DataError, match="has 0 MB free, 1 MB are needed"):
        tiny(tmp_path / "data", "good")
    assert server.asked == []


def test_a_disk_that_cannot_be_written_is_told_as_such(tmp_path, tiny, server):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot write .*file"):
        tiny(tmp_path / "file" / "data", "good", "good")
    assert len(server.asked) == 0


# ---------------------------------------------------------------- unpacking


def unpacked(tmp_path: Path, content: bytes) -> Path:
    (tmp_path / "x.zip").write_bytes(content)
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "x.zip", tmp_path / "out")
    return tmp_path / "out"


def special(mode: int) -> bytes:
    entry = zipfile.ZipInfo("tiny/link")
    entry.external_attr = mode << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(entry, "/etc/passwd")
    return out.getvalue()


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny/zeros.png", bytes(1 << 24))
    return out.getvalue()


REFUSED = {
    "up": zipped({"tiny/1.png": b"1", "../outside.png": b"2"}),
    "further up": zipped({"tiny/../../outside.png": b"2"}),
    "absolute": zipped({"/outside.png": b"2"}),
    "drive": zipped({"C:/outside.png": b"2"}),
    "backslash": zipped({"tiny": b"1"}).replace(b"tiny", b"..\\x"),
    "link": special(stat.S_IFLNK | 0o777),
    "pipe": special(stat.S_IFIFO | 0o644),
    "collision": zipped({"tiny/a.png": b"1", "tiny/A.png": b"2"}),
    "bomb": bomb(),
    "no zip": gzip.compress(b"something else"),
    "cut off": CONTENT[:-30],
}


@pytest.mark.parametrize("what", REFUSED)
def test_archives_that_reach_out_or_explode_are_refused_before_anything_is_written(tmp_path, what):
    with pytest.raises(
        DataError, match=r"x\.zip (holds|would unpack|cannot be unpacked)"
    ) as caught:
        unpacked(tmp_path, REFUSED[what])
    assert "\n" not in str(caught.value)
    assert there(tmp_path / "out") == {}
    assert {path.name for path in tmp_path.iterdir()} == {"x.zip", "out"}


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(ganforge.data.download, "_MOST_FILES", 1)
    with pytest.raises(DataError, match="would unpack to 2 files"):
        unpacked(tmp_path, CONTENT)


def test_damage_inside_is_found_and_leaves_nothing(tmp_path, server, monkeypatch):
    damaged = CONTENT.replace(PICTURE[:300], PICTURE[1:301], 1)
    assert damaged != CONTENT
    (tmp_path / "tiny.zip").write_bytes(damaged)
    known_as_tiny(monkeypatch, [server.url("good")], content=damaged)
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch("tiny", tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.zip"]


def test_an_archive_without_the_expected_folder_is_refused(tmp_path, server, monkeypatch):
    known_as_tiny(monkeypatch, [server.url("good")], unpack="huge")
    with pytest.raises(DataError, match="holds no folder 'huge'"):
        fetch("tiny", tmp_path / "data")
    assert not (tmp_path / "data").exists()


# ---------------------------------------------------------------- loose files and options


def test_loose_files_are_put_where_they_are_looked_for(tmp_path, server, monkeypatch):
    archive = known_as_tiny(
        monkeypatch, [server.url("good")], unpack=None, counts={}, places=(".", "a/raw")
    )
    assert archive.missing(tmp_path) == ["tiny.zip"]
    fetch("tiny", tmp_path, timeout=1)
    assert there(tmp_path) == {"a/raw/tiny.zip": CONTENT}
    assert archive.missing(tmp_path) == []


def test_a_compressed_file_counts_as_there_when_it_is_unpacked(tmp_path):
    mnist = ARCHIVES["mnist"]
    assert len(mnist.missing(tmp_path)) == 4
    (tmp_path / "raw").mkdir()
    for file in mnist.files:
        (tmp_path / "raw" / file.name.removesuffix(".gz")).write_bytes(b"x")
    assert mnist.missing(tmp_path) == []


def test_prepare_brings_what_options_name_and_the_folder_lacks(tmp_path, server, monkeypatch):
    known_as_tiny(monkeypatch, [server.url("good")])
    prepare(object())
    prepare(FetchOptions(root=tmp_path / "data"))
    assert server.asked == []
    prepare(FetchOptions(root=tmp_path / "data", fetch="tiny"))
    assert there(tmp_path / "data") == WHOLE
    prepare(FetchOptions(root=tmp_path / "data", fetch="tiny"))
    assert len(server.asked) == 1


def test_an_unknown_archive_is_the_fault_of_its_option():
    with pytest.raises(Impossible, match="there is no archive 'tyny'") as caught:
        FetchOptions(root=Path("x"), fetch="tyny").must_fetch()
    assert caught.value.key == "fetch"


def test_known_archives_are_complete():
    for name, archive in ARCHIVES.items():
        assert archive.name == name and archive.source and archive.licence and archive.summary
        assert (archive.unpack is None) == (not archive.counts)
        for file in archive.files:
            assert len(file.sha256) == 64 and file.bytes > 0
            assert len(file.urls) > 1 and all(url.startswith("https://") for url in file.urls)
