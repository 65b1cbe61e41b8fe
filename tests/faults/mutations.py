"""File mutations, chosen and shrunk by Hypothesis: of bytes, and of single JSON values."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alexkit.errors import InputError

Mutation = tuple[int, int, bytes]

# Position, number of bytes removed, and bytes inserted there.
MUTATIONS = st.lists(
    st.tuples(st.integers(0, 2**20), st.sampled_from([0, 1, 2, 4, 512]), st.binary(max_size=8)), min_size=1, max_size=4
)
PROFILES = [
    pytest.param(120, id="quick"),
    pytest.param(1000, id="long", marks=pytest.mark.slow),
]


def mutated(content: bytes, mutations: list[Mutation]) -> bytes:
    for position, length, new in mutations:
        position %= len(content) + 1
        content = content[:position] + new + content[position + length :]
    return content


def fuzz(content: bytes, parse: Callable[[bytes], object], num_examples: int) -> None:
    """Parse mutations of `content`; `parse` may raise only InputError."""
    _try(MUTATIONS.map(lambda mutations: mutated(content, mutations)), parse, num_examples)


# Values that a careless program, a bad disk or an attacker might write.
NASTY: list[Any] = [
    None, True, -1, 0, 1e400, -1e400, float("nan"), 10**400, 2**63, 0.5, "", "x", "../../x", "\0", "\ud800", [], {},
    [None], [[[]]], {"x": None}, {"x": {}}, [{"epoch": None}], "9" * 5000,
]  # fmt: skip


def fuzz_json(content: bytes, parse: Callable[[bytes], object], num_examples: int) -> None:
    """Parse `content` with values replaced, removed or copied to other keys; `parse` may raise only InputError."""
    data = json.loads(content)

    @st.composite
    def changed(draw: st.DrawFn) -> bytes:
        new = copy.deepcopy(data)
        for _ in range(draw(st.integers(1, 3))):
            _change(draw, new)
        return json.dumps(new).encode()

    _try(changed(), parse, num_examples)


def _change(draw: st.DrawFn, data: Any) -> None:
    inner = data
    while isinstance(inner, dict | list) and inner:
        key: Any = draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
        below = inner[key]
        if not (isinstance(below, dict | list) and below) or draw(st.integers(0, 5)) == 0:
            break
        inner = below
    else:
        return
    action = draw(st.sampled_from(["put", "put", "put", "remove", "add"]))
    if action == "remove":
        del inner[key]
    elif action == "add" and isinstance(inner, dict):
        inner[draw(st.sampled_from(["x", "", "a.b", "step", "name"]))] = copy.deepcopy(inner[key])
    else:
        inner[key] = copy.deepcopy(draw(st.sampled_from(NASTY)))


def _try(contents: st.SearchStrategy[bytes], parse: Callable[[bytes], object], num_examples: int) -> None:
    @settings(
        max_examples=num_examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(contents)
    def run(content: bytes) -> None:
        try:
            parse(content)
        except InputError as error:
            # Commands print it on one line, so it must stay short.
            assert len(str(error)) < 2000 and "Error(" not in str(error), str(error)[:3000]

    run()
