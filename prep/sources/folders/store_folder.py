"""A folder in an object store: images, their extras and files of many images are read there; lists are copied first.

Class folders are listed in parallel, and their images stay in the store. Lists and label files, which are small, are
copied and then read like local files. All others have empty local stand-ins; files of many images, such as tars, are
read by ranges.
"""

import shutil
from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ....errors import InputError
from ...format.shard_set import SPLITS
from ...storage import Listed, ObjectStore, StoreUrl
from ...storage.by_offset import address_in_store, stand_in
from ..inputs import Extra, SourceImage, require_size
from ..litter import is_image_name, is_system
from ..remarks import Remarks
from .files import File
from .listing import RUN_MARK, SET_MARK, Folder, Listing

LIST_THREADS = 32
COPIED_SUFFIXES = (".txt", ".csv", ".tsv", ".jsonl", ".json", ".xml", ".mat", ".lst")
COPY_BYTES = 2**26  # per read while a file is copied


class StoreImage(NamedTuple):
    """An image that is an object in a store; `e_tag` is that of the listing."""

    name: str
    label: int
    url: StoreUrl
    num_bytes: int
    e_tag: str | None
    extras: tuple[Extra, ...] = ()

    def read(self) -> bytes:
        """Return the content; see `SourceImage`. Raises InputError if it changed since it was listed."""
        require_size(self.num_bytes)
        return ObjectStore(self.url).read(if_match=self.e_tag)

    def labeled(self, label: int, class_id: str | None = None) -> "StoreImage":
        """See `SourceImage`."""
        return self._replace(label=label, name=self.name if class_id is None else f"{class_id}/{self.name}")

    def keeping(self, extra: Extra) -> "StoreImage":
        """See `SourceImage`."""
        return self._replace(extras=tuple(sorted((*self.extras, extra))))

    @property
    def container(self) -> str:
        """See `SourceImage`."""
        return str(self.url)


class StoreFile(NamedTuple):
    """A file in the listing of a store."""

    name: str
    path: str
    """The URL or, unless the name is that of an image, the path of the local copy or stand-in."""
    num_bytes: int
    url: StoreUrl
    e_tag: str | None

    def image(self, name: str, extras: tuple[Extra, ...] = (), label: int = 0) -> SourceImage:
        """See `File`."""
        return StoreImage(name, label, self.url, self.num_bytes, self.e_tag, extras)

    def extra(self, ext: str) -> Extra:
        """See `File`."""
        return Extra(ext, b"", address_in_store(self.url, self.num_bytes, self.e_tag), 0, self.num_bytes)


class _PackedImages:
    """The images of a folder while it is listed: packed text and numbers instead of objects."""

    def __init__(self) -> None:
        self._names, self._e_tags = bytearray(), bytearray()  # each text ends with a zero byte, which none contains
        self._sizes = array("Q")

    def add(self, name: str, num_bytes: int, e_tag: str | None) -> None:
        """Add an object by its name in the folder."""
        self._names += name.encode("utf-8", "surrogateescape") + b"\0"
        self._e_tags += (e_tag or "").encode() + b"\0"
        self._sizes.append(num_bytes)

    def files(self, url: StoreUrl, prefix: str) -> Iterator[StoreFile]:
        """The objects, whose names below `url` begin with `prefix`."""
        names = self._names.decode("utf-8", "surrogateescape").split("\0")
        for name, num_bytes, e_tag in zip(names, self._sizes, self._e_tags.decode().split("\0"), strict=False):
            of_file = url / f"{prefix}{name}"
            yield StoreFile(name, str(of_file), num_bytes, of_file, e_tag or None)


@dataclass(kw_only=True, eq=False)
class StoreFolder(Folder):
    """A folder in a store; `where` is the local folder with copies and stand-ins of files that are no named images."""

    url: StoreUrl
    """The URL of the source."""
    prefix: str = ""
    """The folder's path relative to the source, ending with a slash; empty for the source itself."""
    others: list[File] = field(default_factory=list)
    """The files without an image extension."""
    packed: _PackedImages = field(default_factory=_PackedImages)

    @cached_property
    def listing(self) -> Listing:
        """The listing of the store."""
        files = [*self.others, *self.packed.files(self.url, self.prefix)]
        return Listing(tuple(sorted(self.children)), tuple(sorted(files, key=lambda file: file.name)))

    @property
    def store_url(self) -> StoreUrl:
        """See `Folder`."""
        return self.url / self.prefix

    def inner(self, name: str) -> "StoreFolder":
        """The folder `name` in it, created if new."""
        if name not in self.children:
            # So that layouts are recognized by their folders, as on a disk; a name may be too long for that.
            with suppress(OSError):
                (self.where / name).mkdir(exist_ok=True)
            self.children[name] = StoreFolder(
                where=self.where / name,
                remarks=self.remarks,
                parent=self,
                url=self.url,
                prefix=f"{self.prefix}{name}/",
            )
        found = self.children[name]
        assert isinstance(found, StoreFolder)
        return found


def open_store_folder(url: StoreUrl, copies: Path, remarks: Remarks, *, out: StoreUrl | None = None) -> StoreFolder:
    """The root of a source in a store.

    Args:
        url: The folder's URL.
        copies: A local folder for copies of lists and for stand-ins; the caller removes it.
        remarks: Receives what is passed over.
        out: A URL below `url` to leave out, because shard sets are written there; other folders of shard sets are
            recognized by their contents.

    Raises InputError if there is nothing at the URL, or no room for the copies.
    """
    store = ObjectStore(url)
    root = StoreFolder(where=copies, remarks=remarks, url=url)
    copied: list[tuple[Listed, Path]] = []
    outputs = set() if out is None else {str(out).removeprefix(f"{url}/")}
    is_empty = True
    for one in _list_in_parallel(store):
        *folders, name = one.name.split("/")
        is_empty = is_empty and not name
        if (output := _output_with(folders, name)) is not None:
            outputs.add(output)
        if any(is_system(part) for part in (*folders, name)):
            if name:
                remarks.pass_over("hidden and system files", str(url / one.name))
            continue
        folder = root
        for part in folders:
            folder = folder.inner(part)
        if not name:
            continue
        if is_image_name(name):
            folder.packed.add(name, one.num_bytes, one.e_tag)
            continue
        path = folder.where / name
        folder.others.append(StoreFile(name, str(path), one.num_bytes, url / one.name, one.e_tag))
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.lower().endswith(COPIED_SUFFIXES) or ("devkit" in name and name.endswith(".gz")):
            copied.append((one, path))
        else:
            stand_in(path, url / one.name, one.num_bytes, one.e_tag)
    if is_empty and store.exists():
        raise InputError(
            f"{url}: one object; pass the folder that holds it or, for a list or a .npz file, a copy on this machine"
        )
    if is_empty:
        raise InputError(f"{url}: nothing there; pass the prefix that holds train/ and val/")
    for output in sorted(outputs):
        _leave_out(root, output)
    _copy(store, url, [(one, path) for one, path in copied if path.parent.exists()], copies)
    return root


def _output_with(folders: Sequence[str], name: str) -> str | None:
    """The folder below the source that this object marks as holding, or about to hold, shard sets; None if none."""
    if RUN_MARK in folders[1:]:
        return "/".join(folders[: folders.index(RUN_MARK, 1)])
    if name == SET_MARK and len(folders) > 1 and folders[-1] in SPLITS:
        return "/".join(folders[:-1])
    return None


def _leave_out(root: StoreFolder, output: str) -> None:
    """Drop everything below the folder `output`, including copies and stand-ins."""
    folder: Folder = root
    *above, last = output.split("/")
    for name in above:
        if name not in folder.children:
            return
        folder = folder.children[name]
    if folder.children.pop(last, None) is not None:
        shutil.rmtree(folder.where / last, ignore_errors=True)
        folder.remarks.pass_over("folders of shard sets", str(root.url / output))


def _list_in_parallel(store: ObjectStore) -> Iterator[Listed]:
    """List all objects, each class folder of each split separately, since one request returns at most 1000 names.

    These folders, which may be empty, are in the result too; their names end with a slash.
    """
    top, files = store.list_folder()
    yield from files
    with ThreadPoolExecutor(LIST_THREADS) as threads:
        units = []
        for folder, (inner, beside) in zip(top, threads.map(store.list_folder, top), strict=True):
            units += [f"{folder}/{name}" for name in inner]
            yield from beside
            yield from (Listed(f"{one}/", 0, None) for one in (folder, *units[len(units) - len(inner) :]))
        # Not all at once: results that wait to be consumed take memory as objects.
        coming: deque[Future[list[Listed]]] = deque()
        for unit in units:
            coming.append(threads.submit(store.list_all, unit))
            if len(coming) > 2 * LIST_THREADS:
                yield from coming.popleft().result()
        while coming:
            yield from coming.popleft().result()


def _copy(store: ObjectStore, url: StoreUrl, copied: list[tuple[Listed, Path]], copies: Path) -> None:
    needed, free = sum(one.num_bytes for one, _ in copied), shutil.disk_usage(copies).free
    if needed > free:
        raise InputError(
            f"{url}: its lists and other files, which are copied first, are {needed} bytes, but {copies} has "
            f"room for {free}; set TMPDIR to a folder on a larger disk"
        )

    def copy(one: Listed, path: Path) -> None:
        with path.open("wb") as file:
            for start in range(0, one.num_bytes, COPY_BYTES):
                end = min(start + COPY_BYTES, one.num_bytes)
                file.write(store.read(one.name, range=(start, end), if_match=one.e_tag))

    with ThreadPoolExecutor(LIST_THREADS) as threads:
        list(threads.map(copy, *zip(*copied, strict=True)) if copied else ())
