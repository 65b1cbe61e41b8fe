import os
from collections.abc import Iterator

import pytest
import torch

from alexkit.model.network import precision as device_and_format
from alexkit.model.network.precision import (
    GROWTH_STEPS,
    LossScale,
    choose_device,
    choose_precision,
    precision_name,
    use_device,
    use_precision,
)
from alexkit.model.network.tables import wiring
from alexkit.model.processes.layout import Layout
from alexkit.model.runs.load import load_recipe
from alexkit.model.training.learner import Learner
from alexkit.pipeline import Batch

CPU = torch.device("cpu")


def batch(number: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(number)
    labels = torch.arange(16) % 4
    return Batch(
        images=torch.randn(16, 3, 32, 32, generator=generator) * 60 + 20 * labels[:, None, None, None],
        labels=labels,
        indices=torch.arange(16),
        mask=torch.ones(16, dtype=torch.bool),
        keys=[f"sample-{i}" for i in range(16)],
    )


def learner(precision: torch.dtype) -> Learner:
    torch.set_num_threads(1)
    recipe = load_recipe("cifar10-19", ["training.batch_size=16"])
    return Learner(recipe, wiring(recipe.network), 4, layout=Layout(1), device=CPU, precision=precision)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_a_precision_is_what_its_name_says(name: str, dtype: torch.dtype) -> None:
    assert choose_precision(name, CPU) == dtype


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "meta"])
def test_devices_that_are_not_there_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"--device {name}: "):
        choose_device(name)


@pytest.mark.parametrize(
    ("name", "rank", "device"),
    [("cuda", "1", "cuda:1"), ("cuda", None, "cuda:2"), ("auto", "1", "cuda:1"), ("auto", None, "cuda:0")],
)
def test_each_of_several_processes_takes_its_own_gpu(
    name: str, rank: str | None, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 2)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert choose_device(name) == torch.device(device)


@pytest.fixture
def a_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[torch.device]:
    """What is set for a GPU, without one; forgotten afterwards."""
    card = torch.device("cuda:0")
    monkeypatch.setattr(device_and_format, "choose_device", lambda name: card)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32
    yield card
    cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32 = before


def test_a_gpu_in_use_gives_the_same_bits_every_time(a_card: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = True, False
    use_device("cuda:0")
    assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.benchmark
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"  # what the user chose
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    use_device("cuda:0")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.mark.parametrize(("name", "allowed"), [("fp32", False), ("tf32", True), ("bf16", False), ("fp16", False)])
def test_only_tf32_rounds_the_factors_of_float32_products(a_card: torch.device, name: str, allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    use_device("cuda:0")
    assert not torch.backends.cuda.matmul.allow_tf32 and not torch.backends.cudnn.allow_tf32
    assert use_precision(name, a_card) == choose_precision(name, a_card)
    assert torch.backends.cuda.matmul.allow_tf32 == torch.backends.cudnn.allow_tf32 == allowed


def test_tf32_is_refused_on_a_cpu_and_has_its_own_name() -> None:
    with pytest.raises(ValueError, match=r"training\.precision tf32: only GPUs .* the device is cpu; choose fp32"):
        use_precision("tf32", CPU)
    names = [precision_name(name, choose_precision(name, CPU)) for name in ("tf32", "fp32", "bf16")]
    assert names == ["tf32", "float32", "bfloat16"]


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_a_gpu_in_use_is_the_current_one() -> None:
    device = use_device("cuda:1")
    assert torch.zeros(1, device="cuda").device == device
    use_device("cuda:0")


def test_torchs_allocator_on_the_host_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THP_MEM_ALLOC_ENABLE", raising=False)
    use_device("cpu")
    assert "THP_MEM_ALLOC_ENABLE" not in os.environ  # with huge pages a first step took twice as long


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_half_precision_learns_like_single(precision: torch.dtype) -> None:
    half, single = learner(precision), learner(torch.float32)
    losses = [[one.train_step(batch(step), 0.002).loss for step in range(6)] for one in (half, single)]
    assert losses[0] == pytest.approx(losses[1], rel=0.01)
    assert losses[0] != losses[1]
    weights = half.whole_weights()
    assert all(weights[name].dtype == torch.float32 for name in weights)


def test_gradients_that_overflow_are_computed_again_with_a_smaller_scale_and_no_sample_is_lost() -> None:
    overflowing, plain = learner(torch.float16), learner(torch.float16)
    overflowing.scale = LossScale(factor=2.0**24)
    results = [one.train_step(batch(), 0.002) for one in (overflowing, plain)]
    assert plain.scale.factor == 2.0**16 and overflowing.scale.factor < 2.0**24
    assert (results[0].loss, results[0].images, overflowing.step) == (results[1].loss, 16, 1)
    assert results[0].gradient_norm == pytest.approx(results[1].gradient_norm, rel=1e-3)
    for name, weight in overflowing.whole_weights().items():
        assert torch.allclose(weight, plain.whole_weights()[name], rtol=1e-3, atol=1e-7), name


def test_a_loss_that_is_not_finite_is_refused_whatever_the_scale() -> None:
    mine, broken = learner(torch.float16), batch()
    before = {name: weight.clone() for name, weight in mine.whole_weights().items()}
    broken.images[3, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"step 0: the loss or a gradient is not finite .*not applied"):
        mine.train_step(broken, 0.002)
    assert mine.scale == LossScale.of(torch.float16)
    assert all(torch.equal(weight, before[name]) for name, weight in mine.whole_weights().items())


def test_the_scale_grows_after_many_steps_and_shrinks_to_an_end() -> None:
    scale = LossScale.of(torch.float16)
    for _ in range(GROWTH_STEPS):
        scale = scale.after_step()
    assert scale == LossScale(factor=2.0**17)
    halvings = 0
    while smaller := scale.after_overflow():
        scale, halvings = smaller, halvings + 1
    assert halvings == 16 and scale.after_step() == LossScale(factor=2.0, steps=1)


def test_without_float16_there_is_no_scale() -> None:
    scale = LossScale.of(torch.bfloat16)
    assert scale.factor == 1.0 and scale.after_overflow() is None
    assert LossScale(factor=1.0, steps=GROWTH_STEPS).after_step().factor == 1.0


@pytest.mark.parametrize(("variable", "cores", "threads"), [(None, 1, 1), (None, 64, 2), ("2", 1, 2)])
def test_torch_is_left_no_more_threads_than_a_quota_pays_for(
    variable: str | None, cores: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", variable)
    monkeypatch.setattr("alexkit.model.network.precision.num_cores", lambda: cores)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        use_device("cpu")
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
