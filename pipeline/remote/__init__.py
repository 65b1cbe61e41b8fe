"""Shard sets on object stores: a verified cache on this machine, and which shards of it are mapped when."""

from .cache import ShardCache
from .limits import cache_settings
from .mapped import RemoteShards
from .remote_set import RemoteSet

__all__ = ["RemoteSet", "RemoteShards", "ShardCache", "cache_settings"]
