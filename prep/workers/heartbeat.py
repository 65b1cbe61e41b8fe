"""A worker's progress reports, and the limits on CPU time and memory while it decodes.

Reading and decoding are separate phases: an image that exceeds the limits while it is decoded is at fault, but a source
that does not respond while it is read is not the image's fault.
"""

import os
import signal
import sys
import time
from enum import IntEnum
from typing import Any

if sys.platform != "win32":
    import resource

    _PAGE_BYTES = resource.getpagesize()

DECODE_CPU_SECONDS = 60.0
NOTHING_YET = -1
# Added to an image's predicted memory, for library buffers and the interpreter's own growth.
_MEMORY_MARGIN = 2**28


class Phase(IntEnum):
    """What a worker is doing."""

    LOADING = 0  # importing libraries, or hashing a whole shard: no time limit
    READING = 1
    DECODING = 2
    WRITING = 3


class Heartbeat:
    """A worker's reports to the process that monitors it; there is one writer, and a torn read is harmless."""

    def __init__(self, state: Any) -> None:
        self._state = state  # inputs done, Phase, monotonic time of the last report, CPU limit, has begun
        self._hard_limit = 0
        self._statm: int | None = None
        self.memory_is_short = False
        """Whether `ulimit -v` leaves less memory than decoding may use, so that running out is not an image's fault."""

    def __call__(self, num_done: int) -> None:
        """Report that `num_done` inputs of this job are done and that input `num_done` is read next."""
        self._report(num_done, Phase.READING)

    def writing(self) -> None:
        """Report that results are being written and no input is read or decoded until the next call."""
        self._report(int(self._state[0]), Phase.WRITING)

    def decoding(self, *, memory_bytes: int = 2**30, cpu_seconds: float = DECODE_CPU_SECONDS) -> "_Decoding":
        """A context manager that limits its block to `cpu_seconds` of CPU time and `memory_bytes` of additional memory.

        Exceeding the memory limit raises MemoryError; exceeding the CPU limit kills this process (SIGPROF).
        """
        return _Decoding(self, memory_bytes + _MEMORY_MARGIN, cpu_seconds)

    def begin_decoding(self, growth: int, cpu_seconds: float) -> None:
        """From now on, limit the address space to `growth` more bytes and CPU time to `cpu_seconds`."""
        self._report(int(self._state[0]), Phase.DECODING)
        if hasattr(signal, "setitimer"):
            self._state[3] = cpu_seconds
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
        if sys.platform == "linux":
            self._limit_memory(growth)

    def end_decoding(self) -> None:
        """Lift the CPU limit; the memory limit stays until the next input sets its own."""
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0)
        self.writing()

    def _report(self, num_done: int, phase: Phase) -> None:
        self._state[0], self._state[1], self._state[2] = num_done, phase, time.monotonic()

    def _limit_memory(self, growth: int) -> None:
        if self._statm is None:  # kept open, since this runs for every image
            self._statm = os.open("/proc/self/statm", os.O_RDONLY)
            self._hard_limit = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = int(os.pread(self._statm, 64, 0).split(maxsplit=1)[0]) * _PAGE_BYTES + growth
        self.memory_is_short = self._hard_limit != resource.RLIM_INFINITY and limit > self._hard_limit
        if self.memory_is_short:
            limit = self._hard_limit
        resource.setrlimit(resource.RLIMIT_AS, (limit, self._hard_limit))


class _Decoding:
    """The block in which one image is decoded."""

    def __init__(self, heartbeat: Heartbeat, growth: int, cpu_seconds: float) -> None:
        self._heartbeat, self._growth, self._cpu_seconds = heartbeat, growth, cpu_seconds

    def __enter__(self) -> None:
        self._heartbeat.begin_decoding(self._growth, self._cpu_seconds)

    def __exit__(self, *exception: object) -> None:
        self._heartbeat.end_decoding()


def new_state(context: Any) -> Any:
    """The shared array behind a `Heartbeat`."""
    return context.RawArray("d", [NOTHING_YET, Phase.LOADING, time.monotonic(), DECODE_CPU_SECONDS, False])
