"""A failure that intact images do not cause is not blamed on them."""

from typing import Any

import pytest
import torch

from alexkit.pipeline import CenterCrop, Loader, flow
from alexkit.pipeline import loader as loader_module
from alexkit.pipeline.backends import BackendError

EVALUATE = CenterCrop(crop=56)


@pytest.mark.parametrize("on_error", ["raise", "replace"])
def test_operators_that_fail_are_not_blamed_on_an_image(draw_shards: Any, on_error: str) -> None:
    def too_large(node: Any) -> Any:
        from nvidia.dali import fn

        return fn.crop(node, crop=(1000, 1000))

    options: dict[str, Any] = {"augment": EVALUATE, "operators": too_large, "on_error": on_error}
    with (
        Loader(draw_shards(), batch_size=8, **options) as loader,
        pytest.raises(RuntimeError, match="failed on a batch although all its images decode"),
    ):
        list(loader)


class OutOfMemory:
    """What a GPU does when it is out of memory."""

    num_random = 0

    def __init__(self) -> None:
        self.started = 0

    def __len__(self) -> int:
        return self.started

    def start(self, images: Any, views: Any) -> None:
        self.started += 1

    def finish(self) -> torch.Tensor:
        raise BackendError("CUDA runtime API error cudaErrorMemoryAllocation (2):\nout of memory")

    def close(self) -> None:
        pass


@pytest.mark.parametrize("on_error", ["raise", "replace"])
def test_a_gpu_that_fails_is_not_blamed_on_an_image(
    draw_shards: Any, on_error: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_backend = flow.new_backend

    def on_the_card(plan: Any, data: Any, options: Any) -> Any:
        return OutOfMemory() if options.device.type == "cuda" else new_backend(plan, data, options)

    monkeypatch.setattr(flow, "new_backend", on_the_card)
    monkeypatch.setattr(loader_module, "find_device", torch.device)  # which would check that it exists
    options: dict[str, Any] = {"device": "cuda:0", "hw_decoder_load": 0.65, "on_error": on_error}
    with Loader(draw_shards(), batch_size=8, augment=EVALUATE, **options) as loader:
        with pytest.raises(BackendError, match=r"all its images decode: CUDA .*\(2\):\sout of memory"):
            next(iter(loader))
        assert loader.num_replaced == 0
