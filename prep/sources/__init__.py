"""Image sources: the layout is recognized automatically; files are read in place and never changed."""

from .inputs import Extra, SourceImage, SourceSplit
from .options import LAYOUTS, Layout, SourceOptions
from .recognize import Source, open_source

__all__ = ["LAYOUTS", "Extra", "Layout", "Source", "SourceImage", "SourceOptions", "SourceSplit", "open_source"]
