"""A plugin of the days of 0.1.0 that uses every public name there was (public_surface_0_1_0.txt).

It must go on working unchanged for as long as docs/stability.md promises, renamed names included.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch
from torch import nn

import ganforge
from ganforge import (
    Augmentor,
    DataError,
    Dataset,
    Discriminator,
    Draw,
    Draws,
    Dropout,
    GanforgeError,
    Generator,
    Hook,
    Loss,
    LossContext,
    Made,
    Measurement,
    Metric,
    Names,
    Run,
    Training,
    Verdict,
    as_maps,
    as_one_hot,
    as_vectors,
    map_channels,
)
from ganforge.archives import ARCHIVES, Archive, FetchOptions, RemoteFile, known
from ganforge.images import (
    ENDINGS,
    THREADS,
    check_images,
    evenly,
    fit_images,
    folder_names,
    grid,
    image_files,
    image_names,
    image_size,
    image_spec,
    natural_key,
    one_line,
    read_image,
    spec_under,
    write_gif,
    write_png,
)
from ganforge.plugin import (
    ENTRY_POINT_GROUP,
    KINDS,
    AttributeSpec,
    Component,
    DataDescription,
    ImageOptions,
    ImageSpec,
    Impossible,
    Kind,
    LabelSpec,
    NoiseSpec,
    Ref,
    Spec,
    TextSpec,
    VectorSpec,
    hookimpl,
    hookspec,
    option,
    option_names,
    options,
    with_options,
)
from ganforge.testing import Case, Failed, NotTried, cases_of, conformance

# --- data -----------------------------------------------------------------------------------------

CAPTIONS = TextSpec(("", "dark", "light", "disc"), length=2, unit="word", shortest=1)


class KeptDiscs(Dataset):
    """Discs with a class, two attributes, a vector and a caption each"""

    costly = False

    class Options:
        count: int = option(24, at_least=4, at_most=1000, help="rows")
        few: bool = option(False, help="whether the rows with labels are rows of their own")
        sizes: list[float] = option([0.2, 0.5], above=0, below=1, help="of the classes")

    @staticmethod
    def describe(options, image: ImageOptions):
        if image.channels == 4:
            raise Impossible("discs are grey or coloured", key="channels")
        height, width = image.pixels(8, 8)
        assert image.loaded_pixels(8, 8) >= (height, width)
        assert image.fit in ("cover", "contain", "stretch") and image.flip in (True, False)
        assert image.size is None or image.load is None
        kept: ImageSpec = spec_under(image, channels=1, height=height, width=width)
        rows = {"train": options.count, "test": 4}
        domains: Mapping[str, Spec] = {
            "image": kept,
            **({"some": kept} if options.few else {}),
            "label": LabelSpec(2, names=("small", "large")),
            "marks": AttributeSpec(("round", "white")),
            "place": VectorSpec(2),
            "caption": CAPTIONS,
            "wrong-caption": CAPTIONS,
        }
        beside = ("marks", "place", "caption", "wrong-caption")
        alike = (("image", *beside), ("some", "label"))
        described = DataDescription(
            domains=domains,
            aligned=alike if options.few else (("image", "label", *beside),),
            counts={split: dict.fromkeys(domains, count) for split, count in rows.items()},
            labelled={"image": "some"} if options.few else {},
            mismatched={"caption": "wrong-caption"},
        )
        assert described.labels_of("some" if options.few else "image") == "label"
        assert "place" in described.group("image")
        return described

    def count(self, split, domain):
        return self.description.counts[split][domain]

    def item(self, split, domain, index):
        spec = self.description.domains[domain]
        size = self.options.sizes[index % 2]
        if domain == "label":
            return torch.tensor(index % 2)
        if domain == "marks":
            return torch.tensor([1.0, index % 3 > 0])
        if domain == "place":
            return torch.tensor([index % 5 / 5, 0.5])
        if isinstance(spec, TextSpec):
            wrong = domain == "wrong-caption"
            tokens = spec.encode("light disc" if (index % 2 == 0) != wrong else "dark disc")
            assert spec.decode(tokens).endswith("disc")
            return torch.tensor(tokens)
        down = torch.linspace(0, 1, spec.height)[:, None]
        right = torch.linspace(0, 1, spec.width)
        inside = (right - 0.5) ** 2 + (down - index % 5 / 5) ** 2 < size**2
        return (inside * 255).to(torch.uint8).expand(spec.shape)

    def rows(self, split, domain):
        return None

    def fingerprint(self, split, domain):
        return f"discs {split} {domain} {self.options} {self.image}"

    def verify(self):
        if self.count("train", "image") < 4:
            raise DataError("too few discs")


# --- networks -------------------------------------------------------------------------------------


class KeptSines(Generator):
    """Dense layers with sines between them, and dropout"""

    layout = "contiguous"
    draws_itself = False
    offers = ("latents", "posterior", "log_probs")

    class Options:
        width: int = option(16, at_least=1, help="numbers in the hidden layer")
        drop: float = option(0.25, at_least=0, below=1, help="share that is dropped")

    @staticmethod
    def check(options, sources, target):
        if not isinstance(target, ImageSpec):
            raise Impossible(f"sines make images, not {target}", key="width")
        assert any(isinstance(spec, NoiseSpec) for spec in sources)

    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.first = nn.Linear(sum(spec.flat for spec in sources), options.width)
        self.drop = Dropout(options.drop)
        self.last = nn.Linear(options.width, target.flat)
        assert "share=" in self.drop.extra_repr()

    def forward(self, *sources):
        joined = self.join(sources)
        assert torch.equal(joined, as_vectors(sources, self.sources))
        code = torch.sin(self.first(joined))
        data = torch.tanh(self.last(self.drop.forward(code))).view(-1, *self.target.played)
        each = code.mean(1)
        return Made(data, latents=code, posterior=(code, code * 0.5), log_probs=-each.square())


class KeptMirror(KeptSines):
    """The same, beside a discriminator that it knows"""

    class Options:
        width: int = option(16, at_least=1, help="numbers in the hidden layer")
        drop: float = option(0.25, at_least=0, below=1, help="share that is dropped")
        judge: Ref = option(help="the discriminator whose body it reads")

    def __init__(self, options, sources, target, judge):
        super().__init__(options, sources, target)
        assert isinstance(judge, nn.Module)


class KeptJudge(Discriminator):
    """Scores, classes, features and a reconstruction from one body"""

    independent_rows = False
    offers = ("scores", "class_scores", "features", "reconstruction")

    @staticmethod
    def check(options, judged, given, labels):
        assert labels is None or labels.classes == len(labels.names)
        if not isinstance(judged, ImageSpec):
            raise Impossible(f"judges images, not {judged}")

    def __init__(self, options, judged, given=(), labels=None):
        super().__init__(options, judged, given)
        self.channels = map_channels([judged, *given])
        inputs = self.channels * judged.height * judged.width
        self.classes = 2 if labels is None else labels.classes
        self.body = nn.Linear(inputs, 8)
        self.score = nn.Linear(8, 1)
        self.class_score = nn.Linear(8, self.classes)
        self.again = nn.Linear(8, judged.flat)

    def forward(self, data, given=None):
        values, specs = [data, *(given or ())], [self.judged, *self.given]
        maps = as_maps(values, specs, self.judged.height, self.judged.width)
        features = torch.tanh(self.body(maps.flatten(1)))
        verdict = Verdict(
            scores=self.score(features).squeeze(1),
            class_scores=self.class_score(features),
            features=features,
            reconstruction=self.again(features).view_as(data),
        )
        assert len(verdict.split([1, len(data) - 1])) == 2
        return verdict


class KeptClasses(KeptJudge):
    """A classifier that knows fakes as a class of their own"""

    offers = ("class_scores", "features")

    def forward(self, data, given=None):
        verdict = super().forward(data, given)
        return Verdict.of_classes(verdict.class_scores, self.classes, verdict.features)


# --- losses ---------------------------------------------------------------------------------------


def _small(value):
    """A small number of each sample, [N], of whatever a loss was given."""
    if value is None:
        raise GanforgeError("a value is missing")
    if isinstance(value, tuple):
        return sum(_small(part) for part in value)
    return 1e-3 * value.float().flatten(1).square().mean(1) if value.dim() > 1 else 1e-3 * value


class _OfContests(Loss):
    mixes_batch = False
    boundary = 0.0

    def _of(self, first, *others):
        return {"first": _small(first), "others": sum(_small(other) for other in others)}


class KeptHinge(Loss):
    """A hinge with a moving margin and a class head of its own"""

    paper = "arXiv:1705.02894"
    aliases = ("old-hinge",)
    boundary = 0.0
    needs = {  # noqa: RUF012
        "discriminator": ("real_scores", "fake_scores", "real_features"),
        "generator": ("fake_scores",),
    }

    class Options:
        margin: float = option(1.0, above=0, help="distance that D keeps from the boundary")
        how: Literal["soft", "hard"] = option("soft", help="with or without a corner")

    @staticmethod
    def check(options):
        if options.margin > 100:
            raise Impossible("that is too far", key="margin")

    def build(self, context: LossContext):
        assert context.discriminator and isinstance(context.judged, ImageSpec)
        assert context.labels is None or context.labels.classes == 2
        self.head = nn.Linear(context.verdict.features.shape[1], 2)
        self.register_buffer("mean", torch.zeros(()))

    def discriminator(self, real_scores, fake_scores, real_features):
        margin, bend = self.options.margin, nn.functional.softplus
        own = 1e-3 * self.head(real_features).square().mean(1)
        return {"real": bend(margin - real_scores) + own, "fake": bend(margin + fake_scores)}

    def generator(self, fake_scores):
        return -fake_scores

    def observe(self, side, values):
        self.mean.lerp_(sum(values.values()), 0.1)
        return {"mean": self.mean} if side == "discriminator" else {}

    def class_scores(self, verdict):
        return self.head(verdict.features)


class KeptMoments(Loss):
    """Fakes have the mean features of real data"""

    mixes_batch = True

    def generator(self, real_features, fake_features):
        return (real_features.mean(0) - fake_features.mean(0)).square().sum()


class KeptWhole(_OfContests):
    """What the whole turn holds"""

    def generator(self, turn, fake_scores):
        assert turn.side == "generator" and turn.step >= 1
        return _small(fake_scores)


class KeptJourney(Loss):
    """Everything about one translation"""

    def generator(self, source, made, cycled, same):
        return {"back": _small(cycled - source), "rest": _small(made) + _small(same)}


class KeptTruth(Loss):
    """How far a translation is from the row that belongs to its source"""

    def generator(self, made, truth):
        return _small(made - truth)


class KeptWords(Loss):
    """The likelihood of the text that belongs to the source"""

    def generator(self, real_log_probs):
        return -real_log_probs.sum(1)


class Real(_OfContests):
    """Everything that there is about the input `real`"""

    def discriminator(
        self,
        real,
        real_class_scores,
        real_features,
        real_given,
        real_gradient,
        real_labels,
        real_reconstruction,
        real_scores,
        real_seen,
    ):
        return self._of(
            real,
            real_class_scores,
            real_features,
            real_given,
            real_gradient,
            real_labels,
            real_reconstruction,
            real_scores,
            real_seen,
        )


class Labelled(_OfContests):
    """Everything that there is about the input `labelled`"""

    def discriminator(
        self,
        labelled,
        labelled_class_scores,
        labelled_features,
        labelled_given,
        labelled_gradient,
        labelled_labels,
        labelled_reconstruction,
        labelled_scores,
        labelled_seen,
    ):
        return self._of(
            labelled,
            labelled_class_scores,
            labelled_features,
            labelled_given,
            labelled_gradient,
            labelled_labels,
            labelled_reconstruction,
            labelled_scores,
            labelled_seen,
        )


class Fake(_OfContests):
    """Everything that there is about the input `fake`"""

    def discriminator(
        self,
        fake,
        fake_class_scores,
        fake_features,
        fake_given,
        fake_gradient,
        fake_labels,
        fake_latents,
        fake_log_probs,
        fake_posterior,
        fake_reconstruction,
        fake_scores,
        fake_seen,
    ):
        return self._of(
            fake,
            fake_class_scores,
            fake_features,
            fake_given,
            fake_gradient,
            fake_labels,
            fake_latents,
            fake_log_probs,
            fake_posterior,
            fake_reconstruction,
            fake_scores,
            fake_seen,
        )


class Mixed(_OfContests):
    """Everything that there is about the input `mixed`"""

    def discriminator(
        self,
        mixed,
        mixed_class_scores,
        mixed_features,
        mixed_given,
        mixed_gradient,
        mixed_labels,
        mixed_reconstruction,
        mixed_scores,
        mixed_seen,
    ):
        return self._of(
            mixed,
            mixed_class_scores,
            mixed_features,
            mixed_given,
            mixed_gradient,
            mixed_labels,
            mixed_reconstruction,
            mixed_scores,
            mixed_seen,
        )


class Mismatched(_OfContests):
    """Everything that there is about the input `mismatched`"""

    def discriminator(
        self,
        mismatched,
        mismatched_class_scores,
        mismatched_features,
        mismatched_given,
        mismatched_gradient,
        mismatched_labels,
        mismatched_reconstruction,
        mismatched_scores,
        mismatched_seen,
    ):
        return self._of(
            mismatched,
            mismatched_class_scores,
            mismatched_features,
            mismatched_given,
            mismatched_gradient,
            mismatched_labels,
            mismatched_reconstruction,
            mismatched_scores,
            mismatched_seen,
        )


class Twin(_OfContests):
    """Everything that there is about the input `twin`"""

    def discriminator(
        self,
        twin,
        twin_class_scores,
        twin_features,
        twin_given,
        twin_gradient,
        twin_labels,
        twin_latents,
        twin_log_probs,
        twin_posterior,
        twin_reconstruction,
        twin_scores,
        twin_seen,
    ):
        return self._of(
            twin,
            twin_class_scores,
            twin_features,
            twin_given,
            twin_gradient,
            twin_labels,
            twin_latents,
            twin_log_probs,
            twin_posterior,
            twin_reconstruction,
            twin_scores,
            twin_seen,
        )


# --- the rest -------------------------------------------------------------------------------------


class KeptNoise(Augmentor):
    """Draws of every kind, and a second view"""

    keeps_range = False
    off = {"p": 0.0}  # noqa: RUF012

    class Options:
        p: float = option(0.5, at_least=0, at_most=1, help="how often")

    @staticmethod
    def check(options, judged, given):
        if not isinstance(judged, ImageSpec):
            raise Impossible(f"needs images, not {judged}")

    @staticmethod
    def views(options, spec):
        return {"plain": spec, "negative": spec}

    def view(self, data, draw: Draw):
        shape = data.shape[1:]
        noise = 0.01 * draw.normal(*shape) + draw.uniform(1, 1, 1, low=-0.01, high=0.01)
        noise = noise * draw.integers(3, 1, 1, 1) * draw.coin(self.options.p)[:, None, None, None]
        return {"plain": data + noise, "negative": -data}

    def replay(self, fakes, draw):
        return torch.where(draw.coin()[:, None, None, None], fakes, fakes.flip(0))


class KeptNotes(Hook):
    """Attends every moment and asks for everything that a training offers"""

    changes_weights = True

    class Options:
        last: int = option(100, at_least=1, help="the step to end at")

    _moments = 0

    def run_started(self, training: Training):
        self._moments += 1
        assert training.folder.path.is_dir() and training.steps >= training.step
        assert training.leads and training.elapsed >= 0 and training.images >= 0
        training.keep_checkpoints(2, also=(1,))
        _ask_the_rest()

    def step_started(self, training, step):
        self._moments += 1
        assert training.step == step - 1

    def before_update(self, training, step, side):
        self._moments += 1
        assert side in ("discriminator", "generator")

    def after_update(self, training, step, side):
        self._moments += 1

    def step_ended(self, training, step):
        self._moments += 1
        training.log("kept/moments", self._moments)
        assert training.gauge("kept/moments") == self._moments
        assert "kept/moments" in training.gauges()
        for name in training.plan.generators:
            assert isinstance(training.generator(name), nn.Module)
        with training.looking() as run:
            assert isinstance(run, Run)
        domain = next(iter(training.plan.discriminators.values())).on
        assert len(training.real(domain, 2)) == 2
        training.computed({"metric/kept/figure": 1.0})
        training.save()
        if step == self.options.last:
            training.stop("that is enough")

    def metrics_computed(self, training, step, metrics):
        self._moments += 1
        assert all(key.startswith("metric/") for key in metrics)

    def run_ended(self, training, error):
        self._moments += 1

    def save_state(self):
        return {"moments": self._moments}

    def load_state(self, state):
        self._moments = state["moments"]


class KeptFigures(Metric):
    """Asks a run for everything that it offers"""

    class Options:
        count: int = option(4, at_least=1, help="images of each")

    @staticmethod
    def closed_forms():
        return [("nothing", 0.0, 0.0)]

    def measure(self, run: Run):
        count = self.options.count
        plan, judge = run.generator_plan(), run.discriminator_plan()
        seeds = range(count)
        made = run.sample(count, label=1, seed=3, generator=plan.name)
        rows = {"label": torch.zeros(count, dtype=torch.int64)}
        assert run.made_of(rows, generator=plan.name).shape == made.shape
        assert run.by_class(2, seed=0, generator=plan.name).shape[:2] == (2, 2)
        sources = run.sources(plan, seeds, label="large", rows=rows, text=None)
        assert len(sources) == len(run.leaves(plan)) == 2
        assert run.texts_read(plan, seeds) is None and run.at_once(plan.name) >= 1
        figures = {"made": float(made.mean())}
        if not judge.given:
            classes = run.class_scores(made, discriminator=judge.name)
            assert classes.shape == (count, 2)
            figures["classes"] = float(classes.mean())
        assert isinstance(run.generator(plan.name), nn.Module)
        assert isinstance(run.discriminator(judge.name), nn.Module)
        assert isinstance(run.dataset(), Dataset) and isinstance(run.metrics(), list)
        parts = list(run.real_parts(plan.target, count, split="train"))
        assert sum(map(len, parts)) == len(run.training(plan.target, count)) == count
        return {**figures, "real": float(run.held_out("image", count).mean())}

    def protocol(self):
        return f"means of {self.options.count}"


class KeptOther(Metric):
    """What runs offer that translate or write"""

    def measure(self, run):
        plan = run.generator_plan(next(iter(run.plan.generators)))
        if isinstance(plan.target_spec, TextSpec):
            written = run.write(2, text=None, seed=0, generator=plan.name)
            return {"words": float(sum(len(text.split()) for text in written))}
        images = run.held_out(plan.sources[0], 2)
        return {"made": float(run.translate(images, generator=plan.name, seed=1).mean())}

    def protocol(self):
        return "two of them"


@options
class KeptFetching(FetchOptions):
    extra: int = option(1, help="beside those of files")


@hookimpl
def ganforge_components():
    name = __name__
    kinds: tuple[Kind, ...] = KINDS
    assert "loss" in kinds and ENTRY_POINT_GROUP == "ganforge.v1" and callable(hookspec)
    return [
        Component(
            "loss",
            "kept-listed",
            f"{name}:_Listed",
            KeptFetching,
            summary="One that is listed, with options of files",
            paper="arXiv:1406.2661",
            needs=lambda options: {"generator": ("fake_scores",)},
        )
    ]


class _Listed(Loss):
    def generator(self, fake_scores):
        assert isinstance(self.options.root, Path) and self.options.fallback is None
        assert self.options.archive is None and not self.options.must_fetch()
        return -fake_scores


def _ask_the_rest():
    """What no game asks for: facts of records, files, archives, specs, the kit."""
    (listed,) = ganforge_components()
    chosen = with_options(KeptFetching(root=Path("discs")), extra=2)
    assert option_names(KeptFetching)[-1] == "extra" and chosen.fetch is None
    assert (listed.kind, listed.name, listed.id) == ("loss", "kept-listed", "/kept-listed")
    assert (listed.provider, listed.version, listed.aliases) == ("", "", ())
    assert listed.needed(chosen) and listed.offered(chosen) == frozenset()
    facts = (listed.check, listed.describe, listed.views, listed.offers, listed.target)
    assert facts[:3] == (None, None, None) and listed.options is KeptFetching
    _ask_specs()
    _ask_archives()
    with TemporaryDirectory() as folder:
        _ask_images(Path(folder))
    taken = Measurement("a", 1, {"x": 1.0}, "by hand", 0.5)
    mean = Measurement.mean([taken, taken], "twice")
    assert mean.each("x") == [1.0, 1.0] and mean.interval("x") == 0 and not mean.half_text("x")
    assert (mean.name, mean.step, mean.seconds) == ("a", 1, 1.0)
    assert mean.figures and mean.protocol and mean.repeats and callable(Measurement.take)
    assert callable(mean.show) and callable(conformance) and issubclass(Failed, AssertionError)
    assert issubclass(NotTried, Exception) and ganforge.__version__
    assert callable(ganforge.open_run) and callable(ganforge.train) and callable(Run.during)
    assert {"run", "resume", "take_step"} <= set(dir(Training))
    case: Case = cases_of("ganforge", {})[0]
    assert case.component.kind in KINDS and case.check and case.promise and callable(case.run)


def _ask_specs():
    names = Names(["one", "two"])
    assert list(names) == ["one", "two"] and names[1] == "two" and len(names) == 2
    draws = Draws(seed=3, device="cpu")
    assert draws.generator("a", 1).random() == draws.generator("a", 1).random()
    assert len(draws.permutation(5, "a")) == 5 and (draws.seed, draws.device) == (3, "cpu")
    specs = {
        ImageSpec(1, 8, 8): (1, 8, 8),
        NoiseSpec(3, distribution="uniform"): (3,),
        LabelSpec(2): (),
        AttributeSpec(("a",)): (1,),
        VectorSpec(dim=4): (4,),
        CAPTIONS: (2,),
    }
    assert all(isinstance(spec, Spec) and spec.shape == shape for spec, shape in specs.items())
    image, noise, label, marks, vector, text = specs
    assert (image.channels, noise.dim, noise.distribution) == (1, 3, "uniform")
    assert (label.classes, label.names, marks.names, vector.dim) == (2, (), ("a",), 4)
    assert (text.length, text.shortest, text.unit, len(text.vocabulary)) == (2, 1, "word", 4)
    assert text.played == (2, 4) and label.flat == 2
    assert as_one_hot(torch.tensor([1]), label).tolist() == [[0.0, 1.0]]
    state = torch.get_rng_state()
    draws.seed_networks("a")
    torch.set_rng_state(state)


def _ask_archives():
    archive: Archive = known("mnist")
    assert archive is ARCHIVES["mnist"] and archive.bytes == sum(f.bytes for f in archive.files)
    file: RemoteFile = archive.files[0]
    assert file.name and file.urls and file.sha256 and archive.unpack is None
    assert archive.name and archive.summary and archive.source and archive.licence
    assert archive.places and archive.pixels == (1, 28, 28) and not archive.counts
    assert archive.find(Path("nowhere"), file.name) is None and archive.missing(Path("nowhere"))


def _ask_images(folder: Path):
    images = torch.linspace(-1, 1, 2 * 64).reshape(2, 1, 8, 8)
    assert grid(images, 2).ndim == 2 and ".png" in ENDINGS and THREADS >= 1
    write_png(folder / "1.png", grid(images[:1], 1))
    write_gif(folder / "1.gif", [grid(images[:1], 1)] * 2, 100)
    assert image_names(folder, recursive=False) and folder_names(folder) == []
    paths = [path for path in image_files(folder, recursive=True) if path.suffix == ".png"]
    check_images(evenly(paths))
    (channels, height, width) = image_size(paths[0])
    assert image_spec(paths, ImageOptions()) == ImageSpec(channels, height, width)
    read = read_image(paths[0], height=4, width=4, channels=1, fit="stretch")
    assert read.shape == (1, 4, 4)
    kept = torch.as_tensor(read)[None]
    assert fit_images(kept, 2, 2, "cover").shape == (1, 1, 2, 2)
    assert sorted(["10", "9"], key=natural_key) == ["9", "10"] and one_line(["a"], 1) == "a"
