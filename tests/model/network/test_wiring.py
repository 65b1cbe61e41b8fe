import pytest

from alexkit.model.network.switches import Switches
from alexkit.model.network.tables import wiring
from alexkit.model.network.wiring import Activation, Dropout, Linear, MapNorm, Norm, Pool, sizes


def num_parameters(switches: Switches, num_classes: int = 1000) -> int:
    return sum(size.weights + size.biases for size in sizes(wiring(switches), num_classes))


@pytest.mark.parametrize(
    ("switches", "parameters"),
    [
        (Switches(), 60_965_224),
        (Switches(input="valid227"), 60_965_224),
        (Switches(input="pad2"), 60_965_224),
        (Switches(pooling="2/2"), 60_965_224),
        (Switches(kind="one-gpu"), 59_798_312),
        (Switches(kind="tower"), 62_378_344),
        (Switches(kind="owt"), 61_100_840),
        (Switches(sixth_conv=True), 60_965_224 + 590_080),
        (Switches(without=("conv4",)), 60_965_224 - 663_936),
        (Switches(without=("fc6", "fc7")), 60_965_224 - 37_752_832 - 16_781_312 - 4_097_000 + 9_217_000),
    ],
)
def test_every_network_has_the_published_number_of_parameters(switches: Switches, parameters: int) -> None:
    assert num_parameters(switches) == parameters


@pytest.mark.parametrize(("kind", "parameters"), [("cifar10-19", 89_578), ("cifar10-18", 89_578)])
def test_the_small_cifar_nets_have_the_published_number_of_parameters(kind: str, parameters: int) -> None:
    assert num_parameters(Switches(kind=kind), 10) == parameters  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["cifar10-13", "cifar10-11"])
def test_the_locally_connected_cifar_nets_have_the_published_number_of_parameters(kind: str) -> None:
    assert num_parameters(Switches(kind=kind), 10) == 1_116_490  # type: ignore[arg-type]


def test_every_layer_has_the_size_of_the_paper() -> None:
    table = {size.name: size for size in sizes(wiring(Switches()), 1000)}
    assert {name: (size.maps, size.px, size.pooled_px) for name, size in table.items()} == {
        "conv1": (96, 55, 27),
        "conv2": (256, 27, 13),
        "conv3": (384, 13, 13),
        "conv4": (384, 13, 13),
        "conv5": (256, 13, 6),
        "fc6": (4096, 1, 1),
        "fc7": (4096, 1, 1),
        "fc8": (1000, 1, 1),
    }
    assert [size.weights + size.biases for size in table.values()] == [
        34_944, 307_456, 885_120, 663_936, 442_624, 37_752_832, 16_781_312, 4_097_000,
    ]  # fmt: skip
    assert sum(size.neurons for size in table.values()) == 659_272
    assert round(sum(size.multiply_adds for size in table.values()) / 1e6, 1) == 724.4


def test_activations_cross_only_where_the_figure_says() -> None:
    crossing = {size.name: size.crossing for size in sizes(wiring(Switches()), 1000)}
    # conv3 reads 13 x 13 x 256 pooled maps, fc6 reads 6 x 6 x 256, fc7 and fc8 read 4096 units.
    assert crossing == {
        "conv1": 0, "conv2": 0, "conv3": 43_264, "conv4": 0, "conv5": 0, "fc6": 9_216, "fc7": 4_096, "fc8": 4_096,
    }  # fmt: skip


def test_the_2x2_pooling_net_still_ends_in_6x6() -> None:
    table = {size.name: size.pooled_px for size in sizes(wiring(Switches(pooling="2/2")), 1000)}
    assert (table["conv1"], table["conv2"], table["conv5"]) == (28, 13, 6)


def test_the_default_is_the_papers_text() -> None:
    table = wiring(Switches())
    assert [row.std for row in table.layers] == [0.01] * 8
    assert [row.bias for row in table.layers] == [0, 1, 0, 1, 1, 1, 1, 0]
    act, pool, drop = Activation(kind="relu"), Pool(kind="max", size=3, stride=2), Dropout(kind="mask", rate=0.5)
    norm = Norm(size=5, alpha=1e-4, beta=0.75, k=2.0, scope="column")
    assert [row.then for row in table.layers] == [
        *((act, norm, pool), (act, norm, pool), (act,), (act,), (act, pool)),
        *((act, drop), (act, drop), ()),
    ]
    own, both = "own column", "both columns"
    assert [row.reads for row in table.layers] == ["image", own, both, own, own, both, both, both]


def test_caffes_differs_where_the_notes_say() -> None:
    table = wiring(Switches(norm="caffe", init="caffe"))
    assert Norm(size=5, alpha=1e-4 / 5, beta=0.75, k=1.0) in table.layers[0].then
    assert [row.std for row in table.layers] == [0.01, 0.01, 0.01, 0.01, 0.01, 0.005, 0.005, 0.01]
    assert [row.bias for row in table.layers] == [0, 0.1, 0, 0.1, 0.1, 0.1, 0.1, 0]


def test_the_released_configuration_differs_where_the_notes_say() -> None:
    table = wiring(Switches(norm="original", norm_order="original", map_norm=True, init="original"))
    conv1, conv2, conv3 = table.layers[:3]
    assert [type(step).__name__ for step in conv1.then] == ["Norm", "Pool", "Activation"]
    assert [type(step).__name__ for step in conv2.then] == ["Activation", "Norm", "MapNorm", "Pool"]
    norm = conv1.then[0]
    assert isinstance(norm, Norm) and (norm.alpha, norm.k) == (1e-4 / 5, 2.0)
    assert [row.std for row in table.layers] == [0.01, 0.01, 0.03, 0.03, 0.03, 0.01, 0.01, 0.01]
    assert [row.bias for row in table.layers] == [0, 1, 0, 1, 1, 1, 1, 0]
    assert conv3.reads == "both columns"


def test_a_removed_layer_leaves_its_pooling_behind() -> None:
    table = wiring(Switches(without=("conv5",)))
    assert [row.name for row in table.layers][3:5] == ["conv4", "fc6"]
    assert isinstance(table.layers[3].then[-1], Pool)
    assert sizes(table, 10)[3].pooled_px == 6


def test_without_normalization_no_layer_normalizes_within_a_map_either() -> None:
    table = wiring(Switches(norm="none", map_norm=True))  # net 148 has none of the three steps
    assert not [step for layer in table.layers for step in layer.then if isinstance(step, Norm | MapNorm)]


@pytest.mark.parametrize("name", ["fc8", "conv9"])
def test_layers_that_must_stay_cannot_be_removed(name: str) -> None:
    with pytest.raises(ValueError, match=rf"without: '{name}'.*conv1, conv2, conv3"):
        wiring(Switches(without=(name,)))


def test_without_the_first_layer_the_second_reads_the_image_with_its_stride_and_pools_twice() -> None:
    table = wiring(Switches(without=("conv1",)))
    first = table.layers[0]
    assert (first.name, first.reads, getattr(first, "stride", 0)) == ("conv2", "image", 4)
    assert [type(step).__name__ for step in first.then] == ["Activation", "Norm", "Pool", "Norm", "Pool"]
    assert [size.pooled_px for size in sizes(table, 10)][:2] == [14, 14]


@pytest.mark.parametrize(
    ("switches", "words"),
    [
        (Switches(kind="cifar10-19", norm="none"), r"'cifar10-19' supports only the switches .*; remove norm from"),
        (Switches(kind="owt", input="pad2"), r"'owt' supports only the switches .*; remove input from"),
        (Switches(kind="cifar10-13", input="pad2"), r"network.input = 'pad2': cifar10-13 supports only 'margin' and"),
        (Switches(input="crop24"), r"'crop24' is for the CIFAR-10 networks"),
    ],
)
def test_switches_that_a_network_does_not_have_are_refused(switches: Switches, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        wiring(switches)


def test_a_switch_takes_only_the_values_that_are_listed() -> None:
    with pytest.raises(ValueError, match="'relu', 'tanh', 'abs-tanh' or 'sigmoid'"):
        Switches(activation="gelu")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["two-column", "cifar10-19", "cifar10-11", "owt"])
def test_every_network_has_the_nonlinearities_of_figure_1(kind: str) -> None:
    table = wiring(Switches(kind=kind, activation="tanh"))  # type: ignore[arg-type]
    assert {step.kind for layer in table.layers for step in layer.then if isinstance(step, Activation)} == {"tanh"}


@pytest.mark.parametrize(("init", "std", "bias"), [("paper", 0.01, 0.0), ("original", 0.03, 1.0), ("caffe", 0.01, 0.1)])
def test_the_sixth_convolution_starts_as_its_source_has_it(init: str, std: float, bias: float) -> None:
    # The text lists the layers whose biases start at 1, and conv6 is not among them; the released code has it so.
    table = wiring(Switches(sixth_conv=True, init=init))  # type: ignore[arg-type]
    assert [(layer.std, layer.bias) for layer in table.layers if layer.name == "conv6"] == [(std, bias)]


def test_all_biases_can_start_at_zero() -> None:
    assert {layer.bias for layer in wiring(Switches(init="original", bias="zero")).layers} == {0.0}


def test_the_net_for_fall_2011_has_1024_linear_units_a_column_before_the_output() -> None:
    # layers-146-2011.cfg: fc1a and fc1b of 1024 units, both reading hs2a and hs2b; no neuron; fc1000a and b read both.
    table = wiring(Switches(sixth_conv=True, linear_1024=True, init="original"))
    assert [(layer.name, layer.then) for layer in table.layers[-2:]] == [("linear", ()), ("fc8", ())]
    found = {size.name: (size.maps, size.inputs) for size in sizes(table, 21_843)}
    assert (found["linear"], found["fc8"]) == ((2048, 4096), (21_843, 2048))


def test_the_14_percent_net_reads_crops_of_24_px() -> None:
    table = wiring(Switches(kind="cifar10-19", input="crop24"))
    assert [size.pooled_px for size in sizes(table, 10)] == [12, 6, 3, 1]


def test_the_number_of_classes_is_the_last_layers_business_alone() -> None:
    last = sizes(wiring(Switches()), 7)[-1]
    assert (last.maps, last.weights) == (7, 7 * 4096)
    row = wiring(Switches()).layers[-1]
    assert isinstance(row, Linear) and row.units is None
