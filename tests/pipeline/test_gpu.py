"""The same laws on a GPU; visibly skipped without one."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from alexkit.pipeline import (
    CenterCrop,
    ColorJitter,
    Loader,
    Mix,
    RandomErasing,
    RandomResizedCrop,
    SeededRandom,
    TenViews,
    TrainAugment,
)
from alexkit.prep import ShardSet

from ..conftest import draw_image

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def draw_oblong(number: int, label: int, size_px: int) -> NDArray[np.uint8]:
    image = draw_image(number, label, 2 * size_px)
    return image[:size_px, : 80 + number] if number % 2 else image[: 80 + number, :size_px]


def same(images: Any) -> Any:
    return images


def noisy(images: Any, random: SeededRandom) -> Any:
    return images * random.uniform(0.5, 1.5) + random.normal(0, 10)


# A JPEG may be decoded in many ways. On these images, whose noise is far stronger than a photograph's, libjpeg differs
# from itself by 1.2 levels on average and 6 at most with its fast transform, and by 2.1 and 18 if it repeats chroma
# instead of interpolating, as a hardware decoder may. A view that is one pixel off differs by 12 on average.
JPEG_MEAN, JPEG_MOST = 1.2, 12.0
JPEG_UNIT_MEAN, JPEG_UNIT_MOST = 3.0, 32.0

COLOR = ColorJitter(brightness=0.4, contrast=0.3, saturation=0.5, hue=0.1)
# Unlike stored pixels, resized ones may be rounded differently, and again when their colors are mapped.
STEPS: dict[str, tuple[dict[str, Any], float]] = {
    "resized crops": ({"augment": RandomResizedCrop(crop=48)}, 4.0),
    "resized center": ({"augment": CenterCrop(crop=48, resize=56, mean="imagenet", std="imagenet")}, 4.0),
    "resized ten views": ({"augment": TenViews(crop=40, resize=51, mean="channel")}, 4.0),
    "color": ({"augment": TrainAugment(crop=48, jitter="off", color=COLOR, grayscale=0.3)}, 8.0),
    "resized color": ({"augment": RandomResizedCrop(crop=48, color=COLOR)}, 8.0),
    "erasing": ({"augment": TrainAugment(crop=48, erasing=RandomErasing(probability=0.8))}, 1e-2),
    "mixup": ({"augment": TrainAugment(crop=48), "mix": Mix(mixup=0.4)}, 1e-2),
    "cutmix": ({"augment": TrainAugment(crop=48), "mix": Mix(cutmix=1.0)}, 1e-2),
    "random operators": ({"augment": TrainAugment(crop=48), "operators": noisy}, 1e-2),
}


@pytest.mark.parametrize(
    "place", [pytest.param("cuda:0", marks=needs_gpu), pytest.param("cpu", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("fit", ["crop", "shorter"])
@pytest.mark.parametrize("format", ["jpeg", "png"])
@pytest.mark.parametrize("name", STEPS)
def test_dali_and_the_compiled_step_agree(draw_shards: Any, place: str, fit: str, format: str, name: str) -> None:
    """On a CPU, where DALI does every step for an operator that changes nothing, this runs the test itself."""
    options, tolerance = STEPS[name]
    folder = draw_shards(fit=fit, format=format, **({"draw": draw_oblong} if fit == "shorter" else {}))
    in_dali = options if place != "cpu" else {"operators": same, **options}
    with (
        Loader(folder, batch_size=8, seed=4, device=place, **in_dali) as one,
        Loader(folder, batch_size=8, seed=4, device="cpu", **options) as other,
    ):
        gain_C = torch.from_numpy(options["augment"].plan(ShardSet.open(folder)).normalization.gain_C)
        for a, b in zip(one, other, strict=True):
            assert a.images.device == torch.device(place) and torch.equal(a.indices.cpu(), b.indices)
            torch.testing.assert_close(a.labels.cpu(), b.labels)
            levels = (a.images.cpu() - b.images).abs() / gain_C[:, None, None]
            # Colors and random operators stretch the differences between decoders of JPEG.
            stretch = (2 if "color" in name or "operators" in name else 1) * (format == "jpeg" and place != "cpu")
            assert levels.max() <= tolerance + stretch * JPEG_MOST and levels.mean() <= 0.6 + stretch * JPEG_MEAN


@needs_gpu
@pytest.mark.parametrize(("format", "size_px"), [("jpeg", 64), ("png", 64), ("raw", 64), ("raw", 57)])
@pytest.mark.parametrize(
    "options",
    [
        {"augment": TrainAugment(crop=56)},
        {"augment": TrainAugment(crop=56), "channels_last": True},
        {"augment": TrainAugment(crop=56), "operators": lambda node: node},
        {"augment": TrainAugment(crop=56, mean="crop", jitter="original")},
        {"augment": TrainAugment(crop=56, mean="none", jitter="off"), "dtype": torch.uint8},
        {"augment": CenterCrop(crop=56)},
        {"augment": CenterCrop(crop=56), "dtype": torch.float16},
        {"augment": TenViews(crop=56), "channels_last": True},
        {"augment": TrainAugment(crop=56), "hw_decoder_load": 0.65},
    ],
    ids=["draws", "channels_last", "operators", "moving mean", "uint8", "center", "float16", "ten views", "JPEG unit"],
)
def test_gpu_and_cpu_agree(draw_shards: Any, format: str, size_px: int, options: dict[str, Any]) -> None:
    folder = draw_shards(format=format, size_px=size_px)
    with (
        Loader(folder, batch_size=8, seed=4, device="cuda:0", **options) as gpu,
        Loader(folder, batch_size=8, seed=4, device="cpu", **{**options, "hw_decoder_load": 0.0}) as cpu,
    ):
        for a, b in zip(gpu, cpu, strict=True):
            assert a.images.is_cuda and a.labels.is_cuda and a.indices.is_cuda and a.mask.is_cuda
            assert torch.equal(a.indices.cpu(), b.indices) and torch.equal(a.labels.cpu(), b.labels)
            assert a.images.dtype == b.images.dtype and a.images.stride() == b.images.stride()
            difference = (a.images.cpu().float() - b.images.float()).abs()
            if format == "jpeg":
                unit = "hw_decoder_load" in options
                assert difference.mean() <= (JPEG_UNIT_MEAN if unit else JPEG_MEAN)
                assert difference.max() <= (JPEG_UNIT_MOST if unit else JPEG_MOST)
            else:
                assert difference.max() <= (0.25 if a.images.dtype == torch.float16 else 1e-2)


@needs_gpu
def test_a_gpu_names_a_corrupt_image_and_goes_on(draw_shards: Any, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(draw_shards(), tmp_path / "set"))
    index = ShardSet.open(folder).index(0)
    with (folder / "train-00000.tar").open("r+b") as file:
        file.seek(int(index.image_offsets[3]))
        file.write(bytes(int(index.image_sizes[3])))
    options: dict[str, Any] = {"batch_size": 8, "augment": CenterCrop(crop=56), "device": "cuda:0"}
    with Loader(folder, **options) as loader, pytest.raises(ValueError, match="sample-0003"):
        list(loader)
    with Loader(folder, on_error="replace", **options) as loader:
        seen = [index for batch in loader for index in batch.indices[batch.mask].tolist()]
    assert sorted(seen) == [index for index in range(40) if index != 3]


@needs_gpu
def test_pixels_do_not_depend_on_the_images_decoded_beside_them(draw_shards: Any) -> None:
    found = []
    for batch_size in (1, 5, 16):
        augment = CenterCrop(crop=56)
        with Loader(draw_shards(), batch_size=batch_size, augment=augment, device="cuda:0") as loader:
            found.append(torch.cat([batch.images[batch.mask] for batch in loader]))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


@needs_gpu
def test_a_gpu_loader_resumes_bit_for_bit(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=8, augment=TrainAugment(crop=56), device="cuda:0") as loader:
        whole = [batch.images for batch in loader]
        for step in range(5):
            loader.load_state_dict(json.loads(json.dumps({**loader.state_dict(), "position": 8 * step})))
            rest = [batch.images for batch in loader]
            assert all(torch.equal(a, b) for a, b in zip(rest, whole[step:], strict=True))


@needs_gpu
def test_decoding_does_not_race_with_the_step_that_uses_it(draw_shards: Any) -> None:
    """The host never waits here, so that decoding into memory that a step reads would show, if anything allowed it."""
    passes = 200  # of one backend, which uses the memory of dropped batches again
    with Loader(draw_shards(num_samples=96), batch_size=32, augment=CenterCrop(crop=56), device="cuda:0") as loader:
        sums, factor = [], torch.rand(2048, 2048, device="cuda:0")
        for _ in range(passes):
            for batch in loader:
                for _ in range(4):
                    torch.mm(factor, factor)
                sums.append(batch.images.sum(dtype=torch.float64))
                del batch
        first = sums[: len(loader)]
    assert torch.equal(torch.stack(sums), torch.stack(first).repeat(passes))
