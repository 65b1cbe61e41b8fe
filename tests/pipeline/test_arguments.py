"""Every invalid argument is refused before any work, with a message of ours that names it."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from alexkit.errors import InputError
from alexkit.pipeline import CenterCrop, Loader, TrainAugment, measure_throughput

NO_NUMBERS = [1.5, "8", None, True, [8], math.nan, torch.tensor(1.5)]
WRONG_CALLS = [
    *(("batch_size", value) for value in (*NO_NUMBERS, 0, -1)),
    *(("seed", value) for value in (*NO_NUMBERS, -1, 2**64)),
    *(("num_threads", value) for value in (1.5, "8", True, 0, -1)),
    *(("hw_decoder_load", value) for value in ("0.5", None, True, -0.1, 1.1, math.nan, 0.65)),  # the last on a CPU
    *(("replica", value) for value in (0.0, "first", None, True, -1, 1)),
    *(("device", value) for value in (None, 0, "mps", "gpu", "cuda:99", 1.5, [])),
    *(("order", value) for value in ("random", None, 1, ["full"])),
    *(("on_error", value) for value in ("ignore", None, True)),
    *(("dtype", value) for value in ("float32", None, torch.int32, np.float32)),
    *(("channels_last", value) for value in (None, 1, "yes")),
    *(("extras", value) for value in ("json", None, 1, [1], [""], [".json"])),
    *(("operators", value) for value in (1, "blur")),
    *(("augment", value) for value in (None, "center", TrainAugment, 1)),
    *(("folder", value) for value in (None, 1, b"x")),
]


@pytest.mark.parametrize(("name", "value"), WRONG_CALLS, ids=str)
def test_a_wrong_argument_is_named(draw_shards: Any, name: str, value: Any) -> None:
    arguments = {"folder": draw_shards(), "batch_size": 8, "augment": TrainAugment(crop=56), name: value}
    with pytest.raises(InputError, match=name):
        Loader(**arguments)


@pytest.mark.parametrize("kind", [TrainAugment, CenterCrop])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("mean", value) for value in (None, "middle", math.nan, math.inf, True, (1.0, 2.0), [1, 2, math.nan], {})),
        *(("mean", value) for value in (np.zeros(2), torch.zeros(4), "123.7", (1, 2, "3"))),
        *(("crop", value) for value in (None, 0, -1, 1.5, "224", True, (224,), (224, 0), (1, 2, 3))),
        *(("mean_from", value) for value in (1, b"train")),
    ],
    ids=str,
)
def test_a_wrong_choice_of_an_augmentation_is_named(kind: Any, name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name):
        kind(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("flip", None), ("flip", 1), ("jitter", "strong"), ("jitter", None), ("crop_draw", "batch"), ("crop_draw", 32)],
)
def test_a_wrong_choice_of_training_is_named(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name):
        TrainAugment(**{name: value})


@pytest.mark.parametrize(
    "mean",
    [
        (123.5, 116.25, 103.75),
        [123.5, 116.25, 103.75],
        np.array([123.5, 116.25, 103.75]),
        torch.tensor([123.5, 116.25, 103.75]),
    ],
    ids=["tuple", "list", "NumPy", "torch"],
)
def test_three_numbers_are_subtracted_from_three_channels(draw_shards: Any, mean: Any) -> None:
    with (
        Loader(draw_shards(), batch_size=8, augment=CenterCrop(crop=56, mean=mean)) as loader,
        Loader(draw_shards(), batch_size=8, augment=CenterCrop(crop=56, mean="none")) as bare,
    ):
        difference = next(iter(bare)).images - next(iter(loader)).images
    assert (difference.amax((0, 2, 3)) == difference.amin((0, 2, 3))).all()
    assert difference[0, :, 0, 0].tolist() == [123.5, 116.25, 103.75]


def test_numbers_of_numpy_and_of_the_old_spelling_are_read(draw_shards: Any) -> None:
    assert CenterCrop(mean="centre") == CenterCrop(mean="center")  # type: ignore[arg-type]
    assert CenterCrop(mean=np.float32(7)) == CenterCrop(mean=torch.tensor(7)) == CenterCrop(mean=7.0)
    augment = TrainAugment(crop=np.int64(56))  # type: ignore[arg-type]
    with Loader(draw_shards(), batch_size=np.int64(8), seed=np.uint64(2**63), augment=augment) as loader:  # type: ignore[arg-type]
        assert loader.state_dict()["seed"] == 2**63


def test_measuring_with_a_batch_larger_than_the_set_is_refused_at_once(draw_shards: Any) -> None:
    with pytest.raises(InputError, match=r"batch_size must be in 1\.\.40, the number of samples, got 99999"):
        measure_throughput(draw_shards(), batch_size=99999, augment=TrainAugment(crop=56))
