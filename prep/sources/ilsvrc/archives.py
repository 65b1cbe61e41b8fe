"""ImageNet as it is downloaded: archives read in place by offset, and the devkit that labels their flat images.

Layouts: `ILSVRC2012_img_train.tar` (a tar of one tar per class); `ILSVRC2012_img_val.tar` or a flat folder of
validation images, labeled by the devkit archive beside it. The archives of 2010 are called `images` instead of `img`;
the labels of their test images were published too, as `ILSVRC2010_test_ground_truth.txt`.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from ....errors import InputError
from ...storage.by_offset import address_of
from ..folders.listing import Folder
from ..inputs import FileImage, SourceImage, SourceSplit
from ..labels import LabeledImages
from ..litter import is_hidden
from ..remarks import Remarks
from ..tars.tar_index import unpacked
from .devkit import Devkit

ARCHIVE_PATTERNS = {
    "train": "ILSVRC20*_im*_train.tar",
    "val": "ILSVRC20*_im*_val.tar",
    "test": "ILSVRC20*_im*_test*.tar",
}
COUNTS_2012 = {"train": 1_281_167, "val": 50_000}
_WORDS = {"val": "validation", "test": "test"}
_NUMBERED = re.compile(r"(?:ILSVRC(20\d\d)_.*)?_(\d{8})$")


def read_flat_tar(path: Path, split: str, devkit: Devkit, remarks: Remarks) -> SourceSplit:
    """The validation or test split of a flat archive, labeled by the devkit."""
    found = unpacked(path)
    found.remark(remarks, path.name)
    members = (member for member in found.files if not is_hidden(member.name))
    where = address_of(path)
    images = (FileImage(one.name.rpartition("/")[2], 0, where, one.num_bytes, one.offset) for one in members)
    return _labeled(path, devkit, images, split)


def read_flat_folder(folder: Folder, split: str, devkit: Devkit) -> SourceSplit:
    """The split of a flat folder of validation or test images, labeled by the devkit."""
    return _labeled(folder.where, devkit, (file.image(file.name) for file in folder.images()), split)


def _labeled(path: Path, devkit: Devkit, images: Iterable[SourceImage], split: str) -> SourceSplit:
    rows, truth = LabeledImages(), devkit.truth[split]
    for image in images:
        found = _NUMBERED.search(Path(image.name).stem)
        year, number = (found[1], int(found[2])) if found else (None, 0)
        if not 1 <= number <= len(truth) or year not in (None, devkit.year):
            raise InputError(
                f"{path}: {image.name!r} is not one of the {len(truth)} {_WORDS[split]} images of ILSVRC "
                f"{devkit.year}, the year of the devkit; move it away, or use the devkit of the same year"
            )
        class_number = truth[number - 1]
        if class_number not in devkit.ids:
            raise InputError(
                f"{path}: {image.name!r} has class {class_number}, which is not in the devkit's meta.mat; download "
                "the devkit again"
            )
        rows.add(devkit.ids[class_number], image)
    return rows.split(split, lambda image: f"{path}: {image.name}")


def incomplete(path: Path, split: SourceSplit) -> str | None:
    """Describe in one line what an archive of 2012 lacks; None if it is complete."""
    expected = COUNTS_2012.get(split.name)
    if expected is None or not path.name.startswith("ILSVRC2012"):
        return None
    counted = len(split.labels_used())
    if (len(split.images), counted) == (expected, 1000):
        return None
    found = f"{len(split.images)} images of {counted} classes"
    return f"{path.name}: {found}; ILSVRC 2012 has {expected} images of 1000 classes"
