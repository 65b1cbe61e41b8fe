"""Shard sets on object stores: a verified cache on this machine, and which shards of it are mapped when."""

from .cache import ShardCache
from .mapped import RemoteShards
from .remote_set import RemoteSet, open_set

__all__ = ["RemoteSet", "RemoteShards", "ShardCache", "open_set"]
