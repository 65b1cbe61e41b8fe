"""An evaluation report: a folder with one offline page and the tables behind it."""

from .neighbors import TrainingNeighbors, compare_with_codes, find_neighbors, num_codes_seen
from .write import require_libraries, write_report

__all__ = [
    "TrainingNeighbors",
    "compare_with_codes",
    "find_neighbors",
    "num_codes_seen",
    "require_libraries",
    "write_report",
]
