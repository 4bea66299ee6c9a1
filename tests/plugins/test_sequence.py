"""Texts written and judged word by word: what is drawn, decoded and learned, against hand-computed
values."""

import inspect
import itertools
import math
import subprocess
import sys

import pytest
import torch
from ganforge_sequence.discriminator import SequencePairs
from ganforge_sequence.generator import Seq2Seq, chosen, log_probs
from ganforge_sequence.losses import Likelihood, Reinforce
from ganforge_sequence.plugin import (
    ReinforceOptions,
    Seq2SeqOptions,
    SequencePairsOptions,
    ganforge_components,
)
from ganforge_sequence.reading import counts, length_of
from playing import QUIET, training_of
from recipe_text import RecipeText
from torch.nn import functional as F

from ganforge import GanforgeError, ImageSpec, LabelSpec, NoiseSpec, TextSpec, VectorSpec
from ganforge.plugin import Impossible
from ganforge.storage import checkpoint

COMPONENTS = {(component.kind, component.name): component for component in ganforge_components()}
TIME = TextSpec(vocabulary=("", *"0123456789:"), length=5, unit="character")
WORDS = TextSpec(vocabulary=("", "a", "b"), length=3)
FROM = (TIME, NoiseSpec(4))


def generator(sources=FROM, target=WORDS, **options):
    torch.manual_seed(0)
    return Seq2Seq(Seq2SeqOptions(**{"width": 8, **options}), sources, target)


def discriminator(given=(TIME,), **options):
    torch.manual_seed(0)
    return SequencePairs(SequencePairsOptions(**{"width": 8, **options}), WORDS, given)


def sources(count, seed=0):
    random = torch.Generator().manual_seed(seed)
    return (
        torch.randint(1, 12, (count, 5), generator=random),
        torch.randn(count, 4, generator=random),
    )


def peaked(network, scale=3.0):
    """The same with weights so large that its choices are far from uniform."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(scale)
    return network


def every_text():
    """All texts of at most three words out of two, as tokens [15, 3]."""
    texts = [
        (*words, *[0] * (3 - length))
        for length in range(4)
        for words in itertools.product((1, 2), repeat=length)
    ]
    return torch.tensor(texts)


# --- what counts ----------------------------------------------------------------------------------


def test_words_and_the_end_count_and_what_fills_up_does_not():
    tokens = torch.tensor([[1, 2, 1], [1, 0, 0], [0, 0, 0], [1, 0, 2]])
    assert length_of(tokens).tolist() == [3, 2, 1, 2]
    assert counts(tokens).long().tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 0]]


def test_log_probs_are_those_of_the_chosen_tokens_up_to_the_end():
    logits = torch.tensor([[[0.0, math.log(3), 0.0], [math.log(2), 0.0, 0.0], [5.0, 0.0, 9.0]]])
    found = log_probs(logits, torch.tensor([[1, 0, 0]]))
    assert found[0].tolist() == pytest.approx([math.log(3 / 5), math.log(2 / 4), 0])


# --- the generator --------------------------------------------------------------------------------


def test_probabilities_of_all_texts_sum_to_one():
    texts = every_text()
    network = peaked(generator())
    values = [part[:1].expand(len(texts), -1) for part in sources(1)]
    total = network(*values, forced=texts).log_probs.sum(1).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("choice", ["straight-through", "plain"])
def test_texts_are_drawn_as_often_as_their_probability_says(choice):
    """Forced reading and drawing are two ways through one network; here they must agree."""
    texts = every_text()
    network = peaked(generator(choice=choice, temperature=0.3)).eval()
    one = sources(1)
    expected = (
        network(*(p.expand(len(texts), -1) for p in one), forced=texts).log_probs.sum(1).exp()
    )
    many = [part.expand(20_000, -1) for part in one]
    torch.manual_seed(1)
    with torch.no_grad():
        drawn = network(*many).data.argmax(2)
        sampled = network.decode(*many, method="sample", generator=torch.Generator())[:, 0]
    for tokens in (drawn, sampled):
        same = (tokens[:, None] == texts).all(2)
        assert same.any(1).all()  # nothing stands behind an end
        shares = same.float().mean(0)
        torch.testing.assert_close(shares, expected.detach(), atol=0.015, rtol=0)


def test_what_was_drawn_has_the_log_probs_that_forcing_it_gives():
    network = peaked(generator())
    made = network(*sources(6))
    tokens = made.data.argmax(2)
    again = network(*sources(6), forced=tokens)
    torch.testing.assert_close(made.log_probs, again.log_probs)
    assert torch.equal(again.data, F.one_hot(tokens, 3).float())


def test_words_are_one_hot_and_follow_torchs_seed():
    network = generator()
    made = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        made.append(network(*sources(30)).data)
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])
    assert torch.equal(made[0].sum(2), torch.ones(30, 3)) and set(made[0].unique().tolist()) == {
        0,
        1,
    }


def test_straight_through_passes_the_gradient_of_the_soft_choice():
    """With the same noise: d soft_i / d logit_j = soft_i (1[i = j] - soft_j) / temperature."""
    logits = torch.tensor([[0.3, -0.2, 0.5]], requires_grad=True)
    torch.manual_seed(0)
    noise = -torch.empty(1, 3).exponential_().log()
    soft = F.softmax((logits.detach() + noise) / 0.5, 1)[0]
    torch.manual_seed(0)
    hard = chosen(logits, 0.5)
    assert hard.tolist() == F.one_hot((logits + noise).argmax(1), 3).tolist()
    (gradient,) = torch.autograd.grad(hard[0, 1], logits)
    expected = [soft[1] * (float(j == 1) - soft[j]) / 0.5 for j in range(3)]
    torch.testing.assert_close(gradient[0], torch.stack(expected))


def test_plain_choices_have_no_gradient_but_their_log_probs_have():
    made = generator(choice="plain")(*sources(5))
    assert not made.data.requires_grad and made.log_probs.requires_grad
    assert generator()(*sources(5)).data.requires_grad


def test_a_later_word_learns_from_what_was_chosen_before_it():
    """The gradient also passes through the choice that the next word was written after."""
    network = generator()
    data = network(*sources(40)).data
    data[:, 2, 1].sum().backward()
    assert network.words.word.grad.abs().sum() > 0


def test_greedy_is_the_likeliest_word_each_time():
    network = peaked(generator())
    texts = network.decode(*sources(7))[:, 0]
    logits = network.logits_of(network.conditions(sources(7)), texts)
    assert torch.equal(logits.argmax(2)[counts(texts)], texts[counts(texts)])
    assert not texts[~counts(texts)].any()


def test_a_wide_beam_finds_the_likeliest_texts_in_their_order():
    network = peaked(generator())
    texts = every_text()
    for row in range(4):
        one = [part[row : row + 1] for part in sources(4)]
        all_of = network(*(p.expand(15, -1) for p in one), forced=texts).log_probs.sum(1)
        found = network.decode(*one, method="beam", count=15)[0]
        assert torch.equal(found, texts[all_of.argsort(descending=True)])


def test_a_beam_of_one_is_greedy():
    network = peaked(generator())
    greedy, beam = (network.decode(*sources(9), method=m) for m in ("greedy", "beam"))
    assert torch.equal(greedy, beam)


def test_cold_samples_are_greedy():
    network = peaked(generator())
    cold = network.decode(*sources(9), method="sample", count=3, temperature=1e-4)
    assert torch.equal(cold, network.decode(*sources(9)).expand(-1, 3, -1))


def test_text_of_another_generator_is_read_as_the_same_tokens():
    network = generator()
    tokens, noise = sources(3)
    torch.manual_seed(0)
    one = network(tokens, noise).data
    torch.manual_seed(0)
    other = network(F.one_hot(tokens, 12).float(), noise).data
    assert torch.equal(one, other)


@pytest.mark.parametrize(
    "given",
    [(NoiseSpec(4),), (LabelSpec(3), TIME), (VectorSpec(6), TIME, WORDS), (WORDS,)],
    ids=["noise", "label and text", "vector and two texts", "text"],
)
def test_conditions_of_every_kind_reach_the_text(given):
    network = generator(given)
    values = [
        torch.randint(1, 3, (4, *spec.shape))
        if isinstance(spec, (LabelSpec, TextSpec))
        else torch.randn(4, *spec.shape)
        for spec in given
    ]
    made = network(*values)
    made.log_probs.sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert made.data.shape == (4, 3, 3)


# --- the discriminator ----------------------------------------------------------------------------


def one_hot(*texts):
    return F.one_hot(torch.tensor(texts), 3).float()


def test_a_beginnings_score_does_not_know_what_follows():
    network = discriminator()
    time = sources(1)[0].expand(2, -1)
    scores = network(one_hot([1, 2, 1], [1, 2, 2]), (time,)).scores
    assert scores.shape == (2, 3)
    assert torch.equal(scores[0, :2], scores[1, :2]) and scores[0, 2] != scores[1, 2]


def test_behind_its_end_a_text_keeps_its_score():
    scores = discriminator()(one_hot([1, 0, 0], [0, 0, 0]), (sources(2)[0],)).scores
    assert scores[0, 0] != scores[0, 1] == scores[0, 2]
    assert scores[1].unique().numel() == 1


def test_the_same_text_is_judged_by_its_condition():
    scores = discriminator()(one_hot([1, 2, 0], [1, 2, 0]), (sources(2)[0],)).scores
    assert not torch.equal(scores[0], scores[1])


def test_features_are_those_at_the_end():
    network = discriminator()
    time = sources(1)[0]
    short, longer = (network(one_hot(text), (time,)).features for text in ([1, 0, 0], [1, 2, 0]))
    assert short.shape == (1, 8) and not torch.equal(short, longer)


def test_without_a_condition_texts_are_judged_by_themselves():
    assert discriminator(given=())(one_hot([1, 2, 0])).scores.shape == (1, 3)


def test_g_learns_through_every_word_of_a_text_but_not_through_what_fills_up():
    data = one_hot([1, 0, 0]).requires_grad_()
    discriminator()(data, (sources(1)[0],)).scores.sum().backward()
    assert data.grad[0, 0].any() and data.grad[0, 1].any() and not data.grad[0, 2].any()


# --- the losses -----------------------------------------------------------------------------------


def test_likelihood_is_the_negative_log_probability_of_the_whole_text():
    found = Likelihood(None).generator(torch.tensor([[-0.5, -1.0, 0.0], [-0.25, 0.0, 0.0]]))
    assert found.tolist() == [1.5, 0.25]


def reinforce(**options):
    return Reinforce(ReinforceOptions(**options))


LOG_PROBS = torch.tensor([[-1.0, -2.0, -0.5]])
SCORES = torch.tensor([[0.5, 2.0, -1.0]])


def test_words_are_paid_by_how_they_moved_the_score():
    loss = reinforce(reward="score")
    loss.baseline.fill_(0.25)
    # paid 0.5 - 0.25, 2 - 0.5, -1 - 2: -(0.25 * -1 + 1.5 * -2 - 3 * -0.5) = 1.75
    found = loss.generator(LOG_PROBS, SCORES)
    assert found["policy"].tolist() == pytest.approx([1.75])
    assert found["pay"].tolist() == [0.5]


def test_or_all_of_them_by_the_score_of_the_whole_text():
    loss = reinforce(reward="score", credit="text")
    loss.baseline.fill_(0.25)
    # paid -1 - 0.25 each: 1.25 * (-1 - 2 - 0.5)
    found = loss.generator(LOG_PROBS, SCORES)
    assert found["policy"].tolist() == pytest.approx([1.25 * -3.5])
    assert found["pay"].tolist() == [-1.0]


def test_one_score_of_a_text_pays_all_its_words():
    found = reinforce(reward="score").generator(LOG_PROBS, torch.tensor([2.0]))
    assert found["policy"].tolist() == pytest.approx([7.0])


def test_the_papers_reward_is_ds_probability_of_real():
    found = reinforce(credit="text").generator(LOG_PROBS, torch.full((1, 3), math.log(3)))
    # sigmoid(log 3) = 3/4, less the 1/2 of an undecided D
    assert found["policy"].tolist() == pytest.approx([0.25 * 3.5])
    assert found["pay"].tolist() == pytest.approx([0.75])


def test_the_gradient_is_the_policys_and_none_of_it_goes_through_d():
    log_probs, scores = LOG_PROBS.clone().requires_grad_(), SCORES.clone().requires_grad_()
    terms = reinforce(reward="score", credit="text").generator(log_probs, scores)
    sum(term.sum() for term in terms.values()).backward()
    assert scores.grad is None
    assert log_probs.grad.tolist() == [[1.0, 1.0, 1.0]]  # paid -1: less often


def test_the_policy_gradient_is_that_of_the_expected_score():
    """Over one choice out of three with known scores: the mean of score-weighted gradients is
    d/dlogit_j sum_i p_i s_i = p_j (s_j - sum_i p_i s_i), whatever the baseline."""
    score = torch.tensor([1.0, -2.0, 0.5])
    logits = torch.tensor([0.2, 0.0, -0.4], requires_grad=True)
    p = F.softmax(logits, 0).detach()
    for baseline in (0.0, 0.7):
        loss = reinforce(reward="score")
        loss.baseline.fill_(baseline)
        each = loss.generator(F.log_softmax(logits, 0)[:, None], score[:, None])["policy"]
        (gradient,) = torch.autograd.grad((p * each).sum(), logits)
        torch.testing.assert_close(gradient, -p * (score - (p * score).sum()))


def test_the_baseline_follows_the_pay():
    loss = reinforce(momentum=0.75)
    assert loss.baseline == 0.5  # what an undecided D pays
    logged = loss.observe("generator", {"pay": torch.tensor(0.9), "policy": torch.tensor(3.0)})
    assert logged["baseline"].item() == pytest.approx(0.75 * 0.5 + 0.25 * 0.9)
    logged_again = loss.observe("generator", {"pay": torch.tensor(0.9)})
    assert logged["baseline"] < logged_again["baseline"] == loss.state_dict()["baseline"]
    assert reinforce(reward="score").baseline == 0


def test_a_map_of_scores_that_are_not_the_words_is_refused():
    with pytest.raises(GanforgeError, match="one for each of its 3 words, not \\[2, 2\\]"):
        reinforce().generator(LOG_PROBS, torch.zeros(1, 2, 2))


# --- in a game ------------------------------------------------------------------------------------

GAME = (
    RecipeText("""
recipe = 1
name = "times"
[data]
use = "spoken-times"
[train]
steps = 8
batch = 4
precision = "fp32"
device = "cpu"
[train.phases.warm-up]
train = ["generators.main"]
losses = ["likelihood"]
steps = 2
[train.phases.game]
train = ["generators.main", "discriminators.main"]
[noise]
dim = 4
[generator]
use = "seq2seq"
from = ["time", "noise"]
to = "wording"
width = 8
[discriminator]
use = "sequence-pairs"
given = "time"
width = 8
[losses.adversarial]
use = "non-saturating"
[losses.likelihood]
""")
    + QUIET
)
REINFORCE = GAME.replace("width = 8\n[disc", 'width = 8\nchoice = "plain"\n[disc').replace(
    "[losses.likelihood]",
    "weight = { discriminator = 1, generator = 0 }\n[losses.reinforce]\n[losses.likelihood]",
)


@pytest.mark.parametrize("game", [GAME, REINFORCE], ids=["straight-through", "reinforce"])
def test_d_is_left_alone_until_the_game_begins_and_then_both_learn(game, tmp_path):
    training = training_of(tmp_path, game)
    networks = training.game.networks

    def weights():
        return {
            address: [p.detach().clone() for p in network.parameters()]
            for address, network in networks.items()
        }

    before = weights()
    moved = []
    for step in range(1, 5):
        training.game.enter(training.plan.phases[step > 2])
        training.take_step(step)
        after = weights()
        moved.append(
            {
                address.partition(".")[0]
                for address in after
                if not all(map(torch.equal, before[address], after[address]))
            }
        )
        before = after
    assert moved == [{"generators"}] * 2 + [{"generators", "discriminators"}] * 2


def test_a_resumed_game_with_a_baseline_is_bit_for_bit_the_same(tmp_path):
    save = "hooks.checkpoint={off=false,every=1,keep=9}"
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = training_of(tmp_path / "whole", REINFORCE, sets=[save])
    whole.run()
    begun = training_of(tmp_path / "parts", REINFORCE, sets=[save, "train.steps=5"])
    begun.run()
    resumed = training_of(tmp_path / "parts", REINFORCE, sets=[save])
    resumed.resume(checkpoint.load(resumed.folder.checkpoints, 5))
    resumed.run()
    state = resumed.game.state()
    assert state["networks"]["losses.reinforce@main/baseline"] != 0.5
    for kind, tensors in whole.game.state().items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, state[kind][name]), name


# --- the manifest ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "cls"), [("likelihood", Likelihood), ("reinforce", Reinforce)])
def test_needs_are_those_read_from_the_source(name, cls):
    for side, needs in COMPONENTS["loss", name].needs.items():
        assert tuple(inspect.signature(getattr(cls, side)).parameters)[1:] == tuple(needs)


def test_check_says_what_cannot_be_written_or_judged():
    image = ImageSpec(3, 32, 32)
    check = COMPONENTS["generator", "seq2seq"].check
    check(Seq2SeqOptions(), (TIME, NoiseSpec(4)), WORDS)
    with pytest.raises(Impossible, match="seq2seq writes texts, not image"):
        check(Seq2SeqOptions(), (NoiseSpec(4),), image)
    with pytest.raises(
        Impossible, match="seq2seq reads texts, labels, noise and vectors, not image"
    ):
        check(Seq2SeqOptions(), (image,), WORDS)
    with pytest.raises(Impossible, match=r"must be even, .* not 7") as refusal:
        check(Seq2SeqOptions(width=7), (TIME,), WORDS)
    assert refusal.value.key == "width"
    check = COMPONENTS["discriminator", "sequence-pairs"].check
    check(SequencePairsOptions(), WORDS, (TIME,))
    with pytest.raises(Impossible, match="sequence-pairs judges texts, not image"):
        check(SequencePairsOptions(), image, ())
    with pytest.raises(Impossible, match="not image"):
        check(SequencePairsOptions(), WORDS, (image,))


def test_manifest_does_not_import_torch():
    code = "import ganforge_sequence.plugin, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
