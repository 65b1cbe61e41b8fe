"""Which part of each global batch this process loads: passed by the caller, or taken from torch's launcher."""

import logging
import os
from typing import Any, Literal

import torch

from ...errors import InputError
from .values import whole_number

log = logging.getLogger(__name__)


def find_replica(
    replica: int | Literal["auto"], num_replicas: int | None, *, training: bool, batch_size: int
) -> tuple[int, int]:
    """The replica's index and the number of replicas.

    "auto" takes rank and world size from `torch.distributed` if it is initialized, else from RANK and WORLD_SIZE if
    both are set, else 0 of 1. With "auto", an evaluation always reads the whole set.

    Raises InputError for inconsistent numbers.
    """
    if isinstance(replica, str):
        if replica != "auto":
            raise InputError(f"replica must be 'auto' or a whole number, got {replica!r}")
        if num_replicas is not None:
            raise InputError(f"num_replicas is {num_replicas!r}, but no replica is given; give both or neither")
        rank, world = _launched() if training else (0, 1)
        if world > 1:
            log.info("replica %d of %d reads %d samples of every global batch", rank, world, batch_size)
        return rank, world
    total = 1 if num_replicas is None else whole_number("num_replicas", num_replicas, at_least=1)
    number = whole_number("replica", replica, at_least=0)
    if number >= total:
        raise InputError(f"replica must be in 0..num_replicas-1, got replica {number} of {total}")
    return number, total


def require_rank(found: tuple[int, int]) -> None:
    """Raise InputError if `torch.distributed`, initialized since "auto" was `found`, gives another rank or world size.

    Lightning, for example, starts its processes after the script has made its loaders.
    """
    if (now := _initialized()) not in (None, found):
        raise InputError(
            f"this loader was made before torch.distributed was initialized, as replica {found[0]} of {found[1]}, but "
            f"this is rank {now[0]} of {now[1]}; make it afterwards (under Lightning, in train_dataloader), or pass "
            "replica and num_replicas"
        )


def _initialized() -> tuple[int, int] | None:
    distributed: Any = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return None


def _launched() -> tuple[int, int]:
    if (now := _initialized()) is not None:
        return now
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return 0, 1
    try:
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    except ValueError:
        rank, world = -1, 0
    if not 0 <= rank < world:
        raise InputError(
            f"RANK is {os.environ['RANK']!r} and WORLD_SIZE {os.environ['WORLD_SIZE']!r} in the environment, expected "
            "whole numbers with 0 <= RANK < WORLD_SIZE; unset them or pass replica and num_replicas"
        )
    return rank, world
