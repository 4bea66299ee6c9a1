"""The class head of ACGAN: its terms written out, whose parameters they move, what it costs."""

import inspect
import math

import pytest
import torch
from ganforge_auxiliary_classifier.losses import AuxiliaryClassifier
from ganforge_auxiliary_classifier.plugin import AuxiliaryClassifierOptions, ganforge_components
from playing import ONE_PAIR, plan_of, training_of

from ganforge import DiscriminatorOutput, ImageSpec, LabelSpec, LossContext
from ganforge.game.batch import Batch
from ganforge.game.turn import Turn
from ganforge.recipes.problems import RecipeError

(COMPONENT,) = ganforge_components()
LABELLED = ONE_PAIR.replace(
    'use = "mlp"\nhidden = [12]\n[discriminator]',
    'use = "mlp"\nfrom = ["noise", "label"]\nhidden = [12]\n[discriminator]',
)
PLAYED = LABELLED + "[losses.auxiliary-classifier]\n"


def loss(*shape, classes=3, **options):
    instance = AuxiliaryClassifier(AuxiliaryClassifierOptions(**options))
    features = torch.empty(2, *shape, device="meta")
    context = LossContext(
        discriminator="main",
        judged=ImageSpec(1, 8, 8),
        output=DiscriminatorOutput(features=features),
        labels=LabelSpec(classes),
    )
    instance.build(context)
    return instance


def set_head(instance, weight, bias):
    with torch.no_grad():
        instance.head.weight.copy_(torch.tensor(weight))
        instance.head.bias.copy_(torch.tensor(bias))


# --- the terms ------------------------------------------------------------------------------------


def test_the_terms_are_cross_entropies_of_real_and_fake_by_hand():
    instance = loss(2)
    set_head(instance, [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], [0.0, 0.5, 0.0])
    real, fake = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 0.0]])
    terms = instance.discriminator(real, torch.tensor([1]), fake, torch.tensor([2]))
    whole = math.log(math.exp(1) + math.exp(2.5) + math.exp(-3))
    assert terms["real"].tolist() == pytest.approx([whole - 2.5])
    uneven = math.log(2 + math.exp(0.5))
    assert terms["fake"].tolist() == pytest.approx([uneven])
    assert instance.generator(fake, torch.tensor([1])).tolist() == pytest.approx([uneven - 0.5])


def test_logits_are_not_softened_twice():
    """A sure and right head has no loss left; a softmax before cross-entropy would leave 0.55."""
    instance = loss(3)
    set_head(instance, (40 * torch.eye(3)).tolist(), [0.0] * 3)
    assert instance.generator(torch.eye(3), torch.arange(3)).max() < 1e-6
    far = torch.full((1, 3), 1e4).requires_grad_()
    value = instance.generator(-far, torch.tensor([0]))
    value.sum().backward()
    assert value.isfinite().all() and far.grad.isfinite().all()


@pytest.mark.parametrize(
    ("shape", "pool", "width"),
    [((5,), False, 5), ((5,), True, 5), ((5, 2, 3), False, 30), ((5, 2, 3), True, 5)],
)
def test_features_are_read_flat_or_pooled_over_their_maps(shape, pool, width):
    instance = loss(*shape, pool=pool)
    assert instance.class_rows().shape == (3, width)
    features = torch.randn(4, *shape)
    vector = features.mean((2, 3)) if pool and len(shape) > 1 else features.flatten(1)
    expected = vector @ instance.class_rows().T + instance.head.bias
    torch.testing.assert_close(
        instance.class_scores(DiscriminatorOutput(features=features)), expected
    )
    assert instance.class_scores(DiscriminatorOutput(scores=torch.zeros(4))) is None


# --- in a game ------------------------------------------------------------------------------------


def turn_of(training, side):
    game = training.game
    game.enter(training.plan.phases[0])
    trained_modules = game.open_side(side)
    plan = training.plan.losses["auxiliary-classifier"]
    batch = Batch(game, 0, slice(0, 6), graph=True)
    turn = Turn(batch, side, 1, game.wants([plan], side))
    ((address, terms),) = game.terms(plan, turn)
    return turn, {trained_module.address for trained_module in trained_modules}, address, terms


def moved(training, total):
    """The addresses of the players that a gradient reaches."""
    total.backward()
    return {
        trained_module.address
        for trained_module in training.game.trained_modules
        if any(q.grad is not None and q.grad.abs().sum() > 0 for q in trained_module.parameters)
    }


def test_d_and_the_head_learn_in_ds_turn_and_g_alone_in_its_own(tmp_path):
    training = training_of(tmp_path, PLAYED)
    _, trained_modules, address, terms = turn_of(training, "discriminator")
    assert address == "losses.auxiliary-classifier@main"
    assert trained_modules == {"discriminators.main", address} and terms.keys() == {"real", "fake"}
    assert moved(training, sum(terms.values())) == trained_modules
    training = training_of(tmp_path, PLAYED)
    _, trained_modules, _, terms = turn_of(training, "generator")
    assert trained_modules == {"generators.main"} == moved(training, terms["loss"])


def test_each_fake_is_to_be_of_the_class_that_its_generator_was_given(tmp_path):
    training = training_of(tmp_path, PLAYED)
    turn, _, address, terms = turn_of(training, "generator")
    labels = turn.batch.sources("main")[1]
    fake = training.game.networks["discriminators.main"](turn.batch.made("main").data).features
    by_hand = torch.nn.functional.cross_entropy(training.game.losses[address].head(fake), labels)
    torch.testing.assert_close(terms["loss"], by_hand)


def test_a_classifier_alone_costs_what_a_classifier_costs(tmp_path, monkeypatch):
    """No fake is made or judged: G is frozen, the adversarial loss off, the head sees real data."""
    sets = [
        "generator.freeze=true",
        "losses.adversarial.off=true",
        "losses.auxiliary-classifier.fakes=false",
    ]
    training = training_of(tmp_path, PLAYED, sets=sets)
    looked = []
    monkeypatch.setattr(training.game, "generate", lambda *_, **__: pytest.fail("a fake was made"))
    judge = training.game.networks["discriminators.main"]
    judge.register_forward_hook(lambda module, data, out: looked.append(len(data[0])))
    before = {k: v.clone() for k, v in training.game.networks["generators.main"].named_parameters()}
    training.run()
    assert looked == [6] * 4
    for name, parameter in training.game.networks["generators.main"].named_parameters():
        assert torch.equal(parameter, before[name])


def test_with_few_labels_the_head_learns_from_the_labelled_rows(tmp_path):
    training = training_of(tmp_path, PLAYED, sets=["data.labelled=7"])
    turn, _, address, terms = turn_of(training, "discriminator")
    judge = training.game.networks["discriminators.main"]
    features = judge(turn.batch["labelled-image"]).features
    scores = training.game.losses[address].head(features)
    by_hand = torch.nn.functional.cross_entropy(scores, turn.batch["label"])
    torch.testing.assert_close(terms["real"], by_hand)


def test_a_generator_without_labels_and_data_without_labels_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="generator 'main' is given no label"):
        plan_of(tmp_path, ONE_PAIR + "[losses.auxiliary-classifier]\n")


# --- the manifest ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fakes", [True, False])
def test_needs_are_the_parameters_of_the_methods(fakes):
    needs = COMPONENT.needed(AuxiliaryClassifierOptions(fakes=fakes))
    for side, names in needs.items():
        parameters = tuple(inspect.signature(getattr(AuxiliaryClassifier, side)).parameters)
        assert parameters[1 : 1 + len(names)] == names
    assert ("fake_features" in needs["discriminator"]) is fakes
    module, _, name = COMPONENT.target.partition(":")
    assert (module, name) == (AuxiliaryClassifier.__module__, AuxiliaryClassifier.__name__)
