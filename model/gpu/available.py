"""Whether the kernels in this folder run on a device; imports Triton only where the device is a GPU."""

import functools
import logging

import torch

logger = logging.getLogger(__name__)


@functools.cache
def kernels_run(device: torch.device) -> bool:
    """Whether Triton is installed and one kernel ran on `device`; a warning says once why it did not.

    Triton comes with PyTorch's builds for CUDA, compiles for NVIDIA's cards from Ampere on (for older ones not what
    bfloat16 needs), and wants a C compiler for what calls its kernels.
    """
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    try:
        from .norm import normalize

        normalize(torch.ones(1, 1, device=device), (1, 1.0, 0.75, 1.0, 1, False))
    except Exception as error:  # of many kinds: no Triton, no compiler, no header files of Python
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        logger.warning("%s: Triton's kernels do not run (%s); torch's operations take their place", device, reason)
        return False
    return True
