"""The last batch of an epoch, where it is short and used: the released code's way."""

from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from alexkit.model.network.tables import wiring
from alexkit.model.processes.layout import make_layout
from alexkit.model.runs.checkpoint import newest_checkpoint
from alexkit.model.runs.load import load_recipe
from alexkit.model.training.learner import Learner
from alexkit.pipeline import Batch, Loader

from .run_kit import OVERRIDES, Stopped, last_weights, numbers, train, train_in_processes

FIXED = [*OVERRIDES, "data.order=fixed", "data.drop_last=false", "training.epochs=3"]
STEPS = 7  # an epoch: 100 images, six batches of 16 and one of 4


@pytest.mark.parametrize("accumulate", [1, 4])
def test_the_loss_of_a_short_batch_is_the_mean_over_it(accumulate: int) -> None:
    recipe = load_recipe("cifar10-19", ["training.batch_size=16", f"training.accumulate={accumulate}"])
    cpu = torch.device("cpu")
    learner = Learner(recipe, wiring(recipe.network), 4, layout=make_layout(1, 1, cpu), device=cpu)
    images, labels = 60 * torch.randn(16, 3, 32, 32), torch.randint(0, 4, (16,))
    mask = torch.arange(16) < 5
    logits = learner.network(images[:5])
    loss = F.cross_entropy(logits, labels[:5])
    expected = torch.autograd.grad(loss, list(learner.network.parameters()))
    batch = Batch(images=images, labels=labels, indices=torch.arange(16), mask=mask, keys=[str(i) for i in range(16)])
    result = learner.train_step(batch, 0.001, num_images=5)
    assert result.images == 5 and result.loss == pytest.approx(float(loss.detach()), rel=1e-5)
    assert result.wrong == int((logits.argmax(1) != labels[:5]).sum())
    for parameter, gradient in zip(learner.network.parameters(), expected, strict=True):
        assert parameter.grad is not None
        assert torch.allclose(parameter.grad, gradient, rtol=1e-4, atol=1e-6 * float(gradient.abs().max()))


def test_every_image_counts_once_an_epoch_and_a_stopped_run_resumes_bit_for_bit(shards: Path, tmp_path: Path) -> None:
    result = train(shards, tmp_path / "whole", FIXED)
    assert result["steps"] == 3 * STEPS
    ends = [line for line in numbers(tmp_path / "whole") if line["kind"] == "train" and line["step"] in (7, 14)]
    assert len(ends) == 2
    for line in ends:  # an error rate over an epoch of a hundred images is a whole percentage
        assert 100 * line["top1_error"] == pytest.approx(round(100 * line["top1_error"]), abs=1e-9)
    for after_step in (6, 7, 8, 14):

        def stop(images: int, note: str, after_step: int = after_step) -> None:
            if images == 16 * after_step:
                raise Stopped

        folder = tmp_path / str(after_step)
        with pytest.raises(Stopped):
            train(shards, folder, [*FIXED, "training.checkpoint_minutes=0"], report=stop)
        train(shards, folder, [*FIXED, "training.checkpoint_minutes=0"])
        assert last_weights(folder) == last_weights(tmp_path / "whole")
        assert numbers(folder) == numbers(tmp_path / "whole")


def test_the_default_recipe_sees_the_same_minibatches_in_each_epoch(shards: Path, tmp_path: Path) -> None:
    data = load_recipe("original").data
    assert data.order == "fixed" and not data.drop_last
    # With one crop, no mirror images and no rate, epochs over the same minibatches are the same epoch.
    train(shards, tmp_path / "run", [*FIXED, "data.flip=false", "training.momentum=0.0", "training.rate=1e-30",
                                     "training.bias_rate=0.0", "training.weight_decay=0.0"])  # fmt: skip
    first, second = (line for line in numbers(tmp_path / "run") if line["kind"] == "train" and line["step"] in (7, 14))
    counts = dict.fromkeys(("step", "epoch"))
    assert {**first, **counts} == {**second, **counts}
    assert newest_checkpoint(tmp_path / "run" / "checkpoints") is not None


# The released recipe, without the layers that hold nine tenths of the weights.
ORIGINAL = ["network.without=['fc6', 'fc7']", "training.batch_size=16", "training.epochs=1", "training.precision=fp32"]


@pytest.mark.slow
def test_a_replica_without_an_image_of_the_short_batch_changes_nothing(
    draw_shards: Callable[..., Path], start_script: Callable[..., BaseProcess], tmp_path: Path
) -> None:
    # With 1,281,167 images, 16 replicas share a last batch of 15; here 4 replicas share one of 3.
    (tmp_path / "train").symlink_to(draw_shards(num_samples=16 + 3, size_px=232))
    augment = load_recipe("original").data.augment()
    with Loader(
        tmp_path / "train", batch_size=4, augment=augment, replica=3, num_replicas=4, order="fixed", drop_last=False
    ) as loader:
        assert [int(batch.mask.sum()) for batch in loader] == [4, 0]
    for folder, replicas in (("one", 1), ("four", 4)):
        ended = train_in_processes(
            start_script, tmp_path / folder, replicas, shards=tmp_path, overrides=ORIGINAL, recipe="original"
        )
        assert [status for status, _ in ended] == [0] * replicas, ended
    one, four = (newest_checkpoint(tmp_path / folder / "checkpoints") for folder in ("one", "four"))
    assert one and four and one.step == four.step == 2  # the last step is the short batch
    for expected, found in ((one.weights(), four.weights()), (one.momentum(), four.momentum())):
        for name, tensor in expected.items():
            assert torch.allclose(found[name], tensor, rtol=1e-4, atol=1e-5 * float(tensor.abs().max())), name
    (line,), (own,) = (numbers(tmp_path / folder) for folder in ("one", "four"))
    for key in ("loss", "top1_error", "gradient_norm"):  # means over the epoch
        assert own[key] == pytest.approx(line[key], rel=1e-5), key
