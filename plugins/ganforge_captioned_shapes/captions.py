"""What captions say, and the English they say it in. Light.

A `Meaning` names one or two things and how they lie; a caption is one wording of it. Many captions
mean the same, and `parse` finds the meaning of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from attrs import evolve, field, frozen

from ganforge import GanforgeError

COLOURS = ("red", "green", "blue", "yellow", "purple", "black")
SHAPES = ("circle", "square", "triangle", "cross")
SIZES = ("small", "large")
CONVERSE = {"left": "right", "right": "left", "above": "below", "below": "above"}
CANONICAL = ("left", "above")  # of each pair of relations that say the same the other way round

SIZE_WORDS = {"small": ("small", "small", "little"), "large": ("large", "large", "big")}
RELATION_WORDS = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
OPENINGS = ("", "", "there is", "a picture of")
LENGTH = 16  # words of the longest caption, and one to end it


class Chooser(Protocol):
    """What draws: numpy's generators do."""

    def random(self) -> float:
        """A number in [0, 1)."""


T = TypeVar("T")


def pick(choices: Sequence[T], draws: Chooser) -> T:
    """One of the choices, each as likely as the others."""
    return choices[int(draws.random() * len(choices))]


@frozen
class Thing:
    """One thing in a picture, as a caption names it."""

    size: str
    colour: str
    shape: str

    def __str__(self) -> str:
        return f"{self.size} {self.colour} {self.shape}"


@frozen
class Meaning:
    """What a caption says: these things and no others, and the position of the first."""

    things: tuple[Thing, ...] = field(converter=tuple)
    relation: str | None = None

    def __str__(self) -> str:
        return f" {self.relation} ".join(map(str, self.things))

    @property
    def canonical(self) -> Meaning:
        """The same with things in the order that needs a canonical relation."""
        if self.relation is None or self.relation in CANONICAL:
            return self
        return Meaning(self.things[::-1], CONVERSE[self.relation])


def drawn(objects: int, draws: Chooser) -> Meaning:
    """Any meaning with one thing, or with `objects` = 2 as often with two that differ."""
    first = _thing(draws)
    if objects == 1 or draws.random() < 0.5:
        return Meaning((first,))
    while (second := _thing(draws)) == first:
        pass
    return Meaning((first, second), pick(CANONICAL, draws))


def _thing(draws: Chooser) -> Thing:
    return Thing(pick(SIZES, draws), pick(COLOURS, draws), pick(SHAPES, draws))


def near_miss(meaning: Meaning, draws: Chooser) -> Meaning:
    """The same with one attribute of one thing, or the relation, changed."""
    kinds: dict[str, Sequence[str]] = {"size": SIZES, "colour": COLOURS, "shape": SHAPES}
    if meaning.relation is not None and draws.random() < 0.25:
        others = [name for name in CONVERSE if name != meaning.relation]
        return evolve(meaning, relation=pick(others, draws)).canonical
    place = int(draws.random() * len(meaning.things))
    kind = pick(list(kinds), draws)
    others = [value for value in kinds[kind] if value != getattr(meaning.things[place], kind)]
    things = list(meaning.things)
    things[place] = evolve(things[place], **{kind: pick(others, draws)})
    return evolve(meaning, things=things)


def wording(meaning: Meaning, draws: Chooser) -> str:
    """One of the captions that mean this."""
    things, relation = meaning.things, meaning.relation
    if relation is not None and draws.random() < 0.5:
        things, relation = things[::-1], CONVERSE[relation]
    words = [pick(OPENINGS, draws), _phrase(things[0], draws)]
    if relation is not None:
        words += [pick(RELATION_WORDS[relation], draws), _phrase(things[1], draws)]
    return " ".join(word for word in words if word)


def _phrase(thing: Thing, draws: Chooser) -> str:
    return f"a {pick(SIZE_WORDS[thing.size], draws)} {thing.colour} {thing.shape}"


def parse(caption: str) -> Meaning:
    """What a caption means. Raises GanforgeError where it does not name one thing, or two and how
    they lie, each with size, colour and shape."""
    words = caption.split()
    found = {
        "size": [SIZE_OF[word] for word in words if word in SIZE_OF],
        "colour": [word for word in words if word in COLOURS],
        "shape": [word for word in words if word in SHAPES],
    }
    relations = [RELATION_OF[word] for word in words if word in RELATION_OF]
    count = len(found["shape"])
    if (
        count not in (1, 2)
        or {len(v) for v in found.values()} != {count}
        or len(relations) != count - 1
    ):
        raise GanforgeError(
            f'"{caption}" is not a caption of captioned-shapes, such as "a small red circle" or "a '
            'small red circle left of a large blue square"'
        )
    things = (Thing(*values) for values in zip(*found.values(), strict=True))
    return Meaning(tuple(things), relations[0] if relations else None).canonical


def _vocabulary() -> Iterator[str]:
    yield ""
    for phrases in (
        ("a",),
        *SIZE_WORDS.values(),
        COLOURS,
        SHAPES,
        *RELATION_WORDS.values(),
        OPENINGS,
    ):
        for phrase in phrases:
            yield from phrase.split()


SIZE_OF = {word: size for size, words in SIZE_WORDS.items() for word in words}
RELATION_OF = {
    word: relation
    for relation, phrases in RELATION_WORDS.items()
    for phrase in phrases
    for word in phrase.split()
    if word not in ("to", "the", "of")
}
VOCABULARY = tuple(dict.fromkeys(_vocabulary()))


def draw_until(draw: Callable[[], T], accepts: Callable[[T], bool]) -> T:
    """The first draw that is accepted."""
    while not accepts(found := draw()):
        pass
    return found
