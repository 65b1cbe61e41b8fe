"""Class tars: one tar of images per class, named by the class id, in a folder or in a tar of their own."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ....errors import InputError
from ...storage.by_offset import address_of, opened
from ..folders.read_ahead import side_by_side
from ..inputs import FileImage, SourceImage, SourceSplit
from ..labels import RawLabel, class_id_of, split_of_labels
from ..litter import is_hidden, is_other_name
from ..remarks import Remarks
from .tar_index import Member, members_of, tar_members

SYNSET_ID = re.compile(r"n\d{8}")


def are_class_tars(paths: Iterable[Path]) -> bool:
    """Whether all tars are called by synset ids, as those of ILSVRC; other names may be those of shards."""
    return all(SYNSET_ID.fullmatch(path.stem) for path in paths)


def read_class_tars(paths: Iterable[Path], split: str, remarks: Remarks) -> SourceSplit:
    """The split of class tars; InputError names a tar that is damaged or holds no images."""
    rows: list[tuple[RawLabel, SourceImage]] = []
    tars = sorted(paths)
    for path, members in zip(tars, side_by_side(tars, lambda path: list(members_of(path)), tars), strict=True):
        rows += _class_of(path.stem, path, members, remarks)
    return split_of_labels(split, rows, _where)


def read_nested_tar(path: Path, split: str, remarks: Remarks) -> SourceSplit:
    """The split of a tar that holds one tar per class, `n01440764.tar`."""
    rows: list[tuple[RawLabel, SourceImage]] = []
    class_tars = []
    for outer in members_of(path):
        if is_hidden(outer.name) or not outer.name.endswith(".tar"):
            remarks.pass_over("members of the archive that are no class tars", f"{path.name}: {outer.name}")
        else:
            class_tars.append(outer)

    def members_in(outer: Member) -> list[Member]:
        with opened(path) as file:
            return list(tar_members(file, path, outer.offset, outer.offset + outer.num_bytes))

    for outer, members in zip(class_tars, side_by_side(class_tars, members_in, [path]), strict=True):
        rows += _class_of(Path(outer.name).stem, path, members, remarks)
    if not rows:
        raise InputError(f"{path}: holds no class tars; expected one tar per class inside")
    return split_of_labels(split, rows, _where)


def _class_of(
    class_name: str, path: Path, members: Iterable[Member], remarks: Remarks
) -> Iterator[tuple[RawLabel, SourceImage]]:
    is_empty = True
    for member in members:
        file_name = member.name.rpartition("/")[2]
        if is_hidden(member.name) or is_other_name(file_name):
            remarks.pass_over("members of class tars that are no images", f"{class_name}.tar: {member.name}")
            continue
        is_empty = False
        yield class_id_of(class_name), FileImage(file_name, 0, address_of(path), member.num_bytes, member.offset)
    if is_empty:
        raise InputError(f"{path.parent / class_name}.tar: class without images; the archive is not complete")


def _where(image: SourceImage) -> str:
    return image.name
