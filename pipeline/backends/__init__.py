"""Backends, which compute the pixels of a batch: DALI on a GPU, the compiled CPU step, DALI on a CPU; a reference."""

from .backend import Backend, BackendError, BackendOptions
from .choose import new_backend

__all__ = ["Backend", "BackendError", "BackendOptions", "new_backend"]
