"""The pictures of the docs show what their data say."""

import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest

DRAW = runpy.run_path(str(Path(__file__).parent.parent / "docs/pictures/draw.py"))
DRAWN: dict[Path, str] = DRAW["drawn"]()


@pytest.mark.parametrize("path", DRAWN, ids=lambda path: path.name)
def test_a_file_is_what_its_data_draw(path: Path) -> None:
    assert path.read_text() == DRAWN[path], "python docs/pictures/draw.py"


@pytest.mark.parametrize("path", [path for path in DRAWN if path.suffix == ".svg"], ids=lambda path: path.name)
def test_nothing_lies_outside_a_picture(path: Path) -> None:
    root = ElementTree.fromstring(DRAWN[path])
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    for shape in root.iter():
        x, y = float(shape.get("x", 0)), float(shape.get("y", 0))
        assert 0 <= x <= width and 0 <= y <= height
        length = float(shape.get("width", 0))
        if shape.tag.endswith("}text"):
            length = 0.55 * float(shape.get("font-size", 13)) * len(shape.text or "")  # as wide as these fonts are
        left = x - {"end": 1.0, "middle": 0.5}.get(shape.get("text-anchor", ""), 0.0) * length
        assert left >= 0 and left + length <= width, shape.text
