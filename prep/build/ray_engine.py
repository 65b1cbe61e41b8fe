"""Jobs on a Ray cluster instead of on local worker processes; alexkit must be installed on all of its nodes.

A job's result is a file, so a job that runs twice does no harm: one that a node was lost with, or that takes far longer
than the others (Ray notices a cut cable after minutes), is given out again. Within a Ray task the same watched child
process does the work as locally.
"""

import logging
import os
import statistics
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..workers import run_jobs
from .part import PartJob, PartSummary, write_part

IN_FLIGHT_PER_SLOT = 2
SLOW_FACTOR = 3.0
"""A job that runs so many times longer than the median of the finished ones is given out once more."""
MIN_SLOW_SECONDS = 60.0
_POLL_SECONDS = 0.5


def write_on_ray(
    jobs: Sequence[PartJob], *, num_workers: int, on_progress: Callable[[int], None]
) -> Generator[PartSummary]:
    """As `write_shards`, on the cluster that the environment variable `RAY_ADDRESS` names, else on a local one.

    Args:
        jobs: the shards to write and where their parts go; on all nodes these are the same folders.
        num_workers: CPUs of the local cluster; of no meaning where `RAY_ADDRESS` names one.
        on_progress: gets the inputs of the finished shards.

    Raises what a job raises, ConnectionError when no cluster answers, ImportError without Ray.
    """
    if num_workers < 1:
        raise InputError(f"workers must be at least 1, got {num_workers}")
    ray = _started(num_workers)
    folder = Path.cwd()
    write_one = ray.remote(num_cpus=1, max_retries=-1)(_write_one)
    waiting = list(range(len(jobs)))[::-1]
    started: dict[Any, tuple[int, float]] = {}
    finished: set[int] = set()
    doubled: set[int] = set()
    seconds: list[float] = []
    try:
        while len(finished) < len(jobs):
            slots = max(1, int(ray.cluster_resources().get("CPU", 1)))
            while waiting and len(started) < IN_FLIGHT_PER_SLOT * slots:
                number = waiting.pop()
                started[write_one.remote(jobs[number], folder)] = number, time.monotonic()
            done, _ = ray.wait(list(started), num_returns=1, timeout=_POLL_SECONDS)
            for reference in done:
                number, begin = started.pop(reference)
                result = _result(ray, reference)
                if number in finished:
                    continue
                finished.add(number)
                seconds.append(time.monotonic() - begin)
                yield result
            slow = max(MIN_SLOW_SECONDS, SLOW_FACTOR * statistics.median(seconds)) if seconds else float("inf")
            for number, begin in list(started.values()):
                if not waiting and number not in doubled | finished and time.monotonic() - begin > slow:
                    doubled.add(number)
                    started[write_one.remote(jobs[number], folder)] = number, time.monotonic()
            on_progress(sum(len(jobs[number].shard.images) for number in finished))
    finally:
        for reference in started:
            ray.cancel(reference, force=True)


def _write_one(job: PartJob, folder: Path) -> PartSummary:
    """The work of one Ray task; relative paths are those of `folder`, on every node."""
    os.chdir(folder)
    jobs = [(job, len(job.shard.images))]
    ((_, summary),) = run_jobs(write_part, jobs, num_workers=1, on_progress=lambda done: None)
    return summary


def _result(ray: Any, reference: Any) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None


def _started(num_workers: int) -> Any:
    """The library, connected to a cluster."""
    # Nothing is sent to Ray's makers; the variable is read when Ray starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise ImportError("the engine ray needs Ray: pip install 'alexkit[ray]'") from error
    if not ray.is_initialized():
        if os.environ.get("RAY_ADDRESS"):
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
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
