"""Monitored worker processes for whole jobs: one that dies or hangs is replaced and its job is run again.

A worker runs `task(job, heartbeat, poisoned)`. If an input crashes the decoder every time, or needs more CPU time than
any image should, the job is run again with that input in `poisoned`, with the reason. Failures that are not an image's
fault end the run: a source that does not respond, or workers killed from outside.
"""

import contextlib
import multiprocessing
import os
import selectors
import signal
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from ...errors import InputError
from .heartbeat import NOTHING_YET, Heartbeat, Phase, new_state
from .main_module import main_failed, main_path, refuse_while_main_is_imported
from .parent import end_with_parent

Job = TypeVar("Job")
Result = TypeVar("Result")
Job_contra = TypeVar("Job_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)

MAX_DEATHS = 3
MAX_READ_SECONDS = 300.0
POLL_SECONDS = 0.2
SERVER_END_SECONDS = 10.0
# multiprocessing's exit code for a worker whose fork server was killed: only the server knew the real one.
UNKNOWN_CODE = 255
# A longer gap between our polls means that this process was stopped (Ctrl-Z, a sleeping machine): no source hangs.
PAUSE_SECONDS = 2.0
# Signals by which a crashing decoder ends a process; SIGKILL and SIGTERM come from outside.
_CRASHES = frozenset((signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE))
# Modules that workers import, loaded once in the fork server; as strings, since this package does not depend on images.
_PRELOADED = [
    "alexkit.prep.build.pieces",
    "alexkit.prep.images.prepare",
    "alexkit.prep.images.running_sums",
    "cykooz_resizer",
]


class Task(Protocol[Job_contra, Result_co]):
    """The function that does a job; `poisoned` maps the numbers of inputs that must be skipped to the reason."""

    def __call__(self, job: Job_contra, heartbeat: Heartbeat, poisoned: dict[int, str], /) -> Result_co: ...


@dataclass
class _Assignment(Generic[Job]):
    number: int
    job: Job
    poisoned: dict[int, str] = field(default_factory=dict)
    crashes: Counter[int] = field(default_factory=Counter)  # by input
    num_lost: int = 0  # workers lost through no fault of an input


class _Worker:
    def __init__(self, context: BaseContext) -> None:
        self.state = new_state(context)
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(  # type: ignore[attr-defined]
            target=_work, args=(theirs, self.state, Path.cwd(), _umask(), dict(os.environ)), daemon=True
        )
        self.process.start()
        theirs.close()
        self.assignment: _Assignment[Any] | None = None

    @property
    def num_done(self) -> int:
        """Inputs of the current job that are done; NOTHING_YET until the first is read."""
        return int(self.state[0])

    @property
    def has_begun(self) -> bool:
        """Whether the process is past the import of the user's script."""
        return bool(self.state[4])

    def assign(self, task: Task[Any, Any], assignment: _Assignment[Any]) -> None:
        self.assignment = assignment
        self.state[:3] = NOTHING_YET, Phase.LOADING, time.monotonic()
        # If the worker died while idle, its sentinel tells us, and the job is assigned again.
        with contextlib.suppress(BrokenPipeError):
            self.connection.send((task, assignment.job, assignment.poisoned))

    def stop(self) -> None:
        self.process.kill()
        self.process.join(10)  # a process blocked on a dead file server ends only when the server responds
        self.connection.close()


class _Watch:
    """Waits for answers or deaths of the workers that have a job, without polling each of them."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add(self, worker: _Worker) -> None:
        for file in (worker.connection, worker.process.sentinel):
            self._selector.register(file, selectors.EVENT_READ, worker)

    def remove(self, worker: _Worker) -> None:
        for file in (worker.connection, worker.process.sentinel):
            self._selector.unregister(file)

    def wait(self, seconds: float) -> list[_Worker]:
        """The workers with an event, each once, as soon as there is one; empty after `seconds` without any."""
        return list(dict.fromkeys(key.data for key, _ in self._selector.select(seconds)))

    def close(self) -> None:
        self._selector.close()


class KeptWorkers:
    """Idle worker processes that successive `run_jobs` calls reuse, so that only the first waits for them to start.

    A context manager around calls that share working folder, umask and environment; on exit it stops the idle workers.
    """

    def __init__(self) -> None:
        self._idle: list[_Worker] = []

    def __enter__(self) -> "KeptWorkers":
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self.take(len(self._idle)):
            worker.stop()

    def take(self, count: int) -> list[_Worker]:
        """Remove and return up to `count` idle workers; one that has died is noticed when it gets a job."""
        taken, self._idle = self._idle[:count], self._idle[count:]
        return taken

    def keep(self, worker: _Worker) -> None:
        """Keep an idle worker."""
        self._idle.append(worker)


def _new_worker(context: BaseContext) -> _Worker:
    """Start a worker; if the fork server was killed, start another one."""
    for _ in range(MAX_DEATHS):
        try:
            return _Worker(context)
        except (EOFError, ConnectionError):
            _give_up_fork_server()
    raise ChildProcessError(
        f"no worker process could be started in {MAX_DEATHS} attempts; if memory is short, use fewer --workers; the "
        "same command continues"
    )


def start_ahead(*modules: str) -> None:
    """Start loading the workers' libraries in the background; returns immediately.

    `modules` are the modules that the workers' task imports; by default, those for preparing images.
    """
    context = _context()
    if context.get_start_method() == "forkserver":
        from multiprocessing.forkserver import ensure_running

        if modules:
            context.set_forkserver_preload(list(modules))
        ensure_running()


def run_jobs(
    task: Task[Job, Result],
    jobs: Iterable[tuple[Job, int]],
    *,
    num_workers: int,
    on_progress: Callable[[int], None],
    kept: KeptWorkers | None = None,
) -> Generator[tuple[Job, Result]]:
    """Run every (job, number of its inputs) and yield (job, result) in order of completion.

    Args:
        task: the function a worker calls for a job; importable by name.
        jobs: the jobs, each with the number of its inputs.
        num_workers: processes to use, at most one per job.
        on_progress: called with the number of inputs done so far.
        kept: supplies idle workers, and receives all workers when all jobs are done.

    Raises InputError for fewer than one worker, or if the script starts workers again when a worker imports it;
    whatever a task raises; ChildProcessError if one job loses three workers through no fault of an input, or if no
    worker can be started; TimeoutError if the source does not respond.
    """
    refuse_while_main_is_imported()
    if num_workers < 1:
        raise InputError(f"workers must be at least 1, got {num_workers}")
    looked = time.monotonic()
    all_jobs = list(jobs)
    queue = deque(_Assignment(number, job) for number, (job, _) in enumerate(all_jobs))
    num_done = 0
    context = _context()
    count, is_done = min(num_workers, len(queue)), False
    workers = kept.take(count) if kept is not None else []
    watch, asked = _Watch(), looked
    try:
        workers += [_new_worker(context) for _ in range(count - len(workers))]
        while queue or any(worker.assignment for worker in workers):
            for i, worker in enumerate(workers):
                if worker.assignment is None and queue:
                    if not worker.process.is_alive():
                        _raise_if_main_failed(worker)
                        worker.stop()
                        workers[i] = worker = _new_worker(context)
                    worker.assign(task, queue.popleft())
                    watch.add(worker)
            spoken = watch.wait(POLL_SECONDS)
            before, looked = looked, time.monotonic()
            if looked - before > PAUSE_SECONDS:
                for worker in workers:
                    worker.state[2] = looked
            if looked - asked >= POLL_SECONDS:  # also check silent workers, but not all of, say, 192 at every answer
                asked, spoken = looked, list(workers)
            for worker in spoken:
                assignment = worker.assignment
                if assignment is None:
                    continue
                answer = _receive(worker.connection)
                if answer is not None:
                    watch.remove(worker)
                    worker.assignment = None
                    num_done += all_jobs[assignment.number][1]
                    if isinstance(answer, BaseException):
                        raise answer
                    yield assignment.job, answer[0]
                elif _must_be_replaced(worker, assignment):
                    watch.remove(worker)
                    worker.stop()
                    workers[workers.index(worker)] = _new_worker(context)
                    queue.appendleft(assignment)
            on_progress(num_done + sum(max(0, worker.num_done) for worker in workers if worker.assignment))
        is_done = True
    finally:
        watch.close()
        for worker in workers:
            if is_done and kept is not None:
                kept.keep(worker)
            else:
                worker.stop()


def _context() -> BaseContext:
    """A context that forks workers from a server with the libraries loaded, or spawns them if that is impossible."""
    # The server listens at TMPDIR/pymp-XXXXXXXX/listener-XXXXXXXX, and socket addresses are limited to 107 bytes.
    is_too_long = len(os.fsencode(tempfile.gettempdir())) > 107 - len("/pymp-/listener-") - 2 * 8
    if is_too_long or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _receive(connection: Connection) -> Any:
    try:
        return connection.recv() if connection.poll() else None
    except (EOFError, ConnectionResetError):
        return None


def _must_be_replaced(worker: _Worker, assignment: _Assignment[Any]) -> bool:
    """Whether this worker died or hangs; records in its assignment which input is at fault, if any."""
    current = worker.num_done
    phase = Phase(int(worker.state[1]))
    if worker.process.is_alive():
        if phase != Phase.READING or time.monotonic() - worker.state[2] <= MAX_READ_SECONDS:
            return False
        assignment.num_lost += 1
        if assignment.num_lost == MAX_DEATHS:
            raise TimeoutError(
                f"the source does not respond: reading one input took more than {MAX_READ_SECONDS:.0f} s, {MAX_DEATHS} "
                "times; once it responds, the same command continues"
            )
        return True
    worker.process.join()
    _raise_if_main_failed(worker)
    code = worker.process.exitcode
    if code == -signal.SIGPROF:
        assignment.poisoned[current] = f"decoding takes more than {worker.state[3]:.0f} s of CPU time"
    elif code is not None and -code in _CRASHES and phase == Phase.DECODING:
        assignment.crashes[current] += 1
        if assignment.crashes[current] == MAX_DEATHS:
            assignment.poisoned[current] = f"its decoder crashes every time ({_exit_words(code)})"
    else:
        assignment.num_lost += 1
        if assignment.num_lost == MAX_DEATHS:
            raise ChildProcessError(
                f"one job lost {MAX_DEATHS} worker processes, the last one {_exit_words(code)}; if memory is short, "
                "use fewer --workers; the same command continues"
            )
    return True


def _raise_if_main_failed(worker: _Worker) -> None:
    """InputError if a worker exited, without a signal, while it imported the user's script."""
    code = worker.process.exitcode
    if code is not None and 0 <= code != UNKNOWN_CODE and not worker.has_begun and main_path() is not None:
        raise main_failed(code)


def _exit_words(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def _let_the_fork_server_end() -> None:
    """Close the pipe through which a worker would keep its fork server, and so itself, alive after the parent's death.

    Every worker inherits this pipe so that it can start more workers, which ours do not do. There is no public API.
    """
    from multiprocessing import forkserver

    alive: int | None = forkserver._forkserver._forkserver_alive_fd  # type: ignore[attr-defined]
    if alive is not None:
        os.close(alive)
        forkserver._forkserver._forkserver_alive_fd = None  # type: ignore[attr-defined]


def _give_up_fork_server() -> None:
    """Wait until the fork server is dead and another one has started.

    A killed process stops responding long before the system has freed its memory, and until then multiprocessing
    considers it alive. A server that stays alive without responding is killed.
    """
    from multiprocessing import forkserver

    pid: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    deadline = time.monotonic() + SERVER_END_SECONDS
    while pid is not None:
        forkserver.ensure_running()  # starts another server if this one is dead
        if forkserver._forkserver._forkserver_pid != pid:  # type: ignore[attr-defined]
            return
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)  # not yet reaped, so the PID cannot have been reused
        time.sleep(0.01)


def _umask() -> int:
    """This process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _work(connection: Connection, state: Any, folder: Path, umask: int, environment: dict[str, str]) -> None:
    """The main loop of a worker process.

    It works in its parent's current folder and environment, not in those in which the fork server started: credentials
    may have been set since.
    """
    state[4] = True
    os.chdir(folder)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
    # Ctrl-C reaches the whole process group; the parent decides when workers stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Our parent may be the fork server, which ends when the process that started it does.
    _let_the_fork_server_end()
    end_with_parent(os.getppid(), signal.SIGKILL)()
    heartbeat = Heartbeat(state)
    while True:
        try:
            task, job, poisoned = connection.recv()
        except EOFError:
            return
        try:
            answer: Any = (task(job, heartbeat, poisoned),)
        except Exception as error:
            answer = error
        try:
            connection.send(answer)
        except (BrokenPipeError, ConnectionResetError):  # abandoned by the parent, as after the fork server's death
            return
