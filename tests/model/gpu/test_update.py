"""The GPU's update by Triton's interpreter, against the CPU's, bit for bit; that it compiles for a card."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alexkit.model.gpu.part import Part
from alexkit.model.training import optimizer
from alexkit.model.training.optimizer import PaperSGD, in_one_pass

Import = Callable[[str], ModuleType]
FACTORS = [(0.9, -0.01 * 0.0005, -0.01), (0.9, 0.0, -0.02), (0.5, -1e-4, -1.0)]


def tensors(size: int, gradients: torch.dtype, copied: bool) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(size)
    w, v, g = (torch.randn(size, generator=generator) for _ in range(3))
    return [w, v, g.to(gradients), w.bfloat16() if copied else None]


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("gradients", [torch.float32, torch.bfloat16])
def test_one_launch_gives_every_bit_of_the_cpus_update(
    interpreted: Import, gradients: torch.dtype, copied: bool
) -> None:
    update = interpreted("update")
    sizes = [1, 1003, 2 * update.NUMBERS, update.NUMBERS + 1]
    ours, theirs = ([tensors(size, gradients, copied) for size in sizes] for _ in range(2))
    launch = update.Update()
    for step in range(3):  # other rates, and other addresses of the gradients, from step to step
        factors = [FACTORS[(step + i) % len(FACTORS)] for i in range(len(sizes))]
        parts = [Part(w, v, g.clone(), copy, f) for (w, v, g, copy), f in zip(ours, factors, strict=True)]
        assert all(update.fits(part) for part in parts)
        launch(parts)
        for (w, v, g, copy), f in zip(theirs, factors, strict=True):
            assert w is not None and v is not None and g is not None
            in_one_pass(w, v, g, copy, f)
    for found, expected in zip(ours, theirs, strict=True):
        assert all(a is b is None or torch.equal(a, b) for a, b in zip(found, expected, strict=True))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1003, 4096])
@pytest.mark.parametrize("copied", [False, True])
def test_while_held_it_changes_nothing(interpreted: Import, copied: bool, size: int) -> None:
    update, held = interpreted("update"), torch.tensor(True)
    ours, before = tensors(size, torch.bfloat16, copied), tensors(size, torch.bfloat16, copied)
    ours[2] = torch.full((size,), float("nan"), dtype=torch.bfloat16)
    launch = update.Update()
    launch([Part(*ours, FACTORS[0])], held)
    assert all(
        a is b is None or torch.equal(a, b) for a, b in zip(ours[:2] + ours[3:], before[:2] + before[3:], strict=True)
    )
    held.zero_()
    ours[2] = before[2]
    launch([Part(*ours, FACTORS[0])], held)
    w, v, g, copy = before
    assert w is not None and v is not None and g is not None
    in_one_pass(w, v, g, copy, FACTORS[0])
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(ours, before, strict=True))


def test_parameters_with_and_without_copies_are_updated_together(interpreted: Import) -> None:
    update = interpreted("update")
    kinds = [(torch.float32, False), (torch.float32, True), (torch.bfloat16, False), (torch.bfloat16, True)]
    ours, theirs = ([tensors(70, *kind) for kind in kinds] for _ in range(2))
    update.Update()([Part(*part, FACTORS[0]) for part in ours])
    for (w, v, g, copy), found in zip(theirs, ours, strict=True):
        assert w is not None and v is not None and g is not None
        in_one_pass(w, v, g, copy, FACTORS[0])
        assert all(a is b is None or torch.equal(a, b) for a, b in zip(found, (w, v, g, copy), strict=True))  # type: ignore[arg-type]


def test_an_optimizer_updates_all_it_can_by_one_launch_and_the_rest_by_torchs_operations(
    interpreted: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    update, launched, found = interpreted("update"), [], []
    monkeypatch.setattr(update.Update, "_launch", watched(update.Update._launch, launched))
    for on_gpu in (False, True):
        monkeypatch.setattr(optimizer, "kernels_run", lambda device, on_gpu=on_gpu: on_gpu)
        generator = torch.Generator().manual_seed(0)
        weights = [
            torch.randn(6, 3, 5, 5, generator=generator).contiguous(memory_format=torch.channels_last),
            torch.randn(40, 30, generator=generator).t(),
            torch.randn(7, generator=generator),
            torch.randn(33, generator=generator)[1:],  # at no multiple of 16 bytes
            torch.randn(5, generator=generator),
        ]
        parameters = [nn.Parameter(weight) for weight in weights]
        rates = [0.1, 0.1, 0.2, 0.1, 0.0]
        own = PaperSGD(
            [{"params": [x], "lr": rate} for x, rate in zip(parameters, rates, strict=True)], lr=0.0, weight_decay=0.01
        )
        own.copies = {parameters[2]: parameters[2].detach().bfloat16()}
        for _ in range(2):
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator)  # in the usual order
            own.step()
        found.append([*parameters, *own.copies.values()])
    assert launched == [1, 1, 1, 1]  # in each of two steps the one without a copy, and the one with
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def watched(launch: Callable[..., None], counts: list[int]) -> Callable[..., None]:
    """`launch`, with its number of parameters written down."""

    def call(self: Any, parts: list[Any], *kind: Any) -> None:
        counts.append(len(parts))
        launch(self, parts, *kind)

    return call


def test_what_a_launch_cannot_take_is_told() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    from alexkit.model.gpu.update import fits

    whole = torch.zeros(33)
    assert fits(Part(whole[:32], torch.zeros(32), torch.zeros(32), None, FACTORS[0]))
    assert not fits(Part(whole[1:], torch.zeros(32), torch.zeros(32), None, FACTORS[0]))
    assert not fits(Part(whole[:32], torch.zeros(32), torch.zeros(32).half(), None, FACTORS[0]))
    assert not fits(Part(whole[:32].double(), torch.zeros(32), torch.zeros(32), None, FACTORS[0]))


def test_it_compiles_for_a_card_to_wide_loads_and_one_rounding(compiled_for_a_card: Any) -> None:
    use, compile = compiled_for_a_card
    types = {"blocks": "*i32", "addresses": "*i64", "factors": "*fp32", "held": "*u8"}
    ptx = compile(use("update")._update, types, {"half": True, "copied": True, "numbers": 2048})
    assert ptx.count("ld.global.v4.b32") == 4 + 4 + 2  # a thread's 16 weights, momenta, and gradients of half the size
    assert "fma.rn.f32" in ptx and ".ftz" not in ptx and "cvt.rn.bf16x2.f32" in ptx
