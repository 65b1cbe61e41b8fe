"""Finds what in a folder could be a split, by names and a quick look, and how to read each."""

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from ...errors import InputError
from .arrays.candidates import array_candidates
from .candidate import Candidate, SourceFolder
from .folders.class_folders import read_class_folders
from .folders.flat import read_flat, read_named, read_unlabeled
from .folders.flat_labels import find_flat_labels, lists_beside
from .folders.img2dataset import is_img2dataset, read_img2dataset
from .folders.listing import Folder
from .folders.split_folders import inner_images, named_splits, split_folder, united
from .folders.tiny_imagenet import is_annotated, read_annotated
from .ilsvrc import kaggle
from .ilsvrc.archives import ARCHIVE_PATTERNS, read_flat_folder, read_flat_tar
from .inputs import SourceSplit
from .known_formats import refuse_known_format
from .labels import Unlabeled
from .lists.image_list import read_image_list
from .litter import is_mask_folder
from .options import SourceOptions
from .packed.formats import named_files, packed_contents
from .split_names import SPLIT_WORDS
from .tars.class_tars import read_nested_tar

_TABLE_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.tsv", "_classes.csv")


def split_candidates(source: SourceFolder) -> Iterator[Candidate]:
    """Everything in a folder that is named like a split, or is known to be one."""
    for find in (_archives, _split_folders, _kaggle, named_files, array_candidates):
        yield from find(source)


def contents(folder: Folder, split: str, source: SourceFolder) -> Iterator[Candidate]:
    """What the folder of one split could be; raises InputError, with advice, for known formats that are not read."""
    packed = packed_contents(folder, split, source)
    found = [*packed, *_image_folders(folder, split, source)]
    if not found:
        refuse_known_format(folder.where)
    yield from found


def _image_folders(folder: Folder, split: str, source: SourceFolder) -> Iterator[Candidate]:
    """Class folders, or images of one split in one folder."""
    options = source.options
    if is_annotated(folder):
        yield Candidate(
            split=split,
            path=folder.where,
            kind="Tiny ImageNet's annotated images",
            layout="tiny-imagenet",
            read=lambda _: read_annotated(folder, split, options),
        )
    elif is_img2dataset(folder):
        yield Candidate(
            split=split,
            path=folder.where,
            kind="files of img2dataset",
            layout="img2dataset",
            read=lambda _: read_img2dataset(folder, split, options),
        )
    elif (table := _table_in(folder, options)) is not None:
        yield Candidate(
            split=split,
            path=folder.where,
            kind=f"images that {table.name} lists",
            layout="list",
            read=lambda _: _read_table(table, folder, split, options),
        )
    elif (inner := inner_images(folder)) is not None and inner.has_images():
        yield _flat(inner, split, source)
    elif folder.folders and options.layout != "flat":
        yield _class_folders(folder, split, source)
    elif folder.has_images():
        yield _flat(folder, split, source)


def _table_in(folder: Folder, options: SourceOptions) -> Path | None:
    """`metadata.csv` or the like beside images or `images/`, as for Hugging Face's ImageFolder."""
    holders = _holders(folder)
    if options.layout not in (None, "list") or holders[-1].folders or not folder.where.is_dir():
        return None
    if not any(one.has_images() for one in holders):
        return None
    return next((folder.where / name for name in _TABLE_NAMES if folder.has(name)), None)


def _holders(folder: Folder) -> list[Folder]:
    """The folder and, if it is the only folder in it, `images/`."""
    inner = inner_images(folder)
    return [folder] if inner is None else [folder, inner]


def _read_table(table: Path, folder: Folder, split: str, options: SourceOptions) -> SourceSplit:
    try:
        found, *others = read_image_list(table, options, folder.remarks, base=folder.store_url)
    except Unlabeled:
        folder.remarks.used.add(str(table))
        raise
    except InputError as error:
        raise InputError(f"{error}; or pass --layout flat to read the images without it") from None
    if others:
        raise InputError(f"{table}: its rows name several splits; pass the file itself as SOURCE")
    folder.remarks.used.add(str(table))
    listed = {image.container for image in found.images}
    for file in (file for one in _holders(folder) for file in one.images()):
        if not listed & {file.path, os.path.normpath(file.path)}:
            folder.remarks.pass_over(f"images that {table.name} does not list", file.path)
    return replace(found, name=split)


def _class_folders(folder: Folder, split: str, source: SourceFolder, paths: tuple[Path, ...] = ()) -> Candidate:
    """Class folders; `paths` are the folders that hold them, if `folder` is several."""
    return Candidate(
        split=split,
        path=folder.where,
        kind="class folders",
        layout="class-folders",
        read=lambda first: read_class_folders(folder, split, source.options, first=first),
        files=paths,
    )


def _flat(folder: Folder, split: str, source: SourceFolder) -> Candidate:
    """Images without class folders."""

    def read(first: SourceSplit | None) -> SourceSplit:
        if source.options.label_pattern is not None:
            return read_named(folder, split, source.options.label_pattern, source.options)
        labels = find_flat_labels(split, folder, source.path)
        if labels is not None:
            ids = () if first is None else tuple(entry.id for entry in first.classes)
            return read_flat(folder, split, labels, source.options, class_ids=ids)
        if source.devkit is not None and split in source.devkit.truth:
            return read_flat_folder(folder, split, source.devkit)
        if source.options.unlabeled:
            return read_unlabeled(folder, split, source.options)
        raise Unlabeled(
            f"{folder.where}: images without labels; found no class folders, no list ({split}.txt with lines PATH "
            "LABEL), no LOC_val_solution.csv and no devkit: put one of these beside it, move the images into class "
            "folders, take the labels from file names with --label-pattern, or pass --unlabeled to store them without "
            f"labels{lists_beside([folder, folder.parent, source.folder], split)}"
        )

    return Candidate(split=split, path=folder.where, kind="images in one folder", layout="flat", read=read)


def _archives(source: SourceFolder) -> Iterator[Candidate]:
    """ILSVRC's own tars."""
    for split, pattern in ARCHIVE_PATTERNS.items():
        for path in sorted(source.path.glob(pattern)):
            words = {"train": "training", "val": "validation", "test": "test"}[split]
            yield Candidate(
                split=split,
                path=path,
                kind=f"the {words} archive of ILSVRC",
                layout="ilsvrc",
                read=partial(_read_archive, path, split, source),
                files=(path,),
            )


def _read_archive(path: Path, split: str, source: SourceFolder, _: SourceSplit | None) -> SourceSplit:
    if split == "train":
        return read_nested_tar(path, split, source.remarks)
    if split == "test" and (source.devkit is None or split not in source.devkit.truth):
        raise Unlabeled(
            f"{path}: the test images have no labels; for ILSVRC 2010, put ILSVRC2010_test_ground_truth.txt beside the "
            "devkit; for other years, unpack them to a folder test/ and pass --unlabeled to store them without labels"
        )
    if source.devkit is None:
        raise InputError(
            f"{path}: its labels are in the devkit, which is missing; put ILSVRC2012_devkit_t12.tar.gz beside it, or "
            "move this archive away"
        )
    return read_flat_tar(path, split, source.devkit, source.remarks)


def _split_folders(source: SourceFolder) -> Iterator[Candidate]:
    """`train/`, `val/` and so on, whatever they hold."""
    folder = source.folder
    if any(layout.data == source.path for layout in kaggle.find_layouts(source.path)):
        return  # SOURCE is CLS-LOC itself
    named = named_splits(folder, source.options.layout)
    others = [name for name in folder.folders if name not in named]
    if any(folder.child(name).has_images() for name in others) and not any(
        folder.child(name).folders or not folder.child(name).has_images() for name in named
    ):
        return  # a class called train, as in CIFAR-100, among other classes
    of_split = {split: [name for name in named if named[name] == split] for split in named.values()}
    parts = {split: one for split, names in of_split.items() if (one := united(folder, names))}
    for split, whole in parts.items():
        yield _class_folders(whole, split, source, paths=tuple(part.where for part in whole.parts))
    for name, split in named.items():
        child = split_folder(folder, name)
        if child is not folder.child(name):
            for other in folder.child(name).folders:
                if is_mask_folder(other):
                    folder.remarks.pass_over("folders of masks or annotations", str(folder.where / name / other))
        if split in parts and child in parts[split].parts:
            continue
        found = list(contents(child, split, source)) if split not in parts else ()
        if not found:
            folder.remarks.pass_over("folders of splits that hold nothing to read", str(folder.where / name))
        yield from found


def _kaggle(source: SourceFolder) -> Iterator[Candidate]:
    """`ILSVRC/Data/CLS-LOC`."""
    for layout in kaggle.find_layouts(source.path):
        for split in SPLIT_WORDS:
            path = layout.data / split
            if not path.is_dir():
                continue
            words = {"train": "training", "val": "validation", "test": "test"}[split]
            yield Candidate(
                split=split,
                path=path,
                kind=f"the {words} images of Kaggle's ILSVRC",
                layout="kaggle",
                read=partial(_read_kaggle, layout, split, source),
            )


def _read_kaggle(layout: kaggle.KaggleLayout, split: str, source: SourceFolder, _: SourceSplit | None) -> SourceSplit:
    folder = source.folder
    for name in (layout.data / split).relative_to(source.path).parts:
        folder = folder.child(name)
    if split == "train":
        return kaggle.read_train(layout, folder, source.options)
    if split == "val":
        return kaggle.read_validation(layout, folder, source.options)
    if source.options.unlabeled:
        return read_unlabeled(folder, split, source.options)
    raise Unlabeled(
        f"{folder.where}: the test images of ILSVRC have no labels; pass --unlabeled to store them without labels"
    )
