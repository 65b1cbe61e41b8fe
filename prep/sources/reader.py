"""Reads the inputs of a job. A failing source is retried; an input is blamed only if other inputs can still be read.

A lost disk, an expired ticket of a network disk and a web server that refuses everything look, for one file, like a
missing file or a missing permission. The difference is whether other inputs can be read.
"""

import errno
import os
import time
from collections.abc import Iterator, Sequence

from ...errors import InputError
from ..storage import CredentialsError
from ..storage.by_offset import is_in_store
from .inputs import OWN_FAULTS, Extra, SourceImage

# Waits before a failing source is tried again: 7 s in all.
RETRY_SECONDS = (0.5, 1.5, 5.0)
# If this many others, spread over the job, cannot be read either, the input is not to blame.
MAX_OTHERS = 8


class Reader:
    """Reads the inputs of one job; several threads may read at the same time."""

    def __init__(self, images: Sequence[SourceImage]) -> None:
        self._images = images
        self._could_be_read: SourceImage | None = None

    def read(self, what: SourceImage | Extra) -> bytes:
        """Return the content; raises InputError if the input cannot be read, OSError if its source keeps failing.

        The input is blamed only if its error recurs after another input was read.
        """
        waits, others_can = iter(RETRY_SECONDS), False
        while True:
            try:
                content = what.read()
            except OSError as error:
                is_own = error.errno in OWN_FAULTS and not isinstance(error, CredentialsError)
                if is_own and others_can:
                    raise InputError(f"cannot be read: {error.strerror}") from None
                others_can = is_own and self._can_read_another(what)
                if others_can:
                    continue
                wait_s = next(waits, None)
                if wait_s is None:
                    also = ", and other images cannot be read either" if is_own else ""
                    reason = f"the source fails: {error.strerror or error}{also}; "
                    reason += "when it works again, continue with the same command"
                    raise OSError(error.errno or errno.EIO, reason, getattr(what, "name", what)) from error
                time.sleep(wait_s)
            else:
                if not isinstance(what, Extra):
                    self._could_be_read = what
                return content

    def _can_read_another(self, what: SourceImage | Extra) -> bool:
        """Whether another input can be read; in a job with few others, listing their folders is enough."""
        others = list(self._others(what))
        for other in others:
            try:
                other.read()
            except (OSError, InputError):
                continue
            self._could_be_read = other
            return True
        tried = others if isinstance(what, Extra) else [*others, what]
        return len(others) < MAX_OTHERS and all(map(_folder_can_be_listed, tried))

    def _others(self, what: SourceImage | Extra) -> Iterator[SourceImage]:
        if self._could_be_read not in (None, what):
            yield self._could_be_read
        step = max(1, len(self._images) // (MAX_OTHERS + 1))
        spread = [image for image in self._images[::step] if image not in (what, self._could_be_read)]
        yield from spread[:MAX_OTHERS]


def _folder_can_be_listed(image: SourceImage) -> bool:
    if is_in_store(image.container):
        return True
    try:
        with os.scandir(os.path.dirname(image.container) or "."):  # noqa: PTH120 - archives and links stay as written
            return True
    except OSError:
        return False
