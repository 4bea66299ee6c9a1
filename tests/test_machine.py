"""What `auto` stands for."""

import os
import subprocess
import sys

import pytest
import torch
from small_recipes import DIGITS, write_recipe

from ganforge.hardware import machine
from ganforge.interfaces.errors import GanforgeError
from ganforge.interfaces.settings import TrainSettings


@pytest.mark.parametrize(
    ("limit", "allowed"),
    [
        ("", True),
        ("ALL", True),
        ("AVX512_CORE_BF16", True),
        ("AVX512_CORE_AMX", True),
        ("AVX2", False),
        ("AVX512_CORE", False),
        ("AVX512_CORE_VNNI", False),
        ("SSE41", False),
    ],
)
def test_bf16_is_native_only_where_onednn_may_use_it(limit, allowed):
    environment = {"ONEDNN_MAX_CPU_ISA": limit} if limit else {}
    assert machine._onednn_may_use_bf16(environment) is allowed


def test_auto_is_fp32_in_a_process_that_is_held_to_avx2():
    code = (
        "from ganforge.hardware.machine import decide; "
        "from ganforge.interfaces.settings import TrainSettings; "
        "print(decide(TrainSettings(device='cpu')).precision)"
    )
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "fp32"


def test_a_precision_that_is_asked_for_is_taken():
    assert machine.decide(TrainSettings(device="cpu", precision="bf16")).precision == "bf16"
    assert machine.decide(TrainSettings(device="cpu", precision="fp32")).precision == "fp32"


@pytest.mark.parametrize("name", ["gpu", "tpu:0", "cuda:77", "meta"])
def test_a_device_that_is_not_there_is_refused_in_one_line(name):
    with pytest.raises(GanforgeError, match=f"'{name}'"):
        machine.find_device(name)


def test_denormals_are_flushed_on_the_cpu():
    machine.decide(TrainSettings(device="cpu"))
    tiny = torch.full((4,), 1e-39)
    assert torch.equal(tiny * 1.0, torch.zeros(4))
    torch.set_flush_denormal(False)


def test_bf16_forwards_do_not_keep_casts_that_would_cut_gradients():
    decided = machine.decide(TrainSettings(device="cpu", precision="bf16"))
    layer = torch.nn.Linear(4, 4)
    with decided.autocast():
        with torch.no_grad():
            layer(torch.ones(1, 4))
        out = layer(torch.ones(1, 4))
    out.float().sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize(
    ("limit", "cores"), [("max 100000\n", None), ("150000 100000\n", 2), ("1000 100000\n", 1)]
)
def test_a_containers_share_of_the_cores_counts(tmp_path, monkeypatch, limit, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    (tmp_path / "cpu.max").write_text(limit, encoding="ascii")
    assert machine.usable_cores(tmp_path) == (cores or 8)
    assert machine.usable_cores(tmp_path / "none") == 8


def test_more_threads_than_cores_are_told_in_one_line(monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 2)
    few, many = (machine.Machine(torch.device("cpu"), "fp32", threads) for threads in (2, 8))
    assert machine.crowded(few) == ""
    assert machine.crowded(many) == (
        "8 threads on 2 cores wait for one another, and a step can take ten times as long: "
        "`--set train.threads=2`"
    )


def test_a_run_says_so_too(ganforge_cli, workdir, monkeypatch):
    monkeypatch.setattr(machine, "usable_cores", lambda: 0)
    answer = ganforge_cli("run", write_recipe(workdir, DIGITS), "--out", "run")
    assert answer.out.count("wait for one another") == 1
