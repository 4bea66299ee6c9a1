"""A plugin's own mistake is one line that names its file, not a traceback."""

import re

import pytest

RECIPE = """
recipe = 1
name = "tiny"
[data]
use = "painted-horses"
size = 16
count = 24
[train]
steps = 2
batch = 4
device = "cpu"
[generator]
use = "mlp"
hidden = [4]
to = "horse"
[discriminator]
use = "mlp"
hidden = [4]
[losses.adversarial]
use = "non-saturating"
"""

LOSS = """
from ganforge import Loss

class Broken(Loss):
    def discriminator(self, real_scores, fake_scores):
        return real_scores - fake_scores

    def generator(self, fake_scores):
        return {body}
"""

HOOK = """
from ganforge import Hook

class Broken(Hook):
    def step_ended(self, training, step):
        {}["nothing"]
"""

NETWORK = """
from ganforge import Generator

class Broken(Generator):
    def __init__(self, options, sources, target):
        super().__init__(options, sources, target)
        self.layers = Missing()
"""


def run(ganforge_cli, folder, text, *sets):
    (folder / "tiny.toml").write_text(RECIPE, encoding="utf-8")
    (folder / "mine.py").write_text(text, encoding="utf-8")
    return ganforge_cli("run", "tiny.toml", "--plugin-file", "mine.py", *sets)


@pytest.mark.parametrize(
    ("text", "setting", "told"),
    [
        (
            LOSS.format(body="fake_scores.view(7, 13)"),
            "losses.adversarial.use=broken",
            r"loss 'broken' of mine.py raised RuntimeError: .+ \(.*mine.py:9, in generator\)",
        ),
        (
            HOOK,
            "hooks.broken.use=broken",
            r"hook 'broken' of mine.py raised KeyError: 'nothing' \(.*mine.py:6, in step_ended\)",
        ),
        (
            NETWORK,
            "generator.use=broken",
            r"generator 'broken' of mine.py raised NameError: .+ \(.*mine.py:7, in __init__\)",
        ),
    ],
    ids=["loss", "hook", "generator"],
)
def test_what_a_plugin_raises_is_told_with_its_place(workdir, ganforge_cli, text, setting, told):
    sets = ["--set", setting]
    sets += ["--set", "generator.to=horse"] if setting.startswith("generator") else []
    answer = run(ganforge_cli, workdir, text, *sets)
    assert answer.status == 2
    assert re.search(told, answer.err.replace("\n", " ")), answer.err
    assert "Traceback" not in answer.err
    assert "GANFORGE_TRACEBACK=1" in answer.err


def test_the_traceback_can_be_asked_for(workdir, ganforge_cli, monkeypatch, capfd):
    monkeypatch.setenv("GANFORGE_TRACEBACK", "1")
    answer = run(ganforge_cli, workdir, HOOK, "--set", "hooks.broken.use=broken")
    assert answer.status == 1
    assert "Traceback" in answer.err + capfd.readouterr().err


def test_what_is_no_tensor_is_told(workdir, ganforge_cli):
    text = LOSS.format(body="1.0")
    answer = run(ganforge_cli, workdir, text, "--set", "losses.adversarial.use=broken")
    assert "loss 'broken' of mine.py returned a float for 'loss' (" in answer.err
    assert "return one value per sample, a tensor [N, ...]" in answer.err
