"""Which device and which number format a run uses when nobody says."""

import os
from pathlib import Path

import torch


def choose_device(name: str) -> torch.device:
    """`auto` is a GPU of this process's own where there is one, else the CPU. ValueError for one that is not there."""
    if name == "auto":
        local = os.environ.get("LOCAL_RANK", "0")  # set by torchrun and `launch`
        name = f"cuda:{local}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"--device {name}: expected auto, cpu or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"--device {name}: expected auto, cpu or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"--device {name}: torch sees {torch.cuda.device_count()} GPUs here; use --device cpu")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the hardware multiplies it faster than float32, else float32."""
    if name == "auto":
        fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else _cpu_multiplies_bf16()
        return torch.bfloat16 if fast else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[name]


def _cpu_multiplies_bf16() -> bool:
    # Without matrix units bfloat16 is emulated: half the speed of float32 with AVX-512, measured.
    try:
        return "amx_bf16" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
