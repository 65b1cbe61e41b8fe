"""Why inputs were quarantined, counted by kind."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..format.manifest import Quarantined

# What differs between two reasons of one kind: numbers, quoted content, and what stands in parentheses.
_DETAIL = re.compile(r"\(.*?\)|b?'[^']*'|b?\"[^\"]*\"|[\d.,]*\d")


@dataclass(frozen=True, kw_only=True, slots=True)
class CommonReason:
    """One kind of reason: how many inputs have it, and the first of them."""

    count: int
    """Inputs that were quarantined for it."""
    example: Quarantined
    """The first of them."""


def commonest_reasons(quarantined: Sequence[Quarantined], *, most: int = 3) -> list[CommonReason]:
    """The commonest kinds of reasons, at most `most` of them; reasons that differ in details only are one kind."""
    kinds: dict[str, list[Quarantined]] = {}
    for bad in quarantined:
        kinds.setdefault(_DETAIL.sub("…", bad.reason), []).append(bad)
    by_count = sorted(kinds.values(), key=len, reverse=True)  # stable: of equal counts the first seen
    return [CommonReason(count=len(bad), example=bad[0]) for bad in by_count[:most]]
