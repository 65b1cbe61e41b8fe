"""torch's tools for graphs take the networks: export, trace, compile; the normalization is an operator of its own."""

import shutil
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alexkit.model import Network, Switches, wiring
from alexkit.model.network.layers import DropoutMask, MaskKey, kept_units
from alexkit.model.network.norm import ResponseNorm, plain_decompositions
from alexkit.model.network.wiring import Activation, Conv, Dropout, Linear, Norm, Pool, Wiring
from alexkit.model.training.half_copies import HalfCopies

ACT = Activation()
KIND = Switches(kind="cifar10-11")  # response normalization and locally connected layers on 24 px


@pytest.fixture(scope="module")
def network() -> Network:
    """A network whose activations are large enough for the normalization to matter."""
    network = Network(wiring(KIND), 10).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for size in network.sizes:
            network.get_parameter(f"{size.name}.weight").normal_(0, (2 / size.inputs) ** 0.5, generator=generator)
    return network.requires_grad_(False)


def images(number: int) -> Tensor:
    return torch.randn(number, 3, 24, 24, generator=torch.Generator().manual_seed(number)) * 60


def exported(network: Network) -> Callable[[Tensor], Tensor]:
    shapes = {"images_NCHW": {0: torch.export.Dim("n", min=1)}}
    result: Any = torch.export.export(network, (images(2),), dynamic_shapes=shapes).module()
    return result  # type: ignore[no-any-return]


def exported_plainly(network: Network) -> Callable[[Tensor], Tensor]:
    shapes = {"images_NCHW": {0: torch.export.Dim("n", min=1)}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, (images(2),), dynamic_shapes=shapes).run_decompositions(
            plain_decompositions()
        )
    assert not [node for node in program.graph.nodes if "alexkit" in str(node.target)]
    result: Any = program.module()
    return result  # type: ignore[no-any-return]


def traced(network: Network) -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result: Any = torch.jit.trace(network, (images(2),))
    return result  # type: ignore[no-any-return]


def compiled(network: Network) -> Callable[[Tensor], Tensor]:
    # Without generated machine code, which would take a C++ compiler and its time: what we answer for is the capture.
    result: Any = torch.compile(network, backend="aot_eager", fullgraph=True)
    return result  # type: ignore[no-any-return]


@pytest.mark.parametrize("make", [exported, exported_plainly, traced, compiled])
def test_a_captured_network_computes_the_same_for_any_number_of_images(
    network: Network, make: Callable[[Network], Callable[[Tensor], Tensor]]
) -> None:
    captured = make(network)
    for number in (2, 3):
        expected = network(images(number))
        assert expected.std() > 0.1
        assert torch.allclose(captured(images(number)), expected, rtol=1e-4, atol=1e-4)


def test_a_compiled_network_trains_with_the_same_gradients() -> None:
    def gradients(compile: bool) -> list[Tensor]:
        layers = nn.Sequential(nn.Conv2d(3, 6, 3), ResponseNorm(6, size=5, alpha=0.01, beta=0.75, k=2.0, relu=True))
        with torch.no_grad():
            for parameter in layers.parameters():
                parameter.fill_(0.01).add_(torch.linspace(0, 0.1, parameter.numel()).view_as(parameter))
        call: Any = torch.compile(layers, backend="aot_eager", fullgraph=True) if compile else layers
        call(images(2)).square().mean().backward()
        return [parameter.grad for parameter in layers.parameters() if parameter.grad is not None]

    plain, compiled = gradients(False), gradients(True)
    assert len(plain) == 2
    assert all(torch.allclose(a, b, rtol=1e-5) for a, b in zip(plain, compiled, strict=True))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_operator_keeps_torchs_contract(layout: torch.memory_format) -> None:
    x = torch.randn(2, 6, 3, 4).contiguous(memory_format=layout).requires_grad_()
    torch.library.opcheck(torch.ops.alexkit.response_norm.default, (x, 5, 0.01, 0.75, 2.0, 2, True))


def test_dropout_is_captured_once_for_all_steps_with_the_same_masks() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropout = DropoutMask(rate=0.5, inverted=False, layer=3)

        def forward(self, x: Tensor, key: MaskKey) -> Tensor:
            self.dropout.key = key
            return self.dropout(x)  # type: ignore[no-any-return]

    captures: list[int] = []

    def count(graph: Any, inputs: Any) -> Any:
        captures.append(len(inputs))
        return graph.forward

    layer, x = Masked(), torch.ones(6, 40)
    call: Any = torch.compile(layer, backend=count, fullgraph=True)
    for step in range(5):
        key = MaskKey(seed=5, step=step, indices_N=torch.arange(6))
        assert torch.equal(call(x, key), layer(x, key))
    assert len(captures) <= 2  # of the first step, and of any


@pytest.mark.slow
def test_a_training_step_is_captured_whole_and_once_for_all_steps() -> None:
    graphs: list[Any] = []

    def count(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    conv1 = Conv(name="conv1", filters=12, kernel=5, stride=2, reads="image", std=0.1, then=(ACT, Norm(), Pool()))
    conv2 = Conv(name="conv2", filters=16, kernel=3, pad=1, reads="own column", std=0.1, then=(ACT, Norm(), Pool()))
    fc3 = Linear(name="fc3", units=20, reads="both columns", std=0.1, then=(ACT, Dropout()))
    fc4 = Linear(name="fc4", units=None, reads="both columns", std=0.1)
    wired = Wiring(layers=(conv1, conv2, fc3, fc4), columns=2, input_px=31, margin_px=4)
    copies = HalfCopies(Network(wired, 5).train())
    call: Any = torch.compile(copies.forward, backend=count, fullgraph=True)
    x = torch.randn(2, 3, 31, 31, generator=torch.Generator().manual_seed(0)) * 60
    for step in range(3):
        masks = MaskKey(seed=5, step=step, indices_N=torch.arange(2))
        found = []
        for forward in (call, copies.forward):
            logits = forward(x, masks)
            logits.float().square().sum().backward()
            found.append([logits, *(copy.grad for copy in copies.by_master.values())])
            copies.forget_gradients()
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert len(graphs) <= 2  # of the first step, and of any


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's compiler wants a C++ compiler")
def test_torchs_compiler_makes_code_of_dropout() -> None:
    key = MaskKey(seed=5, step=1, indices_N=torch.arange(6))

    def masked(x: Tensor) -> Tensor:
        return x * kept_units(key, 3, 0, 40, 0.5)

    assert torch.equal(torch.compile(masked)(torch.ones(6, 40)), masked(torch.ones(6, 40)))
