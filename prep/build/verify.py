"""Is a shard set still what its manifest says? Three depths: names and sizes, hashes, every image decoded.

A damaged shard is searched for the place: one finding names the sample and the byte where the first thing is wrong.
Shards that others wrote carry no marks of ours: there a changed byte that still decodes has no place, only a hash.
"""

import hashlib
import json
import mmap
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...errors import InputError
from ..format.files import sha256_of
from ..format.manifest import QUARANTINE_NAME, STATISTICS_NAME, Manifest
from ..format.pixel_options import PixelOptions
from ..format.sample_index import SAMPLE_INDEX_NAME
from ..format.shard import (
    END_BYTES,
    HEADER_BYTES,
    LABEL_EXT,
    MARK_FIELD,
    MARK_PREFIX,
    ShardEntry,
    ShardIndex,
    content_mark,
    index_path,
    member_bytes,
    parse_index,
)
from ..workers import Heartbeat, run_jobs

DEPTHS = ("quick", "hashes", "decode")
OTHER_HASH = "its SHA-256 differs from the manifest's"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong: the file's name in the set, and where known the sample and the byte in the file."""

    file: str
    problem: str
    key: str | None = None
    offset: int | None = None

    def __str__(self) -> str:
        place = "" if self.key is None else f": sample {self.key!r}"
        place += "" if self.offset is None else f" at byte {self.offset}"
        return f"{self.file}{place}: {self.problem}"


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyJob:
    """One shard to check, its size known to be right."""

    folder: Path
    entry: ShardEntry
    pixels: PixelOptions
    num_classes: int
    decode: bool


def verify_set(
    folder: Path, *, depth: str = "hashes", num_workers: int = 1, on_progress: Callable[[int], None] = lambda done: None
) -> list[Finding]:
    """Check the shard set in `folder`; what is wrong, in the order of the manifest. Empty means that nothing is.

    Raises InputError when there is no manifest or it cannot be read: then nothing can be said of the rest.
    """
    assert depth in DEPTHS
    manifest = Manifest.read(folder)
    findings = _check_names_and_sizes(folder, manifest)
    if depth == "quick":
        return findings
    findings += _check_small_files(folder, manifest)
    wrong_size = {finding.file for finding in findings}
    jobs = [
        (
            VerifyJob(
                folder=folder,
                entry=entry,
                pixels=manifest.pixels,
                num_classes=len(manifest.classes),
                decode=depth == "decode",
            ),
            entry.num_samples,
        )
        for entry in manifest.shards
        if not {entry.name, index_path(Path(entry.name)).name} & wrong_size
    ]
    with closing(run_jobs(verify_one_shard, jobs, num_workers=num_workers, on_progress=on_progress)) as results:
        for _, found in results:
            findings += found
    order = {entry.name: i for i, entry in enumerate(manifest.shards)}
    return sorted(findings, key=lambda finding: order.get(Path(finding.file).stem + ".tar", -1))


def _check_names_and_sizes(folder: Path, manifest: Manifest) -> list[Finding]:
    findings = []
    for entry in manifest.shards:
        path = folder / entry.name
        if not path.exists():
            findings.append(Finding(file=entry.name, problem="missing"))
        elif (num_bytes := path.stat().st_size) != entry.num_bytes:
            findings.append(Finding(file=entry.name, problem=f"{num_bytes} bytes, expected {entry.num_bytes}"))
        if not index_path(path).exists():
            findings.append(Finding(file=index_path(path).name, problem="missing"))
    findings += [Finding(file=name, problem="missing") for name in _hashed(manifest) if not (folder / name).exists()]
    known = {entry.name for entry in manifest.shards}
    for path in sorted(folder.glob("*.tar")):
        if path.name not in known:
            findings.append(Finding(file=path.name, problem="not in the manifest, but a reader of *.tar would read it"))
    return findings


def _hashed(manifest: Manifest) -> dict[str, str]:
    """The files beside the shards whose SHA-256 the manifest holds, and those; sets of format 2 have no index.bin."""
    hashes = {STATISTICS_NAME: manifest.statistics_sha256, SAMPLE_INDEX_NAME: manifest.index_sha256}
    return {name: digest for name, digest in hashes.items() if digest}


def _check_small_files(folder: Path, manifest: Manifest) -> list[Finding]:
    findings = []
    for name, digest in _hashed(manifest).items():
        if (folder / name).exists() and sha256_of(folder / name) != digest:
            findings.append(Finding(file=name, problem=OTHER_HASH))
    quarantine = folder / QUARANTINE_NAME
    lines = [json.dumps(asdict(bad)) for bad in manifest.quarantined]
    if not quarantine.exists() or quarantine.read_text(errors="replace").splitlines() != lines:
        findings.append(Finding(file=QUARANTINE_NAME, problem="does not say what the manifest says"))
    return findings


def verify_one_shard(job: VerifyJob, heartbeat: Heartbeat, poisoned: dict[int, str]) -> list[Finding]:
    """The work of one worker: hashes, and where they differ or `decode` asks for it, every sample."""
    path = job.folder / job.entry.name
    index_file = index_path(path)
    lines = index_file.read_bytes()
    if hashlib.sha256(lines).hexdigest() != job.entry.index_sha256:
        return [Finding(file=index_file.name, problem=OTHER_HASH)]
    index = parse_index(lines, index_file, shard_bytes=job.entry.num_bytes)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        equal = hashlib.sha256(content).hexdigest() == job.entry.sha256
        if equal and not job.decode:
            return []
        if _has_marks(index, content):
            first = _first_wrong_sample(job, index, content, heartbeat, poisoned)
            if first is None and not equal:
                first = _changed_sample(path.name, index, len(index) - 1)  # the only one that no mark follows
        else:
            first = _first_bad_member(job, index, content, heartbeat, poisoned)
            if first is None and not equal:
                first = Finding(file=path.name, problem=OTHER_HASH)
    return [] if first is None else [first]


def _first_wrong_sample(
    job: VerifyJob, index: ShardIndex, content: mmap.mmap, heartbeat: Heartbeat, poisoned: dict[int, str]
) -> Finding | None:
    name, end = job.entry.name, 0
    digest = hashlib.sha256()
    for i, key in enumerate(index.keys):
        heartbeat(i)
        mark = content_mark(digest)
        if i and _says_another_mark(index, i, content, mark):
            return _changed_sample(name, index, i - 1)
        begin = end
        for ext, offset, size in _members(index, i):
            member = content[offset : offset + size]
            expected = member_bytes(f"{key}.{ext}", member, mark)
            start = offset - HEADER_BYTES
            found = content[start : start + len(expected)]
            if found != expected:
                byte = start + next(j for j, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b)
                return Finding(file=name, key=key, offset=byte, problem=f"damaged tar header or padding of its .{ext}")
            end = start + len(expected)
            if problem := _problem(job, ext, member, heartbeat, poisoned.get(i)):
                return Finding(file=name, key=key, offset=offset, problem=problem)
        digest.update(content[begin:end])
    tail = content[end:]
    if len(tail) < END_BYTES or any(tail):
        return Finding(file=name, offset=end, problem="damaged end of the tar")
    return None


def _first_bad_member(
    job: VerifyJob, index: ShardIndex, content: mmap.mmap, heartbeat: Heartbeat, poisoned: dict[int, str]
) -> Finding | None:
    """As `_first_wrong_sample`, for a shard that others wrote: what its headers may say is not ours to judge."""
    for i, key in enumerate(index.keys):
        heartbeat(i)
        for ext, offset, size in _members(index, i):
            if problem := _problem(job, ext, content[offset : offset + size], heartbeat, poisoned.get(i)):
                return Finding(file=job.entry.name, key=key, offset=offset, problem=problem)
    return None


def _members(index: ShardIndex, i: int) -> tuple[tuple[str, int, int], tuple[str, int, int]]:
    """Extension, offset and size of the image and of the label of sample i."""
    return (
        (index.image_ext, int(index.image_offsets[i]), int(index.image_sizes[i])),
        (LABEL_EXT, int(index.label_offsets[i]), int(index.label_sizes[i])),
    )


def _problem(job: VerifyJob, ext: str, member: bytes, heartbeat: Heartbeat, poisoned: str | None) -> str | None:
    """What is wrong with the content of a member."""
    from ..images.stored import decode_stored

    if ext == LABEL_EXT:
        wrong = not member.isdigit() or int(member) >= job.num_classes
        return f"label {member[:20]!r} is none of the {job.num_classes} classes" if wrong else None
    if poisoned:
        return poisoned
    try:
        with heartbeat.decoding():
            decode_stored(member, job.pixels)
    except InputError as error:
        return f"does not decode: {error}"
    return None


def _has_marks(index: ShardIndex, content: mmap.mmap) -> bool:
    """Whether any header carries a mark of ours, as all of them do in a shard that we wrote."""
    offsets = np.concatenate([index.image_offsets, index.label_offsets]).tolist()
    headers = (content[offset - HEADER_BYTES : offset] for offset in offsets)
    return any(header[MARK_FIELD].startswith(MARK_PREFIX) for header in headers)


def _says_another_mark(index: ShardIndex, i: int, content: mmap.mmap, mark: bytes) -> bool:
    """Whether the header of sample i is whole, but was written after other content than what lies before it."""
    offset = int(index.image_offsets[i])
    header = content[offset - HEADER_BYTES : offset]
    said = header[MARK_FIELD].rstrip(b"\0")
    image = bytes(int(index.image_sizes[i]))  # a header knows only its size
    name = f"{index.keys[i]}.{index.image_ext}"
    return said != mark and header == member_bytes(name, image, said)[:HEADER_BYTES]


def _changed_sample(name: str, index: ShardIndex, i: int) -> Finding:
    problem = "its image or label changed since it was written, though it can be read"
    return Finding(file=name, key=index.keys[i], offset=int(index.image_offsets[i]), problem=problem)
