"""`ganforge data`: list, fetch, check."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image
from recipe_text import RecipeText

import ganforge.data.download
from ganforge import DataError
from ganforge.archives import ARCHIVES, Archive, RemoteFile
from ganforge.cli.data import command

RECIPE = RecipeText("""
recipe = 1
name = "folder"
[data]
use = "image-folder"
root = "photos"
size = 8
holdout = 0.5
[train]
steps = 1
[generator]
use = "dcgan"
[discriminator]
use = "dcgan"
[losses.adversarial]
use = "non-saturating"
""")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run `ganforge data ...` in an empty folder; its result, with what it printed."""
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str):
        return CliRunner().invoke(command, arguments)

    return invoke


@pytest.fixture
def tiny(monkeypatch) -> bytes:
    """An archive of one file; its content."""
    content = b"all there is"
    file = RemoteFile(
        "tiny.bin", ("https://example.com/tiny.bin",), 12, hashlib.sha256(content).hexdigest()
    )
    archive = Archive(
        name="tiny",
        summary="a file",
        source="nobody",
        licence="free",
        files=(file,),
        pixels=(1, 1, 1),
    )
    monkeypatch.setitem(ARCHIVES, "tiny", archive)
    return content


def photos(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (9, 9), (number, 0, 0)).save(folder / f"{number}.png")


def test_list_shows_archives_datasets_and_where_they_are(run, tiny):
    listed = run("list").output
    assert "horse2zebra" in listed and "not fetched, 117 MB" in listed and "CC BY-SA" in listed
    assert "unpaired-folders" in listed and "image-folder" in listed
    Path("data/tiny").mkdir(parents=True)
    Path("data/tiny/tiny.bin").write_bytes(tiny)
    assert f"in {Path('data/tiny')}" in run("list").output


def test_list_for_programs_is_json(run):
    listed = json.loads(run("list", "--json").output)
    (horses,) = (archive for archive in listed["archives"] if archive["name"] == "horse2zebra")
    assert horses["bytes"] == 116_867_962 and horses["folder"] is None
    assert {"mnist", "image-folder"} <= {dataset["name"] for dataset in listed["datasets"]}


def test_fetch_puts_an_archive_below_data_or_where_it_is_told(run, tiny, monkeypatch):
    def receive(url, part, file, report, timeout):
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(tiny)
        report.there(len(tiny))

    monkeypatch.setattr(ganforge.data.download, "_receive", receive)
    result = run("fetch", "tiny")
    assert result.exit_code == 0
    assert 'data.root = "data/tiny"' in result.output and "licence: free" in result.output
    assert Path("data/tiny/tiny.bin").read_bytes() == tiny
    assert "is already in" in run("fetch", "tiny").output
    assert run("fetch", "tiny", "--to", "else/where").exit_code == 0
    assert Path("else/where/tiny.bin").read_bytes() == tiny


def test_fetch_knows_what_a_misspelt_name_is_meant_for(run):
    result = run("fetch", "mnits")
    assert isinstance(result.exception, DataError)
    assert "did you mean 'mnist'?" in str(result.exception)
    assert not Path("data").exists()


def test_check_reads_every_file_and_names_each_bad_one(run):
    Path("my.toml").write_text(RECIPE, encoding="utf-8")
    photos(Path("photos"), 20)
    result = run("check", "my.toml")
    assert result.exit_code == 0
    assert "all 20 rows of 'image-folder' are sound" in result.output
    for number in (3, 4, 11, 17):  # some held out, some not
        Path(f"photos/{number}.png").write_bytes(b"")
    Path("photos/5.png").write_bytes(Path("photos/5.png").read_bytes()[:50])
    result = run("check", "my.toml")
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert lines[0].startswith("image: ") and lines[-1] == "5 faults in 20 rows"
    assert sum(".png" in line for line in lines) == 5
    for number in (3, 4, 5, 11, 17):
        assert sum(f"{number}.png" in line.replace("\\", "/").split("/")[-1] for line in lines) >= 1
    report = json.loads(run("check", "my.toml", "--json").output)
    assert report["ok"] is False and report["rows"] == 20 and len(report["faults"]) == 5


def test_check_does_not_download(run):
    recipe = RECIPE.replace('"image-folder"', '"unpaired-folders"').replace("holdout = 0.5", "")
    recipe = recipe.replace('root = "photos"', 'root = "h2z"\nfetch = "horse2zebra"')
    recipe = recipe.replace("size = 8", 'size = 64\ndomains = { image = "trainA" }')
    Path("my.toml").write_text(recipe, encoding="utf-8")
    result = run("check", "my.toml")
    assert isinstance(result.exception, DataError)
    assert "not fetched yet: `ganforge data fetch horse2zebra --to" in str(result.exception)


def test_help_and_list_need_no_torch(tmp_path):
    code = (
        "import sys; from click.testing import CliRunner;"
        "from ganforge.cli.data import command;"
        "results = [CliRunner().invoke(command, a) for a in (['--help'], ['list'])];"
        "sys.exit(any(r.exit_code for r in results) or 'torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", code], check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0


def test_rows_per_second_are_those_after_the_first_batch(workdir, monkeypatch):
    from playing import ONE_PAIR, plan_of, registry

    from ganforge.training import data_benchmark

    now = [100.0]
    asked = []

    class Feed:
        """Two seconds until the first batch of 6 rows, and half a second for each other one."""

        updates_per_epoch = 8

        def settle(self):
            now[0] += 1.5

        def follow(self, update):
            asked.append(update)

        def batch(self, update):
            now[0] += 0.5

        def close(self):
            asked.clear()

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(data_benchmark, "build_feed", lambda *_: Feed())
    plan = plan_of(workdir, ONE_PAIR)
    found = list(data_benchmark.data_bench(plan, registry(), seconds=2.0, workers=1))
    assert [loaded.way for loaded in found] == ["held, if it fits", "threads", "1 worker"]
    assert {(loaded.start, loaded.rows) for loaded in found} == {(2.0, 12.0)}
