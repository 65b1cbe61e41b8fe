"""Which device and number format a run uses when nobody says; and the scale that keeps float16 from vanishing."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from ...cores import num_cores
from ...errors import InputError
from ...pipeline.arguments.device import find_device

GROWTH_STEPS = 2000


def choose_device(name: str) -> torch.device:
    """`auto` is a GPU of this process's own where there is one, else the CPU. InputError for one that is not there.

    Where torchrun or `launch` started several processes, `cuda` is this one's own too, and not the first for all.
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
    """`choose_device`, made ready before the first large tensor: a GPU is the current one, host memory has large pages.

    On a GPU, products of float32 are computed in float32 (see `use_precision`), and cuDNN and cuBLAS take algorithms
    that give the same bits every time. Torch is left no more threads than a container's quota pays for, unless
    OMP_NUM_THREADS says how many.

    Raises InputError like `choose_device`.
    """
    device = choose_device(name)
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when it starts
        torch.cuda.set_device(device)  # else contexts of NCCL and of default streams land on the first GPU
        _allow_tf32(False)
        torch.backends.cudnn.benchmark = False  # which chooses algorithms by the clock
        torch.backends.cudnn.deterministic = True
    # Read by torch at its first large allocation. A step frees and takes hundreds of MB, page by page.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    if "OMP_NUM_THREADS" not in os.environ and num_cores() < torch.get_num_threads():
        torch.set_num_threads(num_cores())  # by itself it looks at the affinity mask alone
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the hardware multiplies it faster than float32, else float32.

    float16, for GPUs that are older, is chosen by name alone: it needs a loss scale and may overflow. `tf32` is
    float32: how a GPU multiplies it is set by `use_precision`, for training.
    """
    if name == "auto":
        fast = (
            torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else _cpu_multiplies_bf16()
        )
        return torch.bfloat16 if fast else torch.float32
    return {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[name]


def use_precision(name: str, device: torch.device) -> torch.dtype:
    """`choose_precision` for training on `device`; also sets how this process's GPU multiplies float32.

    With `tf32` factors are rounded to 10 bits, with every other name products of float32 are float32's: torch by itself
    rounds in convolutions and not in matrix products.

    Raises InputError for `tf32` on a CPU, which has no such products.
    """
    if name == "tf32" and device.type != "cuda":
        raise InputError(f"training.precision tf32: only GPUs multiply so, but the device is {device}; choose fp32")
    if device.type == "cuda":
        _allow_tf32(name == "tf32")
    return choose_precision(name, device)


def precision_name(name: str, precision: torch.dtype) -> str:
    """What a recipe's `name` came to, in words: "tf32", or the dtype's name, "float32" for example."""
    return "tf32" if name == "tf32" else str(precision).removeprefix("torch.")


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


@dataclass(frozen=True, kw_only=True, slots=True)
class LossScale:
    """What the loss is multiplied by before the backward pass and the gradients are divided by after it.

    Powers of two, so that nothing but the range changes. float16 cannot hold gradients below 6e-8; its scale is halved
    when a gradient overflows, and doubled after `GROWTH_STEPS` steps without an overflow, of which `steps` are done.
    """

    factor: float = 1.0
    steps: int = 0

    @classmethod
    def of(cls, precision: torch.dtype) -> "LossScale":
        """The scale to start with: 1 for all but float16."""
        return cls(factor=2.0**16 if precision == torch.float16 else 1.0)

    def after_step(self) -> "LossScale":
        """The scale of the next step."""
        if self.factor == 1.0 or self.steps + 1 < GROWTH_STEPS:
            return LossScale(factor=self.factor, steps=self.steps + 1)
        return LossScale(factor=2 * self.factor)

    def after_overflow(self) -> "LossScale | None":
        """The scale to try the same step with again; None when no smaller one can help."""
        return LossScale(factor=self.factor / 2) if self.factor > 2.0 else None


def _cpu_multiplies_bf16() -> bool:
    # Without matrix units it does not pay, measured on whole steps: emulated it has half the speed of float32, and with
    # the dot products of AVX512-BF16 the same speed (11.1 and 10.6 images/s on two cores of an AMD EPYC).
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
