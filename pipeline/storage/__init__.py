"""The stored bytes: a shard set's samples by index, and which of them are corrupt."""

from .corrupt import LEAST_BUDGET, CorruptSamples, find_undecodable
from .samples import Samples, Stored
from .shapes import stored_shapes

__all__ = ["LEAST_BUDGET", "CorruptSamples", "Samples", "Stored", "find_undecodable", "stored_shapes"]
