"""Worker processes, the one way that preparation starts them: watched, replaced when they die, never outliving us."""

from .engines import Engine, check_engine, run_jobs_by
from .heartbeat import Heartbeat
from .parent import end_with_parent
from .pool import KeptWorkers, Task, run_jobs, start_ahead
from .ray_engine import run_jobs_on_ray

__all__ = [
    "Engine",
    "Heartbeat",
    "KeptWorkers",
    "Task",
    "check_engine",
    "end_with_parent",
    "run_jobs",
    "run_jobs_by",
    "run_jobs_on_ray",
    "start_ahead",
]
