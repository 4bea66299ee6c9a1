"""Spoken times: a time of day and its many English wordings, with an exact checker."""

from typing import Any

from ganforge.plugin import (
    Component,
    DataDescription,
    ImageOptions,
    Impossible,
    TextSpec,
    hookimpl,
    option,
    option_names,
    options,
)
from ganforge_spoken_times.wording import CHARACTERS, TIMES, longest, rows_of, vocabulary


@options
class SpokenTimesOptions:
    held_out: int = option(
        240,
        at_least=1,
        below=len(TIMES),
        help="times of day, of all 1440, that are never trained on",
    )
    seed: int = option(0, at_least=0, help="another seed holds out other times")


@options
class WordingCoverageOptions:
    count: int = option(240, at_least=1, help="held-out times to ask for, or as many as there are")
    draws: int = option(20, at_least=1, help="wordings that are drawn for each time")


def describe(options: Any, image: ImageOptions) -> DataDescription:
    for key in option_names(ImageOptions):
        if getattr(image, key) != getattr(ImageOptions(), key):
            raise Impossible(f"spoken-times has no images, so '{key}' means nothing", key=key)
    digits = len(TIMES[0])
    domains = {
        "time": TextSpec(CHARACTERS, length=digits, unit="character", shortest=digits),
        "wording": TextSpec(vocabulary=vocabulary(), length=longest() + 1),  # its end is a choice
    }
    counts = {s: len(rows_of(s, options.held_out, options.seed)) for s in ("train", "test")}
    return DataDescription(
        domains=domains,
        aligned=(("time", "wording"),),
        counts={split: dict.fromkeys(domains, rows) for split, rows in counts.items()},
    )


@hookimpl
def ganforge_components() -> list[Component]:
    return [
        Component(
            "dataset",
            "spoken-times",
            "ganforge_spoken_times.dataset:SpokenTimes",
            SpokenTimesOptions,
            summary='Times of day and all their English wordings: "16:45", "quarter to five"',
            describe=describe,
        ),
        Component(
            "metric",
            "wording-coverage",
            "ganforge_spoken_times.coverage:WordingCoverage",
            WordingCoverageOptions,
            summary="Valid outputs and covered wordings of held-out times, drawn and decoded",
        ),
    ]
