"""Starts the processes of one machine and ends them together; torchrun does the same for several machines."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

GRACE_S = 20.0  # for a checkpoint to be written after SIGTERM, or for the others to notice a lost process


def launch(module: str, arguments: Sequence[str], num_processes: int) -> int:
    """Run `python -m module arguments` in `num_processes` processes that find each other; the exit status.

    SIGTERM and Ctrl-C are passed on once. Raises ConnectionError naming the process when one ends badly; the others
    are ended first.
    """
    environment = {
        **os.environ,
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
    }
    # Processes that all use all cores wait for each other: half the speed on two cores, measured.
    environment.setdefault("OMP_NUM_THREADS", str(max(len(os.sched_getaffinity(0)) // num_processes, 1)))
    processes = []
    for rank in range(num_processes):
        own = {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        # A session of their own: Ctrl-C reaches this process alone, which passes it on.
        processes.append(subprocess.Popen([sys.executable, "-m", module, *arguments], env=own, start_new_session=True))
    try:
        with _passed_on(processes):
            return _wait(processes)
    finally:
        _end(processes)


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    while True:
        codes = [process.poll() for process in processes]
        lost = [rank for rank, code in enumerate(codes) if code is not None and code < 0]
        if lost:
            number = -(codes[lost[0]] or 0)
            raise ConnectionError(
                f"process {lost[0]} of {len(processes)} was ended by {signal.Signals(number).name}; the others were "
                "stopped too, and the same command continues from the last checkpoint"
            )
        if all(code is not None for code in codes) or any(codes):
            # One that failed has said why; the others notice it and would only repeat it.
            return max(code or 0 for code in codes)
        time.sleep(0.05)


@contextmanager
def _passed_on(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + GRACE_S
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
