"""Spoken times: wordings that mean their time, rows that hold all of them, and the metric."""

import re
import subprocess
import sys

import pytest
import torch
from ganforge_spoken_times.coverage import (
    Tallies,
    WordingCoverage,
    covered_at_most,
    decoded,
    drawn,
    found,
)
from ganforge_spoken_times.dataset import SpokenTimes
from ganforge_spoken_times.plugin import (
    SpokenTimesOptions,
    WordingCoverageOptions,
    describe,
    ganforge_components,
)
from ganforge_spoken_times.wording import (
    TIMES,
    longest,
    number,
    rows_of,
    times_of,
    valid,
    vocabulary,
    wordings,
)
from hypothesis import given
from hypothesis import strategies as st

from ganforge import GanforgeError, ImageOptions
from ganforge.plugin import Impossible

VALUES = {number(value): value for value in range(60)}


def dataset(**options):
    chosen = SpokenTimesOptions(**options)
    return SpokenTimes(chosen, ImageOptions(), describe(chosen, ImageOptions()))


def meant(text):
    """The minutes since midnight that a text may mean, read word by word: the other way round than
    wordings are made."""
    text = {"midnight": "zero hundred", "noon": "twelve pm"}.get(text, text)
    words = text.removeprefix("exactly ").removesuffix(" o'clock").removesuffix(" sharp").split()
    half = words.pop() if words[-1] in ("am", "pm") else None
    away = re.match(r"(?:a )?([\w-]+)(?: minutes?)? (past|after|to|before) ([\w-]+)$", text)
    if away:
        count, way, hour = away.groups()
        minutes = {"quarter": 15, "half": 30}.get(count) or VALUES[count]
        at = VALUES[hour] * 60 + (minutes if way in ("past", "after") else -minutes)
    else:
        hour, *rest = words
        rest = [word for word in rest if word not in ("oh", "hundred")]
        at = VALUES[hour] * 60 + (VALUES[rest[0]] if rest else 0)
        if "hundred" in words or VALUES[hour] > 12:
            return {at}
    both = {at % 720, at % 720 + 720}
    return {t for t in both if half is None or (t >= 720) == (half == "pm")}


# --- wordings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (
            "16:45",
            "four forty-five; four forty-five pm; sixteen forty-five; fifteen to five; fifteen "
            "minutes to five; fifteen before five; fifteen minutes before five; quarter to five; a "
            "quarter to five",
        ),
        (
            "00:00",
            "twelve; twelve o'clock; twelve am; twelve sharp; exactly twelve; exactly twelve "
            "o'clock; midnight",
        ),
        (
            "09:01",
            "nine oh one; nine oh one am; one past nine; one minute past nine; one after nine; one "
            "minute after nine",
        ),
    ],
)
def test_wordings_are_those_written_out_by_hand(time, expected):
    assert list(wordings(time)) == expected.split("; ")


@pytest.mark.parametrize("hour", range(24))
def test_every_wording_read_back_means_its_time(hour):
    for minute in range(60):
        for text in wordings(f"{hour:02}:{minute:02}"):
            assert hour * 60 + minute in meant(text), text


def test_every_time_has_six_to_nine_different_wordings():
    counts = [len(wordings(time)) for time in TIMES]
    assert (min(counts), max(counts)) == (6, 9)
    assert all(len(set(wordings(time))) == len(wordings(time)) for time in TIMES)


@given(st.sampled_from(TIMES), st.sampled_from(TIMES))
def test_a_wording_of_another_time_is_valid_only_where_it_may_mean_this_one(time, other):
    at = int(time[:2]) * 60 + int(time[3:])
    for text in wordings(other):
        assert valid(time, text) <= (at in meant(text))


def test_what_is_nearly_a_wording_is_not_valid():
    assert valid("16:45", "quarter to five")
    for text in (
        "quarter to four",
        "a quarter past five",
        "five to quarter",
        "",
        "four forty-five am",
    ):
        assert not valid("16:45", text)


@pytest.mark.parametrize("time", ["24:00", "7:30", "12:60", "noon", ""])
def test_what_is_no_time_is_refused_in_one_line(time):
    with pytest.raises(GanforgeError, match="is not a time of day; write it as 00:00 to 23:59"):
        wordings(time)


# --- rows -----------------------------------------------------------------------------------------


def test_no_held_out_time_is_trained_on_and_every_time_is_somewhere():
    train, test = (set(times_of(split, 240, 0)) for split in ("train", "test"))
    assert not train & test and train | test == set(TIMES) and len(test) == 240
    rows = {time for time, _ in rows_of("train", 240, 0)}
    assert rows == train


def test_another_seed_holds_out_other_times():
    assert set(times_of("test", 240, 0)) != set(times_of("test", 240, 1))


def test_every_wording_of_every_time_of_a_split_is_one_row():
    data = dataset(held_out=100)
    time, wording = (data.description.domains[name] for name in ("time", "wording"))
    for split in ("train", "test"):
        pairs = [
            (time.decode(t), wording.decode(w))
            for t, w in zip(
                data.rows(split, "time").tolist(), data.rows(split, "wording").tolist(), strict=True
            )
        ]
        assert len(pairs) == len(set(pairs)) == data.count(split, "time")
        assert set(pairs) == {(t, w) for t in data.times(split) for w in wordings(t)}


def test_first_held_out_rows_are_of_different_times():
    data = dataset()
    assert len({tuple(row) for row in data.rows("test", "time")[:240].tolist()}) == 240


def test_every_word_is_in_the_vocabulary_and_every_text_has_an_end():
    spec = dataset().description.domains["wording"]
    assert spec.vocabulary == vocabulary() and spec.length == longest() + 1 == 5
    assert all(spec.encode(text)[-1] == 0 for time in TIMES for text in wordings(time))


def test_image_options_are_refused():
    with pytest.raises(Impossible, match="no images, so 'size' means nothing") as refusal:
        describe(SpokenTimesOptions(), ImageOptions(size=64))
    assert refusal.value.key == "size"


# --- the metric -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "figure", "expected"), [*WordingCoverage.closed_forms()])
def test_closed_forms(what, figure, expected):
    assert figure == pytest.approx(expected), what


def test_the_bound_is_what_uniform_draws_cover():
    random = torch.Generator().manual_seed(0)
    draws = torch.randint(7, (20_000, 20), generator=random)
    seen = torch.zeros(20_000, 7).scatter_(1, draws, 1.0).mean()
    assert seen.item() == pytest.approx(covered_at_most([7], 20), abs=2e-3)


def test_an_oracle_covers_what_the_bound_says_and_a_parrot_one_wording():
    data = dataset()
    times, spec = data.times("test"), data.description.domains["wording"]
    random = torch.Generator().manual_seed(0)

    def oracle(time):
        places = torch.randint(len(wordings(time)), (20,), generator=random).tolist()
        return [spec.encode(wordings(time)[place]) for place in places]

    tallies = Tallies(spec)
    tallies.add("oracle/", times, torch.tensor([oracle(time) for time in times]))
    parrot = [[spec.encode(wordings(time)[0])] * 20 for time in times]
    tallies.add("parrot/", times, torch.tensor(parrot))
    figures = tallies.figures()
    assert figures["oracle/valid"] == figures["parrot/valid"] == 1
    bound = covered_at_most([len(wordings(time)) for time in times], 20)
    assert figures["oracle/covered"] == pytest.approx(bound, abs=0.01)
    ones = [1 / len(wordings(time)) for time in times]
    assert figures["parrot/covered"] == pytest.approx(sum(ones) / len(ones))


def test_an_invalid_text_counts_as_no_wording_however_often():
    assert found("16:45", ["quarter past five"] * 3 + ["quarter to five"]) == (1 / 4, 1 / 9)


class Counting(torch.nn.Module):
    """A generator of texts of one word that draws by torch's generator, as networks do."""

    def forward(self, source):
        return torch.nn.functional.one_hot(torch.randint(5, (len(source), 2)), 5).float()

    def decode(self, source, *, method, count=1, temperature=1.0, generator=None):
        return torch.full((len(source), count, 2), {"greedy": 1, "beam": 2, "sample": 3}[method])


def test_draws_follow_from_their_seed_and_leave_torchs_generator_alone():
    source = torch.zeros(50, 5)
    before = torch.get_rng_state()
    first, again, other = (drawn(Counting(), [source], seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_same_network_is_decoded_in_five_other_ways():
    ways = dict(decoded(Counting(), [torch.zeros(3, 5)], [torch.zeros(6, 5)], 0))
    assert {name: list(texts.shape) for name, texts in ways.items()} == {
        "greedy": [3, 1, 2],
        "beam-5": [3, 5, 2],
        "beam-20": [3, 20, 2],
        "temperature-1": [6, 1, 2],
        "temperature-0-7": [6, 1, 2],
    }


def test_the_protocol_is_one_line_with_its_counts():
    text = WordingCoverage(WordingCoverageOptions(count=7, draws=3)).protocol()
    assert "\n" not in text and "first 7" in text and "3 draws" in text


def test_manifest_does_not_import_torch():
    assert {component.name for component in ganforge_components()} == {
        "spoken-times",
        "wording-coverage",
    }
    code = (
        "from ganforge_spoken_times.plugin import *; import sys; "
        "describe(SpokenTimesOptions(), ImageOptions()); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
