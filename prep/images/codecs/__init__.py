"""Decoders, one file per format: pixels as stored, and everything else a file says about them."""

from .jpeg import PATCHED, decode_jpeg
from .jpeg_header import SOI

__all__ = ["PATCHED", "SOI", "decode_jpeg"]
