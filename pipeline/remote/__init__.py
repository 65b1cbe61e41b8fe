"""Shard sets in object stores: a verified cache on this machine, and which of its shards are mapped when."""

from .cache import ShardCache
from .face import cache_of, local_face
from .limits import FOLDER_VARIABLE, LIMIT_VARIABLE, cache_folder
from .mapped import RemoteShards
from .remote_set import RemoteSet, open_set
from .stored_images import StoredImages

__all__ = [
    "FOLDER_VARIABLE",
    "LIMIT_VARIABLE",
    "RemoteSet",
    "RemoteShards",
    "ShardCache",
    "StoredImages",
    "cache_folder",
    "cache_of",
    "local_face",
    "open_set",
]
