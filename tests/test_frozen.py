"""What the author of a network or a loss froze is trained by nobody, in any kind of run."""

import sys

import pytest
import torch
from playing import ONE_PAIR, registry, training_of
from safetensors.torch import load_file, save_file
from torch import nn

from ganforge import Discriminator, Generator, Loss
from ganforge.game.frozen import Frozen
from ganforge.interfaces.errors import PluginError
from ganforge.plugin import Component
from ganforge.storage import checkpoint
from ganforge.testing import Failed, NotTried, cases_of
from ganforge.training.launch import _note_frozen


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setitem(sys.modules, "test_frozen", sys.modules[__name__])


def backbone(inputs):
    """Dense layers with a norm that remembers, as something pretrained comes."""
    net = nn.Sequential(nn.Linear(inputs, 6), nn.BatchNorm1d(6), nn.Linear(6, 6))
    net[1].running_mean.fill_(0.5)
    return net


class Judge(Discriminator):
    """Judges by what a frozen backbone sees."""

    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.seen = backbone(judged.flat).requires_grad_(False).eval()
        self.head = nn.Linear(6, 1)

    def forward(self, data, given=None):
        return self.head(self.seen(data.flatten(1))).squeeze(1)


class Quiet(Judge):
    """Its backbone was frozen, and not said to be in eval mode."""

    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.seen.train()


class Maker(Generator):
    """Its first layer is frozen."""

    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.first = backbone(sum(spec.flat for spec in sources)).eval().requires_grad_(False)
        self.last = nn.Linear(6, target.flat)

    def forward(self, *sources):
        return torch.tanh(self.last(self.first(self.join(sources)))).view(-1, *self.target.shape)


class AllFrozen(Judge):
    """Nothing of it learns."""

    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.requires_grad_(False)


class Waking(Judge):
    """Puts its backbone back into training mode."""

    def forward(self, data, given=None):
        self.seen.train()
        return super().forward(data, given)


class Perceptual(Loss):
    """Distance as a frozen network sees it; a weight of its own learns."""

    def build(self, context):
        self.seen = backbone(context.judged.flat).requires_grad_(False).eval()
        self.scale = nn.Parameter(torch.ones(6))

    def discriminator(self, real_scores, real, fake):
        apart = self.seen(real.flatten(1)) - self.seen(fake.flatten(1))
        return (self.scale * apart).square().mean(1) + 0 * real_scores.reshape(len(real), -1).mean(
            1
        )

    def generator(self, fake_scores, real, fake):
        return self.discriminator(fake_scores, real, fake)


def _component(kind, name, cls):
    return Component(kind, name, f"test_frozen:{cls}", provider="tests", version="0")


PARTS = (
    _component("discriminator", "judge", "Judge"),
    _component("discriminator", "quiet", "Quiet"),
    _component("discriminator", "all-frozen", "AllFrozen"),
    _component("discriminator", "waking", "Waking"),
    _component("generator", "maker", "Maker"),
    _component("loss", "perceptual", "Perceptual"),
)
GAME = (
    ONE_PAIR.replace("steps = 4", "steps = 20")
    .replace(
        '[discriminator]\nuse = "mlp"\nhidden = [12]\ndropout = 0.0',
        '[discriminator]\nuse = "judge"',
    )
    .replace('[generator]\nuse = "mlp"\nhidden = [12]', '[generator]\nuse = "maker"\nema = 0.9')
)
BOTH = GAME + '\n[losses.seen]\nuse = "perceptual"\n'
STILL = {"discriminators.main/seen", "generators.main/first", "ema.generators.main/first"}


def copied(training):
    return {k: v.clone() for k, v in training.game.state()["networks"].items()}


def moved(before, training):
    after = training.game.state()["networks"]
    return {name for name in before if not torch.equal(before[name], after[name])}


def is_frozen(name):
    return name.startswith((*STILL, "losses.seen@main/seen"))


@pytest.mark.parametrize("sets", [(), ("train.accumulate=2",)])
def test_frozen_parts_are_the_same_to_the_bit_after_20_steps_and_the_rest_learns(tmp_path, sets):
    training = training_of(tmp_path, BOTH, *PARTS, sets=sets)
    before = copied(training)
    training.run()
    changed = moved(before, training)
    assert not {name for name in changed if is_frozen(name)}
    learned = {"discriminators.main/head.weight", "generators.main/last.weight"}
    assert learned | {"losses.seen@main/scale", "ema.generators.main/last.weight"} <= changed


def test_a_part_whose_weights_are_all_frozen_does_not_remember_other_statistics(tmp_path):
    training = training_of(tmp_path, GAME, *PARTS, sets=('discriminator.use="quiet"',))
    before = copied(training)
    training.run()
    assert not {n for n in moved(before, training) if n.startswith("discriminators.main/seen")}


def test_frozen_parts_have_no_optimizer_state(tmp_path):
    training = training_of(tmp_path, BOTH, *PARTS)
    training.run()
    states = training.game.state()["optimizers"]
    assert "generators.main/last.weight/exp_avg" in states
    assert not {name for name in states if is_frozen(name)}


def test_phases_and_looking_leave_frozen_parts_in_eval_mode(tmp_path):
    phases = """
    [train.phases.one]
    share = 0.5
    train = ["discriminators.main"]
    losses = ["adversarial"]
    [train.phases.two]
    train = ["generators.main", "discriminators.main"]
    losses = ["adversarial"]
    """
    text = "\n".join(line.strip() for line in (GAME + phases).splitlines())
    training = training_of(tmp_path, text, *PARTS)
    before = copied(training)
    judge = training.game.networks["discriminators.main"]
    for step in range(1, 13):
        training.take_step(step)
        assert not any(layer.training for layer in judge.seen.modules())
        assert judge.head.training
        with training.looking() as run:
            run.sample(2)
    assert not {name for name in moved(before, training) if is_frozen(name)}


def test_a_network_that_is_frozen_as_a_whole_stays_and_others_learn(tmp_path):
    training = training_of(tmp_path, GAME, *PARTS, sets=('discriminator.use="all-frozen"',))
    before = copied(training)
    training.run()
    changed = moved(before, training)
    assert not {name for name in changed if name.startswith("discriminators.main/")}
    assert "generators.main/last.weight" in changed


def test_a_game_in_which_nothing_learns_is_refused(tmp_path):
    sets = ('discriminator.use="all-frozen"', "generator.freeze=true")
    (tmp_path / "a").mkdir()
    training = training_of(tmp_path / "a", GAME, *PARTS, sets=sets[:1])
    assert training.game.sizes_of("discriminators.main")[0] > 0

    class Nothing(Maker):
        def __init__(self, *args):
            super().__init__(*args)
            self.requires_grad_(False)

    sys.modules[__name__].Nothing = Nothing
    nothing = _component("generator", "nothing", "Nothing")
    with pytest.raises(PluginError, match="every parameter of every network is frozen"):
        training_of(tmp_path, GAME, *PARTS, nothing, sets=(*sets[:1], 'generator.use="nothing"'))


def test_weights_that_a_recipe_draws_anew_are_not_the_frozen_ones(tmp_path):
    plain = training_of(tmp_path, GAME, *PARTS).game.networks["discriminators.main"]
    sets = ("discriminator.init={ normal = 0.5 }",)
    drawn = training_of(tmp_path, GAME, *PARTS, sets=sets).game.networks["discriminators.main"]
    assert torch.equal(plain.seen[0].weight, drawn.seen[0].weight)
    assert not torch.equal(plain.head.weight, drawn.head.weight)


def resumed(tmp_path, folder, edit=lambda tensors: tensors):
    """A training that goes on from the checkpoint of step 10 of another one."""
    (tmp_path / "again").mkdir(exist_ok=True)
    training = training_of(tmp_path / "again", BOTH, *PARTS)
    saved = checkpoint.load(folder.checkpoints, 10)
    saved = checkpoint.Checkpoint(
        saved.folder, saved.networks, edit(dict(saved.optimizers)), saved.state
    )
    training.resume(saved)
    return training


def halfway(tmp_path):
    (tmp_path / "first").mkdir()
    training = training_of(tmp_path / "first", BOTH, *PARTS)
    for step in range(1, 11):
        training.take_step(step)
    training.save()
    for step in range(11, 21):
        training.take_step(step)
    return training


def test_a_resumed_run_with_frozen_parts_is_the_same_to_the_bit(tmp_path):
    whole = halfway(tmp_path)
    again = resumed(tmp_path, whole.folder)
    for step in range(11, 21):
        again.take_step(step)
    assert not moved(copied(whole), again)


def test_a_checkpoint_that_has_moments_of_frozen_parameters_is_gone_on_from(tmp_path):
    whole = halfway(tmp_path)

    def as_older_versions_wrote(tensors):
        weight = whole.game.networks["generators.main"].first[0].weight
        for quantity in ("exp_avg", "exp_avg_sq"):
            tensors[f"generators.main/first.0.weight/{quantity}"] = torch.ones_like(weight)
        tensors["generators.main/first.0.weight/step"] = torch.tensor(10.0)
        save_file(tensors, tmp_path / "old.safetensors")
        return load_file(tmp_path / "old.safetensors")

    again = resumed(tmp_path, whole.folder, as_older_versions_wrote)
    assert again.frozen_since == {"generators.main/first.0.weight"}
    told = []
    _note_frozen(again, 10, told.append)
    assert told == [
        "trained up to step 10 and frozen from here on, as its author says: "
        "generators.main/first.0.weight; the run stays with the values that they have now"
    ]
    assert again.inexact == [{"step": 10, "changed": ["1 parameters frozen"]}]
    for step in range(11, 21):
        again.take_step(step)
    assert not moved(copied(whole), again)


def test_the_header_of_a_run_says_how_much_is_frozen(tmp_path):
    from ganforge_watch import cost

    rows = dict(cost.rows(training_of(tmp_path, BOTH, *PARTS)))
    # 64 x 6 + 6, 6 + 6, 6 x 6 + 6 are the backbone's, 6 + 1 the head's
    assert rows["discriminator"] == "judge, 451 parameters, 444 of them frozen"
    assert rows["seen@main"] == "450 parameters, 444 of them frozen"
    whole = dict(cost.rows(training_of(tmp_path, GAME, *PARTS, sets=("generator.freeze=true",))))
    assert whole["generator"] == "maker, 538 parameters, all of them frozen, averaged"
    assert "frozen" not in dict(cost.rows(training_of(tmp_path, ONE_PAIR)))["generator"]


def test_a_part_of_another_network_keeps_that_ones_mode():
    inner = nn.Linear(2, 2)
    outer = nn.Sequential(inner, nn.Linear(2, 2).eval())
    inner.requires_grad_(False)
    assert Frozen.of(outer, [inner]) == Frozen(frozenset({"0.weight", "0.bias"}), frozenset({"1"}))


def output(name, kind="discriminator"):
    known = registry(*PARTS)
    (case,) = (
        c
        for c in cases_of("tests", registry=known)
        if c.component.id == f"tests/{name}" and c.check == "frozen"
    )
    case.run()


def test_the_kit_passes_what_stays_frozen_and_fails_what_moves():
    for name in ("judge", "maker", "perceptual", "quiet", "all-frozen"):
        output(name)
    with pytest.raises(Failed, match=r"'seen\.1\.running_mean' is frozen, but changed"):
        output("waking")


def test_the_kit_does_not_try_what_freezes_nothing():
    known = registry()
    (case,) = (
        c for c in cases_of("ganforge", registry=known) if str(c) == "discriminator/mlp: frozen"
    )
    with pytest.raises(NotTried, match="freezes nothing"):
        case.run()
