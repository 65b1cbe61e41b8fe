"""Quarantine reasons, counted by kind."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..format.manifest import Quarantined

# Details that vary within one kind of reason: numbers, quoted text, and text in parentheses.
_DETAIL = re.compile(r"\(.*?\)|b?'[^']*'|b?\"[^\"]*\"|[\d.,]*\d")


@dataclass(frozen=True, kw_only=True, slots=True)
class CommonReason:
    """One kind of reason, with the number of inputs it applies to and an example."""

    count: int
    """Inputs that were quarantined for it."""
    example: Quarantined
    """The first of these inputs."""


def commonest_reasons(quarantined: Sequence[Quarantined], *, most: int = 3) -> list[CommonReason]:
    """The `most` commonest kinds of reasons, or fewer; reasons that differ only in details are one kind."""
    kinds: dict[str, list[Quarantined]] = {}
    for bad in quarantined:
        kinds.setdefault(_DETAIL.sub("…", bad.reason), []).append(bad)
    by_count = sorted(kinds.values(), key=len, reverse=True)  # stable: equal counts stay in the order first seen
    return [CommonReason(count=len(bad), example=bad[0]) for bad in by_count[:most]]
