"""Start the processes of a run on one machine and end them together; torchrun does the same for several machines."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType

from ...cores import num_cores
from ...prep.workers.parent import end_with_parent
from .stopping import heard_signals

NOTICE_S = 5.0  # for a process to notice that another has ended
GRACE_S = 15.0  # for a process to exit after SIGTERM


def launch(module: str, arguments: Sequence[str], num_processes: int) -> int:
    """Run `python -m module arguments` in `num_processes` connected processes and return the exit status.

    SIGTERM, SIGHUP and Ctrl-C are forwarded; if this process is killed, the others receive SIGTERM. If a process fails,
    the others are ended and its exit status is returned; if a signal killed it, ConnectionError names it.
    """
    environment = {
        **os.environ,
        "WORLD_SIZE": str(num_processes),
        "LOCAL_WORLD_SIZE": str(num_processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
    }
    # Processes that each use all cores wait for each other: measured at half the speed on two cores.
    environment.setdefault("OMP_NUM_THREADS", str(max(num_cores() // num_processes, 1)))
    processes: list[subprocess.Popen[bytes]] = []
    with ExitStack() as files:
        # Only the first process writes to stderr. The stderr of another one is shown if it was the first to fail.
        words = [None, *(files.enter_context(tempfile.TemporaryFile()) for _ in range(1, num_processes))]
        try:
            for rank in range(num_processes):
                own = {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                command = [sys.executable, "-m", module, *arguments]
                # Each in its own session, so that Ctrl-C reaches only this process, which forwards it.
                processes.append(
                    subprocess.Popen(
                        command,
                        env=own,
                        stderr=words[rank],
                        start_new_session=True,
                        preexec_fn=end_with_parent(os.getpid(), signal.SIGTERM),
                    )
                )
            with _passed_on(processes):
                failed = _wait(processes)
        finally:
            _end(processes)
        file = None if failed is None else words[failed]
        if file is not None:
            file.seek(0)
            sys.stderr.write(file.read().decode(errors="replace"))
    return 0 if failed is None else processes[failed].returncode


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait until all have ended or the first has failed; return the rank of the failed one, or None."""
    while True:
        codes = [process.poll() for process in processes]
        for rank, code in enumerate(codes):
            if code is not None and code < 0:
                raise ConnectionError(
                    f"process {rank} of {len(processes)} was killed by {signal.Signals(-code).name}; the others were "
                    "stopped too; run the same command again to continue from the last checkpoint"
                )
            if code:
                return rank
        if all(code == 0 for code in codes):
            return None
        time.sleep(0.05)


@contextmanager
def _passed_on(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    def pass_on(number: int, frame: FrameType | None) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in heard_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait for all to exit on their own, as they do when they lose another; end those that do not."""
    for seconds, make_end in ((NOTICE_S, subprocess.Popen.terminate), (GRACE_S, subprocess.Popen.kill)):
        deadline = time.monotonic() + seconds
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            time.sleep(0.05)
        for process in processes:
            if process.poll() is None:
                make_end(process)
    for process in processes:
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
