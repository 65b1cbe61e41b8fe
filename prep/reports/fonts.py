"""Fonts for class names in any script.

Matplotlib includes DejaVu Sans, which covers Latin, Greek, Cyrillic and more scripts; for others, such as Chinese, the
fonts installed on the machine are searched.
"""

from functools import lru_cache
from pathlib import Path

from ...extras import explained_imports


def font_for(text: str) -> Path | None:
    """The file of a font that has every letter of `text`, preferably DejaVu Sans; None if there is none."""
    wanted = {ord(letter) for letter in text if not letter.isspace()}
    return next((path for path in _fonts() if wanted <= _letters(path)), None)


@lru_cache(maxsize=1)
def _fonts() -> tuple[Path, ...]:
    """DejaVu Sans, then all installed fonts, in an order that does not depend on the file system."""
    with explained_imports():
        import matplotlib
        from matplotlib.font_manager import findSystemFonts
    own = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    return own, *sorted(map(Path, findSystemFonts()))


@lru_cache(maxsize=1000)
def _letters(path: Path) -> frozenset[int]:
    """The code points that a font can draw at any size; empty if the file is damaged."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(str(path))
    except (RuntimeError, OSError):
        return frozenset()
    # Color bitmap fonts come in one fixed size, so we cannot use them.
    return frozenset(font.get_charmap()) if font.scalable else frozenset()
