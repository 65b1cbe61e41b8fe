"""What our commands set for their own process: the C library's allocator, and signals while they exit."""

import json
import os
import signal
import subprocess
import sys

import pytest

from alexkit.cli.memory import keep_freed_memory

STEPS = """
import ctypes, json, resource, sys
import torch
from alexkit.cli.memory import keep_freed_memory

def step(size):  # takes and frees what a training step does: large tensors, the smaller ones while the larger are there
    kept = [torch.ones(size // n) for n in (1, 2, 3, 5)]
    return sum(float(one.sum()) for one in kept)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # no large pages where the system gives them unasked: they are few faults
torch.set_num_threads(1)
told = keep_freed_memory(sys.argv[1])
sums = [step(size) for size in (2**22, 2**23, 2**21)]
before, peak = faults(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(50):
    sums += [step(size) for size in (2**22, 2**23, 2**21)]  # training, and now and then an evaluation
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
print(json.dumps([told, (faults() - before) * resource.getpagesize() / 150, grown, sum(sums)]))
"""


def steps(device: str = "cpu", **variables: str) -> list[float]:
    """Whether the allocator was told, bytes faulted in a step, growth after three steps in kB, sum of results."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "THP_"))
    }
    environment |= variables
    command = [sys.executable, "-c", STEPS, device]
    shown = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    found: list[float] = json.loads(shown)
    return found


def has_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, OSError, ValueError):
        return False


@pytest.mark.skipif(not has_glibc(), reason="needs glibc")
def test_steps_use_the_memory_of_the_steps_before_and_take_no_more() -> None:
    told, faulted, grown_kb, result = steps()
    assert told and faulted < 2**19 and grown_kb < 2**16
    by_hand, many, _, same = steps(MALLOC_TRIM_THRESHOLD_="131072")
    assert not by_hand and many > 2**22  # the variable is left as it is set, and every step faults its tensors in
    assert result == same


@pytest.mark.parametrize("variable", ["MALLOC_MMAP_MAX_", "MALLOC_CHECK_", "GLIBC_TUNABLES"])
def test_an_allocator_that_was_set_by_hand_is_left_alone(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", None)  # not reached
    monkeypatch.setenv(variable, "glibc.malloc.trim_threshold=1" if variable == "GLIBC_TUNABLES" else "1")
    assert not keep_freed_memory("cpu")


@pytest.mark.parametrize("answer", [None, ValueError("unrecognized configuration name")])
def test_another_c_library_is_left_alone(answer: ValueError | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def confstr(name: str) -> None:
        if answer is not None:
            raise answer

    monkeypatch.setattr("ctypes.CDLL", None)
    monkeypatch.setattr("os.confstr", confstr)
    assert not keep_freed_memory("cpu")


EXITING = """
import atexit, os, signal, sys, time
import click
from alexkit.cli.terminal import one_line_errors

class Extension:
    def __del__(self):  # unloaded at exit
        print("unloading", flush=True)
        os.kill(os.getpid(), int(sys.argv[1]))
        time.sleep(10)
        print("unloaded", flush=True)

@click.command()
@click.argument("number")
@click.argument("end")
@one_line_errors
def command(number, end, **options):
    sys.modules["__main__"].extension = Extension()
    atexit.register(lambda: sys.modules["__main__"].__dict__.pop("extension"))
    if end == "error":
        raise OSError("no disk here")

command()
"""


@pytest.mark.parametrize("end", ["success", "error"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_exit_ends_the_process_without_a_traceback(number: signal.Signals, end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", EXITING, str(int(number)), end], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (-number, "unloading\n")
    assert done.stderr == ("" if end == "success" else "Error: no disk here\n")
