"""ImageNet as it is downloaded: archives read in place by offset, and the devkit that labels the validation images.

Layouts: `ILSVRC2012_img_train.tar` (a tar of one tar per class) or a folder of such class tars;
`ILSVRC2012_img_val.tar` or a flat folder of validation images, labeled by the devkit archive beside it. The archives
of 2010 are called `images` instead of `img`.
"""

import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError
from ..format.manifest import ClassEntry
from .inputs import FileImage, SourceSplit, size_of
from .matlab import read_matlab
from .tar_index import Member, tar_members

TRAIN_PATTERN = "ILSVRC20*_im*_train.tar"
VAL_PATTERN = "ILSVRC20*_im*_val.tar"
DEVKIT_PATTERNS = ("ILSVRC20*devkit*.tar.gz", "devkit-*.tar.gz")
COUNTS_2012 = {"train": 1_281_167, "val": 50_000}
MAX_DEVKIT_MEMBER = 2**26
_NUMBERED = re.compile(r"_(\d{8})$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Devkit:
    """The classes of a challenge by their number, and the class number of every validation image in order."""

    ids: dict[int, str]
    names: dict[str, str]
    validation: tuple[int, ...]


def read_devkit(path: Path) -> Devkit:
    """Read `meta.mat` and the validation ground truth out of a devkit archive; InputError names what is missing."""
    meta = truth = None
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                name = member.name.rpartition("/")[2]
                if not member.isfile() or member.size > MAX_DEVKIT_MEMBER:
                    continue
                if name == "meta.mat":
                    meta = _content(tar, member)
                elif re.fullmatch(r"ILSVRC20\d\d_validation_ground_truth\.txt", name):
                    truth = _content(tar, member)
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{path}: not a devkit archive ({error}); download it again") from None
    if meta is None or truth is None:
        raise InputError(f"{path}: holds no meta.mat or no validation ground truth; download the devkit again")
    try:
        rows = [_synset(row) for row in read_matlab(meta)["synsets"]]
        validation = tuple(int(line) for line in truth.split())
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path}: cannot be read ({error}); download the devkit again") from None
    return Devkit(
        ids={number: wordnet_id for number, wordnet_id, _ in rows},
        names={wordnet_id: words for _, wordnet_id, words in rows},
        validation=validation,
    )


def _synset(row: dict[str, Any]) -> tuple[int, str, str]:
    numbers = next(value for field, value in row.items() if field.endswith("_ID"))  # of 2010 or of 2012
    return int(numbers[0]), str(row["WNID"]), str(row["words"])


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def read_nested_tar(path: Path) -> SourceSplit:
    """The training split of a tar that holds one tar per class, `n01440764.tar`."""
    with _opened(path) as descriptor:
        outer = list(tar_members(descriptor, path, 0, path.stat().st_size))
        by_class = {
            Path(member.name).stem: list(tar_members(descriptor, path, member.offset, member.offset + member.num_bytes))
            for member in outer
            if member.name.endswith(".tar")
        }
    if not by_class:
        raise InputError(f"{path}: holds no class tars; expected one tar per class inside")
    return split_of("train", {class_id: [(str(path), member) for member in m] for class_id, m in by_class.items()})


def read_class_tars(folder: Path, split: str) -> SourceSplit:
    """The split of a folder of class tars."""
    found = {}
    for path in sorted(folder.glob("*.tar")):
        with _opened(path) as descriptor:
            members = list(tar_members(descriptor, path, 0, path.stat().st_size))
        found[path.stem] = [(str(path), member) for member in members]
    return split_of(split, found)


def read_validation(path: Path, devkit: Devkit) -> SourceSplit:
    """The validation split of a flat tar or folder, labeled by the devkit."""
    members: list[tuple[str, Member]]
    if path.is_dir():
        with os.scandir(path) as entries:
            files = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
        members = [(entry.path, Member(entry.name, 0, size_of(entry))) for entry in files]
    else:
        with _opened(path) as descriptor:
            members = [(str(path), member) for member in tar_members(descriptor, path, 0, path.stat().st_size)]
    by_class: dict[str, list[tuple[str, Member]]] = {}
    for container, member in members:
        number = _NUMBERED.search(Path(member.name).stem)
        if number is None or not 1 <= int(number[1]) <= len(devkit.validation):
            raise InputError(
                f"{path}: {member.name!r} is none of the {len(devkit.validation)} validation images of the devkit"
            )
        class_number = devkit.validation[int(number[1]) - 1]
        if class_number not in devkit.ids:
            raise InputError(f"{path}: {member.name!r} has class {class_number}, which the devkit's meta.mat lacks")
        by_class.setdefault(devkit.ids[class_number], []).append((container, member))
    return split_of("val", by_class)


def named(split: SourceSplit, names: dict[str, str]) -> SourceSplit:
    """The split with the names of its classes, where `names` has them."""
    classes = tuple(
        ClassEntry(index=entry.index, id=entry.id, name=names.get(entry.id, entry.name)) for entry in split.classes
    )
    return SourceSplit(name=split.name, classes=classes, images=split.images)


def split_of(name: str, by_class: dict[str, list[tuple[str, Member]]]) -> SourceSplit:
    """The split of files or archive members, each with the path that holds it, by class id."""
    images: list[FileImage] = []
    for label, class_id in enumerate(sorted(by_class)):
        if not by_class[class_id]:
            raise InputError(f"{class_id}.tar: class without images; the archive is not complete")
        images += sorted(
            FileImage(f"{class_id}/{Path(member.name).name}", label, container, member.num_bytes, member.offset)
            for container, member in by_class[class_id]
        )
    classes = tuple(ClassEntry(index=i, id=class_id, name=class_id) for i, class_id in enumerate(sorted(by_class)))
    return SourceSplit(name=name, classes=classes, images=images)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
