"""`train.compile`: what turns call is compiled, and plays the same game."""

from __future__ import annotations

import shutil

import pytest
import torch
from playing import training_of
from small_recipes import DIGITS, write_recipe

from ganforge.hardware.compilation import offered
from ganforge.hardware.machine import decide
from ganforge.interfaces.errors import GanforgeError
from ganforge.interfaces.settings import TrainSettings


@pytest.fixture
def folder(tmp_path):
    """With the pictures that DIGITS reads."""
    write_recipe(tmp_path, DIGITS)
    return tmp_path


COMPILED = ["train.compile=true"]
needs_compiler = pytest.mark.skipif(not offered(torch.device("cpu")), reason="no C++ compiler here")


@needs_compiler
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch.compile looks at it
def test_compiled_networks_train_as_they_do_without(folder) -> None:
    """Also those whose forwards must leave BatchNorm's statistics alone, and draw."""
    long = DIGITS.replace("steps = 4", "steps = 50")
    plain, compiled = (training_of(folder, long, sets=sets) for sets in ([], COMPILED))
    for step in range(1, 51):
        curves = []
        for training in (plain, compiled):
            training.take_step(step)
            gauges = training.gauges()
            curves.append([v for k, v in sorted(gauges.items()) if k.startswith("loss/")])
        assert curves[0] == pytest.approx(curves[1], rel=1e-3, abs=1e-4), step
    states = plain.game.state()["networks"], compiled.game.state()["networks"]
    assert states[0].keys() == states[1].keys()
    assert int(states[1]["generators.main/layers.1.num_batches_tracked"]) == 50


@needs_compiler
def test_a_discriminator_whose_gradient_is_read_is_not_compiled(folder) -> None:
    recipe = DIGITS + "[losses.r1]\n"
    training = training_of(folder, recipe, sets=[*COMPILED, 'discriminator.norm="none"'])
    called = {
        trained_module.address: trained_module.call is trained_module.module
        for trained_module in training.game.trained_modules
    }
    assert called == {"generators.main": False, "discriminators.main": True}


@needs_compiler
def test_who_looks_calls_networks_that_are_not_compiled(folder) -> None:
    training = training_of(folder, DIGITS, sets=COMPILED)
    generator = training.generator("main")
    assert generator is training.game.networks["generators.main"]
    assert generator._compiled_call_impl is None


def test_without_a_compiler_it_is_refused_in_one_line(monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(GanforgeError, match=r"needs a C\+\+ compiler, and neither g\+\+"):
        decide(TrainSettings(steps=1, device="cpu", compile=True))


@needs_compiler
def test_a_resume_that_compiles_anew_is_told() -> None:
    facts = [
        decide(TrainSettings(steps=1, device="cpu", compile=choice)).facts()["compile"]
        for choice in (False, True)
    ]
    assert facts == ["no", "yes"]
