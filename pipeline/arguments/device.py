"""Names of devices."""

import torch

from ...errors import InputError


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
