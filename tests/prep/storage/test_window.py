"""Laws of reading small parts of a file: they are those of the file, and few reads bring many of them."""

import random

import pytest

from alexkit.prep.storage.window import Window


class Counted:
    """A file in memory that counts how often it is read."""

    def __init__(self, content: bytes) -> None:
        self.content, self.num_bytes, self.num_reads = content, len(content), 0

    def read_at(self, offset: int, num_bytes: int) -> bytes:
        self.num_reads += 1
        return self.content[offset : offset + num_bytes]


CONTENT = random.Random(0).randbytes(5000)


def test_parts_are_those_of_the_file_in_any_order() -> None:
    window, rng = Window(Counted(CONTENT), 100), random.Random(1)
    for _ in range(1000):
        offset, num_bytes = rng.randrange(5100), rng.randrange(300)
        assert window.read(offset, num_bytes) == CONTENT[offset : offset + num_bytes]


def test_parts_side_by_side_come_with_one_read_also_after_one_that_is_far_away() -> None:
    file = Counted(CONTENT)
    window = Window(file, 1000)
    for offset in (*range(0, 990, 10), 4000, *range(0, 990, 10), 4010):
        assert window.read(offset, 10) == CONTENT[offset : offset + 10]
    assert file.num_reads == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x07", (7, 1)),
        (b"\x80\x01", (128, 2)),
        (b"\xff" * 9 + b"\x01", (2**64 - 1, 10)),
        (b"", None),
        (b"\x80", None),
        (b"\x80" * 10 + b"\x01", None),
    ],
)
def test_numbers_are_those_of_protobuf(content: bytes, expected: tuple[int, int] | None) -> None:
    for before in (0, 5, 2000):
        window = Window(Counted(bytes(before) + content), 1000)
        if expected is None:
            with pytest.raises(ValueError, match=f"no number at byte {before}"):
                window.varint(before)
        else:
            assert window.varint(before) == (expected[0], before + expected[1])
