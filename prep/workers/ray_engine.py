"""Jobs on a Ray cluster instead of on local worker processes; alexkit must be installed on all of its nodes.

A job that runs twice does no harm, so one that a node was lost with, or that takes far longer than the others (Ray
notices a cut cable after minutes), is given out again. Within a Ray task the same watched child process does the work
as locally, and stays for the next one.
"""

import logging
import os
import secrets
import statistics
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any, TypeVar

from ...errors import InputError
from ...extras import explained_imports
from .pool import KeptWorkers, Task, run_jobs

IN_FLIGHT_PER_SLOT = 2
SLOW_FACTOR = 3.0
"""A job that runs so many times longer than the median of the finished ones is given out once more."""
MIN_SLOW_SECONDS = 60.0
MAX_RETRIES = 4
"""How often a job whose worker died or whose node was lost is given out again, before the run ends."""
_POLL_SECONDS = 0.5
_LOOK_SECONDS = 5.0

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs_on_ray(
    task: Task[Job, Result],
    jobs: Iterable[tuple[Job, int]],
    *,
    num_workers: int,
    on_progress: Callable[[int], None],
    look: Callable[[Job], Result | None] = lambda job: None,
) -> Generator[tuple[Job, Result]]:
    """As `run_jobs`, on the cluster that the environment variable `RAY_ADDRESS` names, else on a local one.

    Args:
        task: what a worker does with a job; importable by name on all nodes.
        jobs: the jobs, each with the number of its inputs; the paths in them are the same folders on all nodes.
        num_workers: CPUs of the local cluster; of no meaning where `RAY_ADDRESS` names one.
        on_progress: gets the inputs of the finished jobs.
        look: the result of a job where that can be seen without Ray, as by its file; a node that was cut off may have
            done its work before nobody heard of it.

    Raises what a task raises, InputError for a job whose workers died every time, ConnectionError when no cluster
    answers, ImportError without Ray.
    """
    if num_workers < 1:
        raise InputError(f"workers must be at least 1, got {num_workers}")
    all_jobs = list(jobs)
    if not all_jobs:
        return
    ray = _started(num_workers)
    folder = Path.cwd()
    run_one = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_run_one)
    waiting = list(range(len(all_jobs)))[::-1]
    started: dict[Any, tuple[int, float]] = {}
    finished: set[int] = set()
    doubled: set[int] = set()
    seconds: list[float] = []
    looked = time.monotonic()
    try:
        while len(finished) < len(all_jobs):
            slots = max(1, int(ray.cluster_resources().get("CPU", 1)))
            while waiting and len(started) < IN_FLIGHT_PER_SLOT * slots:
                number = waiting.pop()
                started[run_one.remote(task, all_jobs[number], folder)] = number, time.monotonic()
            done, _ = ray.wait(list(started), num_returns=1, timeout=_POLL_SECONDS)
            for reference in done:
                number, begin = started.pop(reference)
                if number in finished:
                    continue
                result = _result(ray, reference)
                finished.add(number)
                seconds.append(time.monotonic() - begin)
                yield all_jobs[number][0], result
            if time.monotonic() - looked > _LOOK_SECONDS:
                looked = time.monotonic()
                for number, _ in list(started.values()):
                    if number not in finished and (seen := look(all_jobs[number][0])) is not None:
                        finished.add(number)
                        yield all_jobs[number][0], seen
            slow = max(MIN_SLOW_SECONDS, SLOW_FACTOR * statistics.median(seconds)) if seconds else float("inf")
            for number, begin in list(started.values()):
                if not waiting and number not in doubled | finished and time.monotonic() - begin > slow:
                    doubled.add(number)
                    started[run_one.remote(task, all_jobs[number], folder)] = number, time.monotonic()
            on_progress(sum(all_jobs[number][1] for number in finished))
    finally:
        for reference in started:
            ray.cancel(reference, force=True)


_kept = KeptWorkers()
"""The child of a process of Ray, which does one task after the other: its libraries are imported once."""


def _run_one(task: Task[Job, Result], job: tuple[Job, int], folder: Path) -> Result:
    """The work of one Ray task; relative paths are those of `folder`, on every node."""
    if Path.cwd() != folder:
        os.chdir(folder)
        for worker in _kept.take(1):
            worker.stop()
    ((_, result),) = run_jobs(task, [job], num_workers=1, on_progress=lambda done: None, kept=_kept)
    return result


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        # Between the first and the last line there may be a traceback.
        lines = str(error).strip().splitlines() or ["no details"]
        found = f"{type(error).__name__}: {' '.join(dict.fromkeys((lines[0].strip(), lines[-1].strip())))}"
        lost = (
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.NodeDiedError,
            ray.exceptions.OutOfMemoryError,
            ray.exceptions.ObjectLostError,
        )
        if isinstance(error, lost):
            raise InputError(
                f"a job was submitted {1 + MAX_RETRIES} times, and its worker or node died each time ({found}); "
                "if memory is short, give the nodes of the cluster fewer CPUs (ray start --num-cpus)"
            ) from None
        raise InputError(
            f"the Ray cluster could not run a job ({found}); finished shards are kept: repair the cluster and run "
            "the same command again"
        ) from None


def _started(num_workers: int) -> Any:
    """The library, connected to a cluster."""
    # Nothing is sent to Ray's makers; these variables are read when Ray is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_task_oom_retries", str(MAX_RETRIES))  # which Ray counts by themselves, without a limit
    is_local = not os.environ.get("RAY_ADDRESS")
    if is_local and os.environ.setdefault("RAY_AUTH_MODE", "token") == "token" and not _has_token():
        # Known to this process and its children, and in no file of the home, which later clusters would take for a
        # wish to be asked for it.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    with explained_imports():
        import ray
    if not ray.is_initialized():
        if address := os.environ.get("RAY_ADDRESS"):
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR)
            except ConnectionError:
                raise ConnectionError(
                    f"no Ray cluster answers at {address} (RAY_ADDRESS); where it asks for a token, set "
                    "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN as on its nodes"
                ) from None
        else:
            # A cluster for this run alone, reached by nobody else.
            ray.init(
                num_cpus=num_workers,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1",
            )
    return ray


def _has_token() -> bool:
    """Whether the environment holds a token."""
    return any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
