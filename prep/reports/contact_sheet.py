"""One picture of a shard set: a row of thumbnails for every class."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from ...extras import explained_imports
from .survey import THUMBNAIL_PX, Survey

NAME_PX = 260
GAP_PX = 4
MAX_ROWS = 300
"""Classes on one sheet; of more, evenly chosen ones are drawn, and the sheet says so."""


def contact_sheet(survey: Survey) -> Image.Image:
    """One row of thumbnails per class, with its number and name."""
    classes = survey.shard_set.manifest.classes
    step = -(-len(classes) // MAX_ROWS)
    rows = range(0, len(classes), step)
    row_px = THUMBNAIL_PX + GAP_PX
    width = NAME_PX + max(map(len, survey.shown)) * row_px
    heading = 2 * row_px // 5
    sheet = Image.new("RGB", (width, heading + len(rows) * row_px), "white")
    draw, font = ImageDraw.Draw(sheet), _font(15)
    every = "" if step == 1 else f", one of {step} drawn"
    draw.text((8, 10), f"{survey.split}: {len(classes)} classes{every}", "black", font=font)
    for row, label in enumerate(rows):
        top = heading + row * row_px
        draw.text(
            (8, top + THUMBNAIL_PX // 2 - 10), _cut(draw, f"{label} {classes[label].name}", font), "black", font=font
        )
        for column, index in enumerate(survey.shown[label]):
            sheet.paste(survey.thumbnail(index), (NAME_PX + column * row_px, top))
    return sheet


def _cut(draw: ImageDraw.ImageDraw, name: str, font: ImageFont.FreeTypeFont) -> str:
    if draw.textlength(name, font) <= NAME_PX - 16:
        return name
    while draw.textlength(name + "…", font) > NAME_PX - 16:
        name = name[:-1]
    return name + "…"


def _font(size_px: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which Matplotlib brings: it has the letters of Europe's languages, Pillow's own font has not."""
    with explained_imports():
        import matplotlib
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size_px)
