"""`index.bin`: every sample of a shard set in one memory-mapped file, so that opening a set of millions is one `mmap`.

All numbers are little-endian. S is the number of shards, N of samples, K of key bytes; samples are in stored order.

| bytes | type | content |
|---|---|---|
| 8 | | the magic `alexkit` and a zero byte |
| 4 | uint32 | version of this layout, 1 |
| 4 | uint32 | CRC32C of everything after the header |
| 8, 8, 8 | uint64 | S, N, K |
| 24 | | zeros: the header is 64 bytes long |
| 8 (S + 1) | int64 | first sample of each shard, then N |
| 8 N | int64 | where the image member's content starts in its shard |
| 4 N | uint32 | bytes of the image |
| 4 N | int32 | label: the class index, -1 without one |
| 4 N | uint32 | CRC32C of the image's bytes |
| 8 (N + 1) | int64 | where each key starts among the key bytes, then K |
| K | | the keys, in UTF-8 |

Each array is padded with zeros to a multiple of 8 bytes. The SHA-256 of the file is `index_sha256` in the manifest.
"""

import mmap
import os
import shutil
import struct
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from ...errors import InputError
from .files import scratch_file, sha256_of, whole_file

SAMPLE_INDEX_NAME = "index.bin"
LAYOUT_VERSION = 1
NO_LABEL = -1
_MAGIC = b"alexkit\0"
_HEADER = struct.Struct("<8sIIQQQ24x")
_TYPES = ("<i8", "<i8", "<u4", "<i4", "<u4", "<i8", "u1")
_ALIGNMENT = 8
_COPY_BYTES = 2**22
_CHECKED_ROWS = 2**20  # rows checked at a time, so that checking takes a few megabytes however large the set is


def image_checksum(content: bytes | memoryview | NDArray[np.uint8]) -> int:
    """CRC32C of an image's stored bytes, as in `index.bin`."""
    # The GIL is released for small images too: mapped bytes may have to be read from disk first.
    return crc32c(content.data if isinstance(content, np.ndarray) else content, gil_release_mode=1)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SampleRows:
    """The samples of one shard, in stored order, as they go into `index.bin`."""

    starts_N: NDArray[np.int64]
    """Byte offset of each image's content in the shard."""
    sizes_N: NDArray[np.uint32]
    """Bytes of each image."""
    labels_N: NDArray[np.int32]
    """Class index of each sample, -1 without one."""
    checksums_N: NDArray[np.uint32]
    """CRC32C of each image's bytes."""
    keys: Sequence[str]
    """Key of each sample."""

    def __len__(self) -> int:
        return len(self.starts_N)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SampleIndex:
    """Every sample of a set, by its index 0 to N - 1: where its image is, its label, its checksum and its key.

    Opened by `open`; the arrays are read-only views of the mapped file, shared by all processes that map it.
    """

    first_S: NDArray[np.int64]
    """(S + 1,): first sample of each shard, then the number of samples."""
    starts_N: NDArray[np.int64]
    """Byte offset of each image's content in its shard."""
    sizes_N: NDArray[np.uint32]
    """Bytes of each image."""
    labels_N: NDArray[np.int32]
    """Class index of each sample, -1 without one."""
    checksums_N: NDArray[np.uint32] | None
    """CRC32C of each image's bytes; None for a set of format 2, which has none."""
    key_starts: NDArray[np.int64]
    """(N + 1,): where each key starts in `key_bytes`, then their number."""
    key_bytes: NDArray[np.uint8]
    """All keys, UTF-8, one after the other."""

    def __len__(self) -> int:
        return len(self.starts_N)

    @classmethod
    def open(cls, folder: Path, *, check: bool = True) -> "SampleIndex":
        """Map `folder/index.bin` and check all of it: its checksum, and that its counts and offsets are possible.

        Every byte is read once, at several gigabytes a second if the file is cached, and no private memory is used.
        Without `check`, for a file that was checked before, only the header is read. `ShardSet.sample_index` also
        compares it with the manifest, and serves sets that have no such file. Raises InputError, naming the file, if it
        is damaged, and FileNotFoundError if there is none.
        """
        path = folder / SAMPLE_INDEX_NAME
        content = _mapped(path)
        if len(content) < _HEADER.size:
            raise _damaged(path, f"{len(content)} bytes, shorter than its header of {_HEADER.size}")
        magic, version, checksum, num_shards, num_samples, num_key_bytes = _HEADER.unpack(content[: _HEADER.size].data)
        if magic != _MAGIC:
            raise _damaged(path, f"starts with {magic!r}, expected {_MAGIC!r}")
        if version != LAYOUT_VERSION:
            raise InputError(
                f"{path}: version {version}, but this alexkit reads {LAYOUT_VERSION}; install the alexkit that wrote it"
            )
        kinds = _column_types(num_shards, num_samples, num_key_bytes)
        expected = _HEADER.size + sum(_padded(count * kind.itemsize) for count, kind in kinds)
        if len(content) != expected:
            raise _damaged(path, f"{len(content)} bytes, but its header promises {expected}")
        if check and image_checksum(content[_HEADER.size :]) != checksum:
            raise _damaged(path, "its CRC32C is not the one in its header")
        columns, position = [], _HEADER.size
        for count, kind in kinds:
            columns.append(content[position : position + count * kind.itemsize].view(kind))
            position += _padded(count * kind.itemsize)
        first_S, starts_N, sizes_N, labels_N, checksums_N, key_starts, key_bytes = columns
        index = cls(
            first_S=first_S,
            starts_N=starts_N,
            sizes_N=sizes_N,
            labels_N=labels_N,
            checksums_N=checksums_N,
            key_starts=key_starts,
            key_bytes=key_bytes,
        )
        if check:
            index._check_offsets(path)
        return index

    @classmethod
    def of_rows(cls, shards: Iterable[SampleRows]) -> "SampleIndex":
        """Build an index in memory, without checksums, for a set that has no `index.bin`."""
        rows = list(shards)
        keys = [key.encode() for one in rows for key in one.keys]
        return cls(
            first_S=np.cumsum([0, *map(len, rows)], dtype=np.int64),
            starts_N=np.concatenate([np.empty(0, np.int64), *(one.starts_N for one in rows)]),
            sizes_N=np.concatenate([np.empty(0, np.uint32), *(one.sizes_N for one in rows)]),
            labels_N=np.concatenate([np.empty(0, np.int32), *(one.labels_N for one in rows)]),
            checksums_N=None,
            key_starts=np.cumsum([0, *map(len, keys)], dtype=np.int64),
            key_bytes=np.frombuffer(b"".join(keys), np.uint8),
        )

    def rows(self, first: int, last: int) -> SampleRows:
        """The samples from `first` up to, but not including, `last`."""
        none = np.zeros(last - first, np.uint32)
        return SampleRows(
            starts_N=self.starts_N[first:last],
            sizes_N=self.sizes_N[first:last],
            labels_N=self.labels_N[first:last],
            checksums_N=none if self.checksums_N is None else self.checksums_N[first:last],
            keys=[self.key(i) for i in range(first, last)],
        )

    def key(self, i: int) -> str:
        """The key of sample i, as in the tar."""
        return self.key_bytes[self.key_starts[i] : self.key_starts[i + 1]].tobytes().decode("utf-8", "replace")

    def shard_of(self, i: int) -> int:
        """The number of the shard that holds sample i, from 0."""
        return int(np.searchsorted(self.first_S, i, side="right")) - 1

    def _check_offsets(self, path: Path) -> None:
        """Refuse offsets that decrease, images at negative offsets, and labels below -1."""
        for name, bounds, end in (
            ("first samples", self.first_S, len(self)),
            ("key offsets", self.key_starts, len(self.key_bytes)),
        ):
            if bounds[0] != 0 or bounds[-1] != end or any((np.diff(rows) < 0).any() for rows in _chunks(bounds)):
                raise _damaged(path, f"its {name} do not grow from 0 to {end}")
        if any((rows < 0).any() for rows in _chunks(self.starts_N)):
            raise _damaged(path, "an image starts at a negative offset")
        if any((rows < NO_LABEL).any() for rows in _chunks(self.labels_N)):
            raise _damaged(path, f"a label is below {NO_LABEL}")


def write_sample_index(folder: Path, shards: Iterable[SampleRows]) -> str:
    """Write `folder/index.bin`, whole, from the rows of every shard in order; returns its SHA-256.

    Takes the memory of one shard's rows, however many shards there are.
    """
    with ExitStack() as stack:
        # One unnamed file per array: they grow in parallel and are joined at the end.
        columns: list[IO[bytes]] = [stack.enter_context(scratch_file(folder)) for _ in _TYPES]
        first, starts, sizes, labels, checksums, key_starts, keys = columns
        num_shards = num_samples = num_key_bytes = 0
        for rows in shards:
            joined = "".join(rows.keys).encode()
            # If all characters are ASCII, the lengths of the strings are those of their bytes.
            lengths = map(len, rows.keys if joined.isascii() else [key.encode() for key in rows.keys])
            ends = num_key_bytes + np.cumsum([0, *lengths], dtype="<i8")
            first.write(struct.pack("<q", num_samples))
            starts.write(rows.starts_N.astype("<i8").tobytes())
            sizes.write(rows.sizes_N.astype("<u4").tobytes())
            labels.write(rows.labels_N.astype("<i4").tobytes())
            checksums.write(rows.checksums_N.astype("<u4").tobytes())
            key_starts.write(ends[:-1].tobytes())
            keys.write(joined)
            num_shards, num_samples, num_key_bytes = num_shards + 1, num_samples + len(rows), int(ends[-1])
        first.write(struct.pack("<q", num_samples))
        key_starts.write(struct.pack("<q", num_key_bytes))
        checksum = 0
        for column in columns:
            column.write(bytes(_padded(column.tell()) - column.tell()))
            column.seek(0)
            while block := column.read(_COPY_BYTES):
                checksum = crc32c(block, checksum)
            column.seek(0)
        header = _HEADER.pack(_MAGIC, LAYOUT_VERSION, checksum, num_shards, num_samples, num_key_bytes)
        path = folder / SAMPLE_INDEX_NAME
        with whole_file(path) as file:
            file.write(header)
            for column in columns:
                shutil.copyfileobj(column, file, _COPY_BYTES)
    return sha256_of(path)


def _mapped(path: Path) -> NDArray[np.uint8]:
    """The bytes of a file, read-only and shared by all processes that map it."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:  # cannot be mapped
            return np.empty(0, np.uint8)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def _column_types(num_shards: int, num_samples: int, num_key_bytes: int) -> list[tuple[int, "np.dtype[Any]"]]:
    """Length and type of every array in the file, in order."""
    counts = (num_shards + 1, num_samples, num_samples, num_samples, num_samples, num_samples + 1, num_key_bytes)
    return [(count, np.dtype(kind)) for count, kind in zip(counts, _TYPES, strict=True)]


def _padded(num_bytes: int) -> int:
    return -(-num_bytes // _ALIGNMENT) * _ALIGNMENT


def _chunks(values: NDArray[np.int64] | NDArray[np.int32]) -> Iterable[NDArray[np.int64] | NDArray[np.int32]]:
    """Consecutive pieces that overlap by one value, so that every pair of neighbors is in one of them."""
    return (values[start : start + _CHECKED_ROWS + 1] for start in range(0, max(1, len(values)), _CHECKED_ROWS))


def _damaged(path: Path, found: str) -> InputError:
    return InputError(f"{path}: {found}; the file is damaged: run 'alexprep repair SHARDS SOURCE'")
