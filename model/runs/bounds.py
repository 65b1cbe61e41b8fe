"""Numbers that a recipe may hold: finite, and within the bounds of their key."""

from collections.abc import Mapping
from math import inf, isfinite

from ...errors import InputError


def require(key: str, value: float, *, at_least: float = -inf, above: float = -inf, below: float = inf) -> None:
    """Raise InputError naming `key` when its value is not a finite number with `at_least` <= value < `below`, or not
    larger than `above`.
    """
    if not isfinite(value):
        raise InputError(f"{key} must be a finite number, got {value}")
    for holds, words in (
        (value >= at_least, f"at least {at_least:g}"),
        (value > above, f"more than {above:g}"),
        (value < below, f"less than {below:g}"),
    ):
        if not holds:
            raise InputError(f"{key} must be {words}, got {value}")


def require_all(section: str, settings: object, bounds: Mapping[str, Mapping[str, float]]) -> None:
    """`require` of every field of `settings` that `bounds` names."""
    for name, limits in bounds.items():
        require(f"{section}.{name}", getattr(settings, name), **limits)
