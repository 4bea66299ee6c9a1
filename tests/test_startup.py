"""A run imports nothing that it does not need: each would be felt before the first step."""

from __future__ import annotations

import pytest
from small_recipes import CYCLE, DIGITS, write_recipe

# `torch._dynamo` is PyTorch's compiler: one to two seconds, and 100 MB.
SLOW = {"torch._dynamo", "torch._inductor", "sympy", "scipy", "matplotlib", "plotly", "jinja2"}
SLOW |= {"torchvision", "torch_fidelity", "tensorboard", "optuna", "onnx", "onnxruntime"}

LOSSES = """
[losses.auxiliary-classifier]
[losses.r1]
[losses.feature-matching]
[augmentors.diff-augment]
"""
SHARED = """
[hooks.weight-sync]
every = 1
"""
GAMES = {
    "several-losses": DIGITS.replace("[hooks.samples]", LOSSES + "[hooks.samples]"),
    "translators": CYCLE,
    "shared-weights": DIGITS.replace('use = "mlp"\nfrom', 'use = "weight-sharing"\nfrom')
    .replace('use = "mlp"\nhidden = [6]\n[losses', 'use = "mirrored"\nlayers = 2\n[losses')
    .replace("hidden = [6]\n", "")
    .replace('use = "non-saturating"', 'use = "odena"')
    .replace("[hooks.samples]", SHARED + "[hooks.samples]"),
}


@pytest.mark.parametrize("name", GAMES)
def test_a_run_imports_neither_the_compiler_nor_what_draws_and_measures(
    name, ganforge_cli, workdir
):
    recipe = write_recipe(workdir, GAMES[name])
    imported = ganforge_cli.imported_by("run", recipe, "--out", "run")
    assert (workdir / "run" / "metrics.jsonl").exists()
    assert not imported & SLOW
