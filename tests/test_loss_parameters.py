"""Losses that own parameters: on either side, on no discriminator, built whatever they read."""

import sys

import pytest
import torch
from playing import CYCLE, ONE_PAIR, QUIET, plan_of, training_of
from torch import nn
from torch.nn import functional as F

from ganforge import Discriminator, Loss
from ganforge.interfaces.errors import PluginError
from ganforge.plugin import Component
from ganforge.recipes.problems import RecipeError
from ganforge.storage import checkpoint


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setitem(sys.modules, "test_loss_parameters", sys.modules[__name__])


class NoiseBack(Loss):
    """The noise can be told from the image (InfoGAN's second player); plays on G's side only."""

    def build(self, context):
        self.context = context
        (sources,) = context.sources.values()
        self.reads = nn.Linear(context.judged.flat, sources[0].flat)

    def generator(self, fake, fake_latents):
        return (self.reads(fake.flatten(1)) - fake_latents).square()


class FeaturesBack(Loss):
    """The same from the output; D's side reads as well, and G's learns."""

    learns_with = "generator"

    def build(self, context):
        self.context = context
        self.reads = nn.Linear(context.output.scores[0].numel() or 1, 1)

    def discriminator(self, real_scores):
        return self.reads(real_scores[:, None]).square()

    def generator(self, fake_scores):
        return self.reads(fake_scores[:, None]).square()


class WrongSide(NoiseBack):
    """Says that it learns where it does not play."""

    learns_with = "discriminator"


class Classifier(Loss):
    """A classifier of real images, which needs no discriminator"""

    def build(self, context):
        self.head = nn.Linear(context.judged.flat, context.labels.classes)

    def discriminator(self, real, real_labels):
        return F.cross_entropy(self.head(real.flatten(1)), real_labels, reduction="none")

    def generator(self, fake, fake_labels):
        return F.cross_entropy(self.head(fake.flatten(1)), fake_labels, reduction="none")


class Weighs(Loss):
    """A weight of the scores of real data, which D's turns learn."""

    def build(self, context):
        self.scale = nn.Parameter(torch.ones(()))

    def discriminator(self, real_scores):
        return (self.scale * real_scores).square().flatten(1).mean(1)


class KnowsLabels(Loss):
    """Reads the labels of the real rows in both turns, on no discriminator."""

    read = ()

    def discriminator(self, real, real_labels):
        KnowsLabels.read += ((real, real_labels),)
        return real.flatten(1).mean(1)

    def generator(self, made, real, real_labels):
        KnowsLabels.read += ((real, real_labels),)
        return made.flatten(1).mean(1)


class ReadsLabelled(Loss):
    def generator(self, labelled, made):
        return (made - labelled).flatten(1).mean(1)


class ReadsMixed(Loss):
    def generator(self, mixed):
        return mixed.flatten(1).mean(1)


class ReadsGiven(Loss):
    def generator(self, made, fake_given):
        return made.flatten(1).mean(1)


class Rows(Discriminator):
    """Compares rows in groups of three, so it cannot judge two"""

    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.head = nn.Linear(judged.flat + 1, 1)

    def forward(self, data, given=None):
        spread = data.view(-1, 3, *data.shape[1:]).std(1).flatten(1).mean(1)
        rows = torch.cat([data.flatten(1), spread.repeat_interleave(3)[:, None]], 1)
        return self.head(rows).squeeze(1)


def _component(kind, name, cls, **facts):
    where = f"test_loss_parameters:{cls}"
    return Component(kind, name, where, provider="tests", version="0", **facts)


PARTS = (
    _component("loss", "noise-back", "NoiseBack"),
    _component("loss", "features-back", "FeaturesBack"),
    _component("loss", "wrong-side", "WrongSide"),
    _component("loss", "classifier", "Classifier"),
    _component("loss", "weighs", "Weighs"),
    _component("loss", "knows-labels", "KnowsLabels"),
    _component("loss", "reads-labelled", "ReadsLabelled"),
    _component("loss", "reads-mixed", "ReadsMixed"),
    _component("loss", "reads-given", "ReadsGiven"),
    _component("discriminator", "rows", "Rows"),
)
EXTRA = '\n[losses.extra]\nuse = "{}"\n'
JUDGE = '[discriminator]\nuse = "mlp"\nhidden = [12]\ndropout = 0.0'
ALONE = (
    ONE_PAIR.replace(JUDGE, "")
    .replace('[losses.adversarial]\nuse = "non-saturating"', '[losses.alone]\nuse = "classifier"')
    .replace("[generator]\n", '[generator]\nfrom = ["noise", "label"]\n')
)


def weights(training, address):
    """The parameters of a loss, copied."""
    return [p.detach().clone() for p in training.game.losses[address].parameters()]


def moved(training, address, before):
    return [not torch.equal(a, b) for a, b in zip(before, weights(training, address), strict=True)]


@pytest.mark.parametrize(
    ("loss", "address"),
    [("noise-back", "losses.extra"), ("features-back", "losses.extra@main")],
)
def test_parameters_of_a_loss_learn_in_gs_turns_as_the_generator_does(tmp_path, loss, address):
    sets = ("generator.optimizer.lr=0.01", 'generator.optimizer.use="sgd"')
    training = training_of(tmp_path, ONE_PAIR + EXTRA.format(loss), *PARTS, sets=sets)
    before = weights(training, address)
    (trained_module,) = (p for p in training.game.trained_modules if p.address == address)
    assert (trained_module.side, trained_module.lr) == ("generator", 0.01)
    assert isinstance(trained_module.optimizer, torch.optim.SGD)
    after_d = []
    play = training._play

    def watched(side, *args):
        play(side, *args)
        if side == "discriminator":
            after_d.append(any(moved(training, address, before)))

    training._play = watched
    training.take_step(1)
    assert after_d == [False]
    assert all(moved(training, address, before))


def test_parameters_of_a_loss_learn_in_ds_turns_as_the_discriminator_does_that_they_are_on(
    tmp_path,
):
    sets = (
        'discriminators.dark.optimizer={ use = "sgd", lr = 0.5 }',
        "discriminators.dark.clip=0.25",
        'discriminators.dark.schedule={ use = "constant-then-linear", constant = 0.0 }',
    )
    training = training_of(tmp_path, CYCLE + EXTRA.format("weighs"), *PARTS, sets=sets)
    by_address = {p.address: p for p in training.game.trained_modules}
    for guard in ("light", "dark"):
        of_loss, judge = by_address[f"losses.extra@{guard}"], by_address[f"discriminators.{guard}"]
        assert type(of_loss.optimizer) is type(judge.optimizer)
        for settings in (of_loss, judge):
            is_dark = guard == "dark"
            assert (settings.side, settings.lr) == ("discriminator", 0.5 if is_dark else 0.0002)
            assert settings.clip == (0.25 if is_dark else None)
            assert (settings.schedule.use == "constant-then-linear") is is_dark
    before = weights(training, "losses.extra@dark")
    training.take_step(1)
    (step,) = (b - a for a, b in zip(weights(training, "losses.extra@dark"), before, strict=True))
    assert 0 < step <= 0.5 * 0.25 * 1.001  # at a rate of 0.5, of a gradient of at most 0.25


def test_a_loss_on_no_discriminator_reads_the_labels_of_its_real_rows(tmp_path):
    KnowsLabels.read = ()
    training = training_of(tmp_path, ONE_PAIR + EXTRA.format("knows-labels"), *PARTS)
    training.take_step(1)
    assert len(KnowsLabels.read) == 2
    for images, labels in KnowsLabels.read:  # the column of a dot tells its class
        third = images.shape[-1] // 3
        assert torch.equal(images.amax(dim=(1, 2)).argmax(1) // third, labels)


@pytest.mark.parametrize(
    ("loss", "reason"),
    [
        ("knows-labels", "it asks for 'real_labels', but the rows of 'image' have no labels"),
        ("reads-labelled", "it asks for 'labelled', but only a loss that reads what a disc"),
        ("reads-mixed", "it asks for 'mixed', but only a loss that reads what a disc"),
        ("reads-given", "it asks for 'fake_given', but only a loss that reads what a disc"),
    ],
)
def test_what_a_loss_on_no_discriminator_cannot_read_is_refused(tmp_path, loss, reason):
    text = ONE_PAIR.replace('use = "dots"\n', 'use = "dots"\nlabelled = 12\n', 1)
    with pytest.raises(RecipeError, match=f"loss 'extra' cannot play on 'main': {reason}"):
        plan_of(tmp_path, text + EXTRA.format(loss), *PARTS)


def test_a_loss_that_reads_no_verdict_is_built_for_what_its_generator_makes(tmp_path):
    training = training_of(tmp_path, ONE_PAIR + EXTRA.format("noise-back"), *PARTS)
    context = training.game.losses["losses.extra"].context
    assert context.discriminator == "" and context.output.scores is None
    assert context.judged == context.targets["main"] == training.plan.domains["image"].spec
    assert context.labels.classes == 3
    assert [spec.dim for spec in context.sources["main"]] == [5]


def test_a_resumed_run_has_them_to_the_bit(tmp_path):
    text = ONE_PAIR + EXTRA.format("noise-back")
    for name in ("whole", "again"):
        (tmp_path / name).mkdir()
    whole = training_of(tmp_path / "whole", text, *PARTS)
    whole.take_step(1)
    whole.take_step(2)
    whole.save()
    again = training_of(tmp_path / "again", text, *PARTS)
    again.resume(checkpoint.load(whole.folder.checkpoints, 2))
    for training in (whole, again):
        training.take_step(3)
        training.take_step(4)
    one, other = whole.game.state(), again.game.state()
    for file in one:
        assert one[file].keys() == other[file].keys()
        assert all(torch.equal(one[file][name], other[file][name]) for name in one[file])
    assert "losses.extra/reads.weight/exp_avg" in one["optimizers"]


def test_a_loss_with_parameters_learns_where_there_is_no_discriminator(tmp_path):
    training = training_of(tmp_path, ALONE, *PARTS)
    before = weights(training, "losses.alone")
    training.run()
    assert all(moved(training, "losses.alone", before))
    (trained_module,) = (p for p in training.game.trained_modules if p.address == "losses.alone")
    assert trained_module.side == "discriminator"


def test_a_loss_that_says_it_learns_where_it_does_not_play_is_refused(tmp_path):
    with pytest.raises(PluginError, match="plays on the generator's side only"):
        training_of(tmp_path, ONE_PAIR + EXTRA.format("wrong-side"), *PARTS)


def test_the_head_of_a_frozen_generator_learns_by_itself(tmp_path):
    text = ONE_PAIR + EXTRA.format("noise-back")
    training = training_of(tmp_path, text, *PARTS, sets=("generator.freeze=true",))
    before = weights(training, "losses.extra")
    training.take_step(1)
    assert all(moved(training, "losses.extra", before))


def test_a_loss_is_built_on_a_discriminator_that_cannot_judge_two_rows(tmp_path):
    text = ONE_PAIR.replace('use = "mlp"\nhidden = [12]\ndropout = 0.0', 'use = "rows"')
    training = training_of(tmp_path, text + EXTRA.format("features-back"), *PARTS)
    assert training.game.losses["losses.extra@main"].context.output.scores.shape == (2,)
    training.take_step(1)


assert QUIET in ONE_PAIR and "[discriminator]" not in ALONE and "classifier" in ALONE
