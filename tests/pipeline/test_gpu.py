"""The same laws where a GPU is; skipped, visibly, elsewhere."""

import json
from typing import Any

import pytest
import torch

from alexkit.pipeline import CentreCrop, Loader, TenViews, TrainAugment

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.mark.parametrize("codec", ["jpeg", "raw"])
@pytest.mark.parametrize(
    "augment",
    [
        TrainAugment(crop=56),
        TrainAugment(crop=56, mean="crop", jitter="original"),
        CentreCrop(crop=56),
        TenViews(crop=56),
    ],
    ids=str,
)
def test_gpu_and_cpu_agree_within_three_grey_levels(draw_shards: Any, codec: str, augment: Any) -> None:
    options = {"batch_size": 8, "augment": augment, "seed": 4}
    with (
        Loader(draw_shards(codec=codec), device="cuda:0", **options) as gpu,
        Loader(draw_shards(codec=codec), device="cpu", **options) as cpu,
    ):
        for a, b in zip(gpu, cpu, strict=True):
            assert a.images.is_cuda and a.labels.is_cuda and a.indices.is_cuda and a.mask.is_cuda
            assert torch.equal(a.indices.cpu(), b.indices) and torch.equal(a.labels.cpu(), b.labels)
            difference = (a.images.cpu() - b.images).abs()
            assert difference.max() <= (3 if codec == "jpeg" else 1e-2) and difference.mean() <= 0.5


def test_a_gpu_loader_resumes_bit_for_bit(draw_shards: Any) -> None:
    with Loader(draw_shards(), batch_size=8, augment=TrainAugment(crop=56), device="cuda:0") as loader:
        whole = [batch.images for batch in loader]
        for step in range(5):
            loader.load_state_dict(json.loads(json.dumps({**loader.state_dict(), "position": 8 * step})))
            rest = [batch.images for batch in loader]
            assert all(torch.equal(a, b) for a, b in zip(rest, whole[step:], strict=True))


def test_decoding_does_not_race_with_the_step_that_uses_it(draw_shards: Any) -> None:
    with Loader(draw_shards(num_samples=96), batch_size=32, augment=TrainAugment(crop=56), device="cuda:0") as loader:
        start = loader.state_dict()
        first = [batch.images.sum(dtype=torch.float64).item() for batch in loader]
        for _ in range(50):
            loader.load_state_dict(start)
            sums = []
            for batch in loader:
                torch.mm(torch.rand(1024, 1024, device="cuda"), torch.rand(1024, 1024, device="cuda"))
                sums.append(batch.images.sum(dtype=torch.float64).item())
            assert sums == first
