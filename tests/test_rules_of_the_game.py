"""Rules of docs/design.md, held by figures that are worked out by hand.

The generator here is its one number `level`: every pixel of what it makes. Under plain gradient
descent at a rate of 0.1, a loss whose gradient is 1 moves it by exactly 0.1.
"""

import sys

import pytest
import torch
from playing import CYCLE, ONE_PAIR, training_of
from safetensors.torch import load_file

from ganforge import Augmentor, Discriminator, Generator, Loss
from ganforge.game.batch import Batch
from ganforge.game.turn import Turn
from ganforge.interfaces.errors import TrainingError
from ganforge.plugin import Component


class Level(Generator):
    """The same number everywhere, and a count of the forwards that it remembers."""

    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.level = torch.nn.Parameter(torch.zeros(()))
        self.register_buffer("forwards", torch.zeros(()))

    def forward(self, noise):
        if self.training:
            self.forwards = self.forwards + 1
        return self.level.expand(len(noise), *self.target.shape)


class Judge(Discriminator):
    """Judges each row by itself, and remembers how many rows each forward had."""

    independent_rows = True

    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.body = torch.nn.Linear(judged.flat, 1)
        self.rows = []

    def forward(self, data, given=None):
        self.rows.append(len(data))
        return self.body(data.flatten(1)).squeeze(1)


class JudgeAlone(Loss):
    """Moves D, without which there is no game."""

    def discriminator(self, real_scores):
        return real_scores.square()


class Downhill(Loss):
    """Of gradient 1 with respect to the level, in G's turn alone."""

    def generator(self, made):
        return made.flatten(1).mean(1)


class OfContests(Loss):
    """The same as a loss of contests; D's is the fakes' level too, and moves nothing."""

    def discriminator(self, real_scores, fake, fake_scores):
        return fake.flatten(1).mean(1) + 0 * (real_scores + fake_scores)

    def generator(self, fake, fake_scores):
        return fake.flatten(1).mean(1) + 0 * fake_scores


class Breaks(Loss):
    """Not a number once the level has moved."""

    def generator(self, made):
        level = made.flatten(1).mean(1)
        return level * torch.where(level < -0.05, torch.nan, 1.0)


class BreaksAtOnce(Loss):
    """Not a number from the first step on."""

    def generator(self, made):
        return made.flatten(1).mean(1) * torch.nan


class BreaksInD(Loss):
    """The same in D's turn."""

    def discriminator(self, real_scores):
        return real_scores * torch.nan


class Dropping(Loss):
    """Says how much its dropout, which has no parameters, leaves of ones."""

    def build(self, context):
        self.drop = torch.nn.Dropout(0.5)

    def generator(self, made):
        left = self.drop(torch.ones(999)).mean()
        return {"loss": made.flatten(1).mean(1), "kept": 0 * made.flatten(1).mean(1) + left}


class Counting(Augmentor):
    """Shows what there is, and counts how often."""

    def __init__(self, options, spec):
        super().__init__(options, spec)
        self.register_buffer("shown", torch.zeros(()))

    def view(self, data, draw):
        self.shown = self.shown + 1
        return data


def _here(kind, name, cls):
    return Component(kind, name, f"test_rules_of_the_game:{cls}", provider="tests", version="0")


PARTS = [
    _here("generator", "level", "Level"),
    _here("discriminator", "judge", "Judge"),
    _here("loss", "judge-alone", "JudgeAlone"),
    _here("loss", "downhill", "Downhill"),
    _here("loss", "of-contests", "OfContests"),
    _here("loss", "breaks", "Breaks"),
    _here("loss", "breaks-at-once", "BreaksAtOnce"),
    _here("loss", "breaks-in-d", "BreaksInD"),
    _here("loss", "dropping", "Dropping"),
    _here("augmentor", "counting", "Counting"),
]
HEAD, _, REST = ONE_PAIR.partition("[generator]")
QUIET = REST[REST.index("[hooks]") :]
DESCENT = '[optimizer]\nuse = "sgd"\nlr = 0.1\n'
LEVEL = '[generator]\nuse = "level"\n'
JUDGE = '[discriminator]\nuse = "judge"\n'
DOWNHILL = "[losses.judge-alone]\n[losses.downhill]\n"


@pytest.fixture
def play(tmp_path, monkeypatch):
    """`play(text)` -> a training of a recipe's tables after [noise], ready for its first step."""
    monkeypatch.setitem(sys.modules, "test_rules_of_the_game", sys.modules[__name__])

    def made(text: str):
        return training_of(tmp_path, HEAD + text + QUIET, *PARTS)

    return made


def levels(training, steps: int, name: str = "main") -> list[float]:
    """How far each of the first steps moves the level down."""
    network = training.game.networks[f"generators.{name}"]
    moves = []
    for step in range(1, steps + 1):
        before = network.level.item()
        training.take_step(step)
        moves.append(before - network.level.item())
    return moves


def test_a_loss_of_every_third_update_plays_with_three_times_its_weight(play):
    training = play(DESCENT + LEVEL + JUDGE + DOWNHILL + "every = 3\nweight = 0.5\n")
    assert levels(training, 4) == pytest.approx([0.15, 0, 0, 0.15])
    # What is logged is the loss itself, before its weight.
    assert training.gauges()["loss/downhill/generator"] == pytest.approx(-0.15)


def test_the_first_step_has_the_schedules_first_rate_and_the_last_is_not_yet_at_its_end(play):
    schedule = 'schedule = { use = "constant-then-linear", constant = 0.0 }\n'
    training = play(DESCENT + schedule + LEVEL + JUDGE + DOWNHILL)
    shown = []
    moves = []
    for step in range(1, 5):
        before = training.game.networks["generators.main"].level.item()
        training.take_step(step)
        moves.append(before - training.game.networks["generators.main"].level.item())
        shown.append(training.gauges()["lr/generators.main"])
    assert moves == pytest.approx([0.1, 0.075, 0.05, 0.025])
    assert shown == pytest.approx(moves)  # what is said of a step is what it was played with


TWO = """
[generators.one]
use = "level"
from = "noise"
to = "image"
[generators.two]
like = "one"
from = "noise"
to = "image"
"""


def test_the_losses_of_a_discriminator_are_the_mean_over_its_generators(play):
    training = play(DESCENT + TWO + JUDGE + "[losses.of-contests]\n")
    assert levels(training, 1, "one") == pytest.approx([0.05])
    two = training.game.networks["generators.two"]
    assert two.level.item() == pytest.approx(-0.05)
    training.take_step(2)
    gauges = training.gauges()
    assert gauges["loss/of-contests/discriminator"] == pytest.approx(-0.05)
    assert gauges["loss/of-contests/generator"] == pytest.approx(-0.05)


def test_a_loss_of_no_discriminator_is_the_sum_over_the_generators(play):
    training = play(DESCENT + TWO + JUDGE + DOWNHILL)
    assert levels(training, 1, "one") == pytest.approx([0.1])
    assert training.game.networks["generators.two"].level.item() == pytest.approx(-0.1)


def test_a_discriminator_of_independent_rows_is_shown_real_and_fake_in_one_forward(play):
    training = play(DESCENT + LEVEL + JUDGE + "[losses.of-contests]\n")
    judge = training.game.networks["discriminators.main"]
    judge.rows.clear()
    training.take_step(1)
    assert judge.rows == [12, 6]  # D's turn: 6 real ones and 6 fakes; G's: the fakes
    judge.independent_rows = False
    judge.rows.clear()
    training.take_step(2)
    assert judge.rows == [6, 6, 6]


def test_what_broke_in_gs_turn_is_kept_with_the_buffers_that_its_fakes_were_made_with(play):
    """The fakes of D's last turn are G's own, so a snapshot of G's turn is of before D's."""
    training = play(DESCENT + LEVEL + JUDGE + "[losses.of-contests]\n[losses.breaks]\n")
    training.take_step(1)
    assert training.game.networks["generators.main"].forwards == 1
    with pytest.raises(TrainingError, match="step 2: not finite"):
        training.run()
    kept = load_file(training.folder.failed / "step-00000002" / "networks.safetensors")
    assert kept["generators.main/forwards"] == 1


def test_what_broke_in_gs_turn_is_kept_with_what_augmentors_had_counted_before_it(play):
    text = DESCENT + LEVEL + JUDGE + "[losses.of-contests]\n[losses.breaks]\n"
    training = play(text + "[augmentors.counting]\n")
    training.take_step(1)
    counted = training.game.augmentors["augmentors.counting@main"].shown.item()
    assert counted == 4  # real ones and fakes, in D's turn and in G's
    with pytest.raises(TrainingError, match="step 2: not finite"):
        training.run()
    kept = load_file(training.folder.failed / "step-00000002" / "networks.safetensors")
    assert kept["augmentors.counting@main/shown"] == counted + 2


def test_what_breaks_after_ds_first_update_may_have_come_of_it(play):
    """And so a smaller learning rate may help, which nothing says of the first turn of all."""
    training = play(DESCENT + LEVEL + JUDGE + "[losses.judge-alone]\n[losses.breaks-at-once]\n")
    with pytest.raises(TrainingError, match=r"step 1: not finite.*`optimizer\.lr`"):
        training.run()
    training = play(DESCENT + LEVEL + JUDGE + "[losses.breaks-in-d]\n[losses.downhill]\n")
    with pytest.raises(TrainingError) as caught:
        training.run()
    assert "optimizer.lr" not in str(caught.value)


def test_a_loss_without_parameters_is_in_training_mode_too(play):
    training = play(DESCENT + LEVEL + JUDGE + "[losses.judge-alone]\n[losses.dropping]\n")
    training.take_step(1)
    kept = training.gauges()["loss/dropping/generator/kept"]
    assert 0 < abs(kept - 1) < 0.2  # about half of an odd number of ones, doubled


def test_what_is_logged_of_a_batch_in_parts_is_its_mean(play, tmp_path):
    text = HEAD + DESCENT + LEVEL + JUDGE + DOWNHILL + QUIET
    training = training_of(tmp_path, text, *PARTS, sets=("train.accumulate=2",))
    for step in (1, 2):
        training.take_step(step)
    assert training.gauges()["loss/downhill/generator"] == pytest.approx(-0.1)


def test_terms_that_a_loss_names_are_logged_by_their_names(play):
    training = play(DESCENT + LEVEL + JUDGE + "[losses.judge-alone]\n[losses.dropping]\n")
    training.take_step(1)
    logged = {name for name in training.gauges() if "dropping" in name}
    assert logged == {"loss/dropping/generator", "loss/dropping/generator/kept"}


def test_a_frozen_discriminator_keeps_no_other_one_from_learning(tmp_path):
    sets = ("discriminators.light.freeze=true", "discriminators.dark.freeze=false")
    training = training_of(tmp_path, CYCLE, sets=sets)
    before = {k: v.clone() for k, v in training.game.state()["networks"].items()}
    training.take_step(1)
    after = training.game.state()["networks"]
    moved = {
        name.partition("/")[0] for name in before if not torch.equal(before[name], after[name])
    }
    learned = {address for address in moved if not address.startswith("augmentors.")}
    assert learned == {"discriminators.dark", "generators.l2d", "generators.d2l"}


def test_what_is_shown_of_a_discriminator_is_what_it_saw_and_said_itself(tmp_path):
    game = (training := training_of(tmp_path, CYCLE)).game
    game.enter(training.plan.phases[0])
    game.open_side("discriminator")
    batch = Batch(game, 0, slice(0, 2), graph=False)
    losses = list(game.active("discriminator", 1, 0))
    turn = Turn(batch, "discriminator", 1, game.wants(losses, "discriminator"))
    for loss in losses:
        list(game.terms(loss, turn))
    for guard, maker in (("light", "d2l"), ("dark", "l2d")):
        for place, kind in enumerate(("real", "fake")):
            data = turn.pairing(guard, maker, "plain", f"{kind}_seen")
            scores = turn.pairing(guard, maker, "plain", f"{kind}_scores")
            assert torch.equal(turn.known_data(guard)[place], data)
            assert torch.equal(turn.known_scores(guard)[place], scores)
    light, dark = (turn.known_scores(guard)[0] for guard in ("light", "dark"))
    assert not torch.equal(light, dark)


def test_an_average_follows_quickly_at_first(play):
    """With decay min(ema, (1 + t) / (10 + t)): 2/11 after the first step."""
    training = play(DESCENT + LEVEL + "ema = 0.24\n" + JUDGE + DOWNHILL)
    average = training.game.ema["generators.main"]
    training.take_step(1)
    first = -0.1 * (1 - 2 / 11)
    assert average.level.item() == pytest.approx(first)
    training.take_step(2)  # 3/12 is more than the ema that was asked for
    assert average.level.item() == pytest.approx(0.24 * first + 0.76 * -0.2)


@pytest.mark.parametrize(("distribution", "beyond_one"), [("uniform", False), ("normal", True)])
def test_noise_is_drawn_as_the_recipe_says(play, distribution, beyond_one):
    training = play(f'distribution = "{distribution}"\n' + LEVEL + JUDGE + DOWNHILL)
    (noise,) = Batch(training.game, 0, slice(0, 6), graph=False).sources("main")
    assert noise.shape == (6, 5)
    assert bool((noise.abs() > 1).any()) is beyond_one
