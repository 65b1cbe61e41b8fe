"""AVIF files with a damaged EXIF block: libavif and Pillow refuse the whole file, though EXIF shapes no pixel."""

import re

# An entry of the item table (ISO/IEC 14496-12, infe), version 2 or 3: flags, item, protection, and the item's type.
_EXIF_ITEM = re.compile(rb"(infe(?:\x02.{3}.{2}|\x03.{3}.{4}).{2})Exif", re.S)


def without_exif(data: bytes) -> bytes:
    """The file with its EXIF items renamed to a type that readers skip; the same bytes if it has none.

    The orientation is kept: AVIF stores it in properties of the image, `irot` and `imir`.
    """
    return _EXIF_ITEM.sub(rb"\1skip", data)
