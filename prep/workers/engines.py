"""Engines that run jobs: processes on this machine, or a cluster. A new engine is one more function here."""

from collections.abc import Callable, Generator, Iterable
from typing import Literal, TypeVar, get_args

from ...errors import InputError
from .pool import Task, run_jobs
from .ray_engine import run_jobs_on_ray

Engine = Literal["local", "ray"]

Job = TypeVar("Job")
Result = TypeVar("Result")


def check_engine(engine: str) -> None:
    """InputError for an unknown engine."""
    if engine not in get_args(Engine):
        raise InputError(f"engine must be one of {', '.join(get_args(Engine))}, got {engine!r}")


def run_jobs_by(
    engine: Engine,
    task: Task[Job, Result],
    jobs: Iterable[tuple[Job, int]],
    *,
    num_workers: int,
    on_progress: Callable[[int], None],
) -> Generator[tuple[Job, Result]]:
    """Run every (job, number of its inputs) on an engine and yield (job, result) in order of completion.

    Args:
        engine: `local` or `ray`.
        task: the function a worker calls for a job; importable by name.
        jobs: the jobs; on a cluster, their paths must be the same folders on all nodes.
        num_workers: worker processes; ignored on an existing cluster, which uses all of its CPUs.
        on_progress: called with the number of inputs done so far.

    Raises what `run_jobs` or `run_jobs_on_ray` raises, and InputError for an unknown engine.
    """
    check_engine(engine)
    run = run_jobs_on_ray if engine == "ray" else run_jobs
    return run(task, jobs, num_workers=num_workers, on_progress=on_progress)
