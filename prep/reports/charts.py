"""Bar charts as inline SVG: axes with numbers, a name for each bar, colors from the page's style sheet."""

import html
import math
from collections.abc import Sequence

WIDTH, HEIGHT = 1000, 206
LEFT, BOTTOM, TOP = 62, 34, 24


def bar_chart(
    values: Sequence[int],
    names: Sequence[str],
    *,
    label: str,
    x_label: str,
    ends: tuple[str, str] | None = None,
) -> str:
    """Bars for `values`, on an axis from 0, each with its name in a tooltip.

    Args:
        values: the height of each bar.
        names: the name of each bar.
        label: what the chart shows, for screen readers.
        x_label: the label of the x-axis.
        ends: labels below the first and the last bar; if None, each bar is labeled with the first word of its name.
    """
    top = _round_up(max(max(values), 1))
    bottom = BOTTOM if ends else 2 * BOTTOM
    height_px = HEIGHT - BOTTOM + bottom
    plot_width, plot_height = WIDTH - LEFT - 8, HEIGHT - TOP - BOTTOM
    step = plot_width / len(values)
    parts = [f"<svg viewBox='0 0 {WIDTH} {height_px}' role='img' aria-label='{_safe(label)}'>"]
    for tick in (0, top // 2, top) if top > 1 else (0, top):
        y = TOP + plot_height * (1 - tick / top)
        parts.append(
            f"<line x1='{LEFT}' x2='{WIDTH - 8}' y1='{y:.1f}' y2='{y:.1f}'/>"
            f"<text x='{LEFT - 8}' y='{y + 4:.1f}' text-anchor='end'>{tick:,}</text>"
        )
    for i, (value, name) in enumerate(zip(values, names, strict=True)):
        height = plot_height * value / top
        parts.append(
            f"<rect x='{LEFT + i * step:.2f}' y='{TOP + plot_height - height:.2f}' width='{max(step * 0.9, 0.5):.2f}' "
            f"height='{height:.2f}'><title>{_safe(name)}: {value:,}</title></rect>"
        )
    if ends is None:
        for i, name in enumerate(names):
            x, y = LEFT + (i + 0.45) * step, TOP + plot_height + 26
            parts.append(f"<text x='{x:.1f}' y='{y}' text-anchor='middle'>{_safe(name.split()[0])}</text>")
    y = height_px - 8
    if ends is not None:
        parts.append(f"<text x='{LEFT}' y='{y}'>{_safe(ends[0])}</text>")
        parts.append(f"<text x='{WIDTH - 8}' y='{y}' text-anchor='end'>{_safe(ends[1])}</text>")
    parts.append(f"<text x='{(LEFT + WIDTH) / 2:.0f}' y='{y}' text-anchor='middle'>{_safe(x_label)}</text>")
    return "".join([*parts, "</svg>"])


def _round_up(value: int) -> int:
    """Round up to one or two digits followed by zeros, to an even number so that half the axis is a whole number."""
    unit = int(10 ** max(math.floor(math.log10(value)) - 1, 0))
    rounded = -(-value // unit) * unit
    return rounded if rounded % 2 == 0 or rounded == 1 else rounded + unit


def _safe(text: str) -> str:
    return html.escape(text.encode("utf-8", "replace").decode(), quote=True)
