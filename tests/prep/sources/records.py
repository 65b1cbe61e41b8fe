"""Writes RecordIO files by the rules of dmlc-core and of im2rec, knowing nothing of our reader."""

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

MAGIC = 0xCED7230A


class Record(NamedTuple):
    """An image, its label or labels, and its id."""

    image: bytes
    label: float | Sequence[float]
    id: int


def packed(record: Record) -> bytes:
    """The content of a record: a header, labels if there are several, the image."""
    if isinstance(record.label, Sequence):
        labels = struct.pack(f"<{len(record.label)}f", *record.label)
        return struct.pack("<IfQQ", len(record.label), 0, record.id, 0) + labels + record.image
    return struct.pack("<IfQQ", 0, record.label, record.id, 0) + record.image


def framed(content: bytes) -> bytes:
    """The content in frames, divided at the magic number where a reader would look for it."""
    words = [content[at : at + 4] for at in range(0, len(content) - len(content) % 4, 4)]
    magic = struct.pack("<I", MAGIC)
    cuts = [4 * number for number, word in enumerate(words) if word == magic]
    starts = [0, *(cut + 4 for cut in cuts)]
    parts = [content[start:stop] for start, stop in zip(starts, [*cuts, len(content)], strict=True)]
    flags = [0] if len(parts) == 1 else [1, *[2] * (len(parts) - 2), 3]
    frames = b"".join(
        magic + struct.pack("<I", flag << 29 | len(part)) + part for flag, part in zip(flags, parts, strict=True)
    )
    return frames + bytes(-len(frames) % 4)


def write_records(path: Path, records: Iterable[Record], names: Sequence[str] | None = None) -> list[int]:
    """Write a `.rec` with its `.idx` and, if there are names, its `.lst`; returns where the records begin."""
    path.parent.mkdir(parents=True, exist_ok=True)
    records, content, offsets = list(records), bytearray(), []
    for record in records:
        offsets.append(len(content))
        content += framed(packed(record))
    path.write_bytes(content)
    lines = [f"{record.id}\t{offset}\n" for record, offset in zip(records, offsets, strict=True)]
    path.with_suffix(".idx").write_text("".join(lines))
    if names is not None:
        rows = []
        for record, name in zip(records, names, strict=True):
            labels = record.label if isinstance(record.label, Sequence) else [record.label]
            rows.append("\t".join([str(record.id), *(f"{label:f}" for label in labels), name]) + "\n")
        path.with_suffix(".lst").write_text("".join(rows))
    return offsets


def packed_as_records(folder: Path, out: Path) -> Path:
    """The splits of class folders as `.rec` files; in each, one record is divided, and the frame of another damaged."""
    for split in sorted(folder.iterdir()):
        paths = sorted(split.rglob("*.*"))
        ids = sorted({path.parent.name for path in paths})
        images = [path.read_bytes() for path in paths]
        images[1] += bytes(-len(images[1]) % 4) + struct.pack("<I", MAGIC)
        rows = zip(images, paths, strict=True)
        records = [Record(image, ids.index(path.parent.name), i) for i, (image, path) in enumerate(rows)]
        rec = out / f"{split.name}.rec"
        offsets = write_records(rec, records, [f"{path.parent.name}/{path.name}" for path in paths])
        content = bytearray(rec.read_bytes())
        content[offsets[2]] ^= 1
        rec.write_bytes(content)
    return out
