"""Worker processes that do whole jobs, watched: one that dies or hangs is replaced and its job done again.

A worker runs `task(job, beat, condemned)`; `beat(n)` tells how far the job is and which input comes next. An input that
was the last thing `MAX_DEATHS` workers saw, dead or longer than `MAX_INPUT_SECONDS` at it, is given back to the job as
condemned, with a reason. Workers never outlive their parent.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, Protocol, TypeVar

from .parent import end_with_parent

Job = TypeVar("Job")
Result = TypeVar("Result")
Job_contra = TypeVar("Job_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)

MAX_DEATHS = 3
MAX_INPUT_SECONDS = 20.0
MAX_MEMORY_BYTES = 2**30  # for one input
POLL_SECONDS = 0.2
# We were stopped ourselves (Ctrl-Z, a sleeping machine) when our looks lie so far apart: no input is to blame for that.
PAUSE_SECONDS = 2.0
NOTHING_YET = -1

Beat = Callable[[int], None]
"""`beat(n)`: n inputs of this job are done, number n is next."""


class Task(Protocol[Job_contra, Result_co]):
    """A job's work; `condemned` maps the numbers of inputs that must not be touched again to the reason."""

    def __call__(self, job: Job_contra, beat: Beat, condemned: dict[int, str], /) -> Result_co: ...


@dataclass
class _Assignment(Generic[Job]):
    number: int
    job: Job
    condemned: dict[int, str] = field(default_factory=dict)
    losses: Counter[int] = field(default_factory=Counter)


class _Worker(Generic[Job, Result]):
    def __init__(self, task: Task[Job, Result]) -> None:
        context = multiprocessing.get_context("spawn")
        # Done inputs of the job, and the monotonic time of the last beat; one writer, and a torn read does no harm.
        self.beats = context.RawArray("d", 2)
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=_work, args=(task, theirs, self.beats, os.getpid()), daemon=True
        )
        self.process.start()
        theirs.close()
        self.assignment: _Assignment[Job] | None = None

    def assign(self, assignment: _Assignment[Job]) -> None:
        self.assignment = assignment
        self.beats[0], self.beats[1] = NOTHING_YET, time.monotonic()
        # A worker that died while idle is noticed by its sentinel, and the job is given out again.
        with contextlib.suppress(BrokenPipeError):
            self.connection.send((assignment.job, assignment.condemned))

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def run_jobs(
    task: Task[Job, Result],
    jobs: Iterable[tuple[Job, int]],
    *,
    num_workers: int,
    on_progress: Callable[[int], None],
) -> Generator[tuple[Job, Result]]:
    """Run every (job, number of its inputs) and yield (job, result) in the order of completion.

    `on_progress` gets the inputs done so far. An exception in a task is raised here. ChildProcessError when one job
    loses three workers at different inputs.
    """
    looked = time.monotonic()
    all_jobs = list(jobs)
    queue = deque(_Assignment(number, job) for number, (job, _) in enumerate(all_jobs))
    num_done = 0
    workers: list[_Worker[Job, Result]] = []
    try:
        workers += [_Worker(task) for _ in range(min(num_workers, len(queue)))]
        while queue or any(worker.assignment for worker in workers):
            for i, worker in enumerate(workers):
                if worker.assignment is None and queue:
                    if not worker.process.is_alive():
                        worker.stop()
                        workers[i] = worker = _Worker(task)
                    worker.assign(queue.popleft())
            busy = [worker for worker in workers if worker.assignment]
            multiprocessing.connection.wait(
                [worker.connection for worker in busy] + [worker.process.sentinel for worker in busy], POLL_SECONDS
            )
            before, looked = looked, time.monotonic()
            for i, worker in enumerate(workers):
                if looked - before > PAUSE_SECONDS:
                    worker.beats[1] = looked
                assignment = worker.assignment
                if assignment is None:
                    continue
                answer = _receive(worker.connection)
                if answer is not None:
                    worker.assignment = None
                    num_done += all_jobs[assignment.number][1]
                    if isinstance(answer, BaseException):
                        raise answer
                    yield assignment.job, answer[0]
                elif _must_be_replaced(worker, assignment):
                    worker.stop()
                    workers[i] = _Worker(task)
                    queue.appendleft(assignment)
            on_progress(num_done + sum(max(0, int(worker.beats[0])) for worker in workers if worker.assignment))
    finally:
        for worker in workers:
            worker.stop()


def _receive(connection: Connection) -> Any:
    try:
        return connection.recv() if connection.poll() else None
    except (EOFError, ConnectionResetError):
        return None


def _must_be_replaced(worker: _Worker[Job, Result], assignment: _Assignment[Job]) -> bool:
    """Whether this worker died or hangs; notes in its assignment which input is to blame."""
    current = int(worker.beats[0])
    if not worker.process.is_alive():
        worker.process.join()
        how = _exit_words(worker.process.exitcode)
        verdict = f"{MAX_DEATHS} workers died of it ({how})"
    # Before its first input a worker loads libraries, or hashes a whole shard: that may take what it takes.
    elif current != NOTHING_YET and time.monotonic() - worker.beats[1] > MAX_INPUT_SECONDS:
        how = f"stuck at one input for more than {MAX_INPUT_SECONDS:.0f} s"
        verdict = f"took more than {MAX_INPUT_SECONDS:.0f} s, {MAX_DEATHS} times"
    else:
        return False
    assignment.losses[current] += 1
    if assignment.losses[current] == MAX_DEATHS and current != NOTHING_YET:
        assignment.condemned[current] = verdict
    elif assignment.losses.total() - MAX_DEATHS * len(assignment.condemned) >= MAX_DEATHS:
        raise ChildProcessError(
            f"one job lost {MAX_DEATHS} worker processes, the last one {how}; is memory short or the disk slow? "
            "The same command continues, perhaps with fewer --workers"
        )
    return True


def _exit_words(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def _work(task: Task[Any, Any], connection: Connection, beats: Any, parent: int) -> None:
    """The life of a worker process."""
    # Ctrl-C reaches the whole process group; the parent decides what becomes of us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent, signal.SIGKILL)()
    limited = False

    def beat(done: int) -> None:
        nonlocal limited
        if not limited:  # by the first input the task has loaded its libraries, which do not count
            _limit_memory()
            limited = True
        beats[0], beats[1] = done, time.monotonic()
        if os.getppid() != parent:
            os._exit(1)

    while True:
        try:
            job, condemned = connection.recv()
        except EOFError:
            return
        try:
            answer: Any = (task(job, beat, condemned),)
        except Exception as error:
            answer = error
        connection.send(answer)


def _limit_memory() -> None:
    """Let the address space grow by one input's share over what the libraries already take."""
    if sys.platform == "linux":
        import resource

        with open("/proc/self/statm") as file:  # noqa: PTH123
            now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MAX_MEMORY_BYTES, resource.RLIM_INFINITY))
