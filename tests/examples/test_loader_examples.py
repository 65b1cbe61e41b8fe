"""Every example program of the loader runs, and those that resume do so with the very next batch."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from alexkit.pipeline import Batch, CenterCrop, Loader, TrainAugment

from ..conftest import write_shard_set

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
pytestmark = pytest.mark.slow


def example(name: str) -> Any:
    specification = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    write_shard_set(folder / "train", num_samples=64)
    write_shard_set(folder / "val", num_samples=40, split="val")
    return folder


def test_resnet18(shards: Path) -> None:
    assert 0 <= example("resnet18").main(str(shards), epochs=1, crop=48, batch_size=16) <= 1


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("lightning_training", "pytorch_lightning"),
        ("accelerate_training", "accelerate"),
        ("hugging_face_training", "transformers"),
    ],
)
def test_training_resumes_with_the_very_next_batch(shards: Path, tmp_path: Path, name: str, needs: str) -> None:
    pytest.importorskip(needs)
    main = example(name).main
    steps = 7 if name == "accelerate_training" else 11  # that program stays within one epoch of 8 steps
    whole = main(str(shards), str(tmp_path / "whole"), max_steps=steps)
    assert len(whole) == steps
    parts = []
    for stop in (3, 8, steps) if steps > 8 else (3, steps):  # the second one at the end of an epoch
        parts += main(str(shards), str(tmp_path / "run"), max_steps=stop)
    assert parts == whole


@pytest.mark.parametrize("limit", [1.0, 3], ids=["whole epochs", "three batches of each"])
def test_lightning_resumes_after_a_whole_epoch(shards: Path, tmp_path: Path, limit: float) -> None:
    """Its own checkpoint at the end of an epoch: there it names the epoch, and loads no state of a loader."""
    lightning = pytest.importorskip("pytorch_lightning")
    program = example("lightning_training")

    def seen(checkpoint: Path | None) -> Any:
        callback = lightning.callbacks.ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
        trainer = lightning.Trainer(
            max_epochs=3,
            limit_train_batches=limit,
            accelerator="cpu",
            use_distributed_sampler=False,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=checkpoint is None,
            callbacks=[callback] if checkpoint is None else [],
        )
        model = program.Classifier()
        trainer.fit(model, datamodule=program.Images(str(shards)), ckpt_path=checkpoint, weights_only=False)
        return model.seen

    whole, batches = seen(None), 8 if limit == 1.0 else 3
    assert len(whole) == 3 * batches and whole[0] != whole[batches]
    for epoch in (0, 1):
        assert seen(tmp_path / f"epoch={epoch}.ckpt") == whole[batches * (epoch + 1) :]


def test_every_training_under_lightning_begins_with_the_epoch(shards: Path) -> None:
    """Even if an earlier one with the same loader stopped in the middle of it."""
    lightning = pytest.importorskip("pytorch_lightning")
    program, seen = example("lightning_training"), []
    with Loader(shards / "train", batch_size=8, augment=TrainAugment(crop=56), seed=1) as loader:
        for max_steps in (3, 8):
            trainer = lightning.Trainer(
                max_steps=max_steps,
                max_epochs=-1,
                accelerator="cpu",
                logger=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                enable_checkpointing=False,
            )
            model = program.Classifier()
            trainer.fit(model, loader)
            seen.append(model.seen)
    assert seen[0] == seen[1][:3] and len({i for batch in seen[1] for i in batch}) == 64


def test_lightning_overfits_the_first_batches_of_a_fixed_order(shards: Path) -> None:
    lightning = pytest.importorskip("pytorch_lightning")
    classifier, validated = example("lightning_training").Classifier, []

    class Validated(classifier):  # type: ignore[misc, valid-type]
        def validation_step(self, batch: Batch, number: int) -> None:
            validated.append(batch.indices.tolist())

    model = Validated()
    with (
        Loader(shards / "train", batch_size=8, augment=TrainAugment(crop=56), order="fixed") as train,
        Loader(shards / "val", batch_size=8, augment=CenterCrop(crop=56, mean_from=shards / "train")) as val,
    ):
        trainer = lightning.Trainer(
            max_epochs=2,
            overfit_batches=3,
            num_sanity_val_steps=0,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(model, train, val)
    assert model.seen == validated == [list(range(first, first + 8)) for first in (0, 8, 16)] * 2


def test_lightning_on_two_processes_resumes_with_the_very_next_batch(shards: Path, tmp_path: Path) -> None:
    pytest.importorskip("pytorch_lightning")

    def parts(folder: str, max_steps: int) -> list[str]:
        """What the two ranks were given, a line for each step of each, sorted."""
        program = [sys.executable, str(EXAMPLES / "lightning_training.py"), str(shards), str(tmp_path / folder)]
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1"}
        run = subprocess.run(
            [*program, str(max_steps), "2"], env=environment, capture_output=True, text=True, timeout=300
        )
        assert run.returncode == 0, run.stderr
        return sorted(line for line in run.stdout.splitlines() if re.fullmatch(r"[\d ]+", line))

    whole = parts("whole", 6)  # 4 steps an epoch: 64 samples, 2 ranks of 8
    assert len(whole) == 12 and sorted(parts("run", 3) + parts("run", 6)) == whole
    with Loader(shards / "train", batch_size=16, augment=TrainAugment(crop=56), seed=1) as loader:
        batches = [batch.indices.tolist() for _ in range(2) for batch in loader][:6]
    expected = [" ".join(map(str, batch[rank::2])) for batch in batches for rank in (0, 1)]
    assert whole == sorted(expected)


def test_accelerate_on_two_processes_resumes_with_the_very_next_batch(shards: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")

    def parts(folder: str, max_steps: int) -> list[str]:
        """What the two ranks were given, a line for each step of each, sorted."""
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        program = [str(EXAMPLES / "accelerate_training.py"), str(shards), str(tmp_path / folder), str(max_steps)]
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}
        run = subprocess.run([*torchrun, *program], env=environment, capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, run.stderr
        return sorted(line for line in run.stdout.splitlines() if re.fullmatch(r"[\d ]+", line))

    whole = parts("whole", 4)  # an epoch: 64 samples, 2 ranks of 8
    assert len(whole) == 8 and sorted(parts("run", 2) + parts("run", 4)) == whole


def test_flax_learns(shards: Path) -> None:
    pytest.importorskip("flax")
    losses = example("flax_training").main(str(shards), epochs=3)
    assert losses[-1] < losses[0]


def test_scikit_learn_finds_classes_by_their_colors(shards: Path) -> None:
    pytest.importorskip("sklearn")
    assert example("scikit_learn_features").main(str(shards)) > 0.9
