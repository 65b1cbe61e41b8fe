"""Tars as splits: class tars or WebDataset shards."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ....errors import InputError
from ..candidate import Candidate, SourceFolder
from ..folders.listing import Folder
from ..ilsvrc.archives import ARCHIVE_PATTERNS
from ..tars.class_tars import are_class_tars, read_class_tars
from ..tars.left_beside import refuse_compressed_among, without_unpacked
from ..tars.tar_index import members_of
from ..tars.webdataset import read_webdataset
from .packed_format import PackedFormat

_FIRST_MEMBERS = 50  # enough to see what kind of tar it is


def _in_folder(folder: Folder, files: tuple[Path, ...], split: str, source: SourceFolder) -> Iterator[Candidate]:
    """Class tars or shards; tars not named by synset ids are taken for shards unless `--layout` says otherwise."""
    tars = without_unpacked(files, folder.folders, source.options)
    for path in sorted({*files} - {*tars}):
        folder.remarks.pass_over("archives that are unpacked beside them", str(path))
    if not tars:
        return
    refuse_compressed_among(folder.where, None)
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
        yield _webdataset(folder.where / "*.tar", tars, split, source)


def _in_family(pattern: Path, files: tuple[Path, ...], split: str, source: SourceFolder) -> Iterator[Candidate]:
    """Shards; not ILSVRC's archives, nor tars that are unpacked beside them."""
    folder = pattern.parent
    archives = {path for one in ARCHIVE_PATTERNS.values() for path in folder.glob(one)}
    beside = source.folder.folders if folder == source.path else ()
    tars = without_unpacked([path for path in files if path not in archives], beside, source.options)
    if tars:
        refuse_compressed_among(folder, split)
        yield _webdataset(pattern, tars, split, source)


def _holds_samples(tars: tuple[Path, ...]) -> bool:
    """Whether the first readable tar has labels among its first members."""
    for path in tars:
        try:
            names = [member.name.casefold() for member in islice(members_of(path), _FIRST_MEMBERS)]
        except InputError:
            continue
        return any(name.endswith((".cls", ".json")) for name in names)
    return False


def _webdataset(pattern: Path, tars: tuple[Path, ...], split: str, source: SourceFolder) -> Candidate:
    return Candidate(
        split=split,
        path=pattern,
        kind="WebDataset shards",
        layout="webdataset",
        read=lambda _: read_webdataset(tars, split, source.options, source.remarks),
        files=tars,
    )


TARS = PackedFormat(
    kind="tar",
    is_named=lambda name: name.endswith(".tar"),
    suffix=".tar",
    in_folder=_in_folder,
    in_family=_in_family,
)
