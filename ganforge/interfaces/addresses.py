"""What the parts of a game are called in recipes, files and draws: `generators.main`,
`losses.r1@main`. Light: never imports torch."""

from __future__ import annotations

from attrs import frozen

_MADE = "generators."


@frozen
class Address:
    """The address of a part, taken apart.

    kind: "generators", "discriminators", "losses" or "augmentors". discriminator: of a loss or an
    augmentor with an instance per discriminator, which one; else "".
    """

    kind: str
    name: str
    discriminator: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """`losses.r1@main` -> kind "losses", name "r1", discriminator "main"."""
        kind, _, name = text.partition(".")
        name, _, discriminator = name.partition("@")
        return cls(kind, name, discriminator)

    def __str__(self) -> str:
        return f"{self.kind}.{self.name}" + (f"@{self.discriminator}" if self.discriminator else "")

    @property
    def described(self) -> str:
        """`generator 'main'`, `loss 'r1' on discriminator 'main'`."""
        word = {"losses": "loss"}.get(self.kind, self.kind.removesuffix("s"))
        of = f" on discriminator '{self.discriminator}'" if self.discriminator else ""
        return f"{word} '{self.name}'{of}"


def of_generator(name: str) -> str:
    """`generators.NAME`; also the source of a generator that reads what this one makes."""
    return _MADE + name


def of_discriminator(name: str) -> str:
    """`discriminators.NAME`"""
    return str(Address("discriminators", name))


def of_loss(name: str, discriminator: str = "") -> str:
    """`losses.NAME`, or `losses.NAME@DISCRIMINATOR` where it has an instance for each."""
    return str(Address("losses", name, discriminator))


def of_augmentor(name: str, discriminator: str) -> str:
    """`augmentors.NAME@DISCRIMINATOR`"""
    return str(Address("augmentors", name, discriminator))


def made_by(source: str) -> str | None:
    """The name of the generator whose output a source is; None where it is a domain."""
    return source.removeprefix(_MADE) if source.startswith(_MADE) else None


def name_of(source: str) -> str:
    """A source as people name it: that of a generator, or of a domain."""
    return made_by(source) or source
