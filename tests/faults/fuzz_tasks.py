"""What workers do in the fuzz tests: importable by name."""

from alexkit.errors import InputError
from alexkit.prep.sources.parquet.rows import FileJob, read_rows
from alexkit.prep.workers import Heartbeat


def read_rows_or_refuse(job: FileJob, heartbeat: Heartbeat, poisoned: dict[int, str]) -> str:
    """Why a parquet file is refused; nothing when it is read."""
    try:
        read_rows(job, heartbeat, poisoned)
    except InputError as error:
        return str(error)
    return ""
