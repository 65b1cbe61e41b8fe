"""Fonts that have the letters of class names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from alexkit.prep.format.manifest import ClassEntry
from alexkit.prep.reports import fonts
from alexkit.prep.reports.contact_sheet import _caption
from alexkit.prep.reports.fonts import font_for


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The one font that is installed: it has the letters of 猫 and cat; beside it lies a damaged one."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    pen.lineTo((500, 0))
    pen.lineTo((0, 500))
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    names = [".notdef", *"cat0123456789", "u732B"]
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(name) if len(name) == 1 else 0x732B: name for name in names[1:]})
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (600, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Cat", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "cat.ttf")
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    found = [str(path) for path in tmp_path.iterdir()]
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: found)
    fonts._fonts.cache_clear()
    yield tmp_path / "cat.ttf"
    fonts._fonts.cache_clear()


def test_names_of_european_languages_need_no_installed_font(installed: Path) -> None:
    for name in ("plain", "École à vélo", "Кошка", "Ζέβρα"):
        path = font_for(name)
        assert path is not None and path.name == "DejaVuSans.ttf"


def test_other_letters_are_looked_for_among_the_installed_fonts(installed: Path) -> None:
    assert font_for("猫 cat") == installed
    assert font_for("猫 ネコ") is None


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        (ClassEntry(index=4, id="n02121808", name="猫"), ("4 猫", True)),
        (ClassEntry(index=4, id="n02121808", name="ネコ"), ("4 n02121808", False)),
        (ClassEntry(index=4, id="ネコ", name="ネコ"), ("4", False)),
    ],
)
def test_a_class_whose_letters_no_font_has_is_called_by_its_id(
    installed: Path, entry: ClassEntry, shown: tuple[str, bool]
) -> None:
    assert _caption(4, entry) == shown
