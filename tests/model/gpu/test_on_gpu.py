"""The same laws on a GPU, visibly skipped without one; on a CPU, tests that can run there show that they would pass."""

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from alexkit.model.gpu.available import kernels_run
from alexkit.model.network import norm
from alexkit.model.network.precision import use_device, use_precision
from alexkit.model.network.tables import wiring
from alexkit.model.processes.layout import Layout
from alexkit.model.runs.load import load_recipe
from alexkit.model.training.learner import Learner
from alexkit.model.training.optimizer import PaperSGD
from alexkit.pipeline import Batch

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
PLACES = [pytest.param("cuda:0", marks=needs_gpu), pytest.param("cpu", marks=pytest.mark.slow)]


def batch(device: str, px: int = 224) -> Batch:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(16) % 4
    images = torch.randn(16, 3, px, px, generator=generator) * 60 + 20 * labels[:, None, None, None]
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


# TF32 and float16 keep 10 bits of every factor, bfloat16 7; four steps add up what they lose.
@pytest.mark.parametrize(
    ("place", "name", "tolerance"),
    [
        *(
            pytest.param("cuda:0", *case, marks=needs_gpu)
            for case in [("fp32", 0.001), ("tf32", 0.01), ("bf16", 0.05), ("fp16", 0.05)]
        ),
        pytest.param("cpu", "bf16", 0.05, marks=pytest.mark.slow),
    ],
)
def test_a_gpu_learns_as_a_cpu_does(place: str, name: str, tolerance: float) -> None:
    expected = losses("cpu", torch.float32)
    precision = use_precision(name, use_device(place))
    assert losses(place, precision) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("place", PLACES)
def test_six_steps_are_three_and_a_checkpoint_and_three_to_every_bit(
    place: str, precision: torch.dtype, tmp_path: Path
) -> None:
    assert_resumes(use_device(place), "quick", precision, tmp_path)


def assert_resumes(device: torch.device, name: str, precision: torch.dtype, folder: Path) -> None:
    recipe = load_recipe(name, ["training.batch_size=16"])
    table = wiring(recipe.network)
    images = batch(str(device), table.input_px)

    def learner() -> Learner:
        return Learner(recipe, table, 4, layout=Layout(table.columns), device=device, precision=precision)

    whole, first, second = learner(), learner(), learner()
    expected = [whole.train_step(images, 0.001).loss for _ in range(6)]
    found = [first.train_step(images, 0.001).loss for _ in range(3)]
    for part, tensors in (("weights", first.whole_weights()), ("momentum", first.whole_momentum())):
        save_file({key: x.detach().cpu().contiguous() for key, x in tensors.items()}, folder / part)
    second.load(load_file(folder / "weights"), load_file(folder / "momentum"))
    second.step = 3
    found += [second.train_step(images, 0.001).loss for _ in range(3)]
    assert found == expected
    for given in ("whole_weights", "whole_momentum"):
        theirs = getattr(second, given)()
        assert all(torch.equal(x, theirs[key]) for key, x in getattr(whole, given)().items()), given


@needs_gpu
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_host_does_not_wait_before_it_reads_a_result(precision: torch.dtype) -> None:
    recipe = load_recipe("quick", ["training.batch_size=16"])
    place = torch.device("cuda:0")
    learner = Learner(recipe, wiring(recipe.network), 4, layout=Layout(2), device=place, precision=precision)
    images = batch("cuda:0")
    for _ in range(3):  # compiles, and fills what is kept
        learner.train_step(images, 0.001)
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as waits:
            warnings.simplefilter("always")
            begun = [learner.begin_step(images, 0.001) for _ in range(2)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert not [str(wait.message) for wait in waits if "synchroniz" in str(wait.message)]
    assert all(step.result().loss > 0 for step in begun)
    clocks = [step.clock for step in begun]
    assert clocks[0] and clocks[1] and 0 <= clocks[1].idle_s(clocks[0]) < 10


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("place", PLACES)
def test_a_step_that_is_not_finite_holds_back_those_begun_after_it(place: str, precision: torch.dtype) -> None:
    recipe = load_recipe("quick", ["training.batch_size=16"])
    device = use_device(place)
    learner = Learner(recipe, wiring(recipe.network), 4, layout=Layout(2), device=device, precision=precision)
    good, broken = batch(place), batch(place)
    broken.images[3] = float("nan")
    learner.train_step(good, 0.001)
    before = {name: weight.clone() for name, weight in learner.whole_weights().items()}
    begun = [learner.begin_step(images, 0.001) for images in (broken, good)]
    with pytest.raises(ValueError, match="step 1: the loss or a gradient is not finite"):
        begun[0].result()
    assert all(torch.equal(weight, before[name]) for name, weight in learner.whole_weights().items())
    learner.train_step(good, 0.001)
    assert not all(torch.equal(weight, before[name]) for name, weight in learner.whole_weights().items())


@needs_gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("maps", "groups"), [(96, 2), (256, 1), (15, 3)])
def test_kernels_normalize_as_torchs_operations_do(dtype: torch.dtype, maps: int, groups: int) -> None:
    assert kernels_run(torch.device("cuda:0"))
    constants = norm.Constants(size=5, alpha=1e-3, beta=0.75, k=2.0, groups=groups, relu=True)
    generator = torch.Generator().manual_seed(0)
    x, g = (torch.randn(1001, maps, generator=generator).to("cuda:0", dtype) * scale for scale in (30, 1))
    for gradient in (None, g):
        found, expected = norm._by_triton(x, gradient, constants), norm.by_band(x, gradient, constants)
        places = {torch.float32: 1e-4, torch.bfloat16: 2**-7, torch.float16: 2**-10}[dtype]
        torch.testing.assert_close(found, expected, rtol=places, atol=1e-3)


@pytest.mark.parametrize("gradients", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("place", [pytest.param("cuda:0", marks=needs_gpu), "cpu"])
def test_one_launch_updates_to_every_bit_of_the_cpus(place: str, gradients: torch.dtype) -> None:
    found, expected = updated(place, gradients), updated("cpu", gradients)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def updated(place: str, gradients: torch.dtype) -> list[torch.Tensor]:
    """Parameters and their bfloat16 copies after three updates."""
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(size, generator=generator) for size in (1, 1003, 5000)]
    slopes = [torch.randn(len(value), generator=generator).to(gradients) for value in values]
    parameters = [nn.Parameter(value.to(place)) for value in values]
    own = PaperSGD(parameters, lr=0.0123, weight_decay=0.0005)
    own.copies = {parameter: parameter.detach().bfloat16().requires_grad_() for parameter in parameters}
    for _ in range(3):
        for parameter, slope in zip(parameters, slopes, strict=True):
            leaf = parameter if gradients == torch.float32 else own.copies[parameter]
            leaf.grad = slope.to(place)
        own.step()
    return [x.cpu() for parameter in parameters for x in (parameter, own.copies[parameter])]
