"""The choice of a backend; each is imported only when it is needed."""

import numpy as np
from numpy.typing import NDArray

from ..augment.plan import PixelPlan
from .backend import Backend, BackendOptions


def new_backend(plan: PixelPlan, data: NDArray[np.uint8], options: BackendOptions) -> Backend:
    """The fastest backend: on a CPU the compiled step, unless the user adds operators.

    `data` holds the bytes of all stored images; it is not copied and must not change.
    """
    if options.device.type == "cuda":
        from .dali import DaliGpu

        return DaliGpu(plan, data, options)
    if options.operators is not None:
        from .dali import DaliCpu

        return DaliCpu(plan, data, options)
    from .compiled_cpu import CompiledCpu

    return CompiledCpu(plan, data, options)
