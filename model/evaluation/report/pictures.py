"""Stored images as small pictures inside a page."""

import base64
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ....pipeline.remote import StoredImages
from ....prep import ShardSet
from ....prep.images.geometry import central_square
from ....prep.images.stored import decode_stored

THUMBNAIL_PX = 96


class Thumbnails:
    """Pictures of a shard set's images by index, as data URIs; each image is decoded once."""

    def __init__(self, shard_set: ShardSet) -> None:
        self.shard_set, self.images = shard_set, StoredImages(shard_set)
        self._uris: dict[int, str] = {}

    def uri(self, index: int) -> str:
        """The central square of an image at no more than 96 px, as a data URI."""
        if index not in self._uris:
            image_HWC = decode_stored(self.images.content(index), self.shard_set.manifest.pixels)
            picture = Image.fromarray(np.ascontiguousarray(central_square(image_HWC)))
            picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.LANCZOS)
            self._uris[index] = jpeg_uri(picture)
        return self._uris[index]


def jpeg_uri(picture: Image.Image) -> str:
    """A picture as a JPEG data URI."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def png_uri(image_HWC: NDArray[np.uint8]) -> str:
    """Pixels as a PNG data URI, exact."""
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
