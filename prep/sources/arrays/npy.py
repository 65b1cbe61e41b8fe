"""Where NumPy's arrays are in `.npy` files and in the members of `.npz` files, which are zip files of `.npy` files.

Only their headers are read. Arrays of objects, which are pickles, are refused.
"""

import math
import re
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....errors import InputError
from ...storage.by_offset import AsFile, ByOffset, opened
from ..folders.zip_folder import LOCAL_HEADER
from .rows import MAX_LABEL_BYTES
from .unpacked import MAX_UNPACKED_BYTES, Packing, unpack

_HEADER_BYTES = 2**14
_MAX_MEMBERS = 1000
_NUMBERS = frozenset((*("b1", "f2", "f4", "f8"), *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))))
_MAGIC = b"\x93NUMPY"
# As NumPy writes it: {'descr': '|u1', 'fortran_order': False, 'shape': (3, 28, 28), }
_HEADER = re.compile(
    r"\{'descr': '(?P<dtype>[<>|=](?P<kind>[A-Za-z])(?P<size>[0-9]{0,9}))', 'fortran_order': (?P<order>True|False), "
    r"'shape': \((?P<shape>[0-9L, ]{0,200})\),? ?\}\s*"
)


class Npy(NamedTuple):
    """An array: what its header says, and where it is in a file."""

    path: Path
    where: str
    """The file and, in a `.npz`, the member, for messages."""
    shape: tuple[int, ...]
    dtype: str
    is_fortran: bool
    start: int
    """Where the numbers begin in the file or, if it is packed, in the unpacked member."""
    packing: Packing
    packed_start: int
    num_packed: int

    @property
    def num_bytes(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize

    def numbers(self) -> NDArray[np.int64]:
        """The numbers of a small array of integers with one axis; raises InputError for another type."""
        if np.dtype(self.dtype).kind not in "iu":
            raise InputError(f"{self.where}: labels of type {self.dtype}, expected integers")
        if self.num_bytes > MAX_LABEL_BYTES:
            raise InputError(f"{self.where}: {self.num_bytes:,} bytes, more than labels may have ({MAX_LABEL_BYTES:,})")
        with opened(self.path) as file:
            if self.packing == "none":
                content = bytearray(file.read_at(self.start, self.num_bytes))
            else:
                end = self.start + self.num_bytes
                content = unpack(file, self.packing, self.packed_start, self.num_packed, end)[self.start :]
        return np.frombuffer(content, self.dtype).astype(np.int64)


def members_of(path: Path) -> dict[str, zipfile.ZipInfo]:
    """The arrays of a `.npz` file by name; raises InputError if it is damaged."""
    with opened(path) as file:
        try:
            with zipfile.ZipFile(AsFile(file)) as archive:
                infos = archive.infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
            raise InputError(f"{path}: not a complete .npz file ({error}); download it again") from None
        if len(infos) > _MAX_MEMBERS:
            raise InputError(f"{path}: {len(infos)} arrays, more than {_MAX_MEMBERS}")
    return {info.filename.removesuffix(".npy"): info for info in infos}


def array_in_npy(path: Path) -> Npy:
    """The array of a `.npy` file; raises InputError if it is damaged or of objects."""
    with opened(path) as file:
        return _array(path, str(path), file, "none", 0, file.num_bytes, file.num_bytes)


def array_in_npz(path: Path, info: zipfile.ZipInfo) -> Npy:
    """The array of a member; raises InputError, naming it, if it is damaged or of objects, or too large if packed."""
    with opened(path) as file:
        return _member(path, file, info)


def _member(path: Path, file: ByOffset, info: zipfile.ZipInfo) -> Npy:
    where = f"{path}: {info.filename!a}"
    packings: dict[int, Packing] = {zipfile.ZIP_STORED: "none", zipfile.ZIP_DEFLATED: "deflate"}
    packing = packings.get(info.compress_type)
    if packing is None or info.flag_bits & 1:
        raise InputError(f"{where} is encrypted or not compressed by deflate; write the file again with numpy.savez")
    # The offset is negative if the file lost its beginning.
    header = file.read_at(info.header_offset, LOCAL_HEADER.size) if info.header_offset >= 0 else b""
    if len(header) != LOCAL_HEADER.size or header[:4] != b"PK\3\4":
        raise InputError(f"{where}: no member where the file lists it; download it again")
    *_, name_bytes, extra_bytes = LOCAL_HEADER.unpack(header)
    start = info.header_offset + LOCAL_HEADER.size + name_bytes + extra_bytes
    if start + info.compress_size > file.num_bytes or (packing == "none" and info.file_size != info.compress_size):
        raise InputError(f"{where}: reaches beyond the end of the file; download it again")
    found = _array(path, where, file, packing, start, info.compress_size, info.file_size)
    if packing == "deflate":
        _check_packed(path, where, file, info, start)
    return found


def _check_packed(path: Path, where: str, file: ByOffset, info: zipfile.ZipInfo, start: int) -> None:
    """Raise InputError for a compressed member that is damaged, or too large to be kept unpacked by every process."""
    if info.file_size > MAX_UNPACKED_BYTES:
        raise InputError(
            f"{where} has {info.file_size:,} bytes when unpacked, more than the {MAX_UNPACKED_BYTES:,} that each "
            f"process keeps in memory; unpack it: unzip -d {path.stem} {path.name}, and pass the folder {path.stem}"
        )
    content = unpack(file, "deflate", start, info.compress_size, info.file_size + 1)
    if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
        raise InputError(f"{where}: damaged (wrong size or checksum); download it again")


def _array(
    path: Path, where: str, file: ByOffset, packing: Packing, start: int, num_packed: int, num_bytes: int
) -> Npy:
    """The array whose `num_bytes` bytes, with its header, are packed in `num_packed` bytes from `start`."""
    head = bytes(unpack(file, packing, start, num_packed, min(_HEADER_BYTES, num_bytes)))
    version = head[6:7] if head.startswith(_MAGIC) else b""
    length_bytes = {b"\1": 2, b"\2": 4}.get(version, 0)
    offset = 8 + length_bytes + int.from_bytes(head[8 : 8 + length_bytes], "little")
    header = _HEADER.fullmatch(head[8 + length_bytes : offset].decode("latin-1"))
    if not length_bytes or header is None:
        raise InputError(f"{where}: begins with {head[:40]!r}; expected the header of a NumPy array; download it again")
    if f"{header['kind']}{header['size']}" not in _NUMBERS:
        kind = "objects" if header["kind"] == "O" else header["dtype"]
        raise InputError(f"{where}: an array of {kind}, expected numbers")
    sizes = [size.strip(" L") for size in header["shape"].split(",") if size.strip()]
    if not all(size.isdigit() for size in sizes):
        raise InputError(f"{where}: an array of shape ({header['shape']}); download it again")
    found = Npy(
        path,
        where,
        tuple(map(int, sizes)),
        header["dtype"],
        header["order"] == "True",
        offset + (start if packing == "none" else 0),
        packing,
        start if packing != "none" else 0,
        num_packed if packing != "none" else 0,
    )
    if offset + found.num_bytes != num_bytes:
        raise InputError(
            f"{where}: {num_bytes:,} bytes, but its header of {offset} bytes promises {found.dtype} of shape "
            f"{found.shape}; download it again"
        )
    return found
