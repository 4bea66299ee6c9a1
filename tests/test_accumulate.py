"""A batch that is split gives the gradients of the whole batch, where nothing looks across rows."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import attrs
import pytest
import torch
from making_data import REGISTRY, small_settings
from playing import ONE_PAIR, plan_of, registry
from torch import nn

from ganforge.hardware.machine import decide
from ganforge.planning.compose import compose
from ganforge.planning.plan import Plan
from ganforge.plugin import option_names, with_options
from ganforge.recipes.recipe import load
from ganforge.storage.run_folder import RunFolder
from ganforge.training.launch import build_training

RECIPES = sorted(REGISTRY.recipes())
DRAWS_WORDS = ("sequence-times", "sequence-times-reinforce")  # in each forward others
MIXES_FOR_G = "semi-supervised-mnist"  # its generator has no loss but feature matching
BATCH = 4


def gradients(
    plan: Plan, folder: Path, parts: int, known=REGISTRY, *, norms: bool = True
) -> dict[str, torch.Tensor]:
    """Of the first step of each phase, turn by turn, with all weights as they were made."""
    plan = attrs.evolve(
        plan, hooks={}, train=with_options(plan.train, batch=BATCH, accumulate=parts)
    )
    training = build_training(plan, known, decide(plan.train), RunFolder(folder))
    if not norms:
        training.game.ema.clear()  # which follow networks as they were built
        for network in training.game.networks.values():
            take_out_batch_norm(network)
    found: dict[str, torch.Tensor] = {}
    turns: list[str] = []

    def keep(trained_modules) -> None:
        turns.append(f"turn {len(turns)}")
        for trained_module in trained_modules:
            for parameter, name in trained_module.names().items():
                if parameter.grad is not None:
                    found[f"{turns[-1]}: {name}"] = parameter.grad.clone()

    training._update = keep
    for phase in plan.phases:
        training.step = phase.first - 1
        training.take_step(phase.first)
    torch.set_flush_denormal(False)
    return found


def take_out_batch_norm(network: nn.Module) -> None:
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            outer, _, own = name.rpartition(".")
            setattr(network.get_submodule(outer), own, nn.Identity())


def alike(whole: dict[str, torch.Tensor], split: dict[str, torch.Tensor]) -> None:
    assert whole and whole.keys() == split.keys()
    scales: dict[str, float] = {}
    for name, value in whole.items():  # of the turn's gradients in a network
        where = name.partition("/")[0]
        scales[where] = max(scales.get(where, 1e-6), float(value.abs().max()))
    for name, value in whole.items():
        worst = float((value - split[name]).abs().max())
        assert worst <= 1e-5 * scales[name.partition("/")[0]], f"{name}: {worst:.1e}"


@cache
def apart(name: str, data: Path) -> Plan:
    """A shipped recipe's preview, small, with no loss that looks across rows, and nothing that
    draws by itself."""
    sets = [*small_settings(name, data), "train.threads=1"]
    recipe = load(name, preview=True, sets=sets, shipped=REGISTRY.recipes())
    plan = compose(recipe, REGISTRY)
    for address, network in plan.networks.items():
        known = option_names(network.component.options)
        sets += [f"{address}.{k}=0" for k in ("dropout", "noise", "input_noise") if k in known]
        if getattr(network.options, "norm", "") == "spectral":  # which moves in each forward
            sets.append(f"{address}.norm=none")
    if name != MIXES_FOR_G:
        sets += [f"losses.{loss}.off=true" for loss, part in plan.losses.items() if mixes(part)]
    return compose(load(name, preview=True, sets=sets, shipped=REGISTRY.recipes()), REGISTRY)


def mixes(loss) -> bool:
    return REGISTRY.load_target(loss.component).mixes_batch


@pytest.mark.parametrize("name", [name for name in RECIPES if name not in DRAWS_WORDS])
def test_two_parts_give_the_gradients_of_the_whole_batch(name, data, tmp_path):
    plan = apart(name, data)
    whole, split = (gradients(plan, tmp_path, parts, norms=False) for parts in (1, 2))
    if name == MIXES_FOR_G:
        whole, split = (
            {k: v for k, v in found.items() if "discriminators." in k} for found in (whole, split)
        )
    alike(whole, split)


LOSSES = """
[losses.auxiliary-classifier]
[losses.r1]
[losses.gradient-penalty]
weight = 3.0
[augmentors.diff-augment]
"""
PLAIN = ONE_PAIR.replace("[generator]\n", '[generator]\nnorm = "none"\nfrom = ["noise", "label"]\n')


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_penalties_and_parts_of_unequal_size_do_too(parts, tmp_path):
    plan = plan_of(tmp_path, PLAIN + LOSSES)
    known = registry()
    alike(gradients(plan, tmp_path, 1, known), gradients(plan, tmp_path, parts, known))


@pytest.mark.parametrize(
    "more",
    [
        "[losses.feature-matching]\n",
        "[losses.same-label-difference]\n",
        "[generator]\nnorm = 'batch'",
    ],
    ids=["feature-matching", "same-label-difference", "batch-norm"],
)
def test_what_looks_across_rows_looks_across_those_of_a_part(more, tmp_path):
    """As docs/performance.md says."""
    text = PLAIN + more if "norm" not in more else PLAIN.replace('norm = "none"', 'norm = "batch"')
    plan, known = plan_of(tmp_path, text), registry()
    with pytest.raises(AssertionError):
        alike(gradients(plan, tmp_path, 1, known), gradients(plan, tmp_path, 2, known))
