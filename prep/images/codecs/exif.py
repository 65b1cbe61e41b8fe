"""Reads the few numbers of a TIFF directory that decoding needs, without trusting any of its offsets.

EXIF blocks are TIFF files; only the orientation is taken from them. A damaged block has none.
"""

ORIENTATION_TAG, BITS_PER_SAMPLE_TAG, PHOTOMETRIC_TAG = 0x0112, 0x0102, 0x0106
_SHORT = 3


def exif_orientation(exif: bytes) -> int:
    """The orientation, 1 to 8, of an EXIF block with or without its `Exif` prefix; 1 if it is absent or damaged."""
    value = first_number(exif.removeprefix(b"Exif\0\0"), ORIENTATION_TAG)
    return value if value is not None and 1 <= value <= 8 else 1


def first_number(tiff: bytes, tag: int) -> int | None:
    """The first value of a 16-bit tag in the first directory of a TIFF; None if it is absent or damaged."""
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order is None:
        return None
    little = order == "little"

    def number(offset: int, size: int) -> int:
        return int.from_bytes(tiff[offset : offset + size], "little" if little else "big")

    directory = number(4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * number(directory, 2), 12):
        if entry + 12 > len(tiff):
            return None
        if number(entry, 2) == tag and number(entry + 2, 2) == _SHORT:
            # Up to two values are in the entry itself; more of them are where it points to.
            return number(entry + 8, 2) if number(entry + 4, 4) <= 2 else number(number(entry + 8, 4), 2)
    return None
