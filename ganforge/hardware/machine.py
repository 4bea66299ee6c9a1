"""Where a run runs and how precisely: what `auto` stands for on this machine.

Decided once, at the first start of a run, and written down; a resumed run keeps it.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import nn

from ganforge.hardware import compilation, matmul
from ganforge.interfaces.errors import GanforgeError, PluginError
from ganforge.interfaces.settings import TrainSettings

if TYPE_CHECKING:
    from ganforge.hardware.processes import Ranks

_LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}

# Parameters of mallopt(3), as <malloc.h> numbers them.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3

# Instructions that kernels are chosen by, beside the set that PyTorch names.
_FASTER = ("avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_fp16")

# oneDNN's names for instruction sets that hold native bf16; below them bf16 is emulated.
_NATIVE_ISA = ("BF16", "FP16", "AMX", "AVX10", "DEFAULT", "ALL")


@attrs.define
class Machine:
    """Decisions locked at a run's start. precision: "fp32" or "bf16". layout_: as in [train]."""

    device: torch.device
    precision: str
    threads: int
    wanted_layout: str = "auto"
    products: str = "torch"  # or "onednn", of dense layers
    layouts: dict[str, torch.memory_format] = attrs.field(factory=dict)
    compiles: bool = False  # networks, by torch.compile
    processes: int = 1  # that play together

    def autocast(self) -> AbstractContextManager[Any]:
        """bf16 where it was chosen. No weight cache: a weight is used once per forward, and a
        cast cached without a graph would cut gradients of a later forward."""
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)

    def layout(self, network: nn.Module | type) -> torch.memory_format:
        """The memory layout for a network's images; its class knows as well as the network."""
        wanted = self.wanted_layout
        if wanted == "auto":
            wanted = getattr(network, "layout", "contiguous")
        if wanted not in _LAYOUTS:
            cls = network if isinstance(network, type) else type(network)
            name = f"{cls.__module__}:{cls.__qualname__}"
            there = ", ".join(_LAYOUTS)
            raise PluginError(f"{name} says `layout = {wanted!r}`; there are: {there}")
        return _LAYOUTS[wanted]

    def wants_channels_last(self, networks: Iterable[type]) -> bool:
        """Whether data is best laid out channels_last from the start, for networks of these
        classes; one that wants it otherwise copies it."""
        return any(self.layout(network) is torch.channels_last for network in networks)

    def locked(self) -> dict[str, Any]:
        """The decisions as keys of `[train]`."""
        alone = self.processes == 1  # of several, each takes the device of its number
        return {
            "device": str(self.device) if alone else self.device.type,
            "precision": self.precision,
            "threads": self.threads,
            "layout": self.wanted_layout,
            "products": self.products,
        }

    def facts(self) -> dict[str, Any]:
        """What decides, beside versions, how sums are rounded here: the decisions, how many
        processes they are made by, and what the processor can do, since kernels are chosen by
        it."""
        decisions = {
            **self.locked(),
            "compile": "yes" if self.compiles else "no",
            "processes": self.processes,
        }
        if self.device.type == "cuda":
            return {**decisions, "gpu": torch.cuda.get_device_name(self.device)}
        capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        more = [name for name in _FASTER if capabilities.get(name)]
        kernels = torch.backends.cpu.get_cpu_capability()
        return {**decisions, "cpu": " ".join((platform.machine(), kernels, *more))}


def decide(train: TrainSettings, ranks: Ranks | None = None) -> Machine:
    """What this training will run on; of several processes on one machine, each takes the GPU of
    its number. Raises GanforgeError for a device that is not there."""
    device = find_device(train.device)
    if ranks is not None and device.type == "cuda":
        device = torch.device("cuda", ranks.local % torch.cuda.device_count())
    if ranks is not None and device.type not in ("cpu", "cuda"):
        raise GanforgeError(f"several processes play on CPUs or CUDA, not on '{device}'")
    if train.compile:
        compilation.refuse_without_compiler(device)
    if train.compile and ranks is not None:
        raise GanforgeError("`train.compile` is for one process: leave it out for several")
    precision = train.precision
    if precision == "auto":
        precision = "bf16" if has_native_bf16(device) else "fp32"
    threads = train.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    if device.type == "cpu":
        # A saturated discriminator fills gradients with denormals, which x86 handles many times
        # slower. Set before the first parallel work, so that worker threads inherit it.
        torch.set_flush_denormal(True)
        keep_freed_memory()
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what networks draw by themselves is seeded there
        torch.backends.cudnn.benchmark = False  # its choice of kernels would vary between runs
    return Machine(
        device,
        precision,
        threads,
        train.layout,
        _products(train.products, device),
        compiles=train.compile,
        processes=1 if ranks is None else ranks.count,
    )


def _products(wanted: str, device: torch.device) -> str:
    """What multiplies matrices: oneDNN where it is wanted and there."""
    if device.type != "cpu" or not matmul.offered():
        return "torch"
    if wanted == "auto":
        return "torch" if _is_intel() else "onednn"
    return wanted


def _is_intel() -> bool:
    """Whether the processor is Intel's, for which MKL chooses its fastest kernels."""
    if platform.system() == "Darwin":  # MKL is there on Intel's alone
        return True
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "GenuineIntel" in platform.processor()  # as Windows names it


def keep_freed_memory() -> None:
    """Let the C library reuse freed memory instead of giving it back to the system.

    Each update allocates and frees the same large tensors. By default glibc maps them anew, and
    the system clears every page again: measured at a fifth to a half of an update of the vanilla
    networks on two cores. The price is that the process keeps its peak. Other C libraries are left
    as they are.
    """
    if not keeps_freed_memory():
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, 2**30)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(_M_TOP_PAD, 2**26)


def keeps_freed_memory() -> bool:
    """Whether `keep_freed_memory` can do something here."""
    return platform.libc_ver()[0] == "glibc"


def usable_cores(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores that this process may use: those that it is bound to, and what its control group has
    of them, rounded up."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    try:
        quota, period = (group / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, -(-int(quota) // int(period))))


def crowded(decided: Machine) -> str:
    """A line to say where there are more threads than cores; nothing where there are not."""
    cores = usable_cores()
    if decided.device.type != "cpu" or decided.threads <= cores:
        return ""
    return (
        f"{decided.threads} threads on {cores} core{'' if cores == 1 else 's'} wait for one "
        f"another, and a step can take ten times as long: `--set train.threads={cores}`"
    )


def find_device(name: str) -> torch.device:
    """The device of this name; `auto` takes CUDA, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise GanforgeError(
            f"there is no device '{name}'; use auto, cpu, cuda, cuda:1 or mps"
        ) from None
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise GanforgeError(
            f"device '{name}' is not available on this machine; use `--device auto`"
        )
    return device


def has_native_bf16(device: torch.device) -> bool:
    """Whether bf16 matrix products are computed by hardware, not emulated."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    return _cpu_has_bf16() and _onednn_may_use_bf16(os.environ)


def _cpu_has_bf16() -> bool:
    if platform.machine().lower() in ("arm64", "aarch64"):
        try:
            return "bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
        except OSError:
            return False
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities:
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    check = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(check and check())


def _onednn_may_use_bf16(environment: Mapping[str, str]) -> bool:
    """oneDNN can be told to use less than the processor has."""
    limit = environment.get("ONEDNN_MAX_CPU_ISA") or environment.get("DNNL_MAX_CPU_ISA") or "ALL"
    return any(name in limit.upper() for name in _NATIVE_ISA)
