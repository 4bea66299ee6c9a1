"""The benchmark of a recipe's versions lets them take turns, and compares with the first."""

import time

from playing import recipe_file
from versions import compare, stepper

RECIPE = """
recipe = 1
[data]
use = "painted-horses"
size = 16
count = 6
[train]
steps = 4
batch = 6
device = "cpu"
[generator]
use = "mlp"
to = "horse"
hidden = [8]
[discriminator]
use = "mlp"
hidden = [8]
[losses.adversarial]
use = "non-saturating"
"""


def test_versions_take_turns_and_are_compared_with_the_first():
    turns = []

    def slow():
        turns.append("slow")
        time.sleep(0.02)

    table = compare({"as it is": lambda: turns.append("fast"), "slow": slow}, rounds=2, steps=1)
    assert turns == ["fast"] * 3 + ["slow"] * 3 + ["fast", "slow"] * 2
    assert list(table.columns[0].cells) == ["as it is", "slow"]
    assert float(list(table.columns[1].cells)[1]) >= 20


def test_a_recipe_is_stepped_without_a_trace(tmp_path, workdir):
    step = stepper(str(recipe_file(tmp_path, RECIPE)), ["generator.hidden=[9]"], workdir / "run")
    step()
    step()
    assert not any(workdir.iterdir())
