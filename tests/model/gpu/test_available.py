"""The trial that decides whether Triton's kernels are used, by Triton's interpreter."""

import functools
import logging
from collections.abc import Callable
from types import ModuleType

import pytest
import torch

from alexkit.model.gpu import available

Import = Callable[[str], ModuleType]
CPU = torch.device("cpu")


def test_kernels_that_compute_what_they_should_pass(interpreted: Import) -> None:
    interpreted("available").try_kernels(CPU)


def test_a_triton_without_gather_does_not(interpreted: Import, monkeypatch: pytest.MonkeyPatch) -> None:
    from triton import language as tl

    module = interpreted("available")
    monkeypatch.delattr(tl, "gather")  # as in Triton 3.2
    with pytest.raises(Exception, match="gather"):
        module.try_kernels(CPU)


@pytest.mark.parametrize(
    ("where", "name", "words"),
    [
        ("norm", "normalize", "normalization"),
        ("norm", "normalize_gradient", "normalization's gradient"),
        ("update", "Update", "update"),
    ],
)
def test_wrong_numbers_do_not(
    interpreted: Import, where: str, name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = interpreted("available")
    wrong = (lambda: lambda parts, held: None) if name == "Update" else (lambda x_PC, *others: 0.9 * x_PC)
    monkeypatch.setattr(interpreted(where), name, wrong)
    with pytest.raises(RuntimeError, match=f"kernel of the {words} gave wrong results"):
        module.try_kernels(CPU)


def test_a_failed_trial_is_a_warning_and_torchs_operations(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(device: torch.device) -> None:
        raise AttributeError("module 'triton.language' has no attribute 'gather'\nand more")

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(available, "try_kernels", fail)
    with caplog.at_level(logging.WARNING):
        assert not available.kernels_run.__wrapped__(torch.device("cuda:0"))
    assert "cuda:0: Triton's kernels do not run (module 'triton.language' has no attribute 'gather')" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
    ],
)
def test_short_memory_ends_the_trial_that_met_it_and_no_later_one(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    outcomes: list[Exception | None] = [error, None]

    def trial(device: torch.device) -> None:
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    monkeypatch.setattr(available, "try_kernels", trial)
    monkeypatch.setattr(available, "kernels_run", functools.cache(available.kernels_run.__wrapped__))
    place = torch.device("cuda:0")
    with pytest.raises(type(error), match="out of memory"):
        available.kernels_run(place)
    assert available.kernels_run(place) and available.kernels_run(place) and not outcomes
    assert not caplog.text
