"""The memory of a process that belongs to one of our commands: what is freed is kept and used again.

A training step frees and takes hundreds of megabytes. The C library gives large pieces back to the system at once,
which hands them out again page by page and zeroed: ten thousand page faults and a second of system time in a step.
Only commands ask for this, for a process of their own: a library does not change the allocator of its host.
"""

import ctypes
import os

# From glibc's malloc.h. Trimming is switched off by -1.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
TOP_PAD_BYTES = 2**26
"""Taken from the system at once, so that few calls are made; only what is written to counts as used."""


def keep_freed_memory(device: str) -> bool:
    """Have the C library keep what this process frees, where it computes on a CPU; whether it was told so.

    Args:
        device: As for training and evaluation: `auto`, `cpu` or `cuda:N`.

    Nothing is changed beside another C library than glibc, and where variables of the environment set its allocator
    (`MALLOC_…_`, `GLIBC_TUNABLES`): whoever set them knows better. An allocator that was loaded before glibc's, such as
    jemalloc, is not touched by this. Torch's large pages are left off then, unless THP_MEM_ALLOC_ENABLE says otherwise.
    Numbers that are computed do not depend on any of it.
    """
    if not _is_ours_to_set() or not _on_a_cpu(device):
        return False
    # Large pages ask for pieces at multiples of 4096 bytes. The heap leaves gaps before those, small pieces go there,
    # and what is freed does not hold the same size again: a fifth more memory, growing for many steps.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "0")  # read by torch at its first large tensor
    library = ctypes.CDLL(None)
    # Large pieces come from the heap instead of maps of their own; the heap does not shrink.
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
