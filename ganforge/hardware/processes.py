"""Several processes that play one game, and what they send one another.

`torchrun` starts them and says who is who; `torch.distributed` carries everything. Each process
(a rank) holds the whole game and plays its share of every batch: rank r of R the r-th of R equal
parts of the rows, of the very draws that one process alone would make. Gradients and the values of
losses are added up before they are looked at, so weights, moments, averages and what losses own
stay the same in all processes, and only the first one, the leader, writes and shows anything.

Nothing here is touched by a process of its own: then there are no `Ranks`, only None.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from ganforge.interfaces.errors import Elsewhere, GanforgeError
from ganforge.planning.plan import Plan

# How long the others wait while the leader measures or writes. One that dies is noticed at once.
_PATIENCE = timedelta(hours=6)
_BUCKET = 25_000_000  # bytes that are sent at once, while the next ones are laid side by side


class Ranks:
    """This process among those that play.

    rank: its number, from 0. count: how many there are. local: its number on its machine.
    playing: whether a turn is being played, which all do at the same time; only then may what is
    computed reach across. sent: bytes that this process has put into sums and gatherings so far.
    """

    def __init__(self, rank: int, count: int, local: int) -> None:
        self.rank = rank
        self.count = count
        self.local = local
        self.playing = False
        self.sent = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> Ranks:
        return self  # copies of networks that hold it play in the same process

    @property
    def restarts(self) -> bool:
        """Whether torchrun starts all of them again when one dies."""
        return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0

    @property
    def leads(self) -> bool:
        """Whether this process writes, shows and decides."""
        return self.rank == 0

    @contextmanager
    def turn(self) -> Iterator[None]:
        """A turn is played, by all of them."""
        self.playing = True
        try:
            yield
        finally:
            self.playing = False

    def share(self, rows: slice) -> slice:
        """This process's part of some rows of a batch."""
        return shares(rows, self.count)[self.rank]

    # --- tensors --------------------------------------------------------------------------------

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Make each tensor the sum of those of all processes, which bring the same shapes in the
        same order; the sums are the same to the bit everywhere."""
        waiting = []
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in bucket])
            self.sent += flat.nbytes
            with self._contact():
                waiting.append((bucket, flat, dist.all_reduce(flat, async_op=True)))
        for bucket, flat, work in waiting:
            with self._contact():
                cast(Any, work).wait()
            parts = torch.split(flat, [tensor.numel() for tensor in bucket])
            sums = [part.view(t.shape) for part, t in zip(parts, bucket, strict=True)]
            torch._foreach_copy_(list(bucket), sums)

    def whole(self, value: Any) -> Any:
        """The rows of all processes where a loss reads those of one, [N, ...] -> [N * count, ...];
        of tuples each part; anything else as it is. Differentiable, also twice."""
        if isinstance(value, tuple):
            return tuple(self.whole(part) for part in value)
        if not isinstance(value, Tensor):
            return value
        return cast(Tensor, _Gather.apply(value, self))

    def _sum(self, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        self.sent += total.nbytes
        with self._contact():
            dist.all_reduce(total)
        return total

    def _gather(self, tensor: Tensor) -> Tensor:
        parts = [torch.empty_like(tensor) for _ in range(self.count)]
        self.sent += tensor.nbytes
        with self._contact():
            dist.all_gather(parts, tensor)
        return torch.cat(parts)

    # --- words ----------------------------------------------------------------------------------

    def agree(self, *values: float) -> list[float]:
        """The largest that any process brings, for each of these numbers. All wait for it."""
        brought = torch.tensor([0.0, *values], dtype=torch.float64)
        with self._contact():
            dist.all_reduce(brought, dist.ReduceOp.MAX)
        return [float(value) for value in brought.tolist()[1:]]

    def broadcast(self, words: Mapping[str, Any]) -> None:
        """The leader sends all others something that JSON can hold."""
        text = torch.frombuffer(bytearray(json.dumps(words).encode()), dtype=torch.uint8)
        with self._contact():
            dist.broadcast(torch.tensor([text.numel()]), 0)
            dist.broadcast(text, 0)

    def receive(self) -> dict[str, Any]:
        """What the leader sent."""
        length = torch.zeros(1, dtype=torch.int64)
        with self._contact():
            dist.broadcast(length, 0)
            text = torch.empty(int(length), dtype=torch.uint8)
            dist.broadcast(text, 0)
        heard: dict[str, Any] = json.loads(bytes(text.tolist()))
        return heard

    def collect(self, text: str) -> list[str]:
        """The text of each process, in their order."""
        said = torch.frombuffer(bytearray(text.encode() or b"\0"), dtype=torch.uint8)
        lengths = self._gather(torch.tensor([said.numel()]))
        padded = torch.zeros(int(lengths.max()), dtype=torch.uint8)
        padded[: said.numel()] = said
        rows = self._gather(padded).view(self.count, -1)
        texts = (bytes(row[:n].tolist()) for row, n in zip(rows, lengths.tolist(), strict=True))
        return [text.decode().strip("\0") for text in texts]

    @contextmanager
    def _contact(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise Elsewhere(
                "another process of this run ended or could not be reached; the same command goes "
                f"on from the newest checkpoint ({str(error).splitlines()[0].strip()[:160]})"
            ) from error


@contextmanager
def joined() -> Iterator[Ranks | None]:
    """The processes that `torchrun` has started, until all of them are done; None where this is a
    process of its own. Raises GanforgeError where they cannot meet.

    Their connections last as long as the process: another run may use them, and to undo them was
    seen to end a process whose work was done by SIGABRT (gloo, PyTorch 2.14.1).
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield None
        return
    if not dist.is_available():
        raise GanforgeError("this build of PyTorch has no torch.distributed: run one process")
    if not dist.is_initialized():
        _meet()
    ranks = Ranks(dist.get_rank(), count, int(os.environ.get("LOCAL_RANK", "0")))
    try:
        yield ranks
        ranks.agree()  # so that nobody leaves while others still need it
    except Elsewhere:
        if not ranks.leads:
            _wait_for_the_leader(ranks)
        raise


def _meet() -> None:
    on_cuda = torch.cuda.is_available() and dist.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if on_cuda else "gloo"
    try:
        store, rank, count = next(rendezvous("env://"))
        # The store may outlive a restart, with the addresses of those that are gone.
        attempt = PrefixStore(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), store)
        dist.init_process_group(
            backend, store=attempt, rank=rank, world_size=count, timeout=_PATIENCE
        )
    except (RuntimeError, ValueError) as error:
        if "EADDRINUSE" in str(error) or "address already in use" in str(error).lower():
            raise GanforgeError(
                f"another program uses port {os.environ.get('MASTER_PORT')} of this machine, where "
                "the processes are to meet: let MASTER_PORT name another, or `torchrun "
                "--standalone` find one"
            ) from error
        raise GanforgeError(
            f"WORLD_SIZE is {os.environ['WORLD_SIZE']}, but the processes cannot meet: "
            f"{str(error).splitlines()[0]}; `torchrun --nproc-per-node N -m ganforge run RECIPE` "
            "starts them"
        ) from error


def _wait_for_the_leader(ranks: Ranks) -> None:
    """Stay until the leader has said why the run ended: when a process ends in error, torchrun ends
    the others."""
    try:
        ranks.agree()
    except Elsewhere:
        return


def shares(rows: slice, count: int) -> list[slice]:
    """Some rows of a batch in as many equal parts."""
    size = (rows.stop - rows.start) // count
    return [slice(rows.start + n * size, rows.start + (n + 1) * size) for n in range(count)]


def refuse_uneven(plan: Plan, ranks: Ranks) -> None:
    """Raises GanforgeError where the batch is no multiple of the processes, or of its parts."""
    batch, parts = plan.train.batch, plan.train.accumulate
    together = ranks.count * parts
    if batch % together:
        split = f" in {parts} parts each" if parts > 1 else ""
        below, above = batch // together * together, -(-batch // together) * together
        near = f"{below} or {above}" if below else f"{above}"
        raise GanforgeError(
            f"train.batch = {batch} does not divide among {ranks.count} processes{split}: "
            f"`--set train.batch={above}` does (multiples of {together}: {near})"
        )


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The tensors in their order, in groups of one kind that are not too large."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        alike = not bucket or (bucket[0].dtype, bucket[0].device) == (tensor.dtype, tensor.device)
        if bucket and (not alike or size + tensor.nbytes > _BUCKET):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.nbytes
    if bucket:
        yield bucket


# --- across the batch, with gradients -------------------------------------------------------------
# What one process's loss owes to another's rows comes back to these in the backward pass. Both are
# made of each other, so that they can be differentiated again.


class _Gather(torch.autograd.Function):
    """The rows of all processes, [N, ...] -> [N * count, ...]."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks._gather(rows.contiguous())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ranks: Ranks = ctx.ranks
        total = cast(Tensor, _Sum.apply(gradient, ranks))
        return total[ranks.share(slice(0, len(total)))], None


class _Sum(torch.autograd.Function):
    """The sum of the tensors of all processes."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        return ranks._sum(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return cast(Tensor, _Sum.apply(gradient, ctx.ranks)), None


# --- batch norm -----------------------------------------------------------------------------------


class WholeBatchNorm(_BatchNorm):
    """BatchNorm whose mean and variance are those of the whole batch, over all processes.

    torch's SyncBatchNorm runs on accelerators only, cannot be differentiated twice, as gradient
    penalties need it, and speaks to the others whenever it is in training mode; this one does in
    turns only.
    """

    ranks: Ranks | None = None

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least 2 dimensions, not {input.dim()}")

    def forward(self, input: Tensor) -> Tensor:
        """[N, C, ...] -> the same shape"""
        if not self.training or self.ranks is None or not self.ranks.playing:
            return super().forward(input)
        self._check_input_dim(input)
        rows = input.float()
        over = [0, *range(2, input.dim())]
        variance, mean = torch.var_mean(rows, over, correction=0)
        each = self.ranks.whole(torch.stack([mean, variance])[None])  # [processes, 2, C]
        mean = each[:, 0].mean(0)
        variance = each[:, 1].mean(0) + (each[:, 0] - mean).square().mean(0)
        self._remember(mean, variance, self.ranks.count * rows.numel() // rows.shape[1])
        shape = (1, -1, *[1] * (input.dim() - 2))
        scale = (variance + self.eps).rsqrt()
        scale = scale if self.weight is None else scale * self.weight
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        made: Tensor = rows * scale.view(shape) + shift.view(shape)
        return made.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, items: int) -> None:
        """Move the running statistics as BatchNorm does, by the variance without bias."""
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = self.momentum or 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        unbiased = variance * (items / max(1, items - 1))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)


def over_the_whole_batch(network: nn.Module, ranks: Ranks) -> None:
    """Let every BatchNorm of a network take its statistics from the rows of all processes."""
    made: dict[nn.Module, WholeBatchNorm] = {}
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm) and not isinstance(child, WholeBatchNorm):
                made[child] = made.get(child) or _whole(child, ranks)
                parent.register_module(name, made[child])


def _whole(norm: _BatchNorm, ranks: Ranks) -> WholeBatchNorm:
    """The same layer, with the same parameters and buffers."""
    made = WholeBatchNorm(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
    )
    made.weight, made.bias = norm.weight, norm.bias
    made.running_mean, made.running_var = norm.running_mean, norm.running_var
    made.num_batches_tracked = norm.num_batches_tracked
    made.ranks = ranks
    return made.train(norm.training)


def running_statistics(network: nn.Module) -> list[tuple[nn.Module, str]]:
    """The running means and variances that each process takes from its own rows: the layers, and
    the names of their buffers. Those of layers in eval mode stand still, in each the same."""
    norms = (m for m in network.modules() if isinstance(m, _NormBase) and m.track_running_stats)
    own = [norm for norm in norms if norm.training and not isinstance(norm, WholeBatchNorm)]
    return [(norm, name) for norm in own for name in ("running_mean", "running_var")]
