"""Check whether the kernels in this folder run on a device; Triton is imported only for GPUs."""

import functools
import logging

import torch

from .band import by_band
from .part import Part

logger = logging.getLogger(__name__)


@functools.cache
def kernels_run(device: torch.device) -> bool:
    """Whether Triton is installed and its kernels give correct results on `device`; if not, a warning says why, once.

    Triton comes with PyTorch's CUDA builds, supports bfloat16 on NVIDIA GPUs from Ampere on, and needs a C compiler for
    its kernel launchers. If memory is short, that says nothing about the kernels: the exception is raised, and the next
    call tries again.
    """
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    try:
        try_kernels(device)
        torch.cuda.synchronize(device)
    except Exception as error:  # may be anything: no Triton, an older one, no compiler, no Python headers
        if "out of memory" in str(error).lower():  # in the words of torch and of Triton
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        logger.warning("%s: Triton's kernels do not run (%s); using torch's operations instead", device, reason)
        return False
    return True


def try_kernels(device: torch.device) -> None:
    """Run every kernel once, in bfloat16. Raises Triton's exceptions, and RuntimeError for wrong results."""
    from .norm import normalize, normalize_gradient
    from .update import Update

    constants = (5, 0.1, 0.75, 2.0, 2, True)
    x_PC = torch.linspace(-3, 3, 16, device=device).view(2, 8).bfloat16()
    g_PC = x_PC.flip(0)
    for name, found, expected in (
        ("normalization", normalize(x_PC, constants), by_band(x_PC, None, constants)),
        ("normalization's gradient", normalize_gradient(x_PC, g_PC, constants), by_band(x_PC, g_PC, constants)),
    ):
        if not torch.allclose(found.float(), expected.float(), rtol=2**-6, atol=1e-3):
            raise RuntimeError(f"the kernel of the {name} gave wrong results")
    w, v, g = (torch.tensor([number], device=device) for number in (3.0, 0.5, 2.0))
    copy = torch.zeros_like(w, dtype=torch.bfloat16)
    # v = 0.5 * 0.5 - 0.25 * 3 - 0.5 * 2 = -1.5, w = 3 + v: exact.
    for held in (False, True):
        Update()([Part(w, v, g.bfloat16(), copy, (0.5, -0.25, -0.5))], torch.tensor(held, device=device))
    if [x.item() for x in (v, w, copy)] != [-1.5, 1.5, 1.5]:
        raise RuntimeError("the kernel of the update gave wrong results")
