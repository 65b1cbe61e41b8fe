"""glibc allocator settings for a command's own process: keep freed memory and reuse it.

A training step frees and allocates hundreds of megabytes. By default glibc returns large blocks to the kernel at once,
which hands them out again zeroed, page by page: ten thousand page faults and a second of system time per step. Only
commands change these settings, in their own process: a library does not change its host's allocator.
"""

import ctypes
import os

# From glibc's malloc.h. A trim threshold of -1 disables trimming.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
TOP_PAD_BYTES = 2**26
"""Requested from the kernel at a time, to make few calls; only pages that are written to count as used."""


def keep_freed_memory(device: str) -> bool:
    """Make glibc keep the memory that this process frees, if it computes on a CPU; return whether that was set.

    Args:
        device: As for training and evaluation: `auto`, `cpu` or `cuda:N`.

    Nothing changes with a C library other than glibc, or if environment variables already configure its allocator
    (`MALLOC_…_`, `GLIBC_TUNABLES`). A preloaded allocator such as jemalloc is not affected. Computed numbers do not
    depend on any of it.
    """
    if not _is_ours_to_set() or not _on_a_cpu(device):
        return False
    library = ctypes.CDLL(None)
    # Large blocks come from the heap instead of mmap; the heap does not shrink.
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, TOP_PAD_BYTES))
    return all([library.mallopt(option, value) == 1 for option, value in settings])


def _is_ours_to_set() -> bool:
    try:
        library = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, OSError, ValueError):  # Windows, or a C library that does not know the name
        return False
    tuned = "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", "")
    by_hand = any(name.startswith("MALLOC_") and name.endswith("_") for name in os.environ)
    return bool(library) and not tuned and not by_hand


def _on_a_cpu(device: str) -> bool:
    from ..model.network.precision import choose_device

    return choose_device(device).type == "cpu"
