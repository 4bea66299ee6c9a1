"""The overfitting metric: on discriminators that are known to know, or not to know, the data."""

from types import SimpleNamespace

import pytest
import torch
from ganforge_overfitting.overfitting import Overfitting, as_seen, rows, share
from ganforge_overfitting.plugin import OverfittingOptions, ganforge_components
from playing import CYCLE, ONE_PAIR, training_of

from ganforge import DiscriminatorOutput, GanforgeError, ImageSpec

(COMPONENT,) = ganforge_components()


class Scores(torch.nn.Module):
    """Scores each image by a function of it."""

    def __init__(self, score):
        super().__init__()
        self.score = score

    def forward(self, images, given=None):
        assert not self.training and len(images) <= 64
        return DiscriminatorOutput(scores=torch.stack([self.score(image) for image in images]))


def measured(training, score=None, count=20):
    metric = Overfitting(OverfittingOptions(count=count))
    if score is not None:
        for name in training.plan.discriminators:
            training.game.networks[f"discriminators.{name}"] = Scores(score)
    with training.looking() as run:
        return metric.measure(run)


def score_of(known, training):
    """1 for images among `known`, of the train or the test split; else -1."""
    with training.looking() as run:
        images = [image for split in known for image in rows(run.dataset(), split, "image", 99)]
    return lambda seen: torch.tensor(1.0 if any(torch.equal(seen, i) for i in images) else -1.0)


def test_figure_by_hand():
    assert share(2.0, 1.0, -2.0) == 0.25
    assert share(2.0, 2.0, -1.0) == 0 and share(2.0, -1.0, -1.0) == 1
    assert share(0.5, 0.5, 0.5) == 0, "a D that has learnt nothing"


def test_one_that_judges_scores_0_and_one_that_remembers_scores_1(tmp_path):
    training = training_of(tmp_path, ONE_PAIR)
    judges = measured(training, score_of(("train", "test"), training))
    assert judges == {
        "score-training": 1,
        "score-held-out": 1,
        "score-fake": -1,
        "overfitting": 0,
    }
    remembers = measured(training, score_of(("train",), training), count=48)
    assert remembers["score-training"] == 1 and remembers["overfitting"] <= 1
    with training.looking() as run:
        data = run.dataset()
        known = rows(data, "train", "image", 48)
        twice = sum(any(torch.equal(i, j) for j in known) for i in rows(data, "test", "image", 6))
    assert remembers["overfitting"] == pytest.approx(1 - twice / 6)


def test_scores_of_patches_count_as_one_image(tmp_path):
    training = training_of(tmp_path, ONE_PAIR)
    flat = measured(training, lambda image: image.mean())
    patches = measured(training, lambda image: image[0])
    assert flat == pytest.approx(patches, abs=1e-5)


def test_images_are_seen_as_in_training(tmp_path):
    text = ONE_PAIR.replace(
        "[hooks]", "[augmentors.flip]\np = 1.0\n[augmentors.gradient-image]\n[hooks]"
    )
    training = training_of(tmp_path, text)
    images = torch.rand(3, 1, 8, 8)
    with training.looking() as run:
        assert torch.equal(as_seen(run, "main", images, 0), images.flip(-1))
    training = training_of(tmp_path, text.replace("gradient-image]", "diff-augment]"))
    with training.looking() as run:
        assert torch.equal(as_seen(run, "main", images, 0), as_seen(run, "main", images, 0))
        assert not torch.equal(as_seen(run, "main", images, 0), as_seen(run, "main", images, 1))


def test_every_discriminator_is_measured(tmp_path):
    training = training_of(tmp_path, CYCLE)
    figures = measured(training, lambda image: image.mean(), count=4)
    assert figures.keys() == {
        f"{name}/{what}"
        for name in ("light", "dark")
        for what in ("score-training", "score-held-out", "score-fake", "overfitting")
    }
    assert figures["light/score-training"] == pytest.approx(
        -figures["dark/score-training"], abs=0.02
    )


def test_rows_are_spread_over_the_split_and_seen_whole():
    numbered = SimpleNamespace(
        description=SimpleNamespace(domains={"image": ImageSpec(1, 2, 3)}),
        count=lambda split, domain: 5,
        item=lambda split, domain, index: torch.full((1, 4, 6), 50 * index, dtype=torch.uint8),
        whole=lambda: numbered,
    )
    few = (rows(numbered, "train", "image", 3) + 1) * 127.5
    shades = torch.tensor([0.0, 100, 200]).view(3, 1, 1, 1)
    torch.testing.assert_close(few, shades.expand(3, 1, 2, 3))
    assert len(rows(numbered, "train", "image", 9)) == 5


def test_what_cannot_be_measured_is_told(tmp_path):
    given = ONE_PAIR.replace("dropout = 0.0", 'dropout = 0.0\ngiven = ["label"]')
    with pytest.raises(GanforgeError, match="'main' is given conditions"):
        measured(training_of(tmp_path, given))
    training = training_of(tmp_path, ONE_PAIR)
    with training.looking() as run:
        everything = run.dataset().count
        run.dataset = lambda: Split(everything)
        with pytest.raises(GanforgeError, match=r"no images of 'image' are held out; .*holdout"):
            Overfitting(OverfittingOptions()).measure(run)


class Split:
    """A data set that holds nothing out."""

    def __init__(self, count):
        self._count = count

    def count(self, split, domain):
        return 0 if split == "test" else self._count(split, domain)


def test_the_protocol_says_how_many_and_how():
    told = Overfitting(OverfittingOptions(count=7, seed=3)).protocol()
    assert "up to 7 training images" in told and "seed 3" in told
    assert COMPONENT.target == f"{Overfitting.__module__}:{Overfitting.__name__}"
