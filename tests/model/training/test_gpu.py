"""The same laws where a GPU is; skipped, visibly, elsewhere."""

import pytest
import torch

from alexkit.model.network.tables import wiring
from alexkit.model.processes.layout import Layout
from alexkit.model.runs.load import load_recipe
from alexkit.model.training.learner import Learner
from alexkit.pipeline import Batch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def batch(device: str) -> Batch:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(16) % 4
    images = torch.randn(16, 3, 224, 224, generator=generator) * 60 + 20 * labels[:, None, None, None]
    return Batch(
        images=images.contiguous(memory_format=torch.channels_last).to(device),
        labels=labels.to(device),
        indices=torch.arange(16, device=device),
        mask=torch.ones(16, dtype=torch.bool, device=device),
        keys=[""] * 16,
    )


def losses(device: str, precision: torch.dtype) -> list[float]:
    recipe = load_recipe("quick", ["training.batch_size=16"])
    place = torch.device(device)
    learner = Learner(recipe, wiring(recipe.network), 4, layout=Layout(2), device=place, precision=precision)
    return [learner.train_step(batch(device), 0.001).loss for _ in range(4)]


# TF32 and bfloat16 keep 10 and 7 bits of every factor; four steps add up what they lose.
@pytest.mark.parametrize(
    ("precision", "tolerance"), [(torch.float32, 0.01), (torch.bfloat16, 0.05), (torch.float16, 0.05)]
)
def test_a_gpu_learns_as_a_cpu_does(precision: torch.dtype, tolerance: float) -> None:
    expected = losses("cpu", torch.float32)
    assert losses("cuda:0", precision) == pytest.approx(expected, rel=tolerance)
