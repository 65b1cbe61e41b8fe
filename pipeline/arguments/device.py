"""Names of devices, and what only some of them can do."""

from typing import Any

import torch

from ...errors import InputError
from .values import number


def find_device(name: str) -> torch.device:
    """The device "cpu", "cuda" (torch's current one) or "cuda:N"; InputError when it is not there."""
    try:
        device = torch.device(name) if isinstance(name, str) else None
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
    """The fraction of a batch's JPEGs for a GPU's JPEG unit, 0 to 1; InputError where a CPU is to have one."""
    load = number("hw_decoder_load", value, 0, 1)
    if load and device.type != "cuda":
        raise InputError(
            f"hw_decoder_load {load:g}: only GPUs have a JPEG unit, but device is {device}; leave it out, or decode on "
            "device='cuda'"
        )
    return load


def on_device(x: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the CPU, on `device`; the host does not wait for what the device is doing, nor for the copy.

    From pageable memory it would wait, whatever `non_blocking` says. torch reuses pinned memory only after the copy.
    """
    return x if device.type == "cpu" else x.pin_memory().to(device, non_blocking=True)
