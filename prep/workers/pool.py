"""Worker processes that do whole jobs, watched: one that dies or hangs is replaced and its job done again.

A worker runs `task(job, heartbeat, poisoned)`. An input that makes a decoder crash every time, or use more CPU time
than any image needs, is given back to the job as poisoned, with the reason. What is no image's fault ends the run:
a source that does not answer, workers killed from outside.
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
# What multiprocessing gives for a worker whose fork server was killed, the only one that could tell.
UNKNOWN_CODE = 255
# When our looks lie so far apart we were stopped ourselves (Ctrl-Z, a sleeping machine): no source is to blame.
PAUSE_SECONDS = 2.0
# How a crashing decoder ends a process; SIGKILL and SIGTERM come from outside.
_CRASHES = frozenset((signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE))
# What workers import, loaded once in the server that they are forked from; by name, since this package knows no images.
_PRELOADED = [
    "alexkit.prep.build.pieces",
    "alexkit.prep.images.prepare",
    "alexkit.prep.images.running_sums",
    "cykooz_resizer",
]


class Task(Protocol[Job_contra, Result_co]):
    """A job's work; `poisoned` maps the numbers of inputs that must not be touched again to the reason."""

    def __call__(self, job: Job_contra, heartbeat: Heartbeat, poisoned: dict[int, str], /) -> Result_co: ...


@dataclass
class _Assignment(Generic[Job]):
    number: int
    job: Job
    poisoned: dict[int, str] = field(default_factory=dict)
    crashes: Counter[int] = field(default_factory=Counter)  # by input
    num_lost: int = 0  # workers that ended for no input's fault


class _Worker:
    def __init__(self, context: BaseContext) -> None:
        self.state = new_state(context)
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(  # type: ignore[attr-defined]
            target=_work, args=(theirs, self.state, Path.cwd(), _umask()), daemon=True
        )
        self.process.start()
        theirs.close()
        self.assignment: _Assignment[Any] | None = None

    @property
    def num_done(self) -> int:
        """Inputs of the current job that are done; NOTHING_YET before the first is read."""
        return int(self.state[0])

    @property
    def has_begun(self) -> bool:
        """Whether the process is past the import of the user's script."""
        return bool(self.state[4])

    def assign(self, task: Task[Any, Any], assignment: _Assignment[Any]) -> None:
        self.assignment = assignment
        self.state[:3] = NOTHING_YET, Phase.LOADING, time.monotonic()
        # A worker that died while idle is noticed by its sentinel, and the job is given out again.
        with contextlib.suppress(BrokenPipeError):
            self.connection.send((task, assignment.job, assignment.poisoned))

    def stop(self) -> None:
        self.process.kill()
        self.process.join(10)  # one that waits for a dead file server ends only when that answers
        self.connection.close()


class _Watch:
    """Which workers with a job have something to say, an answer or their own death: known without asking each."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def add(self, worker: _Worker) -> None:
        for file in (worker.connection, worker.process.sentinel):
            self._selector.register(file, selectors.EVENT_READ, worker)

    def remove(self, worker: _Worker) -> None:
        for file in (worker.connection, worker.process.sentinel):
            self._selector.unregister(file)

    def wait(self, seconds: float) -> list[_Worker]:
        """The workers that spoke, once each, as soon as there is one; none after `seconds`."""
        return list(dict.fromkeys(key.data for key, _ in self._selector.select(seconds)))

    def close(self) -> None:
        self._selector.close()


class KeptWorkers:
    """Worker processes that one run of jobs leaves to the next, so that only the first waits for them to start.

    For `with`, around runs in which working folder and umask stay the same; its end ends the processes.
    """

    def __init__(self) -> None:
        self._idle: list[_Worker] = []

    def __enter__(self) -> "KeptWorkers":
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self.take(len(self._idle)):
            worker.stop()

    def take(self, count: int) -> list[_Worker]:
        """Up to `count` idle workers, no longer kept; one that died since is found when it gets a job."""
        taken, self._idle = self._idle[:count], self._idle[count:]
        return taken

    def keep(self, worker: _Worker) -> None:
        """Keep an idle worker."""
        self._idle.append(worker)


def _new_worker(context: BaseContext) -> _Worker:
    """A started worker; when the server that it is forked from was killed, another server is begun."""
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
    """Let the libraries of workers be loaded while this process does something else; returns at once.

    `modules` are all that the workers' task imports; without any, those of preparing images.
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
    """Run every (job, number of its inputs) and yield (job, result) in the order of completion.

    Args:
        task: what a worker does with a job; importable by name.
        jobs: the jobs, each with the number of its inputs.
        num_workers: processes to start, at most one per job.
        on_progress: gets the inputs done so far.
        kept: gives workers that are there already, and gets them when all jobs are done.

    Raises InputError for less than one worker, and for a script that starts workers when they import it; what a task
    raises; ChildProcessError when one job loses three workers for reasons that are no input's fault; TimeoutError when
    a source does not answer.
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
            if looked - asked >= POLL_SECONDS:  # those that say nothing too: 192 workers are not asked at every answer
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
    """Processes are forked from a server that loaded the libraries once; where there can be none, they are spawned."""
    # The server listens at TMPDIR/pymp-XXXXXXXX/listener-XXXXXXXX, and the system takes no address of over 107 bytes.
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
    """Whether this worker died or hangs; notes in its assignment which input is to blame, if one is."""
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
    """InputError for a worker that ended by itself while it imported the user's script."""
    code = worker.process.exitcode
    if code is not None and 0 <= code != UNKNOWN_CODE and not worker.has_begun and main_path() is not None:
        raise main_failed(code)


def _exit_words(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with code {code}"


def _let_the_fork_server_end() -> None:
    """Close the pipe by which a worker would keep its fork server, and so itself, alive after their parent was killed.

    The server hands it to every worker, so that workers can start more of them; ours do not. There is no public way.
    """
    from multiprocessing import forkserver

    alive: int | None = forkserver._forkserver._forkserver_alive_fd  # type: ignore[attr-defined]
    if alive is not None:
        os.close(alive)
        forkserver._forkserver._forkserver_alive_fd = None  # type: ignore[attr-defined]


def _give_up_fork_server() -> None:
    """Wait until the fork server is dead and another one is begun.

    A killed process answers no more long before the system has taken its memory away, and until then multiprocessing
    takes it for alive. One that lives on without answering is killed.
    """
    from multiprocessing import forkserver

    pid: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    deadline = time.monotonic() + SERVER_END_SECONDS
    while pid is not None:
        forkserver.ensure_running()  # begins another one when it finds this one dead
        if forkserver._forkserver._forkserver_pid != pid:  # type: ignore[attr-defined]
            return
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)  # not reaped: the number is still its own
        time.sleep(0.01)


def _umask() -> int:
    """This process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _work(connection: Connection, state: Any, folder: Path, umask: int) -> None:
    """The life of a worker process. It works where its parent does now, and not where the fork server was started."""
    state[4] = True
    os.chdir(folder)
    os.umask(umask)
    # Ctrl-C reaches the whole process group; the parent decides what becomes of us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # On a fork server's end as on a parent's: the server ends when the process that started it does.
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
        except (BrokenPipeError, ConnectionResetError):  # given up by the parent, as after the fork server's end
            return
