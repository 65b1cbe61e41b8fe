"""Finds what in a folder could be a split, by names and a quick look, and how to read each."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

from ...errors import InputError
from .folders.class_folders import read_class_folders
from .folders.flat import read_flat, read_named, read_unlabeled
from .folders.flat_labels import find_flat_labels, lists_beside
from .folders.img2dataset import is_img2dataset, read_img2dataset
from .folders.listing import Folder
from .folders.split_folders import inner_images, named_splits, split_folder, united
from .folders.tiny_imagenet import is_annotated, read_annotated
from .ilsvrc import kaggle
from .ilsvrc.archives import ARCHIVE_PATTERNS, read_flat_folder, read_flat_tar
from .ilsvrc.devkit import Devkit, find_devkit
from .inputs import SourceSplit
from .known_formats import refuse_known_format
from .labels import Unlabeled
from .lists.image_list import read_image_list
from .litter import is_mask_folder, is_of_shard_set
from .options import Layout, SourceOptions
from .remarks import Remarks
from .split_names import SPLIT_WORDS, split_in
from .tars.class_tars import are_class_tars, read_class_tars, read_nested_tar
from .tars.left_beside import refuse_compressed_among, without_unpacked
from .tars.tar_index import members_of
from .tars.webdataset import read_webdataset

_TABLE_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.tsv", "_classes.csv")
_FIRST_MEMBERS = 50  # enough to see what kind of tar it is

Read = Callable[[SourceSplit | None], SourceSplit]
"""Reads a split. Takes the source's first split, whose class table this one will get, or None for the first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A possible split and how to read it."""

    split: str
    path: Path
    """The file, the folder, or a glob pattern of files."""
    kind: str
    """What it is, for messages."""
    layout: Layout
    """Its name for `--layout`."""
    read: Read
    files: tuple[Path, ...] = ()
    """The tar or parquet files that it is read from; empty for other layouts."""


@dataclass(kw_only=True, eq=False)
class SourceFolder:
    """SOURCE and what is needed to read it."""

    folder: Folder
    options: SourceOptions
    remarks: Remarks

    @property
    def path(self) -> Path:
        """The folder's path."""
        return self.folder.where

    @cached_property
    def devkit(self) -> Devkit | None:
        """The ILSVRC devkit in the folder, if there is one."""
        return find_devkit(self.path, self.remarks)


def split_candidates(source: SourceFolder) -> Iterator[Candidate]:
    """Everything in a folder that is named like a split, or is known to be one."""
    for find in (_archives, _split_folders, _kaggle, _named_files):
        yield from find(source)


def contents(folder: Folder, split: str, source: SourceFolder) -> Iterator[Candidate]:
    """What the folder of one split could be; raises InputError, with advice, for known formats that are not read."""
    all_tars = _files(folder, ".tar")
    tars = without_unpacked(all_tars, folder.folders, source.options)
    for path in sorted({*all_tars} - {*tars}):
        folder.remarks.pass_over("archives that are unpacked beside them", str(path))
    parquet = _with_images(folder, _files(folder, ".parquet"))
    found: list[Candidate] = []
    if tars:
        refuse_compressed_among(folder.where, None)
        found += _tar_candidates(folder, tars, split, source)
    if parquet:
        found.append(_parquet(folder.where / "*.parquet", parquet, split, source))
    found += _image_folders(folder, split, source)
    if not found:
        refuse_known_format(folder.where)
    elif tars or parquet:
        _remark_others(folder, (*tars, *_files(folder, ".parquet")))
    yield from found


def _files(folder: Folder, suffix: str) -> tuple[Path, ...]:
    """The files with a suffix; none in a zip file, whose members cannot be read by offset."""
    if not folder.where.is_dir():
        return ()
    return tuple(folder.where / file.name for file in folder.files if file.name.endswith(suffix))


def _remark_others(folder: Folder, used: tuple[Path, ...]) -> None:
    """Remark on other files in a split's folder of shards or parquet files."""
    names = {path.name for path in used}
    for file in folder.files:
        if file.name not in names and not is_of_shard_set(file.name):
            folder.remarks.pass_over("files beside shards or parquet files", file.path)


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


def _tar_candidates(folder: Folder, tars: tuple[Path, ...], split: str, source: SourceFolder) -> Iterator[Candidate]:
    """Class tars or shards; tars not named by synset ids are taken for shards unless `--layout` says otherwise."""
    path = folder.where / "*.tar"
    wanted = source.options.layout
    if wanted == "class-tars" or (wanted is None and are_class_tars(tars) and not _holds_samples(tars)):
        yield Candidate(
            split=split,
            path=folder.where,
            kind="class tars",
            layout="class-tars",
            read=lambda _: read_class_tars(tars, split, source.remarks),
            files=tars,
        )
    else:
        yield _webdataset(path, tars, split, source)


def _holds_samples(tars: tuple[Path, ...]) -> bool:
    """Whether the first readable tar has labels among its first members."""
    for path in tars:
        try:
            names = [member.name.casefold() for member in islice(members_of(path), _FIRST_MEMBERS)]
        except InputError:
            continue
        return any(name.endswith((".cls", ".json")) for name in names)
    return False


def _with_images(folder: Folder, files: tuple[Path, ...]) -> tuple[Path, ...]:
    """The parquet files that hold images, not those that img2dataset writes to describe a tar or folder beside them."""
    kept = []
    for path in files:
        if path.with_suffix(".tar").exists() or (folder.where / path.stem).is_dir():
            folder.remarks.pass_over("tables of img2dataset", str(path))
        else:
            kept.append(path)
    return tuple(kept)


def _parquet(pattern: Path, files: tuple[Path, ...], split: str, source: SourceFolder) -> Candidate:
    def read(_: SourceSplit | None) -> SourceSplit:
        from .parquet.split import read_parquet

        return read_parquet(files, split, source.options, source.remarks)

    return Candidate(split=split, path=pattern, kind="parquet files", layout="parquet", read=read, files=files)


def _webdataset(pattern: Path, tars: tuple[Path, ...], split: str, source: SourceFolder) -> Candidate:
    return Candidate(
        split=split,
        path=pattern,
        kind="WebDataset shards",
        layout="webdataset",
        read=lambda _: read_webdataset(tars, split, source.options, source.remarks),
        files=tars,
    )


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


def _named_files(source: SourceFolder) -> Iterator[Candidate]:
    """`train-*.parquet` and `imagenet-train-00000.tar`, here and in `data/`, whatever they hold."""
    for split in SPLIT_WORDS:
        for folder in (source.path, source.path / "data"):
            for suffix in ("parquet", "tar"):
                for family, files in _families(folder, split, suffix, source).items():
                    pattern = folder / f"{family}*.{suffix}"
                    if suffix == "parquet":
                        yield _parquet(pattern, files, split, source)
                    else:
                        refuse_compressed_among(folder, split)
                        yield _webdataset(pattern, files, split, source)


def _families(folder: Path, split: str, suffix: str, source: SourceFolder) -> dict[str, tuple[Path, ...]]:
    """The files of a split, grouped by what their names have in common."""
    archives = {path for pattern in ARCHIVE_PATTERNS.values() for path in folder.glob(pattern)}
    families: dict[str, list[Path]] = {}
    for path in sorted(folder.glob(f"*.{suffix}")):
        found = split_in(path.stem)
        if found is not None and found[0] == split and path not in archives and not path.name.startswith("."):
            families.setdefault(found[1], []).append(path)
    beside = source.folder.folders if folder == source.path else ()
    kept = {family: without_unpacked(files, beside, source.options) for family, files in families.items()}
    return {family: files for family, files in kept.items() if files}
