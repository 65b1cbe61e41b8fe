"""Reads the pickles of CIFAR's Python batches without unpickling them.

A pickle is a program: it calls functions by name, and even one that may call only NumPy's own can crash the process or
make it allocate any amount of memory (an array of 2**40 elements from ten bytes). So nothing is called here. Of the
opcodes, only those that write numbers, text, lists, dicts and tuples are known; a call of a function stays a note of
its name and arguments, and an array is recognized by the notes that NumPy writes. Bytes of pixels are not read, only
where they are, so memory and time are bounded by the number of opcodes, and that by `MAX_OPCODES`.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from ....errors import InputError
from ...storage.by_offset import ByOffset

MAX_OPCODES = 2_000_000
"""CIFAR-100's training batch has 400,000."""
MAX_TEXT_BYTES = 2**10
"""Longer bytes stay where they are; an image has 3,072."""
_WINDOW_BYTES = 2**20


class Range(NamedTuple):
    """Bytes in the file."""

    start: int
    num_bytes: int


class StoredArray(NamedTuple):
    """An array of uint8 and where its bytes are."""

    shape: tuple[int, ...]
    is_fortran: bool
    content: Range


class _Name(NamedTuple):
    """The name of a function or class."""

    module: str
    name: str


class _Call(NamedTuple):
    """What a call of a function would have returned, with the state that it would have been given."""

    function: object
    arguments: object
    states: list[object]


_MARK = object()
_ARRAYS = (_Name("numpy.core.multiarray", "_reconstruct"), _Name("numpy._core.multiarray", "_reconstruct"))
_DTYPE = _Name("numpy", "dtype")
_UINT8 = ("u1", "|u1")
_MAX_AXES = 4


def read_batch(file: ByOffset) -> dict[str, object]:
    """The dict that a batch is: text, whole numbers, lists of these, and arrays of uint8 by where they are.

    Raises InputError, in one line, for everything else, and if the file ends early.
    """
    machine = _Machine(file)
    try:
        found = machine.run()
    except (IndexError, TypeError, KeyError, AttributeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        # Nothing on the stack, or something else than the opcode needs.
        raise InputError(f"not a pickle ({type(error).__name__} at byte {machine.position})") from None
    if not isinstance(found, dict):
        raise InputError("a pickle of something else than a dict")
    return {key: _value(value) for key, value in found.items()}


def _value(value: object) -> object:
    """A value of the dict: an array, if the notes are those of one."""
    if not isinstance(value, _Call):
        return value
    match value.states:
        case [(int(), tuple(shape), _Call(_Name() as kind, (str(dtype), *_)), bool(is_fortran), Range() as content)]:
            pass
        case _:
            raise InputError(f"holds an object that is no array of bytes: {_name(value.function)}")
    if not isinstance(value.function, _Name) or value.function not in _ARRAYS or kind != _DTYPE:
        raise InputError(f"holds an object that is no array of bytes: {_name(value.function)}")
    if dtype not in _UINT8:
        raise InputError(f"holds an array of {dtype!r}, expected uint8")
    if not all(type(size) is int and size > 0 for size in shape) or len(shape) > _MAX_AXES:
        raise InputError("holds an array of impossible shape")
    return StoredArray(shape, is_fortran, content)


def _name(function: object) -> str:
    return ".".join(function) if isinstance(function, _Name) else "something"


class _Machine:
    """The stack and memo of a pickle. Text is decoded as UTF-8; bytes longer than `MAX_TEXT_BYTES` stay ranges."""

    def __init__(self, file: ByOffset) -> None:
        self._file, self.position = file, 0
        self._window, self._first = b"", 0
        self._stack: list[Any] = []
        self._memo: dict[int, object] = {}

    def run(self) -> object:
        """Follow the opcodes to the end."""
        for _ in range(MAX_OPCODES):
            opcode = self._take(1)
            if opcode == b".":
                return self._stack.pop()
            if opcode not in _OPCODES:
                raise InputError(f"opcode {opcode!r} at byte {self.position - 1}, which no batch has")
            _OPCODES[opcode](self)
        raise InputError(f"more than {MAX_OPCODES:,} opcodes")

    def _take(self, count: int) -> bytes:
        """The next bytes; raises InputError at the end of the file."""
        offset = self.position - self._first
        if not 0 <= offset <= len(self._window) - count:
            self._window, self._first = self._file.read_at(self.position, max(count, _WINDOW_BYTES)), self.position
            offset = 0
        found = self._window[offset : offset + count]
        if len(found) < count:
            raise InputError(f"ends early, after {self._file.num_bytes:,} bytes")
        self.position += count
        return found

    def _number(self, layout: str) -> int:
        (number,) = struct.unpack(layout, self._take(struct.calcsize(layout)))
        return int(number)

    def _text(self, layout: str) -> None:
        """Text, or bytes: batches of Python 2 do not tell them apart."""
        num_bytes = self._number(layout)
        if num_bytes < 0 or num_bytes > self._file.num_bytes - self.position:
            raise InputError(f"ends early, after {self._file.num_bytes:,} bytes")
        if num_bytes > MAX_TEXT_BYTES:
            self._stack.append(Range(self.position, num_bytes))
            self.position += num_bytes
            return
        start = self.position
        try:
            self._stack.append(self._take(num_bytes).decode())
        except UnicodeDecodeError:
            self._stack.append(Range(start, num_bytes))

    def _line(self) -> str:
        line = bytearray()
        while (byte := self._take(1)) != b"\n":
            line += byte
            if len(line) > MAX_TEXT_BYTES:
                raise InputError("a name that is too long")
        return line.decode("latin-1")

    def _since_mark(self) -> list[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:  # IndexError below the first
            at -= 1
            if at < 0:
                raise IndexError
        found = self._stack[at + 1 :]
        del self._stack[at:]
        return found

    def _append(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise TypeError
        target += values

    def _set(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise TypeError
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) is not str:  # the hash of a tuple within a million others would overflow the C stack
                raise TypeError
            target[key] = value

    def _tuple(self, count: int) -> None:
        if len(self._stack) < count:
            raise IndexError
        values = tuple(self._stack[len(self._stack) - count :])
        del self._stack[len(self._stack) - count :]
        self._stack.append(values)

    def _call(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._stack.append(_Call(function, arguments, []))

    def _build(self) -> None:
        state = self._stack.pop()
        self._stack[-1].states.append(state)

    def _global(self) -> None:
        self._stack.append(_Name(self._line(), self._line()))

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise TypeError
        self._stack.append(_Name(module, name))


def _push(make: Callable[[_Machine], object]) -> Callable[[_Machine], None]:
    return lambda one: one._stack.append(make(one))


def _keep(number: Callable[[_Machine], int]) -> Callable[[_Machine], None]:
    return lambda one: one._memo.__setitem__(number(one), one._stack[-1])


_OPCODES: dict[bytes, Callable[[_Machine], object]] = {
    b"\x80": lambda one: one._take(1),  # PROTO
    b"\x95": lambda one: one._take(8),  # FRAME
    b"(": _push(lambda one: _MARK),
    b"N": _push(lambda one: None),
    b"\x88": _push(lambda one: True),
    b"\x89": _push(lambda one: False),
    b"K": _push(lambda one: one._number("<B")),
    b"M": _push(lambda one: one._number("<H")),
    b"J": _push(lambda one: one._number("<i")),
    b"U": lambda one: one._text("<B"),  # SHORT_BINSTRING, then BINSTRING, BINUNICODE, SHORT_BINUNICODE
    b"T": lambda one: one._text("<i"),
    b"X": lambda one: one._text("<I"),
    b"\x8c": lambda one: one._text("<B"),
    b"C": lambda one: one._text("<B"),  # SHORT_BINBYTES, BINBYTES, BINBYTES8
    b"B": lambda one: one._text("<I"),
    b"\x8e": lambda one: one._text("<Q"),
    b"}": _push(lambda one: {}),
    b"]": _push(lambda one: []),
    b")": _push(lambda one: ()),
    b"a": lambda one: one._append([one._stack.pop()]),
    b"e": lambda one: one._append(one._since_mark()),
    b"s": lambda one: one._set([one._stack.pop(-2), one._stack.pop()]),
    b"u": lambda one: one._set(one._since_mark()),
    b"t": lambda one: one._stack.append(tuple(one._since_mark())),
    b"\x85": lambda one: one._tuple(1),
    b"\x86": lambda one: one._tuple(2),
    b"\x87": lambda one: one._tuple(3),
    b"q": _keep(lambda one: one._number("<B")),
    b"r": _keep(lambda one: one._number("<I")),
    b"\x94": _keep(lambda one: len(one._memo)),
    b"h": _push(lambda one: one._memo[one._number("<B")]),
    b"j": _push(lambda one: one._memo[one._number("<I")]),
    b"c": lambda one: one._global(),
    b"\x93": lambda one: one._stack_global(),
    b"R": lambda one: one._call(),
    b"b": lambda one: one._build(),
}
