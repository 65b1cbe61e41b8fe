"""Validation of user arguments: each error names the argument, what was found and what is allowed."""

import operator
from typing import Any, get_args

from ...errors import InputError


def whole_number(name: str, value: Any, *, at_least: int, at_most: int | None = None) -> int:
    """`value` as an int, if it is a Python or NumPy integer within the bounds, not a bool. Else raises InputError."""
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise InputError(f"{name} must be a whole number, got {value!r}") from None
    if number < at_least or (at_most is not None and number > at_most):
        raise InputError(f"{name} must be {_bounds(at_least, at_most)}, got {number}")
    return number


def number(name: str, value: Any, at_least: float, at_most: float) -> float:
    """`value` as a finite float, if it is within the bounds. Else raises InputError."""
    try:
        if isinstance(value, bool | str):
            raise TypeError
        found = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a number, got {value!r}") from None
    if not at_least <= found <= at_most:  # also for NaN
        raise InputError(f"{name} must be in {at_least:g}..{at_most:g}, got {value!r}")
    return found


def choice(name: str, value: Any, choices: Any) -> Any:
    """`value`, if it is one of the values of the `Literal` type `choices`. Else raises InputError."""
    allowed = get_args(choices)
    if not isinstance(value, str) or value not in allowed:
        raise InputError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
    return value


def flag(name: str, value: Any) -> bool:
    """`value`, if it is True or False. Else raises InputError."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False, got {value!r}")
    return value


def extensions(name: str, value: Any) -> tuple[str, ...]:
    """`value` as a tuple of file extensions without dots. Raises InputError for anything else, even a plain string."""
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise InputError(f"{name} must be a list of extensions such as ['json'], got {value!r}")
    found = tuple(value)
    for ext in found:
        if not isinstance(ext, str) or not ext or ext.startswith("."):
            raise InputError(f"{name} must hold extensions without a dot such as 'json', got {ext!r}")
    return found


def _bounds(low: int, high: int | None) -> str:
    if high is None:
        return f"at least {low}"
    return f"in {low}..{f'2**{high.bit_length()}-1' if high > 2**31 else high}"
