"""Pictures of a run: curves of loss and error, and the first layer's kernels by column (paper, Figure 3)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...prep.format.files import whole_file
from ..runs.log import read_log
from ..runs.run import LOG

TRAIN_COLOR, VAL_COLOR, RATE_COLOR = "#1f6f8b", "#d1495b", "#9a9a9a"


def draw_curves(folder: Path, steps_per_epoch: int) -> None:
    """Write `folder/curves.png` from the run's log: loss and error of training and validation, and the rate."""
    lines = read_log(folder / LOG)
    figure, axes = new_figure(2, (10, 4))
    for kind, color, label in (("train", TRAIN_COLOR, "training"), ("val", VAL_COLOR, "validation")):
        mine = [line for line in lines if line["kind"] == kind]
        epochs = [_epoch(line, steps_per_epoch) for line in mine]
        marker = "o" if kind == "val" else None
        axes[0].plot(epochs, [line["loss"] for line in mine], color, marker=marker, ms=4, label=label)
        errors = [100 * line["top1_error"] for line in mine]
        axes[1].plot(epochs, errors, color, marker=marker, ms=4, label=f"{label}, top-1")
        if kind == "val":
            errors = [100 * line["top5_error"] for line in mine]
            axes[1].plot(epochs, errors, color, ls="--", marker="o", ms=3, lw=1, label=f"{label}, top-5")
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
    for axis in axes:
        axis.legend(frameon=False)
    figure.suptitle(folder.resolve().name)
    save_figure(figure, folder / "curves.png")


def _epoch(line: dict[str, Any], steps_per_epoch: int) -> float:
    """Finished epochs at a line of the log; older versions wrote no epochs of training."""
    return float(line.get("epoch", line["step"] / steps_per_epoch))


def draw_filters(path: Path, kernels_KCHW: NDArray[np.float32], num_columns: int) -> None:
    """Write a PNG: every kernel of the first layer in color, one block per column."""
    blocks = [kernel_tiles(kernels, per_row=8) for kernels in np.split(kernels_KCHW, num_columns)]
    height, width = blocks[0].shape[:2]
    figure, axes = new_figure(len(blocks), (5 * len(blocks), 5 * height / width + 0.4))
    for number, (axis, block) in enumerate(zip(axes, blocks, strict=True)):
        axis.imshow(block, interpolation="nearest")
        axis.set_title(f"column {number + 1}" if len(blocks) > 1 else f"{len(kernels_KCHW)} kernels")
        axis.set_axis_off()
    save_figure(figure, path)


def color_fractions(kernels_KCHW: NDArray[np.float32], num_columns: int) -> list[float]:
    """By column, the part of the first layer's energy that is color: what differs between R, G and B; 0-1."""
    color_KCHW = kernels_KCHW - kernels_KCHW.mean(1, keepdims=True)
    pairs = zip(np.split(color_KCHW, num_columns), np.split(kernels_KCHW, num_columns), strict=True)
    return [float(np.square(color).sum() / max(np.square(all_).sum(), 1e-30)) for color, all_ in pairs]


def kernel_tiles(kernels_KCHW: NDArray[np.float32], per_row: int) -> NDArray[np.float32]:
    """One picture of all kernels, 0-1 RGB; each is stretched about gray, so that its sign shows."""
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

    # Not pyplot: it keeps figures alive and may want a display.
    figure = Figure(figsize=inches, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, per_row, squeeze=False, height_ratios=heights).flat)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save_figure(figure: Any, path: Path) -> None:
    with whole_file(path) as file:
        figure.savefig(file, dpi=120, format="png")
