"""A folder in an object store: images, tars and parquet files are read from there, everything else is copied first.

Class folders of photographs are listed in parallel and stay where they are. Tars, archives and parquet files have empty
stand-ins on this machine and are read by ranges. Lists and label files, which are small, come as copies, and are then
read as those on a disk are.
"""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ....errors import InputError
from ...storage import Listed, ObjectStore, StoreUrl
from ...storage.by_offset import stand_in
from ..inputs import MAX_INPUT_BYTES, Extra, SourceImage
from ..litter import is_image_name, is_system
from ..remarks import Remarks
from .listing import DiskFile, File, Folder, Listing

LIST_THREADS = 32
READ_BY_RANGES = (".tar", ".parquet")
COPY_BYTES = 2**26  # read at once of a file that is copied


class StoreImage(NamedTuple):
    """An input that is an object; `e_tag` is that of the listing."""

    name: str
    label: int
    url: StoreUrl
    num_bytes: int
    e_tag: str | None
    extras: tuple[Extra, ...] = ()

    def read(self) -> bytes:
        """The content, as `SourceImage` says; InputError when it changed since it was listed."""
        if self.num_bytes > MAX_INPUT_BYTES:
            raise InputError(f"file of {self.num_bytes} bytes, more than {MAX_INPUT_BYTES}")
        return ObjectStore(self.url).read(if_match=self.e_tag)

    def labeled(self, label: int, class_id: str | None = None) -> "StoreImage":
        """As `SourceImage` says."""
        return self._replace(label=label, name=self.name if class_id is None else f"{class_id}/{self.name}")

    def keeping(self, extra: Extra) -> "StoreImage":
        """As `SourceImage` says."""
        return self._replace(extras=tuple(sorted((*self.extras, extra))))

    @property
    def container(self) -> str:
        """As `SourceImage` says."""
        return str(self.url)


class StoreFile(NamedTuple):
    """An image in a listing."""

    name: str
    path: str
    num_bytes: int
    url: StoreUrl
    e_tag: str | None

    def image(self, name: str, extras: tuple[Extra, ...] = (), label: int = 0) -> SourceImage:
        """As `File` says."""
        return StoreImage(name, label, self.url, self.num_bytes, self.e_tag, extras)

    def extra(self, ext: str) -> Extra:
        """As `File` says; read now, since it is small."""
        content = ObjectStore(self.url).read(if_match=self.e_tag)
        return Extra(ext, content, num_bytes=len(content))


@dataclass(kw_only=True, eq=False)
class StoreFolder(Folder):
    """A folder of a store; `where` is the local folder with copies and stand-ins of what is no image."""

    objects: list[File] = field(default_factory=list)

    @cached_property
    def listing(self) -> Listing:
        """The listing of the store."""
        return Listing(tuple(sorted(self.children)), tuple(sorted(self.objects, key=lambda file: file.name)))


def open_store_folder(url: StoreUrl, copies: Path, remarks: Remarks) -> StoreFolder:
    """The root of a source in a store.

    Args:
        url: The folder's address.
        copies: A local folder for copies of files that are no images; emptied by who made it.
        remarks: Gets what is passed over.

    Raises InputError for an address with nothing below, or without room for the copies.
    """
    store = ObjectStore(url)
    found = _list_in_parallel(store)
    if not found:
        raise InputError(f"{url}: nothing there; name the prefix that holds train/ and val/")
    root = StoreFolder(where=copies, remarks=remarks)
    copied: list[tuple[Listed, Path]] = []
    for one in found:
        *folders, name = one.name.split("/")
        if any(is_system(part) for part in (*folders, name)):
            remarks.pass_over("names that systems leave behind", str(url / one.name))
            continue
        folder = root
        for part in folders:
            child = folder.children.setdefault(part, StoreFolder(where=folder.where / part, remarks=remarks))
            assert isinstance(child, StoreFolder)
            folder = child
        path = folder.where / name
        if is_image_name(name):
            folder.objects.append(StoreFile(name, str(url / one.name), one.num_bytes, url / one.name, one.e_tag))
        else:
            folder.objects.append(DiskFile(name, str(path), one.num_bytes))
            if name.endswith(READ_BY_RANGES):
                path.parent.mkdir(parents=True, exist_ok=True)
                stand_in(path, url / one.name, one.num_bytes, one.e_tag)
            else:
                copied.append((one, path))
    _copy(store, url, copied, copies)
    return root


def _list_in_parallel(store: ObjectStore) -> list[Listed]:
    """All objects; each class folder of each split is listed by itself, since a request gives 1000 names."""
    top, files = store.list_folder()
    with ThreadPoolExecutor(LIST_THREADS) as threads:
        units = []
        for folder, (inner, beside) in zip(top, threads.map(store.list_folder, top), strict=True):
            units += [f"{folder}/{name}" for name in inner]
            files += beside
        for found in threads.map(store.list_all, units):
            files += found
    return sorted(files)


def _copy(store: ObjectStore, url: StoreUrl, copied: list[tuple[Listed, Path]], copies: Path) -> None:
    needed, free = sum(one.num_bytes for one, _ in copied), shutil.disk_usage(copies).free
    if needed > free:
        raise InputError(
            f"{url}: its lists and other files are {needed} bytes, which are copied first, and {copies} has "
            f"room for {free}; set TMPDIR to a folder on a larger disk"
        )

    def copy(one: Listed, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for start in range(0, one.num_bytes, COPY_BYTES):
                end = min(start + COPY_BYTES, one.num_bytes)
                file.write(store.read(one.name, range=(start, end), if_match=one.e_tag))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(copy, *zip(*copied, strict=True)) if copied else ())
