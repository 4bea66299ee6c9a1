"""What is different on CUDA: precision, draws inside networks, and a guard that does not wait."""

import sys

import pytest
import torch
from playing import ONE_PAIR, train, training_of

from ganforge import Loss
from ganforge.hardware.machine import decide, has_native_bf16
from ganforge.interfaces.errors import TrainingError
from ganforge.interfaces.settings import TrainSettings
from ganforge.plugin import Component
from ganforge.storage import checkpoint

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

CUDA = (
    ONE_PAIR.replace('device = "cpu"', 'device = "cuda"')
    .replace('use = "mlp"\nhidden = [12]\n', 'use = "dcgan"\nwidth = 4\n')
    .replace("dropout = 0.0\n", "")
    .replace("[generator]\n", "[generator]\nema = 0.9\n")
)
DROPOUT = ONE_PAIR.replace('device = "cpu"', 'device = "cuda"').replace("0.0", "0.5")


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setitem(sys.modules, "test_cuda", sys.modules[__name__])


class Poison(Loss):
    """Not a number from its third update on, without anybody reading it."""

    def __init__(self, options):
        super().__init__(options)
        self.register_buffer("calls", torch.zeros(()))

    def generator(self, fake_scores):
        return torch.where(self.calls >= 2, torch.nan, fake_scores)

    def observe(self, side, values):
        self.calls += 1
        return {}


POISON = Component("loss", "poison", "test_cuda:Poison", provider="tests", version="0")


def test_auto_takes_cuda_and_native_bf16():
    decided = decide(TrainSettings())
    assert decided.device.type == "cuda"
    assert decided.precision == ("bf16" if has_native_bf16(decided.device) else "fp32")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("text", [CUDA, DROPOUT], ids=["dcgan", "dropout"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, text, precision):
    sets = ["train.steps=8", f'train.precision="{precision}"']
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = training_of(tmp_path / "whole", text, sets=sets)
    whole.run()
    first = training_of(tmp_path / "parts", text, sets=sets)
    for step in range(1, 5):
        first.take_step(step)
    first.save()
    second = training_of(tmp_path / "parts", text, sets=sets)
    second.resume(checkpoint.newest_whole(second.folder.checkpoints)[0])
    second.run()
    one, two = (checkpoint.load(t.folder.checkpoints, 8) for t in (whole, second))
    assert all(torch.equal(v, two.networks[k]) for k, v in one.networks.items())
    assert all(torch.equal(v, two.optimizers[k]) for k, v in one.optimizers.items())


def test_a_loss_that_is_not_finite_stops_the_weights_and_is_named_when_read(tmp_path):
    text = CUDA + '[losses.extra]\nuse = "poison"\n'
    training = training_of(tmp_path, text, POISON, sets=["train.steps=9"])
    for step in (1, 2):
        training.take_step(step)
    training.gauges()
    good = {k: v.clone() for k, v in training.game.networks["generators.main"].named_parameters()}
    for step in (3, 4, 5):
        training.take_step(step)
    for name, value in training.game.networks["generators.main"].named_parameters():
        assert torch.equal(value, good[name]), name
    with pytest.raises(TrainingError, match="step 3: not finite: loss 'extra'"):
        training.gauges()
    with pytest.raises(TrainingError):
        training.save()


def test_steps_do_not_wait_for_the_device(tmp_path):
    training = training_of(tmp_path, CUDA, sets=["train.steps=9"])
    training.take_step(1)
    torch.cuda.set_sync_debug_mode("error")
    try:
        training.take_step(2)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_batch_that_does_not_fit_is_told_in_one_line_with_one_that_does(tmp_path):
    text = CUDA.replace("width = 4", "width = 64").replace("batch = 6", "batch = 4096")
    torch.cuda.set_per_process_memory_fraction(0.02)
    try:
        training = training_of(tmp_path, text, sets=["data.size=64", "train.steps=2"])
        with pytest.raises(TrainingError, match=r"out of memory at batch 4096 .*train\.batch=\d+"):
            train(training)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
