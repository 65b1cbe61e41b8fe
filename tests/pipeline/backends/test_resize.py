"""The compiled resizing is compared with NumPy's."""

import numpy as np
import pytest

from alexkit.pipeline.augment.plan import Views
from alexkit.pipeline.backends import reference
from alexkit.pipeline.backends.resize import Resizer
from alexkit.prep.format.compiled import Team

SIZES = [
    ((1, 1), (1, 1)), ((1, 1), (7, 3)), ((1, 9), (4, 4)), ((2, 2), (5, 1)), ((3, 2), (224, 224)), ((37, 41), (37, 41)),
    ((64, 64), (63, 65)), ((165, 181), (224, 224)), ((224, 224), (112, 112)), ((333, 500), (224, 224)),
    ((500, 90), (40, 72)), ((911, 1300), (32, 32)), ((97, 211), (1, 1)),
]  # fmt: skip


def resized(images: list[np.ndarray], sizes: list[tuple[int, int]], threads: int = 2) -> list[np.ndarray]:
    """By the compiled kernel, as whole images."""
    team = Team(threads)
    resizer = Resizer((0, 0), team, cuts_boxes=False)
    data = np.concatenate([image.reshape(-1) for image in images])
    starts_B = np.concatenate([[0], np.cumsum([image.size for image in images])])[:-1]
    number = len(images)
    views = Views(
        offsets_BV2=np.zeros((number, 1, 2), np.float32),
        mirrors_BV=np.zeros((number, 1), bool),
        means_B3=np.zeros((number, 3), np.float32),
        sizes_B2=np.array(sizes, np.int32),
    )
    out, starts_out_B, _ = resizer.resize(data, starts_B, np.array([image.shape[:2] for image in images]), views)
    team.close()
    return [
        out[start : start + 3 * height * width].reshape(height, width, 3).copy()
        for start, (height, width) in zip(starts_out_B, sizes, strict=True)
    ]


@pytest.mark.parametrize(("old", "new"), SIZES, ids=str)
def test_it_is_what_numpy_gives(old: tuple[int, int], new: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*old, 3), dtype=np.uint8)
    difference = np.abs(resized([image], [new])[0].astype(int) - reference.resize(image, new))
    assert difference.max() <= 1 and (difference > 0).mean() <= 1e-3


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
@pytest.mark.parametrize("new", [(5, 300), (91, 7)])
def test_an_even_color_keeps_its_level(level: int, new: tuple[int, int]) -> None:
    (out,) = resized([np.full((37, 53, 3), level, np.uint8)], [new])
    assert (out == level).all()


def test_a_batch_gives_what_each_image_gives_alone_with_any_number_of_threads() -> None:
    draw = np.random.default_rng(1)
    images = [draw.integers(0, 256, (*old, 3), dtype=np.uint8) for old, _ in SIZES]
    alone = [resized([image], [new])[0] for image, (_, new) in zip(images, SIZES, strict=True)]
    for threads in (1, 3, 40):
        together = resized(images, [new for _, new in SIZES], threads)
        assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))
