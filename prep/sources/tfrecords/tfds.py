"""What TensorFlow's tools write beside TFRecord files: names of classes, numbers of records, folders of versions."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from ....errors import InputError
from ..folders.listing import Folder
from ..labels import class_id_of
from ..lists.text_table import class_lines
from ..remarks import Remarks
from ..split_names import split_called

INFO_NAME, FEATURES_NAME = "dataset_info.json", "features.json"
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_UNFINISHED = re.compile(r"incomplete\.\w+_\d+\.\d+\.\d+$")
_NUMBERED = re.compile(r"(\d+):(.+)")
_MAX_FOLDERS = 100  # a folder of more is none of TFDS's


def class_names(folder: Path, label: str, remarks: Remarks) -> dict[int, str] | None:
    """The names of the classes that `label` numbers: from TFDS's `label.labels.txt`, or slim's `labels.txt`."""
    path = folder / f"{label.replace('/', '-')}.labels.txt"
    if path.is_file():
        names = {i: class_id_of(line) for i, line in enumerate(class_lines(path))}
    else:
        path = folder / "labels.txt"
        found = [_NUMBERED.fullmatch(line) for line in (class_lines(path) if path.is_file() else ())]
        names = {int(one[1]): class_id_of(one[2].strip()) for one in found if one}
        if not names or len(names) != len(found):
            return None
    if len(set(names.values())) < len(names):
        raise InputError(f"{path}: two classes have the same name; correct it, or move it away to number the classes")
    remarks.used.add(str(path))
    return names


def num_records(folder: Path, remarks: Remarks) -> dict[str, int]:
    """How many records each file has by `dataset_info.json`, by the end of its name after the data set's."""
    counts: dict[str, int] = {}
    try:
        info = json.loads((folder / INFO_NAME).read_bytes())
        for split in info["splits"]:
            lengths = [int(length) for length in split.get("shardLengths", ())]
            for i, length in enumerate(lengths):
                counts[f"-{split['name']}.tfrecord-{i:05d}-of-{len(lengths):05d}"] = length
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    remarks.used.update(str(folder / name) for name in (INFO_NAME, FEATURES_NAME))
    return counts


def built_data_set(folder: Folder) -> Folder | None:
    """The only data set that TFDS has built below `folder`, in NAME/VERSION or NAME/CONFIGURATION/VERSION.

    None if there is none, or if `folder` has contents of its own. Raises InputError for several, and an unfinished one.
    """
    if not folder.where.is_dir() or folder.files or any(map(split_called, folder.folders)):
        return None
    if (unfinished := next(filter(_UNFINISHED.match, folder.folders), None)) is not None:
        raise InputError(
            f"{folder.where / unfinished}: TFDS has not finished this data set; let it finish, or remove this folder"
        )
    found = list(_versions(folder, 3))
    if len(found) > 1:
        some = ", ".join(str(one.where.relative_to(folder.where)) for one in found[:4])
        raise InputError(f"{folder.where}: holds {len(found)} data sets of TFDS: {some}; pass one of these folders")
    return found[0] if found else None


def _versions(folder: Folder, depth: int) -> Iterator[Folder]:
    """The folders of versions, at most `depth` below `folder`."""
    names = folder.folders if len(folder.folders) <= _MAX_FOLDERS else ()
    for name in names:
        if _VERSION.fullmatch(name):
            child = folder.child(name)
            if child.has(INFO_NAME) and child.has(FEATURES_NAME):
                yield child
        elif depth > 1 and not split_called(name):
            yield from _versions(folder.child(name), depth - 1)
