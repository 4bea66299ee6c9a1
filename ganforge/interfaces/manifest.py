"""What a plugin's manifest imports. Light: never imports torch.

A plugin is an installed distribution with an entry point in the group `ganforge.v1`. The entry
point names a module whose `ganforge_components` hook returns component records. A record holds
an import string, so the code behind it is loaded only when a recipe builds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, dataclass_transform, get_args

import attrs
import pluggy

from ganforge.interfaces.caches import cache_folder
from ganforge.interfaces.specs import (
    AttributeSpec,
    ImageSpec,
    LabelSpec,
    NoiseSpec,
    Spec,
    TextSpec,
    VectorSpec,
)

__all__ = [
    "AttributeSpec",
    "Component",
    "DataDescription",
    "ENTRY_POINT_GROUP",
    "ImageOptions",
    "ImageSpec",
    "Impossible",
    "KINDS",
    "Kind",
    "LabelSpec",
    "NoiseSpec",
    "Ref",
    "Resample",
    "Spec",
    "TextSpec",
    "VectorSpec",
    "cache_folder",
    "hookimpl",
    "hookspec",
    "option",
    "option_names",
    "options",
    "with_options",
]

ENTRY_POINT_GROUP = "ganforge.v1"

Kind = Literal["generator", "discriminator", "loss", "augmentor", "hook", "dataset", "metric"]
KINDS: tuple[Kind, ...] = get_args(Kind)

hookimpl = pluggy.HookimplMarker("ganforge")
hookspec = pluggy.HookspecMarker("ganforge")


class Ref(str):
    """The type of an option that names another network of the recipe (`discriminators.main`).

    That network is built first and handed to the constructor as a keyword of the option's name.
    """


class Impossible(Exception):
    """Raised by a manifest's fact functions: this combination cannot work, and why.

    `key` names the option that the message is about, so that the error points at its line.
    """

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


T = TypeVar("T")


def option(
    default: Any = attrs.NOTHING,
    *,
    help: str,
    above: float | None = None,
    below: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Any:
    """One option of a component: an attrs field with a help text and bounds.

    Without a default it is required. `above` and `below` exclude the bound itself. Bounds hold
    for each number of a list. Choices are written as a `Literal` type.
    """
    bounds = {"above": above, "below": below, "at_least": at_least, "at_most": at_most}
    metadata = {"help": help, "bounds": {k: v for k, v in bounds.items() if v is not None}}
    if isinstance(default, (list, dict)):
        value = default
        return attrs.field(factory=lambda: type(value)(value), metadata=metadata)
    return attrs.field(default=default, metadata=metadata)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(option,))
def options(cls: type[T]) -> type[T]:
    """Class decorator: an options class, frozen and keyword-only."""
    return attrs.frozen(kw_only=True)(cls)


def option_names(cls: type) -> tuple[str, ...]:
    """The names of the options of an options class, in order."""
    return tuple(attribute.name for attribute in attrs.fields(cls))


def with_options(instance: T, **changes: Any) -> T:
    """The same options with some of them changed."""
    changed: Any = attrs.evolve(cast(Any, instance), **changes)
    return cast(T, changed)


Resample = Literal["smooth", "nearest"]  # how pixels follow from a file's when its size changes


@options
class ImageOptions:
    """Options that every dataset of images understands, written beside its own in `[data]`."""

    size: int | tuple[int, int] | None = option(
        None, at_least=1, help="height and width in pixels, or [height, width]; unset: as the files"
    )
    load: int | tuple[int, int] | None = option(
        None, at_least=1, help="size to load before a random crop to `size`; unset: no crop"
    )
    fit: Literal["cover", "contain", "stretch"] = option(
        "cover", help="cover crops what is over, contain pads, stretch distorts"
    )
    flip: bool = option(False, help="flip half of the training images left to right")
    skip_broken: bool = option(
        False, help="leave rows out that cannot be read, instead of naming them and stopping"
    )
    channels: int | None = option(
        None, at_least=1, at_most=4, help="1 grey, 3 colour, 4 with alpha; unset: the dataset's own"
    )
    resample: Resample | dict[str, Resample] | None = option(
        None, help="nearest keeps the numbers of label masks; for some domains: { mask = nearest }"
    )

    def pixels(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the images that networks get, for files of the given size."""
        return _pair(self.size) or (height, width)

    def loaded_pixels(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that images are stored at, before the random crop."""
        return _pair(self.load) or self.pixels(height, width)

    def resampling(self, domain: str) -> Resample:
        """How images of a domain come to another size."""
        if isinstance(self.resample, dict):
            return self.resample.get(domain, "smooth")
        return self.resample or "smooth"


def _pair(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    return (size, size) if isinstance(size, int) else size


@attrs.frozen(kw_only=True)
class DataDescription:
    """What a dataset yields, known without decoding it.

    domains: name -> spec, in the dataset's order.
    aligned: groups of domains whose rows belong together; a domain in no group stands alone.
    counts: split -> domain -> rows, where known ("train" always, "test" where data is held out).
    labelled: domain -> the domain of the same kind of data whose rows have labels, where most rows
    have none (semi-supervised learning: two streams).
    mismatched: domain -> the domain, aligned with it, of what is wrong of the same row (a caption
    that is false of the image); where there is none, another row's is taken for wrong.

    The rest is for people, who are shown it wherever rows are counted:
    left_out: kind (".txt", "hidden") -> how many files lie there and are no rows.
    classes: split -> class -> rows, where that is known.
    notes: whole sentences on what is likely not meant.
    pictures: domain -> some of its files, which are looked at for their range of values.
    """

    domains: Mapping[str, Spec]
    aligned: tuple[tuple[str, ...], ...] = ()
    counts: Mapping[str, Mapping[str, int]] = attrs.field(factory=dict)
    labelled: Mapping[str, str] = attrs.field(factory=dict)
    mismatched: Mapping[str, str] = attrs.field(factory=dict)
    left_out: Mapping[str, int] = attrs.field(factory=dict)
    classes: Mapping[str, Mapping[str, int]] = attrs.field(factory=dict)
    notes: tuple[str, ...] = ()
    pictures: Mapping[str, tuple[Path, ...]] = attrs.field(factory=dict)

    def labels_of(self, domain: str) -> str | None:
        """The domain of the class labels of this domain's rows."""
        rows = (name for name in self.group(domain) if name in self.domains)
        return next((name for name in rows if isinstance(self.domains[name], LabelSpec)), None)

    def group(self, domain: str) -> tuple[str, ...]:
        """The domains whose rows go with this domain's rows, itself among them."""
        return next((group for group in self.aligned if domain in group), (domain,))


@attrs.frozen(kw_only=True)
class _NoOptions:
    """For components without options."""


Needs = Mapping[str, Iterable[str]]  # side -> names from the vocabulary


@attrs.frozen
class Component:
    """One thing that a plugin offers.

    kind: one of KINDS. name: lower-case words joined by `-`. target: `package.module:Class`.
    options: a class made with `@options`.

    Facts, all optional for third parties and complete for built-ins, let `check` refuse a
    combination without importing torch; each is called with the component's options first and
    raises `Impossible` to refuse:

    check       generator: (options, sources: tuple[Spec], target: Spec) -> None
                discriminator: (options, judged: Spec, given: tuple[Spec]) -> None, or with a
                fourth parameter named `labels`, the spec of the judged rows' labels or None
                augmentor: (options, judged: Spec, given: tuple[Spec]) -> None, once for each
                discriminator that it stands before
                loss, hook, metric: (options) -> None
    offers      discriminator, generator: names of what its DiscriminatorOutput or GeneratorOutput
                holds beside scores or data, or a function of its options returning them; a
                discriminator that offers a reconstruction gives scores only where it names them too
    needs       loss: side -> names from the vocabulary, or a function of its options (all with
                defaults) returning that; left out, they are read from the source
    describe    dataset (required): (options, image: ImageOptions) -> DataDescription
    views       augmentor: (options, spec) -> {view name: Spec}; left out, the spec is kept
    """

    kind: Kind
    name: str
    target: str
    options: type = _NoOptions
    summary: str = attrs.field(default="", kw_only=True)
    paper: str = attrs.field(default="", kw_only=True)
    aliases: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=tuple)
    check: Callable[..., None] | None = attrs.field(default=None, kw_only=True)
    offers: Iterable[str] | Callable[[Any], Iterable[str]] = attrs.field(default=(), kw_only=True)
    needs: Needs | Callable[[Any], Needs] | None = attrs.field(default=None, kw_only=True)
    describe: Callable[..., DataDescription] | None = attrs.field(default=None, kw_only=True)
    views: Callable[..., Mapping[str, Spec]] | None = attrs.field(default=None, kw_only=True)
    provider: str = attrs.field(default="", kw_only=True)  # filled in by the registry
    version: str = attrs.field(default="", kw_only=True)

    @property
    def id(self) -> str:
        """The exact name, `distribution/name`."""
        return f"{self.provider}/{self.name}"

    def offered(self, options: Any) -> frozenset[str]:
        """What this network offers with these options."""
        offers = self.offers(options) if callable(self.offers) else self.offers
        return frozenset(offers)

    def needed(self, options: Any) -> Needs:
        """What this loss states that it reads with these options."""
        needs = self.needs(options) if callable(self.needs) else self.needs
        return needs or {}


class ManifestSpecs:
    """Hooks of a plugin's manifest module."""

    @hookspec
    def ganforge_components(self) -> Iterable[Component]:  # type: ignore[empty-body]
        """The components that this plugin offers."""

    @hookspec
    def ganforge_recipes(self) -> Path | None:
        """A folder of recipes (*.toml) that this plugin ships, or None."""
