"""Plots of a set's colors: the mean image, and the principal directions of its pixels in the RGB cube."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..format.files import whole_file
from ..format.stats import ColorStatistics

SWATCH_SIGMAS = 2.5
ARROW_SIGMAS = 1.5
COMPONENT_COLORS = ("#111111", "#d1495b", "#2a6f97")


def save_mean_image(path: Path, mean_image_HWC: NDArray[np.float64]) -> None:
    """Write the mean image (float, 0-255) as a PNG, rounded to the nearest gray level."""
    with whole_file(path) as file:
        Image.fromarray(np.rint(mean_image_HWC).astype(np.uint8)).save(file, "PNG")


def save_pca_plot(
    path: Path,
    *,
    title: str,
    color: ColorStatistics,
    mean_image_HWC: NDArray[np.float64],
    pixels_PC: NDArray[np.uint8],
) -> None:
    """Write one figure: the mean image, pixels and eigenvectors in the RGB cube, and a color swatch per eigenvector.

    `pixels_PC` is a sample of pixels, uint8 RGB, drawn as a point cloud.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.5, 5.6), dpi=120, facecolor="white", layout="constrained")
    grid = figure.add_gridspec(3, 3, width_ratios=(1, 1.35, 1))
    figure.suptitle(title, fontsize=14, fontweight="bold")

    axes = figure.add_subplot(grid[:, 0])
    axes.imshow(mean_image_HWC / 255)
    axes.set_axis_off()
    red, green, blue = color.mean_C
    axes.set_title(f"mean image\nmean RGB {red:.1f}  {green:.1f}  {blue:.1f}", fontsize=11)

    cube = figure.add_subplot(grid[:, 1], projection="3d")
    _draw_cube(cube, color, pixels_PC)

    for k in range(3):
        axes = figure.add_subplot(grid[k, 2])
        _draw_swatch(axes, color, k, color.shares_K[k])
    with whole_file(path) as file:
        figure.savefig(file, format="png", metadata={"Software": None})


def _draw_cube(cube: Any, color: ColorStatistics, pixels_PC: NDArray[np.uint8]) -> None:
    cube.scatter(*pixels_PC.T, c=pixels_PC / 255, s=5, alpha=0.55, linewidths=0, depthshade=False)
    mean_C = np.array(color.mean_C)
    for k, (sigma, vector) in enumerate(zip(color.standard_deviations_K, color.eigenvectors_KC, strict=True)):
        reach_C = ARROW_SIGMAS * sigma * np.array(vector)
        ends = np.stack([mean_C - reach_C, mean_C + reach_C]).T
        cube.plot(*ends, color="white", linewidth=6, solid_capstyle="round", zorder=10 + k)
        cube.plot(*ends, color=COMPONENT_COLORS[k], linewidth=3, solid_capstyle="round", zorder=20 + k)
        cube.text(
            *(mean_C + reach_C + 9 * np.array(vector)),
            f"{k + 1}",
            color=COMPONENT_COLORS[k],
            fontsize=12,
            fontweight="bold",
        )
    cube.set(xlim=(0, 255), ylim=(0, 255), zlim=(0, 255), xlabel="red", ylabel="green", zlabel="blue")
    for axis in (cube.xaxis, cube.yaxis, cube.zaxis):
        axis.set_ticks([0, 128, 255])
        axis.pane.set_facecolor("#f6f6f6")
    cube.tick_params(labelsize=8, colors="#555555", pad=0)
    cube.set_box_aspect((1, 1, 1), zoom=1.0)
    cube.set_proj_type("ortho")
    cube.view_init(elev=16, azim=-22)  # none of the three typical directions points at the viewer
    cube.set_title(f"pixels and principal directions, mean ± {ARROW_SIGMAS:g} σ", fontsize=11, pad=14)


def _draw_swatch(axes: Any, color: ColorStatistics, k: int, share: float) -> None:
    sigma, vector = color.standard_deviations_K[k], color.eigenvectors_KC[k]
    steps_S = np.linspace(-SWATCH_SIGMAS, SWATCH_SIGMAS, 241)
    colors_SC = np.clip(np.array(color.mean_C) + steps_S[:, None] * sigma * np.array(vector), 0, 255) / 255
    axes.imshow(colors_SC[None], extent=(-SWATCH_SIGMAS, SWATCH_SIGMAS, 0, 1), aspect="auto")
    axes.set_yticks([])
    axes.set_xticks(
        [-2, -1, 0, 1, 2], ["−2σ", "−1σ", "mean", "+1σ", "+2σ"] if k == 2 else [""] * 5, fontsize=9, color="#444444"
    )
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    red, green, blue = vector
    axes.set_title(
        f"{k + 1}:  σ {sigma:.2f}   ({100 * share:.1f} %)   r {red:+.3f}  g {green:+.3f}  b {blue:+.3f}",
        fontsize=10,
        loc="left",
        color=COMPONENT_COLORS[k],
    )
