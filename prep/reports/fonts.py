"""Fonts for the letters that names are written in.

Matplotlib brings DejaVu Sans, which has the letters of Latin, Greek, Cyrillic and more scripts; for others, such as
Chinese, the fonts that are installed on the machine are asked.
"""

from functools import lru_cache
from pathlib import Path

from ...extras import explained_imports


def font_for(text: str) -> Path | None:
    """The file of a font that has every letter of `text`, DejaVu Sans where it will do; None when none has."""
    wanted = {ord(letter) for letter in text if not letter.isspace()}
    return next((path for path in _fonts() if wanted <= _letters(path)), None)


@lru_cache(maxsize=1)
def _fonts() -> tuple[Path, ...]:
    """DejaVu Sans, then all that are installed, in an order that does not depend on the file system."""
    with explained_imports():
        import matplotlib
        from matplotlib.font_manager import findSystemFonts
    own = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    return own, *sorted(map(Path, findSystemFonts()))


@lru_cache(maxsize=1000)
def _letters(path: Path) -> frozenset[int]:
    """The code points that a font can draw at any size; none where the file is damaged."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(str(path))
    except (RuntimeError, OSError):
        return frozenset()
    # Fonts of colored bitmaps have one size, which is not ours.
    return frozenset(font.get_charmap()) if font.scalable else frozenset()
