"""Remarks on a source for the user: notes, and what was passed over, counted by reason."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock


@dataclass(kw_only=True, slots=True)
class PassedOver:
    """How many things were not read for one reason, and the alphabetically first of them."""

    count: int
    example: str


@dataclass(kw_only=True, slots=True)
class Remarks:
    """Remarks collected while a source is read; thread-safe."""

    notes: list[str] = field(default_factory=list)
    passed_over: dict[str, PassedOver] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    """Files beside the images that were read for their labels or names."""
    _lock: Lock = field(default_factory=Lock, repr=False, compare=False)

    def note(self, text: str) -> None:
        """Add `text` once."""
        with self._lock:
            if text not in self.notes:
                self.notes.append(text)

    def pass_over(self, what: str, where: str, count: int = 1) -> None:
        """Count `where` as not read; `what` describes such things in the plural."""
        with self._lock:
            if what in self.passed_over:
                passed = self.passed_over[what]
                passed.count, passed.example = passed.count + count, min(passed.example, where)
            else:
                self.passed_over[what] = PassedOver(count=count, example=where)

    def lines(self) -> Iterator[str]:
        """One line for each reason: `names that systems leave behind: 24, e.g. cat/Thumbs.db`."""
        for what, passed in sorted(self.passed_over.items()):
            count = "" if passed.count == 1 else f"{passed.count:,}, e.g. "
            yield f"{what}: {count}{passed.example}"
