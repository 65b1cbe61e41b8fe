"""Where images come from: folders, archives or a list, recognized by looking, never changed, never unpacked.

A source has one or two splits; a split has a class table and a list of images sorted by (class, file name), so that the
same images under the same names give the same list however they were laid out or listed. The table is in the order of
the sorted class ids; where a layout stores numbers for labels (parquet, WebDataset), the numbers are the order.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from glob import escape
from pathlib import Path

from ...errors import InputError
from ..format.shard_set import SPLITS
from .class_folders import has_class_folders, read_class_folders
from .ilsvrc import (
    COUNTS_2012,
    DEVKIT_PATTERNS,
    TRAIN_PATTERN,
    VAL_PATTERN,
    Devkit,
    named,
    read_class_tars,
    read_devkit,
    read_nested_tar,
    read_validation,
)
from .image_list import SUFFIXES, read_image_list
from .inputs import SourceSplit
from .kaggle import KaggleLayout, find_layouts, read_validation_images, with_mapping
from .webdataset import holds_samples, read_webdataset

# What a split is called in names of folders and files; the first that is there is the split.
NAMES = {"train": ("train",), "val": ("val", "validation", "test")}


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What was recognized, in words, the splits, and what a person should know of them."""

    description: str
    splits: tuple[SourceSplit, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Where a split is looked for: SOURCE, the split's name, and the devkit that lies in SOURCE."""

    folder: Path
    split: str
    devkit: Devkit | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    """One thing that could be a split, and how to read it. `path` may be a pattern of files."""

    path: Path
    kind: str
    read: Callable[[], SourceSplit]


def open_source(folder: Path) -> Source:
    """Recognize `folder`, or the list of images that it is, and give its images.

    Raises InputError, saying what was found, what was expected and what to do: no such folder, no images, a class
    without images, a class folder that holds folders, two things that could be one split, archives that are damaged or
    lack their devkit, train and validation with different classes, labels that do not fit the images, a line of a list
    that is wrong. ImportError when a library that the source needs is not installed.
    """
    if folder.is_file():
        return _open_list(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the folder that holds train/ and val/")
    devkit_path = next((path for pattern in DEVKIT_PATTERNS for path in sorted(folder.glob(pattern))), None)
    devkit = None if devkit_path is None else read_devkit(devkit_path)
    chosen = []
    for split in SPLITS:
        place = _Place(folder=folder, split=split, devkit=devkit)
        if candidate := _the_one(place, [found for layout in LAYOUTS for found in layout(place)]):
            chosen.append(candidate)
    if not chosen:
        place = _Place(folder=folder, split="train", devkit=None)
        chosen += filter(None, [_the_one(place, _contents(folder, place))])
    splits = tuple(named(candidate.read(), devkit.names if devkit else {}) for candidate in chosen)
    if len(splits) == 2:
        _refuse_different_classes(folder, *splits)
    description = "; ".join(f"{candidate.kind} in {candidate.path}" for candidate in chosen)
    return Source(description=description, splits=splits, notes=_notes(chosen, splits))


def _open_list(path: Path) -> Source:
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: a file, but no list of images; expected a folder, a .csv or a .jsonl file")
    splits = read_image_list(path)
    if len(splits) == 2:
        _refuse_different_classes(path, *splits)
    ids = [entry.id for entry in splits[0].classes]
    notes = []
    if all(one.isdecimal() for one in ids) and ids != sorted(ids, key=int):
        notes.append(
            f"{path.name}: labels are sorted as text, so {ids[1]!r} is class 1; pad them with zeros to avoid it"
        )
    return Source(description=f"a list of images in {path}", splits=splits, notes=tuple(notes))


def _the_one(place: _Place, candidates: list[_Candidate]) -> _Candidate | None:
    if len(candidates) > 1:
        names = " and ".join(f"{one.path.relative_to(place.folder)} ({one.kind})" for one in candidates)
        what = "training" if place.split == "train" else "validation"
        raise InputError(f"{place.folder}: more than one {what} split: {names}; move one of them away")
    return candidates[0] if candidates else None


def _archives(place: _Place) -> Iterator[_Candidate]:
    """ILSVRC's own tars."""
    if place.split == "train":
        for path in sorted(place.folder.glob(TRAIN_PATTERN)):
            yield _Candidate(path=path, kind="the training archive of ILSVRC", read=partial(read_nested_tar, path))
        return
    for path in sorted(place.folder.glob(VAL_PATTERN)):
        if place.devkit is None:
            raise InputError(
                f"{path}: its labels are in the devkit; put ILSVRC2012_devkit_t12.tar.gz beside it, or move it away"
            )
        read = partial(read_validation, path, place.devkit)
        yield _Candidate(path=path, kind="the validation archive of ILSVRC", read=read)


def _kaggle(place: _Place) -> Iterator[_Candidate]:
    """`ILSVRC/Data/CLS-LOC`."""
    for layout in find_layouts(place.folder):
        path = layout.data / place.split
        if path.is_dir() and place.split == "train":
            read = partial(_read_kaggle_train, layout)
            yield _Candidate(path=path, kind="the training images of Kaggle's ILSVRC", read=read)
        elif path.is_dir():
            read = partial(read_validation_images, layout)
            yield _Candidate(path=path, kind="the validation images of Kaggle's ILSVRC", read=read)


def _split_folder(place: _Place) -> Iterator[_Candidate]:
    """`train/`, `val/`, whatever they hold."""
    for name in NAMES[place.split]:
        if (place.folder / name).is_dir():
            yield from _contents(place.folder / name, place)
            return


def _named_files(place: _Place) -> Iterator[_Candidate]:
    """`train-*.parquet`, in `data/` too, and `*train-00000.tar` with WebDataset samples."""
    for name in NAMES[place.split]:
        found = [
            *(
                _parquet(folder / pattern, place)
                for folder in (place.folder, place.folder / "data")
                for pattern in (f"{name}.parquet", f"{name}-*.parquet")
                if any(folder.glob(pattern))
            ),
            *(_webdataset(pattern, place) for pattern in _shard_patterns(place.folder, name)),
        ]
        if found:
            yield from found
            return


# Every place where a split may lie; a split that lies in two is for a person to decide.
LAYOUTS: tuple[Callable[[_Place], Iterator[_Candidate]], ...] = (_archives, _split_folder, _kaggle, _named_files)


def _contents(folder: Path, place: _Place) -> list[_Candidate]:
    """What the folder of one split can be; class folders when it looks like nothing else, for the sake of the error."""
    found = []
    has_folders = has_class_folders(folder)
    first_tar = min(folder.glob("*.tar"), default=None)
    if any(folder.glob("*.parquet")):
        found.append(_parquet(folder / "*.parquet", place))
    if first_tar is not None and holds_samples(first_tar):
        found.append(_webdataset(folder / "*.tar", place))
    elif first_tar is not None and not has_folders:
        read = partial(read_class_tars, folder, place.split)
        found.append(_Candidate(path=folder, kind="class tars", read=read))
    elif place.split == "val" and place.devkit is not None and not has_folders:
        read = partial(read_validation, folder, place.devkit)
        found.append(_Candidate(path=folder, kind="flat validation images", read=read))
    if has_folders or not found:
        read = partial(read_class_folders, folder, place.split)
        found.append(_Candidate(path=folder, kind="class folders", read=read))
    return found


def _parquet(pattern: Path, place: _Place) -> _Candidate:
    def read() -> SourceSplit:
        from .parquet.split import read_parquet

        return read_parquet(sorted(pattern.parent.glob(pattern.name)), place.split)

    return _Candidate(path=pattern, kind="parquet files", read=read)


def _webdataset(pattern: Path, place: _Place) -> _Candidate:
    def read() -> SourceSplit:
        return read_webdataset(sorted(pattern.parent.glob(pattern.name)), place.split)

    return _Candidate(path=pattern, kind="WebDataset shards", read=read)


def _shard_patterns(folder: Path, name: str) -> list[Path]:
    """One pattern for each family of shards `PREFIXname-00000.tar` in `folder`."""
    prefixes = {path.name.rpartition(f"{name}-")[0] for path in folder.glob(f"*{name}-[0-9]*.tar")}
    patterns = [folder / f"{escape(prefix)}{name}-[0-9]*.tar" for prefix in sorted(prefixes)]
    return [pattern for pattern in patterns if holds_samples(min(folder.glob(pattern.name)))]


def _read_kaggle_train(layout: KaggleLayout) -> SourceSplit:
    return with_mapping(read_class_folders(layout.data / "train", "train"), layout)


def _notes(chosen: list[_Candidate], splits: tuple[SourceSplit, ...]) -> tuple[str, ...]:
    notes = []
    for candidate, split in zip(chosen, splits, strict=True):
        expected = COUNTS_2012[split.name]
        if candidate.path.name.startswith("ILSVRC2012") and (len(split.images), len(split.classes)) != (expected, 1000):
            notes.append(
                f"{candidate.path.name}: {len(split.images)} images of {len(split.classes)} classes; "
                f"ILSVRC 2012 has {expected} of 1000"
            )
    return tuple(notes)


def _refuse_different_classes(folder: Path, train: SourceSplit, val: SourceSplit) -> None:
    train_ids, val_ids = ({entry.id for entry in split.classes} for split in (train, val))
    if train_ids == val_ids:
        return
    differences = [
        f"{len(only)} only in {name}: {', '.join(sorted(only)[:3])}{', …' if len(only) > 3 else ''}"
        for name, only in (("train", train_ids - val_ids), ("val", val_ids - train_ids))
        if only
    ]
    raise InputError(
        f"{folder}: train and val have different classes ({'; '.join(differences)}); a label would mean two things: "
        "give both the same classes"
    )
