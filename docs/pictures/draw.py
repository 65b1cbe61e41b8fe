"""The pictures of the documentation that show numbers, each light and dark, drawn from the data beside this file.

    python docs/pictures/draw.py

`how-fast.json` holds the bars of "How fast, and why", `growth.json` what `benchmarks/opening.py --grow` measured.
Writes `how-fast.svg`, `growth.svg` and their dark twins beside the page, and the table of the page between its marks. A
test keeps them what the data say. Needs nothing but Python.
"""

import json
from collections.abc import Iterator
from math import floor, log10
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

HERE = Path(__file__).parent
PAGE = HERE.parent / "explanation/how-fast.md"
BEGIN, END = "<!-- bars: drawn by docs/pictures/draw.py -->", "<!-- end of bars -->"
WIDTH, LEFT, RIGHT = 760, 292, 70  # of a picture; where bars begin; room for their numbers
FONT = 'font-family="system-ui, Helvetica, Arial, sans-serif"'
KINDS = {"ours": "alexkit", "peer": "others", "limit": "limit"}


class Colors(NamedTuple):
    """Of one theme."""

    paper: str
    ink: str
    faint: str
    ours: str
    peer: str
    limit: str


THEMES = {
    "": Colors("#ffffff", "#1d2733", "#45556b", "#2a7f62", "#a9b6c6", "#c77f1a"),
    "-dark": Colors("#131416", "#e6e9ee", "#a9b4c2", "#5fc9a3", "#566274", "#f0a95c"),
}


def svg(height: int, title: str, text: str, colors: Colors, body: list[str]) -> str:
    """A whole file; `text` says in words what the picture shows."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT} font-size="13" '
        f'fill="{colors.ink}" role="img" aria-labelledby="t d">\n<title id="t">{escape(title)}</title>\n'
        f'<desc id="d">{escape(text)}</desc>\n<rect width="{WIDTH}" height="{height}" fill="{colors.paper}"/>'
    )
    return "\n".join([head, *body, "</svg>", ""])


def bars(charts: list[dict[str, Any]], colors: Colors) -> str:
    """All bar charts, one below the other, with the goal of each as a dashed line."""
    body, y = list(_legend(colors)), 40
    for chart in charts:
        goals, rows = chart["goals"], chart["bars"]
        scale = (WIDTH - LEFT - RIGHT) / max(*goals, *(value for _, _, value in rows))
        body.append(
            f'<text x="12" y="{y + 16}" font-weight="700">{escape(chart["title"])}</text>'
            f'<text x="{WIDTH - 12}" y="{y + 16}" text-anchor="end" fill="{colors.faint}" font-size="12">'
            f"{escape(chart['unit'])}</text>"
        )
        top, numbers = y + 24, []
        y = top
        for kind, name, value in rows:
            length = value * scale
            weight = ' font-weight="700"' if kind == "ours" else ""
            body.append(
                f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end"{weight}>{escape(name)}</text>'
                f'<rect x="{LEFT}" y="{y + 3}" width="{length:.1f}" height="16" rx="2" {_style(kind, colors)}/>'
            )
            halo = f'stroke="{colors.paper}" stroke-width="4" paint-order="stroke"'  # where a goal crosses a number
            numbers.append(f'<text x="{LEFT + length + 6:.1f}" y="{y + 15}"{weight} {halo}>{value:g}</text>')
            y += 22
        for goal in goals:
            at = LEFT + goal * scale
            dashes = f'stroke="{colors.ink}" stroke-width="1.2" stroke-dasharray="4 3"'
            body.append(f'<path d="M{at:.1f} {top} V{y}" {dashes}/>')
        body += numbers
        y += 18
    text = "; ".join(f"{chart['title']}: {_in_words(chart)}" for chart in charts)
    return svg(y, "How fast alexkit is beside others", text, colors, body)


def _legend(colors: Colors) -> Iterator[str]:
    x = 12
    for kind, name in KINDS.items():
        yield f'<rect x="{x}" y="12" width="26" height="14" rx="2" {_style(kind, colors)}/>'
        yield f'<text x="{x + 34}" y="24">{name}</text>'
        x += 110
    yield (
        f'<path d="M{x + 8} 10 V28" stroke="{colors.ink}" stroke-width="1.2" stroke-dasharray="4 3"/>'
        f'<text x="{x + 18}" y="24">goal</text>'
    )


def _style(kind: str, colors: Colors) -> str:
    if kind == "limit":
        return f'fill="none" stroke="{colors.limit}" stroke-width="1.5" stroke-dasharray="2 3"'
    return f'fill="{getattr(colors, kind)}"'


def _goals(chart: dict[str, Any]) -> str:
    return " and ".join(f"{goal:g}" for goal in chart["goals"])


def _in_words(chart: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:g}" for _, name, value in chart["bars"]) + f", goal {_goals(chart)}"


def table(charts: list[dict[str, Any]]) -> str:
    """The same numbers for who sees no pictures."""
    lines = ["| what | who | | goal |", "|---|---|---|---|"]
    for chart in charts:
        for i, (kind, name, value) in enumerate(chart["bars"]):
            what, goal = (f"{chart['title']}: {chart['unit']}", _goals(chart)) if i == 0 else ("", "")
            lines.append(f"| {what} | {'limit: ' if kind == 'limit' else ''}{name} | {value:g} | {goal} |")
    return "\n".join(lines)


class Fit(NamedTuple):
    """A line by least squares, and how much of the variance it explains."""

    slope: float
    start: float
    r2: float


def fit(x: list[float], y: list[float]) -> Fit:
    """The line through points that are not all at one x."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    across = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    slope = across / sum((a - mean_x) ** 2 for a in x)
    start = mean_y - slope * mean_x
    rest = sum((b - start - slope * a) ** 2 for a, b in zip(x, y, strict=True))
    return Fit(slope, start, 1 - rest / sum((b - mean_y) ** 2 for b in y))


def growth(data: dict[str, Any], colors: Colors) -> str:
    """Seconds and megabytes of opening over millions of samples, each with its line."""
    millions = [row["samples"] / 1e6 for row in data["rows"]]
    body, words = [], []
    titles = {"opening_cpu_s": "processor time to open, s", "opening_mb": "memory to open, MB"}
    for panel, (key, title) in enumerate(titles.items()):
        values = [row[key] for row in data["rows"]]
        line = fit(millions, values)
        words.append(f"{title}: {line.slope:.3g} a million samples, R² {line.r2:.4f}")
        body += _panel(panel, title, millions, values, line, colors)
    return svg(300, "How opening grows with the samples of a set", "; ".join(words), colors, body)


def _ticks(most: float) -> list[float]:
    """Four to eight round numbers above zero."""
    step = 10 ** floor(log10(most))
    step = next(step / part for part in (1, 2, 5, 10) if most * part / step >= 4)
    return [round(step * i, 10) for i in range(1, floor(most / step) + 1)]


def _panel(number: int, title: str, x: list[float], y: list[float], line: Fit, colors: Colors) -> Iterator[str]:
    left, right, top, bottom = 60 + 380 * number, 360 + 380 * number, 56, 248
    most_x, most_y = max(x) * 1.05, max(y) * 1.1

    def place(a: float, b: float) -> str:
        return f"{left + a / most_x * (right - left):.1f} {bottom - b / most_y * (bottom - top):.1f}"

    yield f'<text x="{left - 44}" y="24" font-weight="700">{title}</text>'
    yield (
        f'<text x="{left - 44}" y="42" fill="{colors.faint}" font-size="12">{line.slope:.3g} a million samples, '
        f"R² = {line.r2:.4f}</text>"
    )
    yield f'<path d="M{left} {top} V{bottom} H{right}" stroke="{colors.faint}" fill="none"/>'
    for value in _ticks(max(y)):
        at = place(0, value).split()[1]
        yield (
            f'<path d="M{left} {at} H{right}" stroke="{colors.faint}" stroke-opacity="0.25"/>'
            f'<text x="{left - 6}" y="{float(at) + 4:.1f}" text-anchor="end" font-size="11">{value:g}</text>'
        )
    for value in (0, 5, 10, 15):
        if value <= most_x:
            at = place(value, 0).split()[0]
            yield f'<text x="{at}" y="{bottom + 16}" text-anchor="middle" font-size="11">{value}</text>'
    yield f'<text x="{right}" y="{bottom + 34}" text-anchor="end" fill="{colors.faint}">million samples</text>'
    start, end = place(0, max(line.start, 0)), place(max(x), line.start + line.slope * max(x))
    yield f'<path d="M{start} L{end}" stroke="{colors.limit}" stroke-width="1.5" stroke-dasharray="5 3"/>'
    for a, b in zip(x, y, strict=True):
        cx, cy = place(a, b).split()
        yield f'<circle cx="{cx}" cy="{cy}" r="4" fill="{colors.ours}"/>'


def drawn() -> dict[Path, str]:
    """Every file that is made of the data, and its content."""
    charts = json.loads((HERE / "how-fast.json").read_text())
    files = {}
    for suffix, colors in THEMES.items():
        files[PAGE.with_name(f"how-fast{suffix}.svg")] = bars(charts, colors)
        data = json.loads((HERE / "growth.json").read_text())
        files[PAGE.with_name(f"growth{suffix}.svg")] = growth(data, colors)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    files[PAGE] = f"{before}{BEGIN}\n\n{table(charts)}\n\n{END}{after}"
    return files


if __name__ == "__main__":
    for path, content in drawn().items():
        path.write_text(content)
