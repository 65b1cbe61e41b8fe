"""Worker processes for preparation: monitored, replaced when they die, and never outliving the process that uses them.

Preparation starts all of its worker processes here.
"""

from .engines import Engine, check_engine, run_jobs_by
from .heartbeat import Heartbeat
from .main_module import refuse_while_main_is_imported
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
    "refuse_while_main_is_imported",
    "run_jobs",
    "run_jobs_by",
    "run_jobs_on_ray",
    "start_ahead",
]
