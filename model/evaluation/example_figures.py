"""Pictures of single images: their most likely classes (paper, Figure 4, left) and their nearest neighbors (right)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...pipeline.remote import StoredImages
from ...prep import ShardSet
from ...prep.images.geometry import central_square
from ...prep.images.stored import decode_stored
from ...prep.reports.fonts import font_for
from .figures import TRAIN_COLOR, VAL_COLOR, new_figure, save_figure
from .image_files import ImageAnswer
from .result import EvaluationResult
from .trained import TrainedNetwork

NUM_DRAWN = 8
PER_ROW = 4


def draw_predictions(path: Path, result: EvaluationResult, shard_set: ShardSet, count: int = NUM_DRAWN) -> None:
    """Write a PNG of the first images of an evaluated set, with their labels and five most likely classes."""
    pictures = _stored(shard_set, range(min(count, len(result.keys))))
    probabilities = result.final.probabilities[result.final.main_view]
    names = [entry.name for entry in result.classes]
    labels = [int(label) for label in result.labels_N[: len(pictures)]]
    titles = [names[label] if label >= 0 else key for label, key in zip(labels, result.keys, strict=False)]
    _draw_bars(path, pictures, titles, labels, [probabilities[i] for i in range(len(pictures))], names)


def draw_answers(path: Path, network: TrainedNetwork, answers: Sequence[ImageAnswer]) -> None:
    """Write a PNG of individual images, cropped as for the network, with their five most likely classes."""
    shown = [
        (answer.crop_HWC, _title(answer), answer.probabilities_C)
        for answer in answers
        if answer.crop_HWC is not None and answer.probabilities_C is not None
    ]
    pictures, titles, rows = zip(*shown[:NUM_DRAWN], strict=True)
    _draw_bars(path, pictures, titles, [-1] * len(pictures), rows, network.class_names)


def draw_neighbors(path: Path, answers: Sequence[ImageAnswer], shard_set: ShardSet, rows_QK: NDArray[np.int64]) -> None:
    """Write a PNG with one row per image, of the first images: the image, then its neighbors in `shard_set`.

    Args:
        path: the PNG.
        answers: the images; the first `NUM_DRAWN` hold their crops.
        shard_set: the set of the neighbors.
        rows_QK: the neighbors' indices, one row per image.
    """
    shown = list(zip(answers, rows_QK, strict=True))[:NUM_DRAWN]
    figure, axes = new_figure(1 + rows_QK.shape[1], (1.5 * (1 + rows_QK.shape[1]), 1.7 * len(shown)), rows=len(shown))
    for axis in axes:
        axis.set_axis_off()
    for number, (answer, row) in enumerate(shown):
        assert answer.crop_HWC is not None
        pictures = [answer.crop_HWC, *_stored(shard_set, row.tolist())]
        for place, picture in enumerate(pictures):
            axes[number * (1 + len(row)) + place].imshow(picture)
        name = _title(answer)
        axes[number * (1 + len(row))].set_title(_short(name), **_letters(name, 8))
    save_figure(figure, path)


def _title(answer: ImageAnswer) -> str:
    return "standard input" if answer.name == "-" else Path(answer.name).name


def _stored(shard_set: ShardSet, indices: Sequence[int]) -> list[NDArray[np.uint8]]:
    images, pixels = StoredImages(shard_set), shard_set.manifest.pixels
    return [central_square(decode_stored(images.content(i), pixels)) for i in indices]


def _draw_bars(
    path: Path,
    pictures: Sequence[NDArray[np.uint8]],
    titles: Sequence[str],
    labels: Sequence[int],
    probabilities: Sequence[NDArray[np.float32]],
    names: Sequence[str],
) -> None:
    """Write a PNG of pictures with bars below them; the label's bar has another color and a check mark."""
    num_rows = -(-len(pictures) // PER_ROW)
    figure, axes = new_figure(PER_ROW, (2.3 * PER_ROW, 3.4 * num_rows), rows=2 * num_rows, heights=[3, 1.4] * num_rows)
    for i in range(num_rows * PER_ROW):
        picture, bars = (axes[(2 * (i // PER_ROW) + below) * PER_ROW + i % PER_ROW] for below in (0, 1))
        picture.set_axis_off()
        bars.set_axis_off()
        if i >= len(pictures):
            continue
        picture.imshow(pictures[i])
        picture.set_title(_short(titles[i]), **_letters(titles[i], 10))
        likeliest = np.argsort(-probabilities[i], kind="stable")[:5]
        colors = [VAL_COLOR if k == labels[i] else TRAIN_COLOR for k in likeliest]
        bars.barh(range(len(likeliest)), probabilities[i][likeliest], color=colors, alpha=0.55)
        for place, k in enumerate(likeliest):
            mark = "✓ " if k == labels[i] else ""
            bars.text(0.02, place, mark + _short(names[k]), va="center", **_letters(names[k], 8))
        bars.set(xlim=(0, 1), ylim=(4.5, -0.5))
    save_figure(figure, path)


def _letters(text: str, size: int) -> dict[str, Any]:
    """Text properties for `text`: its size, and a font that has its letters if Matplotlib's default does not."""
    path = font_for(text)
    return {"fontsize": size} if path is None else {"font": path, "fontsize": size}


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"
