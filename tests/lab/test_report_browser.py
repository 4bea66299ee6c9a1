"""The page of `ganforge report` in a browser: Chromium without a window, driven by Playwright."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from fake_run_folders import make_run, write_lines

from ganforge.lab.report import blind_choices, contents, page

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
EVIL = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>\"'%{x}<b>"
SHOTS = os.environ.get("REPORT_SCREENSHOTS")  # a folder to look at them

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """Opens a file; at the end, nothing may have gone wrong and nothing may have been asked for."""
    trouble, asked, contexts = [], [], []

    def open_(file: Path, **settings):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        context.set_default_timeout(60_000)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda m: trouble.append(m.text) if m.type in ("error", "warning") else 0)
        tab.on("pageerror", lambda error: trouble.append(str(error)))
        tab.on("request", lambda r: asked.append(r.url))
        tab.goto(file.resolve().as_uri())
        return tab

    yield open_
    for context in contexts:
        context.close()
    assert trouble == []
    others = [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    assert others == []


def write(file: Path, *folders, **changes) -> Path:
    report = page.report_of([contents.read(folder, folder.name) for folder in folders])
    for key, value in changes.items():
        setattr(report, key, value)
    file.write_text(page.write(report), encoding="utf-8")
    return file


def pairs(kind="real-or-fake", runs=("one",)):
    """Pairs whose pictures say in their bytes what they are."""
    from ganforge.lab.report.pictures import Pairs

    question = blind_choices.Question(kind, "main", runs, (100,) * len(runs))
    picture = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' id='{}-{}'/>"
    found = tuple((picture.format("first", n), picture.format("second", n)) for n in range(6))
    return Pairs(question, found)


def shoot(tab, name: str) -> None:
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        tab.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def drawn(tab, number: int) -> list[list]:
    """The lines of a chart that are drawn: (name, first x, last x)."""
    tab.locator("[data-chart]").nth(number).scroll_into_view_if_needed()
    until(tab, f"document.querySelectorAll('.plot')[{number}].data")
    return tab.evaluate(
        f"document.querySelectorAll('.plot')[{number}].data.map(t => [t.name, t.x[0], t.x.at(-1)])"
    )


def until(tab, expression: str) -> None:
    """Wait for something; Playwright's own waiting needs what the page's policy forbids."""
    for _ in range(200):
        with suppress(playwright.Error):  # the page is just being loaded again
            if tab.evaluate(f"Boolean({expression})"):
                return
        tab.wait_for_timeout(50)
    raise AssertionError(expression)


def shown_range(tab, number: int) -> list[float]:
    return tab.evaluate(f"document.querySelectorAll('.plot')[{number}].layout.xaxis.range")


@pytest.fixture
def three(tmp_path):
    runs = [
        make_run(tmp_path / name, seed=seed, sheets=sheets, figures={"fid": 1.0 + seed})
        for seed, (name, sheets) in enumerate(
            (("one", (0, 50, 100)), ("two", (0, 40, 100)), ("three", (0, 100)))
        )
    ]
    return write(tmp_path / "report.html", *runs, filters={"one": [filters_shown()]})


def filters_shown():
    """A picture of filters, larger than a phone and than a sheet of paper."""
    from ganforge.lab.report.pictures import FiltersShown
    from ganforge.lab.report.sheets import Picture

    svg = "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' width='900' height='1500'/>"
    return FiltersShown("discriminators.main", Picture(svg, 900, 1500), True)


def test_the_slider_shows_each_runs_sheet_of_that_time(visit, three):
    tab = visit(three)
    steps = tab.locator(".sheet-step")
    assert steps.all_inner_texts() == ["step 100"] * 3
    slider = tab.get_by_label("Step", exact=True)
    slider.focus()
    before = tab.locator("[data-sheet='0']").get_attribute("src")
    slider.press("ArrowLeft")
    assert steps.all_inner_texts() == ["step 50", "step 40", "step 0"]
    assert tab.locator("#time-shown").inner_text() == "50"
    picture = tab.locator("[data-sheet='0']")
    assert picture.get_attribute("src") != before
    assert picture.get_attribute("alt") == "Samples of one at step 50"
    slider.press("Home")
    assert steps.all_inner_texts() == ["step 0"] * 3
    tab.get_by_role("button", name="Play").click()
    until(tab, "document.getElementById('time-shown').textContent == '100'")
    assert tab.get_by_role("button", name="Play").get_attribute("aria-pressed") == "false"


def test_runs_are_hidden_and_shown_in_graphs_and_samples(visit, three):
    tab = visit(three)
    assert {name for name, _, _ in drawn(tab, 0)} == {"one", "two", "three"}
    tab.locator("#runs summary").click()
    tab.locator("#run-1").uncheck()
    assert {name for name, _, _ in drawn(tab, 0)} == {"one", "three"}
    assert tab.locator("#runs-count").inner_text() == "2 of 3"
    assert [sheet.is_visible() for sheet in tab.locator("[data-of-run]").all()] == [
        True,
        False,
        True,
    ]
    tab.reload()
    assert {name for name, _, _ in drawn(tab, 0)} == {"one", "three"}
    tab.locator("#run-1").check()
    assert {name for name, _, _ in drawn(tab, 0)} == {"one", "two", "three"}


def test_all_graphs_zoom_together(visit, three):
    tab = visit(three)
    drawn(tab, 0), drawn(tab, 3)
    whole = shown_range(tab, 0)
    tab.get_by_role("button", name="Zoom in").click()
    low, high = shown_range(tab, 3)
    assert high - low == pytest.approx((whole[1] - whole[0]) / 2)
    tab.get_by_role("button", name="Later").click()
    assert shown_range(tab, 0) == pytest.approx([whole[1] - (high - low), whole[1]])
    tab.get_by_role("button", name="Whole run").click()
    assert shown_range(tab, 3) == pytest.approx(whole)
    plot = tab.locator(".plot").nth(0)
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 60)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 62, steps=5)
    tab.mouse.up()
    until(tab, f"document.querySelectorAll('.plot')[3].layout.xaxis.range[1] < {whole[1] - 1}")
    assert shown_range(tab, 3) == pytest.approx(shown_range(tab, 0))


def test_lines_of_one_run_are_toggled_and_medians_stand_before_logged_values(visit, tmp_path):
    lines = [{"step": s, "score/real": s % 7, "score/fake": -s % 5} for s in range(1, 400)]
    run = make_run(tmp_path / "one", steps=399, lines=lines, sheets=())
    tab = visit(write(tmp_path / "r.html", run))
    assert [name for name, _, _ in drawn(tab, 0)] == ["real", "real", "fake", "fake"]
    tab.get_by_label("Logged values behind the medians").uncheck()
    assert [name for name, _, _ in drawn(tab, 0)] == ["real", "fake"]
    tab.get_by_label("real", exact=True).uncheck()
    assert [name for name, _, _ in drawn(tab, 0)] == ["fake"]
    tab.get_by_text("Figures of Score of D").click()
    assert tab.get_by_role("row", name="fake").is_visible()


def test_pairs_are_chosen_blind_counted_and_saved(visit, tmp_path):
    run = make_run(tmp_path / "one")
    asked = [pairs(), pairs("run-or-run", ("one", "two"))]
    tab = visit(write(tmp_path / "r.html", run, blind=True, pairs=asked))
    tab.get_by_role("button", name="Begin").click()
    left, right = tab.locator("#left"), tab.locator("#right")
    sides = []
    for number in range(1, 7):
        assert tab.locator("#asked").inner_text() == f"Which one is real? Pair {number} of 6"
        assert {left.get_attribute("alt"), right.get_attribute("alt")} == {
            *("Left picture", "Right picture")
        }
        first_is_left = "first" in left.get_attribute("src")
        sides.append(first_is_left)
        real = ("ArrowLeft", "ArrowRight") if first_is_left else ("ArrowRight", "ArrowLeft")
        tab.keyboard.press(real[number > 4])  # right four times, wrong twice
    said = tab.locator("#verdicts p").inner_text()
    assert said == (
        "one: you found the real one in 4 of 6 pairs: 67 %, 95 % interval 30 % to 90 %."
    )
    tab.get_by_label("Question").select_option(index=1)
    tab.get_by_role("button", name="Begin").click()
    tab.get_by_role("button", name="Left picture").click()
    tab.get_by_role("button", name="That is enough").click()
    with tab.expect_download() as download:
        tab.get_by_role("link", name="Save the choices").click()
    file = tmp_path / "choices.json"
    download.value.save_as(file)
    first, second = blind_choices.read([file])
    assert (first.question.kind, first.first, first.count) == ("real-or-fake", 4, 6)
    assert (second.question.runs, second.count) == (("one", "two"), 1)


def test_a_page_that_is_watched_reloads_itself_and_keeps_its_place(visit, tmp_path):
    run = make_run(tmp_path / "one", done=60, sheets=(0, 20, 40, 60))
    file = write(tmp_path / "r.html", run, watch=1.0)
    tab = visit(file)
    slider = tab.get_by_label("Step", exact=True)
    slider.focus()
    slider.press("Home")
    slider.press("ArrowRight")
    tab.evaluate("scrollTo({top: 300, behavior: 'instant'})")
    shutil.copyfile(run.samples / "step-000060.png", run.samples / "step-000080.png")
    write(file, run, watch=1.0)
    until(tab, "document.getElementById('time').max == '4'")
    assert tab.locator("#time-shown").inner_text() == "20"
    assert tab.evaluate("scrollY") == pytest.approx(300, abs=2)
    assert tab.evaluate("document.activeElement.id") == "time"
    slider.press("End")
    shutil.copyfile(run.samples / "step-000060.png", run.samples / "step-000100.png")
    write(file, run, watch=1.0)
    until(tab, "document.getElementById('time').max == '5'")
    assert tab.locator("#time-shown").inner_text() == "100"  # it follows the newest
    tab.locator("#reloading").uncheck()
    tab.evaluate("window.same = true")
    tab.wait_for_timeout(1500)
    assert tab.evaluate("window.same")
    tab.locator("#reloading").check()
    tab.evaluate("scrollTo({top: 300, behavior: 'instant'})")
    write(file, run)  # the last page
    until(tab, "document.readyState == 'complete' && !document.getElementById('reloading')")
    assert tab.evaluate("scrollY") == pytest.approx(300, abs=40)


def test_what_runs_are_called_runs_nothing(visit, tmp_path):
    lines = [{"step": s, f"accuracy/{EVIL}": 0.5, "score/real": 1.0} for s in (1, 2)]
    folder = make_run(
        tmp_path / "<b>x",
        name=EVIL,
        recipe=f"# {EVIL}\n",
        lines=lines,
        figures={EVIL: 1.0},
        protocol=EVIL,
        tables={"lock": {"data": {"domains": {"label": {"names": [EVIL]}}}}, "losses": {EVIL: {}}},
    )
    report = [
        blind_choices.Counted(blind_choices.Question("real-or-fake", EVIL, (EVIL,), (1,)), 1, 3)
    ]
    other = make_run(tmp_path / "y", seed=1, lines=lines)
    for number, runs in enumerate(((folder,), (folder, other))):
        file = write(tmp_path / f"r{number}.html", *runs, counted=report)
        tab = visit(file)
        for chart in range(tab.locator("[data-chart]").count()):
            drawn(tab, chart)
            tab.locator(".plot .nsewdrag").nth(chart).hover(force=True)
        tab.wait_for_timeout(200)
        assert tab.evaluate("window.hacked === undefined")
        assert tab.locator("b, img[src='x']").count() == 0


@pytest.mark.parametrize(
    "name, settings",
    [
        ("wide", {}),
        ("narrow", {"viewport": {"width": 360, "height": 740}, "has_touch": True}),
        ("dark", {"color_scheme": "dark"}),
    ],
)
def test_nothing_stands_out_of_the_page_and_text_has_contrast(visit, three, name, settings):
    tab = visit(three, **settings)
    for chart in range(tab.locator("[data-chart]").count()):
        drawn(tab, chart)
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for selector in ("p", "td", "nav a", ".protocol", "summary", "thead th"):
        assert contrast(tab, selector) >= 4.5, selector
    shoot(tab, name)


def contrast(tab, selector: str) -> float:
    """Of a text to the page's ground, as WCAG 2 defines it."""
    colours = tab.evaluate(
        "s => [document.querySelector('main ' + s) || document.querySelector(s), document.body]"
        ".map((e, i) => getComputedStyle(e)[i ? 'backgroundColor' : 'color'])",
        selector,
    )
    light = sorted(map(luminance, colours))
    return (light[1] + 0.05) / (light[0] + 0.05)


def luminance(colour: str) -> float:
    parts = [int(part) / 255 for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_everything_is_reached_by_the_keyboard_with_a_visible_focus(visit, three):
    tab = visit(three)
    reached = []
    for _ in range(30):
        tab.keyboard.press("Tab")
        seen = tab.evaluate(
            "[document.activeElement.id || document.activeElement.textContent.trim().slice(0, 20),"
            " getComputedStyle(document.activeElement).outlineStyle]"
        )
        assert seen[1] != "none", seen
        reached.append(seen[0])
    assert reached[0] == "Skip to the content"
    for what in ("play", "time", "Zoom in", "behind"):
        assert what in reached, reached


def test_a_printed_page_has_all_graphs_and_the_tables_that_were_closed(visit, three, tmp_path):
    tab = visit(three, color_scheme="dark")
    tab.pdf(path=tmp_path / "page.pdf", format="A4")
    assert tab.evaluate("document.querySelectorAll('.plot .main-svg').length") >= 5
    if SHOTS:
        shutil.copyfile(tmp_path / "page.pdf", Path(SHOTS) / "page.pdf")


def test_twelve_runs_load_and_toggle(visit, tmp_path):
    runs = [make_run(tmp_path / f"run-{number}", seed=number) for number in range(12)]
    lines = [{"step": s, "score/real": 1.0, "score/fake": -1.0} for s in range(1, 3000)]
    for run in runs:
        write_lines(run.metrics, lines)
    file = write(tmp_path / "r.html", *runs)
    assert file.stat().st_size < page.LARGEST
    tab = visit(file)
    assert len(drawn(tab, 0)) == 24
    tab.locator("#runs summary").click()
    for number in range(11):
        tab.locator(f"#run-{number}").uncheck()
    assert {name for name, _, _ in drawn(tab, 0)} == {"run-11"}
