"""The default device and precision of a run, and the loss scale that keeps float16 gradients from underflowing."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from ...cores import num_cores
from ...errors import InputError
from ...pipeline.arguments.device import find_device

GROWTH_STEPS = 2000


def choose_device(name: str) -> torch.device:
    """Choose a device; `auto` is this process's own GPU if there is one, otherwise the CPU.

    If torchrun or `launch` started several processes, `cuda` also means this process's own GPU, not the first for all.
    Raises InputError for a device that does not exist.
    """
    local = os.environ.get("LOCAL_RANK")  # set by torchrun and `launch`
    if name == "auto":
        name = f"cuda:{local or 0}" if torch.cuda.is_available() else "cpu"
    elif name == "cuda" and local is not None:
        name = f"cuda:{local}"
    try:
        return find_device(name)
    except ValueError as error:
        raise InputError(f"--{error}, or auto") from None


def use_device(name: str) -> torch.device:
    """Choose a device as `choose_device` does and set it up; call this before the first large tensor is allocated.

    A GPU becomes the current device, its float32 products are computed in float32 (see `use_precision`), and cuDNN and
    cuBLAS use deterministic algorithms. On the host, unless OMP_NUM_THREADS is set, torch uses no more threads than the
    container's CPU quota allows.

    Raises InputError as `choose_device` does.
    """
    device = choose_device(name)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when it starts
        torch.cuda.set_device(device)  # otherwise contexts of NCCL and of default streams are created on the first GPU
        _allow_tf32(False)
        torch.backends.cudnn.benchmark = False  # it chooses algorithms by timing them
        torch.backends.cudnn.deterministic = True
    if "OMP_NUM_THREADS" not in os.environ and num_cores() < torch.get_num_threads():
        torch.set_num_threads(num_cores())  # torch itself considers only the affinity mask
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Choose a dtype; `auto` is bfloat16 if the hardware multiplies it faster than float32, otherwise float32.

    float16, for older GPUs, is never chosen automatically: it needs a loss scale and may overflow. `tf32` gives
    float32; `use_precision` sets how the GPU multiplies it in training.
    """
    if name == "auto":
        fast = (
            torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else _cpu_multiplies_bf16()
        )
        return torch.bfloat16 if fast else torch.float32
    return {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def use_precision(name: str, device: torch.device) -> torch.dtype:
    """Choose a dtype for training as `choose_precision` does, and set how this process's GPU multiplies float32.

    With `tf32`, factors are rounded to 10 mantissa bits; with every other name, float32 products are full float32. (By
    default torch rounds in convolutions but not in matrix products.)

    Raises InputError for `tf32` on a CPU, which does not support it.
    """
    if name == "tf32" and device.type != "cuda":
        raise InputError(f"training.precision tf32: only GPUs support it, but the device is {device}; choose fp32")
    if device.type == "cuda":
        _allow_tf32(name == "tf32")
    return choose_precision(name, device)


def precision_name(name: str, precision: torch.dtype) -> str:
    """The name of the precision in use: "tf32", or the name of the dtype, for example "float32"."""
    return "tf32" if name == "tf32" else str(precision).removeprefix("torch.")


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


@dataclass(frozen=True, kw_only=True, slots=True)
class LossScale:
    """The factor by which the loss is multiplied before the backward pass and the gradients are divided after it.

    It is a power of two, so that only the range changes. float16 cannot represent gradients below 6e-8. Its scale is
    halved when a gradient overflows and doubled after `GROWTH_STEPS` steps without overflow, counted in `steps`.
    """

    factor: float = 1.0
    steps: int = 0

    @classmethod
    def of(cls, precision: torch.dtype) -> "LossScale":
        """The initial scale: 1 for everything except float16."""
        return cls(factor=2.0**16 if precision == torch.float16 else 1.0)

    def after_step(self) -> "LossScale":
        """The scale of the next step."""
        if self.factor == 1.0 or self.steps + 1 < GROWTH_STEPS:
            return LossScale(factor=self.factor, steps=self.steps + 1)
        return LossScale(factor=2 * self.factor)

    def after_overflow(self) -> "LossScale | None":
        """The scale with which to retry the step, or None if no smaller one can help."""
        return LossScale(factor=self.factor / 2) if self.factor > 2.0 else None


def _cpu_multiplies_bf16() -> bool:
    # It does not pay without matrix units, measured on whole steps: emulated bfloat16 has half the speed of float32,
    # and the dot products of AVX512-BF16 give the same speed (11.1 and 10.6 images/s on two cores of an AMD EPYC).
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
