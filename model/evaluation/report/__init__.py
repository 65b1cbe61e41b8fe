"""An evaluation as a folder that people read: one offline page, and the tables behind it."""

from .neighbors import TrainingNeighbors, find_neighbors
from .write import require_libraries, write_report

__all__ = ["TrainingNeighbors", "find_neighbors", "require_libraries", "write_report"]
