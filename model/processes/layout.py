"""How many processes train one network, and what each of them holds, reads and reduces.

A replica is a whole network in one process, or in one process per column. Replicas see different local batches and sum
their gradients; the processes of one replica see the same images. Each of these decodes all of them: decoding 32 more
images takes one core 20 ms, while exchanging them over the loopback network took 200 ms.
"""

import json
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Literal, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.rendezvous import rendezvous

from ...errors import InputError
from ...pipeline.arguments.device import on_device
from ..network.columns import ColumnProcesses, Columns
from .torchrun import end_torchrun_later

TIMEOUT_VARIABLE = "ALEXKIT_TIMEOUT_S"
DEFAULT_TIMEOUT_S = 600.0  # longer than any checkpoint takes to write
# gloo raises plain RuntimeErrors whose messages name its source files or contain one of these.
GLOO_WORDS = ("gloo", "Application timeout", "Connection closed by peer")
# Words in NCCL's messages when another process or the connection to it is lost; otherwise this process's own call or
# GPU failed.
LOST_WORDS = ("remote", "timeout", "timed out", "connection", "peer", "socket", "abort")
ROLL_CALL_S = 3.0  # for all processes that lost another to report that they are alive


Request = Literal["save", "stop"]
REQUESTS: tuple[Request, ...] = get_args(Request)


class Layout:
    """One process with all columns: nothing to reduce.

    Any process may `request` that all of them save or stop together. Requests are sent with the next `add`, so they
    need no communication of their own.
    """

    rank = 0
    replica = 0
    num_replicas = 1
    processes_per_replica = 1

    def __init__(self, num_columns: int) -> None:
        self.columns = Columns(num_columns)
        self._asked: set[Request] = set()
        self._agreed: set[Request] = set()

    def request(self, what: Request) -> None:
        """Ask all processes to save, or to save and stop, after the current step."""
        self._asked.add(what)

    def agreed_requests(self) -> set[Request]:
        """The requests of any process up to the last sum read, the same in all of them; each is returned only once."""
        agreed, self._agreed = self._agreed, set()
        return agreed

    def add_gradients(self, network: nn.Module) -> None:
        """Replace every gradient with its sum over the replicas."""

    def add(self, numbers: Sequence[float]) -> list[float]:
        """Sum plain numbers over all processes; the result is the same in all of them."""
        asked, self._asked = self._asked, set()
        return self._noted(self._all_reduce([*numbers, *(float(what in asked) for what in REQUESTS)]))

    def _noted(self, sums_and_flags: list[float]) -> list[float]:
        """The sums, after noting which requests the flags at the end stand for."""
        *sums, save, stop = sums_and_flags
        self._agreed |= {what for what, count in zip(REQUESTS, (save, stop), strict=True) if count}
        return sums

    def add_on_device(self, numbers: Tensor) -> "DeviceSum":
        """Like `add`, of float64 numbers (N,) on this process's device, without waiting for them."""
        asked, self._asked = self._asked, set()
        flags = torch.tensor([float(what in asked) for what in REQUESTS], dtype=torch.float64)
        total = torch.cat([numbers, on_device(flags, numbers.device)])
        self._sum(total)
        return DeviceSum(self, total, numbers)

    def _all_reduce(self, numbers: list[float]) -> list[float]:
        return numbers

    def _sum(self, numbers: Tensor) -> None:
        """Sum `numbers` over all processes, in place."""

    def barrier(self) -> None:
        """Wait until all processes have reached this point."""

    def require_same(self, key: str, value: str) -> None:
        """Raise InputError in all processes if they pass different values for `key`; each key may be used once."""

    def whole(self, tensors: Iterable[tuple[str, Tensor]], sizes: dict[str, int]) -> dict[str, Tensor]:
        """Unsharded tensors by name, gathered from the processes' slices; `sizes` are their first dimensions."""
        return {name: self.columns.whole(x.detach(), sizes[name]) for name, x in tensors}

    @contextmanager
    def contact(self) -> Iterator[None]:
        """Turn the loss of a process into a ConnectionError; a single process has none to lose."""
        yield

    def close(self) -> None:
        """Leave the process group."""


class DeviceSum:
    """Numbers summed over all processes by `Layout.add_on_device`; a GPU may still be computing them."""

    def __init__(self, layout: Layout, total: Tensor, own: Tensor) -> None:
        self.sums = total[: len(own)]
        """The sums (N,), on the device."""
        self._layout, self._num = layout, len(own)
        self._read: tuple[list[float], list[float]] | None = None
        self._ready: torch.cuda.Event | None = None
        self._host = torch.cat([own, total]).to("cpu", non_blocking=True)  # from a GPU: into pinned memory
        if total.is_cuda:
            self._ready = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            self._ready.record(torch.cuda.current_stream(total.device))

    def read(self) -> tuple[list[float], list[float]]:
        """Wait for the device and return the sums and this process's own numbers; the first call notes the requests."""
        if self._read is None:
            if self._ready is not None:
                self._ready.synchronize()
            numbers: list[float] = self._host.tolist()
            self._read = self._layout._noted(numbers[self._num :]), numbers[: self._num]
        return self._read


class ProcessLayout(Layout):
    """This process as one of several, started by torchrun or by `launch`; the constructor joins the others.

    Each network is held by `processes_per_replica` processes: 1, or one per column. Raises InputError if the processes
    do not divide into such groups or if one was started with other `facts`, and ConnectionError if one does not join in
    time.
    """

    def __init__(
        self, num_columns: int, processes_per_replica: int, device: torch.device, facts: Mapping[str, str]
    ) -> None:
        super().__init__(num_columns)
        world = int(os.environ["WORLD_SIZE"])
        check_processes(world, processes_per_replica, num_columns)
        backend = "nccl" if device.type == "cuda" else "gloo"
        seconds = float(os.environ.get(TIMEOUT_VARIABLE, DEFAULT_TIMEOUT_S))
        timeout = timedelta(seconds=seconds)
        self.rank = int(os.environ["RANK"])
        try:
            self.store, rank, _ = next(rendezvous("env://", timeout=timeout))
            require_same(self.store, rank, world, {"--columns": str(processes_per_replica), **facts})
            if device.type == "cuda":
                card = str(torch.cuda.get_device_properties(device).uuid)
                require_own_cards(self.store, rank, world, card, str(device))
        except dist.DistError:
            raise ConnectionError(
                f"process {self.rank} of {world} could not connect to the others within {seconds:.0f} s; start all of "
                "them, with the same MASTER_ADDR and MASTER_PORT"
            ) from None
        dist.init_process_group(backend, store=self.store, rank=rank, world_size=world, timeout=timeout)
        grid = torch.arange(world).view(-1, processes_per_replica)
        # Not init_device_mesh: its groups have a timeout of thirty minutes, whatever that of the process group.
        groups = [_own_group(members, timeout) for members in (grid.T, grid)]
        mesh = DeviceMesh.from_group(groups, device.type, mesh=grid, mesh_dim_names=("replica", "column"))
        self.processes_per_replica = processes_per_replica
        self.num_replicas = world // processes_per_replica
        self.replica = self.rank // processes_per_replica
        self.replicas = mesh["replica"].get_group()
        self.device = device
        if processes_per_replica > 1:
            self.columns = ColumnProcesses(mesh["column"].get_group())

    def add_gradients(self, network: nn.Module) -> None:
        """Sum over the replicas; the sum, not the mean, since each loss is already divided by the whole batch."""
        if self.num_replicas == 1:
            return
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        pending = [dist.all_reduce(gradient, group=self.replicas, async_op=True) for gradient in gradients]
        for work in pending:
            work.wait()

    def _all_reduce(self, numbers: list[float]) -> list[float]:
        total = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        self._sum(total)
        result: list[float] = total.tolist()
        return result

    def _sum(self, numbers: Tensor) -> None:
        dist.all_reduce(numbers)

    def barrier(self) -> None:
        """Wait until all processes have reached this point."""
        self._all_reduce([0.0])

    def require_same(self, key: str, value: str) -> None:
        """See `Layout`."""
        require_same(self.store, self.rank, dist.get_world_size(), {key: value}, name=key)

    @contextmanager
    def contact(self) -> Iterator[None]:
        """Raise ConnectionError naming the processes that died, failed or did not answer in time.

        Other failures of NCCL raise ConnectionError with NCCL's own message.
        """
        try:
            yield
        except RuntimeError as error:
            if not isinstance(error, dist.DistError) and not any(words in str(error) for words in GLOO_WORDS):
                raise
            here = f"process {self.rank} of {dist.get_world_size()}"
            lines = [line for line in str(error).splitlines() if line.strip() not in ("", "Last error:")]
            words = lines[-1].strip() if lines else type(error).__name__
            is_own = isinstance(error, dist.DistBackendError) and not any(
                word in str(error).lower() for word in LOST_WORDS
            )
            silent = [] if is_own else self._silent()
            end_torchrun_later()
            if is_own:
                raise ConnectionError(f"{here}: {words}") from error
            if not silent:
                raise ConnectionError(
                    f"{here} lost the connection to the others, although all of them are alive: {words}; run the same "
                    "command again to continue from the last checkpoint"
                ) from error
            lost = ", ".join(f"process {rank}" for rank in silent)
            raise ConnectionError(
                f"{here} lost {lost}, which ended, failed or did not answer in time; run the same command again to "
                "continue from the last checkpoint"
            ) from error

    def _silent(self) -> list[int]:
        """The ranks that do not answer when every process that lost another reports its own rank."""
        silent = [rank for rank in range(dist.get_world_size()) if rank != self.rank]

        def call_out() -> None:
            nonlocal silent
            deadline = time.monotonic() + ROLL_CALL_S
            try:
                self.store.set(f"still-there-{self.rank}", "")
                while silent and time.monotonic() < deadline:
                    time.sleep(0.1)
                    silent = [rank for rank in silent if not self.store.check([f"still-there-{rank}"])]
            except RuntimeError:
                # Process 0 hosts the store, so it is the lost one, unless it answered and then left.
                silent = [0] if 0 in silent else silent

        # If process 0 hangs, the store does not answer and has no timeout for that, so ask in a thread.
        thread = threading.Thread(target=call_out, daemon=True)
        thread.start()
        thread.join(ROLL_CALL_S + 2.0)
        return [0] if thread.is_alive() and self.rank else silent

    def close(self) -> None:
        """Leave the process group."""
        dist.destroy_process_group()


def _own_group(members: Tensor, timeout: timedelta) -> dist.ProcessGroup:
    """This process's group when the world is divided into the rows of `members`; all processes must call this."""
    own, _ = dist.new_subgroups_by_enumeration(members.tolist(), timeout=timeout)  # type: ignore[no-untyped-call]
    assert isinstance(own, dist.ProcessGroup)
    return own


def check_processes(world: int, processes_per_replica: int, num_columns: int) -> None:
    """Raise InputError if `world` processes do not divide into networks, or the columns not among the processes."""
    if processes_per_replica not in (1, num_columns):
        raise InputError(
            f"--columns {processes_per_replica}: this network has {num_columns} column{'s' * (num_columns > 1)}; use "
            "--columns 1, or a recipe of a two-column network"
        )
    if world % processes_per_replica:
        raise InputError(
            f"{world} processes do not divide into networks of {processes_per_replica}; start a multiple of "
            f"{processes_per_replica}, or keep the columns in one process with --columns 1"
        )


def require_same(store: Any, rank: int, world: int, facts: Mapping[str, str], *, name: str = "facts") -> None:
    """Raise InputError in all processes if one has other facts, naming the first key that differs and both values.

    `name` is that of this exchange in the store; each serves once.
    """
    store.set(f"{name}-{rank}", json.dumps(dict(facts)))
    first: dict[str, str] = json.loads(store.get(f"{name}-0"))
    for other in range(1, world):
        theirs: dict[str, str] = json.loads(store.get(f"{name}-{other}"))
        for key in first | theirs:
            if first.get(key) != theirs.get(key):
                raise InputError(
                    f"the processes of this run differ in {key}: {first.get(key, 'nothing')} in process 0, "
                    f"{theirs.get(key, 'nothing')} in process {other}; start all with the same command, data and "
                    "versions"
                )


def require_own_cards(store: Any, rank: int, world: int, card: str, device: str) -> None:
    """Raise InputError in all processes if two share a GPU. `card` is its UUID, `device` its name in this process."""
    store.set(f"card-{rank}", json.dumps([card, device]))
    owners: dict[str, int] = {}
    for other in range(world):
        card, device = json.loads(store.get(f"card-{other}"))
        if (owner := owners.setdefault(card, other)) != other:
            raise InputError(
                f"processes {owner} and {other} are both on {device} (GPU {card}); omit --device, so that each process "
                "takes its own GPU, and start no more processes than there are GPUs"
            )


def make_layout(
    num_columns: int, processes_per_replica: int, device: torch.device, facts: Mapping[str, str] | None = None
) -> Layout:
    """The layout of this process, from torchrun's environment variables if they are set, otherwise a single process.

    `facts` must be the same in all processes; see `require_same`.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        check_processes(1, processes_per_replica, num_columns)
        return Layout(num_columns)
    return ProcessLayout(num_columns, processes_per_replica, device, facts or {})
