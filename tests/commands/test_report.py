"""`ganforge report`: one page of one run or several, its places, options and mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_run_folders import make_run
from small_recipes import DIGITS, PLAIN, write_recipe

import ganforge
from ganforge.cli import report as command


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run that knows classes and two that do not, with their weights."""
    folder = tmp_path_factory.mktemp("trained")
    for name, text, seed in (("digits", DIGITS, 0), ("plain", PLAIN, 0), ("again", PLAIN, 1)):
        text = text.replace('root = "pictures"', f'root = "{(folder / "pictures").as_posix()}"')
        recipe = write_recipe(folder, text)
        ganforge.train(recipe, out=folder / name, set={"train": {"seed": seed}})
    return folder


def data_of(file: Path) -> dict:
    text = file.read_text(encoding="utf-8")
    return json.loads(text.partition('id="data">')[2].partition("</script>")[0])


def test_the_page_of_one_run_lies_in_its_folder_with_a_walk(ganforge_cli, trained, workdir):
    answer = ganforge_cli("report", trained / "digits")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith(f"digits: {trained / 'digits' / 'report.html'} (")
    text = (trained / "digits" / "report.html").read_text(encoding="utf-8")
    assert "between the classes cats, dogs with the noise of seed 0" in text
    for network in ("discriminators.main, on training images", "generators.main, on images that"):
        assert network in text
    assert "Filters of discriminators.main of digits: weights and most exciting patches" in text
    assert 'id="blind"' not in text and data_of(trained / "digits" / "report.html")["watch"] == 0


def test_the_page_of_several_runs_lies_in_the_current_folder(ganforge_cli, trained, workdir):
    runs = [trained / "plain", trained / "again"]
    answer = ganforge_cli("report", *runs, "--no-walks", "--csv", "out/figures.csv")
    assert answer.status == 0 and "plain, again: report.html" in answer.out
    text = Path("report.html").read_text(encoding="utf-8")
    assert "2 runs that differ in the seed alone" in text and 'id="walks"' not in text
    assert 'id="filters"' not in text
    assert Path("out/figures.csv").read_text(encoding="utf-8").startswith("of,name,seed,metric")


def test_blind_pairs_are_real_against_fake_and_run_against_run(ganforge_cli, trained, workdir):
    runs = [trained / "plain", trained / "again"]
    answer = ganforge_cli("report", *runs, "--blind", "--no-walks", "--out", "b.html")
    assert (answer.status, answer.err) == (0, "")
    asked = data_of(Path("b.html"))["blind"]
    assert [(one["kind"], one["runs"]) for one in asked] == [
        ("real-or-fake", ["plain"]),
        ("real-or-fake", ["again"]),
        ("run-or-run", ["plain", "again"]),
    ]
    assert all(one["steps"] == [4] * len(one["runs"]) for one in asked)
    for one in asked:
        assert one["pairs"] and all(len(pair) == 2 for pair in one["pairs"])
    assert asked[2]["pairs"][0][0] == asked[0]["pairs"][0][1]  # the same fake of the first run


def test_choices_are_taken_back_in_and_shown(ganforge_cli, workdir):
    make_run(workdir / "one")
    kept = {"kind": "real-or-fake", "generator": "main", "steps": [100], "chosen": [0] * 9 + [1]}
    found = [{**kept, "runs": ["one"]}, {**kept, "runs": ["gone"]}]
    saved = {"ganforge-choices": 1, "id": "a", "comparisons": found}
    Path("choices.json").write_text(json.dumps(saved), encoding="utf-8")
    answer = ganforge_cli("report", "one", "--no-walks", "--choices", "choices.json")
    assert answer.status == 0
    assert "warning: --choices has choices about 'gone'" in answer.err
    text = Path("one/report.html").read_text(encoding="utf-8")
    assert "found the real one in 9 of 10 pairs" in text
    assert "60 % to 98 %" in text and "fakes can be told from real images" in text


def test_a_run_without_weights_is_shown_without_walks(ganforge_cli, workdir):
    make_run(workdir / "one", done=0, lines=[])
    answer = ganforge_cli("report", "one")
    assert (answer.status, answer.err) == (0, "")
    text = Path("one/report.html").read_text(encoding="utf-8")
    assert "no checkpoint yet" in text and "Nothing was logged yet" in text


def test_a_run_that_cannot_be_opened_is_shown_with_the_reason(ganforge_cli, workdir):
    make_run(workdir / "one", tables={"generators": {"main": {"use": "gone/net"}}})
    answer = ganforge_cli("report", "one")
    assert answer.status == 0
    assert "no samples of one:" in Path("one/report.html").read_text(encoding="utf-8")


def test_without_walks_torch_is_not_imported(ganforge_cli, workdir):
    make_run(workdir / "one", figures={"fid": 1.0})
    imported = ganforge_cli.imported_by("report", "one", "--no-walks")
    assert "plotly" in imported and "torch" not in imported
    assert Path("one/report.html").is_file()


def test_help_imports_neither_plotly_nor_jinja(ganforge_cli):
    assert not ganforge_cli.imported_by("report", "--help") & {"plotly", "jinja2", "numpy", "torch"}


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["none"], "there is no run 'none'"),
        (["one", "one"], "one is named twice"),
        (["one", "--out", "page.pdf"], "--out takes FILE.html"),
        (["one", "--out", "one.html"], "one.html is a folder"),
        (["one", "--csv", "table.txt"], "--csv takes FILE.csv"),
        (["one", "--baseline", "two"], "--baseline two is not among the runs of the report: one"),
        (["one", "--choices", "gone.json"], "cannot read gone.json"),
        (["one", "--blind", "--watch"], "--blind needs runs that no longer change"),
        (["one"] * 13, "at most 12 runs, not 13"),
    ],
)
def test_mistakes_are_one_line(ganforge_cli, workdir, arguments, told):
    make_run(workdir / "one")
    (workdir / "one.html").mkdir()
    answer = ganforge_cli("report", *arguments)
    assert answer.status == 1 or answer.status == 2
    assert told in answer.err and answer.err.count("\n") == 1
    assert not Path("one/report.html").exists()


def test_watching_writes_the_page_until_the_run_is_done(ganforge_cli, workdir, monkeypatch):
    folder = make_run(workdir / "one", done=50, sheets=(0, 50))
    seen = []

    def sleep(seconds):
        seen.append(data_of(Path("one/report.html")))
        if len(seen) == 2:
            done = make_run(workdir / "other")
            done.checkpoints.joinpath("step-00000100").rename(folder.checkpoints / "step-00000100")
            folder.metrics.write_bytes(done.metrics.read_bytes())

    monkeypatch.setattr(command.time, "sleep", sleep)
    answer = ganforge_cli("report", "one", "--watch", "--no-walks")
    assert answer.status == 0
    assert answer.out.splitlines()[0].startswith("watching: open one")
    assert [page["watch"] for page in seen] == [5.0, 5.0]
    last = data_of(Path("one/report.html"))
    assert (last["watch"], last["last"]) == (0, 100)


def test_watching_ends_with_ctrl_c_and_leaves_a_page_that_stands_still(
    ganforge_cli, workdir, monkeypatch
):
    make_run(workdir / "one", done=50)

    def sleep(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(command.time, "sleep", sleep)
    answer = ganforge_cli("report", "one", "--watch")
    assert answer.status == 0
    assert data_of(Path("one/report.html"))["watch"] == 0
