import pytest
import torch

from alexkit.model.network.tables import wiring
from alexkit.model.processes.layout import Layout
from alexkit.model.runs.load import load_recipe
from alexkit.model.training.half_copies import squared_norm
from alexkit.model.training.learner import Learner
from alexkit.model.training.update_kernels import BLOCK
from alexkit.pipeline import Batch

CPU = torch.device("cpu")


def batch(number: int, px: int = 32) -> Batch:
    generator = torch.Generator().manual_seed(number)
    labels = torch.arange(16) % 4
    return Batch(
        images=torch.randn(16, 3, px, px, generator=generator) * 60 + 20 * labels[:, None, None, None],
        labels=labels,
        indices=torch.arange(16),
        mask=torch.ones(16, dtype=torch.bool),
        keys=[""] * 16,
    )


def learner(precision: torch.dtype = torch.bfloat16, recipe: str = "cifar10-19", accumulate: int = 1) -> Learner:
    settings = ["training.batch_size=16", f"training.accumulate={accumulate}"]
    chosen = load_recipe(recipe, settings)
    return Learner(chosen, wiring(chosen.network), 4, layout=Layout(1), device=CPU, precision=precision)


class Autocast(Learner):
    """Trains by torch.autocast, with weights cast in every step."""

    def __init__(self, **options: object) -> None:
        chosen = load_recipe(str(options["recipe"]), ["training.batch_size=16"])
        super().__init__(chosen, wiring(chosen.network), 4, layout=Layout(1), device=CPU, precision=torch.bfloat16)
        self.copies, self.optimizer.copies = None, {}


@pytest.mark.parametrize("recipe", ["cifar10-19", "cifar10-18"])
def test_copies_give_every_bit_of_autocast_without_its_casts(recipe: str) -> None:
    ours, cast = learner(recipe=recipe), Autocast(recipe=recipe)
    for step in range(3):
        images = batch(step, ours.network.wiring.input_px)
        assert ours.train_step(images, 0.001).loss == cast.train_step(images, 0.001).loss
    theirs = cast.whole_weights()
    for name, weight in ours.whole_weights().items():
        assert weight.dtype == torch.float32 and torch.equal(weight, theirs[name]), name


def test_where_autocast_widens_in_between_gradients_are_as_close_to_float32() -> None:
    learners = [learner(recipe="cifar10-13"), Autocast(recipe="cifar10-13"), learner(torch.float32, "cifar10-13")]
    for one in learners:
        one.train_step(batch(0, one.network.wiring.input_px), 0.0)
    found = [[one.optimizer.gradient(parameter) for parameter in one.network.parameters()] for one in learners]
    for ours, cast, true in zip(*found, strict=True):
        assert ours is not None and cast is not None and true is not None
        assert (ours.float() - true).norm() <= 1.05 * (cast - true).norm()


def test_masters_resume_bit_for_bit_and_keep_what_copies_would_round_away() -> None:
    whole, first, second = learner(), learner(), learner()
    for step in range(4):
        whole.train_step(batch(step), 0.001)
    for step in range(2):
        first.train_step(batch(step), 0.001)
    second.load(first.whole_weights(), first.whole_momentum())
    second.step = 2
    for step in range(2, 4):
        second.train_step(batch(step), 0.001)
    for name, weight in whole.whole_weights().items():
        assert torch.equal(weight, second.whole_weights()[name]), name
        assert torch.equal(whole.whole_momentum()[name], second.whole_momentum()[name]), name
    assert any(not torch.equal(weight, weight.bfloat16().float()) for weight in whole.whole_weights().values())


def test_gradients_of_several_parts_are_summed_up_in_float32() -> None:
    parts, whole = learner(accumulate=4), learner()
    results = [one.train_step(batch(0), 0.001) for one in (parts, whole)]
    assert results[0].gradient_norm == pytest.approx(results[1].gradient_norm, rel=1e-2)
    assert all(parameter.grad is not None for parameter in parts.network.parameters())
    assert all(parameter.grad is None for parameter in whole.network.parameters())


@pytest.mark.parametrize("shape", [(3,), (BLOCK * 9 + 5,), (7, 5, 3, 4)])
def test_the_norm_of_bfloat16_is_that_of_float32_for_any_number_of_threads(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    x = (x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x).bfloat16()
    threads, found = torch.get_num_threads(), []
    for number in (1, 2, 3):
        torch.set_num_threads(number)
        found.append(float(squared_norm([x, x])))
    torch.set_num_threads(threads)
    assert found[0] == pytest.approx(2 * float(x.double().square().sum()), rel=1e-6)
    assert found[0] == found[1] == found[2]
    assert squared_norm([torch.tensor([float("nan"), 1.0]).bfloat16()]).isnan()
