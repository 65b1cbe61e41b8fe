"""Worker tasks of the fuzz tests, in a module so that workers can import them by name."""

from alexkit.errors import InputError
from alexkit.prep.sources.parquet.rows import FileJob, read_rows
from alexkit.prep.workers import Heartbeat


def read_rows_or_refuse(job: FileJob, heartbeat: Heartbeat, poisoned: dict[int, str]) -> str:
    """Why a parquet file is refused; empty if it is read."""
    try:
        read_rows(job, heartbeat, poisoned)
    except InputError as error:
        return str(error)
    return ""
