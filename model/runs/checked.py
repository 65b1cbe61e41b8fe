"""Convert plain data to self-checking dataclasses, with readable errors.

pydantic checks types, bounds and choices and locates errors in the data. This module turns its first error into one
sentence that names the key, the value found and the value expected; for an unknown key, also the nearest known one.
"""

import difflib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from ...errors import InputError

T = TypeVar("T")
_LIST = 'a list such as [1, 2] or ["a", "b"]'
_KINDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": _LIST,
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def from_data(cls: type[T], data: Any, *, where: str) -> T:
    """Build a checked dataclass from plain data, as read from TOML or JSON.

    Raises InputError naming `where`, the key, the value found and the value expected.
    """
    try:
        # Strict validation of JSON accepts a list as a tuple and a table as a dataclass, but not 1 as a string or true
        # as a number.
        value: T = TypeAdapter(cls).validate_json(json.dumps(data))
    except ValidationError as error:
        raise InputError(f"{where}: {_words(cls, error)}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: not plain data ({error})") from None
    return value


def to_data(value: Any) -> Any:
    """Convert a checked dataclass to plain data; `from_data` is the inverse."""
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def is_number(value: Any) -> bool:
    """Whether a JSON value is a finite number within the range of a float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def in_words(error: Exception) -> str:
    """Describe, for an error message, what is wrong with one of alexkit's files, without Python's wording."""
    if isinstance(error, KeyError):
        return f"{error.args[0]!r} is missing"
    if isinstance(error, OverflowError):
        return "it contains a number that is infinite or too large"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return " ".join(str(error).split())[:300]


def _words(cls: type, error: ValidationError) -> str:
    """The first error, in words; the errors of a union's alternatives count as one."""
    findings = error.errors(include_url=False)
    keys = [tuple(str(part) for part in finding["loc"] if _is_key(part)) for finding in findings]
    found, key = findings[0], ".".join(keys[0])
    alternatives = [finding for finding, other in zip(findings, keys, strict=True) if other == keys[0]]
    value = repr(found["input"])[:200]
    kind, context = found["type"], found.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "unexpected_keyword_argument":
        return f"unknown key {key}; the nearest is {nearest(cls, keys[0])}"
    if kind in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return f"{key} is missing; it has no default"
    if kind == "finite_number":
        return f"{key} must be a finite number, got {value}"
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        bound = context[name]
        return f"{key} must be {words} {bound if isinstance(bound, int) else f'{bound:g}'}, got {value}"
    if kind == "tuple_type":
        return f"{key} must be {_LIST}, got {value}"
    if kind in ("dataclass_type", "dict_type"):
        return f"{key or 'the content'} must be a table of keys, got {value}"
    choices = [_expected(finding) for finding in alternatives]
    return f"{key} must be {' or '.join(choices)}, got {value}"


def _expected(finding: Any) -> str:
    if finding["type"] == "literal_error":
        listed = str(finding["ctx"]["expected"]).replace("'", "").replace(" or ", ", ")
        return f"one of {listed}"
    if finding["type"] in ("missing", "too_long"):
        return "a list of the right length"
    return _KINDS.get(finding["type"]) or str(finding["msg"]).removeprefix("Input should be ")


def _is_key(part: str | int) -> bool:
    """Whether a part of pydantic's location is one of our keys, not a list position or a type name."""
    return isinstance(part, str) and "[" not in part and part not in ("float", "str", "int", "bool")


def nearest(cls: type, key: Sequence[str]) -> str:
    """The known key that was probably meant: the same name in another section, or else the closest in its own."""
    *sections, last = key
    for section, inner in _sections(cls).items():
        if last in (item.name for item in fields(inner)):
            return f"{section}.{last}"
    for section in sections:
        cls = _sections(cls)[section]
    names = [item.name for item in fields(cls)]
    return ".".join([*sections, difflib.get_close_matches(last, names, n=1, cutoff=0.0)[0]])


def _sections(cls: type) -> Mapping[str, Any]:
    """The fields of a dataclass that are themselves dataclasses or lists of them."""
    sections = {}
    for name, hint in get_type_hints(cls).items():
        inner = get_args(hint)[0] if get_origin(hint) is tuple else hint
        if is_dataclass(inner):
            sections[name] = inner
    return sections
