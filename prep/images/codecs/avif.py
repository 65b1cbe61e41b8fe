"""AVIF files whose EXIF block is damaged: libavif and Pillow refuse them whole, though it shapes no pixel."""

import re

# An entry of the item table (ISO/IEC 14496-12, infe), version 2 or 3: flags, item, protection, and the item's type.
_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{3}.{2}|\x03.{3}.{4}).{2})Exif", re.S)


def without_exif(data: bytes) -> bytes:
    """The file with its EXIF items called by a type that readers pass over; the same bytes when it has none.

    How the image is turned stays known: AVIF says it in properties of the image, `irot` and `imir`.
    """
    return _EXIF_ITEM.sub(rb"\1skip", data)
