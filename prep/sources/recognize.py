"""Recognizes the layout of a source: folders, archives or a list, which are never changed or unpacked.

A source has up to three splits with one class table. A split lists its images sorted by (class, file name), so that the
same images under the same names give the same list in every layout. Whatever in SOURCE is not understood is reported.
"""

import atexit
import gc
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from shlex import quote

from ...errors import InputError
from ..format.shard_set import SPLITS
from ..format.temporary import temporary_folder
from ..storage import Location, StoreUrl, parse_location
from .arrays.formats import arrays_among, arrays_in
from .arrays.npz import read_npz
from .candidate import Candidate, SourceFolder
from .candidates import contents, split_candidates
from .class_tables import join_classes, note_classes
from .columns.gathered import Gathered
from .extras import SOURCE_NAME, extensions_of, root_of, source_extra
from .folders.class_names import class_names
from .folders.listing import Folder
from .folders.split_folders import cached_snapshot, refuse_lost_classes, refuse_lost_train, without_masks
from .folders.store_folder import open_store_folder
from .folders.zip_folder import open_zip
from .ilsvrc.archives import incomplete
from .ilsvrc.kaggle import refuse_zipped_kaggle
from .inputs import Known, SourceSplit
from .labels import Unlabeled, with_names
from .lists.image_list import SUFFIXES, read_image_list
from .lists.listed_splits import lists_in
from .lists.split_lists import divided, note_split_files, split_lists
from .litter import is_mask_folder, is_of_shard_set
from .options import Layout, SourceOptions
from .packed.formats import is_packed, packed_kind
from .remarks import Remarks
from .split_names import missing_parts, mixed_parts, of_other_split, part_names, split_called
from .tfrecords.tfds import built_data_set
from .val_fraction import hold_out

_WORDS = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A source whose layout was recognized."""

    description: str
    """What was found where, in words."""
    splits: tuple[SourceSplit, ...]
    """The splits, train first; one class table for all of them."""
    notes: tuple[str, ...] = ()
    """Remarks for the user."""
    passed_over: tuple[str, ...] = ()
    """What was not read: one line for each reason, with a count and an example."""
    asked: str = ""
    """The location and the options that it was opened with, as text; equal texts mean equal requests."""


def open_source(
    location: str | Location, options: SourceOptions | None = None, *, out: str | Location | None = None
) -> Source:
    """Recognize a folder, a zip file or a list of images, and list its images.

    Args:
        location: The folder or file, or the URL of a folder in a store. In a store, files of many images, such as tars,
            are read by ranges; lists and label files are copied below TMPDIR and removed when this process ends.
        options: The user's options for reading it.
        out: A folder or URL to skip, because shard sets are written there.

    Raises InputError, saying what was found, what was expected and what to do, for: no such folder, no images, a class
    without images, two candidates for one split, archives that are damaged or lack their devkit, splits with different
    classes, labels that do not fit the images, a wrong line in a list, a known format that is not read. Raises
    ImportError if a library that the source needs is not installed.
    """
    location, out = parse_location(location), None if out is None else parse_location(out)
    with _without_collector():
        found = _open(location, options or SourceOptions(), out.resolve() if isinstance(out, Path) else out)
        splits = tuple(replace(split, root=root_of(location), known=_known(split)) for split in found.splits)
        return replace(found, splits=splits, asked=asked_by(location, options))


def asked_by(location: Location, options: SourceOptions | None) -> str:
    """The value of `Source.asked` for these arguments."""
    # Images below a relative path have relative paths too, which are valid only in the current folder.
    root = None if options is None else options.image_root
    starts = (location, *([] if root is None else [parse_location(root)]))
    base = "" if all(isinstance(one, StoreUrl) or one.is_absolute() for one in starts) else str(Path.cwd())
    return json.dumps([base, str(location), asdict(options or SourceOptions())], sort_keys=True)


def _known(split: SourceSplit) -> Known:
    """Results that are needed of a split repeatedly."""
    counts = split.labels_used()
    return Known(split.fingerprint(), tuple(counts[entry.index] for entry in split.classes))


@contextmanager
def _without_collector() -> Iterator[None]:
    """Disable the garbage collector: listing makes millions of tuples and no cycles; it would scan them repeatedly."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _open(location: Location, options: SourceOptions, out: Location | None) -> Source:
    if isinstance(location, Path):
        return _open_at(location, location, options, out)
    copies = _copies_of(location)
    before, after = str(copies), str(location)  # the user knows the URL, not the copies
    try:
        found = _open_at(location, copies, options, out)
    except InputError as error:
        raise type(error)(str(error).replace(before, after)) from None
    return replace(
        found,
        description=found.description.replace(before, after),
        notes=tuple(note.replace(before, after) for note in found.notes),
        passed_over=tuple(line.replace(before, after) for line in found.passed_over),
    )


def _open_at(location: Location, path: Path, options: SourceOptions, out: Location | None) -> Source:
    """The source at `location`; `path` is the same path or, for a store, the folder for copies."""
    remarks = Remarks()
    if isinstance(location, Path) and path.is_file() and path.suffix.lower() == ".npz":
        options.refuse_unread(path, ["npz"])
        description, splits = read_npz(path, options, remarks)
    elif isinstance(location, Path) and path.is_file() and path.suffix.lower() != ".zip":
        options.refuse_unread(path, ["list"])
        description, splits = _read_list(path, options, remarks)
    else:
        folder = _folder_at(location, path, out, remarks)
        description, splits = _read_folder(SourceFolder(folder=folder, options=options, remarks=remarks))
    splits = join_classes(path, splits)
    if SOURCE_NAME in options.keep:
        splits = tuple(_with_origins(split, root_of(location)) for split in splits)
    if options.val_fraction is not None:
        splits = _with_val(path, splits, options.val_fraction)
    _refuse_what_was_not_kept(path, splits, options)
    note_classes(splits, remarks)
    return Source(
        description=description,
        splits=tuple(splits),
        notes=tuple(remarks.notes),
        passed_over=tuple(remarks.lines()),
    )


def _folder_at(location: Location, path: Path, out: Location | None, remarks: Remarks) -> Folder:
    """A folder on disk, the contents of a zip file, or a folder in a store."""
    if isinstance(location, StoreUrl):
        return open_store_folder(location, path, remarks, out=out if isinstance(out, StoreUrl) else None)
    if path.is_file():
        inside = open_zip(path, remarks)
        refuse_zipped_kaggle(inside)
        return inside
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; pass the folder that holds train/ and val/")
    return Folder(where=path, remarks=remarks, out=out if isinstance(out, Path) else None)


def _with_origins(split: SourceSplit, root: str) -> SourceSplit:
    """The split with `source.txt` kept for every image."""
    images = Gathered().extend(image.keeping(source_extra(image, root)) for image in split.images)
    return replace(split, images=images.images())


def _copies_of(url: StoreUrl) -> Path:
    """An empty folder named like the URL, removed when this process ends or, if it is killed, by the next one."""
    scratch = temporary_folder("alexkit-source-")
    folder = scratch.__enter__() / url.name
    atexit.register(scratch.__exit__, None, None, None)
    folder.mkdir()
    return folder


def _read_list(path: Path, options: SourceOptions, remarks: Remarks) -> tuple[str, tuple[SourceSplit, ...]]:
    if path.name.lower().endswith((".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")):
        raise InputError(
            f"{path}: a single archive; if it is a WebDataset shard or an ILSVRC archive, pass its folder, else unpack "
            f"it (tar -xf {quote(path.name)}) and pass the result"
        )
    if (kind := packed_kind(path.name)) is not None:
        raise InputError(f"{path}: a single {kind}; pass its folder, whose {kind}s are read together")
    if arrays_among({path.name}):
        raise InputError(f"{path}: one of several files of a data set; pass its folder")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path}: a file, but not a list of images; expected a folder, a .zip of class folders, or a list: a .csv, "
            ".tsv or .jsonl file, or a .txt file with lines PATH LABEL"
        )
    return f"a list of images in {path}", read_image_list(path, options, remarks)


def _read_folder(source: SourceFolder) -> tuple[str, tuple[SourceSplit, ...]]:
    source, chosen, are_splits = _choose(source)
    remarks = source.remarks
    source.options.refuse_unread(source.path, {candidate.layout for candidate in chosen})
    splits: list[SourceSplit] = []
    described: list[str] = []
    for candidate in chosen:
        _check_parts(candidate, remarks)
        try:
            split = candidate.read(splits[0] if splits else None)
        except Unlabeled as error:
            if candidate.split != "test" or len(chosen) == 1:
                raise
            remarks.note(f"left out: {error}")
            continue
        if not split.images:
            raise InputError(f"{candidate.path}: holds no images; add some, or remove it")
        if (missing := incomplete(candidate.path, split)) is not None:
            remarks.note(missing)
        splits.append(split)
        described.append(f"{candidate.kind} in {candidate.path}")
    if not are_splits and chosen[0].layout == "class-folders":
        splits = list(divided(splits[0], source.folder, source.options))
    elif not are_splits and chosen[0].layout == "flat":
        note_split_files(source.folder)
    ids = {entry.id: None for split in splits for entry in split.classes}
    names = source.devkit.names if source.devkit else class_names(source.path, ids, remarks)
    if are_splits:
        _remark_what_is_left(source.folder, chosen)
    return "; ".join(described), tuple(with_names(split, names) for split in splits)


def _check_parts(candidate: Candidate, remarks: Remarks) -> None:
    """Note missing files and files of several sets; raises InputError for a set that is there twice."""
    names = [file.name for file in candidate.files]
    if (mixed := mixed_parts(names)) is not None:
        raise InputError(
            f"{candidate.path}: files {mixed}, which would give the same images twice if one set was written again; "
            "move the files of one of them out of this folder"
        )
    if (missing := missing_parts(names)) is not None:
        remarks.note(f"{candidate.path}: {missing}; is the download complete?")
    if len(several := part_names(names)) > 1:
        remarks.note(f"{candidate.path}: files of several names, {', '.join(several[:4])}, are read as one split")
    if candidate.layout != "class-tars" and (other := of_other_split(names, candidate.split)):
        remarks.note(f"{candidate.path}: {other} is read as {candidate.split}; if it is of another split, move it out")


def _choose(source: SourceFolder) -> tuple[SourceFolder, list[Candidate], bool]:
    """The folder that holds the splits, one candidate for each (train first), and whether it is more than one split."""
    folder, wanted = source.folder, source.options.layout
    if (snapshot := cached_snapshot(folder)) is not None:
        source.remarks.note(f"{folder.where}: read {snapshot.where}, a snapshot in the cache of Hugging Face")
        return _choose(source.only(snapshot))
    if (built := built_data_set(folder)) is not None:
        source.remarks.note(f"{folder.where}: read {built.where.relative_to(folder.where)}, a data set of TFDS")
        return _choose(source.only(built))
    of_all_layouts = list(split_candidates(source))
    found = _of_layout(of_all_layouts, wanted)
    if found:
        read = {one.split for one in found}
        for other in of_all_layouts:
            if other.split not in read:
                source.remarks.note(f"left out: {other.path} ({other.kind}), since --layout is {wanted}")
        if all(one.split != "train" for one in found):
            read_from = [one.path.relative_to(folder.where).parts[0] for one in found]
            refuse_lost_train(folder, read_from)
            refuse_lost_classes(folder, read_from)
        return source, [one for split in SPLITS if (one := _the_one(source, split, found))], True
    if lists := lists_in(folder, source):
        names = ", ".join(one.path.name for one in lists)
        source.remarks.note(
            f"{folder.where}: read as {names} lists it; --layout class-folders reads its folders instead"
        )
        return source, lists, False
    if folder.folders and all(split_called(name) and _is_empty(folder.child(name)) for name in folder.folders):
        raise InputError(f"{folder.where}: nothing to read in {', '.join(folder.folders)}; put class folders there")
    found = _of_layout(contents(folder, "train", source), wanted)
    if not found:
        lies = ", ".join([*folder.folders, *(file.name for file in folder.files)][:6])
        raise InputError(
            f"{folder.where}: holds no class folders, shards, files of many images or archives that can be read"
            f"{f' as {wanted}' if wanted else ''}; found {lies or 'nothing'}; {_way_out(folder)}"
        )
    if [one.layout for one in found] == ["class-folders"] and (inner := _only_folder(folder, source.options)):
        which = "" if len(folder.folders) == 1 else " with images"
        source.remarks.note(f"{folder.where}: read {inner.where.name}/, the only folder in it{which}")
        for name in folder.folders:
            if name != inner.where.name and not split_lists(folder.child(name)):
                what = "folders of masks or annotations" if is_mask_folder(name) else "folders without images"
                source.remarks.pass_over(what, str(folder.where / name))
        return _choose(source.only(inner))
    one = _the_one(source, "train", found)
    assert one is not None
    return source, [one], False


def _way_out(folder: Folder) -> str:
    in_zip = not folder.where.is_dir()
    if in_zip and (arrays_in(folder) or any(is_packed(one.name) or one.name.endswith(".npz") for one in folder.files)):
        return "these files are read unpacked: unpack the zip file, and pass the result"
    zips = [file.path for file in folder.files if file.name.lower().endswith(".zip")]
    if zips:
        if folder.store_url is not None:
            return f"to read a zip of class folders, download it and pass it as SOURCE: {zips[0]}"
        if Path(zips[0]).is_file():
            refuse_zipped_kaggle(open_zip(Path(zips[0]), Remarks()))
        if len(zips) > 1:
            return (
                'unpack the zips, each to a folder of its name: for zip in *.zip; do unzip -d "${zip%.*}" "$zip"; done'
            )
        return f"to read a zip of class folders, pass it as SOURCE: {zips[0]}"
    lists = [file.path for file in folder.files if Path(file.name).suffix.lower() in SUFFIXES]
    if lists:
        return f"to read a list of images, pass it as SOURCE: {lists[0]}"
    return "'alexprep shard --help' lists the layouts"


def _is_empty(folder: Folder) -> bool:
    return not folder.files and not folder.folders


def _of_layout(candidates: Iterable[Candidate], wanted: Layout | None) -> list[Candidate]:
    return [one for one in candidates if wanted is None or one.layout == wanted]


def _the_one(source: SourceFolder, split: str, candidates: Sequence[Candidate]) -> Candidate | None:
    of_split = [one for one in candidates if one.split == split]
    if len(of_split) > 1:
        names = " and ".join(f"{one.path.relative_to(source.path)} ({one.kind})" for one in of_split)
        layouts = {one.layout for one in of_split}
        choose = ", or choose one with --layout" if len(layouts) == len(of_split) else ""
        if layouts == {"class-folders"}:
            choose = f"; to read all as one split, move their class folders into a folder {split}/"
        raise InputError(
            f"{source.path}: more than one {_WORDS[split]} split: {names}; to read one of them, move the others out of "
            f"this folder{choose}"
        )
    return of_split[0] if of_split else None


def _only_folder(folder: Folder, options: SourceOptions) -> Folder | None:
    """The only folder in `folder` that holds classes or splits, as folders or files of many images.

    Beside it there may be folders of files that are not images, as `meta/` beside `images/` in Food-101, and of masks
    or annotations beside `images/`; but not an empty one, which may be a class whose images are missing.
    """
    if folder.has_images() or options.class_depth is not None:
        return None
    names = folder.folders
    if len(names) > 1:
        names = without_masks(names)
        if "raw" in names and arrays_in(folder.child("raw")):
            names = tuple(name for name in names if name != "processed")  # what old versions of torchvision made of it
        names = tuple(islice((name for name in names if not folder.child(name).holds_no_images()), 2))
    if len(names) != 1:
        return None
    inner = folder.child(names[0])
    holds_any = inner.folders or any(is_packed(file.name) for file in inner.files) or arrays_in(inner)
    return inner if holds_any and not inner.has_images() else None


def _remark_what_is_left(folder: Folder, chosen: Sequence[Candidate]) -> None:
    """Remark on what in SOURCE belongs to no split."""
    used = {path.relative_to(folder.where).parts[0] for one in chosen for path in (one.path, *one.files)}
    for name in folder.folders:
        is_used = name in used or str(folder.where / name) in folder.remarks.used
        if not is_used and not split_called(name):
            folder.remarks.pass_over("folders that are not splits", str(folder.where / name))
    for file in folder.files:
        is_used = file.name in used or file.path in folder.remarks.used
        if not is_used and not is_of_shard_set(file.name):
            folder.remarks.pass_over("files that belong to no split", file.path)


def _with_val(path: Path, splits: Sequence[SourceSplit], fraction: float) -> tuple[SourceSplit, ...]:
    names = [split.name for split in splits]
    if "val" in names or names[0] != "train":
        raise InputError(
            f"{path}: --val-fraction needs a source with a train split and no val split, found {', '.join(names)}; "
            "leave the option out"
        )
    return (*hold_out(splits[0], fraction), *splits[1:])


def _refuse_what_was_not_kept(path: Path, splits: Sequence[SourceSplit], options: SourceOptions) -> None:
    for name in options.keep:
        wanted = extensions_of(name)
        if not any(extra.ext in wanted for split in splits for image in split.images for extra in image.extras):
            raise InputError(f"{path}: --keep {name}: no image has a member, column or file of that name")
