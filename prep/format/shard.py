"""One shard: a plain WebDataset tar and its index for DALI.

Every sample has two members, `KEY.<image extension>` and `KEY.cls` (the class index in ASCII, -1 without one), and
possibly extras. The index has the text format of DALI's webdataset reader, version 1.2: a line `v1.2 N`, then per
sample `EXT OFFSET SIZE NAME` for these two members, where OFFSET is that of the member's content. Headers are USTAR
with fixed mode and time, so the same samples give the same bytes; the field for the owner's name holds `content_mark`,
so that damage can be traced to its sample.
"""

import hashlib
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .files import naming, whole_file
from .sample_index import NO_LABEL, SampleRows, image_checksum
from .source_table import source_lines

KEY_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,90}")
INDEX_VERSION = "v1.2"
LABEL_EXT = "cls"
NUM_INDEXED = 2  # members of a sample that are in an index: the image and the label
MAX_NAME_BYTES = 100  # of a member, in USTAR
HEADER_BYTES = tarfile.BLOCKSIZE
END_BYTES = 2 * tarfile.BLOCKSIZE

# The fields of a USTAR header around name, size and checksum: mode, owner 0, time 0; a plain file, version 00.
_OWNER = b"0000644\0" + b"0000000\0" * 2
_TIME = b"\0" + b"00000000000\0"
_KIND = b"0" + bytes(100) + b"ustar\0" + b"00"
MARK_FIELD = slice(265, 297)  # of a header: the name of the owner
MARK_PREFIX = b"sha256-"
_REST = bytes(32 + 16 + 155 + 12)  # group, device, prefix
_HEADER_SUM = sum(_OWNER + _TIME + _KIND + _REST) + 8 * ord(" ")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One stored image: its key, the content of its image member and its class index, -1 without one."""

    key: str
    image: bytes
    label: int
    extras: tuple[tuple[str, bytes], ...] = ()
    """Extension and content of additional members, which follow the label and are not in the `.idx`."""
    source: str = ""
    """Which file it was made from, as in `sources.jsonl`; not part of the shard."""

    def __post_init__(self) -> None:
        if not KEY_PATTERN.fullmatch(self.key):
            raise InputError(f"key {self.key!r} must be 1 to 90 of the characters A-Z a-z 0-9 _ -")
        if self.label < NO_LABEL:
            raise InputError(f"sample {self.key}: label {self.label} is negative")

    def members(self, image_ext: str) -> tuple[tuple[str, bytes], ...]:
        """Extension and content of every member: the image, the label, the extras.

        Raises InputError for two members with the same extension and for names that are too long for a tar.
        """
        members = ((image_ext, self.image), (LABEL_EXT, b"%d" % self.label), *self.extras)
        exts = [ext for ext, _ in members]
        if len(set(exts)) != len(exts):
            twice = next(ext for ext in exts if exts.count(ext) > 1)
            raise InputError(f"sample {self.key}: two members have the extension {twice!r}; leave it out of --keep")
        if self.extras and len(self.key) + 1 + max(map(len, exts)) > MAX_NAME_BYTES:
            raise InputError(
                f"sample {self.key}: a member's name has more than {MAX_NAME_BYTES} bytes; keep shorter names"
            )
        return members


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardEntry:
    """The manifest's entry for one shard. Hashes are SHA-256 in hexadecimal."""

    name: str
    num_samples: int
    num_bytes: int
    sha256: str
    index_sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardIndex:
    """Where each sample of one shard is; row i is its i-th sample. Offsets and sizes are int64, in bytes."""

    key_bytes: NDArray[np.bytes_]
    image_ext: str
    label_ext: str
    image_offsets: NDArray[np.int64]
    image_sizes: NDArray[np.int64]
    label_offsets: NDArray[np.int64]
    label_sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.key_bytes)

    @property
    def keys(self) -> list[str]:
        """The keys, in order."""
        return [key.decode("ascii", "replace") for key in self.key_bytes.tolist()]

    def rows(self) -> SampleRows:
        """The samples as in `index.bin`, but with zeros for labels and checksums."""
        zeros = np.zeros(len(self), np.uint32)
        return SampleRows(
            starts_N=self.image_offsets,
            sizes_N=self.image_sizes.astype(np.uint32),
            labels_N=zeros.astype(np.int32),
            checksums_N=zeros,
            keys=self.keys,
        )


def index_path(shard: Path) -> Path:
    """The index beside a shard: `train-00000.tar` has `train-00000.idx`."""
    return shard.with_suffix(".idx")


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenShard:
    """What `write_shard` wrote: the manifest's entry, the samples for `index.bin`, and the lines of `sources.jsonl`."""

    entry: ShardEntry
    rows: SampleRows
    source_lines: bytes


def write_shard(path: Path, samples: Iterable[Sample], *, image_ext: str) -> WrittenShard:
    """Write a tar and its index, each whole or not at all, and return what was written.

    Raises InputError if two samples have the same key.
    """
    digest = hashlib.sha256()
    lines: list[str] = []
    starts: list[int] = []
    sizes: list[int] = []
    labels: list[int] = []
    checksums: list[int] = []
    keys: list[str] = []
    sources: list[str] = []
    seen: set[str] = set()
    position = 0
    with whole_file(path) as file:
        for sample in samples:
            if sample.key in seen:
                raise InputError(f"{path}: two samples have the key {sample.key!r}")
            seen.add(sample.key)
            starts.append(position + HEADER_BYTES)
            sizes.append(len(sample.image))
            labels.append(sample.label)
            checksums.append(image_checksum(sample.image))
            keys.append(sample.key)
            sources.append(sample.source)
            line = []
            mark = content_mark(digest)
            for number, (ext, content) in enumerate(sample.members(image_ext)):
                name = f"{sample.key}.{ext}"
                block = member_bytes(name, content, mark)
                if number < NUM_INDEXED:
                    line.append(f"{ext} {position + tarfile.BLOCKSIZE} {len(content)} {name}")
                file.write(block)
                digest.update(block)
                position += len(block)
            lines.append(" ".join(line))
        end = bytes(END_BYTES)
        end += bytes(-(position + len(end)) % tarfile.RECORDSIZE)
        file.write(end)
        digest.update(end)
    index = "\n".join([f"{INDEX_VERSION} {len(lines)}", *lines, ""]).encode("ascii")
    with whole_file(index_path(path)) as file:
        file.write(index)
    return WrittenShard(
        entry=ShardEntry(
            name=path.name,
            num_samples=len(lines),
            num_bytes=position + len(end),
            sha256=digest.hexdigest(),
            index_sha256=hashlib.sha256(index).hexdigest(),
        ),
        rows=SampleRows(
            starts_N=np.array(starts, np.int64),
            sizes_N=np.array(sizes, np.uint32),
            labels_N=np.array(labels, np.int32),
            checksums_N=np.array(checksums, np.uint32),
            keys=keys,
        ),
        source_lines=source_lines(zip(keys, sources, strict=True)),
    )


def read_index(path: Path, *, shard_bytes: int) -> ShardIndex:
    """Read the index at `path` of a shard of `shard_bytes` bytes, checked like `parse_index`."""
    with naming(path):
        content = path.read_bytes()
    return parse_index(content, path, shard_bytes=shard_bytes)


def parse_index(content: bytes, path: Path, *, shard_bytes: int) -> ShardIndex:
    """Parse the text `content` of the index of a shard of `shard_bytes` bytes; `path` is its name in errors.

    Raises InputError, naming file and line, for anything but one image and one `cls` member per sample (`json` in an
    adopted set), all of them inside the shard.
    """
    first, _, body = content.partition(b"\n")
    head = first.split()
    if len(head) != 2 or head[0] != INDEX_VERSION.encode() or not head[1].isdigit():
        found = first[:80].decode("ascii", "replace")
        raise InputError(f"{path}:1: expected '{INDEX_VERSION} COUNT', found {found!r}")
    num_lines = body.count(b"\n") + (body != b"" and not body.endswith(b"\n"))
    if int(head[1][:20]) != num_lines:
        raise InputError(f"{path}:1: promises {int(head[1][:20])} samples, but {num_lines} lines follow")
    from .index_text import parse_lines  # its compiler takes half a second, which writing a shard does not need

    lines = parse_lines(body, num_lines)
    if lines.num_good < num_lines:
        name = lines.image_ext.decode("ascii", "replace")[:20] or "EXT"
        found = body.split(b"\n", lines.num_good + 1)[lines.num_good][:120].decode("ascii", "replace")
        label = lines.label_ext.decode()
        raise InputError(
            f"{path}:{lines.num_good + 2}: expected '{name} OFFSET SIZE KEY.{name} {label} OFFSET SIZE KEY.{label}', "
            f"found {found!r}"
        )
    image_offsets, image_sizes, label_offsets, label_sizes = lines.numbers_N4.T
    index = ShardIndex(
        key_bytes=lines.key_bytes,
        image_ext=lines.image_ext.decode("ascii", "replace"),
        label_ext=lines.label_ext.decode(),
        image_offsets=image_offsets,
        image_sizes=image_sizes,
        label_offsets=label_offsets,
        label_sizes=label_sizes,
    )
    for offsets, sizes in ((index.image_offsets, index.image_sizes), (index.label_offsets, index.label_sizes)):
        # `offsets > shard_bytes - sizes` cannot overflow once both are known to be at most shard_bytes.
        bad = (offsets < tarfile.BLOCKSIZE) | (sizes < 1) | (sizes > shard_bytes) | (offsets > shard_bytes - sizes)
        if bad.any():
            i = int(np.argmax(bad))
            raise InputError(
                f"{path}:{i + 2}: {int(sizes[i])} bytes at offset {int(offsets[i])} lie outside the shard of "
                f"{shard_bytes} bytes"
            )
        bad = offsets % tarfile.BLOCKSIZE != 0
        if bad.any():
            i = int(np.argmax(bad))
            raise InputError(f"{path}:{i + 2}: offset {int(offsets[i])}; expected a multiple of 512, as in every tar")
    return index


def content_mark(digest: "hashlib._Hash") -> bytes:
    """The mark in a sample's headers for everything before it in the shard, whose SHA-256 is `digest`.

    With it, a reader of the tar alone, without index or manifest, can find the first sample that changed.
    """
    return MARK_PREFIX + digest.hexdigest()[:16].encode()


def member_bytes(name: str, content: bytes, mark: bytes) -> bytes:
    """One member as stored in the tar: header, content, zeros up to the next block."""
    return _tar_header(name, len(content), mark) + content + bytes(-len(content) % tarfile.BLOCKSIZE)


def _tar_header(name: str, size: int, mark: bytes) -> bytes:
    """A USTAR header as `tarfile` writes it, at a tenth of its cost: two are needed for every image."""
    name_field = name.encode("ascii")
    size_field = b"%011o" % size
    # The checksum is the sum of all bytes, with its own field as spaces: the template's sum plus these fields'.
    checksum = _HEADER_SUM + sum(name_field) + sum(size_field) + sum(mark)
    name_end, mark_end = bytes(100 - len(name_field)), bytes(32 - len(mark))
    return b"".join(
        (name_field, name_end, _OWNER, size_field, _TIME, b"%06o\0 " % checksum, _KIND, mark, mark_end, _REST)
    )
