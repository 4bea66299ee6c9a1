"""Times of day in English: every wording of a time, and whether a text is one of them.

Light: no torch here, so that recipes are checked without it. A time is "HH:MM", 00:00 to 23:59.
"""

from __future__ import annotations

from functools import cache
from hashlib import blake2b

from ganforge import GanforgeError

TIMES = tuple(f"{hour:02}:{minute:02}" for hour in range(24) for minute in range(60))
CHARACTERS = ("", *"0123456789", ":")

_SMALL = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SMALL += ("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen")
_SMALL += ("eighteen", "nineteen")
_TENS = ("", "", "twenty", "thirty", "forty", "fifty")


@cache
def wordings(time: str) -> tuple[str, ...]:
    """Every valid wording of a time, six to nine, each in lower case with words parted by blanks.

    Raises GanforgeError for what is not a time.
    """
    if time not in TIMES:
        raise GanforgeError(f"'{time}' is not a time of day; write it as 00:00 to 23:59")
    hour, minute = int(time[:2]), int(time[3:])
    return tuple(_on_the_hour(hour) if minute == 0 else _between(hour, minute))


def valid(time: str, text: str) -> bool:
    """Whether a text is a wording of a time. Raises GanforgeError for what is not a time."""
    return text in wordings(time)


def _on_the_hour(hour: int) -> list[str]:
    name = _of_twelve(hour)
    found = [name, f"{name} o'clock", f"{name} {_half(hour)}", f"{name} sharp"]
    found += [f"exactly {name}", f"exactly {name} o'clock"]
    found += [f"{number(hour)} hundred"] if hour > 12 else []
    return found + {0: ["midnight"], 12: ["noon"]}.get(hour, [])


def _between(hour: int, minute: int) -> list[str]:
    name = _of_twelve(hour)
    digits = number(minute) if minute > 9 else f"oh {number(minute)}"
    found = [f"{name} {digits}", f"{name} {digits} {_half(hour)}"]
    found += [f"{number(hour)} {digits}"] if hour > 12 else []
    if minute <= 30:
        count, near, ways = minute, name, ("past", "after")
    else:
        count, near, ways = 60 - minute, _of_twelve(hour + 1), ("to", "before")
    minutes = "minute" if count == 1 else "minutes"
    for way in ways:
        found += [f"{number(count)} {way} {near}", f"{number(count)} {minutes} {way} {near}"]
    if count == 15:
        found += [f"quarter {ways[0]} {near}", f"a quarter {ways[0]} {near}"]
    return [*found, f"half past {near}"] if count == 30 else found


def number(value: int) -> str:
    """A number from 0 to 59 in one word: `forty-five`."""
    if value < len(_SMALL):
        return _SMALL[value]
    tens, ones = divmod(value, 10)
    return f"{_TENS[tens]}-{_SMALL[ones]}" if ones else _TENS[tens]


def _of_twelve(hour: int) -> str:
    """The hour as a clock's face shows it."""
    return number(hour % 12 or 12)


def _half(hour: int) -> str:
    return "am" if hour < 12 else "pm"


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word of every wording, sorted, after "" which ends a text."""
    return (
        "",
        *sorted({word for time in TIMES for text in wordings(time) for word in text.split()}),
    )


@cache
def longest() -> int:
    """Words of the longest wording."""
    return max(len(text.split()) for time in TIMES for text in wordings(time))


@cache
def times_of(split: str, held_out: int, seed: int) -> tuple[str, ...]:
    """The times of a split, "train" or "test", in an order that follows from the seed."""
    order = sorted(TIMES, key=lambda time: blake2b(f"{seed} {time}".encode()).digest())
    return tuple(order[:held_out] if split == "test" else order[held_out:])


@cache
def rows_of(split: str, held_out: int, seed: int) -> tuple[tuple[str, str], ...]:
    """(time, wording) for every wording of every time of a split.

    The first wording of each time comes first, so that the first rows show as many times.
    """
    times = times_of(split, held_out, seed)
    most = max(len(wordings(time)) for time in times)
    return tuple(
        (time, wordings(time)[place])
        for place in range(most)
        for time in times
        if place < len(wordings(time))
    )
