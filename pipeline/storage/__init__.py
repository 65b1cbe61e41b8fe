"""The stored bytes: a shard set's samples by index, and which of them are corrupt."""

from .corrupt import CorruptSamples
from .samples import Samples, Stored

__all__ = ["CorruptSamples", "Samples", "Stored"]
