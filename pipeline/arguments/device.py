"""Device names, and options that only some devices support."""

from typing import Any

import torch

from ...errors import InputError
from .values import number


def find_device(name: str | torch.device) -> torch.device:
    """The device "cpu", "cuda" (torch's current one) or "cuda:N". Raises InputError if the machine does not have it."""
    try:
        device = torch.device(name) if isinstance(name, str | torch.device) else None
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name}: expected cpu or cuda:N")
    if device.type == "cpu":
        return device
    if (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name}: this machine has {torch.cuda.device_count()} GPUs; choose another device")
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)


def find_decoder_load(value: Any, device: torch.device) -> float:
    """The fraction of JPEGs for a GPU's hardware decoder, 0 to 1. Raises InputError if it is above 0 on a CPU."""
    load = number("hw_decoder_load", value, 0, 1)
    if load and device.type != "cuda":
        raise InputError(
            f"hw_decoder_load {load:g}: only GPUs have a hardware JPEG decoder, but device is {device}; omit it, or "
            "decode on device='cuda'"
        )
    return load


def on_device(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a CPU tensor to `device`. The host waits neither for the device's current work nor for the copy.

    A copy from pageable memory would wait despite `non_blocking`. torch reuses pinned memory only after the copy.
    """
    return pinned(x, device).to(device, non_blocking=True)


def pinned(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A CPU tensor that can be copied to `device` without waiting: pinned unless that is the CPU."""
    return x if device.type == "cpu" else x.pin_memory()
