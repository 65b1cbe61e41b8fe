"""Finding one member in a piece of a tar by its headers, with names of any length."""

from tarfile import BLOCKSIZE, GNUTYPE_LONGNAME, REGULAR_TYPES, XHDTYPE, HeaderError, TarInfo

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError


def find_member(piece: NDArray[np.uint8], key: str, ext: str) -> bytes | None:
    """The content of the member KEY.EXT in a piece of a tar that starts with a header; None if it is not there.

    The key is case-sensitive and the extension is not, as everywhere that tars are read. Names may be USTAR names with
    a prefix, GNU long names or PAX names. A member that extends past the end of the piece ends the search. Raises
    InputError if there is no valid header where one should be.
    """
    position, long_name = 0, ""
    while position + BLOCKSIZE <= len(piece) and piece[position]:
        try:
            member = TarInfo.frombuf(piece[position : position + BLOCKSIZE].tobytes(), "utf-8", "surrogateescape")
        except HeaderError as error:
            raise InputError(f"no valid tar header before or after it ({error}); restore the shard") from None
        position += BLOCKSIZE
        content = piece[position : position + member.size]
        if len(content) < member.size:
            return None
        position += -(-member.size // BLOCKSIZE) * BLOCKSIZE
        if member.type == GNUTYPE_LONGNAME:
            long_name = content.tobytes().rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif member.type == XHDTYPE:
            long_name = _pax_path(content.tobytes()) or long_name
        else:
            name = long_name or member.name
            is_it = name.startswith(f"{key}.") and name[len(key) + 1 :].lower() == ext.lower()
            if is_it and member.type in REGULAR_TYPES:
                return content.tobytes()
            long_name = ""
    return None


def _pax_path(records: bytes) -> str:
    """The `path` among PAX records, each `LENGTH KEY=VALUE\\n`; empty if there is none."""
    while records:
        length, _, _ = records.partition(b" ")
        if not length.isdigit() or not 0 < int(length) <= len(records):
            return ""
        key, _, value = records[len(length) + 1 : int(length) - 1].partition(b"=")
        if key == b"path":
            return value.decode("utf-8", "surrogateescape")
        records = records[int(length) :]
    return ""
