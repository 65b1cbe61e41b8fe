"""Whether the kernels in this folder run on a device; imports Triton only where the device is a GPU."""

import functools
import logging

import torch

from .band import by_band
from .part import Part

logger = logging.getLogger(__name__)


@functools.cache
def kernels_run(device: torch.device) -> bool:
    """Whether Triton is installed and its kernels computed on `device` what they should; a warning says once why not.

    Triton comes with PyTorch's builds for CUDA, compiles for NVIDIA's cards from Ampere on (for older ones not what
    bfloat16 needs), and wants a C compiler for what calls its kernels.
    """
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    try:
        try_kernels(device)
        torch.cuda.synchronize(device)
    except Exception as error:  # of many kinds: no Triton, an older one, no compiler, no header files of Python
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        logger.warning("%s: Triton's kernels do not run (%s); torch's operations take their place", device, reason)
        return False
    return True


def try_kernels(device: torch.device) -> None:
    """Run every kernel once, in bfloat16; raises what Triton raises, RuntimeError for wrong numbers."""
    from .norm import normalize, normalize_gradient
    from .update import Update

    constants = (5, 0.1, 0.75, 2.0, 2, True)
    x_PC = torch.linspace(-3, 3, 16, device=device).view(2, 8).bfloat16()
    g_PC = x_PC.flip(0)
    for name, found, expected in (
        ("normalization", normalize(x_PC, constants), by_band(x_PC, None, constants)),
        ("its gradient", normalize_gradient(x_PC, g_PC, constants), by_band(x_PC, g_PC, constants)),
    ):
        if not torch.allclose(found.float(), expected.float(), rtol=2**-6, atol=1e-3):
            raise RuntimeError(f"the kernel of the {name} gave wrong numbers")
    w, v, g = (torch.tensor([number], device=device) for number in (3.0, 0.5, 2.0))
    copy = torch.zeros_like(w, dtype=torch.bfloat16)
    # v = 0.5 * 0.5 - 0.25 * 3 - 0.5 * 2 = -1.5, w = 3 + v: exact.
    Update()([Part(w, v, g.bfloat16(), copy, (0.5, -0.25, -0.5))])
    if [x.item() for x in (v, w, copy)] != [-1.5, 1.5, 1.5]:
        raise RuntimeError("the kernel of the update gave wrong numbers")
