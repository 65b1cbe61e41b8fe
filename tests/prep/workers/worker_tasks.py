"""Tasks for the tests of workers, in a module of their own so that a worker process can import them."""

import hashlib
import os
import signal
import time
from pathlib import Path

from alexkit.prep.workers import Heartbeat


def count(job: int, heartbeat: Heartbeat, poisoned: dict[int, str]) -> int:
    """Do `job` inputs; the number that were not poisoned."""
    done = 0
    for i in range(job):
        heartbeat(i)
        done += i not in poisoned
    return done


def bytes_of(job: int, heartbeat: Heartbeat, poisoned: dict[int, str]) -> bytes:
    """Five inputs, whose bytes depend on the job alone."""
    parts = []
    for i in range(5):
        heartbeat(i)
        parts.append(hashlib.sha256(f"{job} {i}".encode()).digest())
    return b"".join(parts)


def name_process(job: int, heartbeat: Heartbeat, poisoned: dict[int, str]) -> int:
    """The process that does it."""
    return os.getpid()


def name_folder(job: int, heartbeat: Heartbeat, poisoned: dict[int, str]) -> str:
    """Where it is done."""
    return str(Path.cwd())


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
    """Decoding input 3 never ends; the others wait longer than the limit, without computing."""
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
    """Killed from outside at input 3, each time; `job` is a file that counts."""
    with open(job, "a") as file:  # noqa: PTH123
        file.write("x")
    heartbeat(3)
    with heartbeat.decoding():
        os.kill(os.getpid(), signal.SIGKILL)


def read_for_ever(job: str, heartbeat: Heartbeat, poisoned: dict[int, str]) -> None:
    """The source does not answer; `job` is a file that counts."""
    with open(job, "a") as file:  # noqa: PTH123
        file.write("x")
    heartbeat(3)
    time.sleep(1000)


def write_slowly(job: int, heartbeat: Heartbeat, poisoned: dict[int, str]) -> dict[int, str]:
    """A disk that takes a second."""
    heartbeat(0)
    heartbeat.writing()
    time.sleep(1.0)
    return poisoned


def take_memory(job: tuple[int, ...], heartbeat: Heartbeat, poisoned: dict[int, str]) -> list[bool]:
    """Take each number of bytes at once, one after the other; whether it could be had."""
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
    """Raise what a full disk raises."""
    raise OSError(28, "No space left on device", job)


def read_three_slowly(job: int, heartbeat: Heartbeat, poisoned: dict[int, str]) -> dict[int, str]:
    """Reading input 3 takes three seconds."""
    for i in range(job):
        heartbeat(i)
        if i == 3:
            time.sleep(3.0)
    return poisoned
