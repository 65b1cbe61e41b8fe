"""WebDataset shards as a source, read in place: tars of `KEY.jpg` (jpeg, png or webp) and `KEY.cls` or `KEY.json`.

A label is the class number in ASCII, or `"label"` in the JSON. Classes are numbers; a shard set that `alexprep` wrote
has its class table beside it. Other members of a sample are passed over.
"""

import itertools
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from .inputs import FileImage, SourceImage, SourceSplit, check_number, numbered_split
from .manifest import MANIFEST_NAME, Manifest
from .tar_index import Member, tar_members

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "webp")
LABEL_EXTENSIONS = ("cls", "json")
MAX_LABEL_BYTES = 2**20
_FIRST_MEMBERS = 50  # enough to see what kind of tar it is
_POSITION = re.compile(r"\d{8}_")  # what `sample_key` puts before a name


def holds_samples(path: Path) -> bool:
    """Whether the tar begins with labelled samples; False also when it is no tar."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        members = tar_members(descriptor, path, 0, path.stat().st_size)
        kinds = {_key_and_kind(member.name)[1] for member in itertools.islice(members, _FIRST_MEMBERS)}
    except ValueError:
        return False
    finally:
        os.close(descriptor)
    return not kinds.isdisjoint(LABEL_EXTENSIONS)


def read_webdataset(tars: Sequence[Path], split: str) -> SourceSplit:
    """The split that lies in `tars`.

    Raises ValueError naming the tar, and the sample where it is one: not a complete tar, a sample without image or
    label or with two images, a key twice, a label that is no class.
    """
    class_ids = _class_ids(tars[0].parent)
    images: list[SourceImage] = []
    for path in tars:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            for key, members in _samples(descriptor, path):
                images.append(_image_of(descriptor, path, key, members, class_ids))
        finally:
            os.close(descriptor)
    if not images:
        raise ValueError(f"{tars[0].parent}: tars without samples; expected KEY.jpg and KEY.cls")
    numbers = map(str, range(1 + max(image.label for image in images)))
    return numbered_split(split, images, class_ids or tuple(numbers))


def _class_ids(folder: Path) -> tuple[str, ...] | None:
    if not (folder / MANIFEST_NAME).exists():
        return None
    return tuple(entry.id for entry in Manifest.read(folder).classes)


def _key_and_kind(name: str) -> tuple[str, str]:
    """A key goes up to the first dot of the file's name, folders included; the rest is the kind, in small letters."""
    folder, slash, file_name = name.rpartition("/")
    stem, _, kind = file_name.partition(".")
    return folder + slash + stem, kind.lower()


def _samples(descriptor: int, path: Path) -> Iterator[tuple[str, dict[str, Member]]]:
    """Key and members by kind; the members of a sample lie side by side, as in every WebDataset."""
    seen: set[str] = set()
    members = tar_members(descriptor, path, 0, path.stat().st_size)
    for key, group in itertools.groupby(members, key=lambda member: _key_and_kind(member.name)[0]):
        if not key.rpartition("/")[2]:  # hidden files, ._x from a Mac
            continue
        by_kind: dict[str, Member] = {}
        for member in group:
            kind = _key_and_kind(member.name)[1]
            if kind in by_kind:
                raise ValueError(f"{path}: {member.name!r} is there twice; write the shard again")
            by_kind[kind] = member
        if key in seen:
            raise ValueError(f"{path}: sample {key!r} is there twice, not side by side; write the shard again")
        seen.add(key)
        yield key, by_kind


def _image_of(
    descriptor: int, path: Path, key: str, members: dict[str, Member], class_ids: Sequence[str] | None
) -> FileImage:
    kinds = [kind for kind in IMAGE_EXTENSIONS if kind in members]
    label_kind = next((kind for kind in LABEL_EXTENSIONS if kind in members), None)
    where = f"{path}: sample {key!r}"
    if len(kinds) != 1 or label_kind is None:
        raise ValueError(
            f"{where} has the members {', '.join(sorted(members))}; expected one image "
            f"({', '.join(IMAGE_EXTENSIONS)}) and a label ({' or '.join(LABEL_EXTENSIONS)})"
        )
    label = check_number(_label(descriptor, members[label_kind], label_kind, where), where, class_ids)
    image = members[kinds[0]]
    class_id = class_ids[label] if class_ids else str(label)
    file_name = f"{key.rpartition('/')[2]}.{kinds[0]}"
    if class_ids:
        file_name = _POSITION.sub("", file_name, count=1)  # of our own: the name as it was before it was sharded
    return FileImage(f"{class_id}/{file_name}", label, str(path), image.num_bytes, image.offset)


def _label(descriptor: int, member: Member, kind: str, where: str) -> object:
    if member.num_bytes > MAX_LABEL_BYTES:
        raise ValueError(f"{where}: a label of {member.num_bytes} bytes; expected a number")
    content = os.pread(descriptor, member.num_bytes, member.offset)
    if kind == "cls":
        digits = content.strip()
        return int(digits) if digits.isdigit() and len(digits) < 10 else content[:20]
    try:
        row = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: its .json cannot be read ({error}); correct it") from None
    return row.get("label") if isinstance(row, dict) else None
