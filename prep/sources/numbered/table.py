"""The class table of a split whose labels are numbers.

The folder of the images of a label is its class id, as for class folders. A file such as `synset.txt` names the
classes, too. Later splits get the table of the first; without any names, classes are called by their numbers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ....errors import InputError
from ...format.manifest import UNLABELED
from ..class_tables import is_unlabeled
from ..inputs import SourceImage, SourceSplit
from ..labels import MAX_UNNAMED_CLASSES, LabeledImages, Unlabeled, class_id_of, with_names
from ..options import SourceOptions
from ..remarks import Remarks
from ..split_names import split_called
from .class_files import ClassFile, class_file_in

Folders = dict[int, str | None]
"""The folder of the images of each label; None if there are several."""


def note_folder(folders: Folders, label: int, folder: str | None) -> None:
    """Note where an image with this label is; None if its images are known to be in several folders."""
    if folders.setdefault(label, folder) != folder:
        folders[label] = None


def numbered_split(
    rows: LabeledImages,
    split: str,
    path: Path,
    folders: Iterable[Folders],
    where: Callable[[SourceImage], str],
    options: SourceOptions,
    remarks: Remarks,
    *,
    around: Sequence[Path],
    first: SourceSplit | None,
    num_classes: int | None = None,
) -> SourceSplit:
    """The split of all images in `rows`.

    Args:
        rows: Images with the numbers of their classes.
        split: The split's name.
        path: Its first file, in whose folder a file of classes may be.
        folders: The folders in the paths of its images, one for each file.
        where: Returns where an image is, for messages.
        options: Whether images without labels are read.
        remarks: Receives notes.
        around: Folders where a file of classes may be, too, such as SOURCE.
        first: The source's first split, whose class table this one gets; None for the first itself.
        num_classes: Number of classes, if the files state it.

    Raises InputError if labels do not fit the names of classes, and Unlabeled if every label is -1.
    """
    num_bare = rows.count(UNLABELED)
    if num_bare or _are_all_zero(rows, split, first):
        if 0 < num_bare < len(rows):
            raise InputError(
                f"{path}: {num_bare:,} of {len(rows):,} images have no label (-1); put labeled and unlabeled images "
                "into separate sources"
            )
        if not options.unlabeled:
            found = "no image has a label (all are -1)" if num_bare else "test images without labels (all are 0)"
            raise Unlabeled(f"{path}: {found}; pass --unlabeled to store the images without labels")
        rows.forget_labels()
        return rows.split(split, where)
    folders = list(folders)
    names = classes_in(folders) or _no_names(path, folders)
    if first is not None:
        if is_unlabeled(first) or first.class_order == "numbers":
            return rows.split(split, where)
        ids = [entry.id for entry in first.classes]
        _require_same_paths(path, names or _only_class_in(folders, ids), ids, first.name)
        _require_same_file(class_file_in(dict.fromkeys((path.parent, *around)), remarks), path, first)
        return rows.split(split, where, table=ids)
    if num_classes is not None:
        return rows.split(split, where, table=[str(i) for i in range(num_classes)])
    labels = [label for label in rows.labels() if isinstance(label, int)]
    of_file = class_file_in(dict.fromkeys((path.parent, *around)), remarks)
    table, readable = _table(path, labels, names, of_file)
    return with_names(rows.split(split, where, table=table), readable)


def classes_in(several: Iterable[Folders]) -> dict[int, str]:
    """The class id of each label, as for class folders: the folder of its images.

    What all paths have in common is no part of it, as `train/` in `train/cat/1.jpg`. Empty if the images of a label are
    in several folders, or those of several labels in one.
    """
    folders: Folders = {}
    for one in several:
        for label, folder in one.items():
            note_folder(folders, label, folder)
    parts = {label: (folder or "").split("/") for label, folder in folders.items()}
    if len({*map(tuple, parts.values())}) != len(parts) or len(parts) < 2:
        return {}
    start = _num_common([*parts.values()])
    end = _num_common([names[::-1] for names in parts.values()])
    ids = {label: class_id_of("/".join(names[start : len(names) - end])) for label, names in parts.items()}
    return ids if all(ids.values()) and not all(map(split_called, ids.values())) else {}


def _only_class_in(several: Iterable[Folders], ids: Sequence[str]) -> dict[int, str]:
    """The class whose id is in the path of all images, if these have one label; empty if there is none.

    Images of one class do not show which part of their paths is its id; the ids of another split do.
    """
    found = {(label, folder) for one in several for label, folder in one.items()}
    if len(found) != 1:
        return {}
    ((label, folder),) = found
    path = f"/{class_id_of(folder or '')}/"
    among = [class_id for class_id in ids if f"/{class_id}/" in path]
    is_right = label < len(ids) and ids[label] in among
    return {} if not among else {label: ids[label] if is_right else max(among, key=len)}


def _no_names(path: Path, several: Iterable[Folders]) -> dict[int, str]:
    """Empty, for folders that give no names together; raises InputError if several files name one label differently."""
    names: dict[int, str] = {}
    for one in several:
        for label, name in classes_in([one]).items():
            if names.setdefault(label, name) != name:
                raise InputError(
                    f"{path}: label {label} is {names[label]!r} by the paths of one of the files read with it, but "
                    f"{name!r} by those of another; a label would have two meanings: move one of them out of this "
                    "folder, or pack them again with the same labels"
                )
    return {}


def _num_common(paths: list[list[str]]) -> int:
    """How many first names all paths have in common."""
    first, last = min(paths), max(paths)
    return next((i for i, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))


def _are_all_zero(rows: LabeledImages, split: str, first: SourceSplit | None) -> bool:
    """Whether these are test images that im2rec listed without classes."""
    return split == "test" and rows.labels() == [0] and len(rows) > 1 and first is not None and len(first.classes) > 1


def _table(
    path: Path, labels: Sequence[int], names: Mapping[int, str], of_file: ClassFile | None
) -> tuple[Sequence[str] | None, dict[str, str]]:
    """The class ids by number, None to name them by number, and readable names by id."""
    num_classes = 1 + max((*labels, *names))
    if of_file is not None:
        if len(of_file.ids) < num_classes:
            raise InputError(
                f"{of_file.path}: {len(of_file.ids):,} classes, but {path.name} has label {num_classes - 1}; is it of "
                "other files? remove it to read them without it"
            )
        others = [label for label, name in sorted(names.items()) if name != of_file.ids[label]]
        if not {names[label] for label in others}.isdisjoint(of_file.ids):
            label = others[0]
            raise InputError(
                f"{of_file.path}, line {label + 1}: {of_file.ids[label]!r}, but label {label} of {path.name} is "
                f"{names[label]!r} by the paths of its images; correct one of them, or remove the file"
            )
        ids = [names.get(label, class_id) for label, class_id in enumerate(of_file.ids)]
        return ids, dict(zip(ids, map(of_file.names.__getitem__, of_file.ids), strict=True))
    ids = [names.get(label, str(label)) for label in range(min(num_classes, MAX_UNNAMED_CLASSES))]
    return (ids if names and len({*ids}) == num_classes else None), {}


def _require_same_paths(path: Path, names: Mapping[int, str], ids: Sequence[str], first: str) -> None:
    """Raise InputError if a label is another class by the paths of a split's images than in the first split."""
    for label, name in sorted(names.items()):
        if label < len(ids) and name != ids[label] and not ids[label].endswith(f"/{name}"):
            raise InputError(
                f"{path}: label {label} is {name!r} by the paths of its images, but {ids[label]!r} in {first}; a label "
                "would have two meanings: pack both splits with the same labels"
            )


def _require_same_file(of_file: ClassFile | None, path: Path, first: SourceSplit) -> None:
    """Raise InputError if a file of classes has those of the first split in another order."""
    if of_file is None:
        return
    known = {text for entry in first.classes for text in (entry.id, entry.name)}
    for label, (class_id, entry) in enumerate(zip(of_file.ids, first.classes, strict=False)):
        name = of_file.names[class_id]
        if {class_id, name}.isdisjoint((entry.id, entry.name)) and not known.isdisjoint((class_id, name)):
            raise InputError(
                f"{of_file.path}, line {label + 1}: {class_id!r}, but label {label} of {path.name} is {entry.id!r} in "
                f"{first.name}; a label would have two meanings: correct one of them, or remove the file"
            )
