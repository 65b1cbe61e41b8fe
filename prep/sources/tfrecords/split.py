"""TFRecord files as a source: the examples of one split, of which only labels, names and places are read.

A record's checksum is verified when its image is read. While listing, only the first record of each class is read
whole, so that no class comes from damaged bytes.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ....errors import InputError
from ..folders.read_ahead import side_by_side
from ..inputs import SourceSplit
from ..labels import LabeledImages, RawLabel, Unlabeled, with_names
from ..options import SourceOptions
from ..remarks import Remarks
from . import tfds
from .classes import Classes
from .columns import find_columns
from .framing import Record, damage_in
from .image import ExampleImage
from .rows import Label, Row, read_rows, where_of


def read_tfrecords(files: Sequence[Path], split: str, options: SourceOptions, remarks: Remarks) -> SourceSplit:
    """The split in `files`; damaged records are images that cannot be read.

    Raises InputError, naming the file and byte, if records cannot be told apart, are not examples, or hold no image or
    label or several; and Unlabeled if every label is missing or -1, as in the test splits of TFDS.
    """
    folder = files[0].parent
    columns = find_columns(files, options)
    if columns is None:
        raise InputError(f"{folder}: TFRecord files without records that can be read; download them again")
    classes, rows = Classes(columns, folder, remarks), LabeledImages()
    expected = tfds.num_records(folder, remarks)
    trusted: dict[Label, RawLabel | None] = {}
    damaged: list[Row] = []
    for path, found in zip(files, side_by_side(files, partial(read_rows, columns=columns), files), strict=True):
        count = 0
        for row in found:
            count += 1
            if row.label is None or not (row.label in trusted or _is_undamaged(row.image)):
                damaged.append(row)
                continue
            if row.label not in trusted:
                trusted[row.label] = classes.label_of(row.label, partial(where_of, row.image))
            rows.add(trusted[row.label], row.image)
        _note_count(path, count, expected, remarks)
    if not rows:
        raise InputError(f"{folder}: all {len(damaged)} records are damaged; download the files again")
    _add_damaged(rows, damaged, trusted)
    table = classes.table()
    if all(label is None or label == -1 for label in rows.labels()):
        if not options.unlabeled:
            raise Unlabeled(f"{files[0]}: no example has a label; pass --unlabeled to store the images without labels")
        rows.forget_labels()
        table = None
    return with_names(rows.split(split, where_of, table=table), classes.names)


def _add_damaged(rows: LabeledImages, damaged: Sequence[Row], trusted: Mapping[Label, RawLabel | None]) -> None:
    """Add records that will be quarantined; those without a label that others have too get that of the first image."""
    any_label = rows.labels()[0]
    for label, image in damaged:
        if label is not None and label in trusted:
            rows.add(trusted[label], image)
        else:
            rows.add(any_label, image._replace(num_bytes=0, extras=()))


def _is_undamaged(image: ExampleImage) -> bool:
    return damage_in(image.path, Record(image.record_offset, image.record_bytes)) is None


def _note_count(path: Path, count: int, expected: dict[str, int], remarks: Remarks) -> None:
    stated = next((number for end, number in expected.items() if path.name.endswith(end)), None)
    if stated is not None and count != stated:
        remarks.note(f"{path}: {count} records, but {tfds.INFO_NAME} states {stated}; is the download complete?")
    elif stated is None and count == 0:
        remarks.note(f"{path}: holds no records; is the download complete?")
