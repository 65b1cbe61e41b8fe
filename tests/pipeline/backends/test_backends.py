from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alexkit.pipeline import Augmentation, CenterCrop, Loader, RandomResizedCrop, TenViews, TrainAugment
from alexkit.pipeline.augment import FixedViews, RandomViews
from alexkit.pipeline.backends import BackendOptions, dali_graph
from alexkit.pipeline.backends.reference import decode, finish
from alexkit.pipeline.epochs.draws import draw
from alexkit.prep import ShardSet

from ...conftest import draw_image, write_shard_set


def reference_batch(folder: Path, augment: Augmentation, seed: int, indices: list[int]) -> np.ndarray:
    """What the first epoch's batch of these samples must hold: (B, 3, H, W), or (B, views, 3, H, W)."""
    shard_set = ShardSet.open(folder)
    plan = augment.plan(shard_set)
    pixels = shard_set.manifest.pixels
    numbers = np.array(indices)
    images = [decode(stored_bytes(shard_set, i), format=pixels.format, size_px=plan.size_px) for i in indices]
    slack_B2 = np.tile(np.array(plan.num_offsets_HW) - 1, (len(images), 1))
    if isinstance(plan, RandomViews):
        slack_B2 = np.array([image.shape[:2] for image in images]) - plan.crop_HW
    draws = draw(seed, 0, numbers, numbers, slack_B2 + 1)
    rows = []
    for row, image in enumerate(images):
        slack = slack_B2[row]
        mean = plan.normalization.mean_C
        if isinstance(plan, RandomViews):
            mean = mean - (0 if plan.shift_KC is None else draws.alpha_B3[row] @ plan.shift_KC)
            corners = [(*draws.crop_B2[row], bool(draws.mirror_B[row]) and plan.flip)]
        else:
            assert isinstance(plan, FixedViews)
            corners = [(view.top, view.left, view.mirror) for view in plan.fixed]
        views = []
        for top, left, mirror in corners:
            offset = np.where(slack > 0, np.array([top, left]) / np.maximum(slack, 1), 0.5).astype(np.float32)
            views.append(finish(plan, image, offset, mirror, mean))
        rows.append(views[0] if len(views) == 1 else np.stack(views))
    return np.stack(rows)


def stored_bytes(shard_set: ShardSet, index: int) -> bytes:
    for number, shard in enumerate(shard_set.manifest.shards):
        if index < shard.num_samples:
            rows = shard_set.index(number)
            content = (shard_set.folder / shard.name).read_bytes()
            return content[rows.image_offsets[index] :][: rows.image_sizes[index]]
        index -= shard.num_samples
    raise AssertionError


def same(node: Any) -> Any:
    return node


AUGMENTS: list[Augmentation] = [
    *(TrainAugment(crop=56, mean=mean, jitter="paper") for mean in ("center", "crop", "channel", "none", 117.5)),
    TrainAugment(crop=56, jitter="original"),
    TrainAugment(crop=56, jitter="original", mean="crop"),
    TrainAugment(crop=56, jitter="off", flip=False),
    TrainAugment(crop=64),
    TrainAugment(crop=1),
    *(CenterCrop(crop=55, mean=mean) for mean in ("center", "crop", "channel", "none")),
    *(TenViews(crop=55, mean=mean) for mean in ("center", "crop")),
    TrainAugment(crop=(40, 56)),
    TrainAugment(crop=(56, 33), mean="crop"),
    CenterCrop(crop=(40, 57)),
    TenViews(crop=(40, 56), mean=(120.0, 110.0, 100.0)),
]


@pytest.mark.parametrize("augment", AUGMENTS, ids=str)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("whole_graph", [False, True], ids=["compiled", "dali"])
def test_batches_are_what_the_reference_says(
    draw_shards: Any, augment: Augmentation, channels_last: bool, whole_graph: bool
) -> None:
    folder = draw_shards()
    operators = same if whole_graph else None  # with them DALI does the last step too, as on a GPU
    options: dict[str, Any] = {"seed": 11, "channels_last": channels_last, "operators": operators}
    with Loader(folder, batch_size=8, augment=augment, **options) as loader:
        batch = next(iter(loader))
    expected = reference_batch(folder, augment, 11, batch.indices.tolist())
    assert tuple(batch.images.shape) == expected.shape
    assert batch.images.dtype == torch.float32
    # Relative to the range of pixels: differences of nearly equal numbers have no relative accuracy of their own.
    assert np.abs(batch.images.numpy() - expected).max() <= 1e-5 * 255


@pytest.mark.parametrize(
    ("format", "chroma", "size_px"),
    [("jpeg", "420", 64), ("jpeg", "444", 64), ("png", "444", 64), ("raw", "444", 64), ("raw", "444", 49)],
)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("operators", [None, same], ids=["compiled", "dali"])
def test_pixels_are_bit_for_bit_before_the_float_steps(
    draw_shards: Any, format: str, chroma: str, size_px: int, channels_last: bool, operators: Any
) -> None:
    # Raw images of 49 px end within a word of bytes.
    folder = draw_shards(format=format, chroma=chroma, size_px=size_px)
    augment = TrainAugment(crop=48, mean="none", jitter="off")
    options: dict[str, Any] = {"dtype": torch.uint8, "channels_last": channels_last, "operators": operators}
    with Loader(folder, batch_size=16, augment=augment, seed=2, **options) as loader:
        batch = next(iter(loader))
    assert batch.images.dtype == torch.uint8
    expected = reference_batch(folder, augment, 2, batch.indices.tolist())
    assert (batch.images.numpy() == expected).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.uint8], ids=str)
def test_a_batch_that_is_kept_stays_as_it_is(draw_shards: Any, dtype: torch.dtype) -> None:
    augment = TrainAugment(crop=56, mean="none", jitter="off")
    with Loader(draw_shards(), batch_size=8, augment=augment, dtype=dtype) as loader:
        kept = next(iter(loader)).images
        before = kept.clone()
        assert all(batch.images.data_ptr() != kept.data_ptr() for _ in range(4) for batch in loader)
        assert torch.equal(kept, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_the_rounded_float_batch(draw_shards: Any, dtype: torch.dtype) -> None:
    for augment in (TrainAugment(crop=48), TrainAugment(crop=48, mean="channel")):
        with (
            Loader(draw_shards(), batch_size=16, augment=augment) as exact,
            Loader(draw_shards(), batch_size=16, augment=augment, dtype=dtype) as half,
        ):
            a, b = next(iter(exact)).images, next(iter(half)).images
        assert b.dtype == dtype
        # Within one unit in the last place of 255.
        assert (a - b.float()).abs().max() <= 256 * torch.finfo(dtype).eps


def test_whole_images_are_cropped_along_both_sides(tmp_path: Path) -> None:
    folder = write_shard_set(tmp_path / "set", fit="shorter", draw=draw_oblong)
    for augment in (TrainAugment(crop=48), TenViews(crop=48), CenterCrop(crop=64), TrainAugment(crop=64)):
        for operators in (None, same):
            with Loader(folder, batch_size=8, augment=augment, seed=11, operators=operators) as loader:
                batch = next(iter(loader))
            expected = reference_batch(folder, augment, 11, batch.indices.tolist())
            assert np.abs(batch.images.numpy() - expected).max() <= 1e-5 * 255
    with pytest.raises(ValueError, match="choose mean='center' or 'channel'"):
        Loader(folder, batch_size=8, augment=TrainAugment(crop=48, mean="crop"))


def draw_oblong(number: int, label: int, size_px: int) -> np.ndarray:
    image = draw_image(number, label, 2 * size_px)[: size_px + 3 * number]
    image = image[:, :size_px]
    return image.transpose(1, 0, 2) if number % 2 else image


@pytest.mark.parametrize("augment", [CenterCrop(crop=56), RandomResizedCrop(crop=56)], ids=["whole", "crops"])
def test_the_hardware_jpeg_decoder_gets_the_requested_load(draw_shards: Any, augment: Augmentation) -> None:
    """Checks the definition of the graph, which needs no GPU."""
    shard_set = ShardSet.open(draw_shards())
    for load in (0.0, 0.65):
        options = BackendOptions(
            pixels=shard_set.manifest.pixels,
            batch_size=8,
            device=torch.device("cuda", 0),
            num_threads=1,
            hw_decoder_load=load,
        )
        with dali_graph._new_pipeline(options):
            node = dali_graph._resized(augment.plan(shard_set), options)
        while "decoders__" not in str(node.source.spec):
            node = node.source.inputs[0]
        assert f"hw_decoder_load: {load:.6f}" in str(node.source.spec) and "device: mixed" in str(node.source.spec)


@pytest.mark.parametrize("augment", [CenterCrop(crop=56), RandomResizedCrop(crop=56)], ids=["whole", "crops"])
@pytest.mark.parametrize("format", ["jpeg", "raw"])
def test_on_a_gpu_the_set_is_read_by_slices_alone(draw_shards: Any, format: str, augment: Augmentation) -> None:
    """DALI pins what its GPU operators read, also if others pass it on: then it would copy the set for every batch."""
    shard_set = ShardSet.open(draw_shards(format=format))
    options = BackendOptions(
        pixels=shard_set.manifest.pixels, batch_size=8, device=torch.device("cuda", 0), num_threads=1
    )
    with dali_graph._new_pipeline(options):
        waiting = [dali_graph._resized(augment.plan(shard_set), options)]
    readers = set()
    while waiting:
        source = waiting.pop().source
        if any(node.name == dali_graph.DATA for node in source.inputs):
            readers.add(str(source.spec).splitlines()[0])
        waiting += source.inputs
    assert readers == {"OpSpec for _TensorSubscript:"}
