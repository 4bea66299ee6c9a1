"""What a report says of runs: figures by protocol and seed, pictures that fit, choices counted."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import math
import re
from html.parser import HTMLParser
from shutil import copyfile

import numpy as np
import pytest
from fake_run_folders import make_run, write_lines, write_sheet
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ganforge import GanforgeError
from ganforge.lab.report import blind_choices, comparison, contents, curves, page, sheets

EVIL = "</script><script>window.hacked=1</script><img src=x onerror=hack()>\"'&{{7*7}}"


def read(*folders):
    return [contents.read(folder, folder.name) for folder in folders]


class Parsed(HTMLParser):
    """Tags with their attributes, and what scripts hold."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        self.text.append((self.open[-1] if self.open else "", data))

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def data(self):
        return json.loads(next(text for tag, text in self.text if text.startswith('{"')))


# ---------------------------------------------------------------- figures


@pytest.fixture
def seeds(tmp_path):
    """Two games, three and two seeds of them."""
    values = {("a", 0): 1.0, ("a", 1): 3.0, ("a", 2): 5.0, ("b", 0): 2.0, ("b", 1): 5.0}
    return read(
        *(
            make_run(
                tmp_path / f"{game}-{seed}",
                seed=seed,
                lr={"a": 1e-4, "b": 2e-4}[game],
                figures={"fid": value, "share/0": 0.1},
            )
            for (game, seed), value in values.items()
        )
    )


def test_runs_that_differ_in_the_seed_alone_are_one_group(seeds):
    groups = comparison.grouped(seeds)
    assert [[run.name for run in g.runs] for g in groups] == [["a-0", "a-1", "a-2"], ["b-0", "b-1"]]


def test_who_watched_and_where_it_ran_makes_no_other_game_but_a_longer_run_does(tmp_path):
    hooks = {"hooks": {"samples": {"use": "ganforge/samples", "every": 7}}}
    steering = {"hooks": {"stop": {"use": "ganforge/early-stopping"}}}
    runs = read(
        make_run(tmp_path / "one"),
        make_run(tmp_path / "two", seed=1, tables=hooks, name="other"),
        make_run(tmp_path / "three", seed=2, steps=200),
        make_run(tmp_path / "four", seed=3, tables=steering),
        make_run(tmp_path / "again"),
    )
    groups = comparison.grouped(runs)
    found = [[run.name for run in group.runs] for group in groups]
    assert found == [["one", "two"], ["three"], ["four"], ["again"]]


def test_groups_have_mean_deviation_n_and_the_paired_difference_to_the_baseline(seeds):
    groups = comparison.grouped(seeds)
    (block,) = comparison.compared(groups, comparison.baseline_of(groups, "a-1"))
    row = block.rows[0]
    assert row.figure == "fid"
    assert row.summaries["a-0"] == comparison.Summary(3.0, 2.0, 3)
    assert row.summaries["b-0"].deviation == pytest.approx(math.sqrt(4.5))
    difference = row.against["b-0"]  # 2 - 1 and 5 - 3; seed 2 has no partner
    assert (difference.mean, difference.count) == (1.5, 2)
    assert difference.deviation == pytest.approx(math.sqrt(0.5))
    assert "a-0" not in row.against


def test_a_baseline_that_is_no_run_of_the_report_is_refused(seeds):
    with pytest.raises(GanforgeError, match=r"--baseline c is not among .* a-0, a-1"):
        comparison.baseline_of(comparison.grouped(seeds), "c")


def test_different_protocols_never_share_a_row_and_that_is_said(tmp_path):
    runs = read(
        make_run(tmp_path / "one", figures={"fid": 1.0}, protocol="100 samples"),
        make_run(tmp_path / "two", figures={"fid": 2.0}, protocol="500 samples", seed=1),
    )
    blocks = comparison.compared(comparison.grouped(runs))
    assert [set(block.steps) for block in blocks] == [{"one"}, {"two"}]
    assert comparison.several_protocols(blocks) == {"distance": 2}
    text = page.write(page.report_of(runs))
    assert "distance was measured by 2 protocols" in text


def test_the_last_measurement_counts_and_the_best_step_stands_apart(tmp_path):
    folder = make_run(tmp_path / "one")
    lines = [
        {"step": step, "metric": "distance", "figures": {"fid": value}, "protocol": "p"}
        for step, value in ((50, 9.0), (50, 2.0), (100, 4.0))
    ]
    write_lines(folder.evaluations, lines)
    folder.write_best(50, "metric/distance/fid", 2.0)
    blocks = comparison.compared(comparison.grouped(read(folder)))
    found = [(b.moment, b.steps["one"], b.rows[0].values["one"]) for b in blocks]
    assert found == [("last", 100, 4.0), ("best", 50, 2.0)]


def test_figures_that_a_run_logged_are_shown_unless_they_were_measured_again(tmp_path):
    tables = {"metrics": {"distance": {"use": "ganforge/distance", "count": 7}}}
    lines = [{"step": 100, "metric/distance/fid": 3.0, "metric/distance/bad": None}]
    folder = make_run(tmp_path / "one", tables=tables, lines=lines)
    (block,) = comparison.compared(comparison.grouped(read(folder)))
    assert (block.logged, block.rows[0].values) == (True, {"one": 3.0})
    assert block.protocol == "ganforge/distance, count = 7"
    figures = {"fid": 3.5}
    again = make_run(tmp_path / "two", tables=tables, lines=lines, figures=figures)
    (block,) = comparison.compared(comparison.grouped(read(again)))
    assert (block.logged, block.rows[0].values) == (False, {"two": 3.5})


def test_the_csv_has_a_line_for_each_run_and_each_group(seeds):
    groups = comparison.grouped(seeds)
    base = groups[0]
    text = comparison.to_csv(comparison.compared(groups, base), groups, base)
    rows = [row for row in csv.DictReader(io.StringIO(text)) if row["figure"] == "fid"]
    assert [row["of"] for row in rows] == ["run"] * 3 + ["group"] + ["run"] * 2 + ["group"]
    assert (rows[0]["name"], rows[0]["seed"], float(rows[0]["value"])) == ("a-0", "0", 1.0)
    assert (float(rows[3]["value"]), float(rows[3]["deviation"]), rows[3]["n"]) == (3.0, 2.0, "3")
    assert (rows[6]["baseline"], float(rows[6]["difference"])) == ("a-0", 1.5)
    assert rows[6]["difference_n"] == "2" and rows[6]["protocol"] == "100 samples"


def test_no_cell_of_the_csv_is_a_formula(tmp_path):
    folder = make_run(tmp_path / "=cmd()", figures={"-2+3": -1.5}, protocol="@SUM(A1)")
    groups = comparison.grouped(read(folder))
    text = comparison.to_csv(comparison.compared(groups), groups)
    (row,) = csv.DictReader(io.StringIO(text))
    assert [row[key] for key in ("name", "figure", "protocol")] == ["'=cmd()", "'-2+3", "'@SUM(A1)"]
    assert row["value"] == "-1.5"


def test_what_is_damaged_in_a_run_folder_is_left_out(tmp_path):
    folder = make_run(tmp_path / "one", figures={"fid": 1.0})
    with folder.evaluations.open("a", encoding="utf-8") as file:
        file.write('{"step": 3, "metric": "x", "figures": 7}\n{"step": 3}\n[]\n{"st')
        file.write('\n{"step": 4, "metric": "y", "figures": {"a": "text", "b": true, "c": NaN}}\n')
    (state,) = folder.checkpoints.glob("*/state.json")
    state.write_text("{", encoding="utf-8")
    (folder.samples / "step-000050.png").write_bytes(b"\x89PNG cut off")
    (entry,) = read(folder)
    assert "no checkpoint yet" in " ".join(contents.warnings(entry))
    text = page.write(page.report_of([entry]))
    assert Parsed(text).data()["sheets"][0]["steps"] == [0, 100]


# ---------------------------------------------------------------- what to beware of


def test_warnings_say_what_the_folder_knows(tmp_path):
    folder = make_run(
        tmp_path / "one",
        done=60,
        tables={
            "lock": {"stand_in": "painted-horses took the place of photographs"},
            "hooks": {"alarm": {"use": "ganforge/collapse-alarm"}},
        },
        state={
            "inexact": [{"step": 30, "changed": ["torch 2.9 -> 2.10"]}],
            "hooks": {"alarm": {"told": ["accuracy/main", "spread"]}},
        },
        lines=[{"step": 50, "loss/adversarial/generator": None, "accuracy": 0.5}],
    )
    (folder.failed / "step-00000051").mkdir(parents=True)
    told = list(contents.warnings(read(folder)[0]))
    assert told == [
        "trained on stand-in data: painted-horses took the place of photographs",
        "not finished: step 60 of 100",
        "not bit-exact from step 30 on (torch 2.9 -> 2.10)",
        "collapse alarm: the accuracy of discriminator 'main' stayed at 1",
        "collapse alarm: fakes were nearly alike",
        "stopped once because something was not finite (step-00000051); `ganforge replay` shows it",
        "not finite in the log: loss/adversarial/generator",
    ]


def test_a_finished_run_has_nothing_to_beware_of(tmp_path):
    (entry,) = read(make_run(tmp_path / "one"))
    assert (entry.step, entry.seconds, entry.images) == (100, 42.5, 400)
    assert list(contents.warnings(entry)) == []


# ---------------------------------------------------------------- curves


def test_one_run_has_a_chart_for_each_panel_and_several_one_for_each_line(tmp_path):
    one, two = read(make_run(tmp_path / "one"), make_run(tmp_path / "two", seed=1))
    alone = curves.charts([one.log])
    assert [chart.title for chart in alone] == ["Loss", "Score of D", "Accuracy of D"]
    assert [curve.label for curve in alone[0].curves] == ["discriminator", "generator"]
    both = curves.charts([one.log, two.log])
    assert [chart.title for chart in both] == [
        *("Loss: discriminator", "Loss: generator", "Score of D: real", "Score of D: fake"),
        "Accuracy of D",
    ]
    assert [(c.run, c.label) for c in both[0].curves] == [(0, "one"), (1, "two")]
    assert len({curves.style_of(run) for run in range(12)}) == 12


def test_a_metric_measured_several_times_has_a_chart(tmp_path):
    lines = [
        {"step": s, "metric/distance/fid": 9.0 - s, "metric/d/a/b": 1.0, "accuracy": 1.0}
        for s in (1, 2)
    ]
    (entry,) = read(make_run(tmp_path / "one", lines=lines))
    assert [chart.title for chart in curves.charts([entry.log])] == [
        "Accuracy of D",
        "distance/fid",
    ]


def test_a_long_curve_keeps_its_extremes_and_ends(tmp_path):
    lines = [{"step": s, "score/real": math.sin(s / 900), "score/fake": 0} for s in range(1, 9000)]
    lines[4321]["score/real"] = 50.0
    lines[100]["score/real"] = None
    (entry,) = read(make_run(tmp_path / "one", steps=9000, lines=lines, done=8999))
    real = curves.charts([entry.log])[0].curves[0]
    assert len(real.steps) <= 1500 and len(real.smooth_steps) <= 1500
    assert (real.steps[0], real.steps[-1], max(v for v in real.values if v is not None)) == (
        *(1, 8999),
        50.0,
    )
    assert max(v for v in real.smooth if v is not None) <= 1


def test_a_run_that_logged_nothing_has_no_curves_and_others_keep_their_numbers(tmp_path):
    quiet, loud = read(make_run(tmp_path / "a", lines=[], done=0), make_run(tmp_path / "b", seed=1))
    assert {c.run for chart in curves.charts([quiet.log, loud.log]) for c in chart.curves} == {1}
    assert curves.charts([quiet.log]) == []


# ---------------------------------------------------------------- pictures


def test_sheets_that_fit_are_shown_as_they_are(tmp_path):
    folder = make_run(tmp_path / "one")
    found = sheets.sheets_of(folder, 10**6)
    assert (found.steps, found.note) == ((0, 50, 100), "")
    shown = base64.b64decode(found.pictures[1].address.removeprefix("data:image/png;base64,"))
    assert shown == (folder.samples / "step-000050.png").read_bytes()
    assert (found.real.width, found.real.height) == (34, 34)


@pytest.mark.parametrize("room", [80_000, 60_000, 30_000])
def test_sheets_that_do_not_fit_become_fewer_or_smaller_and_that_is_said(tmp_path, room):
    folder = make_run(tmp_path / "one", sheets=range(0, 100, 10), side=64)
    found = sheets.sheets_of(folder, room)
    assert sum(len(p.address) for p in (*found.pictures, found.real)) * 3 / 4 <= room + 200
    assert found.steps[0] == 0 and found.steps[-1] == 90
    assert "quality" in found.note or "evenly spread" in found.note


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=12), st.integers(0, 5000))
def test_room_is_shared_so_that_what_one_leaves_goes_to_others(sizes, room):
    parts = sheets.shared(sizes, room)
    assert sum(parts) <= room
    assert all(part <= size for part, size in zip(parts, sizes, strict=True))
    if sum(sizes) <= room:
        assert parts == sizes
    else:
        assert sum(parts) >= room - len(sizes)


def test_a_page_of_twelve_runs_of_photographs_stays_small(tmp_path):
    draws = np.random.default_rng(0)
    noise = draws.integers(0, 256, (320, 320, 3), dtype=np.uint8)  # 300 kB as PNG
    Image.fromarray(noise).save(tmp_path / "noise.png", compress_level=1)
    runs = []
    for number in range(12):
        folder = make_run(tmp_path / f"run-{number}", seed=number, sheets=(), done=100)
        for step in (0, 50, 100):
            copyfile(tmp_path / "noise.png", folder.samples / f"step-{step:06d}.png")
        runs.append(folder)
    text = page.write(page.report_of(read(*runs)))
    assert len(text.encode()) < page.LARGEST
    assert all(len(found["steps"]) >= 2 for found in Parsed(text).data()["sheets"])


# ---------------------------------------------------------------- the page


def evil_run(path):
    return make_run(
        path / "<b>run\"'&" if path.anchor == "/" else path / "run'&",
        name=EVIL,
        recipe=f"# {EVIL}\n",
        figures={EVIL: 1.0},
        protocol=EVIL,
        tables={
            "lock": {"versions": {EVIL: EVIL}, "data": {"domains": {"label": {"names": [EVIL]}}}},
            "losses": {EVIL: {"use": EVIL}},
            "generators": {EVIL: {"from": [EVIL], "to": EVIL}},
        },
        lines=[{"step": s, f"loss/{EVIL}/generator": s, f"accuracy/{EVIL}": 1} for s in (1, 2)],
        state={"inexact": [{"step": 1, "changed": [EVIL]}], "torch": EVIL},
    )


def test_nothing_of_a_run_is_taken_for_html(tmp_path):
    entries = read(evil_run(tmp_path), make_run(tmp_path / "tame"))
    for chosen in (entries, entries[:1]):
        report = page.report_of(chosen)
        question = blind_choices.Question("real-or-fake", EVIL, (EVIL,), (1,))
        report.counted = [blind_choices.Counted(question, 1, 2)]
        report.notes = [EVIL]
        parsed = Parsed(page.write(report))
        assert [s.get("type") for s in parsed.of("script")] == ["application/json", None, None]
        assert not parsed.of("b")
        assert all(image["src"].startswith("data:image/") for image in parsed.of("img") if image)
        assert not [key for _, found in parsed.tags for key in found if key.startswith("on")]
        assert parsed.data()["runs"][0] == entries[0].name
        assert any(EVIL in text for _, text in parsed.text)
        assert not any("49" in text and "{{" in text for tag, text in parsed.text if tag == "h1")


def test_a_page_loads_nothing_and_runs_its_own_scripts_only(tmp_path):
    text = page.write(page.report_of(read(make_run(tmp_path / "one", figures={"fid": 1.0}))))
    parsed = Parsed(text)
    for tag, attributes in parsed.tags:
        for key in ("src", "href", "action", "poster", "srcset", "data"):
            if key in attributes:
                assert attributes[key].startswith(("data:", "#")), (tag, attributes)
    assert not parsed.of("link") and not parsed.of("iframe")
    policy = next(m["content"] for m in parsed.of("meta") if "http-equiv" in m)
    assert "default-src 'none'" in policy
    for source in re.findall(r"<script>(.*?)</script>", text, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_a_page_is_readable_without_eyes_and_without_scripts(tmp_path):
    runs = read(make_run(tmp_path / "one", figures={"fid": 1.0}), make_run(tmp_path / "b", seed=1))
    parsed = Parsed(page.write(page.report_of(runs)))
    assert parsed.of("html")[0]["lang"] == "en"
    tags = {tag for tag, _ in parsed.tags}
    assert {"header", "nav", "main", "footer", "h1", "h2", "figure", "figcaption"} <= tags
    assert all(
        image.get("alt") or image.get("id") in ("left", "right") for image in parsed.of("img")
    )
    ids = [found["id"] for _, found in parsed.tags if "id" in found]
    assert len(set(ids)) == len(ids)
    for _, found in parsed.tags:
        for key in ("aria-labelledby", "for"):
            assert key not in found or found[key] in ids
    for attributes in parsed.of("section"):
        assert attributes["aria-labelledby"] in ids
    links = [a["href"][1:] for a in parsed.of("a") if a["href"] != "#"]
    assert set(links) <= set(ids)


def test_differences_of_the_recipes_come_first_and_leave_out_what_is_the_same(tmp_path):
    runs = read(make_run(tmp_path / "one"), make_run(tmp_path / "two", lr=1e-3, seed=4, name="x"))
    rows = page._differing(runs)
    assert rows == [("train.seed", ["0", "4"]), ("generators.main.lr", ["0.0002", "0.001"])]
    text = page.write(page.report_of(runs))
    assert text.index("What differs") < text.index("With every default")


def test_runs_that_read_other_noise_are_said_not_to_compare_tile_by_tile(tmp_path):
    other = {"noise": {"dim": 9}}
    runs = read(make_run(tmp_path / "one"), make_run(tmp_path / "two", tables=other))
    assert "2 different kinds of noise" in page.write(page.report_of(runs))
    assert "different kinds" not in page.write(page.report_of(runs[:1]))


# ---------------------------------------------------------------- choices


def test_wilsons_interval_is_that_of_the_textbook():
    low, high = blind_choices.wilson(15, 20)
    assert (low, high) == pytest.approx((0.531299, 0.888138), abs=1e-5)
    assert blind_choices.wilson(0, 10) == pytest.approx((0.0, 0.277533), abs=1e-5)
    assert blind_choices.wilson(10, 10)[1] == 1.0


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilsons_interval_holds_the_share_and_mirrors(numbers):
    hits, count = numbers
    low, high = blind_choices.wilson(hits, count)
    assert 0 <= low <= hits / count <= high <= 1
    mirrored = blind_choices.wilson(count - hits, count)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9)


def saved(path, name, picks, **changes):
    one = {
        "kind": "real-or-fake",
        "generator": "main",
        "runs": ["one"],
        "steps": [100],
        "chosen": picks,
        **changes,
    }
    path.write_text(json.dumps({"ganforge-choices": 1, "id": name, "comparisons": [one]}), "utf-8")
    return path


def test_choices_of_several_people_add_up_and_a_file_given_twice_counts_once(tmp_path):
    files = [
        saved(tmp_path / "a.json", "a", [0, 0, 1, 0]),
        saved(tmp_path / "b.json", "b", [1, 1]),
        saved(tmp_path / "copy.json", "a", [0, 0, 1, 0]),
        saved(tmp_path / "c.json", "c", [0], kind="run-or-run", runs=["one", "two"], steps=[1, 2]),
    ]
    first, second = blind_choices.read(files)
    assert (first.first, first.count, first.share, first.undecided) == (3, 6, 0.5, True)
    assert second.question.runs == ("one", "two")
    assert blind_choices.unknown_runs([first, second], ["one"]) == ["two"]


@pytest.mark.parametrize(
    "content, told",
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "has no choices in it"),
        ('{"ganforge-choices": 9}', "is of another version"),
        ('{"ganforge-choices": 1}', "has no list of comparisons"),
        ('{"ganforge-choices": 1, "comparisons": [3]}', "has a malformed comparison"),
        ('{"ganforge-choices": 1, "comparisons": [{"kind": "run-or-run"}]}', "without 'runs'"),
    ],
)
def test_a_file_that_holds_no_choices_is_refused_in_a_line(tmp_path, content, told):
    file = tmp_path / "choices.json"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(GanforgeError, match=told):
        blind_choices.read([file])


@pytest.mark.parametrize(
    "changes", [{"chosen": [2]}, {"chosen": [True]}, {"runs": [3]}, {"steps": []}, {"runs": []}]
)
def test_choices_that_are_damaged_are_refused(tmp_path, changes):
    file = saved(tmp_path / "c.json", "c", [0], **changes)
    with pytest.raises(GanforgeError, match="damaged"):
        blind_choices.read([file])


def test_a_missing_file_of_choices_is_a_line(tmp_path):
    with pytest.raises(GanforgeError, match="cannot read"):
        blind_choices.read([tmp_path / "none.json"])


# ---------------------------------------------------------------- with weights


def test_the_tiles_of_a_plain_sheet_are_cut_out_and_others_are_not(tmp_path):
    from ganforge.interfaces.specs import ImageSpec
    from ganforge.lab.report.pictures import cut

    write_sheet(tmp_path / "real.png", 100, 8)
    tiles = cut(tmp_path / "real.png", ImageSpec(1, 8, 8))
    assert tiles is not None and tiles.shape == (4, 1, 8, 8)
    with Image.open(tmp_path / "real.png") as image:
        pixels = np.array(image)
    assert np.allclose(tiles[3, 0].numpy(), pixels[10:, 10:] / 127.5 - 1, atol=1e-6)
    assert cut(tmp_path / "real.png", ImageSpec(1, 9, 8)) is None
    assert cut(tmp_path / "none.png", ImageSpec(1, 8, 8)) is None


def test_filters_of_twelve_runs_fit_into_what_is_kept_for_them():
    """Weights are noise, which no format makes small."""
    from ganforge.lab.report.pictures import _fitted

    noise = np.random.default_rng(0).integers(0, 256, (900, 600), dtype=np.uint8)
    room = page.FILTERS // page.MOST_RUNS // 2
    assert len(_fitted(noise, room).address) * 3 // 4 <= room
    assert _fitted(noise, 10 * room).width == 600
