"""Resized boxes, color, erasing and normalization: every backend is compared with NumPy."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from alexkit.pipeline import (
    Augmentation,
    CenterCrop,
    ColorJitter,
    Loader,
    RandomErasing,
    RandomResizedCrop,
    TenViews,
    TrainAugment,
)
from alexkit.pipeline.augment.kernels import draw_boxes, draw_colors, draw_erased
from alexkit.pipeline.backends import reference
from alexkit.pipeline.epochs.schedule import LocalBatch
from alexkit.pipeline.remote import StoredImages
from alexkit.pipeline.storage import Samples, Stored, stored_shapes
from alexkit.prep import ShardSet

from ...conftest import draw_image, write_shard_set


def same(node: Any) -> Any:
    return node


def draw_oblong(number: int, label: int, size_px: int) -> np.ndarray:
    image = draw_image(number, label, 2 * size_px)[: size_px + 3 * number, :size_px]
    return image.transpose(1, 0, 2) if number % 2 else image


@pytest.fixture(scope="module", params=["jpeg", "png"])
def whole_images(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """Forty images of 64 px at the shorter side, tall and wide."""
    folder = tmp_path_factory.mktemp(request.param) / "set"
    return write_shard_set(folder, fit="shorter", format=request.param, draw=draw_oblong)


COLOR = ColorJitter(brightness=0.4, contrast=0.3, saturation=0.5, hue=0.1)
AUGMENTS: list[Augmentation] = [
    RandomResizedCrop(crop=48),
    RandomResizedCrop(crop=(40, 72), mean="none", std="none", scale=(0.3, 0.5), ratio=(0.5, 2), flip=False),
    RandomResizedCrop(crop=33, mean="channel", std="channel", jitter="paper", pixel_range="0-1", color=COLOR),
    RandomResizedCrop(crop=48, grayscale=0.5, erasing=RandomErasing(probability=0.8)),
    CenterCrop(crop=48, resize=56, mean="imagenet", std="imagenet", pixel_range="0-1"),
    CenterCrop(crop=(70, 50), resize=80, mean=(1.0, 2.0, 3.0), std=(50.0, 60.0, 70.0)),
    CenterCrop(crop=48, std=58.0),
    TenViews(crop=40, resize=51, mean="channel"),
    TrainAugment(crop=48, mean="none", jitter="off", color=COLOR, grayscale=0.3),
    TrainAugment(crop=(48, 40), std="channel", erasing=RandomErasing(probability=1.0, scale=(0.1, 0.2))),
]


def expected_batch(folder: Path, augment: Augmentation, seed: int, indices: list[int]) -> np.ndarray:
    """The first epoch's batch of these samples by NumPy, from the same draws."""
    shard_set = ShardSet.open(folder)
    plan, stored = augment.plan(shard_set), StoredImages(shard_set)
    images = [np.asarray(Image.open(io.BytesIO(stored.content(i))).convert("RGB")) for i in indices]
    numbers = np.array(indices)
    batch = LocalBatch(
        epoch=0, numbers_B=numbers, indices_B=numbers, draws_B=numbers, mask_B=np.ones(len(indices), bool)
    )
    views = plan.views(seed, batch, np.array([image.shape[:2] for image in images]))
    rows = []
    for row, pixels in enumerate(images):
        if views.boxes_B4 is not None:
            top, left, height, width = views.boxes_B4[row]
            pixels = reference.resize(pixels[top : top + height, left : left + width], plan.crop_HW)
        if views.sizes_B2 is not None:
            pixels = reference.resize(pixels, tuple(views.sizes_B2[row].tolist()))
        if views.colors_B34 is not None:
            pixels = reference.map_colors(pixels, views.colors_B34[row])
        finished = []
        for offset, mirror in zip(views.offsets_BV2[row], views.mirrors_BV[row], strict=True):
            x_CHW = reference.finish(plan, pixels, offset, bool(mirror), views.means_B3[row])
            if views.erased_B4 is not None:
                top, left, height, width = views.erased_B4[row]
                x_CHW[:, top : top + height, left : left + width] = 0
            finished.append(x_CHW)
        rows.append(finished[0] if len(finished) == 1 else np.stack(finished))
    return np.stack(rows) * 1.0


@pytest.mark.parametrize("augment", AUGMENTS, ids=str)
@pytest.mark.parametrize("channels_last", [False, True], ids=["NCHW", "NHWC"])
@pytest.mark.parametrize("operators", [None, same], ids=["compiled", "dali"])
def test_batches_are_what_numpy_gives(
    whole_images: Path, augment: Augmentation, channels_last: bool, operators: Any
) -> None:
    options: dict[str, Any] = {"seed": 5, "channels_last": channels_last, "operators": operators}
    with Loader(whole_images, batch_size=16, augment=augment, **options) as loader:
        batch = next(iter(loader))
    expected = expected_batch(whole_images, augment, 5, batch.indices.tolist())
    assert tuple(batch.images.shape) == expected.shape
    gain_C = augment.plan(ShardSet.open(whole_images)).normalization.gain_C
    levels = np.abs(batch.images.numpy() - expected) / gain_C[:, None, None]
    # A resized pixel, and one with a mapped color, may be rounded differently.
    resized, twisted = augment.plan(ShardSet.open(whole_images)).sampling != "stored", "ColorJitter(" in str(augment)
    of_resizing = (1.01 if operators is None else 3.01) * resized
    assert levels.max() <= of_resizing * (2 if twisted else 1) + 1.01 * twisted + 1e-2
    assert levels.mean() <= (0.4 if twisted else 0.2 if operators else 0.02)  # where a sum is close to a half


@pytest.mark.parametrize("operators", [None, same], ids=["compiled", "dali"])
def test_a_raw_set_gives_resized_boxes_too(draw_shards: Any, operators: Any) -> None:
    augment = RandomResizedCrop(crop=40, mean="none", std="none")
    with Loader(draw_shards(format="raw"), batch_size=8, augment=augment, operators=operators) as loader:
        raw = next(iter(loader)).images
    with Loader(draw_shards(format="png"), batch_size=8, augment=augment) as loader:
        assert (next(iter(loader)).images - raw).abs().max() <= (3 if operators else 0)


def test_uint8_batches_may_be_resized_and_colored(whole_images: Path) -> None:
    augment = RandomResizedCrop(crop=40, mean="none", std="none", color=COLOR, erasing=RandomErasing(probability=1))
    with (
        Loader(whole_images, batch_size=8, augment=augment, dtype=torch.uint8) as loader,
        Loader(whole_images, batch_size=8, augment=augment) as floats,
    ):
        for batch, other in zip(loader, floats, strict=True):
            assert batch.images.dtype == torch.uint8 and torch.equal(batch.images.float(), other.images)


def test_imagenet_normalization_is_torchvisions(draw_shards: Any) -> None:
    with (
        Loader(draw_shards(), batch_size=8, augment=CenterCrop(crop=56, mean="none"), dtype=torch.uint8) as pixels,
        Loader(
            draw_shards(),
            batch_size=8,
            augment=CenterCrop(crop=56, mean="imagenet", std="imagenet", pixel_range="0-1"),
        ) as loader,
    ):
        x = next(iter(pixels)).images.float() / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        expected = (x - mean[:, None, None]) / std[:, None, None]
        assert (next(iter(loader)).images - expected).abs().max() < 1e-5


def test_a_channels_own_statistics_give_mean_0_and_deviation_1(draw_shards: Any) -> None:
    augment = CenterCrop(crop=64, mean="channel", std="channel")
    with Loader(draw_shards(format="png"), batch_size=40, augment=augment) as loader:
        images = next(iter(loader)).images
    assert images.mean((0, 2, 3)).abs().max() < 1e-3
    assert (images.std((0, 2, 3)) - 1).abs().max() < 1e-3


def test_channels_that_do_not_vary_are_refused_by_name(tmp_path: Path) -> None:
    def flat(number: int, label: int, size_px: int) -> np.ndarray:
        image = draw_image(number, label, size_px)
        image[..., 1:] = 90, 255
        return image

    folder = write_shard_set(tmp_path / "set", num_samples=4, samples_per_shard=4, format="png", draw=flat)
    for augment in (TrainAugment(crop=8, std="channel"), CenterCrop(crop=8, mean="none", std="channel")):
        with pytest.raises(ValueError, match=r"set: pixels do not vary in G, B, so std='channel' would divide by 0"):
            augment.plan(ShardSet.open(folder))


@pytest.fixture(scope="module")
def ramps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 images of 71 x 64 and 64 x 71 px, whose first two colors say where a pixel is."""

    def ramp(number: int, label: int, size_px: int) -> np.ndarray:
        image = np.zeros((size_px + 7, size_px, 3), np.uint8)
        image[..., 0], image[..., 1] = np.arange(size_px + 7)[:, None], np.arange(size_px)
        return image.transpose(1, 0, 2) if number % 2 else image

    folder = tmp_path_factory.mktemp("ramps") / "set"
    return write_shard_set(folder, num_samples=400, samples_per_shard=400, fit="shorter", format="png", draw=ramp)


@pytest.mark.parametrize("operators", [None, same], ids=["compiled", "dali"])
@pytest.mark.parametrize("crop", [64, 63, (64, 60)], ids=str)
def test_whole_images_are_cropped_anywhere_along_their_own_sides(ramps: Path, operators: Any, crop: Any) -> None:
    """Every offset is equally likely, whatever slack the square of the shorter side has."""
    augment = TrainAugment(crop=crop, mean="none", jitter="off", flip=False)
    options: dict[str, Any] = {"operators": operators, "target": lambda example: example.offset}
    with Loader(ramps, batch_size=100, augment=augment, dtype=torch.uint8, **options) as loader:
        batches = list(loader)
    indices, corners, offsets = (
        torch.cat([get(batch) for batch in batches]).numpy()
        for get in (lambda b: b.indices, lambda b: b.images[:, :, 0, 0], lambda b: torch.stack(b.targets, 1))
    )
    height, width = augment.crop_HW
    for odd in (0, 1):
        shape = np.array((64, 71) if odd else (71, 64))
        tops_lefts = corners[indices % 2 == odd][:, [1, 0] if odd else [0, 1]].astype(int)
        slack = shape - (height, width)
        for axis in (0, 1):
            counts = np.bincount(tops_lefts[:, axis], minlength=slack[axis] + 1)
            assert len(counts) == slack[axis] + 1
            # The chi-square of at most 11 degrees of freedom: exceeded once in 10,000 seeds.
            assert ((counts - 200 / len(counts)) ** 2 / (200 / len(counts))).sum() < 37
        expected = np.where(slack > 0, tops_lefts / np.maximum(slack, 1), 0.5)
        assert np.abs(offsets[indices % 2 == odd] - expected).max() < 1e-6


@pytest.mark.parametrize("shape", [(100, 200), (300, 90), (64, 64)])
def test_boxes_are_drawn_as_torchvision_describes(shape: tuple[int, int]) -> None:
    numbers = np.arange(20_000)
    boxes = draw_boxes(1, 0, numbers, np.tile(shape, (len(numbers), 1)), (0.2, 0.9), (3 / 4, 4 / 3)).astype(float)
    top, left, height, width = boxes.T
    assert top.min() >= 0 and left.min() >= 0 and (top + height).max() <= shape[0] and (left + width).max() <= shape[1]
    area, aspect = height * width / (shape[0] * shape[1]), np.log(width / height)
    assert area.min() > 0.18 and area.max() < 0.92
    if shape == (64, 64):
        # When hardly any try fails, the area is uniform, and the aspect ratio is uniform in its logarithm.
        assert abs(np.quantile(area[area < 0.6], 0.5) - 0.4) < 0.01
        assert abs(aspect[area < 0.6].mean()) < 0.01
    same_boxes = draw_boxes(1, 0, numbers[100:200], np.tile(shape, (100, 1)), (0.2, 0.9), (3 / 4, 4 / 3))
    assert (boxes[100:200] == same_boxes).all()  # whatever the batch


def test_an_image_with_no_fitting_box_gives_its_central_crop() -> None:
    shapes = np.array([[10, 1000], [1000, 10]])
    boxes = draw_boxes(0, 0, np.arange(2), shapes, (1.0, 1.0), (3 / 4, 4 / 3))
    assert boxes.tolist() == [[0, 493, 10, 13], [493, 0, 13, 10]]


def test_color_maps_keep_their_promises() -> None:
    numbers = np.arange(5000)
    gray = np.array([100.0, 100, 100])
    none = draw_colors(0, 0, numbers[:3], (0, 0, 0, 0), 0.0)
    assert np.abs(none - np.eye(3, 4)).max() < 1e-6
    brightness = draw_colors(0, 0, numbers, (0.4, 0, 0, 0), 0.0)[:, 0, 0]
    assert 0.6 <= brightness.min() < 0.61 and 1.39 < brightness.max() <= 1.4 and abs(brightness.mean() - 1) < 0.01
    contrast = draw_colors(0, 0, numbers, (0, 0.4, 0, 0), 0.0)
    assert np.abs(contrast[:, :, :3] @ np.full(3, 128.0) + contrast[:, :, 3] - 128).max() < 1e-3
    for widths, grayscale in (((0, 0, 0.9, 0.0), 0.0), ((0, 0, 0, 0.5), 0.0), ((0, 0, 0.5, 0.2), 1.0)):
        maps = draw_colors(0, 0, numbers, widths, grayscale)
        assert np.abs(maps[:, :, :3] @ gray + maps[:, :, 3] - gray).max() < 1  # gray stays gray
    rows = draw_colors(0, 0, numbers, (0, 0, 0.5, 0.2), 0.25)
    assert abs((np.ptp(rows[:, :, 0], axis=1) < 1e-6).mean() - 0.25) < 0.02


def test_a_rectangle_is_erased_as_often_and_as_large_as_asked() -> None:
    erased = draw_erased(0, 0, np.arange(10_000), (64, 48), 0.25, (0.1, 0.3), (0.5, 2.0))
    top, left, height, width = erased.T
    hit = height > 0
    assert abs(hit.mean() - 0.25) < 0.015
    assert (top + height).max() <= 64 and (left + width).max() <= 48
    area = (height * width)[hit] / (64 * 48)
    assert area.min() > 0.09 and area.max() < 0.31


def test_shapes_are_read_from_headers(whole_images: Path) -> None:
    samples, stored = Samples([ShardSet.open(whole_images)]), StoredImages(ShardSet.open(whole_images))
    images, _ = samples.find(np.arange(40))
    shapes = stored_shapes(samples.data, images, 64)
    for index in range(40):
        with Image.open(io.BytesIO(stored.content(index))) as image:
            assert tuple(shapes[index]) == (image.height, image.width)
    noise = np.random.default_rng(0).integers(0, 256, 5000, np.uint8)
    noise[:2] = 0xFF, 0xD8
    for size in range(0, 600, 7):
        piece = Stored(starts_B=np.zeros(1, np.int64), sizes_B=np.array([size], np.int32))
        stored_shapes(noise, piece, 64)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandomResizedCrop(mean="center"), "mean 'center' is an image"),
        (lambda: RandomResizedCrop(scale=(0.5, 0.1)), "scale must be two numbers, the minimum first"),
        (lambda: RandomResizedCrop(ratio=1.0), "ratio must be two numbers"),  # type: ignore[arg-type]
        (lambda: CenterCrop(resize=0), "resize must be"),
        (lambda: CenterCrop(std=0.0), "std must be above 0"),
        (lambda: CenterCrop(mean=(0.485, 0.456, 0.406)), r"mean \(0.485, .* is for pixels in 0-1, but pixel_range is"),
        (lambda: TrainAugment(mean=120.0, std=0.225), "std 0.225 is for pixels in 0-1, but pixel_range is '0-255'"),
        (lambda: RandomResizedCrop(mean=123.7, pixel_range="0-1"), "mean 123.7 is for pixels in 0-255"),
        (lambda: CenterCrop(mean=0.5, std=58.0, pixel_range="0-1"), "std 58.0 is for pixels in 0-255"),
        (lambda: CenterCrop(std=(1.0, 2.0, -1.0)), "std must be above 0"),
        (lambda: CenterCrop(pixel_range=(0, 1)), "pixel_range must be one of"),  # type: ignore[arg-type]
        (lambda: ColorJitter(hue=0.6), "hue must be in"),
        (lambda: TrainAugment(color=0.4), r"color must be ColorJitter"),  # type: ignore[arg-type]
        (lambda: TrainAugment(grayscale=1.5), "grayscale must be in"),
        (lambda: RandomErasing(probability=2), "probability must be in"),
    ],
)
def test_wrong_choices_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_resizing_matches_pillow_up_to_rounding(whole_images: Path) -> None:
    augment = CenterCrop(crop=40, resize=45, mean="none")
    with Loader(whole_images, batch_size=8, augment=augment) as loader:
        batch = next(iter(loader))
    stored = StoredImages(ShardSet.open(whole_images))
    for row, index in enumerate(batch.indices.tolist()):
        image = Image.open(io.BytesIO(stored.content(index))).convert("RGB")
        width, height = (45 * side // min(image.size) for side in image.size)
        resized = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).astype(float)
        top, left = (height - 40 + 1) // 2, (width - 40 + 1) // 2
        difference = np.abs(resized[top : top + 40, left : left + 40] - batch.images[row].permute(1, 2, 0).numpy())
        assert difference.max() <= 4 and difference.mean() < 0.4


def test_a_mean_image_of_another_size_is_refused(draw_shards: Any) -> None:
    with pytest.raises(ValueError, match="the mean image has 64 px, but images are resized to 80 px"):
        Loader(draw_shards(), batch_size=8, augment=CenterCrop(crop=56, resize=80))
