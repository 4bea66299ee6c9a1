"""The interfaces that components implement: what each is given and what it returns.

Data is float32 in [-1, 1] unless its spec says otherwise; N is the batch.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import attrs
import torch
from attrs import define, frozen
from torch import Tensor, nn
from torch.nn import functional as F

from ganforge.interfaces.manifest import DataDescription, ImageOptions, with_options
from ganforge.interfaces.specs import ImageSpec, LabelSpec, Spec, TextSpec

if TYPE_CHECKING:
    from ganforge.interfaces.draws import Draw
    from ganforge.interfaces.protocols import OpenedRun


@define(eq=False)  # not frozen, which torch.compile cannot follow
class GeneratorOutput:
    """What a generator returns: data, and what its losses may ask for beside it."""

    data: Tensor
    latents: Tensor | None = None
    posterior: tuple[Tensor, Tensor] | None = None  # mean, log-variance
    log_probs: Tensor | None = None


@define(eq=False)
class DiscriminatorOutput:
    """What a discriminator returns. Scores are logits, [N] or a map of patches [N, ...]."""

    scores: Tensor | None = None
    class_scores: Tensor | None = None  # [N, classes], logits
    features: Tensor | None = None  # [N, ...]
    reconstruction: Tensor | None = None  # the shape of the data

    def split(self, sizes: Sequence[int]) -> list[DiscriminatorOutput]:
        """One output for each part of the items, so many items each."""
        values = attrs.astuple(self, recurse=False)
        parts = ([None] * len(sizes) if v is None else v.split(list(sizes)) for v in values)
        return [DiscriminatorOutput(*part) for part in zip(*parts, strict=True)]

    @classmethod
    def of_classes(
        cls, class_scores: Tensor, classes: int, features: Tensor | None = None
    ) -> DiscriminatorOutput:
        """The output of a classifier that knows fakes as one more class.

        class_scores: logits [N, classes + 1], fake last, or [N, classes] where the logit of fake
        is held at 0 (arXiv:1606.03498, section 5). The score is the logit of being real, [N].
        """
        real = class_scores[:, :classes].float().logsumexp(1)
        fake = class_scores[:, classes:].float().sum(1)  # of one column, or of none
        return cls(scores=real - fake, class_scores=class_scores, features=features)


class Network(nn.Module):
    """What generators and discriminators share.

    `layout` says which memory layout runs faster for this architecture; `train.layout` overrides.
    """

    layout: ClassVar[str] = "contiguous"  # or "channels_last"


class Generator(Network):
    """Turns items of its source domains into items of its target domain.

    sources: the specs of what `forward` is given, in order. target: the spec of what it returns.
    An option of type `Ref` arrives as a keyword argument of the option's name.

    keeps_range: whether its images stay in [-1, 1] whatever its weights are, as behind tanh or a
    clamp. False, as for StyleGAN2's linear output: losses and discriminators get what it makes as
    it is, and what saves or shows pictures cuts it off at black and white.

    draws_itself: whether it draws random numbers of its own also when it is sampled from (dropout
    that stays on, discrete choices). Then it is asked for one item at a time, each under its seed.

    Text of the data arrives as token numbers, int64 [N, length], text that another generator made
    as it made it (`as_one_hot` takes both). Text is made as float [N, length, words], one-hot. A
    generator that offers `log_probs` may be given `forced`, the token numbers int64 [N, length] of
    real data: then it returns the log-probabilities of these.
    """

    keeps_range: ClassVar[bool] = True
    draws_itself: bool = False

    def __init__(self, options: Any, sources: Sequence[Spec], target: Spec) -> None:
        super().__init__()
        self.options = options
        self.sources = tuple(sources)
        self.target = target

    def forward(self, *sources: Tensor) -> Tensor | GeneratorOutput:
        """One tensor [N, *spec.shape] per source -> data [N, *target.played], images in [-1, 1]
        unless `keeps_range` is False."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def join(self, sources: Sequence[Tensor]) -> Tensor:
        """All sources as one vector, [N, sum of flat sizes]; labels and tokens become one-hot."""
        return as_vectors(sources, self.sources)


class Discriminator(Network):
    """Judges items of one domain, perhaps under a condition.

    judged: the spec of what it sees, after the augmentors. given: the specs of its conditions.
    A constructor with a parameter `labels` is given the spec of the classes of what it judges, a
    LabelSpec, or None where no row of the data has a label.

    independent_rows: whether what it says of an item depends on that item alone (no BatchNorm, no
    statistics over the batch). Then real and fake pass it in one forward in D's turn.
    """

    independent_rows: bool = False

    def __init__(self, options: Any, judged: Spec, given: Sequence[Spec] = ()) -> None:
        super().__init__()
        self.options = options
        self.judged = judged
        self.given = tuple(given)

    def forward(
        self, data: Tensor, given: tuple[Tensor, ...] | None = None
    ) -> Tensor | DiscriminatorOutput:
        """data [N, *judged.played] -> scores (logits, [N] or a patch map) or a DiscriminatorOutput.

        given: [N, *spec.shape] each. Text that is judged is one-hot, text given is token numbers.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no forward")


def as_vectors(values: Sequence[Tensor], specs: Sequence[Spec]) -> Tensor:
    """Items of several domains side by side as one float vector each, [N, sum of flat sizes]."""
    vectors = [as_one_hot(v, spec).flatten(1) for v, spec in zip(values, specs, strict=True)]
    return torch.cat(vectors, 1) if len(vectors) > 1 else vectors[0]


def as_one_hot(value: Tensor, spec: Spec) -> Tensor:
    """Class or token numbers as one-hot float, [N, classes] or [N, length, words]; what is float
    already, as it is."""
    if value.is_floating_point():
        return value
    if isinstance(spec, LabelSpec):
        return F.one_hot(value, spec.classes).float()
    return F.one_hot(value, len(spec.vocabulary)).float() if isinstance(spec, TextSpec) else value


def as_maps(values: Sequence[Tensor], specs: Sequence[Spec], height: int, width: int) -> Tensor:
    """Items of several domains side by side as channels, [N, map_channels(specs), height, width].

    Images must have this height and width; everything else is tiled over the map as a vector.
    """
    maps = [
        value
        if isinstance(spec, ImageSpec)
        else as_vectors([value], [spec])[:, :, None, None].expand(-1, -1, height, width)
        for value, spec in zip(values, specs, strict=True)
    ]
    return torch.cat(maps, 1) if len(maps) > 1 else maps[0]


def map_channels(specs: Sequence[Spec]) -> int:
    """Channels that `as_maps` makes of items with these specs."""
    return sum(spec.channels if isinstance(spec, ImageSpec) else spec.flat for spec in specs)


@frozen(kw_only=True)
class LossContext:
    """What a loss that owns parameters is built from: one discriminator and what it returns, and
    the generators that it plays on.

    output: meta tensors of one forward with N = 2, so shapes are known and nothing is computed.
    labels: the spec of the judged domain's labels, if the data has some.
    sources, targets: by generator, the specs of what it is given, and of what it makes.

    For a loss that reads no output there is no discriminator: its name is "", its output is
    empty, and `judged` and `labels` are of what the first of the generators makes.
    """

    discriminator: str
    judged: Spec
    output: DiscriminatorOutput
    labels: LabelSpec | None
    sources: Mapping[str, tuple[Spec, ...]] = attrs.field(factory=dict)
    targets: Mapping[str, Spec] = attrs.field(factory=dict)

    @property
    def verdict(self) -> DiscriminatorOutput:
        """The name of `output` in 0.1.0; warns."""
        warnings.warn("LossContext.verdict is called output now", DeprecationWarning, stacklevel=2)
        return self.output


class Loss(nn.Module):
    """Pure maths for one or both sides; parameter names say what is read (vocabulary.py).

    A loss that reads outputs exists once per discriminator and is called once per pairing; one
    that reads none exists once and is called per generator. Methods return per-sample values
    [N, ...], or a dict of such named terms, which are added and logged apart.

    mixes_batch: whether what it says of an item depends on other items of the batch. Then it may
    return 0-d values, and where several processes play it is given the rows of all of them.

    learns_with: the side in whose turns its own parameters learn. None: the discriminator's where
    it plays there, else the generator's.

        def discriminator(self, real_scores, fake_scores): ...
        def generator(self, fake_scores): ...
    """

    mixes_batch: bool = False
    # The score above which D takes an item for real; None where accuracy means nothing.
    decision_threshold: ClassVar[float | None] = None
    learns_with: ClassVar[Literal["discriminator", "generator"] | None] = None

    def __init__(self, options: Any) -> None:
        super().__init__()
        self.options = options

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "boundary" in vars(cls):  # its name in 0.1.0
            warnings.warn(
                f"{cls.__name__}.boundary is called decision_threshold now",
                DeprecationWarning,
                stacklevel=2,
            )
            cls.decision_threshold = vars(cls)["boundary"]

    def build(self, context: LossContext) -> None:
        """Create parameters and buffers of this loss. What it freezes (`requires_grad_(False)`,
        `eval()`) stays as it is."""

    def observe(self, side: str, values: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Update buffers after a turn. Returns 0-d numbers to log.

        side: "discriminator" or "generator". values: the mean of each term that the side's method
        returned ("loss" where it returned a bare tensor), 0-d, detached, reduced over pairings.
        """
        return {}

    def class_scores(self, output: DiscriminatorOutput) -> Tensor | None:
        """What a classifier that this loss owns says of an output's item, logits [N, classes];
        None where it owns none."""
        return None


class Augmentor(nn.Module):
    """Changes what discriminators see. One instance per discriminator, so state is its own."""

    keeps_range: ClassVar[bool] = True  # False: its views may leave [-1, 1]
    off: ClassVar[Mapping[str, Any] | None] = None  # options with which it changes nothing

    def __init__(self, options: Any, spec: Spec) -> None:
        super().__init__()
        self.options = options
        self.spec = spec

    def view(self, data: Tensor, draw: Draw) -> Tensor | Mapping[str, Tensor]:
        """What D sees instead of data [N, *spec.shape]; several named tensors are several views.

        Called with the same draw for real and fake. Must be differentiable where G's losses need
        it. The view named "plain" keeps the name of the view that it was made from.
        """
        return data

    def replay(self, fakes: Tensor, draw: Draw) -> Tensor:
        """D's turn only: fakes [N, ...], detached, -> what D is shown in their place."""
        return fakes


class Hook:
    """Watches a run: any of the methods in hookspecs.py, by name, with the arguments it wants.

    Where several processes play, the first one alone has hooks; those that declare
    `changes_weights` are in all of them, and must do the same in each.

    Every public method must be one of them; a misspelt one is refused. Helpers start with `_`.
    """

    changes_weights: ClassVar[bool] = False  # only then may step_ended change a network

    def __init__(self, options: Any) -> None:
        self.options = options

    def save_state(self) -> dict[str, Any]:
        """What must survive a resume, as JSON: numbers, strings, lists, dicts."""
        return {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Take back what `save_state` returned."""


class Dataset(ABC):
    """Rows of several domains, read by index; the core keeps, shuffles and batches them.

    costly: rows take long to make and none can be bad, so training begins before all are there.
    """

    costly: ClassVar[bool] = False

    def __init__(self, options: Any, image: ImageOptions, description: DataDescription) -> None:
        self.options = options
        self.image = image
        self.description = description

    @abstractmethod
    def count(self, split: str, domain: str) -> int:
        """Rows of this domain in this split ("train", "test"); 0 where there are none."""

    @abstractmethod
    def item(self, split: str, domain: str, index: int) -> Tensor:
        """One row: images uint8 [C, H, W] at their loading size, labels int64 [], else float."""

    def rows(self, split: str, domain: str) -> Tensor | None:
        """All rows as one tensor, where that is cheaper than one by one; else None."""
        return None

    def whole(self) -> Dataset:
        """The same rows as they are looked at and measured: images whole, at `size`; `load` and its
        crop are for training."""
        if self.image.load is None:
            return self
        seen = copy(self)
        seen.image = with_options(self.image, load=None)
        return seen

    def fingerprint(self, split: str, domain: str) -> str | None:
        """Text of everything that decides the pixels of these rows, so that they may be kept once
        decoded (`train.cache`); None where that is not known."""
        return None

    def sources(self, split: str, domain: str) -> Sequence[tuple[str, str]] | None:
        """(name, path) of the file that each row is made of, in the order of the rows, so that a
        run knows its data wherever it lies; names are the same there. None where rows are made of
        no files of their own: then they are known by what `rows` or some of `item` give."""
        return None

    def verify(self) -> None:  # noqa: B027 (nothing to verify is the usual case)
        """Raise DataError for rows that cannot be read, as far as a quick look can tell.

        Called before training where the data is too large to be decoded first.
        """


class Metric(ABC):
    """A number about a trained generator, with the protocol that produced it."""

    def __init__(self, options: Any) -> None:
        self.options = options

    @abstractmethod
    def measure(self, run: OpenedRun) -> Mapping[str, float]:
        """Named figures; lower-case words joined by `-`, parts joined by `/`."""

    @staticmethod
    def closed_forms() -> Iterable[tuple[str, float, float]]:
        """(what, the figure of known data as this metric computes it, what it must be), for the
        conformance kit: cases whose answer is known from a formula."""
        return ()

    @abstractmethod
    def protocol(self) -> str:
        """One line: on what data, how many, how computed."""
