"""Worker processes, the one way that preparation starts them: watched, replaced when they die, never outliving us."""

from .heartbeat import Heartbeat
from .parent import end_with_parent
from .pool import Task, run_jobs

__all__ = ["Heartbeat", "Task", "end_with_parent", "run_jobs"]
