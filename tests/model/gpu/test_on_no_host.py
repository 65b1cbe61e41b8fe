"""A step on a GPU reads no numbers and takes no tensors of the host: shown on the meta device, which has no numbers."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from alexkit.model.network.tables import wiring
from alexkit.model.processes.layout import Layout
from alexkit.model.runs.load import load_recipe
from alexkit.model.training import optimizer
from alexkit.model.training.learner import Learner
from alexkit.pipeline import Batch

META = torch.device("meta")


class HostTensors(TorchDispatchMode):
    """Collects the operations that take or give a tensor on the host; reading a number from meta raises by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        result = function(*arguments, **(options or {}))
        tensors = [x for x in tree_leaves((arguments, options, result)) if isinstance(x, Tensor)]
        if any(x.device != META for x in tensors):
            self.found.append(str(function))
        return result


@pytest.mark.parametrize(("num_images", "in_graph"), [(None, False), (12, False), (None, True)])
@pytest.mark.parametrize("name", ["quick", "cifar10-11"])
def test_a_step_touches_no_tensor_on_the_host(
    name: str, num_images: int | None, in_graph: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    from alexkit.model.gpu.update import Update

    updated: list[int] = []
    monkeypatch.setattr(optimizer, "kernels_run", lambda device: True)
    monkeypatch.setattr(Update, "_launch", lambda self, parts, *kind: updated.append(len(parts)))
    recipe = load_recipe(name, ["training.batch_size=16"])
    table = wiring(recipe.network)
    learner = Learner(recipe, table, 4, layout=Layout(table.columns), device=META, precision=torch.bfloat16)
    for group in learner.optimizer.param_groups:
        group["lr"] = 0.1
    images = torch.empty(16, 3, table.input_px, table.input_px, device=META, memory_format=torch.channels_last)
    whole = Batch(
        images=images,
        labels=torch.empty(16, dtype=torch.int64, device=META),
        indices=torch.empty(16, dtype=torch.int64, device=META),
        mask=torch.empty(16, dtype=torch.bool, device=META),
        keys=[""] * 16,
    )
    learner.network.train()
    step = torch.empty((), dtype=torch.int64, device=META) if in_graph else None
    with HostTensors() as host:
        numbers = learner._numbers(learner._gradients(whole, num_images, step))
        learner._update(numbers)
    assert not host.found and numbers.device == META
    assert updated == [len(list(learner.network.parameters()))]
