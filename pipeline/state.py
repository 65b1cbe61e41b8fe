"""A loader's state: one position, and the settings that must match for it to mean the same batch."""

from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from ..prep import ShardSet
from .epochs.schedule import Schedule
from .sets import fingerprint

STATE_VERSION = 1
_OPTIONAL = ("sampling", "drop_last")
"""Absent from a state at their defaults, so that states saved before these options existed remain valid."""


def identity_of(shard_sets: Sequence[ShardSet], schedule: Schedule, sampling: str) -> dict[str, int | str]:
    """The settings that determine which batch a position means, as plain JSON."""
    identity: dict[str, int | str] = {
        "version": STATE_VERSION,
        "shard_set": fingerprint(shard_sets),
        "seed": schedule.seed,
        "num_samples": schedule.num_samples,
        "global_batch": schedule.global_batch,
        "order": schedule.order,
    }
    if sampling:
        identity["sampling"] = sampling
    if schedule.training and not schedule.drop_last:
        identity["drop_last"] = 0
    return identity


def position_in(state: Any, identity: dict[str, int | str], schedule: Schedule) -> int:
    """The position in a state. Raises InputError, naming the difference, if the identities differ."""
    if not isinstance(state, dict):
        raise InputError(f"loader state: expected the dict that state_dict() returned, got {state!r}")
    for name in dict.fromkeys([*identity, *(key for key in _OPTIONAL if key in state)]):
        if state.get(name) != (expected := identity.get(name)):
            raise InputError(
                f"loader state: {name} is {state.get(name)!r}, but this loader has {expected!r}; make the loader with "
                "the data and settings of the saved one"
            )
    position: Any = state.get("position")
    whole = isinstance(position, int) and not isinstance(position, bool)
    if not whole or position < 0 or position % schedule.epoch_samples % schedule.global_batch:
        raise InputError(f"loader state: position {position!r} is not the start of a batch")
    return int(position)
