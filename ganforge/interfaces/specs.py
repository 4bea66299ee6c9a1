"""What a domain's data looks like. Networks are sized from these and from nothing else.

Light: no torch here, so that recipes are checked without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import takewhile
from typing import Any, ClassVar, Literal

from attrs import asdict, field, frozen

from ganforge.interfaces.errors import GanforgeError


@frozen
class Spec:
    """One kind of data. `shape` is the shape of one item, without the batch dimension."""

    kind: ClassVar[str] = "spec"

    @property
    def shape(self) -> tuple[int, ...]:
        raise TypeError(f"{type(self).__name__} has no shape")

    @property
    def played(self) -> tuple[int, ...]:
        """The shape of one item as generators make it and discriminators judge it."""
        return self.shape

    @property
    def flat(self) -> int:
        """Numbers in one item when it is laid out as a vector (labels and tokens one-hot)."""
        size = 1
        for length in self.played:
            size *= length
        return size


@frozen
class ImageSpec(Spec):
    """Images, float in [-1, 1], [channels, height, width]."""

    kind: ClassVar[str] = "image"
    channels: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.channels, self.height, self.width)

    def __str__(self) -> str:
        return f"image {self.channels} x {self.height} x {self.width}"


Distribution = Literal["normal", "uniform"]


@frozen
class NoiseSpec(Spec):
    """Drawn vectors: N(0, 1), or uniform in [-1, 1]."""

    kind: ClassVar[str] = "noise"
    dim: int
    distribution: Distribution = "normal"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dim,)

    def __str__(self) -> str:
        return f"{self.distribution} noise of {self.dim}"


def _as_texts(names: Iterable[str]) -> tuple[str, ...]:
    """Names that can be written and typed anywhere; bytes of folders' names that are not UTF-8
    become `\\xe9`."""
    return tuple(
        name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        for name in names
    )


@frozen
class LabelSpec(Spec):
    """One class out of `classes`, an int64; as a vector it is one-hot."""

    kind: ClassVar[str] = "label"
    classes: int
    names: tuple[str, ...] = field(default=(), converter=_as_texts)

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    def flat(self) -> int:
        return self.classes

    def __str__(self) -> str:
        return f"label of {self.classes} classes"


@frozen
class AttributeSpec(Spec):
    """Several yes-or-no attributes, float 0 or 1, [len(names)]."""

    kind: ClassVar[str] = "attribute"
    names: tuple[str, ...] = field(converter=tuple)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.names),)

    def __str__(self) -> str:
        return f"{len(self.names)} attributes"


TextUnit = Literal["word", "character"]


@lru_cache(maxsize=16)  # a data set's texts are encoded one by one
def _number_of(vocabulary: tuple[str, ...]) -> Mapping[str, int]:
    """Token -> its number."""
    return {token: place for place, token in enumerate(vocabulary)}


@frozen
class TextSpec(Spec):
    """Texts as token numbers, int64 in [0, len(vocabulary)), [length].

    The first token of the vocabulary is "": it ends a text and fills up what is left. Tokens are
    words, in lower case and parted by blanks, or characters. Where gradients must pass, a token is
    a row of the vocabulary's length (`played`): one-hot, float.
    """

    kind: ClassVar[str] = "text"
    vocabulary: tuple[str, ...] = field(converter=tuple)
    length: int
    unit: TextUnit = "word"
    shortest: int = 1  # tokens that a text has at least

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)

    @property
    def played(self) -> tuple[int, ...]:
        return (self.length, len(self.vocabulary))

    def encode(self, text: str) -> list[int]:
        """The token numbers of a text, filled up to `length`. Raises GanforgeError for words that
        the vocabulary lacks, and for a text that is too short or too long."""
        number = _number_of(self.vocabulary)
        tokens = tokens_of(text, self.unit)
        unknown = [token for token in dict.fromkeys(tokens) if not number.get(token)]
        if unknown:
            known = ", ".join(sorted(self.vocabulary[1:]))
            raise GanforgeError(
                f"unknown {self.unit}{'s' if len(unknown) > 1 else ''} in '{text}': "
                f"{', '.join(unknown)}; known are: {known}"
            )
        if not self.shortest <= len(tokens) <= self.length:
            allowed = f"from {self.shortest} to {self.length} are allowed"
            if self.shortest == self.length:
                allowed = f"{self.length} are needed"
            raise GanforgeError(f"'{text}' has {len(tokens)} {self.unit}s; {allowed}")
        return [number[token] for token in tokens] + [0] * (self.length - len(tokens))

    def decode(self, numbers: Iterable[int]) -> str:
        """The text of token numbers, up to the first that ends it."""
        tokens = (self.vocabulary[number] for number in numbers)
        return (" " if self.unit == "word" else "").join(takewhile(bool, tokens))

    def __str__(self) -> str:
        return f"text of {self.length} tokens out of {len(self.vocabulary)}"


def tokens_of(text: str, unit: TextUnit) -> list[str]:
    """A text as words in lower case, parted by blanks, or as its characters."""
    return text.lower().split() if unit == "word" else list(text.strip())


@frozen
class VectorSpec(Spec):
    """Vectors of data, such as precomputed embeddings, float, [dim]."""

    kind: ClassVar[str] = "vector"
    dim: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.dim,)

    def __str__(self) -> str:
        return f"vector of {self.dim}"


# Every kind of data by its name; what reads data, writes runs and draws sheets knows these alone.
KINDS_OF_DATA: dict[str, type[Spec]] = {
    cls.kind: cls for cls in (ImageSpec, NoiseSpec, LabelSpec, AttributeSpec, TextSpec, VectorSpec)
}


def spec_to_dict(spec: Spec) -> dict[str, Any]:
    """A plain dict that `spec_from_dict` turns back, for files."""
    plain = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(spec, recurse=False).items()
    }
    return {"kind": spec.kind, **plain}


def spec_from_dict(data: Mapping[str, Any]) -> Spec:
    """The spec written by `spec_to_dict`. Raises GanforgeError when it is none."""
    fields = dict(data)
    try:
        return KINDS_OF_DATA[fields.pop("kind")](**fields)
    except (KeyError, TypeError) as error:
        raise GanforgeError(f"not a domain's spec: {dict(data)!r}") from error
