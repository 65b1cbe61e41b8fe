"""A shard set as one image: a row of thumbnails for every class."""

from PIL import Image, ImageDraw, ImageFont

from ..format.manifest import ClassEntry
from .fonts import font_for
from .survey import THUMBNAIL_PX, Survey

NAME_PX = 260
TEXT_PX = 15
GAP_PX = 4
MAX_ROWS = 300
"""Classes on one sheet; of more classes, every k-th is drawn, and the heading says so."""


def contact_sheet(survey: Survey) -> Image.Image:
    """One row of thumbnails per class, with its number and its name, or its id if no font has the name's letters."""
    classes = survey.shard_set.manifest.classes
    step = -(-len(classes) // MAX_ROWS)
    rows = range(0, len(classes), step)
    row_px = THUMBNAIL_PX + GAP_PX
    width = NAME_PX + max(map(len, survey.shown)) * row_px
    heading = 2 * row_px // 5
    sheet = Image.new("RGB", (width, heading + len(rows) * row_px), "white")
    draw = ImageDraw.Draw(sheet)
    captions = {label: _caption(label, classes[label]) for label in rows}
    words = f"{survey.split}: {len(classes)} classes" + ("" if step == 1 else f", 1 in {step} shown")
    if any(not is_name for _, is_name in captions.values()):
        words += "; some names have letters that no installed font has (inspect.html shows them)"
    draw.text((8, 10), words, "black", font=_font(words))
    for row, (label, (text, _)) in enumerate(captions.items()):
        top, font = heading + row * row_px, _font(text)
        draw.text((8, top + THUMBNAIL_PX // 2 - 10), _cut(draw, text, font), "black", font=font)
        for column, index in enumerate(survey.shown[label]):
            sheet.paste(survey.thumbnail(index), (NAME_PX + column * row_px, top))
    return sheet


def _caption(label: int, entry: ClassEntry) -> tuple[str, bool]:
    """The caption of a class, and whether it contains the class's name."""
    if font_for(entry.name) is not None:
        return f"{label} {entry.name}", True
    return (f"{label} {entry.id}" if font_for(entry.id) is not None else f"{label}"), False


def _cut(draw: ImageDraw.ImageDraw, name: str, font: ImageFont.FreeTypeFont) -> str:
    if draw.textlength(name, font) <= NAME_PX - 16:
        return name
    while draw.textlength(name + "…", font) > NAME_PX - 16:
        name = name[:-1]
    return name + "…"


def _font(text: str) -> ImageFont.FreeTypeFont:
    """A font with the letters of `text`; Pillow's own font has only English ones."""
    path = font_for(text + "…") or font_for(text)
    assert path is not None  # captions contain no other letters
    return ImageFont.truetype(path, TEXT_PX)
