"""Finds the members of an uncompressed tar, nested tars included, by reading only headers.

`tarfile` takes three times as long for each of 1.28 million members. Nothing is unpacked, and no path is followed; a
hard link, which GNU tar writes for a file that it has stored before, stands for the member that it names. Names and
sizes may be those of USTAR (with its prefix), GNU (long names) and PAX. An incomplete archive is refused: its end must
be marked by zero blocks, followed only by zeros.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from ....errors import InputError
from ...storage.by_offset import ByOffset, opened
from ..litter import is_hidden
from ..remarks import Remarks

BLOCK = 512
MAX_HEADER_BYTES = 2**20  # of a long name or a PAX header; real ones have a few hundred bytes
_FILE_KINDS = (b"0", b"\0", b"7")
# Links, devices, folders and pipes have no content, whatever size their header states.
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")
_HARD_LINK = b"1"
_WITHOUT_REMARK = (b"5", b"g", b"V", b"D")  # folders, headers for the whole archive, and GNU's lists of folders
_LONG_NAME, _LONG_LINK, _PAX, _SPARSE = b"L", b"K", b"x", b"S"
_USTAR = b"ustar\0"
_CHUNK = 2**20


class Member(NamedTuple):
    """A file in a tar: its whole name, and where its content is in the outermost file."""

    name: str
    offset: int
    num_bytes: int
    is_link: bool = False
    """Whether it is a hard link; its content is then that of the member that it names."""


class Unpacked(NamedTuple):
    """What unpacking a tar would give."""

    files: list[Member]
    """Its files; of several members with the same name the last."""
    replaced: list[str]
    """Names of members that a later one replaces, one entry per member."""
    not_read: list[str]
    """Names of members without content: symbolic links, hard links to missing members, devices."""

    def remark(self, remarks: Remarks, where: str) -> None:
        """Remark on what is left out; `where` names the tar."""
        for what, names in (
            ("members of tars replaced by a later one of the same name", self.replaced),
            ("links and devices without content in tars", self.not_read),
        ):
            for name in names:
                if not is_hidden(name):
                    remarks.pass_over(what, f"{where}: {name}")


def unpacked(path: Path, inner: Member | None = None) -> Unpacked:
    """What unpacking the tar at `path`, or its member `inner`, would give; raises like `tar_members`."""
    not_read: list[str] = []
    with opened(path) as file:
        start, stop = (0, file.num_bytes) if inner is None else (inner.offset, inner.offset + inner.num_bytes)
        found = list(tar_members(file, path, start, stop, not_read.append))
    last = {plain_name(member.name): i for i, member in enumerate(found)}
    if len(last) == len(found):
        return Unpacked(found, [], not_read)
    replaced = [member.name for i, member in enumerate(found) if last[plain_name(member.name)] != i]
    return Unpacked([found[i] for i in sorted(last.values())], replaced, not_read)


def plain_name(name: str) -> str:
    """The name without the `./` that `tar -cf x.tar .` puts before it."""
    return name.removeprefix("./")


def members_of(path: Path, not_read: Callable[[str], None] | None = None) -> Iterator[Member]:
    """The files of the tar at `path`; see `tar_members`."""
    with opened(path) as file:
        yield from tar_members(file, path, 0, file.num_bytes, not_read)


def tar_members(
    file: ByOffset, path: Path, start: int, stop: int, not_read: Callable[[str], None] | None = None
) -> Iterator[Member]:
    """Yield the files of the tar at bytes [start, stop) of an open file, in order.

    Folders are skipped; `not_read` is called with the name of everything else without content, such as a symbolic link.
    Raises InputError, naming `path` and the byte, if it is not a tar, ends too early, or continues after its end mark.
    """
    position = start
    name: bytes | None = None  # of the next member, if a header of its own states it
    target: bytes | None = None  # of the next link, likewise
    size: int | None = None
    contents: dict[str, tuple[int, int]] = {}  # targets of hard links
    while position + BLOCK <= stop:
        header = file.read_at(position, BLOCK)
        if not header.strip(b"\0"):
            _refuse_what_follows(file, path, position, stop)
            return
        if not _has_its_checksum(header):
            raise InputError(f"{path}: no tar header at byte {position}; the archive is damaged or not complete")
        kind = header[156:157]
        stated = _number(header[124:136])
        num_bytes = 0 if kind in _WITHOUT_CONTENT else stated if size is None else size
        offset = position + BLOCK
        if num_bytes is None or offset + num_bytes > stop:
            raise InputError(f"{path}: the member at byte {position} ends beyond the archive; it is not complete")
        if kind in (_LONG_NAME, _LONG_LINK, _PAX):
            if stated is None or stated > MAX_HEADER_BYTES:
                raise InputError(
                    f"{path}: a header of {stated} bytes at byte {position}, more than {MAX_HEADER_BYTES}; this is not "
                    "an archive of images: write it again"
                )
            num_bytes = stated
            content = file.read_at(offset, num_bytes)
            if kind == _LONG_NAME:
                name = _until_zero(content)
            elif kind == _LONG_LINK:
                target = _until_zero(content)
            else:
                records = _pax_records(content, path, position)
                name = records.get(b"path", name)
                target = records.get(b"linkpath", target)
                size = _pax_size(records, path, position)
        else:
            if kind == _SPARSE:
                raise InputError(
                    f"{path}: a sparse member at byte {position}; write the archive again without --sparse"
                )
            whole = _text(_name(header) if name is None else name)
            content_at: tuple[int, int] | None = None
            if kind in _FILE_KINDS:
                content_at = (offset, num_bytes)
            elif kind == _HARD_LINK:
                content_at = contents.get(plain_name(_text(_until_zero(header[157:257]) if target is None else target)))
            if content_at is not None and not whole.endswith("/"):  # how the oldest tars mark folders
                contents[plain_name(whole)] = content_at
                yield Member(whole, *content_at, kind == _HARD_LINK)
            elif content_at is None and kind not in _WITHOUT_REMARK and not_read is not None:
                not_read(whole)
            if kind != b"g":
                name = size = target = None
        position = offset + -(-num_bytes // BLOCK) * BLOCK
    raise InputError(f"{path}: ends at byte {stop} without the end mark of a tar; it is not complete")


def _has_its_checksum(header: bytes) -> bool:
    """Whether this is a whole header with the right checksum: a sum of unsigned or, in some old tars, signed bytes."""
    if len(header) != BLOCK:
        return False
    unsigned = 8 * ord(" ") + sum(header) - sum(header[148:156])
    stated = _number(header[148:156])
    if stated == unsigned:
        return True
    high = sum(byte > 127 for byte in header) - sum(byte > 127 for byte in header[148:156])
    return stated == unsigned - 256 * high


def _refuse_what_follows(file: ByOffset, path: Path, position: int, stop: int) -> None:
    """Raise InputError if bytes other than zero follow the zero block at `position`."""
    at = position
    while at < stop:
        chunk = file.read_at(at, min(_CHUNK, stop - at))
        if not chunk:
            raise InputError(f"{path}: ends at byte {at}, shorter than when it was listed")
        rest = chunk.lstrip(b"\0")
        if rest:
            found = at + len(chunk) - len(rest)
            raise InputError(
                f"{path}: zeros at byte {position}, as at the end of a tar, but data follows at byte {found}; either a "
                "block was lost (get the archive again), or tars were joined by cat (keep them apart, or unpack with "
                "'tar --ignore-zeros' and pack again)"
            )
        at += len(chunk)


def _until_zero(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _name(header: bytes) -> bytes:
    name = _until_zero(header[:100])
    prefix = _until_zero(header[345:500]) if header[257:263] == _USTAR else b""
    return prefix + b"/" + name if prefix else name


def _number(field: bytes) -> int | None:
    if field[:1] == b"\x80":  # a binary number, for members of 8 GiB and more
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0", 1)[0].strip(b" ")
    return int(digits, 8) if digits and not digits.strip(b"01234567") else None


def _pax_records(content: bytes, path: Path, position: int) -> dict[bytes, bytes]:
    """The records `LENGTH KEY=VALUE` of a PAX header, divided by length, since a value may contain any byte."""
    records, at = {}, 0
    while at < len(content) and content[at : at + 1] != b"\0":
        digits, space, _ = content[at : at + 12].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        key, equals, value = content[at + len(digits) + 1 : at + length - 1].partition(b"=")
        if not equals or at + length > len(content) or content[at + length - 1 : at + length] != b"\n":
            raise InputError(f"{path}: a damaged PAX header at byte {position}; get the archive again")
        if key.startswith(b"GNU.sparse."):
            raise InputError(f"{path}: a sparse member at byte {position}; write the archive again without --sparse")
        records[key] = value
        at += length
    return records


def _pax_size(records: dict[bytes, bytes], path: Path, position: int) -> int | None:
    value = records.get(b"size")
    if value is None:
        return None
    if not value.isdigit() or len(value) > 18:
        raise InputError(f"{path}: a damaged PAX header at byte {position}; get the archive again")
    return int(value)
