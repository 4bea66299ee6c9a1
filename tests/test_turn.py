"""Each thing is made once in a turn, and gives the gradients that separate forwards would."""

import pytest
import torch
from playing import CYCLE, ONE_PAIR, plan_of, training_of

from ganforge import Discriminator, DiscriminatorOutput, Loss
from ganforge.game.batch import Batch
from ganforge.game.turn import Turn
from ganforge.plugin import Component
from ganforge.recipes.problems import RecipeError


class Judge(Discriminator):
    """Scores, features and class scores from one body, deterministic."""

    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.body = torch.nn.Linear(judged.flat, 10)
        self.score = torch.nn.Linear(10, 1)
        self.classes = torch.nn.Linear(10, 3)
        self.calls = 0

    def forward(self, data, given=None):
        self.calls += 1
        features = torch.tanh(self.body(data.flatten(1)))
        return DiscriminatorOutput(
            self.score(features).squeeze(1), self.classes(features), features
        )


class Everything(Loss):
    """Adversarial, R1, a penalty between real and fake, a class head, relativistic pairing."""

    def discriminator(
        self,
        real_scores,
        fake_scores,
        real_gradient,
        mixed_gradient,
        real_class_scores,
        real_labels,
    ):
        pair = torch.nn.functional.softplus(fake_scores - real_scores)
        classes = torch.nn.functional.cross_entropy(
            real_class_scores, real_labels, reduction="none"
        )
        r1 = real_gradient.square().flatten(1).sum(1)
        penalty = (mixed_gradient.flatten(1).norm(dim=1) - 1).square()
        return pair + classes + r1 + penalty

    def generator(self, real_scores, fake_scores):
        return torch.nn.functional.softplus(real_scores - fake_scores)


class MeanFeatures(Loss):
    mixes_batch = True

    def discriminator(self, fake_features):
        return fake_features.mean(0).square().sum()

    def generator(self, real_features, fake_features):
        return (real_features.mean(0) - fake_features.mean(0)).square().sum()


def _here(kind, name, cls, **facts):
    return Component(kind, name, f"test_turn:{cls}", provider="tests", version="0", **facts)


JUDGE = _here("discriminator", "judge", "Judge", offers=("features", "class_scores"))
EVERYTHING = _here("loss", "everything", "Everything")
FEATURES = _here("loss", "mean-features", "MeanFeatures")

RECIPE = (
    ONE_PAIR.replace('[discriminator]\nuse = "mlp"\nhidden = [12]\ndropout = 0.0', "")
    .replace('use = "non-saturating"', 'use = "everything"')
    .replace("[losses.adversarial]", '[discriminator]\nuse = "judge"\n[losses.adversarial]')
    + "[losses.features]\nuse = 'mean-features'\n"
)


@pytest.fixture
def training(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "test_turn", sys.modules[__name__])
    training = training_of(tmp_path, RECIPE, JUDGE, EVERYTHING, FEATURES)
    training.game.enter(training.plan.phases[0])
    return training


def _turn(training, side, losses=("adversarial", "features")):
    plans = [training.plan.losses[name] for name in losses]
    training.game.open_side(side)
    batch = Batch(training.game, 0, slice(0, 6), graph=True)
    return Turn(batch, side, 1, training.game.wants(plans, side)), plans


def _gradients(training, total, side):
    trained_modules = [p for p in training.game.trained_modules if p.side == side]
    parameters = [q for p in trained_modules for q in p.parameters]
    return torch.autograd.grad(total, parameters, allow_unused=True)


@pytest.mark.parametrize("side", ["discriminator", "generator"])
def test_losses_that_share_forwards_get_the_gradients_of_separate_ones(training, side):
    turn, plans = _turn(training, side)
    shared = sum(
        t for p in plans for _, named in training.game.terms(p, turn) for t in named.values()
    )
    together = _gradients(training, shared, side)
    apart = None
    for name in ("adversarial", "features"):
        own_turn, own = _turn(training, side, (name,))
        total = sum(t for _, named in training.game.terms(own[0], own_turn) for t in named.values())
        parts = _gradients(training, total, side)
        parts = [torch.zeros(()) if g is None else g for g in parts]
        apart = parts if apart is None else [a + b for a, b in zip(apart, parts, strict=True)]
    for one, other in zip(together, apart, strict=True):
        torch.testing.assert_close(one, other.expand_as(one), rtol=1e-5, atol=1e-6)


def test_shared_gradients_equal_those_written_out_by_hand(training):
    turn, plans = _turn(training, "discriminator", ("adversarial",))
    terms = next(training.game.terms(plans[0], turn))[1]
    ours = _gradients(training, terms["loss"], "discriminator")

    judge = training.game.networks["discriminators.main"]
    real = turn.batch["image"].clone().requires_grad_()
    fake = turn.batch.made("main").data.detach()
    share = turn.batch.draw("mixed", "main", "main").uniform(1, 1, 1)
    mixed = (fake + share * (real - fake)).detach().requires_grad_()
    output, other = judge(real), judge(fake)
    softplus = torch.nn.functional.softplus
    (slope,) = torch.autograd.grad(output.scores.sum(), real, create_graph=True)
    (mixed_slope,) = torch.autograd.grad(judge(mixed).scores.sum(), mixed, create_graph=True)
    classes = torch.nn.functional.cross_entropy(
        output.class_scores, turn.batch["label"], reduction="none"
    )
    by_hand = (
        softplus(other.scores - output.scores)
        + classes
        + slope.square().flatten(1).sum(1)
        + (mixed_slope.flatten(1).norm(dim=1) - 1).square()
    ).mean()
    for one, two in zip(ours, _gradients(training, by_hand, "discriminator"), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


def test_d_looks_at_each_input_once_however_many_losses_ask(training):
    judge = training.game.networks["discriminators.main"]
    turn, plans = _turn(training, "discriminator")
    judge.calls = 0
    for plan in plans:
        list(training.game.terms(plan, turn))
    assert judge.calls == 3  # real, fake, mixed


def test_the_fakes_of_ds_last_turn_serve_gs_turn(training, monkeypatch):
    calls = []
    generate = training.game.generate
    monkeypatch.setattr(
        training.game,
        "generate",
        lambda *a, **k: (calls.append(k["address"]), generate(*a, **k))[1],
    )
    training.take_step(1)
    assert calls == [("made", 0, 0)]


def test_d_is_frozen_while_g_is_updated_and_open_in_its_own_turn(training):
    judge = training.game.networks["discriminators.main"]
    training.game.open_side("generator")
    assert not any(p.requires_grad for p in judge.parameters())
    training.game.open_side("discriminator")
    assert all(p.requires_grad for p in judge.parameters())


def test_ds_losses_send_no_gradient_into_g(training):
    turn, plans = _turn(training, "discriminator")
    total = sum(
        t for p in plans for _, named in training.game.terms(p, turn) for t in named.values()
    )
    total.backward()
    generator = training.game.networks["generators.main"]
    assert all(p.grad is None for p in generator.parameters())


def test_a_cycle_is_translated_back_and_both_generators_learn_from_it(tmp_path):
    training = training_of(tmp_path, CYCLE)
    training.game.enter(training.plan.phases[0])
    training.game.open_side("generator")
    batch = Batch(training.game, 0, slice(0, 2), graph=True)
    turn = Turn(batch, "generator", 1, {"source", "cycled"})
    there = training.game.networks["generators.l2d"]
    back = training.game.networks["generators.d2l"]
    translation = turn.translation("l2d")
    torch.testing.assert_close(translation.source, batch["light"])
    torch.testing.assert_close(translation.cycled, back(there(batch["light"])))
    translation.cycled.sum().backward()
    assert all(p.grad is not None for n in (there, back) for p in n.parameters())


def test_same_is_what_a_generator_makes_of_its_own_target(tmp_path):
    training = training_of(tmp_path, CYCLE)
    training.game.enter(training.plan.phases[0])
    batch = Batch(training.game, 0, slice(0, 2), graph=True)
    turn = Turn(batch, "generator", 1, {"same", "real"})
    there = training.game.networks["generators.l2d"]
    torch.testing.assert_close(turn.translation("l2d").same, there(batch["dark"]))
    torch.testing.assert_close(turn.translation("l2d").value("real"), batch["dark"])


CONDITIONAL = ONE_PAIR.replace("[generator]\n", '[generator]\nfrom = ["noise", "label"]\n').replace(
    "[discriminator]\n", '[discriminator]\ngiven = "label"\n'
)


def test_conditions_go_with_their_rows_and_mismatched_ones_with_another(tmp_path):
    training = training_of(tmp_path, CONDITIONAL)
    training.game.enter(training.plan.phases[0])
    batch = Batch(training.game, 0, slice(0, 6), graph=False)
    turn = Turn(batch, "discriminator", 1, set())
    labels = batch["label"]
    assert torch.equal(turn.pairing("main", "main", "plain", "real_given")[0], labels)
    assert torch.equal(turn.pairing("main", "main", "plain", "real_labels"), labels)
    other = turn.pairing("main", "main", "plain", "mismatched_given")[0]
    assert torch.equal(other, labels.roll(1))
    asked = batch.sources("main")[1]
    assert torch.equal(turn.pairing("main", "main", "plain", "fake_labels"), asked)
    assert torch.equal(turn.pairing("main", "main", "plain", "fake_given")[0], asked)


def test_a_second_sample_keeps_the_condition_and_draws_other_noise(tmp_path):
    training = training_of(tmp_path, CONDITIONAL)
    training.game.enter(training.plan.phases[0])
    batch = Batch(training.game, 0, slice(0, 6), graph=True)
    turn = Turn(batch, "generator", 1, set())
    noise, labels = batch.sources("main")
    other_noise, other_labels = batch.sources("main", "second")
    assert torch.equal(labels, other_labels)
    assert not torch.equal(noise, other_noise)
    assert torch.equal(turn.pairing("main", "main", "plain", "second_latents"), other_noise)
    assert torch.equal(turn.pairing("main", "main", "plain", "fake_latents"), noise)


def test_real_and_fake_get_the_same_draw_of_an_augmentor(tmp_path):
    training = training_of(tmp_path, ONE_PAIR + "[augmentors.flip]\n")
    training.game.enter(training.plan.phases[0])
    batch = Batch(training.game, 0, slice(0, 6), graph=False)
    images = torch.arange(6 * 64.0).reshape(6, 1, 8, 8)
    one = training.game.views("main", images, batch, "discriminator")["plain"]
    two = training.game.views("main", images.clone(), batch, "discriminator")["plain"]
    assert torch.equal(one, two)
    flipped = (one != images).flatten(1).any(1)
    assert 0 < flipped.sum() < 6


def test_a_gradient_view_is_judged_beside_the_plain_one_and_their_losses_add(tmp_path):
    training = training_of(tmp_path, ONE_PAIR + "[augmentors.gradient-image]\n")
    training.game.enter(training.plan.phases[0])
    turn, plans = _turn(training, "discriminator", ("adversarial",))
    assert turn.views("main") == ("plain", "gradient")
    terms = next(training.game.terms(plans[0], turn))[1]
    judge = training.game.networks["discriminators.main"]
    softplus = torch.nn.functional.softplus
    expected = 0.0
    for view in ("plain", "gradient"):
        real = judge(turn.input_of("main", "real", "main").views[view])
        expected = expected + softplus(-real.scores).mean()
    torch.testing.assert_close(terms["real"], expected)


def test_a_loss_that_asks_for_what_a_discriminator_does_not_offer_is_refused(tmp_path):
    text = ONE_PAIR + '[losses.classes]\nuse = "everything"\n'
    with pytest.raises(RecipeError, match="offers no class_scores"):
        plan_of(tmp_path, text, EVERYTHING)


STACKED = (
    CONDITIONAL.replace("[generator]", "[generators.base]")
    .replace('given = "label"', 'given = ["label", "small"]\non = "image"')
    .replace(
        "[discriminator]",
        """[generators.fine]
use = "mlp"
hidden = [12]
from = "generators.base"
to = "image"
[domains.small]
of = "image"
size = 4
[discriminator]""",
        1,
    )
    .replace('from = ["noise", "label"]', 'from = ["noise", "label"]\nto = "small"')
)


def test_a_generator_that_reads_anothers_output_is_judged_under_what_that_one_was_given(tmp_path):
    training = training_of(tmp_path, STACKED)
    training.game.enter(training.plan.phases[0])
    batch = Batch(training.game, 0, slice(0, 6), graph=False)
    turn = Turn(batch, "discriminator", 1, set())
    labels, small = turn.pairing("main", "fine", "plain", "fake_given")
    assert torch.equal(labels, batch.sources("base")[1])
    assert torch.equal(small, batch.made("base").data)


def test_parts_of_a_batch_are_mismatched_as_the_whole_is(tmp_path):
    training = training_of(tmp_path, CONDITIONAL)
    training.game.enter(training.plan.phases[0])
    whole = Batch(training.game, 0, slice(0, 6), graph=False)
    parts = [Batch(training.game, 0, slice(i, i + 1), graph=False) for i in range(6)]
    together = torch.cat([part.of_other_rows("label") for part in parts])
    assert torch.equal(together, whole.of_other_rows("label"))
    assert torch.equal(together, whole["label"].roll(1))


def test_inputs_between_real_and_fake_work_in_bf16(tmp_path):
    training = training_of(tmp_path, ONE_PAIR, sets=['train.precision="bf16"'])
    training.game.enter(training.plan.phases[0])
    turn, _ = _turn(training, "discriminator", ("adversarial",))
    assert turn.pairing("main", "main", "plain", "mixed_scores").dtype == torch.float32


def test_what_a_fake_was_made_from_is_detached_in_ds_turn(tmp_path):
    training = training_of(tmp_path, STACKED)
    training.game.enter(training.plan.phases[0])
    training.game.open_side("discriminator")
    batch = Batch(training.game, 0, slice(0, 6), graph=True)
    turn = Turn(batch, "discriminator", 1, set())
    assert batch.made("base").data.requires_grad
    assert not turn.translation("base").value("fake").requires_grad
    assert not turn.pairing("main", "fine", "plain", "fake").requires_grad


def test_a_cycle_through_a_frozen_generator_still_trains_the_way_back(tmp_path):
    training = training_of(tmp_path, CYCLE, sets=["generators.d2l.freeze=true"])
    training.game.enter(training.plan.phases[0])
    training.game.open_side("generator")
    turn = Turn(Batch(training.game, 0, slice(0, 2), graph=True), "generator", 1, set())
    terms = next(training.game.terms(training.plan.losses["cycle-consistency"], turn))[1]
    both = sum(
        (turn.translation(g).cycled - turn.translation(g).source).abs().mean()
        for g in ("l2d", "d2l")
    )
    torch.testing.assert_close(terms["loss"], both)


def _mlp_gradients(training, apart):
    """Gradients of D's turn of one pair of perceptrons, and how often D looked."""
    game = training.game
    game.enter(training.plan.phases[0])
    judge = game.networks["discriminators.main"]
    judge.independent_rows = not apart
    looked = []
    hook = judge.register_forward_hook(lambda module, data, out: looked.append(len(data[0])))
    game.open_side("discriminator")
    losses = [plan for plan in training.plan.losses.values() if "discriminator" in plan.needs]
    batch = Batch(game, 0, slice(0, 6), graph=True)
    turn = Turn(batch, "discriminator", 1, game.wants(losses, "discriminator"))
    terms = [t for plan in losses for _, named in game.terms(plan, turn) for t in named.values()]
    gradients = torch.autograd.grad(sum(terms), list(judge.parameters()))
    hook.remove()
    return gradients, looked, turn.known_scores("main")


def test_a_discriminator_that_judges_rows_apart_sees_real_and_fake_in_one_forward(tmp_path):
    training = training_of(tmp_path, ONE_PAIR)
    together, looked, scores = _mlp_gradients(training, apart=False)
    alone, looked_apart, scores_apart = _mlp_gradients(training, apart=True)
    assert (looked, looked_apart) == ([12], [6, 6])
    for one, other in zip((*together, *scores), (*alone, *scores_apart), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_where_a_gradient_is_read_real_and_fake_pass_one_by_one(tmp_path):
    text = ONE_PAIR + '[losses.penalty]\nuse = "r1"\n'
    training = training_of(tmp_path, text)
    assert _mlp_gradients(training, apart=False)[1] == [6, 6]


# --- data of which few rows have labels -----------------------------------------------------------

FEW = RECIPE.replace('use = "dots"', 'use = "dots"\nlabelled = 7').replace("everything", "odd")


class Odd(Loss):
    def discriminator(self, labelled_class_scores, labelled_labels, real_scores, fake_scores):
        classes = torch.nn.functional.cross_entropy(
            labelled_class_scores, labelled_labels, reduction="none"
        )
        return classes + torch.nn.functional.softplus(fake_scores - real_scores)

    def generator(self, fake_scores):
        return -fake_scores


def _odd_turn(tmp_path, monkeypatch, text):
    import sys

    monkeypatch.setitem(sys.modules, "test_turn", sys.modules[__name__])
    training = training_of(tmp_path, text, JUDGE, FEATURES, _here("loss", "odd", "Odd"))
    training.game.enter(training.plan.phases[0])
    turn, plans = _turn(training, "discriminator")
    for plan in plans:
        for _ in training.game.terms(plan, turn):
            pass
    return training, turn


def test_labelled_rows_are_a_stream_of_their_own_with_their_labels(tmp_path, monkeypatch):
    training, turn = _odd_turn(tmp_path, monkeypatch, FEW)
    labelled = turn.pairing("main", "main", "plain", "labelled")
    labels = turn.pairing("main", "main", "plain", "labelled_labels")
    bright = labelled.amax(dim=(1, 2)).argmax(1)  # a dot's column tells its class
    assert torch.equal(bright, torch.tensor([0, 2, 5])[labels])
    assert torch.equal(labelled, turn.batch["labelled-image"])
    assert not torch.equal(labelled, turn.pairing("main", "main", "plain", "real"))
    assert training.game.networks["discriminators.main"].calls == 3


def test_where_every_row_has_a_label_labelled_data_are_the_real_ones(tmp_path, monkeypatch):
    text = FEW.replace("labelled = 7\n", "")
    training, turn = _odd_turn(tmp_path, monkeypatch, text)
    names = ("labelled", "labelled_scores", "labelled_labels", "labelled_features")
    for name in names:
        real = name.replace("labelled", "real", 1)
        found = turn.pairing("main", "main", "plain", name)
        assert found is turn.pairing("main", "main", "plain", real)
    assert training.game.networks["discriminators.main"].calls == 2


@pytest.mark.parametrize("data", ["labelled = 7", ""])
def test_the_gradient_at_labelled_data_can_be_read(tmp_path, monkeypatch, data):
    training, _ = _odd_turn(tmp_path, monkeypatch, FEW.replace("labelled = 7", data))
    training.game.open_side("discriminator")
    batch = Batch(training.game, 0, slice(0, 6), graph=True)
    turn = Turn(batch, "discriminator", 1, {"labelled_gradient", "real_scores"})
    gradient = turn.pairing("main", "main", "plain", "labelled_gradient")
    assert gradient.shape == (6, 1, 8, 8) and gradient.abs().sum() > 0


def test_labelled_rows_of_a_derived_domain_are_resized_as_it_is(tmp_path, monkeypatch):
    text = FEW.replace("[discriminator]", 'to = "small"\n[discriminator]')
    text += '[domains.small]\nof = "image"\nsize = 4\n'
    _, turn = _odd_turn(tmp_path, monkeypatch, text)
    assert turn.pairing("main", "main", "plain", "labelled").shape == (6, 1, 4, 4)
