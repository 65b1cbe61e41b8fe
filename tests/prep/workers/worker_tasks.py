"""Tasks for the worker tests, in their own module so that worker processes can import them."""

import hashlib
import os
import signal
import subprocess
import time
from pathlib import Path

from alexkit.prep.workers import Heartbeat


def count(job: int, heartbeat: Heartbeat, poisoned: dict[int, str]) -> int:
    """Process `job` inputs; return how many were not poisoned."""
    done = 0
    for i in range(job):
        heartbeat(i)
        done += i not in poisoned
    return done


def bytes_of(job: int, heartbeat: Heartbeat, poisoned: dict[int, str]) -> bytes:
    """Process five inputs; return bytes that depend only on the job."""
    parts = []
    for i in range(5):
        heartbeat(i)
        parts.append(hashlib.sha256(f"{job} {i}".encode()).digest())
    return b"".join(parts)


def name_process(job: int, heartbeat: Heartbeat, poisoned: dict[int, str]) -> int:
    """The id of the process that runs the task."""
    return os.getpid()


def name_folder(job: int, heartbeat: Heartbeat, poisoned: dict[int, str]) -> str:
    """The folder in which the task runs."""
    return str(Path.cwd())


def variable(job: str, heartbeat: Heartbeat, poisoned: dict[int, str]) -> str | None:
    """The value of an environment variable, as a started program sees it."""
    return subprocess.run(["printenv", job], capture_output=True, text=True).stdout.rstrip("\n") or None


def crash_at_three(job: int, heartbeat: Heartbeat, poisoned: dict[int, str]) -> dict[int, str]:
    """The decoder of input 3 crashes."""
    for i in range(job):
        heartbeat(i)
        if i not in poisoned:
            with heartbeat.decoding():
                if i == 3:
                    os.kill(os.getpid(), signal.SIGSEGV)
    return poisoned


def compute_at_three(job: int, heartbeat: Heartbeat, poisoned: dict[int, str]) -> dict[int, str]:
    """Decoding input 3 never ends; the others sleep longer than the CPU time limit without computing."""
    for i in range(job):
        heartbeat(i)
        if i not in poisoned:
            with heartbeat.decoding(cpu_seconds=0.3):
                if i != 3:
                    time.sleep(0.4)
                while i == 3:
                    pass
    return poisoned


def die_at_three(job: str, heartbeat: Heartbeat, poisoned: dict[int, str]) -> None:
    """Get killed at input 3 each time; `job` is a file that counts the attempts."""
    with open(job, "a") as file:  # noqa: PTH123
        file.write("x")
    heartbeat(3)
    with heartbeat.decoding():
        os.kill(os.getpid(), signal.SIGKILL)


def read_for_ever(job: str, heartbeat: Heartbeat, poisoned: dict[int, str]) -> None:
    """Hang as if the source did not answer; `job` is a file that counts the attempts."""
    with open(job, "a") as file:  # noqa: PTH123
        file.write("x")
    heartbeat(3)
    time.sleep(1000)


def write_slowly(job: int, heartbeat: Heartbeat, poisoned: dict[int, str]) -> dict[int, str]:
    """Write for one second, as to a slow disk."""
    heartbeat(0)
    heartbeat.writing()
    time.sleep(1.0)
    return poisoned


def take_memory(job: tuple[int, ...], heartbeat: Heartbeat, poisoned: dict[int, str]) -> list[bool]:
    """Allocate each number of bytes in turn and keep it; return whether each allocation succeeded."""
    had = []
    kept = []
    for i, num_bytes in enumerate(job):
        heartbeat(i)
        try:
            with heartbeat.decoding(memory_bytes=2**28):
                kept.append(bytearray(num_bytes))
            had.append(True)
        except MemoryError:
            had.append(False)
    return had


def fail(job: str, heartbeat: Heartbeat, poisoned: dict[int, str]) -> None:
    """Raise the error of a full disk."""
    raise OSError(28, "No space left on device", job)


def read_three_slowly(job: int, heartbeat: Heartbeat, poisoned: dict[int, str]) -> dict[int, str]:
    """Reading input 3 takes three seconds."""
    for i in range(job):
        heartbeat(i)
        if i == 3:
            time.sleep(3.0)
    return poisoned
