from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexkit.model.network.layers import MaskKey
from alexkit.model.network.network import Network
from alexkit.model.network.switches import Kind, Switches
from alexkit.model.network.tables import wiring
from alexkit.model.network.wiring import Activation, Conv, Dropout, Linear, Norm, Pool, Wiring

ACT, NORM, POOL = Activation(), Norm(), Pool()


def small_alexnet(columns: int = 2, dropout: bool = True) -> Wiring:
    """The figure's wiring with a few maps, for images of 31 px and 4 more right and below."""
    drop = (Dropout(),) if dropout else ()
    return Wiring(
        layers=(
            Conv(name="conv1", filters=12, kernel=5, stride=2, reads="image", std=0.1, then=(ACT, NORM, POOL)),
            Conv(
                name="conv2", filters=16, kernel=3, pad=1, reads="own column", std=0.1, bias=1, then=(ACT, NORM, POOL)
            ),
            Conv(name="conv3", filters=12, kernel=3, pad=1, reads="both columns", std=0.1, then=(ACT,)),
            Conv(name="conv4", filters=12, kernel=3, pad=1, reads="own column", std=0.1, bias=1, then=(ACT, POOL)),
            Linear(name="fc6", units=20, reads="both columns", std=0.1, bias=1, then=(ACT, *drop)),
            Linear(name="fc7", units=20, reads="both columns", std=0.1, bias=1, then=(ACT, *drop)),
            Linear(name="fc8", units=None, reads="both columns", std=0.1),
        ),
        columns=columns,
        input_px=31,
        margin_px=4,
    )


def images(count: int = 3, px: int = 31) -> Tensor:
    return torch.randn(count, 3, px, px, generator=torch.Generator().manual_seed(0)) * 60


def conv(network: Network, name: str, x: Tensor, stride: int = 1, pad: int = 0) -> Tensor:
    weight, bias = network.get_parameter(f"{name}.weight"), network.get_parameter(f"{name}.bias")
    return F.conv2d(x, weight, bias, stride, pad)


def test_two_columns_are_two_networks_that_meet_where_the_figure_says() -> None:
    network = Network(small_alexnet(), 5).eval()
    lrn = nn.LocalResponseNorm(5, 5e-4, 0.75, 2.0)

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, network.get_parameter(f"{name}.weight"), network.get_parameter(f"{name}.bias"))

    def own(name: str, x: Tensor, column: int) -> Tensor:
        weight, bias = (network.get_parameter(f"{name}.{kind}").chunk(2)[column] for kind in ("weight", "bias"))
        return F.conv2d(x, weight, bias, 1, 1).relu()

    x = F.pad(images(), (0, 4, 0, 4))
    first = conv(network, "conv1", x, stride=2).relu().chunk(2, dim=1)
    first = [F.max_pool2d(lrn(half), 3, 2, ceil_mode=True) for half in first]
    second = [F.max_pool2d(lrn(own("conv2", half, c)), 3, 2, ceil_mode=True) for c, half in enumerate(first)]
    third = conv(network, "conv3", torch.cat(second, 1), pad=1).relu().chunk(2, dim=1)
    fourth = [F.max_pool2d(own("conv4", half, c), 3, 2, ceil_mode=True) for c, half in enumerate(third)]
    x = torch.cat(fourth, 1).flatten(1)
    for name in ("fc6", "fc7"):
        x = 0.5 * linear(name, x).relu()
    assert torch.allclose(network(images()), linear("fc8", x), rtol=1e-4, atol=1e-5)


def test_224_with_three_zero_rows_and_columns_is_227() -> None:
    x = images(1, 224)
    margin = Network(wiring(Switches(without=("fc6", "fc7"))), 10).eval()
    valid = Network(wiring(Switches(input="valid227", without=("fc6", "fc7"))), 10).eval()
    assert torch.equal(margin(x), valid(F.pad(x, (0, 3, 0, 3))))


def test_the_network_has_the_parameters_of_its_table() -> None:
    network = Network(wiring(Switches()), 1000)
    assert sum(parameter.numel() for parameter in network.parameters()) == 60_965_224
    assert sorted(network.state_dict()) == sorted(
        f"{name}.{kind}"
        for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
        for kind in ("weight", "bias")
    )
    assert network.get_parameter("conv2.weight").shape == (256, 48, 5, 5)
    spread = {name: float(network.get_parameter(f"{name}.weight").detach().std()) for name in ("conv1", "conv3", "fc6")}
    assert all(abs(std - 0.01) < 0.0002 for std in spread.values())
    assert float(network.get_parameter("conv2.bias").detach().min()) == 1.0
    assert float(network.get_parameter("conv3.bias").detach().max()) == 0.0


@pytest.mark.parametrize("kind", ["cifar10-19", "cifar10-18", "cifar10-13", "cifar10-11"])
def test_the_cifar_nets_compute_ten_logits_and_all_gradients(kind: str) -> None:
    table = wiring(Switches(kind=kind))  # type: ignore[arg-type]
    network = Network(table, 10)
    logits = network(images(2, table.input_px), None)
    assert logits.shape == (2, 10)
    F.cross_entropy(logits, torch.tensor([1, 2])).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize(
    "switches",
    [
        Switches(norm="original", norm_order="original", map_norm=True, init="original"),
        Switches(kind="one-gpu", norm="caffe", init="caffe", dropout="inverted"),
        Switches(kind="owt"),
        Switches(activation="tanh", pooling="2/2", norm="none", dropout="off"),
        Switches(input="pad2", norm_scope="all", sixth_conv=True, init="quick"),
        Switches(activation="abs-tanh", linear_1024=True, bias="zero"),
        Switches(activation="sigmoid", without=("conv1",)),
    ],
)
def test_every_switch_builds_a_network_that_computes(switches: Switches) -> None:
    network = Network(wiring(switches), 10)
    masks = MaskKey(seed=0, step=0, indices_N=torch.arange(1))
    assert network(images(1, 224), masks).isfinite().all()


@pytest.mark.parametrize(
    "switches",
    [
        Switches(),
        Switches(pooling="2/2", sixth_conv=True),
        Switches(input="pad2", without=("conv4", "fc7")),
        Switches(without=("conv1",)),
        Switches(sixth_conv=True, linear_1024=True),
        Switches(kind="cifar10-19", input="crop24", without=("conv1",)),
        *(Switches(kind=kind) for kind in get_args(Kind)[1:]),
    ],
    ids=str,
)
def test_every_layer_has_the_output_and_the_parameters_of_its_table(switches: Switches) -> None:
    network = Network(wiring(switches), 10).eval()
    inputs, outputs = {}, {}

    def watch(name: str, layer: nn.Module) -> None:
        def look(layer: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            inputs[name], outputs[name] = given[0][0].numel(), tuple(output.shape[1:])

        layer.register_forward_hook(look)

    for row, layer, _ in network.stages:
        watch(row.name, layer)
    network(images(1, network.wiring.input_px))
    for size, following in zip(network.sizes, [*network.sizes[1:], None], strict=True):
        assert outputs[size.name] in ((size.maps, size.px, size.px), (size.maps,) if size.px == 1 else ())
        assert following is None or inputs[following.name] == size.maps * size.pooled_px**2
        for kind, count in (("weight", size.weights), ("bias", size.biases)):
            assert network.get_parameter(f"{size.name}.{kind}").numel() == count


def test_weights_are_drawn_by_the_seed_alone() -> None:
    one, same, other = (Network(small_alexnet(), 5, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["conv1.weight"], other["conv1.weight"])
    assert not torch.equal(one["fc6.weight"][:20, :20], one["fc7.weight"])


def test_training_draws_masks_by_their_key_and_testing_draws_none() -> None:
    network = Network(small_alexnet(), 5)
    keys = [MaskKey(seed=0, step=step, indices_N=torch.arange(3)) for step in (0, 0, 1)]
    first, same, other = (network(images(), key) for key in keys)
    assert torch.equal(first, same) and not torch.equal(first, other)
    network.eval()
    assert torch.equal(network(images()), network(images(), keys[0]))


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"3 x 31 x 31, got \(3, 30, 30\)"):
        Network(small_alexnet(), 5)(images(1, 30))


def test_activations_and_gradients_are_channels_last_throughout() -> None:
    network = Network(small_alexnet(), 3).train()
    modules = [module for stage in network.stages for module in (stage.weights, *stage.operations)]
    seen = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(output.ndim < 4 or output.is_contiguous(memory_format=torch.channels_last))

    for module in modules:
        module.register_forward_hook(look)
    x = images().contiguous(memory_format=torch.channels_last)
    network(x, MaskKey(seed=0, step=0, indices_N=torch.arange(3))).sum().backward()
    assert len(seen) == len(modules) and all(seen)
    # So that an update reads a gradient as it lies, without a copy.
    assert all(x.grad is not None and x.grad.stride() == x.stride() for x in network.parameters())
