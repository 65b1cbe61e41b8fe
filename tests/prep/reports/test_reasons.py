"""Reasons are counted by kind, and every kind has an example."""

from alexkit.prep.format.manifest import Quarantined
from alexkit.prep.reports.reasons import commonest_reasons

REASONS = (
    "empty file",
    "not an image of a known format (it starts with b'<html>')",
    "file of 300000000 bytes, more than 268435456",
    "not an image of a known format (it starts with b'\\x00')",
    "file of 300000001 bytes, more than 268435456",
    "not an image of a known format (it starts with b'PK')",
    "cannot be read: Permission denied",
)


def test_the_three_commonest_kinds_come_first_with_an_example_each() -> None:
    found = commonest_reasons([Quarantined(source=f"a/{i}", reason=reason) for i, reason in enumerate(REASONS)])
    assert [(one.count, one.example.source) for one in found] == [(3, "a/1"), (2, "a/2"), (1, "a/0")]
    assert commonest_reasons([]) == []
