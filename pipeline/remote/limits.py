"""Where the cache of remote sets is and how large it may grow: from arguments, else from the environment."""

import os
import re
from pathlib import Path

from ...errors import InputError
from ...prep.format.files import free_bytes

FOLDER_VARIABLE = "ALEXKIT_CACHE"
LIMIT_VARIABLE = "ALEXKIT_CACHE_LIMIT"
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_UNITS["TIB"] = 2**40
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)")


def parse_size(text: str | int, what: str) -> int:
    """Bytes: a number, or text such as "20GB" (10**9) or "512MiB" (2**20). `what` names it in an InputError."""
    if isinstance(text, int) and not isinstance(text, bool):
        return text
    found = _SIZE.fullmatch(str(text).strip())
    if found is None or found[2].upper() not in _UNITS:
        raise InputError(
            f"{what}: {text!r} is not a size; expected bytes, or a number with KB, MB, GB, TB, KiB, MiB, GiB or TiB"
        )
    return int(float(found[1]) * _UNITS[found[2].upper()])


def cache_folder(given: str | Path | None, *, where: object) -> Path:
    """The cache's folder for the set at `where`; None means ALEXKIT_CACHE. Raises InputError if neither is set."""
    folder = given or os.environ.get(FOLDER_VARIABLE)
    if not folder:
        raise InputError(
            f"{where}: a remote shard set is read through a cache on this machine; name a folder on a local disk with "
            f"cache=, --cache or {FOLDER_VARIABLE}"
        )
    return Path(folder).expanduser()


def cache_limit(given: str | int | None, folder: Path) -> int:
    """The limit of the cache in `folder`, in bytes; None means ALEXKIT_CACHE_LIMIT.

    If neither is set, it is 90 % of the disk space that is free or holds the cache's shards.
    """
    limit = given if given is not None else os.environ.get(LIMIT_VARIABLE)
    if limit is not None and limit != "":
        return parse_size(limit, "cache limit")
    own = sum(file.stat().st_size for file in (folder / "shards").glob("*.tar"))
    return (free_bytes(folder) + own) * 9 // 10
