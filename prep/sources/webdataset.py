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
from typing import NamedTuple

from ...errors import InputError
from ..format.manifest import MANIFEST_NAME, Manifest
from .inputs import FileImage, SourceImage, SourceSplit, check_number, numbered_split
from .tar_index import Member, tar_members

IMAGE_KINDS = ("jpg", "jpeg", "png", "webp")
LABEL_KINDS = ("cls", "json")
MAX_LABEL_BYTES = 2**20
_FIRST_MEMBERS = 50  # enough to see what kind of tar it is
_POSITION = re.compile(r"\d{8}_")  # what `sample_key` puts before a name


class LabeledSample(NamedTuple):
    """One image in a tar, of the kind that its name ends in, and its label."""

    key: str
    kind: str
    image: Member
    label_member: Member
    label: int


def holds_samples(path: Path) -> bool:
    """Whether the tar begins with labeled samples; False also when it is no tar."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        members = tar_members(descriptor, path, 0, path.stat().st_size)
        kinds = {_key_and_kind(member.name)[1] for member in itertools.islice(members, _FIRST_MEMBERS)}
    except ValueError:
        return False
    finally:
        os.close(descriptor)
    return not kinds.isdisjoint(LABEL_KINDS)


def read_webdataset(tars: Sequence[Path], split: str) -> SourceSplit:
    """The split that lies in `tars`; InputError as `labeled_samples` says, and where there are none."""
    class_ids = _class_ids(tars[0].parent)
    images: list[SourceImage] = []
    for path in tars:
        for sample in labeled_samples(path, class_ids=class_ids):
            class_id = class_ids[sample.label] if class_ids else str(sample.label)
            file_name = f"{sample.key.rpartition('/')[2]}.{sample.kind}"
            if class_ids:
                file_name = _POSITION.sub("", file_name, count=1)  # of our own: the name as it was before
            name, image = f"{class_id}/{file_name}", sample.image
            images.append(FileImage(name, sample.label, str(path), image.num_bytes, image.offset))
    if not images:
        raise InputError(f"{tars[0].parent}: tars without samples; expected KEY.jpg and KEY.cls")
    numbers = map(str, range(1 + max(image.label for image in images)))
    return numbered_split(split, images, class_ids or tuple(numbers))


def labeled_samples(
    path: Path,
    *,
    image_kinds: Sequence[str] = IMAGE_KINDS,
    label_kinds: Sequence[str] = LABEL_KINDS,
    class_ids: Sequence[str] | None = None,
) -> Iterator[LabeledSample]:
    """The samples of a tar in order, each with one image and a label, the first of `label_kinds` that it has.

    Raises InputError naming the tar, and the sample where it is one: not a complete tar, a sample without image or
    label or with two images, a key twice or not side by side, a label that is no class.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for key, members in _samples(descriptor, path):
            kinds = [kind for kind in image_kinds if kind in members]
            label_kind = next((kind for kind in label_kinds if kind in members), None)
            where = f"{path}: sample {key!r}"
            if len(kinds) != 1 or label_kind is None:
                raise InputError(
                    f"{where} has the members {', '.join(sorted(members))}; expected one image "
                    f"({', '.join(image_kinds)}) and a label ({' or '.join(label_kinds)})"
                )
            label_member = members[label_kind]
            label = check_number(_label(descriptor, label_member, label_kind, where), where, class_ids)
            yield LabeledSample(key, kinds[0], members[kinds[0]], label_member, label)
    finally:
        os.close(descriptor)


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
                raise InputError(f"{path}: {member.name!r} is there twice; write the shard again")
            by_kind[kind] = member
        if key in seen:
            raise InputError(f"{path}: sample {key!r} is there twice, not side by side; write the shard again")
        seen.add(key)
        yield key, by_kind


def _label(descriptor: int, member: Member, kind: str, where: str) -> object:
    if member.num_bytes > MAX_LABEL_BYTES:
        raise InputError(f"{where}: a label of {member.num_bytes} bytes; expected a number")
    content = os.pread(descriptor, member.num_bytes, member.offset)
    if kind == "cls":
        digits = content.strip()
        return int(digits) if digits.isdigit() and len(digits) < 10 else content[:20]
    try:
        row = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: its .json cannot be read ({error}); correct it") from None
    return row.get("label") if isinstance(row, dict) else None
