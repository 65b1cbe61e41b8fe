"""Looks up the paths and URLs of a list: sizes and versions, and which images are missing.

Whether a missing image is at fault is decided when it is read; a list without any image that exists has wrong paths.
"""

import os
from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from ....errors import InputError
from ...storage import Listed, ObjectStore, RefusedError, StoreUrl, UnreachableError
from ...storage.by_offset import store_of
from ..folders.store_folder import LIST_THREADS
from ..inputs import OWN_FAULTS
from ..remarks import Remarks

MAX_SILENT = 256
"""After so many links in a row whose servers cannot be reached, one that answered is asked again."""


def look_up(
    path: Path, listed: Sequence[tuple[int, str | StoreUrl]], advice: str, remarks: Remarks
) -> tuple["array[int]", dict[StoreUrl, str | None]]:
    """The size in bytes of every listed image, 0 if it is missing, and the ETags of those in stores.

    Objects are looked up in parallel. Missing images are noted in `remarks`. Raises InputError if all are missing, or
    if one is a folder; OSError if a store refuses all its objects or the network fails.

    Args:
        path: The list.
        listed: The line and the path or URL of every image.
        advice: What to do if all are missing.
        remarks: Receives the note.
    """
    urls = [image for _, image in listed if not isinstance(image, str)]
    with ThreadPoolExecutor(LIST_THREADS) as threads:
        objects = dict(zip(urls, threads.map(_LookUp(), urls), strict=True))
        _look_again(objects, threads)
    sizes, missing = array("Q"), [one for one in objects.values() if isinstance(one, OSError)]
    if len(missing) == len(listed) and all(isinstance(one, UnreachableError) for one in missing):
        raise missing[0]
    first, num_missing = "", 0
    for line, image in listed:
        where = f"{path}, line {line}: {image}"
        found = _size(where, image) if isinstance(image, str) else objects[image]
        if isinstance(found, OSError):
            first, num_missing = first or f"{where}: {found.strerror}", num_missing + 1
            sizes.append(0)
        else:
            sizes.append(found.num_bytes if isinstance(found, Listed) else found)
    if num_missing == len(listed):
        raise InputError(f"{first}; {advice}")
    if num_missing:
        remarks.note(
            f"{num_missing:,} of {len(listed):,} listed images are missing, e.g. {first}; those still missing when "
            "they are read will be quarantined"
        )
    return sizes, {url: one.e_tag for url, one in objects.items() if isinstance(one, Listed)}


class _LookUp:
    """Looks up objects, in any number of threads. Raises OSError if a network that answered before has failed."""

    def __init__(self) -> None:
        self._answered: StoreUrl | None = None
        self._num_silent = 0  # in a row

    def __call__(self, url: StoreUrl) -> Listed | OSError:
        try:
            found: Listed | OSError = ObjectStore(url).stat()
        except (FileNotFoundError, RefusedError) as error:
            found = error
        except UnreachableError as error:
            self._num_silent += 1
            if self._num_silent >= MAX_SILENT:
                if self._answered is None:
                    raise
                with suppress(FileNotFoundError, RefusedError):
                    ObjectStore(self._answered).stat()
                self._num_silent = 0
            return error
        self._answered, self._num_silent = url, 0
        return found


def _look_again(objects: dict[StoreUrl, Listed | OSError], threads: ThreadPoolExecutor) -> None:
    """Look up what its store refused again, after something that it did not refuse; raise OSError if it now does.

    Otherwise credentials that expire meanwhile would make images look missing.
    """
    found = {store_of(str(url)): url for url, one in objects.items() if isinstance(one, Listed)}
    refused = {url: one for url, one in objects.items() if isinstance(one, RefusedError)}
    for store, error in {store_of(str(url)): error for url, error in refused.items()}.items():
        if store in found:
            with suppress(FileNotFoundError):
                ObjectStore(found[store]).stat()
        elif not store.startswith("http"):
            raise error
    objects.update(zip(refused, threads.map(_LookUp(), refused), strict=True))


def _size(where: str, path: str) -> int | OSError:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path costs more than the call
    except ValueError as error:
        raise InputError(f"{where}: {error}; correct the path or remove the line") from None
    except OSError as error:
        if error.errno not in OWN_FAULTS:
            raise
        return error
    if not S_ISREG(status.st_mode):
        raise InputError(f"{where}: not a file; list images, not folders")
    return status.st_size
