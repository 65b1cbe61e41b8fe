"""One file per format: bytes to pixels as stored, and everything about them that is not pixels."""

from .jpeg import PATCHED, decode_jpeg
from .jpeg_header import SOI

__all__ = ["PATCHED", "SOI", "decode_jpeg"]
