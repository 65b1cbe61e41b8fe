"""The check of one shard: its hash and, if that differs or every image is to be decoded, each of its samples.

`index.bin` has a checksum and a label for each sample, so damage is located exactly: all damaged samples are named, and
no others. In shards that alexkit wrote, everything around images and labels (headers, padding, other members) is
checked too; in adopted shards, only the shard's hash shows changes there.
"""

import hashlib
import mmap
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ....errors import InputError
from ...format.files import sha256_of
from ...format.pixel_options import PixelOptions
from ...format.sample_index import NO_LABEL, SampleIndex, SampleRows, image_checksum
from ...format.shard import (
    END_BYTES,
    HEADER_BYTES,
    LABEL_EXT,
    MARK_FIELD,
    MARK_PREFIX,
    ShardEntry,
    ShardIndex,
    content_mark,
    index_path,
    parse_index,
)
from ...format.shard_set import MAX_LABEL_DIGITS
from ...workers import Heartbeat

OTHER_HASH = "its SHA-256 differs from the manifest's"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One problem that was found."""

    file: str
    """The file's name in the set."""
    problem: str
    """What is wrong with it."""
    key: str | None = None
    """The damaged sample, if there is one."""
    offset: int | None = None
    """The byte in the file where the damage begins, if known; for an image, the byte where the image starts."""

    def __str__(self) -> str:
        sample = "" if self.key is None else f": sample {self.key!r}"
        byte = "" if self.offset is None else f" at byte {self.offset}"
        return f"{self.file}{sample}{byte}: {self.problem}"


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyJob:
    """One shard to check; its size has already been checked."""

    folder: Path
    """The shard set."""
    entry: ShardEntry
    """What the manifest says of the shard."""
    first_sample: int | None
    """The shard's first sample in `index.bin`; None if the set has no sound `index.bin`."""
    pixels: PixelOptions
    """How the set's images are stored."""
    num_classes: int
    """Rows of the class table."""
    labels_are_indices: bool
    """Whether the label members contain class indices, as in all shards except some adopted ones."""
    decode: bool
    """Whether to decode every image."""


def verify_one_shard(job: VerifyJob, heartbeat: Heartbeat, poisoned: dict[int, str]) -> list[Finding]:
    """A worker's task; returns findings in the order of the shard, empty if it matches the manifest."""
    path = job.folder / job.entry.name
    findings, is_sound = [], False
    try:
        lines = index_path(path).read_bytes()
        if not (is_sound := hashlib.sha256(lines).hexdigest() == job.entry.index_sha256):
            findings.append(Finding(file=index_path(path).name, problem=OTHER_HASH))
    except OSError as error:
        findings.append(unreadable(index_path(path), error))
    try:
        return findings + _damage_of_shard(job, path, lines if is_sound else None, heartbeat, poisoned)
    except OSError as error:
        return [*findings, unreadable(path, error)]


def unreadable(path: Path, error: OSError) -> Finding:
    """The finding for a file that cannot be read, so that the check goes on."""
    return Finding(file=path.name, problem=f"cannot be read: {error.strerror or error}")


def _damage_of_shard(
    job: VerifyJob, path: Path, lines: bytes | None, heartbeat: Heartbeat, poisoned: dict[int, str]
) -> list[Finding]:
    """What is wrong with the shard itself; `lines` is the content of its index, None if the index is not sound."""
    equal = sha256_of(path) == job.entry.sha256
    if equal and not job.decode:
        # Without parsing the index: its compiled loops take longer to load than a small shard takes to read.
        return []
    index = None if lines is None else parse_index(lines, index_path(path), shard_bytes=job.entry.num_bytes)
    rows = _rows(job, index)
    if rows is None:
        return [] if equal else [Finding(file=path.name, problem=OTHER_HASH)]
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        damage = list(_damaged_samples(job, rows, index, content, heartbeat, poisoned))
        if not damage and not equal:
            damage = [_other_change(path.name, rows, content)]
    return damage


def _other_change(name: str, rows: SampleRows, content: mmap.mmap) -> Finding:
    """A change that no checksum covers, as in a stored caption, located by the mark in the next sample's header."""
    if not len(rows) or not _is_ours(rows, content):
        return Finding(file=name, problem=OTHER_HASH)
    digest, begin = hashlib.sha256(), 0
    key = rows.keys[0]
    for following, start in zip(rows.keys, rows.starts_N.tolist(), strict=True):
        header = content[start - HEADER_BYTES : start]
        digest.update(content[begin : start - HEADER_BYTES])
        begin = start - HEADER_BYTES
        if header[MARK_FIELD].rstrip(b"\0") != content_mark(digest):
            break
        key = following
    # Without a break it is the last sample, since no mark follows it.
    return Finding(file=name, key=key, problem="a member stored with its image changed since it was written")


def _rows(job: VerifyJob, index: ShardIndex | None) -> SampleRows | None:
    """The shard's samples as written: from `index.bin`, or else from a sound `.idx`, which has no checksums."""
    if job.first_sample is not None:
        samples = SampleIndex.open(job.folder, check=False)
        return samples.rows(job.first_sample, job.first_sample + job.entry.num_samples)
    return None if index is None else index.rows()


def _damaged_samples(
    job: VerifyJob,
    rows: SampleRows,
    index: ShardIndex | None,
    content: mmap.mmap,
    heartbeat: Heartbeat,
    poisoned: dict[int, str],
) -> Iterator[Finding]:
    """One finding per damaged sample, and one if the end of the tar is damaged."""
    ours, name = _is_ours(rows, content), job.entry.name
    starts = rows.starts_N.tolist()
    for i, key in enumerate(rows.keys):
        heartbeat(i)
        start, end = starts[i], starts[i] + int(rows.sizes_N[i])
        if end > len(content):
            yield Finding(file=name, key=key, offset=start, problem="its image extends beyond the end of the shard")
            continue
        image = content[start:end]
        label = int(rows.labels_N[i])
        if job.first_sample is not None and image_checksum(image) != rows.checksums_N[i]:
            yield Finding(file=name, key=key, offset=start, problem="its image changed since it was written")
        elif problem := _image_problem(job, image, heartbeat, poisoned.get(i)):
            yield Finding(file=name, key=key, offset=start, problem=problem)
        elif index is not None and (problem := _label_problem(job, index, i, label, content, ours)):
            yield Finding(file=name, key=key, offset=int(index.label_offsets[i]), problem=problem)
        elif ours:
            following = starts[i + 1] - HEADER_BYTES if i + 1 < len(rows) else None
            damage = _member_damage(key, start - HEADER_BYTES, content) or _damage_until(key, end, following, content)
            if damage:
                yield Finding(file=name, key=key, offset=damage[0], problem=damage[1])
    if ours and len(rows) and any(content[-END_BYTES:]):
        yield Finding(file=name, offset=len(content) - END_BYTES, problem="damaged end of the tar")


def _image_problem(job: VerifyJob, image: bytes, heartbeat: Heartbeat, poisoned: str | None) -> str | None:
    from ...images.stored import decode_stored

    if job.first_sample is not None and not job.decode:
        return None  # its checksum was correct
    if poisoned:
        return poisoned
    try:
        with heartbeat.decoding():
            decode_stored(image, job.pixels)
    except InputError as error:
        return f"does not decode: {error}"
    return None


def _label_problem(job: VerifyJob, index: ShardIndex, i: int, label: int, content: mmap.mmap, ours: bool) -> str | None:
    """What is wrong with a label that is written as a number; names and JSON in adopted sets are not checked."""
    offset, size = int(index.label_offsets[i]), int(index.label_sizes[i])
    found = content[offset : offset + size]
    if not ours:
        found = found.strip()  # other tools may end the number with a line break
    if not job.labels_are_indices or index.label_ext != LABEL_EXT:
        return None
    if job.first_sample is None:
        wrong = found != b"%d" % NO_LABEL and (
            not found.isdigit() or len(found) > MAX_LABEL_DIGITS or int(found) >= job.num_classes
        )
        return f"label {found[:20]!r} is not one of the {job.num_classes} classes" if wrong else None
    return f"label {found[:20]!r}, but it was written as {label}" if found != b"%d" % label else None


def _is_ours(rows: SampleRows, content: mmap.mmap) -> bool:
    """Whether any image's header carries our mark; in a shard that alexkit wrote, all of them do."""
    headers = (content[max(0, start - HEADER_BYTES) : start] for start in rows.starts_N.tolist())
    return any(header[MARK_FIELD].startswith(MARK_PREFIX) for header in headers)


def _member_damage(key: str, position: int, content: mmap.mmap) -> tuple[int, str] | None:
    """Offset and problem if the header at `position` is damaged or not that of a member of the sample, else None."""
    try:
        member = tarfile.TarInfo.frombuf(content[position : position + HEADER_BYTES], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return position, "damaged tar header"
    return None if member.name.startswith(f"{key}.") else (position, f"its tar header names {member.name[:80]!r}")


def _damage_until(key: str, position: int, stop: int | None, content: mmap.mmap) -> tuple[int, str] | None:
    """Walk padding, headers and members from the end of an image to the next sample, or to the end of the tar."""
    while True:
        padded = position + -position % tarfile.BLOCKSIZE
        if any(content[position:padded]):
            return position, "damaged padding"
        position = padded
        if position == stop or (stop is None and not any(content[position : position + HEADER_BYTES])):
            return None
        if stop is not None and position > stop:
            return position, "a member overlaps the next sample"
        if damage := _member_damage(key, position, content):
            return damage
        size = tarfile.TarInfo.frombuf(content[position : position + HEADER_BYTES], "utf-8", "surrogateescape").size
        position += HEADER_BYTES + size
