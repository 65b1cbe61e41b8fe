"""Reads the inputs of a job. A failing source is retried; an input is blamed only if other inputs can still be read.

A lost disk, an expired ticket of a network disk and a store that refuses everything look, for one file, like a missing
file or a missing permission. The difference is whether other inputs can be read. So an input is to blame if it fails,
another one is read after that, and it fails again. If a store refuses an input, the other one is of the same store.
"""

import errno
import os
import time
from collections.abc import Sequence

from ...errors import InputError
from ..storage import ArchivedError, CredentialsError, ExpiredError, RefusedError, UnreachableError
from ..storage.by_offset import is_in_store, shown, store_of
from .folders.store_folder import StoreImage
from .inputs import OWN_FAULTS, Extra, SourceImage

# Waits before a failing source is tried again: 7 s in all.
RETRY_SECONDS = (0.5, 1.5, 5.0)
# The same for a refusal, once another one lasted that long in the same job: no permissions are changing.
SETTLED_SECONDS = (0.1,) * 7
# If this many others, spread over the job, cannot be read either, the input is not to blame.
MAX_OTHERS = 8


class Reader:
    """Reads the inputs of one job; several threads may read at the same time.

    Args:
        images: The inputs of the job.
        elsewhere: Inputs of other jobs, tried if no input of this job can be read from a store.
    """

    def __init__(self, images: Sequence[SourceImage], elsewhere: Sequence[SourceImage] = ()) -> None:
        self._images, self._elsewhere = images, elsewhere
        self._could_be_read: SourceImage | None = None
        self._is_settled = False

    def read(self, what: SourceImage | Extra) -> bytes:
        """Return the content; raises InputError if the input cannot be read, OSError if its source keeps failing.

        The input is blamed only if its error recurs after another input was read, and a refusal only after all waits:
        while permissions change, a store may refuse some requests and accept others.
        """
        all_waits = {False: list(RETRY_SECONDS), True: list(SETTLED_SECONDS)}
        others_can = was_refused = False
        while True:
            try:
                content = what.read()
            except ArchivedError as error:
                if _is_alone(what):
                    raise
                raise OSError(errno.EACCES, f"the source fails: {error}") from None
            except OSError as error:
                is_own, is_refused = _may_be_own(error, what), isinstance(error, RefusedError)
                was_refused = was_refused or is_refused
                waits = all_waits[is_refused and self._is_settled]
                is_sure = not (is_refused and waits)
                if is_own and others_can and is_sure:
                    self._is_settled = self._is_settled or is_refused
                    raise InputError(f"cannot be read: {error.strerror}") from None
                others_can = is_own and self._can_read_another(what, error)
                if others_can and is_sure:
                    continue
                if is_refused and not others_can:
                    self._is_settled, waits = False, all_waits[False]
                if not waits:
                    also = ", and other images cannot be read either" if is_own else ""
                    reason = f"the source fails: {error.strerror or error}{also}; "
                    reason += "when it works again, continue with the same command"
                    name = shown(what.path) if isinstance(what, Extra) else what.name
                    raise OSError(error.errno or errno.EIO, reason, name) from error
                time.sleep(waits.pop(0))
            else:
                self._is_settled = self._is_settled and not was_refused
                if not isinstance(what, Extra):
                    self._could_be_read = what
                return content

    def _can_read_another(self, what: SourceImage | Extra, error: OSError) -> bool:
        """Whether another input can be read; in a job with few others, listing their folders is enough on a disk."""
        of_store = isinstance(error, RefusedError | UnreachableError)
        others = self._others(what, error)
        for other in others:
            try:
                other.read()
            except OSError as also:
                if of_store and not _may_be_own(also, other):
                    return False
                continue
            except InputError:
                continue
            self._could_be_read = other
            return True
        if of_store:
            return False
        tried = others if isinstance(what, Extra) else [*others, what]
        return len(others) < MAX_OTHERS and all(map(_folder_can_be_listed, tried))

    def _others(self, what: SourceImage | Extra, error: OSError) -> list[SourceImage]:
        """What to read instead: the input that was read last, then some that are spread over the job and elsewhere."""
        last = [] if self._could_be_read in (None, what) else [self._could_be_read]
        of_job = [image for image in self._images if image not in (what, *last)]
        if not isinstance(error, RefusedError | UnreachableError):
            return [*last, *_spread(of_job)]
        elsewhere = [image for image in self._elsewhere if image not in (what, *last)]
        if isinstance(error, RefusedError):
            # Another store may accept what this one refuses. But a web server may have only one of the listed images.
            store = store_of(shown(what.path) if isinstance(what, Extra) else what.container)
            same = [
                [image for image in some if store_of(image.container) == store] for some in (last, of_job, elsewhere)
            ]
            if any(same) or not store.startswith("http"):
                last, of_job, elsewhere = same
        return [*last, *_spread(of_job), *_spread(elsewhere)]


def _spread(images: Sequence[SourceImage]) -> Sequence[SourceImage]:
    return images[:: max(1, len(images) // (MAX_OTHERS + 1))][:MAX_OTHERS]


def _may_be_own(error: OSError, what: SourceImage | Extra) -> bool:
    """Whether an input may be to blame for an error, rather than its source.

    A web server that cannot be reached is down, unless it could not be reached either when the link was listed. URLs
    that have expired since then were not signed for long enough; the first ones may expire before others.
    """
    if isinstance(error, UnreachableError | ExpiredError):
        return what.num_bytes == 0
    return error.errno in OWN_FAULTS and not isinstance(error, CredentialsError) and _is_alone(what)


def _is_alone(what: SourceImage | Extra) -> bool:
    """Whether an input is not part of an object in a store that holds many, such as a tar."""
    if isinstance(what, Extra):
        return not is_in_store(what.path) or what.offset == 0  # a member of a tar has a header before it
    return isinstance(what, StoreImage) or not is_in_store(what.container)


def _folder_can_be_listed(image: SourceImage) -> bool:
    if is_in_store(image.container):
        return True
    try:
        with os.scandir(os.path.dirname(image.container) or "."):  # noqa: PTH120 - archives and links stay as written
            return True
    except OSError:
        return False
