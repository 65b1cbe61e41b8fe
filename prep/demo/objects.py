"""The ten objects of the demo set, each drawn on a transparent square canvas of `CANVAS_PX`.

Every drawer takes a random generator and draws a different individual each time: colors, proportions and counts vary.
As in nature, a class tends toward some colors, but several classes share them, so only shape and parts tell them apart.
"""

import colorsys
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops, ImageDraw

CANVAS_PX = 400
_MIDDLE = CANVAS_PX / 2

Color = tuple[int, int, int, int]
Point = tuple[float, float]
Drawer = Callable[[np.random.Generator, ImageDraw.ImageDraw], None]


def draw_object(class_name: str, rng: np.random.Generator) -> Image.Image:
    """One individual of the class as an RGBA image of CANVAS_PX x CANVAS_PX."""
    canvas = Image.new("RGBA", (CANVAS_PX, CANVAS_PX))
    DRAWERS[class_name](rng, ImageDraw.Draw(canvas))
    return canvas


def color(
    rng: np.random.Generator,
    *,
    hue: tuple[float, float] = (0.0, 1.0),
    saturation: tuple[float, float] = (0.35, 1.0),
    value: tuple[float, float] = (0.35, 1.0),
) -> Color:
    """An opaque color from ranges of hue, saturation and value, each 0-1."""
    r, g, b = colorsys.hsv_to_rgb(rng.uniform(*hue) % 1.0, rng.uniform(*saturation), rng.uniform(*value))
    return round(r * 255), round(g * 255), round(b * 255), 255


def shade(of: Color, factor: float) -> Color:
    """The same color, darker (factor below 1) or lighter."""
    r, g, b = (min(255, round(channel * factor)) for channel in of[:3])
    return r, g, b, 255


def _disc(draw: ImageDraw.ImageDraw, center: Point, radius: float, fill: Color, stretch: float = 1.0) -> None:
    x, y = center
    draw.ellipse((x - radius * stretch, y - radius, x + radius * stretch, y + radius), fill=fill)


def _petal(draw: ImageDraw.ImageDraw, root: Point, angle: float, length: float, width: float, fill: Color) -> None:
    """Draw a leaf shape from `root` in direction `angle` (radians)."""
    cos, sin = math.cos(angle), math.sin(angle)
    outline = []
    for t in np.linspace(0, 2 * math.pi, 24, endpoint=False):
        along, across = length * (1 - math.cos(t)) / 2, width * math.sin(t) / 2
        outline.append((root[0] + along * cos - across * sin, root[1] + along * sin + across * cos))
    draw.polygon(outline, fill=fill)


def _balloon(rng: np.random.Generator, draw: ImageDraw.ImageDraw) -> None:
    radius = rng.uniform(120, 150)
    top, mouth = 20.0, rng.uniform(290, 320)
    panels = [color(rng), color(rng), color(rng, saturation=(0.0, 0.4), value=(0.7, 1.0))]
    center_y = top + radius
    for i, half in enumerate(np.linspace(1.0, 0.15, int(rng.integers(4, 8)))):
        fill = panels[i % (2 + int(rng.integers(0, 2)))]
        w = radius * half
        draw.ellipse((_MIDDLE - w, top, _MIDDLE + w, center_y + radius), fill=fill)
        skirt = [(_MIDDLE - w * 0.93, center_y + radius * 0.35), (_MIDDLE + w * 0.93, center_y + radius * 0.35)]
        draw.polygon([*skirt, (_MIDDLE + 22 * half, mouth), (_MIDDLE - 22 * half, mouth)], fill=fill)
    basket = color(rng, hue=(0.06, 0.11), value=(0.3, 0.6))
    for side in (-1, 1):
        draw.line((_MIDDLE + side * 22, mouth, _MIDDLE + side * 18, 350), fill=shade(basket, 0.6), width=4)
    draw.rectangle((_MIDDLE - 24, 345, _MIDDLE + 24, 388), fill=basket)
    draw.rectangle((_MIDDLE - 24, 345, _MIDDLE + 24, 353), fill=shade(basket, 0.6))


def _bus(rng: np.random.Generator, draw: ImageDraw.ImageDraw) -> None:
    paint, glass = (
        color(rng, hue=(-0.05, 0.16), saturation=(0.7, 1.0), value=(0.55, 1.0)),
        color(rng, hue=(0.5, 0.62), saturation=(0.1, 0.5), value=(0.5, 0.95)),
    )
    height = rng.uniform(130, 180)
    top, floor = _MIDDLE - height / 2, _MIDDLE + height / 2
    draw.rounded_rectangle((10, top, 390, floor), radius=22, fill=paint)
    draw.rectangle((10, floor - height * 0.28, 390, floor - height * 0.2), fill=shade(paint, rng.uniform(0.4, 0.7)))
    count = int(rng.integers(4, 7))
    step = 290 / count
    for i in range(count):
        x = 28 + i * step
        draw.rounded_rectangle((x, top + 22, x + step - 10, top + height * 0.5), radius=6, fill=glass)
    draw.rectangle((332, top + 22, 372, floor - 8), fill=shade(glass, 0.8))
    draw.line((352, top + 22, 352, floor - 8), fill=shade(paint, 0.5), width=3)
    for x in (rng.uniform(70, 110), rng.uniform(270, 305)):
        _disc(draw, (x, floor), 36, (25, 25, 28, 255))
        _disc(draw, (x, floor), 17, (150, 150, 155, 255))


def _butterfly(rng: np.random.Generator, draw: ImageDraw.ImageDraw) -> None:
    wing, spot = color(rng, hue=(0.55, 0.85), value=(0.5, 1.0)), color(rng, value=(0.6, 1.0))
    edge = shade(wing, 0.35)
    spread, upper, lower = rng.uniform(0.5, 0.75), rng.uniform(165, 190), rng.uniform(115, 145)
    for side in (-1, 1):
        for angle, length, width in ((-spread, upper, 120), (spread + 0.15, lower, 95)):
            direction = angle if side == 1 else math.pi - angle
            _petal(draw, (_MIDDLE, _MIDDLE), direction, length, width, edge)
            _petal(draw, (_MIDDLE, _MIDDLE), direction, length * 0.86, width * 0.72, wing)
            at = length * 0.58
            _disc(draw, (_MIDDLE + at * math.cos(direction), _MIDDLE + at * math.sin(direction)), width * 0.15, spot)
        draw.line((_MIDDLE, 150, _MIDDLE + side * 42, 75), fill=(30, 25, 20, 255), width=5)
    _disc(draw, (_MIDDLE, _MIDDLE + 5), 72, (40, 32, 26, 255), stretch=0.16)


def _clock(rng: np.random.Generator, draw: ImageDraw.ImageDraw) -> None:
    face = color(rng, saturation=(0.0, 0.25), value=(0.8, 1.0))
    rim, ink = color(rng, value=(0.2, 0.8)), color(rng, saturation=(0.0, 1.0), value=(0.0, 0.25))
    radius = rng.uniform(165, 185)
    _disc(draw, (_MIDDLE, _MIDDLE), radius, rim)
    _disc(draw, (_MIDDLE, _MIDDLE), radius * rng.uniform(0.8, 0.9), face)
    for i in range(12):
        angle = i * math.pi / 6
        inner, outer = radius * (0.6 if i % 3 == 0 else 0.67), radius * 0.75
        cos, sin = math.cos(angle), math.sin(angle)
        line = (_MIDDLE + inner * cos, _MIDDLE + inner * sin, _MIDDLE + outer * cos, _MIDDLE + outer * sin)
        draw.line(line, fill=ink, width=12 if i % 3 == 0 else 6)
    for length, width in ((0.4, 15), (0.62, 9)):
        angle = rng.uniform(0, 2 * math.pi)
        tip = (_MIDDLE + radius * length * math.cos(angle), _MIDDLE + radius * length * math.sin(angle))
        draw.line((_MIDDLE, _MIDDLE, *tip), fill=ink, width=width)
    _disc(draw, (_MIDDLE, _MIDDLE), 13, ink)


def _daisy(rng: np.random.Generator, draw: ImageDraw.ImageDraw) -> None:
    petal = color(rng, hue=(0.8, 1.05), saturation=(0.0, 0.4), value=(0.85, 1.0))
    heart = color(rng, hue=(0.06, 0.16), value=(0.6, 1.0))
    stem = color(rng, hue=(0.24, 0.36), value=(0.3, 0.65))
    head = (_MIDDLE + rng.uniform(-20, 20), 155.0)
    draw.line((*head, _MIDDLE, 395), fill=stem, width=12)
    _petal(draw, (_MIDDLE, 350), rng.uniform(-1.0, -0.5), 95, 38, stem)
    count = int(rng.integers(9, 17))
    for i in range(count):
        fill = shade(petal, rng.uniform(0.85, 1.05))
        _petal(draw, head, i * 2 * math.pi / count, rng.uniform(125, 148), 2.4 * 150 / count + 14, fill)
    _disc(draw, head, rng.uniform(38, 52), heart)
    for _ in range(25):
        angle, far = rng.uniform(0, 2 * math.pi), rng.uniform(0, 36)
        _disc(draw, (head[0] + far * math.cos(angle), head[1] + far * math.sin(angle)), 3.5, shade(heart, 0.65))


def _fish(rng: np.random.Generator, draw: ImageDraw.ImageDraw) -> None:
    body = color(rng, hue=(0.03, 0.5), value=(0.5, 1.0))
    dark = shade(body, 0.6)
    half = rng.uniform(70, 100)
    draw.polygon([(290, _MIDDLE), (392, _MIDDLE - half), (365, _MIDDLE), (392, _MIDDLE + half)], fill=dark)
    draw.polygon([(130, _MIDDLE - half * 0.8), (250, _MIDDLE - half * 0.8), (270, _MIDDLE - half * 1.55)], fill=dark)
    draw.ellipse((10, _MIDDLE - half, 325, _MIDDLE + half), fill=body)
    light = shade(body, 1.35)
    for column in range(6):
        for row in range(-2, 3):
            x, y = 125 + column * 29, _MIDDLE + (row + 0.5 * (column % 2)) * half * 0.33
            draw.arc((x - 15, y - 15, x + 15, y + 15), 90, 270, fill=light if rng.random() < 0.5 else dark, width=4)
    draw.polygon([(150, _MIDDLE + 15), (215, _MIDDLE + 55), (205, _MIDDLE + 5)], fill=dark)
    _disc(draw, (68, _MIDDLE - half * 0.25), 19, (245, 245, 240, 255))
    _disc(draw, (65, _MIDDLE - half * 0.25), 10, (10, 10, 15, 255))


def _ladybird(rng: np.random.Generator, draw: ImageDraw.ImageDraw) -> None:
    shell = color(rng, hue=(-0.04, 0.06), saturation=(0.75, 1.0), value=(0.6, 1.0))
    black = (22, 20, 22, 255)
    for y in (160, 215, 270):
        for side in (-1, 1):
            foot = (_MIDDLE + side * 185, y + rng.uniform(-35, 35))
            draw.line((_MIDDLE, y, *foot), fill=black, width=11)
    _disc(draw, (_MIDDLE, 92), 62, black)
    for side in (-1, 1):
        _disc(draw, (_MIDDLE + side * 32, 75), 14, (240, 240, 235, 255))
        draw.line((_MIDDLE + side * 20, 50, _MIDDLE + side * 48, 8), fill=black, width=6)
    _disc(draw, (_MIDDLE, 230), rng.uniform(148, 160), shell, stretch=rng.uniform(0.85, 0.98))
    draw.line((_MIDDLE, 80, _MIDDLE, 385), fill=black, width=9)
    spots = [(55, 150, 24), (95, 225, 26), (45, 265, 23), (78, 320, 20)]
    for x, y, radius in spots[: int(rng.integers(2, 5))]:
        for side in (-1, 1):
            _disc(draw, (_MIDDLE + side * x, y), radius * rng.uniform(0.8, 1.15), black)


def _mushroom(rng: np.random.Generator, draw: ImageDraw.ImageDraw) -> None:
    cap = color(rng, hue=(-0.05, 0.1), value=(0.35, 0.95))
    stem = color(rng, hue=(0.08, 0.14), saturation=(0.05, 0.35), value=(0.7, 1.0))
    width, rim = rng.uniform(38, 62), rng.uniform(205, 235)
    draw.polygon(
        [(_MIDDLE - width, rim), (_MIDDLE + width, rim), (_MIDDLE + width * 1.3, 390), (_MIDDLE - width * 1.3, 390)],
        fill=stem,
    )
    draw.ellipse((_MIDDLE - width * 1.5, rim + 45, _MIDDLE + width * 1.5, rim + 75), fill=shade(stem, 0.85))
    reach = rng.uniform(150, 185)
    draw.ellipse((_MIDDLE - reach, rim - 32, _MIDDLE + reach, rim + 32), fill=shade(stem, 0.65))
    height = rng.uniform(150, 185)
    draw.chord((_MIDDLE - reach, rim - height, _MIDDLE + reach, rim + height), 180, 360, fill=cap)
    dot = color(rng, saturation=(0.0, 0.2), value=(0.85, 1.0))
    for _ in range(int(rng.integers(6, 12))):
        angle, far = rng.uniform(1.12 * math.pi, 1.88 * math.pi), rng.uniform(0.2, 0.82)
        at = (_MIDDLE + reach * far * math.cos(angle), rim + height * far * math.sin(angle))
        _disc(draw, at, rng.uniform(9, 20), dot, stretch=1.25)


def _sailboat(rng: np.random.Generator, draw: ImageDraw.ImageDraw) -> None:
    hull = color(rng, value=(0.25, 0.9))
    sail = color(rng, saturation=(0.0, 0.35), value=(0.8, 1.0))
    mast, deck = rng.uniform(175, 215), rng.uniform(295, 315)
    draw.line((mast, 12, mast, deck), fill=(90, 62, 38, 255), width=9)
    draw.polygon([(mast + 9, 20), (mast + 9, deck - 18), (rng.uniform(345, 385), deck - 18)], fill=sail)
    second = shade(sail, 0.82) if rng.random() < 0.5 else color(rng)
    draw.polygon([(mast - 8, 50), (mast - 8, deck - 18), (rng.uniform(20, 60), deck - 18)], fill=second)
    for y in np.arange(90, deck - 30, 55):
        draw.line((mast + 9, y, mast + 9 + (y - 20) * 0.55, y), fill=shade(sail, 0.75), width=3)
    draw.polygon([(15, deck), (385, deck), (rng.uniform(315, 340), 378), (rng.uniform(60, 85), 378)], fill=hull)
    draw.line((22, deck + 14, 378, deck + 14), fill=shade(hull, 1.6), width=8)


def _zebra(rng: np.random.Generator, draw: ImageDraw.ImageDraw) -> None:
    body = Image.new("L", (CANVAS_PX, CANVAS_PX))
    pen = ImageDraw.Draw(body)
    pen.ellipse((85, 145, 345, 275), fill=255)
    for x in (112, 150, 270, 308):
        sway = rng.uniform(-16, 16)
        pen.line((x, 240, x + sway, 388), fill=255, width=26)
    pen.polygon([(85, 205), (150, 160), (95, 60), (55, 78)], fill=255)
    pen.ellipse((12, 45, 112, 105), fill=255)
    pen.polygon([(80, 58), (92, 14), (108, 58)], fill=255)
    pen.line((338, 190, 378, 275), fill=255, width=10)
    white = color(rng, hue=(0.08, 0.14), saturation=(0.0, 0.2), value=(0.8, 1.0))
    black = color(rng, saturation=(0.0, 0.4), value=(0.05, 0.2))
    stripes = Image.new("L", (CANVAS_PX, CANVAS_PX))
    pen = ImageDraw.Draw(stripes)
    step, lean = rng.uniform(21, 29), rng.uniform(15, 60)
    for start in np.arange(-60, CANVAS_PX + 60, step):
        points = [
            (start + lean * (y / CANVAS_PX) + 9 * math.sin(y / 28 + start), y) for y in range(0, CANVAS_PX + 20, 20)
        ]
        pen.line(points, fill=255, width=round(step * 0.48), joint="curve")
    draw.bitmap((0, 0), body, fill=white)
    draw.bitmap((0, 0), ImageChops.multiply(body, stripes), fill=black)
    _disc(draw, (48, 68), 7, (5, 5, 5, 255))
    _disc(draw, (22, 82), 17, black)


DRAWERS: dict[str, Drawer] = {
    "balloon": _balloon,
    "bus": _bus,
    "butterfly": _butterfly,
    "clock": _clock,
    "daisy": _daisy,
    "fish": _fish,
    "ladybird": _ladybird,
    "mushroom": _mushroom,
    "sailboat": _sailboat,
    "zebra": _zebra,
}
