"""Pictures of a run: curves of loss and error, and the first layer's kernels by column (paper, Figure 3)."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...prep.format.files import whole_file
from ..runs.log import read_log
from ..runs.run import LOG

# The contrast with white is at least 4.5 : 1 (WCAG AA), since text is written in these colors; a test checks it.
TRAIN_COLOR, VAL_COLOR, RATE_COLOR = "#1f6f8b", "#b83a4c", "#6b6b6b"
RUN_COLORS = ("#1f6f8b", "#b83a4c", "#2c7a45", "#8a5a00", "#7a4fb0", "#4a4f57")
RUN_DASHES = ("-", "--", ":")
MAX_LEGEND = len(RUN_COLORS) * len(RUN_DASHES)
"""Number of runs with distinct colors and dashes; with more runs there is no legend."""


def run_style(number: int) -> dict[str, Any]:
    """Color and dashes of the line of run `number`, counted from 0; they repeat after `MAX_LEGEND` runs."""
    dashes = RUN_DASHES[number // len(RUN_COLORS) % len(RUN_DASHES)]
    return {"color": RUN_COLORS[number % len(RUN_COLORS)], "ls": dashes}


def draw_curves(folder: Path, steps_per_epoch: int) -> None:
    """Draw `folder/curves.png` from the run's log: training and validation loss and error, and the learning rate.

    The lowest validation error is marked, and every line is labeled with its last value.
    """
    lines = read_log(folder / LOG)
    figure, axes = new_figure(2, (10, 4))
    ends: list[list[End]] = [[], []]
    for kind, color, label in (("train", TRAIN_COLOR, "training"), ("val", VAL_COLOR, "validation")):
        mine = [line for line in lines if line["kind"] == kind]
        epochs = [_epoch(line, steps_per_epoch) for line in mine]
        style: dict[str, Any] = {"color": color, "marker": "o" if kind == "val" else None, "ms": 4}
        ends[0] += _line(axes[0], epochs, [line["loss"] for line in mine], "{:.2f}", label=label, **style)
        errors, best = [100 * line["top1_error"] for line in mine], ""
        if kind == "val" and mine:
            lowest = _mark_best(axes[1], epochs, errors, color)
            best = f" (best {errors[lowest]:.1f} % at {epochs[lowest]:.0f})"
        ends[1] += _line(axes[1], epochs, errors, "{:.1f} %", label=f"{label}, top-1{best}", **style)
        # Absent if the top-5 error is meaningless; may be missing in some lines of a log started by an older version.
        with_top5 = [line for line in mine if "top5_error" in line]
        if kind == "val" and with_top5:
            errors = [100 * line["top5_error"] for line in with_top5]
            epochs = [_epoch(line, steps_per_epoch) for line in with_top5]
            style |= {"ls": "--", "ms": 3, "lw": 1}
            ends[1] += _line(axes[1], epochs, errors, "{:.1f} %", label=f"{label}, top-5", **style)
    train = [line for line in lines if line["kind"] == "train"]
    rate = axes[0].twinx()
    epochs = [_epoch(line, steps_per_epoch) for line in train]
    rate.step(epochs, [line["rate"] for line in train], RATE_COLOR, lw=1)
    rate.set_yscale("log")
    rate.set_ylabel("learning rate", color=RATE_COLOR)
    rate.tick_params(axis="y", which="both", colors=RATE_COLOR)
    rate.spines[["top"]].set_visible(False)
    axes[0].set_zorder(rate.get_zorder() + 1)
    axes[0].patch.set_visible(False)
    axes[0].set(xlabel="epoch", ylabel="loss", xlim=(0, None), ylim=(0, None))
    axes[1].set(xlabel="epoch", ylabel="error (%)", xlim=(0, None), ylim=(0, 100))
    for axis, own in zip(axes, ends, strict=True):
        axis.legend(frameon=False)
        _write_ends(axis, own)
    figure.suptitle(folder.resolve().name)
    save_figure(figure, folder / "curves.png")


def draw_runs(path: Path, runs: Sequence[Path]) -> list[tuple[Path, float, float, float]]:
    """Write a PNG of the training loss and validation top-1 error of several runs, by epoch.

    Returns (run, best error, epoch of the best, last error), errors in percent, for every run that has validations.
    Raises InputError for a folder without a log.
    """
    figure, axes = new_figure(2, (11, 4.4))
    ends: list[list[End]] = [[], []]
    found = []
    for number, run in enumerate(runs):
        lines = read_log(run / LOG)
        val = [line for line in lines if line["kind"] == "val" and line.get("epoch")]
        train = [line for line in lines if line["kind"] == "train"]
        if not train:
            lacks = f"no training numbers in {LOG}" if run.exists() else "no such folder"
            raise InputError(f"{run}: {lacks}; name a folder that 'alextrain' wrote")
        steps_per_epoch = val[-1]["step"] / val[-1]["epoch"] if val else train[-1]["step"]
        name = run.resolve().name
        style = run_style(number)
        epochs = [_epoch(line, steps_per_epoch) for line in train]
        ends[0] += _line(axes[0], epochs, [line["loss"] for line in train], "{:.2f}", lw=1, **style, label=name)
        if val:
            epochs, errors = [line["epoch"] for line in val], [100 * line["top1_error"] for line in val]
            best = _mark_best(axes[1], epochs, errors, style["color"])
            name = f"{name} (best {errors[best]:.1f} % at {epochs[best]})"
            ends[1] += _line(axes[1], epochs, errors, "{:.1f} %", marker="o", ms=3.5, **style, label=name)
            found.append((run, errors[best], epochs[best], errors[-1]))
    axes[0].set(xlabel="epoch", ylabel="training loss", xlim=(0, None), ylim=(0, None))
    axes[1].set(xlabel="epoch", ylabel="validation top-1 error (%)", xlim=(0, None), ylim=(0, None))
    for axis, own in zip(axes, ends, strict=True):
        if own and len(runs) <= MAX_LEGEND:
            axis.legend(frameon=False, fontsize=9)
        _write_ends(axis, own)
    save_figure(figure, path)
    return found


End = tuple[float, float, str, str]
"""The end point of a line (x, y), its last value as text, and its color."""


def _line(axis: Any, x: list[float], y: list[float], words: str, **style: Any) -> list[End]:
    """Draw one line; return its end for `_write_ends`, or nothing if it has no points."""
    axis.plot(x, y, **style)
    return [(x[-1], y[-1], words.format(y[-1]), style["color"])] if x else []


def _mark_best(axis: Any, x: list[float], y: list[float], color: str) -> int:
    """Draw a ring around the lowest point (the first, if there are several) and return its index."""
    best = int(np.argmin(y))
    axis.plot(x[best], y[best], marker="o", ms=10, mfc="none", mec=color, mew=1.5)
    return best


def _write_ends(axis: Any, ends: list[End]) -> None:
    """Write the last values to the right of the lines, moved apart so that they do not overlap."""
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.figure.canvas.draw()  # constrained layout places the axis only then
    to_points = 72 / axis.figure.dpi
    tops = [axis.transData.transform((x, y))[1] * to_points for x, y, _, _ in ends]
    lowest = -math.inf
    for i in sorted(range(len(ends)), key=tops.__getitem__):
        x, y, words, color = ends[i]
        shift = max(lowest - tops[i], 0.0)
        lowest = tops[i] + shift + 9
        axis.annotate(words, (x, y), (6, shift - 3), textcoords="offset points", fontsize=8, color=color, clip_on=False)


def _epoch(line: dict[str, Any], steps_per_epoch: int) -> float:
    """Finished epochs at a line of the log; older versions did not log epochs in training lines."""
    return float(line.get("epoch", line["step"] / steps_per_epoch))


def draw_filters(path: Path, kernels_KCHW: NDArray[np.float32], num_columns: int) -> None:
    """Write a PNG of all kernels of the first layer in color, one block per column."""
    blocks = [kernel_tiles(kernels, per_row=8) for kernels in np.split(kernels_KCHW, num_columns)]
    height, width = blocks[0].shape[:2]
    figure, axes = new_figure(len(blocks), (5 * len(blocks), 5 * height / width + 0.4))
    for number, (axis, block) in enumerate(zip(axes, blocks, strict=True)):
        axis.imshow(block, interpolation="nearest")
        axis.set_title(f"column {number + 1}" if len(blocks) > 1 else f"{len(kernels_KCHW)} kernels")
        axis.set_axis_off()
    save_figure(figure, path)


def color_fractions(kernels_KCHW: NDArray[np.float32], num_columns: int) -> list[float]:
    """By column, the fraction of the first layer's energy that is color (differs between R, G and B), 0-1."""
    color_KCHW = kernels_KCHW - kernels_KCHW.mean(1, keepdims=True)
    pairs = zip(np.split(color_KCHW, num_columns), np.split(kernels_KCHW, num_columns), strict=True)
    return [float(np.square(color).sum() / max(np.square(all_).sum(), 1e-30)) for color, all_ in pairs]


def kernel_tiles(kernels_KCHW: NDArray[np.float32], per_row: int) -> NDArray[np.float32]:
    """One picture of all kernels, RGB 0-1; each is scaled around gray, so that signs are visible."""
    largest = np.abs(kernels_KCHW).max(axis=(1, 2, 3), keepdims=True)
    pictures = (0.5 + 0.5 * kernels_KCHW / np.maximum(largest, 1e-12)).transpose(0, 2, 3, 1)
    count, height, width, _ = pictures.shape
    rows = -(-count // per_row)
    canvas = np.ones((rows * (height + 1) - 1, per_row * (width + 1) - 1, 3), np.float32)
    for i, picture in enumerate(pictures):
        top, left = i // per_row * (height + 1), i % per_row * (width + 1)
        canvas[top : top + height, left : left + width] = picture
    return canvas


def new_figure(
    per_row: int, inches: tuple[float, float], *, rows: int = 1, heights: Sequence[float] | None = None
) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Not pyplot: it keeps figures alive and may need a display.
    figure = Figure(figsize=inches, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, per_row, squeeze=False, height_ratios=heights).flat)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_figure(figure: Any, path: Path) -> None:
    with whole_file(path) as file:
        figure.savefig(file, dpi=120, format="png")
