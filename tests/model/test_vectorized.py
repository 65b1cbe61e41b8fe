"""Compiled loops over many numbers use the processor's vector units."""

import platform
import re
from typing import Any

import pytest
from numba import float32, float64, int64, njit, uint16, void

from alexkit.model.evaluation.retrieval.refine import distance
from alexkit.model.training.update_kernels import sum_squares, update, update_rounded

LOOPS = {
    "update": (update, void(*[float32[::1]] * 3, *[float32] * 3, int64, int64)),
    "update_rounded": (update_rounded, void(*[float32[::1]] * 2, *[uint16[::1]] * 2, *[float32] * 3, int64, int64)),
    "sum_squares": (sum_squares, void(uint16[::1], float32[::1], int64, int64)),
    "distance": (distance, float64(float32[::1], float32[::1], float64)),
}


@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="its vector units are not known")
@pytest.mark.parametrize(("kernel", "signature"), LOOPS.values(), ids=LOOPS)
def test_a_loop_over_many_numbers_is_vectorized(kernel: Any, signature: Any) -> None:
    """An index that Numba may have to wrap, since it might be negative, prevents it or gathers number by number."""
    compiled = njit(signature, **kernel._options)(kernel._function)
    code = compiled.inspect_llvm(signature.args)
    assert re.search(r"load <\d+ x (float|i16)>", code) and "masked.gather" not in code
