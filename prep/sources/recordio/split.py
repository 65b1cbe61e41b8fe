"""RecordIO files of images as a split: labels are numbers, and their classes get ids from files beside them.

From the `.lst` beside each `.rec` (the folder of a label's images, as for class folders), from a file of classes such
as `synset.txt`, or from the source's first split; without any of these, classes are named by number.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from ....errors import InputError
from ...format.manifest import UNLABELED
from ...format.sample_index import NO_LABEL
from ...storage.by_offset import address_of
from ..inputs import FileImage, SourceImage, SourceSplit
from ..labels import MAX_UNNAMED_CLASSES, LabeledImages, RawLabel
from ..numbered.table import numbered_split
from ..options import SourceOptions
from ..remarks import Remarks
from .faces import NUM_LABELS, PROPERTY_NAME, FaceSet, face_set
from .idx import Idx, read_idx
from .image import RecordImage
from .image_lists import ImageList, read_image_list
from .rows import Row, rows_of

_SHOWN = 4


def read_recordio(
    files: Sequence[Path],
    split: str,
    options: SourceOptions,
    remarks: Remarks,
    *,
    around: Sequence[Path],
    first: SourceSplit | None = None,
) -> SourceSplit:
    """The split in `files`.

    Args:
        files: The `.rec` files.
        split: The split's name.
        options: Whether images without labels are read.
        remarks: Receives what is passed over.
        around: Folders where a file of classes may be, too, such as SOURCE.
        first: The source's first split, whose class table this one gets; None for the first itself.

    Raises InputError, naming the file and the byte, if a file is damaged or not complete, has several labels for an
    image or one that is no class index, or does not fit the `.lst` or the file of classes beside it, and if two files
    hold the same images; Unlabeled if every label is -1.
    """
    rows, num_classes = LabeledImages(), None
    lists: dict[bytes, ImageList] = {}
    for path in files:
        idx = read_idx(path, remarks)
        faces = face_set(path, idx)
        images = None if faces is not None else read_image_list(path)
        if faces is not None and (of_faces := path.with_suffix(".lst")).is_file():
            remarks.pass_over("lists of sets of faces", str(of_faces))
        if images is not None:
            if (other := lists.setdefault(images.digest, images)) is not images:
                raise InputError(
                    f"{other.path} and {images.path} list the same images, which would be read twice; move "
                    "one of them, and its .rec, out of this folder"
                )
            remarks.used.add(str(images.path))
        if faces is not None:
            num_classes = faces.num_classes
            remarks.used.add(str(path.with_name(PROPERTY_NAME)))
        for label, image in _images_in(path, idx, images, faces, remarks):
            rows.add(label, image)
    if not rows:
        raise InputError(f"{files[0]}: holds no images; expected records of images, as im2rec writes them")
    if num_classes is not None and num_classes > max(len(rows), MAX_UNNAMED_CLASSES):
        raise InputError(
            f"{files[0].with_name(PROPERTY_NAME)}: states {num_classes:,} classes, more than there are images "
            f"({len(rows):,}); get the file again, or remove it"
        )
    return numbered_split(
        rows,
        split,
        files[0],
        [one.folders for one in lists.values()],
        _where,
        options,
        remarks,
        around=around,
        first=first,
        num_classes=num_classes,
    )


def _images_in(
    path: Path, idx: Idx | None, images: ImageList | None, faces: FaceSet | None, remarks: Remarks
) -> Iterator[tuple[RawLabel, SourceImage]]:
    """Label and image of every record."""
    where, stem, count = address_of(path), path.stem, 0
    for number, row in enumerate(rows_of(path, idx, remarks)):
        if faces is not None and row.num_bytes == 0 and row.num_labels == NUM_LABELS:
            remarks.pass_over("records of InsightFace without an image", f"{path.name}, byte {row.offset}")
            continue
        listed = None
        if images is not None and row.id is not None and (listed := images.find(row.id)) is None:
            raise InputError(
                f"{path}: the record at byte {row.offset} has id {row.id}, which {images.path.name} does not list; is "
                f"that the list of another file? remove it to read {path.name} without names"
            )
        label = _label_of(path, row, images, listed, faces)
        name = f"{stem}-{number:07d}" if listed is None else listed[1]
        if row.image_offset:
            yield label, FileImage(name, 0, where, row.num_bytes, row.image_offset)
        else:
            yield label, RecordImage(name, 0, where, row.num_bytes, row.offset)
        count += 1
    if faces is not None:
        faces.check(path, count)
    if images is not None and count < len(images):
        remarks.pass_over(
            f"images of {images.path.name} that are not in {path.name}", str(images.path), len(images) - count
        )


def _label_of(
    path: Path, row: Row, images: ImageList | None, listed: tuple[float, str] | None, faces: FaceSet | None
) -> RawLabel:
    """The only label; that of the list if the record is damaged."""
    is_one = row.num_labels == 1 or (faces is not None and row.num_labels == NUM_LABELS)
    label = row.labels[0] if is_one else listed[0] if listed is not None and not row.num_labels else None
    if label is not None and label.is_integer() and (listed is None or listed[0] == label):
        return UNLABELED if label == NO_LABEL else int(label)
    where = f"{path}: the record at byte {row.offset}{'' if row.id is None else f' (id {row.id})'}"
    if not row.num_labels:
        absent = "lst beside the file tells its label" if images is None else "idx beside the file tells its id"
        raise InputError(f"{where} is damaged, and no {path.stem}.{absent}; get the file again")
    if label is None:
        some = ", ".join(f"{one:g}" for one in row.labels[:_SHOWN])
        raise InputError(
            f"{where} has {row.num_labels} labels ({some}{', …' if row.num_labels > _SHOWN else ''}), as for object "
            "detection; expected one class per image: pack the images again with one label each, or pass a list of them"
        )
    if images is not None and listed is not None and listed[0] != label:
        raise InputError(
            f"{where} has label {label:g}, but {images.path.name} lists it with {listed[0]:g}; is that the list of "
            f"another file? remove it to read {path.name} without names"
        )
    raise InputError(
        f"{where} has label {label:g}; expected the number of a class: pack the images again with class labels"
    )


def _where(image: SourceImage) -> str:
    assert isinstance(image, FileImage | RecordImage)
    return f"{image.container}: the image at byte {image.offset}"
