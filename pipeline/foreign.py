"""Shard sets that were not made by us: WebDataset tars get an index, statistics and a manifest of their own.

The tars stay where they are, unchanged: the new folder holds links to them. What the rest of this package reads is then
no different from a set that `alexprep` wrote.
"""

import hashlib
import tarfile
from pathlib import Path

import numpy as np

from ..prep import ColourStatistics, Manifest, PixelOptions, PixelSums
from ..prep.files import whole_file
from ..prep.manifest import MANIFEST_NAME, STATISTICS_NAME, ClassEntry
from ..prep.shard import INDEX_VERSION, LABEL_EXT, ShardEntry, index_path
from .reference import decode

IMAGE_CODECS = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png"}


def adopt_webdataset(source: Path, folder: Path, *, split: str = "train") -> Path:
    """Make `folder` a shard set of the `*.tar` in `source`, once; later calls find it complete and return at once.

    Every sample needs one image (jpg, jpeg or png, one kind in the whole set) and one `cls` member with the class index
    in ASCII; other members stay available as extras. All images must be square and of one size. Each is decoded once,
    for the statistics. Raises ValueError naming tar and member for anything else.
    """
    if (folder / MANIFEST_NAME).exists():
        return folder
    tars = sorted(source.glob("*.tar"))
    if not tars:
        raise ValueError(f"{source}: no *.tar here; name the folder that holds the shards")
    folder.mkdir(parents=True, exist_ok=True)
    size_px, codec = _first_image(tars[0])
    sums, largest_label, entries = PixelSums.zero(size_px), 0, []
    for tar in tars:
        lines, tar_sums, label = _read_tar(tar, size_px, codec)
        sums, largest_label = sums + tar_sums, max(largest_label, label)
        link = folder / tar.name
        link.unlink(missing_ok=True)
        link.symlink_to(tar.resolve())
        index = "\n".join([f"{INDEX_VERSION} {len(lines)}", *lines, ""]).encode()
        with whole_file(index_path(link)) as index_file:
            index_file.write(index)
        with tar.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        entries.append(
            ShardEntry(
                name=tar.name,
                num_samples=len(lines),
                num_bytes=tar.stat().st_size,
                sha256=digest,
                index_sha256=hashlib.sha256(index).hexdigest(),
            )
        )
    sums.save(folder / STATISTICS_NAME)
    Manifest(
        split=split,
        seed=0,
        images_per_shard=max(entry.num_samples for entry in entries),
        pixels=PixelOptions(size_px=size_px, codec=codec),
        software={},
        classes=tuple(ClassEntry(index=i, id=str(i), name=str(i)) for i in range(largest_label + 1)),
        shards=tuple(entries),
        quarantined=(),
        colour=ColourStatistics.from_sums(sums),
        statistics_sha256=hashlib.sha256((folder / STATISTICS_NAME).read_bytes()).hexdigest(),
    ).write(folder)
    return folder


def _read_tar(tar: Path, size_px: int, codec: str) -> tuple[list[str], PixelSums, int]:
    """The lines of the tar's index, the statistics of its images, and its largest label."""
    lines, sums, largest_label = [], PixelSums.zero(size_px), 0
    with tar.open("rb") as file:

        def content(member: tarfile.TarInfo) -> bytes:
            file.seek(member.offset_data)
            return file.read(member.size)

        for key, members in _members(tar).items():
            kinds = [ext for ext in members if IMAGE_CODECS.get(ext) == codec]
            if len(kinds) != 1 or LABEL_EXT not in members:
                raise ValueError(
                    f"{tar}: sample {key!r} has the members {', '.join(sorted(members))}; expected one {codec} image "
                    f"and one {LABEL_EXT}"
                )
            image, label = members[kinds[0]], members[LABEL_EXT]
            text = content(label)
            if not text.isdigit() or len(text) > 9:
                raise ValueError(f"{tar}: {label.name} holds {text[:32]!r}, expected only the class index in ASCII")
            try:
                pixels = decode(content(image), codec=codec, size_px=size_px)
            except (OSError, ValueError, SyntaxError) as error:
                raise ValueError(f"{tar}: {image.name} does not decode ({error}); remove it from the tar") from None
            if pixels.shape != (size_px, size_px, 3):
                raise ValueError(
                    f"{tar}: {image.name} is {pixels.shape[1]}x{pixels.shape[0]} px, expected {size_px}x{size_px} as "
                    "the first image; shard them again with 'alexprep shard'"
                )
            sums, largest_label = sums + PixelSums.of(pixels), max(largest_label, int(text))
            lines.append(
                f"{kinds[0]} {image.offset_data} {image.size} {key}.{kinds[0]} "
                f"{LABEL_EXT} {label.offset_data} {label.size} {key}.{LABEL_EXT}"
            )
    return lines, sums, largest_label


def _members(tar: Path) -> dict[str, dict[str, tarfile.TarInfo]]:
    """Key, then extension, to member, in the order of the tar. A key ends at the first dot of the file's name."""
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    try:
        with tarfile.open(tar, "r:") as opened:
            for member in opened:
                if not member.isreg():
                    continue
                folder, slash, name = member.name.rpartition("/")
                stem, dot, ext = name.partition(".")
                key = folder + slash + stem
                if not dot or any(letter.isspace() for letter in key) or not key.isascii():
                    raise ValueError(f"{tar}: {member.name!r} is not KEY.EXTENSION with a key of plain letters")
                if ext.lower() in samples.setdefault(key, {}):
                    raise ValueError(f"{tar}: {member.name} is there twice")
                samples[key][ext.lower()] = member
    except tarfile.TarError as error:
        raise ValueError(f"{tar}: not an uncompressed tar ({error})") from None
    return samples


def _first_image(tar: Path) -> tuple[int, str]:
    """Side in px and codec of the first image."""
    for members in _members(tar).values():
        for ext, member in members.items():
            if ext in IMAGE_CODECS:
                with tar.open("rb") as file:
                    file.seek(member.offset_data)
                    pixels = np.asarray(decode(file.read(member.size), codec=IMAGE_CODECS[ext], size_px=0))
                return pixels.shape[0], IMAGE_CODECS[ext]
    raise ValueError(f"{tar}: holds no jpg, jpeg or png; other formats must be sharded again with 'alexprep shard'")
