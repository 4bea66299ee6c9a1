"""Checkpoints are written whole or not at all, and what is damaged is not read."""

import errno
import json
import os

import pytest
import torch

from ganforge.interfaces.errors import RunError
from ganforge.storage import checkpoint

TENSORS = {"generators.main/weight": torch.arange(6.0).reshape(2, 3)}
MOMENTS = {"generators.main/weight/exp_avg": torch.ones(2, 3)}


def _save(folder, step):
    return checkpoint.save(folder, step, TENSORS, MOMENTS, {"hooks": {"samples": {"n": 1}}})


def test_what_is_saved_comes_back(tmp_path):
    path = _save(tmp_path, 5000)
    assert path.name == "step-00005000"
    saved = checkpoint.load(tmp_path, 5000)
    assert saved.step == 5000
    assert torch.equal(saved.networks["generators.main/weight"], TENSORS["generators.main/weight"])
    assert torch.equal(saved.optimizers["generators.main/weight/exp_avg"], torch.ones(2, 3))
    assert saved.state["hooks"] == {"samples": {"n": 1}}


def test_tensors_that_share_memory_or_are_channels_last_are_saved_as_they_read(tmp_path):
    image = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    checkpoint.save(tmp_path, 1, {"a": image, "b": image}, {}, {})
    saved = checkpoint.load(tmp_path, 1)
    assert torch.equal(saved.networks["a"], image)
    assert torch.equal(saved.networks["b"], image)


@pytest.mark.parametrize("name", ["networks.safetensors", "optimizers.safetensors"])
def test_a_flipped_bit_is_found_and_the_older_checkpoint_is_taken(tmp_path, name):
    _save(tmp_path, 1)
    path = _save(tmp_path, 2) / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    saved, complaints = checkpoint.newest_whole(tmp_path)
    assert saved is not None and saved.step == 1
    assert len(complaints) == 1 and "damaged" in complaints[0] and name in complaints[0]


@pytest.mark.parametrize("damage", ["truncate", "remove", "garbage"])
def test_a_truncated_missing_or_garbled_file_is_found(tmp_path, damage):
    folder = _save(tmp_path, 1)
    if damage == "truncate":
        path = folder / "networks.safetensors"
        path.write_bytes(path.read_bytes()[:-3])
    elif damage == "remove":
        (folder / "optimizers.safetensors").unlink()
    else:
        (folder / "state.json").write_text("{nonsense", encoding="utf-8")
    with pytest.raises(RunError):
        checkpoint.load(tmp_path, 1)


def test_a_write_that_fails_leaves_the_older_checkpoint_and_no_remains(tmp_path, monkeypatch):
    _save(tmp_path, 1)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(RunError, match="no space left on the disk"):
        _save(tmp_path, 2)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert checkpoint.load(tmp_path, 1).step == 1


def test_a_folder_left_by_a_kill_is_not_taken_for_a_checkpoint(tmp_path):
    _save(tmp_path, 1)
    (tmp_path / "step-00000002.partial").mkdir()
    (tmp_path / "step-00000002.partial" / "state.json").write_text("{}", encoding="utf-8")
    assert checkpoint.steps(tmp_path) == [1]


def test_saving_a_step_again_replaces_it(tmp_path):
    _save(tmp_path, 1)
    checkpoint.save(tmp_path, 1, {"x": torch.zeros(1)}, {}, {})
    assert set(checkpoint.load(tmp_path, 1).networks) == {"x"}
    assert len(list(tmp_path.iterdir())) == 1


def test_only_the_newest_are_kept(tmp_path):
    for step in (1, 2, 3, 4):
        _save(tmp_path, step)
    checkpoint.keep_last(tmp_path, 2)
    assert checkpoint.steps(tmp_path) == [3, 4]


def test_the_checksums_are_in_the_state_file(tmp_path):
    folder = _save(tmp_path, 1)
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    assert set(state["sha256"]) == {"networks.safetensors", "optimizers.safetensors", "state"}
