"""The labelled images of a run's data set, as a judge is to see them, whatever the run sees."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import attrs
import torch
from torch import Tensor

from ganforge import GanforgeError
from ganforge.images import THREADS
from ganforge.plugin import (
    DataDescription,
    ImageOptions,
    ImageSpec,
    Impossible,
    LabelSpec,
    with_options,
)

if TYPE_CHECKING:
    from ganforge import Dataset, Run

# Options by which data sets withhold labels or falsify them in training. A judge is to know the
# truth, so it reads the data with these at their defaults.
LABEL_OPTIONS = ("labelled", "wrong_labels")

SMALLEST, LARGEST = 8, 64  # pixels of the shorter and of the longer side of what a judge sees
MOST_TRAINING, MOST_HELD_OUT = 60_000, 10_000  # rows; of more, evenly spread ones are taken
KEPT_FROM_JUDGE = 10  # without a test split, every 10th training row is held out


@attrs.frozen(eq=False)
class Rows:
    """images: uint8 [N, C, H, W]. labels: int64 [N]."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice | Tensor) -> Rows:
        return Rows(self.images[part], self.labels[part])

    def pixels(self) -> Tensor:
        """The images as float32 in [-1, 1]."""
        return self.images.float() / 127.5 - 1


@attrs.frozen(eq=False)
class Labelled:
    """A domain of images and the domain of their labels, read at one size."""

    dataset: Dataset
    domain: str
    labels: str
    name: str  # of the data set, as recipes write it
    component: str  # its exact name

    @property
    def spec(self) -> ImageSpec:
        """What the images look like."""
        spec = self.dataset.description.domains[self.domain]
        assert isinstance(spec, ImageSpec)
        return spec

    @property
    def classes(self) -> LabelSpec:
        """How many classes there are, and their names."""
        spec = self.dataset.description.domains[self.labels]
        assert isinstance(spec, LabelSpec)
        return spec

    @property
    def has_test(self) -> bool:
        """Whether the data set has a test split with labels."""
        return all(self.dataset.count("test", name) for name in (self.domain, self.labels))

    def training(self, most: int = MOST_TRAINING) -> Rows:
        """What a judge learns from: at most so many rows, evenly spread over the training split."""
        return self.read(*self.where("training", most))

    def held_out(self, most: int = MOST_HELD_OUT) -> Rows:
        """What no judge learns from: of the test split, or every 10th row where there is none."""
        return self.read(*self.where("held-out", most))

    def where(self, part: Literal["training", "held-out"], most: int) -> tuple[str, Tensor]:
        """The split of a part, and the numbers of its rows, int64 [N]."""
        split = "test" if part == "held-out" and self.has_test else "train"
        rows = torch.arange(self.dataset.count(split, self.domain))
        if not self.has_test:
            rows = rows[(rows % KEPT_FROM_JUDGE == 0) == (part == "held-out")]
        return split, spread(rows, most)

    def read(self, split: str, rows: Tensor) -> Rows:
        """These rows of a split."""
        return Rows(*(self._domain(split, name, rows) for name in (self.domain, self.labels)))

    def _domain(self, split: str, name: str, rows: Tensor) -> Tensor:
        if len(rows) == self.dataset.count(split, name):  # for a few, all would cost too much
            whole = self.dataset.rows(split, name)
            if whole is not None:
                return whole
        with ThreadPoolExecutor(THREADS) as pool:
            items = pool.map(lambda row: self.dataset.item(split, name, row), rows.tolist())
            return torch.stack(list(items))


def spread(rows: Tensor, most: int) -> Tensor:
    """At most so many of the rows, evenly spread: the rows of a class may be adjacent."""
    count = min(most, len(rows))
    return rows[torch.arange(count) * len(rows) // max(1, count)]


def labelled_domains(description: DataDescription) -> dict[str, str]:
    """domain of images -> domain of the labels that belong to its rows."""
    return {
        name: other
        for name, spec in description.domains.items()
        if isinstance(spec, ImageSpec)
        for other in description.group(name)
        if isinstance(description.domains[other], LabelSpec)
    }


def true_options(options: Any) -> Any:
    """A data set's options, with those of LABEL_OPTIONS that it has at their defaults."""
    changes = {
        field.name: field.default.factory()
        if isinstance(field.default, attrs.Factory)
        else field.default
        for field in attrs.fields(type(options))
        if field.name in LABEL_OPTIONS and field.default is not attrs.NOTHING
    }
    return with_options(options, **changes)


def judged_domains(run: Run) -> dict[str, str]:
    """The domains of the run's data that can be judged, each with the domain of its labels.

    Raises GanforgeError for data without labels.
    """
    data = run.plan.data
    described = data.component.describe(true_options(data.options), _uncropped(data.image))
    found = labelled_domains(described)
    if not found:
        raise GanforgeError(
            f"{data.component.name} yields no labels here, so no classifier can be trained on it "
            "to judge samples (a folder of images has labels with `labels = true` in [data])"
        )
    return found


def judged_as(run: Run, target: str, labels: dict[str, str]) -> str | None:
    """The domain, of those that can be judged, that images of a domain of the run belong to."""
    domain = run.plan.domains[target].of or target
    if domain in labels:
        return domain
    # Data of which few rows have labels may yield those as a domain of their own.
    label = labelled_domains(run.plan.data.description).get(domain)
    return next((image for image, other in labels.items() if other == label), None)


def _uncropped(image: ImageOptions) -> ImageOptions:
    """The run's image options without what changes images at random."""
    return with_options(image, load=None, flip=False)


def data_of(run: Run, domain: str | None = None) -> tuple[Labelled, Labelled]:
    """A domain of the run's data, as its judge sees it and at the size that the run plays at.

    domain: may be left out where only one domain of images has labels.
    Raises GanforgeError for data without labels, and DataError for data that cannot be read.
    """
    labels = judged_domains(run)
    if domain is None and len(labels) == 1:
        (domain,) = labels
    if domain is None or domain not in labels:
        raise GanforgeError(f"say which labelled images to judge: {', '.join(labels)}")
    data = run.plan.data
    options, played = true_options(data.options), _uncropped(data.image)
    describe = data.component.describe

    def read(image: ImageOptions, description: DataDescription) -> Labelled:
        dataset = run.registry.load_target(data.component)(options, image, description)
        return Labelled(dataset, domain, labels[domain], data.component.name, data.component.id)

    as_played = read(played, describe(options, played))
    image = _judged(describe, options, played, domain, as_played.spec)
    if image == played:
        return as_played, as_played
    return read(image, describe(options, image)), as_played


def _judged(
    describe: Any, options: Any, played: ImageOptions, domain: str, spec: ImageSpec
) -> ImageOptions:
    """The image options that a judge reads the data with: as the files are, so that one judge
    serves every size; but no larger than LARGEST, grey where the run is grey, and of the run's
    own shape where that is another (then the run crops, pads or stretches)."""
    channels = 1 if spec.channels == 1 else None
    native = ImageOptions(channels=channels)
    try:
        found = describe(options, native).domains[domain]
    except Impossible:  # the files differ in size
        found = spec
    if found.height * spec.width != found.width * spec.height:
        found = ImageSpec(found.channels, spec.height, spec.width)
    if min(found.height, found.width) < SMALLEST:
        raise GanforgeError(
            f"images of {found.height} x {found.width} px are too small to be judged; the smallest "
            f"side is {SMALLEST} px"
        )
    scale = min(1.0, LARGEST / max(found.height, found.width))
    size = tuple(max(SMALLEST, round(length * scale)) for length in (found.height, found.width))
    if size == (spec.height, spec.width) and found.channels == spec.channels:
        return played
    return ImageOptions(size=size, fit=played.fit, channels=channels)
