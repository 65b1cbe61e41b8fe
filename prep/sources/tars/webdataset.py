"""WebDataset shards as a source, read in place: tars of `KEY.jpg` and `KEY.cls` or `KEY.json`.

A label is a class index or a class name: the text of a `cls` member, or a value in the JSON. A shard set that
`alexprep` wrote has its class table beside it.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from ....errors import InputError
from ...format.manifest import MANIFEST_NAME, UNLABELED, ClassEntry, Manifest
from ...storage.by_offset import address_of
from ..folders.read_ahead import side_by_side
from ..inputs import FileImage, SourceImage, SourceSplit
from ..labels import LabeledImages, with_names
from ..options import SourceOptions
from ..remarks import Remarks
from .samples import labeled_samples

_POSITION = re.compile(r"\d{8}_")  # what `sample_key` puts before a name


def read_webdataset(tars: Sequence[Path], split: str, options: SourceOptions, remarks: Remarks) -> SourceSplit:
    """The split in `tars`; raises InputError like `labeled_samples`, and if there are no samples."""
    classes = _classes_beside(tars[0].parent)
    ids = tuple(entry.id for entry in classes)
    rows, num_bare = LabeledImages(), 0
    found_in = side_by_side(tars, lambda path: list(labeled_samples(path, options=options, remarks=remarks)), tars)
    for path, samples in zip(tars, found_in, strict=True):
        where = address_of(path)
        for sample in samples:
            file_name = f"{sample.key.rpartition('/')[2]}.{sample.kind}"
            if ids:
                file_name = _POSITION.sub("", file_name, count=1)  # our own shards: restore the original name
            image = FileImage(file_name, 0, where, sample.image.num_bytes, sample.image.offset, sample.extras)
            rows.add(sample.label, image)
            num_bare += sample.label == UNLABELED
    if not rows:
        raise InputError(f"{tars[0].parent}: tars without samples; expected KEY.jpg and KEY.cls")
    if 0 < num_bare < len(rows):
        raise InputError(
            f"{tars[0].parent}: {num_bare} of {len(rows)} samples have no label; put labeled and unlabeled samples "
            "into separate sources"
        )
    found = rows.split(split, _where, table=ids or None)
    return with_names(found, {entry.id: entry.name for entry in classes})


def _where(image: SourceImage) -> str:
    assert isinstance(image, FileImage)
    return f"{image.container}: sample {image.name.rpartition('.')[0]!r}"


def _classes_beside(folder: Path) -> tuple[ClassEntry, ...]:
    return Manifest.read(folder).classes if (folder / MANIFEST_NAME).exists() else ()
