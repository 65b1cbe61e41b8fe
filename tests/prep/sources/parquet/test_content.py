"""Laws of reading parts of a page: the bytes of the whole, whatever its codec and however its blocks are made."""

from pathlib import Path

import numpy as np
import pytest

pyarrow = pytest.importorskip("pyarrow", reason="pyarrow packs the pages of these tests")

from alexkit.prep.sources.parquet.content import SNAPPY_BLOCK, Packed, content_of  # noqa: E402
from alexkit.prep.storage.by_offset import opened  # noqa: E402

WHOLE = np.random.default_rng(0).bytes(5 * SNAPPY_BLOCK + 77)
# Four bytes again after three blocks and a bit: a reference over blocks, as not every encoder avoids them.
FAR = 3 * SNAPPY_BLOCK + 5


def literal(data: bytes) -> bytes:
    return bytes([62 << 2]) + (len(data) - 1).to_bytes(3, "little") + data


def copy(back: int, size: int) -> bytes:
    return bytes([(size - 1) << 2 | 3]) + back.to_bytes(4, "little")


def varint(number: int) -> bytes:
    return bytes([number & 127]) if number < 128 else bytes([number & 127 | 128]) + varint(number >> 7)


def check(path: Path, packed_bytes: bytes, unpacked: bytes, codec: str) -> None:
    path.write_bytes(b"before" + packed_bytes + b"behind")
    with opened(path) as file:
        content = content_of(file, Packed(6, len(packed_bytes), len(unpacked), codec))
        rng = np.random.default_rng(1)
        edges = [0, 1, SNAPPY_BLOCK - 1, SNAPPY_BLOCK, 3 * SNAPPY_BLOCK, len(unpacked) - 1, len(unpacked)]
        for start in [*edges, *rng.integers(0, len(unpacked), 30).tolist()]:
            for size in (0, 1, 4, SNAPPY_BLOCK, 100_000):
                assert content.read(file, start, size) == unpacked[start : start + size]


@pytest.mark.parametrize("codec", ["UNCOMPRESSED", "SNAPPY", "ZSTD"])
@pytest.mark.parametrize("num_bytes", [1, SNAPPY_BLOCK - 1, SNAPPY_BLOCK, 2 * SNAPPY_BLOCK, len(WHOLE)])
def test_a_part_is_a_part_of_the_whole(tmp_path: Path, codec: str, num_bytes: int) -> None:
    unpacked = WHOLE[:num_bytes]
    packed = unpacked
    if codec != "UNCOMPRESSED":
        packed = pyarrow.Codec(codec.lower()).compress(unpacked, asbytes=True)
    check(tmp_path / "page", packed, unpacked, codec)


def test_pages_that_compress_well_are_read_too(tmp_path: Path) -> None:
    unpacked = b"again and again, " * 20_000
    check(tmp_path / "page", pyarrow.Codec("snappy").compress(unpacked, asbytes=True), unpacked, "SNAPPY")


def test_blocks_of_another_encoder_may_refer_to_each_other_or_be_no_blocks(tmp_path: Path) -> None:
    far = WHOLE[:FAR] + WHOLE[:4]
    packed = varint(len(far)) + b"".join(
        literal(WHOLE[i : min(i + SNAPPY_BLOCK, FAR)]) for i in range(0, FAR, SNAPPY_BLOCK)
    )
    check(tmp_path / "far", packed + copy(FAR, 4), far, "SNAPPY")
    # One element for all is no block, and there is nothing to read alone.
    check(tmp_path / "one", varint(len(WHOLE)) + literal(WHOLE), WHOLE, "SNAPPY")


def test_a_page_too_large_to_unpack_for_each_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"compressed by ZSTD, is too large .*; write the file without compression"):
        content_of(-1, Packed(0, 1000, 2**30, "ZSTD"))


@pytest.mark.parametrize("change", [-1, 1])
def test_a_page_of_another_size_than_promised_is_refused(tmp_path: Path, change: int) -> None:
    packed = pyarrow.Codec("snappy").compress(WHOLE, asbytes=True)
    (tmp_path / "page").write_bytes(packed + bytes(1))
    with opened(tmp_path / "page") as file, pytest.raises(ValueError, match="does not match its header"):
        content_of(file, Packed(0, len(packed) + change, len(WHOLE), "SNAPPY"))
