"""Class tars: one tar of images per class, named by the class id, in a folder or inside another tar."""

import re
from collections.abc import Iterable
from pathlib import Path

from ....errors import InputError
from ...storage.by_offset import address_of
from ..folders.read_ahead import side_by_side
from ..inputs import FileImage, SourceImage, SourceSplit
from ..labels import LabeledImages, class_id_of
from ..litter import is_hidden, is_other_name
from ..remarks import Remarks
from .tar_index import Unpacked, unpacked

SYNSET_ID = re.compile(r"n\d{8}")


def are_class_tars(paths: Iterable[Path]) -> bool:
    """Whether all tars are named by synset ids, as in ILSVRC; other names may be those of shards."""
    return all(SYNSET_ID.fullmatch(path.stem) for path in paths)


def read_class_tars(paths: Iterable[Path], split: str, remarks: Remarks) -> SourceSplit:
    """The split of class tars; raises InputError for a tar that is damaged or holds no images."""
    rows = LabeledImages()
    tars = sorted(paths)
    for path, found in zip(tars, side_by_side(tars, unpacked, tars), strict=True):
        _add_class(rows, path.stem, path, found, remarks)
    return rows.split(split, _where)


def read_nested_tar(path: Path, split: str, remarks: Remarks) -> SourceSplit:
    """The split of a tar that holds one tar per class, `n01440764.tar`."""
    rows = LabeledImages()
    class_tars = []
    whole = unpacked(path)
    whole.remark(remarks, path.name)
    for outer in whole.files:
        if is_hidden(outer.name) or not outer.name.endswith(".tar"):
            remarks.pass_over("members of the archive that are not class tars", f"{path.name}: {outer.name}")
        else:
            class_tars.append(outer)
    in_order = side_by_side(class_tars, lambda outer: unpacked(path, outer), [path])
    for outer, found in zip(class_tars, in_order, strict=True):
        _add_class(rows, Path(outer.name).stem, path, found, remarks)
    if not rows:
        raise InputError(f"{path}: holds no class tars; expected one tar per class inside")
    return rows.split(split, _where)


def _add_class(rows: LabeledImages, class_name: str, path: Path, found: Unpacked, remarks: Remarks) -> None:
    class_id, where = class_id_of(class_name), address_of(path)
    found.remark(remarks, f"{class_name}.tar")
    is_empty = True
    for member in found.files:
        file_name = member.name.rpartition("/")[2]
        if is_hidden(member.name) or is_other_name(file_name):
            remarks.pass_over("members of class tars that are not images", f"{class_name}.tar: {member.name}")
            continue
        is_empty = False
        rows.add(class_id, FileImage(file_name, 0, where, member.num_bytes, member.offset))
    if is_empty:
        raise InputError(f"{path.parent / class_name}.tar: class without images; the archive is not complete")


def _where(image: SourceImage) -> str:
    return image.name
