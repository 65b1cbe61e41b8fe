"""Tasks for the tests of workers, in a module of their own so that a worker process can import them."""

import os
import signal
import time

from alexkit.prep.build.workers import Beat


def count(job: int, beat: Beat, condemned: dict[int, str]) -> int:
    """Do `job` inputs; the number that were not condemned."""
    done = 0
    for i in range(job):
        beat(i)
        done += i not in condemned
    return done


def die_at_three(job: int, beat: Beat, condemned: dict[int, str]) -> dict[int, str]:
    """Input 3 kills whoever touches it."""
    for i in range(job):
        beat(i)
        if i == 3 and i not in condemned:
            os.kill(os.getpid(), signal.SIGKILL)
    return condemned


def hang_at_three(job: int, beat: Beat, condemned: dict[int, str]) -> dict[int, str]:
    """Input 3 never ends."""
    for i in range(job):
        beat(i)
        if i == 3 and i not in condemned:
            time.sleep(1000)
    return condemned


def die_somewhere(job: str, beat: Beat, condemned: dict[int, str]) -> None:
    """Kills its worker at another input each time; `job` is a file that counts."""
    with open(job, "a") as file:  # noqa: PTH123
        file.write("x")
    beat(os.path.getsize(job))  # noqa: PTH202
    os.kill(os.getpid(), signal.SIGKILL)


def take_memory(job: int, beat: Beat, condemned: dict[int, str]) -> int:
    """Take `job` bytes at once."""
    beat(0)
    return len(bytearray(job))


def fail(job: str, beat: Beat, condemned: dict[int, str]) -> None:
    """Raise what a full disk raises."""
    raise OSError(28, "No space left on device", job)


def slow_at_three(job: int, beat: Beat, condemned: dict[int, str]) -> dict[int, str]:
    """Input 3 takes three seconds."""
    for i in range(job):
        beat(i)
        if i == 3:
            time.sleep(3.0)
    return condemned
