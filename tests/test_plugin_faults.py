"""Whatever a plugin's code does wrong is told as the plugin's, in a line with its file and line."""

from __future__ import annotations

import pytest

GAME = """
recipe = 1
name = "faulty"
[data]
use = "painted-horses"
size = 16
count = 8
[train]
steps = 2
batch = 4
device = "cpu"
precision = "fp32"
[generator]
use = "mlp"
hidden = [4]
to = "zebra"
[discriminator]
use = "mlp"
hidden = [4]
on = "zebra"
[losses.adversarial]
use = "non-saturating"
[hooks]
samples = { off = true }
"""

HEAD = """
import torch
from ganforge import *
from ganforge.plugin import *

class Maker(Generator):
    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.layer = torch.nn.Linear(sum(spec.flat for spec in sources), target.flat)

    def forward(self, *sources):
        return self.layer(self.join(sources)).tanh().unflatten(1, self.target.shape)

class Judge(Discriminator):
    def __init__(self, options, judged, given=()):
        super().__init__(options, judged, given)
        self.layer = torch.nn.Linear(judged.flat, 1)

    def forward(self, data, given=None):
        return self.layer(data.flatten(1)).squeeze(1)

"""

# (kind of the recipe's table, the class, what is told)
FAULTS = {
    "a constructor that leaves": (
        "discriminator",
        "class Odd(Judge):\n    def __init__(self, *_):\n        raise SystemExit(3)  # here\n",
        "discriminator 'odd' of odd.py raised SystemExit: 3",
    ),
    "a constructor that takes nothing": (
        "discriminator",
        "class Odd(Judge):  # here\n    def __init__(self):\n        pass\n",
        "discriminator 'odd' of odd.py raised TypeError",
    ),
    "a output that is none": (
        "discriminator",
        "class Odd(Judge):\n    def forward(self, data, given=None):  # here\n        return 'x'\n",
        "discriminator 'odd' of odd.py returned a str as scores, not a tensor [N, ...], or a Verd",
    ),
    "fewer outputs than items": (
        "discriminator",
        "class Odd(Judge):\n    def forward(self, data, given=None):  # here\n"
        "        return super().forward(data)[:1]\n",
        "discriminator 'odd' of odd.py returned scores of 1 items for 4: one row per item",
    ),
    "features that are no tensor": (
        "discriminator",
        "class Odd(Judge):\n    def forward(self, data, given=None):  # here\n"
        "        return DiscriminatorOutput(super().forward(data), features=(data, data))\n",
        "discriminator 'odd' of odd.py returned a tuple as features, not a tensor",
    ),
    "layers without a shape": (
        "discriminator",
        "class Odd(Judge):  # here\n    def __init__(self, *given):\n"
        "        super().__init__(*given)\n        self.layer = torch.nn.LazyLinear(1)\n",
        "discriminator 'odd' of odd.py has lazy layers",
    ),
    "a generator that makes nothing": (
        "generator",
        "class Odd(Maker):\n    def forward(self, *sources):  # here\n        return None\n",
        "generator 'odd' of odd.py returned None, not a tensor [N, ...], or a Made",
    ),
    "a loss whose build fails": (
        "losses",
        "class Odd(Loss):\n    def build(self, context):\n        raise ValueError('b')  # here\n"
        "    def generator(self, fake_scores):\n        return -fake_scores\n",
        "loss 'odd' of odd.py raised ValueError: b",
    ),
    "a loss that observes nothing": (
        "losses",
        "class Odd(Loss):\n    def generator(self, fake_scores):\n        return -fake_scores\n"
        "    def observe(self, side, values):\n        raise KeyError('seen')  # here\n",
        "odd.py raised KeyError: 'seen'",
    ),
    "an augmentor that cannot be made": (
        "augmentors",
        "class Odd(Augmentor):\n    def __init__(self, options, spec):\n"
        "        self.size = options.size  # here\n",
        "augmentor 'odd' of odd.py raised AttributeError",
    ),
    "a hook that cannot be made": (
        "hooks",
        "class Odd(Hook):\n    def __init__(self, options):\n        1 / 0  # here\n",
        "hook 'odd' of odd.py raised ZeroDivisionError",
    ),
    "data that cannot be counted": (
        "data",
        "class Odd(Dataset):\n    @staticmethod\n    def describe(options, image):\n"
        "        return DataDescription(domains={'zebra': ImageSpec(1, 8, 8)})\n"
        "    def count(self, split, domain):\n        return {}[split]  # here\n"
        "    def item(self, split, domain, index):\n        return None\n",
        "odd.py raised KeyError",
    ),
}


def with_odd(kind: str) -> str:
    """The game with the component `odd` in the place of one of this kind."""
    if kind == "data":
        return GAME.replace('"painted-horses"\nsize = 16\ncount = 8', '"odd"')
    if kind in ("generator", "discriminator"):
        return GAME.replace(f'[{kind}]\nuse = "mlp"\nhidden = [4]', f'[{kind}]\nuse = "odd"')
    return f"{GAME}\n[{kind}.odd]\n" if kind != "hooks" else GAME + "odd = {}\n"


@pytest.mark.parametrize("fault", FAULTS)
def test_what_a_plugins_code_does_is_told_with_its_file_and_line(workdir, ganforge_cli, fault):
    kind, text, message = FAULTS[fault]
    recipe = with_odd(kind)
    assert recipe != GAME
    (workdir / "game.toml").write_text(recipe, encoding="utf-8")
    (workdir / "odd.py").write_text(HEAD + text, encoding="utf-8")
    answer = ganforge_cli("run", "game.toml", "--plugin-file", "odd.py")
    assert answer.status == 2
    assert "bug in ganforge" not in answer.err and "Traceback" not in answer.err
    assert message in answer.err
    line = next(n for n, row in enumerate((HEAD + text).splitlines(), 1) if "# here" in row)
    assert f"odd.py:{line}" in answer.err


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("offers = 3", "`offers` is an int, not names such as ('features',)"),
        ("offers = 'features'", "`offers` is a str, not names"),
        ("check = 3", "`check` is an int, not a function"),
    ],
)
def test_facts_that_are_none_are_refused_when_a_plugin_is_loaded(
    workdir, ganforge_cli, stated, message
):
    (workdir / "game.toml").write_text(with_odd("discriminator"), encoding="utf-8")
    text = f"{HEAD}class Odd(Judge):\n    {stated}\n"
    (workdir / "odd.py").write_text(text, encoding="utf-8")
    answer = ganforge_cli("check", "game.toml", "--plugin-file", "odd.py")
    assert answer.status == 2
    assert message in answer.err
