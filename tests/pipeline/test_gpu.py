"""The same laws where a GPU is; skipped, visibly, elsewhere."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from alexkit.pipeline import CenterCrop, Loader, TenViews, TrainAugment
from alexkit.prep import ShardSet

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


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
def test_gpu_and_cpu_agree_within_three_gray_levels(
    draw_shards: Any, format: str, size_px: int, options: dict[str, Any]
) -> None:
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
            rounding = 0.25 if a.images.dtype == torch.float16 else 1e-2
            assert difference.max() <= (3 if format == "jpeg" else rounding) and difference.mean() <= 0.5


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


def test_pixels_do_not_depend_on_the_images_decoded_beside_them(draw_shards: Any) -> None:
    found = []
    for batch_size in (1, 5, 16):
        augment = CenterCrop(crop=56)
        with Loader(draw_shards(), batch_size=batch_size, augment=augment, device="cuda:0") as loader:
            found.append(torch.cat([batch.images[batch.mask] for batch in loader]))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_a_gpu_loader_resumes_bit_for_bit(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=8, augment=TrainAugment(crop=56), device="cuda:0") as loader:
        whole = [batch.images for batch in loader]
        for step in range(5):
            loader.load_state_dict(json.loads(json.dumps({**loader.state_dict(), "position": 8 * step})))
            rest = [batch.images for batch in loader]
            assert all(torch.equal(a, b) for a, b in zip(rest, whole[step:], strict=True))


def test_decoding_does_not_race_with_the_step_that_uses_it(draw_shards: Any) -> None:
    """The host never waits here, so that decoding runs into the steps if anything lets it."""
    with Loader(draw_shards(num_samples=96), batch_size=32, augment=TrainAugment(crop=56), device="cuda:0") as loader:
        start = loader.state_dict()
        sums, factor = [], torch.rand(2048, 2048, device="cuda")
        for _ in range(50):
            loader.load_state_dict(start)
            for batch in loader:
                for _ in range(4):
                    torch.mm(factor, factor)
                sums.append(batch.images.sum(dtype=torch.float64))
                del batch
        first = sums[: len(loader)]
    assert torch.equal(torch.stack(sums), torch.stack(first).repeat(50))
