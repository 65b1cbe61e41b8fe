"""Duplicate images within a set or across its splits: identical bytes, or the same picture with different bytes.

Identical bytes are found by the checksums in `index.bin`; only images with equal checksums are read. A picture that was
re-encoded, resized or brightened is found by a perceptual hash: each of its 128 bits tells which of two neighboring
cells of a 9 x 9 grid is brighter. Copies differ in 0 to 7 bits, different photographs in 30 or more.
"""

import io
import mmap
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import InputError
from ..format.files import naming
from ..format.pixel_options import PixelOptions
from ..format.shard_set import ShardSet
from ..images.geometry import central_square
from ..images.stored import decode_stored
from ..workers import Heartbeat, run_jobs

MAX_BITS = 7
"""Images whose hashes differ in at most this many bits count as copies; all pairs that differ in up to 3 are found."""
MIN_CONTRAST = 8
"""Gray levels that the 9 x 9 grid must span for an image to have a hash: in plain areas the bits are noise."""
MAX_BUCKET = 500
"""Larger groups of images with the same 32 bits in their hashes are similar plain images, not copies."""
_GRID = 9
_DRAFT = 8  # decode at 1/8 size in about 1/8 of the time, unless that gives fewer pixels than grid cells
_BITS_SET = np.array([byte.bit_count() for byte in range(256)], np.int64)


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Where:
    """One sample in one of several shard sets."""

    set_number: int
    """The number of the set, from 0."""
    index: int
    """The sample's index in its set."""


Group = tuple[Where, ...]


def same_bytes(shard_sets: Sequence[ShardSet]) -> list[Group]:
    """Groups of samples whose stored images are byte-identical; sets without checksums (format 2) are ignored."""
    codes, wheres = [], []
    for number, shard_set in enumerate(shard_sets):
        index = shard_set.sample_index()
        if index.checksums_N is not None:
            codes.append(index.checksums_N.astype(np.uint64) << np.uint64(32) | index.sizes_N.astype(np.uint64))
            wheres += [(number, len(index))]
    if not codes:
        return []
    numbers_N = np.concatenate([np.full(count, number) for number, count in wheres])
    indices_N = np.concatenate([np.arange(count) for _, count in wheres])
    codes_N = np.concatenate(codes)
    order = np.argsort(codes_N, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(codes_N[order]) != 0, True])
    groups = []
    for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        if last - first > 1:
            rows = order[first:last]
            found = [Where(set_number=int(numbers_N[row]), index=int(indices_N[row])) for row in rows]
            contents = [stored_bytes(shard_sets[where.set_number], where.index) for where in found]
            for content in dict.fromkeys(contents):  # different images may share a 32-bit checksum
                group = tuple(sorted(w for w, other in zip(found, contents, strict=True) if other == content))
                groups += [group] if len(group) > 1 else []
    return sorted(groups)


def stored_bytes(shard_set: ShardSet, index: int) -> bytes:
    """The stored image of one sample."""
    rows = shard_set.sample_index()
    path = shard_set.folder / shard_set.manifest.shards[rows.shard_of(index)].name
    with naming(path), path.open("rb") as file:
        file.seek(int(rows.starts_N[index]))
        return file.read(int(rows.sizes_N[index]))


@dataclass(frozen=True, kw_only=True, slots=True)
class HashJob:
    """One stored shard to hash."""

    path: Path
    starts_N: NDArray[np.int64]
    sizes_N: NDArray[np.uint32]
    pixels: PixelOptions


def perceptual_hashes(
    shard_set: ShardSet, *, num_workers: int, on_progress: Callable[[int], None]
) -> NDArray[np.uint32]:
    """The 128-bit hash of every image, uint32 (N, 4); zeros for an image without contrast.

    Raises InputError, naming the shard, if an image does not decode.
    """
    index, shards = shard_set.sample_index(), shard_set.manifest.shards
    jobs = []
    for number, shard in enumerate(shards):
        rows = slice(int(index.first_S[number]), int(index.first_S[number + 1]))
        job = HashJob(
            path=shard_set.folder / shard.name,
            starts_N=np.array(index.starts_N[rows]),
            sizes_N=np.array(index.sizes_N[rows]),
            pixels=shard_set.manifest.pixels,
        )
        jobs.append((job, shard.num_samples))
    hashes: dict[str, NDArray[np.uint32]] = {}
    with closing(run_jobs(hash_one_shard, jobs, num_workers=num_workers, on_progress=on_progress)) as results:
        for done, found in results:
            hashes[done.path.name] = found
    return np.concatenate([hashes[shard.name] for shard in shards])


def hash_one_shard(job: HashJob, heartbeat: Heartbeat, poisoned: dict[int, str]) -> NDArray[np.uint32]:
    """A worker's task."""
    hashes = np.zeros((len(job.starts_N), 4), np.uint32)
    with job.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for i, (start, size) in enumerate(zip(job.starts_N.tolist(), job.sizes_N.tolist(), strict=True)):
            heartbeat(i)
            if i not in poisoned:
                with heartbeat.decoding():
                    try:
                        hashes[i] = perceptual_hash(content[start : start + size], job.pixels)
                    except (InputError, OSError, SyntaxError) as error:  # Pillow has a SyntaxError for some damage
                        raise InputError(
                            f"{job.path}: the image at offset {start} does not decode ({error}); run 'alexprep verify'"
                        ) from None
    return hashes


def perceptual_hash(data: bytes, pixels: PixelOptions) -> NDArray[np.uint32]:
    """The 128-bit hash of one stored image, uint32 (4,)."""
    draft_px = pixels.size_px // _DRAFT
    if pixels.format == "jpeg" and pixels.fit == "crop" and draft_px >= _GRID:
        image: Image.Image = Image.open(io.BytesIO(data))
        image.draft("L", (draft_px, draft_px))
    else:
        image = Image.fromarray(np.ascontiguousarray(central_square(decode_stored(data, pixels))))
    small = np.asarray(image.convert("L").resize((_GRID, _GRID), Image.Resampling.BOX), np.int16)
    if int(small.max()) - int(small.min()) < MIN_CONTRAST:
        return np.zeros(4, np.uint32)
    right, down = small[:8, 1:] > small[:8, :-1], small[1:, :8] > small[:-1, :8]
    return np.packbits(np.concatenate([right.ravel(), down.ravel()])).view(np.uint32)


def same_pictures(hashes: Sequence[NDArray[np.uint32]]) -> list[Group]:
    """Groups of samples across sets whose hashes, (N, 4) per set, are linked by pairs within `MAX_BITS` bits."""
    numbers_N = np.concatenate([np.full(len(one), number) for number, one in enumerate(hashes)])
    indices_N = np.concatenate([np.arange(len(one)) for one in hashes])
    hashes_N4 = np.concatenate(list(hashes))
    hashed = np.flatnonzero(hashes_N4.any(axis=1))
    leader = np.arange(len(hashes_N4))  # union-find: the smallest known member of each group
    for word in range(4):  # if at most 3 bits differ, at least one of the four words is equal
        order = hashed[np.argsort(hashes_N4[hashed, word], kind="stable")]
        starts = np.flatnonzero(np.r_[True, np.diff(hashes_N4[order, word].astype(np.int64)) != 0, True])
        for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            if 1 < last - first <= MAX_BUCKET:
                bucket = order[first:last]
                different = (hashes_N4[bucket][:, None] ^ hashes_N4[bucket][None]).view(np.uint8)
                bits = _BITS_SET[different].sum(axis=2)
                for a, b in np.argwhere(np.triu(bits <= MAX_BITS, 1)):
                    _join(leader, int(bucket[a]), int(bucket[b]))
    groups: dict[int, list[Where]] = {}
    for row in hashed.tolist():
        where = Where(set_number=int(numbers_N[row]), index=int(indices_N[row]))
        groups.setdefault(_find(leader, row), []).append(where)
    return sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def _find(leader: NDArray[np.int64], row: int) -> int:
    while leader[row] != row:
        leader[row] = leader[leader[row]]
        row = int(leader[row])
    return row


def _join(leader: NDArray[np.int64], a: int, b: int) -> None:
    first, second = sorted((_find(leader, a), _find(leader, b)))
    leader[second] = first
