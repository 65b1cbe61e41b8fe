"""Reads from a store concurrently: one after another, each read would cost a round trip."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ...storage.by_offset import address_of, is_in_store
from ..inputs import FileImage, SourceImage
from .store_folder import StoreImage

READ_AHEAD = 32

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(what: Sequence[T], read: Callable[[T], R], files: Sequence[Path]) -> Iterator[R]:
    """Apply `read` to each of `what`, in order; with `READ_AHEAD` threads if any of its `files` is in a store.

    Only so many results wait to be used that the threads have work, since each may describe thousands of images.
    """
    if not any(is_in_store(address_of(file)) for file in files):
        yield from map(read, what)
        return
    with ThreadPoolExecutor(READ_AHEAD) as threads:
        coming: deque[Future[R]] = deque()
        try:
            for one in what:
                coming.append(threads.submit(read, one))
                if len(coming) == 2 * READ_AHEAD:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            for future in coming:
                future.cancel()


def read_in_order(
    images: Sequence[SourceImage], read: Callable[[SourceImage], R]
) -> Iterator[tuple[SourceImage, Callable[[], R]]]:
    """Yield each image with a function that returns or raises what `read` does.

    If any image is in a store, threads read up to `READ_AHEAD` images ahead; otherwise an image is read when its
    function is called.
    """
    if not any(_is_in_store(image) for image in images):
        for image in images:
            yield image, lambda image=image: read(image)  # type: ignore[misc]
        return
    with ThreadPoolExecutor(READ_AHEAD) as threads:
        coming: deque[Future[R]] = deque()
        try:
            for i, image in enumerate(images):
                for ahead in images[i + len(coming) : i + READ_AHEAD]:
                    coming.append(threads.submit(read, ahead))
                yield image, coming.popleft().result
        finally:
            for future in coming:
                future.cancel()


def _is_in_store(image: SourceImage) -> bool:
    return isinstance(image, StoreImage) or is_in_store(image.path if isinstance(image, FileImage) else image.container)
