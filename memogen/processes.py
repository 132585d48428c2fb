"""Several processes that work as one: which images each takes, what they exchange, and how they start and end together.

Processes are started by ``torchrun`` or ``accelerate launch``, whose environment variables are read here.
"""

from __future__ import annotations

import atexit
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor, nn

from memogen.errors import InputError

if TYPE_CHECKING:
    from torch._C._distributed_c10d import TCPStore

_PATIENCE = timedelta(hours=4)  # the other processes wait this long while the first one evaluates or writes
_MEETING = timedelta(minutes=10)  # all processes are there within this time of the first
_SILENCE, _REMINDER = 5.0, 60.0  # seconds until a process says what it waits for, and until it says so again
_BUCKET = 4 << 20  # bytes of gradients sent together: enough to use the bandwidth, few enough that the first are sent early


@dataclass(frozen=True)
class Share:
    """One process's part of one round: images ``start`` to ``start + num - 1``. ``counts`` holds the number of images of each process."""

    start: int
    num: int
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.counts)


@dataclass(frozen=True)
class Processes:
    """Which of how many processes this is; by default the only one. The process that ``leads`` prints and writes.

    All methods but :meth:`shares` must be called on every process, in the same order.
    """

    rank: int = 0
    world_size: int = 1

    @classmethod
    def joined(cls) -> Processes:
        """The processes of ``torch.distributed`` if it has been started, else one alone."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_available() and dist.is_initialized() else cls()

    @classmethod
    def announced(cls) -> Processes:
        """The processes of ``torch.distributed``, or those that a launcher has started and :meth:`launched` will join. Raises InputError."""
        joined = cls.joined()
        return cls(_whole("RANK"), launched_size()) if joined.world_size == 1 and launched_size() > 1 else joined

    @classmethod
    def launched(cls, *, cuda: bool = False) -> Processes:
        """The processes that a launcher has started, else one alone. Starts ``torch.distributed`` unless that was done; it ends when Python exits.

        ``cuda``: the processes exchange tensors on GPUs too. Call it before long work, for the others wait ten minutes and no longer. Raises
        InputError for processes that do not come, and where the launcher's environment is incomplete.
        """
        if launched_size() > 1 and not dist.is_initialized():
            rank, world_size = _whole("RANK"), launched_size()
            if not 0 <= rank < world_size:
                raise InputError(f"RANK is {rank}: WORLD_SIZE is {world_size}: number the processes from 0 to {world_size - 1}, as torchrun does")
            if not 0 < (port := _whole("MASTER_PORT")) < 1 << 16:
                raise InputError(f"MASTER_PORT is {port}: give the number of a free port, from 1 to 65535")
            store = _Meeting(rank, world_size, os.environ.get("MASTER_ADDR", "localhost"), port).held()
            backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
            dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=_PATIENCE)
            atexit.register(_part)
        return cls.joined()

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def shares(self, num: int, size: int) -> Iterator[Share]:
        """Rounds over images 0 to num - 1, with up to ``size`` images for each process.

        A process that has no image in the last round takes the last image again; :meth:`gather` drops it.
        """
        for first in range(0, num, size * self.world_size):
            counts = tuple(min(size, max(0, num - first - rank * size)) for rank in range(self.world_size))
            own = counts[self.rank]
            yield Share(first + self.rank * size if own else num - 1, own or 1, counts)

    def gather(self, rows: Shaped[Tensor, "b ..."], share: Share) -> Shaped[Tensor, "n ..."]:
        """The rows of all processes in this round, in the order of the images; with several processes they are on the CPU."""
        if self.world_size == 1:
            return rows
        size = max(share.counts)
        own = rows.detach().to(_meeting_place())[: share.counts[self.rank]]
        padded = torch.cat([own, own.new_zeros(size - len(own), *own.shape[1:])]).contiguous()
        parts = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, share.counts, strict=True)]).cpu()

    def any(self, flag: bool) -> bool:
        """True on every process if it is true on one."""
        if self.world_size == 1:
            return flag
        shared = torch.tensor(float(flag), device=_meeting_place())
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return bool(shared)

    def wait(self) -> None:
        """Wait until all processes have come here."""
        self.any(False)

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over the processes: one flat all-reduce for each dtype."""
        kinds: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors if self.world_size > 1 else ():
            kinds.setdefault(tensor.dtype, []).append(tensor)
        for same in kinds.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in same])
            dist.all_reduce(flat)
            _spread(flat.div_(self.world_size), same)

    @contextmanager
    def merging(self, parameters: Sequence[nn.Parameter]) -> Iterator[None]:
        """Around one backward pass: afterwards every gradient is its mean over the processes.

        Gradients are sent in buckets, those of the last parameters first, as soon as a bucket is complete and while the pass computes the others.
        """
        if self.world_size == 1:
            yield
            return
        sender = _Sender(_buckets(parameters))
        hooks = [parameter.register_post_accumulate_grad_hook(sender.arrived) for parameter in parameters]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
        sender.finish(self.world_size)

    def follow(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by that of rank 0."""
        for tensor in tensors if self.world_size > 1 else ():
            shared = tensor.contiguous()
            dist.broadcast(shared, src=0)
            tensor.copy_(shared)


def launched_size() -> int:
    """The number of processes that a launcher has started; 1 without one. Raises InputError."""
    size = _whole("WORLD_SIZE") if "WORLD_SIZE" in os.environ else 1
    if size < 1:
        raise InputError(f"WORLD_SIZE is {size}: it is the number of processes: leave it out for one alone")
    return size


def _whole(name: str) -> int:
    """A number of the launcher's environment."""
    word = os.environ.get(name, "")
    if not word.isdecimal():
        raise InputError(f"{name} is {word!r}: it must be a number: start the processes with torchrun, or set it as torchrun does")
    return int(word)


@dataclass(frozen=True)
class _Meeting:
    """Where the processes of a training meet: a store at ``host``:``port``, in which each counts itself. Process 0 opens it, or torchrun has."""

    rank: int
    world_size: int
    host: str
    port: int

    def held(self) -> TCPStore:
        """The store, as soon as all are there. Says on standard error what it waits for. Raises InputError."""
        store: TCPStore | None = None
        begun, word = time.monotonic(), _SILENCE
        while store is None or store.add("arrived", 0) < self.world_size:
            store = store or self._entered()
            waited = time.monotonic() - begun
            if waited > _MEETING.total_seconds():
                if store is not None:
                    store.add("arrived", -1)  # else the others would go on without this process when the last comes
                raise InputError(f"{self._missing(store)}: gave up after {waited:,.0f} s: start all processes at about the same time")
            if waited > word:
                print(f"memogen: {self._missing(store)}: waiting, {_MEETING.total_seconds() / 60:.0f} minutes at most", file=sys.stderr, flush=True)
                word += _REMINDER
            time.sleep(0.02)
        return store

    def _entered(self) -> TCPStore | None:
        """The store, in which this process has counted itself; None where nobody answers yet."""
        opens = self.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
        try:
            if not opens:
                socket.create_connection((self.host, self.port), timeout=1).close()
            store: TCPStore = dist.TCPStore(  # type: ignore[attr-defined]
                self.host, self.port, self.world_size, opens, _PATIENCE, wait_for_workers=False, multi_tenant=True
            )
        except OSError:
            return None
        except RuntimeError as error:
            raise InputError(f"{self._name}: {self.host}:{self.port} cannot be used ({error}): set another MASTER_ADDR and MASTER_PORT") from error
        if store.add(f"arrived {self.rank}", 1) > 1:
            raise InputError(f"{self._name}: another process at {self.host}:{self.port} has the same RANK: give each its own")
        store.add("arrived", 1)
        return store

    def _missing(self, store: TCPStore | None) -> str:
        """Who is not there, as far as it can be known."""
        if store is None:
            return f"{self._name}: nobody answers at {self.host}:{self.port} (MASTER_ADDR and MASTER_PORT), where process 0 must be"
        away = [str(rank) for rank in range(self.world_size) if not store.check([f"arrived {rank}"])]
        listed = ", ".join(away[:8]) + (", ..." if len(away) > 8 else "")
        return f"{self._name}: {self.world_size - len(away)} of {self.world_size} are at {self.host}:{self.port}, without process {listed}"

    @property
    def _name(self) -> str:
        return f"process {self.rank} of {self.world_size}"


def _buckets(parameters: Sequence[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The parameters from last to first, in lists of one dtype and of about :data:`_BUCKET` bytes."""
    buckets, size = list[list[nn.Parameter]](), 0
    for parameter in reversed(parameters):
        if not buckets or size >= _BUCKET or buckets[-1][0].dtype != parameter.dtype:
            buckets, size = [*buckets, []], 0
        buckets[-1].append(parameter)
        size += parameter.numel() * parameter.element_size()
    return buckets


class _Sender:
    """Sends the gradients bucket by bucket, in the same order on every process."""

    def __init__(self, buckets: list[list[nn.Parameter]]) -> None:
        self.waiting = [(bucket, {id(parameter) for parameter in bucket}) for bucket in buckets]
        self.sent: list[tuple[list[Tensor], Tensor, Any]] = []

    def arrived(self, parameter: Tensor) -> None:
        for _, missing in self.waiting:
            missing.discard(id(parameter))
        while self.waiting and not self.waiting[0][1]:
            self._send()

    def _send(self) -> None:
        bucket, _ = self.waiting.pop(0)
        gradients = [parameter.grad for parameter in bucket if parameter.grad is not None]
        if gradients:
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            self.sent.append((gradients, flat, dist.all_reduce(flat, async_op=True)))

    def finish(self, world_size: int) -> None:
        """Send the buckets that are left because of parameters without a gradient, and store all means."""
        while self.waiting:
            self._send()
        for gradients, flat, work in self.sent:
            work.wait()
            _spread(flat.div_(world_size), gradients)


def _spread(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    """Copy a flat tensor into others, one after another."""
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))


def _meeting_place() -> torch.device:
    """The device on which rows are exchanged: the CPU, unless the backend is NCCL alone, which works only on CUDA."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def _part() -> None:
    """End together: a process that closes its connections while another still uses them can make that one fail."""
    if not dist.is_initialized():
        return
    with suppress(RuntimeError, ValueError):  # a process that has died cannot be waited for; NCCL alone has no such barrier
        dist.monitored_barrier(timeout=timedelta(seconds=10))
    dist.destroy_process_group()
