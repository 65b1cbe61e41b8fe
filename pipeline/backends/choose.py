"""The choice of an implementation, each imported only where it is needed."""

import numpy as np
from numpy.typing import NDArray

from ..augment.plan import PixelPlan
from .backend import Backend, BackendOptions


def new_backend(plan: PixelPlan, data: NDArray[np.uint8], options: BackendOptions) -> Backend:
    """The fastest implementation: on a CPU the compiled step, unless a user's operators follow.

    `data` are the bytes of all stored images, which are not copied and must not change.
    """
    if options.device.type == "cuda":
        from .dali import DaliGpu

        return DaliGpu(plan, data, options)
    if options.operators is not None:
        from .dali import DaliCpu

        return DaliCpu(plan, data, options)
    from .compiled_cpu import CompiledCpu

    return CompiledCpu(plan, data, options)
