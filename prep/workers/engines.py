"""What runs jobs: processes of this machine, or a cluster. One more engine is one more function here."""

from collections.abc import Callable, Generator, Iterable
from typing import Literal, TypeVar, get_args

from ...errors import InputError
from .pool import Task, run_jobs
from .ray_engine import run_jobs_on_ray

Engine = Literal["local", "ray"]

Job = TypeVar("Job")
Result = TypeVar("Result")


def check_engine(engine: str) -> None:
    """InputError for what is no engine."""
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
    """Run every (job, number of its inputs) on an engine and yield (job, result) in the order of completion.

    Args:
        engine: `local` or `ray`.
        task: what a worker does with a job; importable by name.
        jobs: the jobs; on a cluster the paths in them must be the same folders on all nodes.
        num_workers: worker processes; on a cluster that runs already, its own number counts.
        on_progress: gets the inputs done so far.

    Raises what `run_jobs` and `run_jobs_on_ray` raise, and InputError for another engine.
    """
    check_engine(engine)
    run = run_jobs_on_ray if engine == "ray" else run_jobs
    return run(task, jobs, num_workers=num_workers, on_progress=on_progress)
