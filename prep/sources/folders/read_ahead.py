"""The inputs of a shard read ahead where they come from a store: one by one, each would cost a round trip."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from ..inputs import SourceImage
from .store_folder import StoreImage

READ_AHEAD = 32


def read_in_order(
    images: Sequence[SourceImage], read: Callable[[SourceImage], bytes]
) -> Iterator[tuple[SourceImage, Callable[[], bytes]]]:
    """Each image and a function that gives its content, or raises what `read` raised.

    Images in a store are read by threads, `READ_AHEAD` of them at a time; others when the function is called.
    """
    if not any(isinstance(image, StoreImage) for image in images):
        for image in images:
            yield image, lambda image=image: read(image)  # type: ignore[misc]
        return
    with ThreadPoolExecutor(READ_AHEAD) as threads:
        coming: deque[Future[bytes]] = deque()
        try:
            for i, image in enumerate(images):
                for ahead in images[i + len(coming) : i + READ_AHEAD]:
                    coming.append(threads.submit(read, ahead))
                yield image, coming.popleft().result
        finally:
            for future in coming:
                future.cancel()
