"""Adopted shard sets: WebDataset tars made elsewhere get an index, statistics and a manifest.

The tars stay where they are, unchanged; the new folder contains links to them. To the rest of this package it is a
shard set like any other, except that damage is located less exactly, since the tars' headers do not carry our marks.
"""

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...cores import num_cores
from ...errors import InputError
from ..format.files import PARTIAL_SUFFIX, existing_part, sha256_of, whole_file
from ..format.manifest import (
    MANIFEST_NAME,
    QUARANTINE_NAME,
    STATISTICS_NAME,
    ClassEntry,
    Manifest,
    complete_set,
)
from ..format.pixel_options import ImageFormat, PixelOptions
from ..format.sample_index import SAMPLE_INDEX_NAME, SampleRows, image_checksum
from ..format.shard import INDEX_VERSION, LABEL_EXT, ShardEntry, index_path, parse_index
from ..format.stats import ColorStatistics, PixelSums
from ..sources.inputs import read_range
from ..sources.known_formats import refuse_known_format
from ..sources.labels import RawLabel, class_indices
from ..sources.options import SourceOptions
from ..sources.split_names import split_in
from ..sources.tars.left_beside import refuse_compressed_among
from ..sources.tars.samples import LabeledSample, labeled_samples
from ..storage import local_path

# Manifest fields that tars made elsewhere do not record; the pixel options are fields of `pixels`.
UNKNOWN = (
    "pixels.filter",
    "pixels.quality",
    "pixels.chroma",
    "pixels.lenient",
    "pixels.decode",
    "pixels.geometry",
    "seed",
    "software",
    "source_sha256",
)
FORMATS: dict[str, ImageFormat] = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "webp": "webp"}


class _Tar(NamedTuple):
    """The contents of one tar: its index, its manifest entry, and its samples with their labels as written."""

    lines: bytes
    entry: ShardEntry
    rows: SampleRows
    labels: list[RawLabel]


def adopt_webdataset(
    source: str | Path,
    folder: str | Path,
    *,
    split: str = "train",
    class_names: Sequence[str] | None = None,
    label_key: str | None = None,
    image_column: str | None = None,
    on_progress: Callable[[int], None] = lambda num_bytes: None,
) -> Path:
    """Make `folder` a shard set of the tars in `source`; if it is already complete, return immediately.

    Every sample needs one image (jpg, jpeg, png or webp, one format for the whole set) and one label, a class index or
    a class name, in a `cls` member or under a key of a `json` member; other members stay available as extras. Class
    names are looked up in `class_names` or, without it, become classes sorted as text. All images must be square, of
    one size, upright and without transparency, since loaders use them as stored. Each image is decoded once, on all
    cores, for the statistics. What the tars do not record, such as the filter that resized the images, is recorded as
    unknown. Files that an interrupted call left in `folder` are written again.

    Raises InputError, naming tar and sample, for any other tar; also if `folder` has other contents (`source` itself,
    for example), or was made from other tars than `source` has now. Nothing is written then.

    Args:
        source: the folder that contains the tars.
        folder: the new folder, for links to the tars and the other files of a shard set.
        split: the split of the set; of tars with a split in their names, only those of this split are used.
        class_names: the name of each class, in order; if None, classes are named by their numbers or their labels.
        label_key: the JSON key or the member that contains the label, if it is not one of the usual ones.
        image_column: the member extension of the image, such as `jpg`, if samples contain several images.
        on_progress: called with the number of bytes read so far.
    """
    source, folder = local_path(source), local_path(folder)
    tars = tars_of(source, split)
    if (folder / MANIFEST_NAME).exists():
        _refuse_other_tars(folder, tars)
        return folder
    if folder.exists() and not _is_left_over(folder, source, tars):
        raise InputError(f"{folder}: not empty, and not a shard set; choose a new folder for the links to the tars")
    _check_class_names(class_names)
    _refuse_without_links(folder)
    if image_column is not None and (
        image_column.startswith(".") or image_column.lower().rpartition(".")[2] not in FORMATS
    ):
        raise InputError(
            f"--image-column {image_column}: expected a member extension without its dot, such as {', '.join(FORMATS)}"
        )
    options = SourceOptions(label_key=label_key, image_column=image_column)
    pixels = _pixels_of(tars, options)
    lock, stopped, num_bytes = threading.Lock(), threading.Event(), 0

    def count(more: int) -> None:
        nonlocal num_bytes
        if stopped.is_set():
            raise InterruptedError
        with lock:
            num_bytes += more
            on_progress(num_bytes)

    sums, found = PixelSums.zero(pixels.size_px), []
    with ThreadPoolExecutor(num_cores()) as threads:
        try:
            for one, tar_sums in threads.map(lambda tar: _read_tar(tar, pixels, options, count), tars):
                sums = sums + tar_sums
                found.append(one)
        except BaseException:
            stopped.set()  # else Ctrl-C would wait until every tar in progress is read
            threads.shutdown(cancel_futures=True)
            raise
    classes, rows = _labeled(source, tars, found, class_names)
    folder.mkdir(parents=True, exist_ok=True)
    for tar, one in zip(tars, found, strict=True):
        link = folder / tar.name
        link.unlink(missing_ok=True)  # left by an interrupted call
        link.symlink_to(tar.resolve())
        with whole_file(index_path(link)) as file:
            file.write(one.lines)
    manifest = Manifest(
        split=split,
        seed=0,
        images_per_shard=max(one.entry.num_samples for one in found),
        pixels=pixels,
        software={},
        classes=classes,
        shards=tuple(one.entry for one in found),
        quarantined=(),
        color=ColorStatistics.from_sums(sums),
        unknown=UNKNOWN,
    )
    complete_set(folder, manifest, sums, rows)
    return folder


def tars_of(source: Path, split: str) -> list[Path]:
    """The tars in `source` that belong to `split`; InputError if there are none.

    If no tar has a split in its name, all belong to `split`; InputError if only some have one.
    """
    tars = sorted(source.glob("*.tar"))
    said = {tar: found[0] if (found := split_in(tar.name)) else None for tar in tars}
    kept = [tar for tar in tars if said[tar] in (split, None)]
    if not source.is_dir():
        raise InputError(f"{source}: no such folder; pass the folder that contains the tars")
    if not tars:
        refuse_known_format(source)
    if not kept:
        others = ", ".join(sorted({name for name in said.values() if name}))
        inner = next((tar.parent for tar in sorted(source.glob("*/*.tar"))), None)
        hint = f"pass the folder that contains the tars{f', e.g. {inner}' if inner else ''}"
        hint = f"its tars belong to {others}: use --split {others.split(', ')[0]}" if others else hint
        raise InputError(f"{source}: no tars of the {split} split here; {hint}")
    if None in said.values() and len(set(said.values())) > 1:
        tar = next(tar for tar in tars if said[tar] is None)
        raise InputError(f"{tar}: no split in its name, unlike other tars here; rename it or move it elsewhere")
    refuse_compressed_among(source, split if set(said.values()) != {None} else None)
    return kept


def _is_left_over(folder: Path, source: Path, tars: Sequence[Path]) -> bool:
    """Whether `folder` contains only what a call for these tars left behind when interrupted or out of disk space."""
    if folder.samefile(source):
        return False
    links = {tar.name: tar.resolve() for tar in tars}
    files = {index_path(tar).name for tar in tars} | {SAMPLE_INDEX_NAME, QUARANTINE_NAME, STATISTICS_NAME}
    return all(
        links.get(path.name) == path.resolve()
        if path.is_symlink()
        else path.is_file() and (path.name in files or path.name.endswith(PARTIAL_SUFFIX))
        for path in folder.iterdir()
    )


def _refuse_without_links(folder: Path) -> None:
    """Before all images are decoded: InputError if there can be no links in `folder`, OSError if nothing can."""
    trial = existing_part(folder) / f".alexkit-link-{os.getpid()}"
    try:
        trial.unlink(missing_ok=True)  # of a killed process; in containers, numbers repeat
        trial.symlink_to("nowhere")
        trial.unlink()
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP):
            raise InputError(
                f"{folder}: this disk has no symbolic links (exFAT, for example), and an adopted set consists of links "
                "to the tars; name a folder on another disk, or make a new set with 'alexprep shard'"
            ) from None
        raise OSError(error.errno, error.strerror, str(folder)) from None


def _refuse_other_tars(folder: Path, tars: Sequence[Path]) -> None:
    """InputError if `folder` was made from other tars than `tars`, or if their sizes have changed."""
    before = {entry.name: entry.num_bytes for entry in Manifest.read(folder).shards}
    now = {tar.name: tar.stat().st_size for tar in tars}
    if changed := sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name)):
        raise InputError(
            f"{folder}: made from {len(before)} tars, but there are {len(now)} now, and {changed[0]} is new, missing "
            "or of a different size; choose a new folder, or remove this one (the tars stay)"
        )


def _check_class_names(names: Sequence[str] | None) -> None:
    """InputError for an empty or repeated class name: labels may be names."""
    for i, name in enumerate(names or ()):
        if not name.strip():
            raise InputError(f"--classes: line {i + 1} is empty; name every class, one per line, in order")
    if names is not None and len(set(names)) < len(names):
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise InputError(f"--classes: two classes are called {twice!r}; give every class a different name")


def _labeled(
    source: Path, tars: Sequence[Path], found: Sequence[_Tar], class_names: Sequence[str] | None
) -> tuple[tuple[ClassEntry, ...], list[SampleRows]]:
    """The class table, and the rows of every tar with their class indices filled in."""
    labels = [label for one in found for label in one.labels]
    sizes = [len(one.labels) for one in found]
    starts = np.cumsum([0, *sizes])

    def where(i: int) -> str:
        number = int(np.searchsorted(starts, i, side="right")) - 1
        return f"{tars[number]}: sample {found[number].rows.keys[i - starts[number]]!r}"

    largest = max((label for label in labels if isinstance(label, int)), default=-1)
    if class_names is not None and largest >= len(class_names):
        raise InputError(
            f"{source}: label {largest} needs at least {largest + 1} class names, but --classes has "
            f"{len(class_names)}; name every class, one per line, in order"
        )
    indices, ids, _ = class_indices(labels, where, table=class_names)
    are_numbers = class_names is not None and all(isinstance(label, int) for label in labels)
    classes = tuple(
        ClassEntry(index=i, id=str(i) if are_numbers else class_id, name=class_id) for i, class_id in enumerate(ids)
    )
    pieces = np.split(np.array(indices, np.int32), starts[1:-1])
    return classes, [replace(one.rows, labels_N=piece) for one, piece in zip(found, pieces, strict=True)]


def _pixels_of(tars: Sequence[Path], options: SourceOptions) -> PixelOptions:
    """Side and format of the first image; all others must match them."""
    from ..images.decode import decode_rgb

    for tar in tars:
        for sample in labeled_samples(tar, image_kinds=tuple(FORMATS), options=options):
            try:
                return PixelOptions(size_px=len(decode_rgb(_image(tar, sample))), format=FORMATS[sample.kind])
            except ValueError as error:
                raise InputError(
                    f"{tar}: sample {sample.key!r}: {error}; shard the images again with 'alexprep shard'"
                ) from None
    raise InputError(f"{tars[0]}: contains no samples; expected KEY.jpg, KEY.png or KEY.webp, and KEY.{LABEL_EXT}")


def _read_tar(
    tar: Path, pixels: PixelOptions, options: SourceOptions, count: Callable[[int], None]
) -> tuple[_Tar, PixelSums]:
    """Read every sample and check all that a loader will rely on; calls `count` with the bytes read since last time."""
    from ..images.running_sums import RunningSums
    from ..images.stored import decode_stored

    sums, lines, counted = RunningSums(pixels.size_px), [], 0
    samples: list[LabeledSample] = []
    checksums: list[int] = []
    kinds = tuple(kind for kind, format_ in FORMATS.items() if format_ == pixels.format)
    for sample in labeled_samples(tar, image_kinds=kinds, options=options):
        _check_key(tar, sample, pixels)
        try:
            content = _image(tar, sample)
            sums.add(decode_stored(content, pixels))
        except ValueError as error:
            raise InputError(
                f"{tar}: sample {sample.key!r}: {error}; remove it from the tar, or shard the images again with "
                "'alexprep shard'"
            ) from None
        samples.append(sample)
        checksums.append(image_checksum(content))
        # A .jpeg is indexed as .jpg: a set has one extension for its images, and a shard one for its labels.
        assert sample.label_member is not None  # unlabeled samples were refused
        label_ext = _label_ext(sample)
        if label_ext != _label_ext(samples[0]):
            raise InputError(
                f"{tar}: sample {sample.key!r} is labeled by its {label_ext} member, but {samples[0].key!r} is not; "
                "label all samples of a tar the same way, or shard the images again with 'alexprep shard'"
            )
        members = ((pixels.image_ext, sample.image), (label_ext, sample.label_member))
        lines.append(" ".join(f"{ext} {at.offset} {at.num_bytes} {sample.key}.{ext}" for ext, at in members))
        count(sample.image.offset - counted)
        counted = sample.image.offset
    index = "\n".join([f"{INDEX_VERSION} {len(lines)}", *lines, ""]).encode()
    num_bytes = tar.stat().st_size
    count(num_bytes - counted)
    parse_index(index, index_path(tar), shard_bytes=num_bytes)  # do not adopt what cannot be loaded
    entry = ShardEntry(
        name=tar.name,
        num_samples=len(lines),
        num_bytes=num_bytes,
        sha256=sha256_of(tar),
        index_sha256=hashlib.sha256(index).hexdigest(),
    )
    rows = SampleRows(
        starts_N=np.array([sample.image.offset for sample in samples], np.int64),
        sizes_N=np.array([sample.image.num_bytes for sample in samples], np.uint32),
        labels_N=np.full(len(samples), -1, np.int32),  # until the labels of all tars are known
        checksums_N=np.array(checksums, np.uint32),
        keys=[sample.key for sample in samples],
    )
    return _Tar(index, entry, rows, [sample.label for sample in samples]), sums.total()


def _check_key(tar: Path, sample: LabeledSample, pixels: PixelOptions) -> None:
    """Refuse keys that an index cannot hold: empty, too long, or not visible ASCII."""
    from ..format.index_text import MAX_NAME

    most = MAX_NAME - 1 - max(len(pixels.image_ext), len(_label_ext(sample)))
    if len(sample.key) > most or not sample.key.isascii() or not all("!" <= letter <= "~" for letter in sample.key):
        raise InputError(
            f"{tar}: sample {sample.key!r}: a key must be 1 to {most} visible ASCII characters; rename its members"
        )


def _label_ext(sample: LabeledSample) -> str:
    """The extension under which an index lists the member with the label."""
    is_json = sample.label_member is not None and sample.label_member.name.lower().endswith(".json")
    return "json" if is_json else LABEL_EXT


def _image(tar: Path, sample: LabeledSample) -> bytes:
    return read_range(str(tar), sample.image.offset, sample.image.num_bytes)
