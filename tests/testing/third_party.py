"""Components as third parties write them, whole in every promise that the kit holds, and each with
a trait that a careless check takes for a fault; test_verdicts.py names the outputs."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import relu, softplus
from torch.nn.utils import parametrizations

from ganforge import Augmentor, Dataset, Discriminator, Generator, Hook, Loss, Metric
from ganforge.interfaces.errors import DataError, GanforgeError
from ganforge.plugin import (
    Component,
    ImageSpec,
    Impossible,
    NoiseSpec,
    option,
    options,
)

# --- generators -----------------------------------------------------------------------------------


class Unbounded(Generator):
    """Ends with a linear layer, as StyleGAN2's toRGB: small at first, anything later."""

    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.body = nn.Linear(sum(spec.flat for spec in sources), 16)
        self.to_rgb = nn.Linear(16, target.flat)
        nn.init.normal_(self.to_rgb.weight, 0.0, 0.01)
        nn.init.zeros_(self.to_rgb.bias)

    def forward(self, *sources):
        hidden = relu(self.body(self.join(sources)))
        return self.to_rgb(hidden).unflatten(1, self.target.played)


class SaysSo(Unbounded):
    """The same, and says that it does not keep [-1, 1]."""

    keeps_range = False


class Clamped(Unbounded):
    """The same, cut off at black and white."""

    def forward(self, *sources):
        return super().forward(*sources).clamp(-1, 1)


class Tall(Generator):
    """For 64 x 64 px and nothing else, which no check says."""

    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.first = nn.Linear(sum(spec.flat for spec in sources), 8 * 16 * 16)
        self.last = nn.ConvTranspose2d(8, target.channels, 4, 4)

    def forward(self, *sources):
        x = relu(self.first(self.join(sources))).unflatten(1, (8, 16, 16))
        x = self.last(x)
        if x.shape[1:] != self.target.shape:
            raise ValueError(f"makes 64 x 64 px, not {self.target}")
        return x.tanh()


class Published(Clamped):
    """One published setting: 512 numbers to 256 x 256 px in colour, and its check says so."""


class Enormous(Clamped):
    """For pictures that nothing here is as large as."""


# --- discriminators -------------------------------------------------------------------------------


class Spectral(Discriminator):
    """SN-GAN's (arXiv:1802.05957): each forward in training moves the power iteration."""

    independent_rows = True

    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        size = sum(spec.flat for spec in (judged, *given))
        self.body = parametrizations.spectral_norm(nn.Linear(size, 8))
        self.score = parametrizations.spectral_norm(nn.Linear(8, 1))

    def forward(self, data, given=None):
        from ganforge import as_vectors

        joined = as_vectors((data, *(given or ())), (self.judged, *self.given))
        return self.score(self.body(joined).tanh()).squeeze(1)


class SpectralBatch(Spectral):
    """Falsely says that rows are apart: it looks at the mean over the batch."""

    def forward(self, data, given=None):
        scores = super().forward(data, given)
        return scores + (data - data.mean(0)).flatten(1).square().mean(1)


class Square(Spectral):
    """Refuses whatever is not square and of 256 px a side."""


# --- losses ---------------------------------------------------------------------------------------


class WholeTurn(Loss):
    """Reads the turn itself, for what the vocabulary has no name for."""

    def discriminator(self, turn, real_scores):
        return softplus(-real_scores) * (1 + 0 * len(turn.wants))

    def generator(self, fake_scores):
        return softplus(-fake_scores)


class BrokenTurn(WholeTurn):
    """Asks the turn for what it does not have."""

    def discriminator(self, turn, real_scores):
        return softplus(-real_scores) * turn.no_such_thing


class Balanced(Loss):
    """G's turn needs what D's turn observed, as BEGAN's k."""

    def __init__(self, options):
        super().__init__(options)
        self.register_buffer("real", torch.zeros(()))
        self.register_buffer("k", torch.zeros(()))
        self.seen = False

    def discriminator(self, real_scores, fake_scores):
        return {"real": softplus(-real_scores), "fake": softplus(fake_scores)}

    def generator(self, fake_scores):
        return softplus(-fake_scores)

    def observe(self, side, values):
        if side == "discriminator":
            self.real = values["real"]
            return {}
        self.k = (self.k + 0.1 * (self.real - values["loss"])).clamp(0, 1)
        return {"k": self.k, "ratio": values["loss"] / self.real}


class Moving(Balanced):
    """The same with its moving average where no checkpoint sees it."""

    average = 0.0

    def observe(self, side, values):
        super().observe(side, values)
        self.average = 0.5 * self.average + 0.5 * float(self.k + self.real)
        return {"average": self.average}


# --- other kinds ----------------------------------------------------------------------------------


class Wide(Augmentor):
    """Only for pictures of 512 px a side."""


class FromFiles(Dataset):
    """Reads files that lie on its author's machine."""

    def count(self, split, domain):
        return 1

    def item(self, split, domain, index):
        return torch.zeros(3, 8, 8, dtype=torch.uint8)


class NeedsText(Hook):
    """Made for games of text, and says so."""

    def run_started(self, training):
        raise GanforgeError("watches games of text only")


class NeedsPairs(Metric):
    """Cannot measure this run, and says so in a line."""

    def measure(self, run):
        raise GanforgeError("needs pairs")

    def protocol(self):
        return "all pairs; mean distance"


class Raises(Spectral):
    """A slip of the pen in a helper of its own."""

    def forward(self, data, given=None):
        return self.looked_at(data)

    def looked_at(self, data):
        return data.flatten(1).mean(1) + self.bais


# --- manifests ------------------------------------------------------------------------------------


def only_published(options, sources, target):
    if sources != (NoiseSpec(512),) or target != ImageSpec(3, 256, 256):
        raise Impossible("needs 512 numbers of noise and images of 3 x 256 x 256")


def only_enormous(options, sources, target):
    if target.flat < 10**9:
        raise Impossible("needs images of 30,000 px a side")


def only_square(options, judged, given=()):
    if not isinstance(judged, ImageSpec) or judged.height != 256 or judged.width != 256:
        raise Impossible("needs images of 256 x 256 px")


def only_wide(options, spec, *_):
    raise Impossible("needs images of 512 x 512 px")


def missing_files(options, image):
    raise DataError("there is no folder /photos")


@options
class Folder:
    root: str = option("/photos", help="where the photographs are")


FACTS = {
    "Published": {"check": only_published},
    "Enormous": {"check": only_enormous},
    "Square": {"check": only_square},
    "Wide": {"check": only_wide},
    "FromFiles": {"describe": missing_files, "options": Folder},
}


def component(kind: str, cls: type) -> Component:
    """A component of this module, as the plugin `acme` would offer it."""
    facts = {"summary": "For tests", **FACTS.get(cls.__name__, {})}
    options = {"options": facts.pop("options")} if "options" in facts else {}
    return Component(
        kind,
        cls.__name__.lower(),
        f"third_party:{cls.__name__}",
        **options,
        provider="acme",
        version="1",
        **facts,
    )
