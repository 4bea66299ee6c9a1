"""Out of memory: one line that names the largest batch that fits."""

import sys
from pathlib import Path

import pytest
import torch
from playing import ONE_PAIR, train, training_of

import ganforge
from ganforge import Discriminator, Loss
from ganforge.game.error_attribution import remembers_no_memory
from ganforge.game.game import Game
from ganforge.interfaces.errors import PluginError, TrainingError
from ganforge.plugin import Component, option, options
from ganforge.training.out_of_memory import largest_batch


@options
class HungryOptions:
    most: int = option(3, at_least=0, help="items that fit into memory")
    says: str = option("torch", help="which error tells that no more fit")


class Hungry(Discriminator):
    """Has memory for a few items only; remembers how large the batches were."""

    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.layer = torch.nn.Linear(judged.flat, 1)
        self.sizes = []

    def forward(self, data, given=None):
        self.sizes.append(len(data))
        if data.device.type != "meta" and len(data) > self.options.most:
            raise {
                "torch": torch.OutOfMemoryError("out of memory"),
                "python": MemoryError(),
                "allocator": RuntimeError("DefaultCPUAllocator: can't allocate memory: tried ..."),
                "other": RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
            }[self.options.says]
        return self.layer(data.flatten(1)).squeeze(1)


class Fools(Loss):
    """Plays on G's side only."""

    def generator(self, fake_scores):
        return -fake_scores


class Judges(Loss):
    """Plays on D's side only."""

    def discriminator(self, real_scores, fake_scores):
        return fake_scores - real_scores


HUNGRY = Component(
    "discriminator",
    "hungry",
    "test_memory:Hungry",
    HungryOptions,
    provider="tests",
    version="0",
)
ONE_SIDED = tuple(
    Component("loss", name, f"test_memory:{cls}", provider="tests", version="0")
    for name, cls in (("one-sided", "Fools"), ("judges", "Judges"))
)
RECIPE = ONE_PAIR.replace(
    '[discriminator]\nuse = "mlp"\nhidden = [12]\ndropout = 0.0', '[discriminator]\nuse = "hungry"'
).replace("[generator]\n", '[generator]\nnorm = "none"\n')


@pytest.fixture
def hungry(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "test_memory", sys.modules[__name__])

    def build(*sets):
        return training_of(tmp_path, RECIPE, HUNGRY, sets=["train.batch=32", *sets])

    return build


@pytest.mark.parametrize(
    ("most", "fits", "parts"), [(3, 2, 16), (16, 16, 2), (31, 16, 2), (1, 1, 32)]
)
def test_the_largest_batch_that_fits_is_named_with_two_ways_out(hungry, most, fits, parts):
    training = hungry(f"discriminator.most={most}")
    with pytest.raises(TrainingError) as caught:
        train(training)
    assert str(caught.value) == (
        f"out of memory at batch 32 on cpu; the largest batch that fits is about {fits}: "
        f"`--set train.batch={fits}`, or keep the batch and split it with "
        f"`--set train.accumulate={parts}`"
    )
    sizes = training.game.networks["discriminators.main"].sizes
    assert max(sizes) == 32 and sizes[-1] == fits


def test_memory_that_runs_out_before_the_first_step_is_told_alike(hungry):
    training = hungry("discriminator.most=3")
    assert training.game.phase is None
    assert "the largest batch that fits is about 2: " in str(largest_batch(training))


@pytest.mark.parametrize("way", ["train.batch=2", "train.accumulate=16"])
def test_either_way_out_trains(hungry, way):
    training = hungry("train.steps=1", way)
    train(training)
    assert training.step == 1


def test_where_not_even_one_item_fits_another_remedy_is_named(hungry):
    with pytest.raises(TrainingError) as caught:
        train(hungry("discriminator.most=0"))
    assert str(caught.value) == (
        "out of memory at batch 32 on cpu; not even the smallest batch fits; a smaller "
        "`data.size` or network width does"
    )


def test_a_batch_too_small_for_batch_norm_is_not_advised(hungry):
    with pytest.raises(TrainingError, match="not even the smallest batch fits"):
        train(hungry("discriminator.most=1", "generator.norm=batch"))


@pytest.mark.parametrize("sets", [("train.batch=1",), ("train.batch=3", "train.accumulate=3")])
def test_a_batch_too_small_for_batch_norm_is_one_line(hungry, sets):
    batch, parts = (1, 1) if len(sets) == 1 else (3, 3)
    with pytest.raises(TrainingError) as caught:
        train(hungry("generator.norm=batch", *sets))
    assert str(caught.value) == (
        f"a batch of {batch} in {parts} part(s) gives BatchNorm one item at a time, and it needs "
        "two: raise `train.batch` or lower `train.accumulate`"
    )


@pytest.mark.parametrize("says", ["torch", "python", "allocator"])
def test_every_way_of_saying_it_is_understood(hungry, says):
    with pytest.raises(TrainingError, match="largest batch that fits is about 2"):
        train(hungry(f"discriminator.says={says}"))


def test_another_error_is_not_taken_for_it(hungry):
    with pytest.raises(PluginError, match="raised RuntimeError: mat1 and mat2"):
        train(hungry("discriminator.says=other"))


def test_trying_moves_no_weight(hungry):
    training = hungry()
    before = {k: v.clone() for k, v in training.game.state()["networks"].items()}
    with pytest.raises(TrainingError):
        train(training)
    after = training.game.state()["networks"]
    weights = {k for k, v in before.items() if "running" not in k and "num_batches" not in k}
    assert weights and all(torch.equal(before[k], after[k]) for k in weights)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("x"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("[enforce fail] not enough memory: you tried to allocate"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("memory format option is only supported by strided tensors"), False),
        (KeyError("memory"), False),
    ],
)
def test_what_means_that_memory_ran_out(error, answer):
    assert remembers_no_memory(error) is answer


@pytest.mark.parametrize(
    ("losses", "side"),
    [
        ('[losses.fools]\nuse = "one-sided"\n', "generator"),
        ('[losses.judges]\nuse = "judges"\n', "discriminator"),
    ],
)
def test_the_largest_batch_is_found_where_only_one_side_has_losses(tmp_path, hungry, losses, side):
    text = RECIPE.replace('[losses.adversarial]\nuse = "non-saturating"', losses)
    frozen = "discriminator" if side == "generator" else "generator"
    sets = ["train.batch=32", f"{frozen}.freeze=true"]
    training = training_of(tmp_path, text, HUNGRY, *ONE_SIDED, sets=sets)
    with pytest.raises(TrainingError, match="largest batch that fits is about 2"):
        train(training)


@pytest.mark.parametrize("name", ["times", "times_likelihood", "times_reinforce"])
def test_the_largest_batch_of_the_sequence_recipes_is_found(workdir, monkeypatch, name):
    whole = Game.total

    def total(self, turn, losses, values):
        if turn.batch.rows.stop - turn.batch.rows.start > 5:
            raise MemoryError
        return whole(self, turn, losses, values)

    monkeypatch.setattr(Game, "total", total)
    recipe = Path(__file__).parents[1] / "recipes" / f"sequence_{name}.toml"
    with pytest.raises(TrainingError, match="largest batch that fits is about 4"):
        ganforge.train(recipe, preview=True, out="run", set={"train.device": "cpu"})
