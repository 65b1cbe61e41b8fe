"""Charts as inline SVG, drawn in the page's text color, so that they are readable in light and dark mode.

Equal numbers give equal bytes.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...runs.log import read_log
from ...runs.run import LOG
from ..metrics import NUM_BINS, Calibration

INK = "#123456"  # stands for the page's text color until the SVG is written
SERIES = ("#2f7fb5", "#d1495b", "#3c9d5f", "#b8791a", "#8a5fc0", "#1d9aa0")


def reliability_diagram(calibration: Calibration) -> str:
    """Accuracy over confidence by bin, above the number of images per bin; the diagonal is perfect calibration."""
    figure, (top, bottom) = _figure(2, (5.2, 4.6), height_ratios=[3, 1])
    centers_B = (np.arange(NUM_BINS) + 0.5) / NUM_BINS
    top.bar(centers_B, np.nan_to_num(calibration.accuracy_B), width=0.9 / NUM_BINS, color=SERIES[0])
    top.plot([0, 1], [0, 1], color=INK, lw=1, ls="--")
    top.set(xlim=(0, 1), ylim=(0, 1), ylabel="correct first guesses")
    bottom.bar(centers_B, calibration.counts_B, width=0.9 / NUM_BINS, color=SERIES[1])
    bottom.set(xlim=(0, 1), xlabel="probability of the first guess", ylabel="images")
    return _svg(figure, "Reliability diagram: fraction of correct first guesses over their probability")


def training_curves(runs: Sequence[Path]) -> str | None:
    """Loss and validation error of several runs by epoch, in one chart; None if no run has a log."""
    logs = [(run, lines) for run in runs if (lines := read_log(run / LOG))]
    if not logs:
        return None
    figure, (left, right) = _figure(1, (9.6, 3.6), columns=2)
    for (run, lines), color in zip(logs, SERIES * len(logs), strict=False):
        val = [line for line in lines if line["kind"] == "val" and line.get("epoch")]
        train = [line for line in lines if line["kind"] == "train"]
        steps_per_epoch = val[0]["step"] / val[0]["epoch"] if val else 1
        epochs = [line.get("epoch", line["step"] / steps_per_epoch) for line in train]
        left.plot(epochs, [line["loss"] for line in train], color=color, lw=1, alpha=0.6)
        epochs = [line["epoch"] for line in val]
        left.plot(epochs, [line["loss"] for line in val], color=color, marker="o", ms=3.5)
        errors = [100 * line["top1_error"] for line in val]
        right.plot(epochs, errors, color=color, marker="o", ms=3.5, label=run.resolve().name)
    left.set(xlabel="epoch", ylabel="loss (line: training, dots: validation)", ylim=(0, None), xlim=(0, None))
    right.set(xlabel="epoch", ylabel="validation top-1 error, %", ylim=(0, 100), xlim=(0, None))
    right.legend(frameon=False, labelcolor=INK)
    return _svg(figure, "Loss and top-1 error of each run over its epochs")


def _figure(
    rows: int, inches: tuple[float, float], *, columns: int = 1, height_ratios: Sequence[float] | None = None
) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots(rows, columns, height_ratios=height_ratios)
    for axis in axes.flat:
        axis.patch.set_alpha(0)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(INK)
        axis.tick_params(colors=INK)
        axis.xaxis.label.set_color(INK)
        axis.yaxis.label.set_color(INK)
    return figure, axes


def _svg(figure: Any, label: str) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": label, "font.family": "sans-serif"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r'\s(width|height)="[\d.]+pt"', "", text, count=2)
    return text.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
