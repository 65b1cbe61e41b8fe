"""Class folders: one folder of images per class, named by the class id.

The class id is the path from the split's folder to the images, so `a/airfield/1.jpg` belongs to class `a/airfield` or,
with a `class_depth` of 1, to class `a`. Without a `class_depth`, a last folder named `images`, as in Tiny ImageNet, is
not part of the class id.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ....errors import InputError
from ..columns.gathered import Gathered
from ..columns.ordered import relabeled
from ..inputs import SourceImage, SourceSplit
from ..known_formats import refuse_known_format
from ..labels import class_id_of, require_unicode, sorted_split
from ..litter import is_annotation_name, is_image_name, is_mask_folder
from ..options import SourceOptions
from ..packed.formats import is_packed
from ..split_names import split_called
from .doubts import check_same_names, note_depths, refuse_copies, refuse_image_folders, refuse_masks
from .files import File
from .listing import Folder

INNER_FOLDER = "images"


def read_class_folders(
    folder: Folder, split: str, options: SourceOptions, *, first: SourceSplit | None = None
) -> SourceSplit:
    """The split whose classes are the folders in `folder`.

    Of a split that gets its class table from another, `first`, class folders without images are passed over. Raises
    InputError, naming the folder, for a folder without class folders, a class without images, two folders whose names
    differ only in Unicode normalization, a split inside a class and, unless the layout is given, for folders that seem
    to be copies of the others or to hold the images of all classes and are no classes of `first`, and for masks beside
    their images.
    """
    if not folder.folders:
        raise InputError(f"{folder.where}: holds no class folders; expected one folder of images per class")
    images = Gathered()
    index_of: dict[str, int] = {}  # in the order of the folders, nearly always that of the class ids
    written: dict[str, str] = {}
    unlike: list[str] = []
    for file in folder.images():
        folder.remarks.pass_over("files beside class folders", file.path)
    for name in folder.folders:
        found = list(_walk(folder.child(name), (name,), options))
        if not found and first is not None:
            folder.remarks.pass_over("class folders without images", str(folder.child(name).where))
        elif not found:
            refuse_known_format(folder.child(name).where)
            if options.class_depth and any(_walk(folder.child(name), (name,), replace(options, class_depth=None))):
                raise InputError(
                    f"{folder.child(name).where}: its images are fewer than {options.class_depth} folders deep; "
                    "choose a smaller --class-depth"
                )
            if zips := [file for file in folder.child(name).files if file.name.lower().endswith(".zip")]:
                raise InputError(
                    f"{folder.child(name).where}: holds zip files ({zips[0].name}), which are not read in a folder; "
                    "unpack them, or pass one as SOURCE"
                )
            packed = next((file.name for file in folder.child(name).files if is_packed(file.name)), None)
            also = (
                "" if packed is None else f"it holds files of many images ({packed}): pass it as SOURCE to read them, "
            )
            raise InputError(
                f"{folder.child(name).where}: class without images; {also}add images or remove the folder or, if it is "
                "not a class, pass the folder that holds the class folders as SOURCE"
            )
        if found and not any(is_image_name(file.name) for inner in found for file in inner.files):
            refuse_known_format(Path(found[0].files[0].path).parent)
            if all(is_packed(file.name) for inner in found for file in inner.files):
                raise InputError(
                    f"{found[0].folder.where}: holds files of many images ({found[0].files[0].name}), which are not "
                    "read in a class folder; pass it as SOURCE"
                )
            unlike.append(name)
        if options.layout is None:
            for inner in found:
                refuse_masks(inner.files)
        of_class: dict[str, list[SourceImage]] = {}
        for inner in found:
            class_id = class_id_of(inner.class_path)
            if written.setdefault(class_id, inner.class_path) != inner.class_path:
                raise InputError(
                    f"{folder.where}: two class folders called {class_id!r} differ only in Unicode normalization "
                    f"({written[class_id]!a} and {inner.class_path!a}); merge them"
                )
            label = index_of.setdefault(class_id, len(index_of))
            of_class.setdefault(class_id, []).extend(inner.images(class_id, label, options))
        for some in of_class.values():  # possibly of several folders
            images.extend(sorted(some, key=lambda image: image.name))
        folder.forget(name)
    if unlike and len(unlike) < len(folder.folders):
        raise InputError(
            f"{folder.child(unlike[0]).where}: holds no file with an image extension, unlike the other folders; move "
            "it away, or pass the folder that holds the class folders as SOURCE"
        )
    ids = sorted(index_of)
    known = set() if first is None else {entry.id for entry in first.classes}
    if options.layout is None and not known.issuperset(ids):
        refuse_copies(folder, ids)
        refuse_image_folders(folder, ids, split)
    note_depths(folder, ids)
    check_same_names(folder, ids, options)
    for class_id in ids:
        require_unicode(class_id, folder.where)
    listed = images.images()
    if ids != list(index_of):
        label_of = {class_id: label for label, class_id in enumerate(ids)}
        listed = relabeled(listed, [label_of[class_id] for class_id in index_of])
    return sorted_split(split, listed, ids, "text")


class _Images(NamedTuple):
    """The images of one folder; `prefix` is its path relative to that of the class."""

    class_path: str
    prefix: str
    folder: Folder
    files: list[File]

    def images(self, class_id: str, label: int, options: SourceOptions) -> list[SourceImage]:
        """The images as inputs of a class."""
        prefix, keep = f"{class_id}/{self.prefix}", options.keep
        return [
            file.image(prefix + file.name, self.folder.files_beside(file, keep) if keep else (), label)
            for file in self.files
        ]


def _walk(
    folder: Folder, path: tuple[str, ...], options: SourceOptions, *, only_splits: bool = False
) -> Iterator[_Images]:
    """Every folder with images in a class folder, that one first.

    `only_splits` says that the folder and all folders beside it are named like splits.
    """
    depth = options.class_depth
    if path[-1] != path[0] and split_called(path[-1]) and depth is None and (folder.folders or only_splits):
        raise InputError(
            f"{folder.where}: the folder of a split inside a class folder; put the splits outside, as "
            f"{path[-1]}/{path[0]}/, pass the folder that holds {path[-1]}/ as SOURCE, or set --class-depth to the "
            "number of folders that form a class"
        )
    images = list(folder.images(options.keep))
    class_path, below = (path, ()) if depth is None else (path[:depth], path[depth:])
    if depth is None and len(path) > 1 and path[-1].casefold() == INNER_FOLDER:
        class_path = path[:-1]
    if depth is not None and len(path) < depth:
        for file in images:
            folder.remarks.pass_over(f"files fewer than {depth} folders deep", file.path)
        images = []
    prefix = "".join(f"{name}/" for name in below)
    if images:
        yield _Images("/".join(class_path), prefix, folder, images)
    found_below = False
    all_splits = bool(folder.folders) and all(split_called(name) for name in folder.folders)
    has_images = any(name.casefold() == INNER_FOLDER and folder.child(name).has_images() for name in folder.folders)
    for name in folder.folders:
        if has_images and is_mask_folder(name):
            folder.remarks.pass_over(
                f"folders of masks or annotations beside {INNER_FOLDER}/", str(folder.where / name)
            )
            found_below = True
            continue
        for inner in _walk(folder.child(name), (*path, name), options, only_splits=all_splits):
            found_below = True
            yield inner
    if not images and not found_below and len(path) > 1:
        _refuse_lost_class(folder, depth)
        folder.remarks.pass_over("folders without images inside class folders", str(folder.where))


def _refuse_lost_class(folder: Folder, class_depth: int | None) -> None:
    """Raise InputError if files that cannot be read, such as unfinished downloads, seem to be the images of a class.

    If images are beside the folder, or in a folder `images` beside it, their class is not lost.
    """
    unread = [file.name for file in folder.files if not is_annotation_name(file.name)]
    outer = folder.parent
    if not unread or class_depth is not None or outer is None or outer.has_images():
        return
    if not any(name.casefold() == INNER_FOLDER for name in outer.folders):
        raise InputError(
            f"{folder.where}: class without images, found only files like {unread[0]}; add its images or remove the "
            "folder"
        )
