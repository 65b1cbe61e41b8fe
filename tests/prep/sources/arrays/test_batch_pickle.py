"""Laws of reading pickles without unpickling: nothing is called or allocated, whatever a file says."""

import io
import os
import pickle
import pickletools
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexkit.errors import InputError
from alexkit.prep.sources.arrays import batch_pickle
from alexkit.prep.sources.arrays.batch_pickle import StoredArray, read_batch

from .written import batch, drawn


class InMemory:
    """A file that is not on a disk."""

    def __init__(self, content: bytes) -> None:
        self.content, self.num_bytes = content, len(content)

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        return self.content[offset : offset + num_bytes]


def read(content: bytes) -> dict[str, object]:
    return read_batch(InMemory(content))


@pytest.mark.parametrize("fortran", [False, True])
def test_it_finds_what_pickle_finds(fortran: bool) -> None:
    content = batch(drawn(300, 32, 32, 3), {"labels": [i % 256 for i in range(300)]}, fortran=fortran)
    pickletools.dis(content, out=io.StringIO())  # it is well-formed
    expected = pickle.loads(content, encoding="latin1")
    found: Any = read(content)
    data = found.pop("data")
    assert isinstance(data, StoredArray)
    start, count = data.content
    pixels = np.frombuffer(content[start : start + count], np.uint8)
    assert np.array_equal(pixels.reshape(data.shape, order="F" if data.is_fortran else "C"), expected.pop("data"))
    assert found == expected


@pytest.mark.parametrize("protocol", [3, 4])
def test_batches_that_python_3_wrote_are_read(protocol: int) -> None:
    pixels = drawn(2, 3072)
    content = pickle.dumps({"labels": [3, 70_000], "data": pixels}, protocol)
    found: Any = read(content)
    start, count = found["data"].content
    assert found["labels"] == [3, 70_000] and content[start : start + count] == pixels.tobytes()


class Calls:
    """An object whose pickle makes a folder when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("made",)


HUGE = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85U\x01bt"
ARRAY_OF = b"\x80\x02}U\x04data%sR(K\x01K\x01K\x02\x86cnumpy\ndtype\nU\x02%s\x85R\x89U\x02abtbs."


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps({"data": Calls()}, 2), "holds an object that is no array of bytes: posix.mkdir"),
        (pickle.dumps({"data": Calls()}, 4), "holds an object that is no array of bytes: posix.mkdir"),
        (pickle.dumps(Calls(), 2), "a pickle of something else than a dict"),
        (b"cos\nmkdir\n(S'made'\ntR.", "opcode b'S' at byte 11, which no batch has"),
        (b"(cos\nmkdir\nX\x04\x00\x00\x00madeo.", "opcode b'o' at byte 20"),
        (b"\x80\x02}U\x04data" + HUGE + b"Rs.", "holds an object that is no array of bytes: numpy.core.multiarray"),
        (ARRAY_OF % (HUGE, b"|O"), "no array of bytes"),
        (pickle.dumps({"data": np.zeros(600, np.float32)}, 3), "holds an array of 'f4', expected uint8"),
        (pickle.dumps({"data": np.array(["x"], object)}, 3), "no array of bytes"),
        (pickle.dumps({"data": np.zeros(2000, np.uint8)}, 2), "no array of bytes: numpy"),
        (b"\x80\x02X\xff\xff\xff\xff.", "ends early, after 8 bytes"),
        (b"\x80\x04\x8e" + b"\xff" * 8 + b".", "ends early, after 12 bytes"),
        (b"\x80\x02T\xff\xff\xff\xff.", "ends early"),
        (b"\x80\x02e.", "not a pickle"),
        (b"\x80\x02.", "not a pickle"),
        (b"\x80\x02h\x07.", "not a pickle"),
        (b"\x80\x02}K\x01K\x02s.", "not a pickle"),
        (b"\x80\x02}(K\x01u.", "not a pickle"),
        (b"\x80\x02}b.", "not a pickle"),
        (b"\x80\x02K\x01K\x02a.", "not a pickle"),
        (b"\x80\x02" + b"c" + b"x" * 2000 + b"\nx\n.", "a name that is too long"),
        (b"\x89PNG\r\n\x1a\n", "opcode|not a pickle"),
        (b"", "ends early, after 0 bytes"),
        (b"\x80\x02" + b")" * 10, "ends early"),
    ],
)
def test_hostile_pickles_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=words):
        read(content)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("written", "instead", "words"),
    [
        (b"cnumpy\ndtype\n", b"cos\nmkdir\n", "no array of bytes"),
        (b"_reconstruct\n", b"scalar\n", "no array of bytes"),
        (b"K\x02M\x00\x0c\x86", b"K\x00M\x00\x0c\x86", "impossible shape"),
        (b"U\x02u1", b"U\x02f4", "an array of 'f4', expected uint8"),
    ],
)
def test_what_only_looks_like_an_array_of_bytes_is_refused(written: bytes, instead: bytes, words: str) -> None:
    content = batch(drawn(2, 32, 32, 3), {"labels": [0, 1]})
    assert content.count(written) == 1
    with pytest.raises(InputError, match=words):
        read(content.replace(written, instead))


@pytest.mark.parametrize("opcode", [b"\x85", b"NR"])
def test_deep_nesting_ends_neither_by_a_crash_nor_by_memory(opcode: bytes) -> None:
    """The hash of such a tuple, here a key of the dict, would overflow the stack."""
    deep = b")" + opcode * 150_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"not a pickle|no array of bytes"):
        read(b"\x80\x02}" + (deep + b"Ns." if opcode == b"\x85" else b"U\x01x" + deep + b"s."))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_the_number_of_opcodes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_pickle, "MAX_OPCODES", 1000)
    with pytest.raises(InputError, match="more than 1,000 opcodes"):
        read(b"\x80\x02" + b"N" * 1001 + b".")
