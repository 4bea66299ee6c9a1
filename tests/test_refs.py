"""What a network uses through a `Ref` has its trained weights wherever a run is opened."""

import pytest
import torch
from small_recipes import PLAIN, write_recipe

import ganforge
from ganforge.interfaces.errors import RunError

PLUGIN = '''
import torch
from torch import nn

from ganforge import Generator
from ganforge.plugin import Ref, option


class Uses(Generator):
    """Passes what another generator makes through a layer of its own"""

    class Options:
        base: Ref = option(Ref("generators.base"), help="whose output it starts from")
        part: bool = option(False, help="holds it as a part of itself")

    def __init__(self, options, sources, target, base):
        super().__init__(options, sources, target)
        if options.part:
            self.base = base
        else:
            self._base = [base]  # which nn.Module does not look into
        self.own = nn.Linear(target.flat, target.flat)

    def forward(self, *sources):
        base = self.base if self.options.part else self._base[0]
        made = base(*sources).flatten(1)
        return torch.tanh(self.own(made) + made).view(-1, *self.target.shape)


class Reads(Generator):
    """Looks at another network while it is built, and never again"""

    class Options:
        base: Ref = option(Ref("discriminators.main"), help="which one it looks at")

    def __init__(self, options, sources, target, base):
        super().__init__(options, sources, target)
        inputs = sum(spec.flat for spec in sources)
        self.own = nn.Linear(inputs, target.flat)
        self.register_buffer("seen", next(base.parameters()).detach().sum())

    def forward(self, *sources):
        return torch.tanh(self.own(self.join(sources))).view(-1, *self.target.shape)
'''

MLP = '[generator]\nuse = "mlp"\nhidden = [6]\n'
BASE = '[generators.base]\nuse = "mlp"\nhidden = [6]\n{base}'
USES = BASE + '[generators.top]\nuse = "uses"\n{top}'
CHAIN = USES + '[generators.over]\nuse = "uses"\nbase = "generators.top"\n{over}'
FAST = '[optimizer]\nuse = "adam"\nlr = 0.05\n'


def trained(folder, generators, **keys):
    (folder / "uses.py").write_text(PLUGIN, encoding="utf-8")
    names = {"base": "", "top": "", "over": ""} | keys
    text = PLAIN.replace(MLP, FAST + generators.format(**names))
    text = text.replace("steps = 4\nbatch", "steps = 6\nbatch")
    recipe = write_recipe(folder, text)
    return ganforge.train(recipe, out=folder / "run", plugin_files=[folder / "uses.py"])


def during(folder, run, name):
    """What the generator of this name makes in a training that goes on from the last step."""
    from ganforge.hardware.machine import decide
    from ganforge.storage import checkpoint
    from ganforge.training.launch import build_training

    training = build_training(run.plan, run.registry, decide(run.plan.train), run.folder)
    training.resume(checkpoint.load(run.folder.checkpoints, run.step))
    with training.looking() as live:
        return live.sample(4, generator=name)


EMA = "ema = 0.9\n"


@pytest.mark.parametrize("part", ["", "part = true\n"])
@pytest.mark.parametrize(("base", "top"), [("", ""), (EMA, ""), ("", EMA), (EMA, EMA)])
def test_an_opened_run_samples_what_training_had(workdir, base, top, part):
    run = trained(workdir, USES, base=base, top=top + part)
    expected = during(workdir, run, "top")
    assert torch.equal(run.sample(4, generator="top"), expected)
    untrained = ganforge.open_run(workdir / "run", plugin_files=[workdir / "uses.py"])
    assert torch.equal(untrained.sample(4, generator="top"), expected)


def test_chains_of_them_do_as_well(workdir):
    run = trained(workdir, CHAIN, base=EMA, over=EMA)
    for name in ("base", "top", "over"):
        assert torch.equal(run.sample(4, generator=name), during(workdir, run, name))


def test_an_average_sees_the_average_of_what_it_uses(workdir):
    run = trained(workdir, USES, base=EMA, top=EMA)
    base, top = run.generator("base"), run.generator("top")
    noise = torch.randn(2, 3)
    with torch.no_grad():
        made = base(noise).flatten(1)
        assert torch.allclose(top(noise).flatten(1), torch.tanh(top.own(made) + made), atol=1e-6)


def test_what_has_no_average_sees_what_was_trained(workdir):
    run = trained(workdir, USES, base=EMA)
    top = run.generator("top")
    saved = run._weights()
    kept = top._base[0].state_dict()
    assert all(torch.equal(kept[k], saved[f"generators.base/{k}"]) for k in kept)
    assert not all(torch.equal(kept[k], saved[f"ema.generators.base/{k}"]) for k in kept)


def test_a_resumed_run_is_that_which_was_not_interrupted(workdir):
    run = trained(workdir, USES, base=EMA, top=EMA)
    recipe = workdir / "recipe.toml"
    files = [workdir / "uses.py"]
    ganforge.train(recipe, set={"train.steps": 3}, out=workdir / "half", plugin_files=files)
    again = ganforge.train(recipe, out=workdir / "half", plugin_files=files)
    assert torch.equal(again.sample(4, generator="top"), run.sample(4, generator="top"))


def test_a_discriminator_that_is_only_read_while_building_need_not_be_kept(workdir):
    run = trained(workdir, '[generators.top]\nuse = "reads"\n')
    expected = run.sample(4)
    only_sheets(run)
    snapshot = ganforge.open_run(workdir / "run", step=4, plugin_files=[workdir / "uses.py"])
    assert snapshot.sample(4).shape == expected.shape


def test_a_snapshot_without_what_a_network_uses_is_refused(workdir):
    run = trained(workdir, USES, base=EMA)
    only_sheets(run)
    snapshot = ganforge.open_run(workdir / "run", step=4, plugin_files=[workdir / "uses.py"])
    with pytest.raises(RunError, match=r"only the generators are kept, not generators\.base"):
        snapshot.sample(4, generator="top")


def only_sheets(run):
    assert 4 not in run.folder.checkpoint_steps()
    assert run.folder.snapshot(4).exists()
