"""Every shipped recipe goes on bit for bit from a checkpoint, as if it had not been interrupted."""

import json
import shutil
from pathlib import Path

import pytest
from making_data import small_settings

from ganforge.recipes.recipe import load
from ganforge.registry.registry import Registry
from ganforge.storage import checkpoint
from ganforge.storage.run_folder import RunFolder
from ganforge.training.launch import Request, launch

REGISTRY = Registry.load(only=())
RECIPES = sorted(REGISTRY.recipes())
STEPS = 4  # of a run; 10 where there are phases, so that all are played


def game(folder, step):
    """Everything that a checkpoint holds, as bytes and numbers; not how long it took."""
    path = folder.checkpoints / checkpoint.folder_name(step)
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    state.pop("seconds")
    state["sha256"].pop("state")  # of the seconds too
    files = {f.name: f.read_bytes() for f in path.iterdir() if f.suffix == ".safetensors"}
    return state, files


def lines(folder):
    """The lines of metrics.jsonl without what a clock gave."""
    return [
        {k: v for k, v in line.items() if k.rpartition("/")[2] != "seconds"}
        for line in folder.metric_lines()
    ]


@pytest.mark.parametrize("name", RECIPES)
def test_a_resumed_run_is_the_uninterrupted_one(name, data, workdir):
    steps = 10 if "phases" in load(name, shipped=REGISTRY.recipes()).table.get("train") else STEPS
    sets = [*small_settings(name, data), f"train.steps={steps}", "hooks.metrics.every=1"]
    sets += [f"hooks.checkpoint.every={steps // 2}", "hooks.samples.every=100"]
    request = Request(recipe=name, preview=True, sets=tuple(sets), out=Path("whole"))
    whole = launch(request, print).folder
    shutil.copytree("whole", "resumed")
    resumed = RunFolder(Path("resumed"))
    shutil.rmtree(resumed.checkpoints / checkpoint.folder_name(steps))
    assert resumed.checkpoint_steps() == [steps // 2]
    again = Request(recipe=name, preview=True, sets=tuple(sets), out=Path("resumed"))
    outcome = launch(again, print)
    assert (outcome.step, outcome.trained) == (steps, True)
    assert lines(resumed) == lines(whole)
    (state, files), (other_state, other_files) = game(whole, steps), game(resumed, steps)
    assert state == other_state
    assert files.keys() == other_files.keys() and len(files) == 2
    for file in files:
        assert files[file] == other_files[file], file
