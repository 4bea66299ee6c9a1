"""Components that each break one promise; test_conformance.py names which."""

from __future__ import annotations

import itertools

import torch
from torch import nn
from torch.nn.functional import softplus

from ganforge import (
    Augmentor,
    Dataset,
    Discriminator,
    DiscriminatorOutput,
    Generator,
    Hook,
    Loss,
    Metric,
)
from ganforge.plugin import (
    Component,
    DataDescription,
    ImageSpec,
    Impossible,
    LabelSpec,
    option,
    options,
)

# --- whole ones, to be broken ---------------------------------------------------------------------


class Maker(Generator):
    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.layer = nn.Linear(sum(spec.flat for spec in sources), target.flat)

    def forward(self, *sources):
        return self.layer(self.join(sources)).tanh().unflatten(1, self.target.shape)


class Judge(Discriminator):
    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.body = nn.Linear(sum(spec.flat for spec in (judged, *given)), 8)
        self.score = nn.Linear(8, 1)

    def features(self, data, given):
        from ganforge import as_vectors

        return self.body(as_vectors((data, *(given or ())), (self.judged, *self.given))).tanh()

    def forward(self, data, given=None):
        features = self.features(data, given)
        return DiscriminatorOutput(self.score(features).squeeze(1), features=features)


class Objective(Loss):
    def discriminator(self, real_scores, fake_scores):
        return {"real": softplus(-real_scores), "fake": softplus(fake_scores)}

    def generator(self, fake_scores):
        return softplus(-fake_scores)


class Halver(Augmentor):
    def view(self, data, draw):
        return data / 2


class Watcher(Hook):
    count = 0

    def step_ended(self, training, step):
        self.count += 1

    def save_state(self):
        return {"count": self.count}

    def load_state(self, state):
        self.count = state["count"]


class Noise(Dataset):
    def count(self, split, domain):
        return 5

    def item(self, split, domain, index):
        if domain == "label":
            return torch.tensor(index % 2)
        random = torch.Generator().manual_seed(index)
        shape = self.description.domains[domain].shape
        return torch.randint(256, shape, generator=random, dtype=torch.uint8)


class Mean(Metric):
    def measure(self, run):
        return {"mean": run.sample(4).mean().item()}

    def protocol(self):
        return "4 samples; mean over all pixels"


# --- broken ones ----------------------------------------------------------------------------------


class WrongShape(Maker):
    def forward(self, *sources):
        return super().forward(*sources)[:, :, 1:]


class OutOfRange(Maker):
    def forward(self, *sources):
        return super().forward(*sources) * 30


class Growing(Maker):
    """Small at first, and without a bound."""

    def forward(self, *sources):
        joined = self.join(sources)
        return 0.01 * self.layer(joined).unflatten(1, self.target.shape)


class NotFinite(Maker):
    def forward(self, *sources):
        return super().forward(*sources) / 0


class NeverAlone(Maker):
    def forward(self, *sources):
        if len(sources[0]) < 2:
            raise ValueError("needs two")
        return super().forward(*sources)


class UnusedWeights(Maker):
    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.spare = nn.Linear(2, 2)


class HiddenWeights(Maker):
    """Weights that no file will hold."""

    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.scale = [torch.rand(())]

    def forward(self, *sources):
        return super().forward(*sources) * self.scale[0]


class SharedCopies(Maker):
    def __deepcopy__(self, memo):
        return self


class OwnDice(Maker):
    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        random = torch.Generator()
        random.seed()
        nn.init.normal_(self.layer.weight, generator=random)


class SilentFeatures(Judge):
    def forward(self, data, given=None):
        return super().forward(data, given).scores


class FirstOrderOnly(Judge):
    def forward(self, data, given=None):
        output = super().forward(data, given)
        linear = (data.flatten(1) * 0.1).sum(1)
        return DiscriminatorOutput(output.scores.detach() + linear, features=output.features)


class FalselyApart(Judge):
    independent_rows = True

    def forward(self, data, given=None):
        features = self.features(data, given)
        features = features - features.mean(0)
        return DiscriminatorOutput(self.score(features).squeeze(1), features=features)


class OneNumber(Objective):
    def generator(self, fake_scores):
        return softplus(-fake_scores).mean()


class InfiniteLoss(Objective):
    def generator(self, fake_scores):
        return softplus(-fake_scores) / 0


class WrongWay(Objective):
    def generator(self, fake_scores):
        return softplus(fake_scores)


class Misdeclared(Objective):
    def generator(self, fake_scores, fake_features):
        return softplus(-fake_scores) + 0 * fake_features.flatten(1).mean(1)


class InPlace(Objective):
    def generator(self, fake_scores):
        with torch.no_grad():
            fake_scores.add_(1)
        return softplus(-fake_scores)


class Counting(Objective):
    def __init__(self, options):
        super().__init__(options)
        self.register_buffer("count", torch.zeros(()))

    def generator(self, fake_scores):
        self.count += 1
        return softplus(-fake_scores) + 0 * self.count


class Meddling(Objective):
    def build(self, context):
        self.weight = nn.Parameter(torch.ones(()))

    def observe(self, side, values):
        self.weight.mul_(0.5)
        return {}


class Remembering(Objective):
    """Its state is lost with the process."""

    mean = 0.0

    def observe(self, side, values):
        self.mean = 0.9 * self.mean + 0.1 * float(sum(values.values()))
        return {"mean": self.mean}


class Collapsing(Objective):
    """Finite for made-up scores, and not for those of a game in which real and fake are equal."""

    def discriminator(self, real_scores, fake_scores):
        calls = next(self.calls)
        return super().discriminator(real_scores, fake_scores)["real"] / float(calls < 2)

    calls = itertools.count()


class WrongView(Halver):
    def view(self, data, draw):
        return data[:, :, 1:]


class Brightens(Halver):
    def view(self, data, draw):
        return data + 1


class Rounds(Halver):
    def view(self, data, draw):
        return data.detach().round()


class Infinite(Halver):
    """sqrt has no finite slope at 0."""

    def view(self, data, draw):
        return data.abs().sqrt() * data.sign()


class OwnDraws(Halver):
    def view(self, data, draw):
        return data * torch.rand(())


class Overwrites(Halver):
    def view(self, data, draw):
        return data.mul_(0.5)


class Forgetful(Halver):
    """Keeps an old batch where no checkpoint sees it."""

    old = None

    def replay(self, fakes, draw):
        shown = fakes if self.old is None else self.old
        self.old = fakes.clone()
        return shown.clone()


class NeverOff(Halver):
    off = {}  # noqa: RUF012


class Misspelt(Watcher):
    def step_end(self, training, step):
        pass


class Secretive(Watcher):
    def step_ended(self, training, step):
        with torch.no_grad():
            for parameter in training.game.networks["generators.main"].parameters():
                parameter.mul_(0.9)


class NoJson(Watcher):
    def save_state(self):
        return {"count": {1, 2}}


class Amnesiac(Watcher):
    def load_state(self, state):
        pass


class TooMany(Noise):
    def count(self, split, domain):
        return 7


class FloatImages(Noise):
    def item(self, split, domain, index):
        item = super().item(split, domain, index)
        return item if domain == "label" else item.float() / 255


class HighLabels(Noise):
    def item(self, split, domain, index):
        item = super().item(split, domain, index)
        return item + 2 if domain == "label" else item


class Moody(Noise):
    reads = itertools.count()

    def item(self, split, domain, index):
        item = super().item(split, domain, index)
        return item if domain == "label" else item + next(self.reads) % 256


class OtherRows(Noise):
    def rows(self, split, domain):
        items = [self.item(split, domain, index) for index in range(5)]
        return torch.stack(items).flip(0)


class Unstable(Mean):
    asked = itertools.count()

    def measure(self, run):
        return {"mean": float(next(self.asked))}


class Shouting(Mean):
    def measure(self, run):
        return {"Mean Value": 1.0}


class NotANumber(Mean):
    def measure(self, run):
        return {"mean": float("nan")}


class Drawing(Mean):
    def measure(self, run):
        torch.rand(3)
        return super().measure(run)


class Miscounts(Mean):
    @staticmethod
    def closed_forms():
        return [("one and one", 1.0 + 1.0, 3.0)]


class Verbose(Mean):
    def protocol(self):
        return "4 samples\nmean over all pixels"


# --- manifests ------------------------------------------------------------------------------------


@options
class Unbounded:
    margin: float = option(1.0, help="how far")


@options
class Undocumented:
    margin: float = option(1.0, help="", above=0)


@options
class Required:
    margin: float = option(help="how far", above=0)


def describe(options, image):
    if image.size is not None:
        raise Impossible("has its own size")
    return DataDescription(
        domains={"image": ImageSpec(1, 6, 5), "label": LabelSpec(2)},
        aligned=(("image", "label"),),
        counts={"train": {"image": 5, "label": 5}, "test": {"image": 5, "label": 5}},
    )


def refuse(*_, **__):
    raise Impossible("not this one")


def images(options, given, made_or_given=(), **_):
    """Of images and nothing else, as a generator from noise, or as a discriminator alone."""
    judged = made_or_given if isinstance(made_or_given, ImageSpec) else given
    if not isinstance(judged, ImageSpec) or (judged is given and made_or_given):
        raise Impossible("images only")


FACTS = {
    "discriminator": {"offers": ("features",)},
    "dataset": {"describe": describe},
    "loss": {
        "needs": {"discriminator": ("real_scores", "fake_scores"), "generator": ("fake_scores",)}
    },
}


FAKES_TOO = {**FACTS["loss"]["needs"], "generator": ("fake_scores", "fake")}


def component(kind, cls, **facts):
    """A component of this module, as the plugin `broken` would offer it."""
    facts = {"summary": "For tests", **FACTS.get(kind, {}), **facts}
    options = {"options": facts.pop("options")} if "options" in facts else {}
    return Component(
        kind, cls.lower(), f"broken:{cls}", **options, provider="broken", version="0", **facts
    )


# --- frozen parts, and one row alone -------------------------------------------------------------


class WakingMaker(Maker):
    """Puts what it froze back into training mode."""

    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.norm = nn.BatchNorm1d(target.flat).requires_grad_(False).eval()

    def forward(self, *sources):
        made = self.norm.train()(self.layer(self.join(sources)))
        return made.tanh().unflatten(1, self.target.shape)


class DriftingJudge(Judge):
    """Moves a weight that it froze."""

    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.scale = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, data, given=None):
        with torch.no_grad():
            self.scale *= 0.99
        return super().forward(data, given)


class WakingObjective(Objective):
    """Puts a network that it was built with into training mode."""

    def build(self, context):
        self.norm = nn.BatchNorm1d(context.judged.flat).requires_grad_(False).eval()

    def generator(self, fake_scores, fake):
        return super().generator(fake_scores) + 0 * self.norm.train()(fake.flatten(1)).mean()


class _AsItLies(torch.autograd.Function):
    """Reads its gradient in the order in which that lies in memory."""

    @staticmethod
    def forward(ctx, maps):
        return maps * 1

    @staticmethod
    def backward(ctx, gradient):
        last = gradient.permute(0, 2, 3, 1)
        return last.reshape(gradient.shape) if last.is_contiguous() else gradient


class CarelessMaker(Maker):
    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.last = nn.Conv2d(target.channels, target.channels, 3, padding=1)

    def forward(self, *sources):
        maps = self.layer(self.join(sources)).unflatten(1, self.target.shape)
        return self.last(_AsItLies.apply(maps.contiguous())).tanh()


class CarelessJudge(Judge):
    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.first, self.last = (
            nn.Conv2d(judged.channels, judged.channels, 3, padding=1) for _ in range(2)
        )

    def forward(self, data, given=None):
        return super().forward(self.last(_AsItLies.apply(self.first(data).contiguous())), given)
