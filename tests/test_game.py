"""How the game is built and what each side's turn may change."""

import pytest
import torch
from playing import CYCLE, ONE_PAIR, plan_of, training_of

from ganforge import Discriminator, Generator
from ganforge.game.batch import parts_of
from ganforge.game.networks import initialise
from ganforge.interfaces.errors import PluginError
from ganforge.plugin import Component, Ref, option, options


def _state(network):
    return {k: v.clone() for k, v in network.state_dict().items()}


def _same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


class Normed(Discriminator):
    """A discriminator with BatchNorm, whose buffers show when it was looked at."""

    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.body = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(judged.flat, 4), torch.nn.BatchNorm1d(4)
        )
        self.score = torch.nn.Linear(4, 1)

    def forward(self, data, given=None):
        return self.score(self.body(data)).squeeze(1)


@options
class MirrorOptions:
    mirror: Ref = option(help="the discriminator whose width is taken")


class Mirror(Generator):
    """A generator made from a discriminator's structure."""

    def __init__(self, options, sources, target, mirror):
        super().__init__(options, sources, target)
        self.width = mirror.score.in_features
        self.layer = torch.nn.Linear(sources[0].flat, target.flat)

    def forward(self, noise):
        return torch.tanh(self.layer(noise)).reshape(-1, *self.target.shape)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "test_game", sys.modules[__name__])


NORMED = Component("discriminator", "normed", "test_game:Normed", provider="tests", version="0")
MIRROR = Component(
    "generator", "mirror", "test_game:Mirror", MirrorOptions, provider="tests", version="0"
)
WITH_NORM = ONE_PAIR.replace(
    '[discriminator]\nuse = "mlp"\nhidden = [12]\ndropout = 0.0', '[discriminator]\nuse = "normed"'
)


def test_a_discriminators_buffers_change_in_its_own_turn_only(tmp_path):
    training = training_of(tmp_path, WITH_NORM, NORMED)
    training.game.enter(training.plan.phases[0])
    norm = training.game.networks["discriminators.main"].body[2]
    batches = parts_of(training.game, 0, graph=True)
    training._play("discriminator", 1, 0, batches)
    assert norm.num_batches_tracked == 2  # real, fake
    before = _state(norm)
    training._play("generator", 1, 0, batches)
    assert torch.equal(norm.running_mean, before["running_mean"])
    assert norm.num_batches_tracked == 2


def test_a_generators_buffers_change_with_the_fakes_of_its_own_turn_only(tmp_path):
    training = training_of(tmp_path, ONE_PAIR, sets=["train.discriminator_steps=3"])
    training.take_step(1)
    generator = training.game.networks["generators.main"]
    counts = [b for n, b in generator.named_buffers() if n.endswith("num_batches_tracked")]
    assert counts and all(count == 1 for count in counts)


def test_each_side_moves_its_own_networks_only(tmp_path):
    training = training_of(tmp_path, ONE_PAIR)
    training.game.enter(training.plan.phases[0])
    g, d = (training.game.networks[f"{kind}.main"] for kind in ("generators", "discriminators"))
    g_before, d_before = _state(g), _state(d)
    batches = parts_of(training.game, 0, graph=True)
    training._play("discriminator", 1, 0, batches)
    assert not _same(_state(d), d_before)
    assert all(torch.equal(p, g_before[n]) for n, p in g.named_parameters())
    d_before = _state(d)
    training._play("generator", 1, 0, batches)
    assert _same(_state(d), d_before)
    assert not _same(_state(g), g_before)


def test_both_generators_and_both_discriminators_update_jointly(tmp_path):
    training = training_of(tmp_path, CYCLE)
    before = {address: _state(n) for address, n in training.game.networks.items()}
    training.take_step(1)
    for address, network in training.game.networks.items():
        assert not _same(_state(network), before[address]), address


def test_a_network_that_names_another_is_built_after_it_and_handed_it(tmp_path):
    text = WITH_NORM.replace(
        'use = "mlp"\nhidden = [12]', 'use = "mirror"\nmirror = "discriminator"'
    )
    training = training_of(tmp_path, text, NORMED, MIRROR)
    generator = training.game.networks["generators.main"]
    assert generator.width == 4
    assert not any(name.startswith("mirror") for name, _ in generator.named_modules())


def test_phases_train_what_they_name_and_freeze_the_rest(tmp_path):
    text = ONE_PAIR + (
        '[train.phases.critic]\ntrain = ["discriminator"]\nsteps = 2\n'
        '[train.phases.both]\ntrain = ["generator", "discriminator"]\nsteps = 2\n'
    )
    training = training_of(tmp_path, text)
    generator = training.game.networks["generators.main"]
    before = _state(generator)
    training.take_step(1)
    assert not generator.training
    training.take_step(2)
    assert _same(_state(generator), before)
    training.take_step(3)
    assert generator.training
    assert not _same(_state(generator), before)


def test_a_frozen_network_never_moves_and_stays_in_eval_mode(tmp_path):
    training = training_of(tmp_path, ONE_PAIR, sets=["generator.freeze=true"])
    generator = training.game.networks["generators.main"]
    before = _state(generator)
    training.take_step(1)
    assert _same(_state(generator), before)
    assert not generator.training


def test_the_averaged_generator_follows_by_its_decay(tmp_path):
    training = training_of(tmp_path, ONE_PAIR, sets=["generator.ema=0.5"])
    game = training.game
    start = {n: p.clone() for n, p in game.networks["generators.main"].named_parameters()}
    training.take_step(1)
    now = dict(game.networks["generators.main"].named_parameters())
    kept = dict(game.ema["generators.main"].named_parameters())
    decay = 2 / 11  # (1 + t) / (10 + t) at t = 1, below 0.5
    for name, value in kept.items():
        torch.testing.assert_close(value, decay * start[name] + (1 - decay) * now[name])
    assert training.generator("main") is game.ema["generators.main"]


def test_the_average_takes_the_buffers_as_they_are(tmp_path):
    training = training_of(tmp_path, ONE_PAIR, sets=["generator.ema=0.9"])
    training.take_step(1)
    game = training.game
    for kept, new in zip(
        game.ema["generators.main"].buffers(),
        game.networks["generators.main"].buffers(),
        strict=True,
    ):
        assert torch.equal(kept, new)


def test_initial_weights_have_the_deviation_asked_for(tmp_path):
    network = torch.nn.Sequential(
        torch.nn.Conv2d(16, 64, 3), torch.nn.BatchNorm2d(64), torch.nn.Conv2d(64, 8, 3)
    )
    initialise(network, 0.05)
    assert network[0].weight.std().item() == pytest.approx(0.05, rel=0.05)
    assert network[1].weight.mean().item() == pytest.approx(1.0, abs=0.03)
    assert torch.equal(network[0].bias, torch.zeros(64))


def test_initial_weights_follow_from_the_seed_and_not_from_other_networks(tmp_path):
    one = training_of(tmp_path, ONE_PAIR).game.networks["generators.main"]
    wider = training_of(tmp_path, ONE_PAIR, sets=["discriminator.hidden=[99]"])
    other = training_of(tmp_path, ONE_PAIR, sets=["train.seed=1"])
    assert _same(_state(one), _state(wider.game.networks["generators.main"]))
    assert not _same(_state(one), _state(other.game.networks["generators.main"]))


def test_adding_a_hook_or_an_augmentor_changes_no_other_draws(tmp_path):
    plain = training_of(tmp_path, ONE_PAIR)
    more = training_of(tmp_path, ONE_PAIR + "[augmentors.flip]\n")
    for training in (plain, more):
        training.game.enter(training.plan.phases[0])
    one, two = (parts_of(t.game, 3, graph=False)[0] for t in (plain, more))
    assert torch.equal(one["image"], two["image"])
    assert torch.equal(one.sources("main")[0], two.sources("main")[0])


class WrongShape(Generator):
    """Promises the target's shape and returns another."""

    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.layer = torch.nn.Linear(sources[0].flat, 7)

    def forward(self, noise):
        return self.layer(noise)


class Parameterless(Discriminator):
    def forward(self, data, given=None):
        return data.flatten(1).mean(1)


WRONG = Component("generator", "wrong", "test_game:WrongShape", provider="tests", version="0")
EMPTY = Component(
    "discriminator", "empty", "test_game:Parameterless", provider="tests", version="0"
)


def test_a_generator_whose_output_breaks_its_promise_is_told_in_one_line(tmp_path):
    text = ONE_PAIR.replace('use = "mlp"\nhidden = [12]', 'use = "wrong"', 1)
    training = training_of(tmp_path, text, WRONG)
    with pytest.raises(PluginError, match=r"generator 'main' \(tests/wrong\) has shape \[7\]"):
        training.take_step(1)


def test_a_network_without_parameters_is_refused_in_one_line(tmp_path):
    text = WITH_NORM.replace('use = "normed"', 'use = "empty"')
    with pytest.raises(PluginError, match="'tests/empty' has no parameters"):
        training_of(tmp_path, text, EMPTY)


def test_a_weight_for_each_side_scales_that_sides_loss(tmp_path):
    plan = plan_of(tmp_path, CYCLE)
    assert plan.losses["adversarial"].weight == {"discriminator": 0.5, "generator": 1.0}
    assert plan.losses["cycle-consistency"].weight == {"discriminator": 10.0, "generator": 10.0}


def test_a_loss_every_n_updates_plays_then_with_n_times_its_weight(tmp_path):
    training = training_of(tmp_path, ONE_PAIR, sets=["losses.adversarial.every=2"])
    training.game.enter(training.plan.phases[0])
    playing = [[p.name for p in training.game.active("generator", 1, n)] for n in range(4)]
    assert playing == [["adversarial"], [], ["adversarial"], []]


def test_a_loss_plays_between_its_shares_of_the_run(tmp_path):
    sets = ["train.steps=10", "losses.adversarial.start=0.2", "losses.adversarial.stop=0.5"]
    training = training_of(tmp_path, ONE_PAIR, sets=sets)
    training.game.enter(training.plan.phases[0])
    steps = [s for s in range(1, 11) if list(training.game.active("generator", s, 0))]
    assert steps == [3, 4, 5]
