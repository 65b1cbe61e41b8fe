"""A zip file as a folder; its members, stored or deflated, are read in place one by one."""

import stat
import struct
import zipfile
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ....errors import InputError
from ..inputs import Extra, SourceImage, read_range, require_size
from ..litter import is_hidden
from ..remarks import Remarks
from .listing import Folder, Listing

LOCAL_HEADER = struct.Struct("<4s5H3I2H")
STORED, DEFLATED = 0, 8
_IS_UTF8 = 0x800  # a flag
_MADE_ON_DOS = 0


class ZipImage(NamedTuple):
    """An image that is a member of a zip file; `offset` is that of its local header."""

    name: str
    label: int
    path: str
    num_bytes: int
    offset: int
    num_packed: int
    is_deflated: bool
    crc32: int
    extras: tuple[Extra, ...] = ()

    def read(self) -> bytes:
        """Return the content; see `SourceImage`."""
        require_size(max(self.num_bytes, self.num_packed))
        header = LOCAL_HEADER.unpack(read_range(self.path, self.offset, LOCAL_HEADER.size))
        if header[0] != b"PK\3\4":
            raise InputError("no member of a zip file where the source listed one")
        start = self.offset + LOCAL_HEADER.size + header[9] + header[10]
        data = read_range(self.path, start, self.num_packed)
        if self.is_deflated:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self.num_bytes + 1)
            except zlib.error as error:
                raise InputError(f"damaged in its zip file ({error})") from None
        if len(data) != self.num_bytes or zlib.crc32(data) != self.crc32:
            raise InputError("damaged in its zip file (wrong size or checksum)")
        return data

    def labeled(self, label: int, class_id: str | None = None) -> "ZipImage":
        """See `SourceImage`."""
        return self._replace(label=label, name=self.name if class_id is None else f"{class_id}/{self.name}")

    def keeping(self, extra: Extra) -> "ZipImage":
        """See `SourceImage`."""
        return self._replace(extras=tuple(sorted((*self.extras, extra))))

    @property
    def container(self) -> str:
        """See `SourceImage`."""
        return self.path


class ZipMember(NamedTuple):
    """A file in the listing of a zip file."""

    name: str
    path: str
    num_bytes: int
    container: str
    offset: int
    num_packed: int
    is_deflated: bool
    crc32: int

    def image(self, name: str, extras: tuple[Extra, ...] = (), label: int = 0) -> SourceImage:
        """See `File`."""
        return ZipImage(
            name,
            label,
            self.container,
            self.num_bytes,
            self.offset,
            self.num_packed,
            self.is_deflated,
            self.crc32,
            extras,
        )

    def extra(self, ext: str) -> Extra:
        """See `File`; unpacked immediately, since it is small."""
        content = self.image(self.name).read()
        return Extra(ext, content, num_bytes=len(content))


@dataclass(kw_only=True, eq=False)
class ZipFolder(Folder):
    """A folder inside a zip file."""

    files_in_it: dict[str, ZipMember] = field(default_factory=dict)
    """Its files by name; of several with the same name the last, as when unpacking."""

    @cached_property
    def listing(self) -> Listing:
        """The folder's contents in the zip file."""
        return Listing(tuple(sorted(self.children)), tuple(sorted(self.files_in_it.values())))

    def forget(self, name: str) -> None:
        """Do nothing: the folder could not be listed again."""


def _name_of(info: zipfile.ZipInfo) -> str:
    """The path of a member, as it would unpack.

    The Finder of macOS writes UTF-8 without the flag that says so, and zipfile then takes it for the old code page 437,
    in which hardly any name is UTF-8 by chance. Old programs of Windows write backslashes for slashes.
    """
    name = info.filename
    if not info.flag_bits & _IS_UTF8:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/") if info.create_system == _MADE_ON_DOS else name


def open_zip(path: Path, remarks: Remarks) -> ZipFolder:
    """The root of a zip file; raises InputError if it is damaged, encrypted or compressed by anything but deflate."""
    root = ZipFolder(where=path, remarks=remarks)
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise InputError(f"{path}: not a complete zip file ({error}); download it again") from None
    for info in infos:
        member = _name_of(info)
        if member.endswith("/"):
            continue
        if is_hidden(member):
            remarks.pass_over("hidden and system files", f"{path}/{member}")
            continue
        if info.header_offset < 0:
            raise InputError(f"{path}: not a complete zip file (its beginning is missing); download it again")
        if info.flag_bits & 1 or info.compress_type not in (STORED, DEFLATED):
            raise InputError(f"{path}: {member!r} is encrypted or not compressed by deflate; unpack the file")
        if stat.S_ISLNK(info.external_attr >> 16):
            remarks.pass_over("symbolic links in zip files", f"{path}/{member}")
            continue
        *folders, name = [part for part in member.split("/") if part not in ("", ".", "..")]
        folder = root
        for part in folders:
            child = folder.children.setdefault(
                part, ZipFolder(where=folder.where / part, remarks=remarks, parent=folder)
            )
            assert isinstance(child, ZipFolder)
            folder = child
        if name in folder.files_in_it:
            remarks.pass_over("members of zip files replaced by a later one of the same name", str(folder.where / name))
        folder.files_in_it[name] = ZipMember(
            name,
            str(folder.where / name),
            info.file_size,
            str(path),
            info.header_offset,
            info.compress_size,
            info.compress_type == DEFLATED,
            info.CRC,
        )
    return root
