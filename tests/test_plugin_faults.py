"""Whatever a plugin's code does wrong is told as the plugin's, in a line with its file and line."""

from __future__ import annotations

import pytest
from small_recipes import draw_pictures

GAME = """
recipe = 1
name = "faulty"
[data]
use = "image-folder"
root = "pictures"
size = 16
[train]
steps = 2
batch = 4
device = "cpu"
precision = "fp32"
[generator]
use = "mlp"
hidden = [4]
to = "image"
[discriminator]
use = "mlp"
hidden = [4]
on = "image"
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
        "discriminator 'odd' of odd.py returned a str as scores, not a tensor [N, ...], or a Disc",
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
        "generator 'odd' of odd.py returned None, not a tensor [N, ...], or a GeneratorOutput",
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
        "        return DataDescription(domains={'image': ImageSpec(1, 8, 8)})\n"
        "    def count(self, split, domain):\n        return {}[split]  # here\n"
        "    def item(self, split, domain, index):\n        return None\n",
        "odd.py raised KeyError",
    ),
    "a discriminator that changes what it needs": (
        "discriminator",
        "class Odd(Judge):\n    def forward(self, data, given=None):\n"
        "        scores = super().forward(data).sigmoid()  # here\n        scores.add_(1)\n"
        "        return scores\n",
        "discriminator 'odd' of odd.py computes what has no gradient",
    ),
    "a generator that changes what it needs": (
        "generator",
        "class Odd(Maker):\n    def forward(self, *sources):\n"
        "        made = super().forward(*sources).sigmoid()  # here\n        made.mul_(2)\n"
        "        return made\n",
        "generator 'odd' of odd.py computes what has no gradient",
    ),
    "a loss that changes what it needs": (
        "losses",
        "class Odd(Loss):\n    def generator(self, fake_scores):\n"
        "        chance = fake_scores.sigmoid()  # here\n        value = chance * 2\n"
        "        chance.add_(1)\n        return value\n",
        "loss 'odd' of odd.py computes what has no gradient",
    ),
    "a gradient of a wrong shape": (
        "discriminator",
        "class Own(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n"
        "        return x * 1\n    @staticmethod\n    def backward(ctx, g):\n"
        "        return g[:1].expand(2, 2)\n"
        "class Odd(Judge):\n    def forward(self, data, given=None):\n"
        "        return Own.apply(super().forward(data))  # here\n",
        "discriminator 'odd' of odd.py computes what has no gradient",
    ),
    "a backward that raises": (
        "discriminator",
        "class Own(torch.autograd.Function):\n    @staticmethod\n    def forward(ctx, x):\n"
        "        return x * 1\n    @staticmethod\n    def backward(ctx, g):\n"
        "        return {}[1]  # here\n"
        "class Odd(Judge):\n    def forward(self, data, given=None):\n"
        "        return Own.apply(super().forward(data))\n",
        "discriminator 'odd' of odd.py raised KeyError: 1",
    ),
    "a loss that goes backward": (
        "losses",
        "class Odd(Loss):\n    def generator(self, fake_scores):  # here\n"
        "        fake_scores.sum().backward()\n        return -fake_scores\n",
        "something differentiates the losses before the trainer does",
    ),
    "a discriminator that changes its data": (
        "discriminator",
        "class Odd(Judge):\n    def forward(self, data, given=None):  # here\n"
        "        return super().forward(data.mul_(0.5))\n",
        "discriminator 'odd' of odd.py changes data, which others read too, in place",
    ),
    "a generator that changes its noise": (
        "generator",
        "class Odd(Maker):\n    def forward(self, *sources):  # here\n"
        "        return super().forward(sources[0].zero_())\n",
        "generator 'odd' of odd.py changes noise, which others read too, in place",
    ),
    "a loss that changes scores": (
        "losses",
        "class Odd(Loss):\n    def generator(self, fake_scores):  # here\n"
        "        return fake_scores.neg_()\n",
        "loss 'odd' of odd.py changes fake_scores, which others read too, in place",
    ),
    "an augmentor that changes its data": (
        "augmentors",
        "class Odd(Augmentor):\n    def view(self, data, draw):  # here\n"
        "        return data.mul_(0.5)\n",
        "augmentor 'odd' of odd.py changes data, which others read too, in place",
    ),
    "no gradient": (
        "discriminator",
        "class Odd(Judge):\n    def forward(self, data, given=None):  # here\n"
        "        return super().forward(data).detach()\n",
        "no gradient flows from the discriminator's losses (adversarial)",
    ),
    "endless recursion": (
        "discriminator",
        "class Odd(Judge):\n    def forward(self, data, given=None):\n"
        "        return self.forward(data)  # here\n",
        "discriminator 'odd' of odd.py raised RecursionError",
    ),
    "scores without a gradient": (
        "discriminator",
        "class Odd(Judge):\n    def forward(self, data, given=None):  # here\n"
        "        return super().forward(data).long()\n",
        "discriminator 'odd' of odd.py returned torch.int64 as scores, not a floating-point tensor",
    ),
    "one score for all": (
        "discriminator",
        "class Odd(Judge):\n    def forward(self, data, given=None):  # here\n"
        "        return super().forward(data).mean()\n",
        "discriminator 'odd' of odd.py returned one number as scores for 4 items",
    ),
    "an output of nothing": (
        "discriminator",
        "class Odd(Judge):\n    def forward(self, data, given=None):  # here\n"
        "        return DiscriminatorOutput()\n",
        "discriminator 'odd' of odd.py returned nothing",
    ),
    "weights without values": (
        "discriminator",
        "class Odd(Judge):  # here\n    def __init__(self, *given):\n"
        "        super().__init__(*given)\n        self.to('meta')\n",
        "discriminator 'odd' of odd.py leaves layer.weight without values",
    ),
    "a state that is no tensor": (
        "discriminator",
        "class Odd(Judge):  # here\n    def get_extra_state(self):\n        return 5\n",
        "discriminator 'odd' of odd.py keeps _extra_state in its state, which is of type int",
    ),
    "whole numbers for an image": (
        "generator",
        "class Odd(Maker):\n    def forward(self, *sources):  # here\n"
        "        return super().forward(*sources).long()\n",
        "generator 'odd' of odd.py returned torch.int64 for image 3 x 16 x 16",
    ),
    "an image of another shape": (
        "generator",
        "class Odd(Maker):\n    def forward(self, *sources):  # here\n"
        "        return super().forward(*sources)[:, :, :3]\n",
        "generator 'main' (odd.py/odd) has shape [3, 3, 16] per item",
    ),
    "views of fewer items": (
        "augmentors",
        "class Odd(Augmentor):\n    def view(self, data, draw):  # here\n        return data[:2]\n",
        "a tensor of shape [2, 3, 16, 16] as view 'plain' of 4 items: one row per item",
    ),
    "views of whole numbers": (
        "augmentors",
        "class Odd(Augmentor):\n    def view(self, data, draw):  # here\n"
        "        return data.long()\n",
        "augmentor 'odd' of odd.py returned torch.int64 as view 'plain'",
    ),
    "a loss that observes None": (
        "losses",
        "class Odd(Loss):\n    def generator(self, fake_scores):\n        return -fake_scores\n"
        "    def observe(self, side, values):  # here\n        pass\n",
        "loss 'odd' of odd.py returned None from observe",
    ),
    "a loss that observes words": (
        "losses",
        "class Odd(Loss):\n    def generator(self, fake_scores):\n        return -fake_scores\n"
        "    def observe(self, side, values):  # here\n        return {'x': 'y'}\n",
        "loss 'odd' of odd.py returned a str for 'x' from observe",
    ),
    "a loss that observes several numbers": (
        "losses",
        "class Odd(Loss):\n    def generator(self, fake_scores):\n        return -fake_scores\n"
        "    def observe(self, side, values):  # here\n        return {'x': torch.ones(3)}\n",
        "loss 'odd' of odd.py returned a tensor of several numbers for 'x' from observe",
    ),
    "a loss without terms": (
        "losses",
        "class Odd(Loss):\n    def generator(self, fake_scores):  # here\n        return {}\n",
        "loss 'odd' of odd.py returned no terms",
    ),
    "a loss of truths": (
        "losses",
        "class Odd(Loss):\n    def generator(self, fake_scores):  # here\n"
        "        return fake_scores > 0\n",
        "loss 'odd' of odd.py returned torch.bool for 'loss'",
    ),
    "a hook that keeps what JSON cannot": (
        "hooks",
        "class Odd(Hook):\n    def save_state(self):  # here\n        return {'x': object()}\n",
        "hook 'odd' of odd.py keeps what JSON cannot hold",
    ),
    "a hook that keeps nothing": (
        "hooks",
        "class Odd(Hook):\n    def save_state(self):  # here\n        return None\n",
        "hook 'odd' of odd.py keeps what JSON cannot hold",
    ),
    "counts that are text": (
        "data",
        "class Odd(Dataset):\n    @staticmethod\n    def describe(options, image):\n"
        "        return DataDescription(domains={'image': ImageSpec(1, 8, 8)})\n"
        "    def count(self, split, domain):  # here\n        return '8'\n"
        "    def item(self, split, domain, index):\n        return None\n",
        "the dataset returned '8' for train/image, not a number of rows",
    ),
    "rows that are no tensor": (
        "data",
        "class Odd(Dataset):\n    @staticmethod\n    def describe(options, image):\n"
        "        return DataDescription(domains={'image': ImageSpec(1, 8, 8)})\n"
        "    def count(self, split, domain):\n        return 8\n"
        "    def item(self, split, domain, index):  # here\n        return None\n",
        "the dataset returned NoneType for a row of 'image', no tensor",
    ),
    "sources that are no pairs": (
        "data",
        "class Odd(Dataset):\n    @staticmethod\n    def describe(options, image):\n"
        "        return DataDescription(domains={'image': ImageSpec(1, 8, 8)})\n"
        "    def count(self, split, domain):\n        return 8\n"
        "    def sources(self, split, domain):  # here\n        return ['a', 'b']\n"
        "    def item(self, split, domain, index):\n        return None\n",
        "the dataset returned for 'image' what is no (name, path) for each of 8 rows",
    ),
}


def with_odd(kind: str) -> str:
    """The game with the component `odd` in the place of one of this kind."""
    if kind == "data":
        return GAME.replace('"image-folder"\nroot = "pictures"\nsize = 16', '"odd"')
    if kind in ("generator", "discriminator"):
        return GAME.replace(f'[{kind}]\nuse = "mlp"\nhidden = [4]', f'[{kind}]\nuse = "odd"')
    return f"{GAME}\n[{kind}.odd]\n" if kind != "hooks" else GAME + "odd = {}\n"


@pytest.fixture(autouse=True)
def pictures(workdir):
    draw_pictures(workdir / "pictures", 8)


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


METRIC = """
from ganforge import Metric


class Odd(Metric):
    def __init__(self, options):
        super().__init__(options)
        {made}

    def measure(self, run):
        return {measured}

    def protocol(self):
        return {protocol}
"""
SOUND = {"made": "pass", "measured": "{'one': 1.0}", "protocol": "'none'"}


@pytest.mark.parametrize(
    ("fault", "message", "line"),
    [
        ({"made": "{}[1]"}, "raised KeyError: 1", 8),
        ({"measured": "None"}, "returned None, not a dict of named figures", 10),
        ({"measured": "{}"}, "returned no figures", 10),
        ({"measured": "{'one': 'x'}"}, "returned what is no number", 10),
        ({"measured": "self.measure(run)"}, "raised RecursionError", 11),
        ({"protocol": "None"}, "returned None as its protocol, not a line of text", 13),
        ({"protocol": "{}[1]"}, "raised KeyError: 1", 14),
    ],
)
def test_a_faulty_metric_ends_no_run_and_is_told_with_its_line(
    workdir, ganforge_cli, fault, message, line
):
    (workdir / "game.toml").write_text(GAME + "\n[metrics.odd]\n", encoding="utf-8")
    (workdir / "odd.py").write_text(METRIC.format(**(SOUND | fault)), encoding="utf-8")
    answer = ganforge_cli("run", "game.toml", "--plugin-file", "odd.py")
    assert answer.status == 0, answer.err
    told = f"metric odd could not be computed: metric 'odd' of odd.py {message}"
    assert told in answer.out
    assert f"odd.py:{line}" in answer.out
    answer = ganforge_cli("evaluate", "faulty", "--plugin-file", "odd.py")
    assert answer.status == 2 and "Traceback" not in answer.err
    assert f"metric 'odd' of odd.py {message}" in answer.err


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("left_out=3", "`left_out` that holds no number of files for each kind"),
        ("classes={'train': ['a']}", "`classes` that holds no number of rows for each class"),
        ("notes='one'", "`notes` that are no sentences"),
        ("pictures={'image': ['x.png']}", "`pictures` that holds no paths for each domain"),
    ],
)
def test_what_a_dataset_wrongly_says_for_people_is_refused(workdir, ganforge_cli, said, message):
    kind, text, _ = FAULTS["counts that are text"]
    (workdir / "game.toml").write_text(with_odd(kind), encoding="utf-8")
    text = text.replace("ImageSpec(1, 8, 8)}", f"ImageSpec(1, 8, 8)}}, {said}")
    (workdir / "odd.py").write_text(HEAD + text, encoding="utf-8")
    answer = ganforge_cli("check", "game.toml", "--plugin-file", "odd.py")
    assert answer.status == 2
    assert f"`describe` of dataset 'odd' returned {message}" in answer.err
